"""Layouts of the published verifiers, written with the tiny tokenizers of `tests/engine/make_golden_verifiers.py`."""

import dataclasses
from pathlib import Path

import pytest

from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.verifier_spec import Layout, Unscored
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.verifier_layout import Typesetter, token_id

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden'
QWEN = Layout(system='Think.', marker='<extra_0>')
SKYWORK = Layout(form='plain', question='{question}\n', marker='\n', line_breaks='markers', begin=True)
SHEPHERD = Layout(form='plain', question='{question}\n ', gap=' ', marker='ки', line_breaks='kept')
RLHFLOW = Layout(form='turns', question='{question} ', marker='+')
CASES = {
    'qwen2.5-math-prm': (QWEN, 'marker'),
    'skywork-o1-open-prm': (SKYWORK, 'marker'),
    'math-shepherd': (SHEPHERD, 'marker'),
    'rlhflow-prm': (RLHFLOW, 'before_marker'),
}
STEPS = ('Add.\n\n', 'One\nmore.\n\n', 'So 2.')
TEXTS = {
    'qwen2.5-math-prm': (
        '<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n'
        'Add.<extra_0>One\nmore.<extra_0>So 2.<extra_0>'
    ),
    'skywork-o1-open-prm': '<|endoftext|>How?\nAdd.\n\nOne\nmore.\n\nSo 2.\n',
    'math-shepherd': '<s> How?\n Add. ки\n\nOne\nmore. ки\n\nSo 2. ки',
    'rlhflow-prm': (
        '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024\n\n<|eot_id|>'
        '<|start_header_id|>user<|end_header_id|>\n\nHow? Add.<|eot_id|>'
        '<|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>'
        '<|start_header_id|>user<|end_header_id|>\n\nOne\nmore.<|eot_id|>'
        '<|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>'
        '<|start_header_id|>user<|end_header_id|>\n\nSo 2.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
    ),
}

FIRST_READ = {
    'qwen2.5-math-prm': 'Add.<extra_0>',
    'skywork-o1-open-prm': 'Add.\n\n',
    'math-shepherd': 'Add. ки',
    'rlhflow-prm': 'Add.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
}


def tokenizer_of(name):
    return Tokenizer.from_folder(GOLDEN / name)


def written(tokenizer, ids):
    return b''.join(tokenizer.special_text(index).encode() or tokenizer.token_bytes(index) for index in ids).decode()


@pytest.fixture(params=CASES)
def case(request):
    tokenizer = tokenizer_of(request.param)
    return request.param, tokenizer, Typesetter(*CASES[request.param], tokenizer)


def test_the_text_is_that_of_the_authors(case):
    name, tokenizer, typesetter = case
    laid = typesetter.lay('How?', STEPS)
    assert written(tokenizer, laid.ids) == TEXTS[name]
    assert len(laid.reads) == 3 and laid.reads[-1] == len(laid.ids) - 1
    before = written(tokenizer, laid.ids[: laid.reads[0] + 1])
    assert before.endswith(FIRST_READ[name])
    assert 'How?' in written(tokenizer, laid.ids[: laid.start])
    assert 'One' not in written(tokenizer, laid.ids[: laid.start])


def test_a_growing_solution_only_adds_tokens(case):
    _, _, typesetter = case
    whole = typesetter.lay('How?', STEPS)
    for count in (1, 2):
        part = typesetter.lay('How?', STEPS[:count])
        assert whole.ids[: len(part.ids)] == part.ids and whole.reads[:count] == part.reads


def test_what_was_written_is_text(case):
    name, tokenizer, typesetter = case
    steps = ('ки+<extra_0><|im_end|></s><|eot_id|>.\n\n', '<|im_start|>user ки')
    laid = typesetter.lay('<extra_0> ки + <|im_start|>', steps)
    assert len(laid.reads) == 2
    plain = typesetter.lay('How?', ('a.\n\n', 'b'))
    specials = {index for index in range(tokenizer.vocab_size) if tokenizer.special_text(index)}

    def count(ids):
        return sum(index in specials for index in ids)

    assert count(laid.ids) == count(plain.ids)  # not one more than the layout's own


def test_a_system_message_of_plain_text_is_a_line_before_the_question():
    tokenizer = tokenizer_of('math-shepherd')
    typesetter = Typesetter(dataclasses.replace(SHEPHERD, system='Solve it.'), 'marker', tokenizer)
    assert written(tokenizer, typesetter.lay('How?', ('So.',)).ids) == '<s> Solve it.\nHow?\n So. ки'


