"""Token ids against llama.cpp's (golden files: `tests/parity/tokenizer_parity.py --write-golden`), and damaged tokenizers."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import TokenizerError
from jaxreason.data.gguf_tokenizer import PRE_TOKENIZERS
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.vocabulary import byte_alphabet

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / 'golden' / 'llama_cpp_ids.json').read_text(encoding='utf-8'))
SMALL = json.loads((HERE / 'golden' / 'small_vocabulary.json').read_text(encoding='utf-8'))
SHARED = Path(__file__).parents[3] / 'shared' / 'data'
# SHA-256 over llama.cpp's ids of all MATH-500 and GSM8K test problems under SmolLM2's tokenizer.
SMOLLM2_DIGEST = (HERE / 'golden' / 'smollm2_problems.sha256').read_text(encoding='utf-8').strip()
SPECIALS = ('<|endoftext|>', '<|im_start|>', '<|im_end|>')


def family(name: str) -> dict:
    """GGUF keys of the small vocabulary, cut as `name` says."""
    if name.startswith('llama') and name not in PRE_TOKENIZERS:
        return SMALL['llama'] | {'tokenizer.ggml.add_space_prefix': name == 'llama'}
    return SMALL['gpt2'] | {'tokenizer.ggml.pre': name}


@pytest.fixture(scope='module')
def smol() -> Tokenizer:
    return Tokenizer.from_gguf(family('smollm'))


@pytest.mark.parametrize('name', sorted(GOLDEN['ids']))
def test_ids_equal_those_of_llama_cpp(name):
    tokenizer = Tokenizer.from_gguf(family(name))
    ours = [tokenizer.encode(text, special=special) for text in GOLDEN['texts'] for special in (False, True)]
    assert ours == GOLDEN['ids'][name]


def test_every_way_to_cut_text_has_a_golden():
    assert {PRE_TOKENIZERS[name] for name in GOLDEN['ids'] if name in PRE_TOKENIZERS} == set(PRE_TOKENIZERS.values())


def test_all_problems_of_smollm2_have_the_ids_of_llama_cpp():
    from jaxreason.core.user_cache import user_cache
    from jaxreason.models.gguf_file import GgufFile

    path = Path(os.environ.get('JAXREASON_SMOLLM2_GGUF', user_cache('weights') / 'SmolLM2-135M-Instruct.Q4_1.gguf'))
    if not path.is_file() or not SHARED.is_dir():
        pytest.skip('needs the SmolLM2 GGUF in the cache and ../shared/data')
    tokenizer = Tokenizer.from_gguf(GgufFile.open(path).metadata)
    texts = []
    for name, field in (('math500.jsonl', 'problem'), ('gsm8k_test.jsonl', 'question')):
        texts += [json.loads(line)[field] for line in (SHARED / name).read_text(encoding='utf-8').splitlines()]
    ids = [tokenizer.encode(text) for text in texts]
    assert len(ids) == 1819
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest() == SMOLLM2_DIGEST
    assert [tokenizer.decode(row) for row in ids] == texts


@pytest.mark.parametrize('name', ['smollm', 'llama-bpe', 'deepseek-v3', 'llama', 'llama-no-prefix'])
@settings(deadline=None, max_examples=150)
@given(text=st.text(st.characters(codec='utf-8', max_codepoint=0x2FFF), max_size=40) | st.text(' \n\t\rab1.', max_size=30))
def test_encoding_loses_nothing(name, text):
    tokenizer = _cached(name)
    try:
        ids = tokenizer.encode(text)
    except TokenizerError as error:
        assert 'cannot write' in str(error)
        return
    prefix = ' ' if name == 'llama' and text else ''
    assert (
        b''.join(map(tokenizer.token_bytes, ids))
        == (prefix + text).replace('▁', ' ' if name in ('llama', 'llama-no-prefix') else '▁').encode()
    )
    if '▁' not in text:
        assert tokenizer.decode(ids) == text


_TOKENIZERS: dict[str, Tokenizer] = {}


def _cached(name: str) -> Tokenizer:
    if name not in _TOKENIZERS:
        _TOKENIZERS[name] = Tokenizer.from_gguf(family(name))
    return _TOKENIZERS[name]


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from([*SPECIALS, '<|', 'im_end', '|>', 'hi', '\n', ' ', '<|im_end|', '<tool>']), max_size=8))
def test_text_cannot_write_special_tokens(parts):
    tokenizer = _cached('smollm')
    text = ''.join(parts)
    ids = tokenizer.encode(text)
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode(text, special=True), skip_special=False) == text


def test_special_tokens_are_recognised_when_asked(smol):
    assert smol.encode('<|im_start|>a<|im_end|>', special=True) == [1, *smol.encode('a'), 2]
    assert smol.decode([1, *smol.encode('a'), 2]) == 'a'
    assert smol.special_text(2) == '<|im_end|>' and smol.special_text(None) == ''


@settings(deadline=None)
@given(text=st.text('aé漢😀 ', max_size=12), data=st.data())
def test_a_cut_answer_decodes_to_the_beginning_of_its_text(text, data):
    tokenizer = _cached('smollm')
    ids = tokenizer.encode(text)
    cut = data.draw(st.integers(0, len(ids)))
    assert text.startswith(tokenizer.decode(ids[:cut]))


def test_decoding_replaces_what_is_no_text_and_drops_what_is_unfinished(smol):
    lone, e_acute = smol.encode('é')[:1], smol.encode('é')
    byte = {smol.token_bytes(index): index for index in range(smol.vocab_size)}
    assert smol.decode([byte[b'\xa9'], *smol.encode('a')]) == '\ufffda'
    assert smol.decode([*smol.encode('a'), byte[b'\xf0'], byte[b'\x9f']]) == 'a'
    assert smol.decode([10**9, -1, *e_acute]) == 'é'
    assert len(smol.token_bytes(lone[0])) >= 1


def test_every_id_has_bytes(smol):
    pieces = smol.all_token_bytes(smol.vocab_size + 3)
    assert len(pieces) == smol.vocab_size + 3 and pieces[-3:] == [b''] * 3
    assert pieces[0] == b'' and pieces[smol.encode('the')[0]] == b'the'
    assert pieces[smol.encode('<tool>')[0]] == b'<tool>'
    spaced = _cached('llama')
    assert spaced.token_bytes(spaced.encode('the')[0]) == b' the'
    assert spaced.token_bytes(3 + 0x0A) == b'\n' and spaced.token_bytes(0) == b''


def test_the_byte_alphabet_is_one_to_one():
    alphabet = byte_alphabet()
    assert sorted(alphabet) == list(range(256)) and len(set(alphabet.values())) == 256
    assert alphabet[ord('a')] == 'a' and alphabet[ord(' ')] == 'Ġ' and alphabet[ord('\n')] == 'Ċ'


def test_roles(smol):
    assert (smol.bos_id, smol.eos_ids, smol.pad, smol.add_bos) == (1, (2, 0), 2, False)
    assert _cached('llama').add_bos and _cached('llama').eos_ids == (2,)
    assert Tokenizer.from_gguf(_without(family('llama-bpe'), 'tokenizer.ggml.add_bos_token')).add_bos


def test_digest_tells_tokenizers_apart(smol):
    assert smol.digest == Tokenizer.from_gguf(family('smollm')).digest
    others = [
        family('qwen2'),
        family('smollm') | {'tokenizer.chat_template': 'x'},
        family('smollm') | {'tokenizer.ggml.add_bos_token': True},
    ]
    assert len({smol.digest, *(Tokenizer.from_gguf(other).digest for other in others)}) == 4


def test_an_embedding_that_is_too_small_is_refused(smol):
    smol.check_fits(smol.vocab_size)
    smol.check_fits(smol.vocab_size + 100)
    with pytest.raises(TokenizerError, match=f'largest id is {smol.vocab_size - 1}.*below {smol.vocab_size - 1}'):
        smol.check_fits(smol.vocab_size - 1)


def test_lone_surrogates_are_refused(smol):
    with pytest.raises(TokenizerError, match='lone surrogate'):
        smol.encode('a\ud800')


def test_a_byte_without_a_piece_is_refused_not_dropped(smol):
    assert b'\x04' not in smol.all_token_bytes()
    with pytest.raises(TokenizerError, match='cannot write'):
        smol.encode('a\x04b')


def test_characters():
    tokenizer = Tokenizer.from_characters('0123456789+=\n')
    assert tokenizer.encode('1+2=3\n') == [4, 13, 5, 14, 6, 15]
    assert tokenizer.decode([1, 4, 13, 5, 2]) == '1+2'
    assert (tokenizer.vocab_size, tokenizer.pad, tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (
        16,
        0,
        1,
        (2,),
        True,
    )
    with pytest.raises(TokenizerError, match='cannot write'):
        tokenizer.encode('1x2')
    for characters in ('', 'aba'):
        with pytest.raises(TokenizerError, match='once'):
            Tokenizer.from_characters(characters)


# --- a folder -----------------------------------------------------------------------------------------------------------------


def folder_json(name: str = 'smollm') -> dict:
    """The small vocabulary as `tokenizer.json`, special pieces as added tokens."""
    gguf = family(name)
    specials = {piece: index for index, piece in enumerate(gguf['tokenizer.ggml.tokens'][:3])}
    data = json.loads(Tokenizer.from_gguf(gguf)._definition.backend.to_str())
    data['model']['vocab'] |= specials
    flags = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
    data['added_tokens'] = [{'id': index, 'content': piece, **flags} for piece, index in specials.items()] + data[
        'added_tokens'
    ]
    return data


CONFIG = {'bos_token': '<|im_start|>', 'eos_token': {'content': '<|im_end|>'}, 'chat_template': 'from config'}


def write_folder(folder: Path, data: object, config: Any = CONFIG, **files: str) -> Path:
    text = data if isinstance(data, str) else json.dumps(data)
    (folder / 'tokenizer.json').write_text(text, encoding='utf-8')
    (folder / 'tokenizer_config.json').write_text(json.dumps(config), encoding='utf-8')
    for name, content in files.items():
        (folder / name.replace('__', '.')).write_text(content, encoding='utf-8')
    return folder


def test_a_folder_gives_the_same_ids_as_the_gguf(tmp_path, smol):
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, folder_json()))
    for text in GOLDEN['texts']:
        try:
            expected = smol.encode(text)
        except TokenizerError:
            continue
        assert tokenizer.encode(text) == expected
        assert tokenizer.encode(text, special=True) == smol.encode(text, special=True)
        assert tokenizer.decode(expected) == text
    assert tokenizer.all_token_bytes() == smol.all_token_bytes()
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (1, (2, 0), False)
    assert tokenizer.chat_template == 'from config'


def test_a_folder_may_say_more(tmp_path):
    data = folder_json()
    data['post_processor'] = {
        'type': 'TemplateProcessing',
        'single': [{'SpecialToken': {'id': '<|im_start|>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}],
        'pair': [{'Sequence': {'id': 'A', 'type_id': 0}}, {'Sequence': {'id': 'B', 'type_id': 0}}],
        'special_tokens': {'<|im_start|>': {'id': '<|im_start|>', 'ids': [1], 'tokens': ['<|im_start|>']}},
    }
    data['truncation'] = {'direction': 'Right', 'max_length': 2, 'strategy': 'LongestFirst', 'stride': 0}
    files = {'chat_template__jinja': 'from file', 'generation_config__json': '{"eos_token_id": [7, 2]}'}
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data, **files))
    assert tokenizer.add_bos and tokenizer.eos_ids == (2, 7, 0)
    assert tokenizer.chat_template == 'from file'
    assert len(tokenizer.encode('one two three four')) > 2
    assert tokenizer.encode('a') == Tokenizer.from_folder(
        write_folder(tmp_path, data, CONFIG | {'add_bos_token': False})
    ).encode('a')
    assert not Tokenizer.from_folder(tmp_path).add_bos


def test_the_template_of_a_folder_is_text_wherever_it_is(tmp_path):
    apart = {'chat_template__json': '{"chat_template": "apart"}'}
    folder = write_folder(tmp_path, folder_json(), CONFIG | {'chat_template': None}, **apart)
    assert Tokenizer.from_folder(folder).chat_template == 'apart'
    several = [{'name': ['default'], 'template': 'odd'}, {'name': 'rag', 'template': 'no'}]
    write_folder(tmp_path, folder_json(), CONFIG | {'chat_template': [*several, {'name': 'default', 'template': 'yes'}]})
    assert Tokenizer.from_folder(folder).chat_template == 'yes'
    write_folder(tmp_path, folder_json(), CONFIG | {'chat_template': several})
    assert Tokenizer.from_folder(folder).chat_template == 'apart'
    write_folder(tmp_path, folder_json(), CONFIG | {'chat_template': 3})
    with pytest.raises(TokenizerError, match='tokenizer_config.json: chat_template must be text, got int'):
        Tokenizer.from_folder(folder)


def test_ends_of_turns_in_a_folder_are_control_whatever_it_says(tmp_path):
    data = folder_json()
    data['added_tokens'][2]['special'] = False
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data))
    assert 2 not in tokenizer.encode('a<|im_end|>') and tokenizer.encode('<|im_end|>', special=True) == [2]
    assert tokenizer.token_bytes(2) == b''


def test_special_tokens_swallow_space_as_they_say(tmp_path):
    data = folder_json()
    data['added_tokens'][2]['rstrip'] = data['added_tokens'][1]['lstrip'] = True
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data))
    a = tokenizer.encode('a')
    assert tokenizer.encode('a \n<|im_start|>a<|im_end|>\n\na', special=True) == [*a, 1, *a, 2, *a]


def test_a_prefix_space_stands_where_the_scheme_says(tmp_path):
    pieces = ['<unk>', '<s>', '</s>', '▁', 'a', 'b', '▁a', '▁b']
    flags = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
    for scheme, expected in (('first', [6, 2, 5]), ('always', [6, 2, 7]), ('never', [4, 2, 5])):
        model = tokenizers.models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)}, merges=[('▁', 'a'), ('▁', 'b')], unk_token='<unk>'
        )
        backend = tokenizers.Tokenizer(model)
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme)
        data = json.loads(backend.to_str())
        data['added_tokens'] = [{'id': index, 'content': pieces[index], **flags} for index in range(3)]
        tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data, {'eos_token': '</s>'}))
        assert tokenizer.encode('a</s>b', special=True) == expected
        assert tokenizer.decode(tokenizer.encode('a')) == 'a'
        assert tokenizer.encode('ac')[-1] == 0  # an unknown character has its token


# --- damaged and hostile ------------------------------------------------------------------------------------------------------


def _without(mapping: dict, key: str) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


GGUF_DAMAGE = {
    'no model': (lambda m: _without(m, 'tokenizer.ggml.model'), 'model is None'),
    'other model': (lambda m: m | {'tokenizer.ggml.model': 'bert'}, "'bert'.*gpt2"),
    'no tokens': (lambda m: _without(m, 'tokenizer.ggml.tokens'), 'array of text'),
    'tokens are text': (lambda m: m | {'tokenizer.ggml.tokens': 'abc'}, 'array of text'),
    'no token at all': (lambda m: m | {'tokenizer.ggml.tokens': [], 'tokenizer.ggml.token_type': []}, 'empty'),
    'empty token': (lambda m: m | {'tokenizer.ggml.tokens': ['', *m['tokenizer.ggml.tokens'][1:]]}, 'not empty'),
    'token twice': (lambda m: m | {'tokenizer.ggml.tokens': ['!', *m['tokenizer.ggml.tokens'][1:]]}, 'two ids'),
    'types are text': (lambda m: m | {'tokenizer.ggml.token_type': ['a']}, 'array of numbers'),
    'types are a number': (lambda m: m | {'tokenizer.ggml.token_type': 1}, 'array of numbers'),
    'end is text': (lambda m: m | {'tokenizer.ggml.eos_token_id': '2'}, 'expected an id'),
    'types too few': (lambda m: m | {'tokenizer.ggml.token_type': [1]}, 'token types'),
    'no merges': (lambda m: _without(m, 'tokenizer.ggml.merges'), 'merges'),
    'merge of unknown pieces': (lambda m: m | {'tokenizer.ggml.merges': ['qqq zzz']}, 'qqq zzz'),
    'merge of one piece': (lambda m: m | {'tokenizer.ggml.merges': ['the']}, 'not in the vocabulary'),
    'other cut': (lambda m: m | {'tokenizer.ggml.pre': 'unheard-of'}, 'unheard-of.*smollm'),
    'no end': (lambda m: _without(m, 'tokenizer.ggml.eos_token_id') | {'tokenizer.ggml.token_type': [1] * 3}, 'types|end'),
    'end outside': (lambda m: m | {'tokenizer.ggml.eos_token_id': 10**6}, 'outside'),
    'beginning outside': (lambda m: m | {'tokenizer.ggml.bos_token_id': 10**6}, 'outside'),
}


@pytest.mark.parametrize('damage', GGUF_DAMAGE)
def test_a_damaged_gguf_tokenizer_is_refused(damage):
    change, message = GGUF_DAMAGE[damage]
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_gguf(change(family('smollm')))
    assert '\n' not in str(caught.value)


def test_a_gguf_without_an_end_is_refused():
    metadata = _without(family('smollm'), 'tokenizer.ggml.eos_token_id')
    metadata['tokenizer.ggml.tokens'] = ['<a>', '<b>', '<c>', *metadata['tokenizer.ggml.tokens'][3:]]
    with pytest.raises(TokenizerError, match='end-of-sequence'):
        Tokenizer.from_gguf(metadata)


def test_ends_of_turns_are_control_whatever_the_file_says():
    metadata = family('smollm')
    metadata['tokenizer.ggml.token_type'] = [4, 4, 4, *metadata['tokenizer.ggml.token_type'][3:]]
    tokenizer = Tokenizer.from_gguf(metadata)
    assert not {0, 1, 2} & set(tokenizer.encode('<|im_start|>a<|im_end|><|endoftext|>'))


@pytest.mark.parametrize(
    'scores, message', [([0.0], 'one score'), (['a'], 'numbers'), ([float('nan')], 'numbers'), (None, 'numbers')]
)
def test_scores_must_fit_the_pieces(scores, message):
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_gguf(family('llama') | {'tokenizer.ggml.scores': scores})


def _changed(change) -> dict:
    data = folder_json()
    change(data)
    return data


def _add(**entry) -> dict:
    flags = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
    return _changed(lambda data: data['added_tokens'].append(flags | entry))


def _regex(expression: str) -> dict:
    step = {'type': 'Replace', 'pattern': {'Regex': expression}, 'content': 'x'}
    return _changed(lambda data: data.update(normalizer=step))


FOLDER_DAMAGE = {
    'not JSON': (lambda: '{"model": ', 'damaged'),
    'a list': (lambda: '[]', 'expected a JSON object'),
    'nested': (lambda: '[' * 100_000, 'damaged'),
    'key twice': (lambda: '{"model": 1, "model": 2}', 'twice'),
    'no model': (lambda: _changed(lambda data: data.pop('model')), 'supported is BPE'),
    'unigram': (lambda: _changed(lambda data: data['model'].update(type='Unigram')), 'Unigram'),
    'id twice': (lambda: _changed(lambda data: data['model']['vocab'].update({'zzzz': 5})), 'belongs to both'),
    'id negative': (lambda: _changed(lambda data: data['model']['vocab'].update({'zzzz': -5})), 'expected 0 to'),
    'id huge': (lambda: _changed(lambda data: data['model']['vocab'].update({'zzzz': 2**40})), 'expected 0 to'),
    'id text': (lambda: _changed(lambda data: data['model']['vocab'].update({'zzzz': 'five'})), 'expected 0 to'),
    'merge of unknown pieces': (lambda: _changed(lambda data: data['model']['merges'].append(['qq', 'zz'])), 'damaged'),
    'random merges': (lambda: _changed(lambda data: data['model'].update(dropout=0.5)), 'dropout'),
    'empty added token': (lambda: _add(id=5000, content=''), 'no text'),
    'added token without id': (lambda: _add(content='<x>'), 'lacks id'),
    'added token twice': (lambda: _add(id=2, content='<|im_end|>'), 'twice'),
    'added token with the id of another': (lambda: _add(id=5, content='<x>'), 'belongs to both'),
    'added token after a hole': (lambda: _add(id=5000, content='<x>'), 'hole'),
    'exponential expression': (lambda: _regex('(a+)+$'), 'repeats a group'),
    'long expression': (lambda: _regex('a' * 10_000), 'too long'),
    'broken expression': (lambda: _regex('a('), 'damaged'),
}


@pytest.mark.parametrize('damage', FOLDER_DAMAGE)
def test_a_damaged_folder_is_refused_at_once(tmp_path, damage):
    make, message = FOLDER_DAMAGE[damage]
    began = time.monotonic()
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_folder(write_folder(tmp_path, make())).encode('a' * 40 + 'b')
    assert '\n' not in str(caught.value)
    assert time.monotonic() - began < 5


def test_a_folder_without_an_end_is_refused(tmp_path):
    data = _changed(lambda data: data.update(added_tokens=[]))
    with pytest.raises(TokenizerError, match='end-of-sequence'):
        Tokenizer.from_folder(write_folder(tmp_path, data, {}))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match='no tokenizer.json'):
        Tokenizer.from_folder(tmp_path)


def test_a_hole_in_the_ids_is_harmless(tmp_path):
    data = folder_json()
    del data['model']['vocab']['~']  # a piece that no merge needs
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data))
    hole = SMALL['gpt2']['tokenizer.ggml.tokens'].index('~')
    assert tokenizer.token_bytes(hole) == b'' and tokenizer.decode([hole]) == ''
    with pytest.raises(TokenizerError, match='cannot write'):
        tokenizer.encode('~')


def test_an_expression_that_gives_up_is_an_error(tmp_path, capfd):
    began = time.monotonic()
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, _regex('(?:a|aa|aaa)?' * 30 + 'a*a*a*a*a*a*a*$')))
    with pytest.raises(TokenizerError, match='could not encode'):
        tokenizer.encode('a' * 200 + 'b')
    assert time.monotonic() - began < 20
    capfd.readouterr()  # the backend prints where it gave up


def test_a_special_token_that_text_can_write_is_an_error(tmp_path):
    data = folder_json()
    data['added_tokens'].append(
        {
            'id': data['model']['vocab']['the'],
            'content': 'the',
            'single_word': False,
            'lstrip': False,
            'rstrip': False,
            'normalized': False,
            'special': True,
        }
    )
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, data))
    with pytest.raises(TokenizerError, match='came out as the special token'):
        tokenizer.encode('the')
