"""Rows of a cache copied, in the cache's own memory.

XLA on a CPU has no such copy in bfloat16: whatever writes into a part of an array there turns the whole of it into float32 and
back (for one row of SmolLM2's cache of 64, 35 milliseconds against 0.3 in float32).
"""

import jax
import jax.numpy as jnp
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, num_inputs, variant
from jaxreason.kernels.machine import load_int, load_word, store_word

# Operands; the last one is missing where rows are copied within the first.
_TARGET, _FROM, _TO, _COUNT, _SOURCE = range(5)


def copy_rows(target: jax.Array, source: jax.Array | None, from_p: jax.Array, to_p: jax.Array, count: jax.Array) -> jax.Array:
    """Copies rows one after the other.

    Args:
        target: [b, g, x, y] float32 or bfloat16, written in place; a row's head has a multiple of 8 bytes.
        source: [c, g, x, y], of the same dtype; None for the target itself.
        from_p: int32, rows of the source.
        to_p: int32, rows of the target.
        count: int32, how many of them are meant.
    """
    sources = () if source is None else (source,)
    kernel, like = _COPY[target.dtype.name], jax.ShapeDtypeStruct(target.shape, target.dtype)
    return kernel(like, target, from_p, to_p, jnp.reshape(count, 1), *sources, aliases={_TARGET: 0})


@njit(**OPTIONS)
def _count(frame):
    return input_size(frame, _TARGET, 1)


def _work(dtype, size):
    @variant(f'copy_{dtype}')
    def work(frame, item, num_threads):
        """One head of all rows, so that rows are copied in their order."""
        heads = input_size(frame, _TARGET, 1)
        part = size * input_size(frame, _TARGET, 2) * input_size(frame, _TARGET, 3)
        target = input_at(frame, _TARGET)
        source = input_at(frame, _SOURCE) if num_inputs(frame) > _SOURCE else target
        for index in range(load_int(input_at(frame, _COUNT))):
            read = source + part * (heads * load_int(input_at(frame, _FROM) + 4 * index) + item)
            write = target + part * (heads * load_int(input_at(frame, _TO) + 4 * index) + item)
            for offset in range(0, part, 8):
                store_word(write + offset, load_word(read + offset))

    return work


_COPY = {name: Kernel(f'copy_rows_{name}', _count, _work(name, size)) for name, size in (('float32', 4), ('bfloat16', 2))}
