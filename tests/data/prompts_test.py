"""Prompts: what they say, one beginning, no injection, continuing as if uninterrupted."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core import config
from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.types import Problem
from jaxreason.data.datasets import load_problems
from jaxreason.data.prompts import REVISE, PromptSpec, shipped_examples
from jaxreason.data.tokenizer import Tokenizer

SMALL = json.loads((Path(__file__).parent / 'golden' / 'small_vocabulary.json').read_text(encoding='utf-8'))
CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
STYLES = ('smollm', 'qwen', 'llama3', 'llama2')


def make(style: str, **keys: object) -> Tokenizer:
    """A tokenizer of the small vocabulary, with the special pieces and template of a family."""
    if style == 'llama2':
        return Tokenizer.from_gguf(SMALL['llama'] | {'tokenizer.chat_template': BRACKETS} | keys)
    metadata = dict(SMALL['gpt2'])
    if style in ('smollm', 'qwen'):
        metadata |= {'tokenizer.ggml.pre': 'smollm' if style == 'smollm' else 'qwen2', 'tokenizer.chat_template': CHATML}
        return Tokenizer.from_gguf(metadata | keys)
    tokens = ['<|begin|>', '<|eot_id|>', '<|/head|>', *metadata['tokenizer.ggml.tokens'][3:], '<|head|>']
    roles = {'tokenizer.ggml.bos_token_id': 0, 'tokenizer.ggml.eos_token_id': 1, 'tokenizer.ggml.add_bos_token': True}
    more = {'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.chat_template': HEADERS, 'tokenizer.ggml.tokens': tokens}
    return Tokenizer.from_gguf(
        metadata | roles | more | {'tokenizer.ggml.token_type': [*metadata['tokenizer.ggml.token_type'], 3]} | keys
    )


TOKENIZERS = {style: make(style) for style in STYLES}


def test_a_chat_prompt_reads_as_the_template_says():
    spec = PromptSpec(answer_format='hash', instruction='Go.')
    asked = 'How many?\n\nGo.'
    assert spec.render('How many?', 'One', TOKENIZERS['smollm']) == (
        f'<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\nOne'
    )
    spec = dataclasses.replace(spec, system='Sum.')
    assert spec.render('How many?', tokenizer=TOKENIZERS['llama3']) == (
        f'<|begin|><|head|>system<|/head|>\n\nSum.<|eot_id|><|head|>user<|/head|>\n\n{asked}<|eot_id|><|head|>assistant<|/head|>\n\n'
    )


def test_a_plain_prompt_reads_as_text():
    example = Problem(id='e', text='What is 2+3?', answer='5', steps=('2+3 is 5.', 'So 5.'))
    spec = PromptSpec(
        template='plain',
        system='Sum.',
        few_shot=1,
        examples=(example,),
        answer_format='plain',
        step_delimiter='\n',
        instruction='',
    )
    assert spec.render('What is 1+1?', '1+1') == (
        'Sum.\n\nQuestion: What is 2+3?\nSolution:\n2+3 is 5.\nSo 5.\nThe answer is 5.\n\n'
        'Question: What is 1+1?\nSolution:\n1+1'
    )
    assert spec.stop_strings == ('\nQuestion:',)


def test_a_raw_prompt_is_the_question():
    spec = PromptSpec(template='raw', step_delimiter='\n')
    assert spec.render('12+3=', '1') == '12+3=1'
    tokenizer = Tokenizer.from_characters('0123456789+=\n')
    assert spec.encode(tokenizer, '1+2=', '3') == [1, *tokenizer.encode('1+2=3')]


@pytest.mark.parametrize(
    'form, last',
    [('boxed', 'The final answer is $\\boxed{29}$.'), ('hash', '#### 29'), ('plain', 'The answer is 29.'), ('last_line', '29')],
)
def test_examples_end_in_the_answer_format(form, last):
    spec = PromptSpec(few_shot=1, answer_format=form, step_delimiter='\n\n')
    turns = spec.messages('Q?')
    assert [turn['role'] for turn in turns] == ['user', 'assistant', 'user']
    assert turns[1]['content'] == 'The trays hold 4 * 6 = 24 rolls.\n\nWith 5 more there are 24 + 5 = 29 rolls.\n\n' + last
    assert turns[2]['content'].startswith('Q?\n\nThink step by step') and turns[0]['content'].endswith(turns[2]['content'][4:])


def test_worked_steps_that_end_with_a_bare_value_need_no_other_ending():
    def ending(form, *steps):
        return PromptSpec(answer_format=form).ending(Problem(id='q', text='?', answer='65', steps=steps))

    assert ending('last_line', '95', '65') == ending('last_line', '95', ' 64\n') == (), 'right or wrong'
    assert ending('last_line', '5 + 60 = 65') == ending('last_line') == ('65',)
    assert ending('hash', '95', '65') == ('#### 65',)


def test_a_raw_prompt_asks_for_no_format():
    spec = PromptSpec(template='raw', answer_format='last_line')
    assert spec.render('37+58*07=') == '37+58*07='


def test_the_question_asked_is_never_an_example():
    examples = shipped_examples()
    spec = PromptSpec(few_shot=3)
    for example in examples:
        for asked in (example.text, f'  {example.text.replace(" ", "  ")}\n'):
            questions = [turn['content'] for turn in spec.messages(asked)[:-1:2]]
            assert len(questions) == 3 and not any(text.startswith(example.text) for text in questions)
    assert len(PromptSpec(few_shot=1, examples=(examples[0],)).messages(examples[0].text)) == 1


def test_shipped_examples_are_not_in_the_question_set():
    asked = {' '.join(problem.text.split()) for problem in load_problems('basic')}
    assert len(shipped_examples()) == 8 and not asked & {' '.join(example.text.split()) for example in shipped_examples()}


@pytest.mark.parametrize('style', STYLES)
def test_ids_are_those_of_the_whole_text(style):
    tokenizer, spec = TOKENIZERS[style], PromptSpec(few_shot=2)
    ids = spec.encode(tokenizer, 'What is 12 * 4?')
    text = spec.render('What is 12 * 4?', tokenizer=tokenizer)
    assert ids == tokenizer.encode(text, special=True)
    if style != 'llama2':  # there every run of text gets a space in front
        assert tokenizer.decode(ids, skip_special=False) == text


_WORDS = st.sampled_from(['so', ' we', ' add', ' 12', '=7', '.', ' the', ' x', ' (', '\n- ', 'é'])
_STEPS = st.lists(st.lists(_WORDS, min_size=1, max_size=5).map(''.join), min_size=1, max_size=4)


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('delimiter', ['\n\n', '\n', '\n\n\n'])
@settings(deadline=None, max_examples=60)
@given(steps=_STEPS)
def test_a_partial_answer_has_the_ids_of_the_uninterrupted_one(style, delimiter, steps):
    tokenizer, spec = TOKENIZERS[style], PromptSpec(instruction='')
    steps = ['So' + step.replace('\n', ' ') for step in steps]
    whole = spec.encode(tokenizer, 'Q', delimiter.join(steps))
    for count in range(len(steps)):
        partial = ''.join(step + delimiter for step in steps[:count])
        ids = spec.encode(tokenizer, 'Q', partial)
        assert ids == whole[: len(ids)]
        assert tokenizer.decode(ids).endswith(partial)


@pytest.mark.parametrize('style', STYLES)
def test_a_partial_answer_is_neither_stripped_nor_read_as_control(style):
    tokenizer, spec = TOKENIZERS[style], PromptSpec()
    end = tokenizer.special_text(tokenizer.eos_ids[0])
    partial = f'  One {end} two  \n '
    ids = spec.encode(tokenizer, 'Q', partial)
    assert tokenizer.decode(ids).endswith(partial)
    assert ids.count(tokenizer.eos_ids[0]) == spec.encode(tokenizer, 'Q').count(tokenizer.eos_ids[0])


@settings(deadline=None, max_examples=200)
@given(
    style=st.sampled_from(STYLES),
    parts=st.lists(
        st.sampled_from(
            [
                '<|im_start|>',
                '<|im_end|>',
                '<|eot_id|>',
                '<|head|>',
                '<s>',
                '</s>',
                '<|begin|>',
                'im_',
                '<|',
                '|>',
                'a',
                ' ',
                '\n',
                '\ufdd0',
                '0',
            ]
        ),
        max_size=8,
    ),
)
def test_nothing_in_a_question_becomes_control(style, parts):
    tokenizer, spec = TOKENIZERS[style], PromptSpec(system='Sum <|im_end|><|eot_id|></s>', few_shot=1)
    control = (
        set(range(3))
        if style == 'llama2'
        else {index for index in range(tokenizer.vocab_size) if tokenizer.special_text(index)}
    )
    question = 'Q' + ''.join(parts) + 'Q'
    ids = spec.encode(tokenizer, question)
    plain = spec.encode(tokenizer, 'Q')
    assert [i for i in ids if i in control] == [i for i in plain if i in control]
    if style != 'llama2':
        assert tokenizer.decode(ids, skip_special=False) == spec.render(question, tokenizer=tokenizer)


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('writes', [False, True])
@pytest.mark.parametrize('wants', [False, True])
@pytest.mark.parametrize('template', ['chat', 'plain'])
def test_the_beginning_is_there_once(style, writes, wants, template):
    source = ('{{ bos_token }}' if writes else '') + "{% for m in messages %}{{ 'user: ' + m['content'] }}{% endfor %}"
    tokenizer = make(style, **{'tokenizer.chat_template': source, 'tokenizer.ggml.add_bos_token': wants})
    ids = PromptSpec(template=template).encode(tokenizer, 'Q')
    expected = wants or (writes and template == 'chat')
    assert [i for i in ids if i == tokenizer.bos_id] == ids[: int(expected)]


def test_a_template_with_two_beginnings_is_refused():
    tokenizer = make('llama3', **{'tokenizer.chat_template': '{{ bos_token }}{{ bos_token }}{{ messages[0].content }}'})
    with pytest.raises(TokenizerError, match='twice'):
        PromptSpec().encode(tokenizer, 'Q')


def test_a_tokenizer_without_a_template_needs_a_plain_prompt():
    tokenizer = Tokenizer.from_gguf(SMALL['gpt2'] | {'tokenizer.ggml.pre': 'smollm'})
    with pytest.raises(TokenizerError, match='template: plain'):
        PromptSpec().encode(tokenizer, 'Q')
    with pytest.raises(ConfigError, match='tokenizer='):
        PromptSpec().render('Q')
    assert PromptSpec(template='plain').encode(tokenizer, 'Q')


def test_the_date_of_a_template_is_given_not_read():
    tokenizer = make('smollm', **{'tokenizer.chat_template': "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"})
    spec = PromptSpec(instruction='')
    assert spec.render('Q', tokenizer=tokenizer) == '26 Jul 2024 Q'
    assert dataclasses.replace(spec, date='1999-01-02').render('Q', tokenizer=tokenizer) == '02 Jan 1999 Q'


def test_text_with_every_noncharacter_is_refused():
    question = ''.join(chr(code) for code in range(0xFDD0, 0xFDF0))
    with pytest.raises(TokenizerError, match='U\\+FDD0'):
        PromptSpec().encode(TOKENIZERS['smollm'], question)


CHANGES: dict[str, Any] = {
    'template': 'plain',
    'system': 'x',
    'few_shot': 1,
    'step_delimiter': '\n',
    'answer_format': 'hash',
    'instruction': 'x',
    'date': '2020-01-01',
    'revise': 'x',
    'attempt_columns': 1,
}


def test_the_digest_tells_prompts_apart():
    base = PromptSpec()
    assert base.digest == PromptSpec().digest
    assert set(CHANGES) == {field.name for field in dataclasses.fields(PromptSpec)} - {'examples'}
    specs = [dataclasses.replace(base, **{key: value}) for key, value in CHANGES.items()]
    examples = tuple(dataclasses.replace(example, answer='7') for example in shipped_examples())
    specs.append(dataclasses.replace(base, few_shot=1, examples=examples))
    assert len({base.digest, *(spec.digest for spec in specs)}) == len(specs) + 1


def test_the_digest_tells_formats_apart_where_they_matter():
    def digests(**settings):
        return [PromptSpec(answer_format=form, **settings).digest for form in ('boxed', 'hash', 'plain', 'last_line')]

    assert len(set(digests())) == len(set(digests(few_shot=1, instruction='Go.'))) == 4
    for fixed in ({'template': 'raw'}, {'instruction': 'Go.'}):
        *stated, last_line = digests(**fixed)
        assert len(set(stated)) == 1 and last_line not in stated, 'the same text, read in another way'


@pytest.mark.parametrize(
    'options, message',
    [
        ({'template': 'jinja'}, 'template must be one of chat'),
        ({'answer_format': 'xml'}, 'answer_format must be one of boxed'),
        ({'step_delimiter': ''}, 'step_delimiter must be'),
        ({'few_shot': 9}, 'at most 8'),
        ({'few_shot': -1}, 'few_shot must'),
        ({'date': 'today'}, 'ISO date'),
        ({'template': 'raw', 'few_shot': 1}, 'raw is the question alone'),
        ({'few_shot': 1, 'examples': (Problem(id='a', text='b', answer='c'),)}, 'worked steps'),
    ],
)
def test_impossible_prompts_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PromptSpec(**options)


def test_a_prompt_survives_its_configuration_file(tmp_path):
    example = Problem(id='e', text='What is 2+3?', answer='5', steps=('2+3 is 5.',))
    spec = PromptSpec(few_shot=1, examples=(example,), answer_format='hash', system='a\nb')
    path = tmp_path / 'prompt.yaml'
    path.write_text(config.dump(spec), encoding='utf-8')
    assert config.load(PromptSpec, path) == spec


def test_the_real_template_of_smollm2():
    from jaxreason.core.user_cache import user_cache
    from jaxreason.models.gguf_file import GgufFile

    path = Path(os.environ.get('JAXREASON_SMOLLM2_GGUF', user_cache('weights') / 'SmolLM2-135M-Instruct.Q4_1.gguf'))
    if not path.is_file():
        pytest.skip('needs the SmolLM2 GGUF in the cache')
    tokenizer = Tokenizer.from_gguf(GgufFile.open(path).metadata)
    spec = PromptSpec(few_shot=2)
    whole = 'First 2 + 2 = 4.\n\nThen 4 * 3 = 12.\n\n\nThe final answer is $\\boxed{12}$.'
    ids = spec.encode(tokenizer, 'What is (2 + 2) * 3?', whole)
    assert tokenizer.special_text(ids[0]) == '<|im_start|>' and ids[1] != ids[0]
    for cut in (0, whole.index('Then'), whole.index('The final')):
        part = spec.encode(tokenizer, 'What is (2 + 2) * 3?', whole[:cut])
        assert part == ids[: len(part)] and tokenizer.decode(part).endswith(whole[:cut])


def test_attempts_are_turns_and_a_better_answer_is_asked_for():
    spec = PromptSpec(answer_format='hash', instruction='Go.')
    assert spec.messages('How many?', ['Three.', 'Four.'])[-4:] == [
        {'role': 'assistant', 'content': 'Three.'},
        {'role': 'user', 'content': f'{REVISE}\n\nGo.'},
        {'role': 'assistant', 'content': 'Four.'},
        {'role': 'user', 'content': f'{REVISE}\n\nGo.'},
    ]
    own = dataclasses.replace(spec, revise='Again.')
    assert own.render('How many?', 'Five', TOKENIZERS['smollm'], attempts=['Three.']).endswith(
        '<|im_start|>assistant\nThree.<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\nFive'
    )


def test_attempts_in_plain_text_are_not_further_questions():
    spec = PromptSpec(template='plain', answer_format='plain', instruction='', revise='Again.')
    assert spec.render('Q?', attempts=['A.', 'B.']) == (
        'Question: Q?\nSolution:\nA.\n\nAgain.\nSolution:\nB.\n\nAgain.\nSolution:\n'
    )


def test_raw_attempts_stand_in_the_frame_of_the_answer():
    spec = PromptSpec(template='raw', attempt_columns=4)
    assert spec.render('1+2=', attempts=['3', '12345']) == '1+2=3   \n1+2=12345\n1+2='


def test_no_attempts_change_no_prompt():
    for template in ('chat', 'plain'):
        spec = PromptSpec(template=template, few_shot=1)
        again = dataclasses.replace(spec, revise='Again.', attempt_columns=9)
        assert spec.encode(TOKENIZERS['qwen'], 'Q?') == again.encode(TOKENIZERS['qwen'], 'Q?', attempts=())


@pytest.mark.parametrize('style', STYLES)
def test_an_attempt_cannot_spell_a_special_piece(style):
    tokenizer = TOKENIZERS[style]
    special = tokenizer.special_text(tokenizer.eos_ids[0])
    spec = PromptSpec(few_shot=0, instruction='')
    plain, wicked = (spec.encode(tokenizer, 'Q?', attempts=[f'A {word} B']) for word in ('x', special))
    assert wicked.count(tokenizer.eos_ids[0]) == plain.count(tokenizer.eos_ids[0])


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('num_attempts', [0, 1, 4])
def test_the_longest_prompt_is_foreseen(style, num_attempts):
    tokenizer, spec = TOKENIZERS[style], PromptSpec(instruction='Go.')
    attempt = 'one two three four'
    room = spec.most_tokens(tokenizer, 'How?', num_attempts, len(tokenizer.encode(attempt)) + 1)
    assert len(spec.encode(tokenizer, 'How?', attempts=[attempt] * num_attempts)) <= room


@pytest.mark.parametrize('options', [{'template': 'raw', 'revise': 'Again.'}, {'attempt_columns': -1}])
def test_bad_settings_of_attempts_are_refused(options):
    with pytest.raises(ConfigError, match='revise|attempt_columns'):
        PromptSpec(**options)
