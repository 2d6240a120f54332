"""Keys and values already computed: a prompt part per question, a suffix part per row.

A question's prompt lies in its *slot* once, however many rows sample from it. Rows belong to slots in fixed contiguous
groups: of b = q * r rows, rows i r .. i r + r - 1 belong to slot i. So the prompt is attended to by all of a slot's rows in
one product without gathering, a fork moves a suffix and nothing else, and a new question replaces one slot.

One array per layer, not one stacked array: compilers copy a stacked cache at every step (`forward` says where it matters).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from jaxreason.core.architecture import ModelConfig

Layers = tuple[jax.Array, ...]


@struct.dataclass
class Cache:
    """What attention remembers. Time is right-padded: the key of index j is that of the j-th token."""

    prompt_k: Layers  # per layer [q, g, h, s] cache dtype; index is position
    prompt_v: Layers  # per layer [q, g, s, h] cache dtype
    prompt_length: jax.Array  # [q] int32, tokens in the slot's prompt
    k: Layers  # per layer [b, g, h, t] cache dtype; position is the slot's prompt length + index
    v: Layers  # per layer [b, g, t, h] cache dtype
    length: jax.Array  # [b] int32, tokens each row wrote

    @classmethod
    def empty(
        cls,
        config: ModelConfig,
        num_slots: int,
        rows_per_slot: int,
        prompt_room: int,
        row_room: int,
        dtype: str | None = None,
    ) -> 'Cache':
        """Makes a cache that holds nothing.

        Args:
            config: gives layers, heads and head width.
            num_slots: questions held at once.
            rows_per_slot: rows of each question.
            prompt_room: prompt tokens a slot can hold; 0 for a cache to prefill into.
            row_room: tokens a row can write.
            dtype: of keys and values; None means `config.matmul_dtype`.
        """
        g, h = config.num_kv_heads, config.head_width
        rows = num_slots * rows_per_slot

        def layers(first: int, room: int, time_last: bool) -> Layers:
            shape = (first, g, h, room) if time_last else (first, g, room, h)
            return tuple(jnp.zeros(shape, dtype or config.matmul_dtype) for _ in range(config.num_layers))

        return cls(
            prompt_k=layers(num_slots, prompt_room, True),
            prompt_v=layers(num_slots, prompt_room, False),
            prompt_length=jnp.zeros((num_slots,), jnp.int32),
            k=layers(rows, row_room, True),
            v=layers(rows, row_room, False),
            length=jnp.zeros((rows,), jnp.int32),
        )

    @property
    def num_slots(self) -> int:
        return self.prompt_length.shape[0]

    @property
    def num_rows(self) -> int:
        return self.length.shape[0]

    @property
    def rows_per_slot(self) -> int:
        return self.num_rows // self.num_slots

    @property
    def prompt_room(self) -> int:
        return self.prompt_v[0].shape[2]

    @property
    def row_room(self) -> int:
        return self.v[0].shape[2]

    def next_position(self) -> jax.Array:
        """The position of the token that each row writes next, [b] int32."""
        return jnp.repeat(self.prompt_length, self.rows_per_slot, total_repeat_length=self.num_rows) + self.length

    def install(self, slots_p: jax.Array, prefilled: 'Cache') -> 'Cache':
        """Gives slots a new prompt and empties their rows.

        Args:
            slots_p: slot of each row of `prefilled`.
            prefilled: a cache without prompt part, one row a prompt, each prompt within this cache's `prompt_room`.

        Returns:
            The cache with those slots' prompts replaced and their rows' lengths 0. What the rows held stays, unseen; a NaN
            among it must have been wiped, since a weight of 0 on it would be NaN.
        """
        assert prefilled.prompt_room == 0, 'a prompt is prefilled as the rows of a cache without prompt part'
        rows_pr = slots_p[:, None] * self.rows_per_slot + jnp.arange(self.rows_per_slot)[None, :]
        return dataclasses.replace(
            self,
            prompt_k=tuple(_put(slots, slots_p, rows) for slots, rows in zip(self.prompt_k, prefilled.k, strict=True)),
            prompt_v=tuple(_put(slots, slots_p, rows) for slots, rows in zip(self.prompt_v, prefilled.v, strict=True)),
            prompt_length=self.prompt_length.at[slots_p].set(prefilled.length),
            length=self.length.at[rows_pr.reshape(-1)].set(0),
        )

    def copy_rows(
        self, source: 'Cache | None', from_p: jax.Array, to_p: jax.Array, count: jax.Array, by_kernel: bool = False
    ) -> 'Cache':
        """Copies suffixes, bit for bit, from any rows to any rows of slots with the same prompt: that is how a beam forks.

        Lengths stay as they are: whoever copies knows how much of a suffix the copy is to have.

        Args:
            source: a cache, of which times are copied that both have room for; None for this one, of which no row may be
                written before it is read.
            from_p: rows of the source.
            to_p: where to, each row once.
            count: [] int32, how many of them are meant; the rest means nothing.
            by_kernel: by that of the CPU, between caches with the same room.
        """
        if by_kernel:
            from jaxreason.kernels.copying import copy_rows

            def copy(x: jax.Array, *y: jax.Array) -> jax.Array:
                return copy_rows(x, y[0] if y else None, from_p, to_p, count)

            sources = () if source is None else ((source.k, source.v),)
            k, v = jax.tree.map(copy, (self.k, self.v), *sources)
            return dataclasses.replace(self, k=k, v=v)
        buffers, others = (self.k, self.v), None if source is None else (source.k, source.v)
        k, v = jax.lax.platform_dependent(buffers, others, from_p, to_p, count, cpu=_copy_in_turn, default=_copy_at_once)
        return dataclasses.replace(self, k=k, v=v)


def _copy_in_turn(buffers, others, from_p: jax.Array, to_p: jax.Array, count: jax.Array):
    # Row after row: a CPU then touches these rows only, whatever their number, and in bfloat16 converts nothing (see `_put`).
    def one(index: jax.Array, buffers):
        rows = jax.tree.map(lambda x, y: _common(x[from_p[index]], y.shape[1:]), others or buffers, buffers)
        rows = jax.lax.optimization_barrier(rows)  # else the compiler joins reading and writing, and copies whole buffers
        return jax.tree.map(lambda x, row: jax.lax.dynamic_update_slice(x, row[None], (to_p[index], 0, 0, 0)), buffers, rows)

    return jax.lax.fori_loop(0, count, one, buffers)


def _copy_at_once(buffers, others, from_p: jax.Array, to_p: jax.Array, count: jax.Array):
    to_p = jnp.where(jnp.arange(to_p.shape[0]) < count, to_p, buffers[0][0].shape[0])  # beyond the last row: dropped

    def copy(x: jax.Array, y: jax.Array) -> jax.Array:
        row = _common(y, (y.shape[0], *x.shape[1:]))[from_p]
        return x.at[to_p, : row.shape[1], : row.shape[2], : row.shape[3]].set(row, mode='drop')

    return jax.tree.map(copy, buffers, others or buffers)


def _common(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The part of `x` that an array of `shape` has room for."""
    return x[tuple(slice(size) for size in shape)]


def _put(buffer: jax.Array, places_p: jax.Array, rows: jax.Array) -> jax.Array:
    """`buffer` with some of its rows replaced, their room padded or cropped to its own."""
    rows = _with_room(rows, buffer.shape).astype(buffer.dtype)

    def one_by_one(buffer: jax.Array, places_p: jax.Array, rows: jax.Array) -> jax.Array:
        for index in range(rows.shape[0]):
            buffer = jax.lax.dynamic_update_slice(buffer, rows[index : index + 1], (places_p[index], 0, 0, 0))
        return buffer

    # A scatter into bfloat16 makes a CPU convert the whole buffer to float32 and back, ten times slower.
    return jax.lax.platform_dependent(
        buffer, places_p, rows, cpu=one_by_one, default=lambda buffer, places_p, rows: buffer.at[places_p].set(rows)
    )


def _with_room(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`x` with all but its first dimension padded with zeros, or cropped, to those of `shape`."""
    x = _common(x, (x.shape[0], *shape[1:]))
    return jnp.pad(x, [(0, 0), *((0, size - had) for size, had in zip(shape[1:], x.shape[1:], strict=True))])
