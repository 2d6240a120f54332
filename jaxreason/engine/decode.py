"""The decode loop: many steps on the device for one call from the host.

Legend: `b` rows, `c` steps of a chunk, `v` vocabulary, `m` states of the boundary table.

Every row feeds its last token, draws the next one under its own key, and walks the boundary table; it halts at an end token, at
a stop string, at a step boundary if asked, or when its allowance is used. The loop ends after `c` steps, when no row is left,
or earlier when the host could replace a row that has halted. Where it ends changes no token: a draw is addressed by the row's
key and its own position, and a row's arithmetic does not see its neighbours.
"""

import enum
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.keys import wrap_key
from jaxreason.data.boundaries import STEP, STOP
from jaxreason.engine.read_heads import ReadHead, read_heads
from jaxreason.engine.sampling import Rule, draw, top_confidence
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.transformer import forward


class Halt(enum.IntEnum):
    """Why a row takes no further part in a chunk."""

    NONE = 0  # allowance used, or chunk over
    STEP = 1
    STOP = 2
    FAILED = 3


@struct.dataclass
class RowState:
    """What the host keeps of every row between chunks, besides its keys and values."""

    token: Any  # [b] int32, the token to feed next
    key: Any  # [b, 2] uint32, key data that addresses the row's draws
    drawn: Any  # [b] int32, tokens drawn since the prompt
    matcher: Any  # [b] int32, state in the boundary table
    left: Any  # [b] int32, tokens that may still be drawn now; 0 for an idle row
    until_step: Any  # [b] bool, halt at a step boundary
    greedy: Any  # [b] bool

    @classmethod
    def idle(cls, num_rows: int) -> 'RowState':
        """No row at work; NumPy, so that the host can write into it."""
        ints = lambda: np.zeros(num_rows, np.int32)  # noqa: E731
        flags = lambda: np.zeros(num_rows, bool)  # noqa: E731
        key = np.zeros((num_rows, 2), np.uint32)
        return cls(token=ints(), key=key, drawn=ints(), matcher=ints(), left=ints(), until_step=flags(), greedy=flags())


@struct.dataclass
class Tables:
    """What a token does to a row: the compiled boundaries and the tokens that end a text."""

    transition: Any  # [m, v] int, next state
    event: Any  # [m, v] uint8, bits STEP and STOP completed within the token
    ends: Any  # [v] bool


@struct.dataclass
class Chunk:
    """What a chunk drew; entries at and after `count` of a row mean nothing."""

    tokens: Any  # [b, c] int32
    stats: Any  # name -> [b, c] float32
    count: Any  # [b] int32
    halt: Any  # [b] int32, a Halt
    steps: Any  # [] int32, steps that the device ran