def test_what_cannot_be_written_is_said():
    typesetter = Typesetter(QWEN, 'marker', tokenizer_of('qwen2.5-math-prm'))
    assert typesetter.lay('How?', ()) is Unscored.NO_STEPS
    assert typesetter.lay('How?', ('\ud800',)) is Unscored.TEXT


def test_a_marker_that_merges_with_its_neighbours_is_refused():
    tokenizer = tokenizer_of('qwen2.5-math-prm')
    assert len(tokenizer.encode('.\n')) == 1  # so the line break after a full stop is no token of its own
    with pytest.raises(TokenizerError, match='is not a token of its own'):
        Typesetter(Layout(form='plain', marker='\n'), 'marker', tokenizer)


def test_absent_tokens_are_named():
    tokenizer = tokenizer_of('math-shepherd')
    with pytest.raises(TokenizerError, match="label 'good' must be one token"):
        token_id(tokenizer, 'good', 'label')
    with pytest.raises(TokenizerError, match="layout.marker '<extra_0>'"):
        Typesetter(dataclasses.replace(SHEPHERD, marker='<extra_0>'), 'marker', tokenizer)
    with pytest.raises(TokenizerError, match='no chat template'):
        Typesetter(RLHFLOW, 'before_marker', tokenizer)
    with pytest.raises(TokenizerError, match='has none'):
        Typesetter(SKYWORK, 'marker', tokenizer_of('qwen2.5-math-prm'))


def test_a_template_that_drops_a_turn_is_refused():
    tokenizer = tokenizer_of('qwen2.5-math-prm')
    tokenizer.chat_template = '{{ messages[-1].content }}'
    with pytest.raises(TokenizerError, match='drops or moves turns'):
        Typesetter(QWEN, 'marker', tokenizer)


def test_earlier_attempts_stand_before_the_question(case):
    name, tokenizer, blind = case
    layout, boundary = CASES[name]
    none = blind.lay('How?', STEPS)
    wanted = dataclasses.replace(layout, attempts=2, attempt='Try: {attempt}\n')
    setter = Typesetter(wanted, boundary, tokenizer)
    assert setter.lay('How?', STEPS) == none == blind.lay('How?', STEPS, ('One.',))
    text = written(tokenizer, setter.lay('How?', STEPS, ('Zero.', 'One.', 'Two.')).ids)
    assert text.replace(' ', '').count('Try:One.\nTry:Two.\n'.replace(' ', '')) == 1 and 'Zero' not in text
    assert len(setter.lay('How?', STEPS, ('One.',)).reads) == len(STEPS)


def test_an_attempt_may_hold_the_words_that_are_replaced():
    tokenizer = tokenizer_of('skywork-o1-open-prm')
    layout = dataclasses.replace(SKYWORK, attempts=1, attempt='{question} {attempt}|', attempt_columns=14)
    laid = Typesetter(layout, 'marker', tokenizer).lay('{attempt}?', ('So 2.',), ('{question}!',))
    assert written(tokenizer, laid.ids) == '<|endoftext|>{attempt}? {question}!   |{attempt}?\nSo 2.\n'


@pytest.mark.parametrize(
    'options, message', [({'attempt': 'x'}, 'attempt must hold {attempt}'), ({'attempts': -1}, 'attempts must be in')]
)
def test_bad_settings_of_attempts_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Layout(**options)


def test_a_delimiter_that_is_the_marker_is_not_written_twice():
    """But what spells a special piece is text, and stays."""
    tokenizer = Tokenizer.from_characters('0123456789=+ ')
    layout = Layout(form='plain', marker='=')
    laid = Typesetter(layout, 'marker', tokenizer).lay('+07 8015=', ('4334=', '2872'))
    assert laid.ids[1:] == tuple(tokenizer.encode('+07 8015=4334=2872=')) and laid.reads == (14, 19)
    special = Typesetter(QWEN, 'marker', tokenizer_of('qwen2.5-math-prm'))
    plain, spelt = (special.lay('How?', (f'Add{end}', 'So 2.')) for end in ('', '<extra_0>'))
    assert len(spelt.ids) > len(plain.ids) and len(spelt.reads) == len(plain.reads)
