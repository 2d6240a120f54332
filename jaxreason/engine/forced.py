"""Words put into a row: what the row is with them, and the pass that makes their keys and statistics.

A row that has ended has left the device, so the keys of a row with words are computed anew, in pieces of a fixed length against
the keys of its prompt: one program, whatever the lengths. The words themselves go through a second program, which reads of each
what the decode loop reads of a token that it draws. A row's keys depend on its own tokens only.

Legend: `p` tokens of a piece, `v` vocabulary.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.flops import decode_flops
from jaxreason.core.types import Finish, Row
from jaxreason.data.boundaries import STEP, STOP
from jaxreason.data.continuation import continuation
from jaxreason.engine.mesh import replicate, to_host
from jaxreason.engine.read_heads import ReadHead, read_heads
from jaxreason.engine.sampling import Rule, draw, top_confidence
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.transformer import forward

if TYPE_CHECKING:
    from jaxreason.engine.sampler import Sampler

PIECE = 256  # tokens of a row that are run at once to make their keys
WORDS = 16  # tokens of the words that are run at once: each has logits over the vocabulary


def with_words(row: Row, text: str, cut: str, sampler: 'Sampler', prompt_tokens: int) -> Row:
    """`row` as it goes on behind `text`; see `core.protocols.Session.append`.

    Raises:
        ConfigError: the policy's vocabulary cannot write the words, or `cut` is no text to it.
    """
    tokenizer, ends = sampler.lm.need_tokenizer(), sampler.lm.eos_ids
    if cut and any(piece in cut for piece in tokenizer.special_pieces):
        raise ConfigError(f'{cut!r} is a special token of {sampler.lm.name}, which is no text: cut at text that it writes.')
    said = row.tokens[:-1] if row.tokens and row.tokens[-1] in ends else row.tokens
    boundaries = sampler.boundaries
    try:
        kept, new = continuation(tokenizer, said, text, cut, boundaries.stop_strings)
    except TokenizerError:
        raise ConfigError(
            f'expected words that the tokenizer of {sampler.lm.name} can write, got {text!r}: use others.'
        ) from None
    tokens = (*row.tokens[:kept], *new)
    if len(tokens) >= sampler.max_tokens or row.finish is Finish.FAILED:
        return row
    count, _, event = boundaries.follow(tokens)
    tokens = tokens[:count]
    split = boundaries.split(tokens)
    price = functools.partial(decode_flops, sampler.lm.config, prompt_tokens, kept)
    cost = Cost(decode=price(len(tokens) - kept), prompt_tokens=len(tokens) - kept, discarded=price(len(row.tokens) - kept))
    return dataclasses.replace(
        row,
        tokens=tokens,
        text=split.text,
        steps=split.steps,
        step_ends=split.step_ends,
        at_boundary=event == STEP,
        stats={name: values[:kept] for name, values in row.stats.items()},
        finish=Finish.STOP if event & STOP else Finish.OPEN,
        cost=row.cost + cost,
    )


class Fed(NamedTuple):
    """What a row with words has written, the only row of a cache; the statistics of its words, and whether none is NaN."""

    row: Cache
    stats: dict[str, tuple[float, ...]]
    is_finite: bool
    num_run: int  # positions, padding included


def feed_words(
    sampler: 'Sampler',
    params: Any,
    heads: Mapping[str, ReadHead],
    prompt: Cache,
    room: int,
    fed: Sequence[int],
    words: Sequence[int],
) -> Fed:
    """Runs the policy over a row that ends in words.

    Args:
        sampler: what is read of each token.
        params: of the policy, as its session decodes with them.
        heads: read as well.
        prompt: the keys of the row's prompt, without its last token, as the only row of a cache.
        room: tokens that a row can write.
        fed: the tokens that a row with the words has fed: the prompt's last one, then its own without the last.
        words: the tokens of the words.
    """
    config, kept = sampler.lm.config, len(fed) - len(words)
    row = replicate(Cache.empty(config, 1, 1, 0, room, sampler.resolved_cache_dtype), sampler.lm.mesh)
    piece, num_run = min(PIECE, room), 0
    for at in range(0, kept, piece):
        row = _remember(config, params, prompt, row, *_piece(fed[at : min(at + piece, kept)], piece))
        num_run += piece
    read = tuple(sorted(sampler.stats))
    stats: dict[str, tuple[float, ...]] = dict.fromkeys(read, ())
    is_finite = True
    for at in range(0, len(words), WORDS):
        some = words[at : at + WORDS]
        inputs = (*_piece(fed[kept + at : kept + at + len(some)], WORDS), _piece(some, WORDS)[0][0])
        row, said, finite_p = _force(
            config, params, prompt, row, *inputs, heads, stats=read, confidence_top_k=sampler.confidence_top_k
        )
        said, finite_p = to_host((said, finite_p), sampler.lm.mesh)
        stats = {name: (*stats[name], *said[name][: len(some)].tolist()) for name in read}
        is_finite = is_finite and bool(finite_p[: len(some)].all())
        num_run += WORDS
    return Fed(row, stats, is_finite, num_run)


def _piece(tokens: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens as a row of that size [1, p], and which of them are there [1, p]."""
    tokens_1p = np.zeros((1, size), np.int32)
    tokens_1p[0, : len(tokens)] = tokens
    return tokens_1p, np.arange(size)[None, :] < len(tokens)


