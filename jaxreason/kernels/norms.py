"""Root-mean-square norm in one pass over a row."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at, variant
from jaxreason.kernels.machine import LANES, load_float
from jaxreason.kernels.vectors import norm_bfloat16, norm_float32, sum_of_squares

_ROWS_AN_ITEM = 16


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float, dtype: str) -> jax.Array:
    """Divides rows by their root mean square, then scales each channel.

    Args:
        x: float32 [rows, width], the width a multiple of 16.
        scale: float32 [width].
        epsilon: added to the mean square.
        dtype: of the result, float32 or bfloat16.
    """
    return _NORM[dtype](jax.ShapeDtypeStruct(x.shape, dtype), x, scale, jnp.float32(epsilon))


@njit(**OPTIONS)
def _count(frame):
    return (input_size(frame, 0, 0) + _ROWS_AN_ITEM - 1) // _ROWS_AN_ITEM


def _work(dtype, norm, size):
    @variant(dtype)
    def work(frame, item, num_threads):
        x, scales, epsilon, out = input_at(frame, 0), input_at(frame, 1), load_float(input_at(frame, 2)), output_at(frame, 0)
        num_rows, width = input_size(frame, 0, 0), input_size(frame, 0, 1)
        for row in range(item * _ROWS_AN_ITEM, min((item + 1) * _ROWS_AN_ITEM, num_rows)):
            given = x + 4 * width * row
            mean_square = sum_of_squares(given, width // LANES) / width
            norm(given, out + size * width * row, width // LANES, scales, np.float32(1.0 / math.sqrt(mean_square + epsilon)))

    return work


_WORK = {'float32': _work('float32', norm_float32, 4), 'bfloat16': _work('bfloat16', norm_bfloat16, 2)}
_NORM = {dtype: Kernel(f'rms_norm_{dtype}', _count, work) for dtype, work in _WORK.items()}
