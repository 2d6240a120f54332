"""What rows have written: keys and values in places on the device, and in a pool beside them.

A fork shares its parent's suffix until one of the two has to move: who goes on there writes behind what the others read, so
only their lengths differ. Copies are planned one by one and done together, a call for each direction, whatever their number.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.models.cache import Cache


@dataclasses.dataclass(eq=False)
class Suffix:
    """Keys and values, either in a place or in the pool.

    Attributes:
        place: its row of the cache.
        spare: its row of the pool.
        shares: rows that it belongs to.
        written: tokens of the one that wrote most; only such a one may go on there while others share it.
    """

    place: int | None = None
    spare: int | None = None
    shares: int = 1
    written: int = 0


class Suffixes:
    """The device's memory for what rows write, and who has which part of it."""

    def __init__(self, cache: Cache, make_pool: Callable[[int], Cache], pool_size: int, by_kernel: bool):
        """Begins with nothing written.

        Args:
            cache: what the decode loop works on.
            make_pool: allocates a cache of so many rows with the same room.
            pool_size: rows that the pool should have, once one is parked; it grows when they are too few.
            by_kernel: rows are copied by a kernel of the CPU.
        """
        self.cache = cache
        self.at: list[Suffix | None] = [None] * cache.num_rows
        self.copied = 0  # rows, for the timing
        self.parked = 0  # of them, those that went into the pool
        self._make_pool = make_pool
        self._by_kernel = by_kernel
        self._pool_size = max(pool_size, cache.num_rows)
        self._pool: Cache | None = None
        self._spares: list[int] = []  # rows of the pool that nobody has
        self._freed: list[int] = []  # and those that a planned copy may still read
        self._lengths: dict[int, int] = {}
        self._begin()

    def _begin(self) -> None:
        # Done in this order: out of places, between places, back into places.
        self._out: list[tuple[int, int]] = []
        self._between: list[tuple[int, int]] = []
        self._back: list[tuple[int, int]] = []
        self._written: set[int] = set()

    def fresh(self, place: int) -> Suffix:
        """A suffix of nothing, in an empty place."""
        suffix = self.at[place] = Suffix(place)
        return suffix

    def bring(self, suffix: Suffix, place: int) -> Suffix:
        """One share of a suffix as a suffix of its own, in an empty place."""
        if suffix.place is not None:
            self._read(suffix.place)
            self._between.append((suffix.place, place))
        else:
            assert suffix.spare is not None, 'either in a place or in the pool'
            self._back.append((suffix.spare, place))
        self._written.add(place)
        self.copied += 1
        self.drop(suffix)
        return self.fresh(place)

    def adopt(self, row: Cache) -> Suffix:
        """A suffix in the pool, of what the only row of a cache has written."""
        spare = self._spare()
        assert self._pool is not None, 'allocated when the first row of it was given out'
        self._pool = self._copy(self._pool, row, [(0, spare)])
        return Suffix(spare=spare)

    def park(self, place: int) -> None:
        """Moves what lies in a place into the pool, if anything does."""
        suffix = self.at[place]
        if suffix is None:
            return
        self._read(place)
        suffix.place, suffix.spare = None, self._spare()
        self._out.append((place, suffix.spare))
        self.at[place] = None
        self.copied += 1
        self.parked += 1

    def drop(self, suffix: Suffix) -> None:
        """Gives up one share."""
        suffix.shares -= 1
        if suffix.shares:
            return
        if suffix.place is not None:
            self.at[suffix.place] = None
        elif suffix.spare is not None:
            self._freed.append(suffix.spare)

    def set_length(self, place: int, length: int) -> None:
        """Says how much of a suffix its row has."""
        self._lengths[place] = length

    def wipe(self, place: int, first: int) -> None:
        """Sets keys and values to 0, from one token on."""
        self.cache = _wipe(self.cache, np.int32(place), np.int32(first))

    def do(self) -> None:
        """Does what was planned."""
        if self._out:
            assert self._pool is not None, 'allocated when the first row of it was given out'
            self._pool = self._copy(self._pool, self.cache, self._out)
        if self._between:
            self.cache = self._copy(self.cache, None, self._between)
        if self._back:
            self.cache = self._copy(self.cache, self._pool, self._back)
        self._spares += self._freed
        self._freed = []
        self._begin()
        if self._lengths:
            is_set, lengths = np.zeros(len(self.at), bool), np.zeros(len(self.at), np.int32)
            is_set[list(self._lengths)], lengths[list(self._lengths)] = True, list(self._lengths.values())
            self.cache = dataclasses.replace(self.cache, length=_set_lengths(self.cache.length, is_set, lengths))
            self._lengths = {}

    def _copy(self, target: Cache, source: Cache | None, pairs: list[tuple[int, int]]) -> Cache:
        size = len(self.at)  # one shape, so one program
        for first in range(0, len(pairs), size):
            some = np.array(pairs[first : first + size], np.int32)
            indices = np.zeros((2, size), np.int32)
            indices[:, : len(some)] = some.T
            target = _copy(target, source, indices[0], indices[1], np.int32(len(some)), by_kernel=self._by_kernel)
        return target

    def _read(self, place: int) -> None:
        """Before a place is read: what is planned to be written there must have been."""
        if place in self._written:
            self.do()

    def _spare(self) -> int:
        """A free row of the pool, which grows by doubling."""
        if not self._spares:
            self.do()
        if not self._spares:
            more = self._make_pool(self._pool_size)
            self._spares = [self._pool_size * (self._pool is not None) + index for index in range(more.num_rows)]
            self._pool = more if self._pool is None else _joined(self._pool, more)
            self._pool_size = self._pool.num_rows
        return self._spares.pop()


_copy = jax.jit(Cache.copy_rows, donate_argnums=0, static_argnames='by_kernel')


@jax.jit
def _joined(pool: Cache, more: Cache) -> Cache:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), pool, more)


@jax.jit
def _set_lengths(length_b: jax.Array, is_set_b: jax.Array, new_b: jax.Array) -> jax.Array:
    return jnp.where(is_set_b, new_b, length_b)


@functools.partial(jax.jit, donate_argnums=0)
def _wipe(cache: Cache, place: jax.Array, first: jax.Array) -> Cache:
    def clean(x: jax.Array, time_axis: int) -> jax.Array:
        row = jax.lax.dynamic_slice_in_dim(x, place, 1)
        times = jax.lax.broadcasted_iota(jnp.int32, row.shape, time_axis)
        return jax.lax.dynamic_update_slice_in_dim(x, jnp.where(times < first, row, 0), place, 0)

    return dataclasses.replace(cache, k=tuple(clean(x, 3) for x in cache.k), v=tuple(clean(x, 2) for x in cache.v))
