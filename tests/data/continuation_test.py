"""Words behind an answer, in tokens: which stay, what is encoded anew, and that no beginning is written in the middle."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import TokenizerError
from jaxreason.data.continuation import continuation
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from tests.data.prompts_test import STYLES, TOKENIZERS

SMOL = TOKENIZERS['smollm']


def written(tokenizer: Tokenizer, tokens) -> bytes:
    return b''.join(map(tokenizer.token_bytes, tokens))


def body(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokens of a text in the middle of others."""
    return list(continuation(tokenizer, [], text).new)


@pytest.mark.parametrize('style', STYLES)
@settings(deadline=None, max_examples=80)
@given(
    said=st.text('ab1 \n.é漢', max_size=12),
    text=st.text('ab1 \n.é', min_size=1, max_size=8),
    cut=st.sampled_from(['', 'a', '1.', '\n\n', '漢']),
)
def test_the_text_is_what_stays_and_the_words(style, said, text, cut):
    tokenizer = TOKENIZERS[style]
    tokens = body(tokenizer, said)
    kept, new = continuation(tokenizer, tokens, text, cut)
    stays = said.partition(cut)[0] if cut else said
    assert written(tokenizer, (*tokens[:kept], *new)) == (stays + text).encode()
    # No token more is given up than the one that is cut and those that share a character with it.
    ends = list(itertools.accumulate(len(tokenizer.token_bytes(token)) for token in tokens))
    whole = sum(end <= len(stays.encode()) for end in ends)
    assert whole - kept <= 3 and (kept == whole or written(tokenizer, tokens[kept:whole]).decode(errors='ignore') == '')


@pytest.mark.parametrize('style', STYLES)
def test_words_are_encoded_as_in_an_uninterrupted_text(style):
    tokenizer, spec = TOKENIZERS[style], PromptSpec()
    prompt = spec.encode(tokenizer, 'How many?')
    before, words = 'It is 4.\n\n', 'No, it is 5.'
    whole = spec.encode(tokenizer, 'How many?', before + words)
    tokens = spec.encode(tokenizer, 'How many?', before)[len(prompt) :]
    kept, new = continuation(tokenizer, tokens, words)
    assert [*prompt, *tokens[:kept], *new] == whole and kept == len(tokens)


def test_a_token_that_is_cut_is_written_anew():
    tokens = SMOL.encode('is the')
    assert len(tokens) < len('is the')
    kept, new = continuation(SMOL, tokens, 'en', cut='e')
    assert written(SMOL, (*tokens[:kept], *new)) == b'is then' and kept < len(tokens)
    assert new == tuple(body(SMOL, written(SMOL, tokens[kept:]).decode().partition('e')[0] + 'en'))


def test_the_first_mark_and_the_first_stop_string_count():
    tokens = SMOL.encode('a</think>b</think>c')
    kept, new = continuation(SMOL, tokens, 'W', '</think>')
    assert written(SMOL, (*tokens[:kept], *new)) == b'aW'
    kept, new = continuation(SMOL, tokens, 'W', 'c', ('b<',))
    assert written(SMOL, (*tokens[:kept], *new)) == b'a</think>W'


def test_an_unfinished_character_is_dropped_and_a_broken_one_is_kept():
    e = [token for token in range(SMOL.vocab_size) if SMOL.token_bytes(token) == b'\xc3'][:1]
    a = SMOL.encode('a')
    assert continuation(SMOL, [*a, *e], 'W') == (1, tuple(SMOL.encode('W')))
    assert continuation(SMOL, [*a, *e, *a], 'W') == (3, tuple(SMOL.encode('W')))


def test_special_pieces_count_in_the_words_and_not_in_what_was_said():
    tokens = SMOL.encode('<|im_start|>x')
    kept, new = continuation(SMOL, tokens, '<|im_end|>W', cut='im_start|>x')
    special = SMOL.encode('<|im_end|>', special=True)
    assert len(special) == 1
    assert new[-2:] == (*special, *SMOL.encode('W')) and written(SMOL, (*tokens[:kept], *new)) == b'<|W'
    assert set(new[:-2]).isdisjoint(SMOL.eos_ids)


def test_nothing_may_be_put_behind_anything():
    tokens = SMOL.encode('ab</think>')
    kept, new = continuation(SMOL, tokens, '', '</think>')
    assert written(SMOL, (*tokens[:kept], *new)) == b'ab'


def test_what_the_vocabulary_cannot_write_is_refused():
    with pytest.raises(TokenizerError, match='cannot write'):
        continuation(Tokenizer.from_characters('ab'), [3], 'Wait')


def test_a_vocabulary_without_letters_can_write_a_line_break():
    digits = Tokenizer.from_characters('0123456789\n')
    assert continuation(digits, digits.encode('12\n3'), '\n') == (4, tuple(digits.encode('\n')))
