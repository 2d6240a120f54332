"""Words put behind what a policy wrote: which of its tokens stay, and the tokens of the words.

Tokens are the state and are never split. What stays keeps the tokens that wrote it; where it ends within a token, the rest of
it is encoded anew together with the words, as text that goes on and does not begin.
"""

import codecs
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.core.errors import TokenizerError
from jaxreason.data.prompts import encode_continued
from jaxreason.data.tokenizer import Tokenizer

_CHARACTER = 4  # bytes of the longest


class Continuation(NamedTuple):
    """The number of leading tokens that stay, and the tokens behind them."""

    kept: int
    new: tuple[int, ...]


def continuation(
    tokenizer: Tokenizer, tokens: Sequence[int], text: str, cut: str = '', stop_strings: Sequence[str] = ()
) -> Continuation:
    """Puts words behind an answer.

    Args:
        tokenizer: of the policy.
        tokens: of the answer, without an end token; a character that is not finished is dropped.
        text: the words; special pieces of the tokenizer written in them stand for themselves.
        cut: what the answer says from the first of these on is dropped; '' for none.
        stop_strings: likewise.

    Raises:
        TokenizerError: the vocabulary cannot write the words.
    """
    data = b''.join(map(tokenizer.token_bytes, tokens))
    stays = data[: _end(data, [cut, *stop_strings])]
    ends = list(itertools.accumulate((len(tokenizer.token_bytes(token)) for token in tokens), initial=0))
    whole = sum(end <= len(stays) for end in ends) - 1
    # A token may begin within a character: then the tokens that begin it are encoded anew too.
    for kept in range(whole, max(-1, whole - _CHARACTER), -1):
        rest = stays[ends[kept] :].decode('utf-8', errors='ignore')
        if rest.encode() == stays[ends[kept] :]:
            break
    else:
        kept, rest = whole, stays[ends[whole] :].decode('utf-8', errors='replace')
    runs = [run for run in tokenizer.split_special(text) if run != '']
    if rest:
        runs = [rest + runs[0], *runs[1:]] if runs and isinstance(runs[0], str) else [rest, *runs]
    return Continuation(kept, tuple(_encode_on(tokenizer, runs)))


def _end(data: bytes, marks: Sequence[str]) -> int:
    """Bytes before the first of the marks, or before a character that is not finished."""
    found = [at for mark in marks if mark and (at := data.find(mark.encode())) >= 0]
    if found:
        return min(found)
    decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
    decoder.decode(data)
    return len(data) - len(decoder.getstate()[0])


def _encode_on(tokenizer: Tokenizer, runs: list[str | int]) -> list[int]:
    """The tokens of runs that go on: no space of a beginning is put in front of them."""
    if not runs:
        return []
    id_before = tokenizer.eos_ids[0]
    ids = encode_continued(tokenizer, [id_before, *runs], '')[1:]
    if not isinstance(runs[0], str) or not b''.join(map(tokenizer.token_bytes, ids)).startswith(f' {runs[0]}'.encode()):
        return ids
    # This encoder writes a space after a special piece: what goes on must be encoded behind text, which is then taken off.
    for before in ('\n', '.'):
        ids = encode_continued(tokenizer, [id_before, before + runs[0], *runs[1:]], '')[1:]
        ends = list(itertools.accumulate(len(tokenizer.token_bytes(index)) for index in ids))
        if len(before) + 1 in ends:
            return ids[ends.index(len(before) + 1) + 1 :]
    raise TokenizerError(f'tokenizer: cannot write {runs[0]!r} in the middle of a text; use other words.')