@functools.partial(
    jax.jit,
    static_argnames=('config', 'rule', 'stats', 'confidence_top_k', 'length', 'rows_per_slot'),
    donate_argnames=('cache',),
)
def decode_chunk(
    config: ModelConfig,
    params: Any,
    cache: Cache,
    rows: RowState,
    tables: Tables,
    wake: jax.Array,
    limit: jax.Array,
    heads: Mapping[str, ReadHead] | None = None,
    *,
    rule: Rule,
    stats: tuple[str, ...],
    confidence_top_k: int = 20,
    length: int,
    rows_per_slot: int,
) -> tuple[Cache, RowState, Chunk]:
    """Draws up to `length` tokens for every row.

    Args:
        config: the policy.
        params: its parameters.
        cache: donated.
        rows: `left` says which rows take part.
        tables: what a token does.
        wake: [2] bool; end early when a row has halted, when all rows of a slot have.
        limit: [] int32, end after this many steps; traced, so that it may change without compiling anew.
        heads: read at the state before every token, by name.
        rule: the distribution drawn from.
        stats: what to keep of every token: fields of `Draw`, `confidence`, and what the heads say; what is not asked for is not
            computed.
        confidence_top_k: tokens that `confidence` looks at (`top_confidence`).
        length: most steps, and what is allocated for them.
        rows_per_slot: rows that share a prompt.
    """
    began_b = rows.left > 0

    def wanted(carry):
        step, _, rows, _ = carry
        halted_b = began_b & (rows.left == 0)
        slot_done = jnp.all((rows.left == 0).reshape(-1, rows_per_slot), axis=-1) & jnp.any(
            began_b.reshape(-1, rows_per_slot), axis=-1
        )
        woken = (wake[0] & jnp.any(halted_b)) | (wake[1] & jnp.any(slot_done))
        return (step < jnp.minimum(limit, length)) & jnp.any(rows.left > 0) & ~woken

    def advance(carry):
        step, cache, rows, chunk = carry
        active_b = rows.left > 0
        positions_b = jnp.where(active_b, cache.next_position(), -1)
        hidden_b1d, cache = forward(config, params, rows.token[:, None], positions_b[:, None], cache)
        logits_bv = lm_logits(config, params, hidden_b1d)[:, 0]
        drawn = draw(logits_bv, uniform_cb[step], rows.greedy, rule, by_kernel='packed_head' in params)
        token_b = jnp.where(drawn.finite, drawn.token, 0)
        halt_b = _halts(rows, tables, token_b, drawn.finite)
        took_b = active_b & drawn.finite
        known = {**vars(drawn), **read_heads(config, params, heads or {}, hidden_b1d, token_b)}
        if 'confidence' in stats:
            known['confidence'] = top_confidence(logits_bv, confidence_top_k)
        chunk = chunk.replace(
            tokens=chunk.tokens.at[:, step].set(token_b),
            stats={name: values.at[:, step].set(known[name]) for name, values in chunk.stats.items()},
            count=chunk.count + took_b,
            halt=jnp.where(active_b, halt_b, chunk.halt),
            steps=step + 1,
        )
        rows = rows.replace(
            token=jnp.where(took_b, token_b, rows.token),
            drawn=rows.drawn + took_b,
            matcher=jnp.where(took_b, tables.transition[rows.matcher, token_b].astype(jnp.int32), rows.matcher),
            left=jnp.where(active_b & (halt_b == Halt.NONE), rows.left - 1, 0),
        )
        return step + 1, cache, rows, chunk

    uniform_cb = _uniform(rows.key, rows.drawn, length)
    empty = _nothing_drawn(began_b.shape[0], length, stats)
    _, cache, rows, chunk = lax.while_loop(wanted, advance, (jnp.int32(0), cache, rows, empty))
    return cache, rows, chunk


def _nothing_drawn(b: int, c: int, stats: tuple[str, ...]) -> Chunk:
    counts = jnp.zeros(b, jnp.int32)
    floats = {name: jnp.zeros((b, c), jnp.float32) for name in stats}
    return Chunk(tokens=jnp.zeros((b, c), jnp.int32), stats=floats, count=counts, halt=counts, steps=jnp.int32(0))


def _halts(rows: RowState, tables: Tables, token_b: jax.Array, finite_b: jax.Array) -> jax.Array:
    """Why each row would halt with this token, a `Halt`; where several reasons hold, the gravest."""
    event_b = tables.event[rows.matcher, token_b]
    is_stop_b = tables.ends[token_b] | ((event_b & STOP) > 0)
    is_step_b = rows.until_step & ((event_b & STEP) > 0)
    halt_b = jnp.where(is_stop_b, Halt.STOP, jnp.where(is_step_b, Halt.STEP, Halt.NONE))
    return jnp.where(finite_b, halt_b, Halt.FAILED)


def _uniform(key_b2: jax.Array, drawn_b: jax.Array, c: int) -> jax.Array:
    """Numbers in [0, 1) for the next tokens of every row, [c, b]: each addressed by the row's key and its position.

    All at once: a CPU spends a tenth of a small policy's step on the few numbers of one.
    """

    def one(key_data, position):
        return jax.random.uniform(jax.random.fold_in(wrap_key(key_data), position), dtype=jnp.float32)

    positions_cb = drawn_b[None, :] + jnp.arange(c, dtype=drawn_b.dtype)[:, None]
    return jax.vmap(jax.vmap(one), in_axes=(None, 0))(key_b2, positions_cb)