def _run(config: ModelConfig, params: Any, prompt: Cache, row: Cache, tokens_1p: jax.Array, is_there_1p: jax.Array):
    """Runs a piece behind what the row has written; its hidden states, and the row."""
    cache = dataclasses.replace(row, prompt_k=prompt.k, prompt_v=prompt.v, prompt_length=prompt.length)
    places_1p = cache.next_position()[:, None] + jnp.arange(tokens_1p.shape[1], dtype=jnp.int32)[None, :]
    hidden_1pd, grown = forward(config, params, tokens_1p, jnp.where(is_there_1p, places_1p, -1), cache)
    assert grown is not None
    return hidden_1pd, dataclasses.replace(row, k=grown.k, v=grown.v, length=grown.length)


@functools.partial(jax.jit, static_argnames='config')
def _remember(
    config: ModelConfig, params: Any, prompt: Cache, row: Cache, tokens_1p: jax.Array, is_there_1p: jax.Array
) -> Cache:
    return _run(config, params, prompt, row, tokens_1p, is_there_1p)[1]


@functools.partial(jax.jit, static_argnames=('config', 'stats', 'confidence_top_k'))
def _force(
    config: ModelConfig,
    params: Any,
    prompt: Cache,
    row: Cache,
    tokens_1p: jax.Array,
    is_there_1p: jax.Array,
    words_p: jax.Array,
    heads: Mapping[str, ReadHead],
    *,
    stats: tuple[str, ...],
    confidence_top_k: int,
) -> tuple[Cache, dict[str, jax.Array], jax.Array]:
    """The row behind a piece, what is known of each of its words, and which of them had a distribution."""
    hidden_1pd, row = _run(config, params, prompt, row, tokens_1p, is_there_1p)
    hidden_p1d = jnp.swapaxes(hidden_1pd, 0, 1)
    logits_pv = lm_logits(config, params, hidden_p1d)[:, 0]
    nothing_p = jnp.zeros(words_p.shape, jnp.float32)
    drawn = draw(logits_pv, nothing_p, nothing_p == 0, Rule(temperature=0), forced_b=words_p)
    known = {**vars(drawn), **read_heads(config, params, heads, hidden_p1d, words_p)}
    if 'confidence' in stats:
        known['confidence'] = top_confidence(logits_pv, confidence_top_k)
    return row, {name: known[name] for name in stats}, drawn.finite
