"""Products with weights packed once: for a few rows they run as fast as memory gives the weights.

Columns lie in blocks of 32, and within a block the depth runs outermost, so that a product reads its weights in one stream. In
bfloat16 two terms of the depth are neighbours: one instruction multiplies both and adds to float32. Every element is summed in
the order of the depth, alone: how many rows there are changes no bit.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct
from numba import njit

from jaxreason.kernels.calls import OPTIONS, input_at, input_size, kernel, output_at, output_size
from jaxreason.kernels.machine import COLUMNS, MOST_ROWS, multiply_packed_bfloat16, multiply_packed_float32

_BLOCK_BYTES = 4 * COLUMNS  # of one word of the depth, weights and sums alike
_BLOCKS_AN_ITEM = 4


@struct.dataclass
class Packed:
    """Weights of a product in the order that its kernel reads them."""

    blocks: jax.Array  # [ceil(columns / 32), depth, 32] float32, or [.., depth / 2, 32, 2] bfloat16
    shape: tuple[int, ...] = struct.field(pytree_node=False)  # of the columns


def pack(w: jax.Array, axes: int = 1) -> Packed | None:
    """Lays weights out for `multiply`.

    Args:
        w: float32 or bfloat16, the first `axes` dimensions are contracted.
        axes: how many.

    Returns:
        The packed weights, or None where no kernel takes them: another dtype, or an odd depth in bfloat16.
    """
    depth, shape = math.prod(w.shape[:axes]), w.shape[axes:]
    words = {jnp.dtype('float32'): 1, jnp.dtype('bfloat16'): 2}.get(w.dtype)
    if words is None or depth % words:
        return None
    w = w.reshape(depth, -1)
    w = jnp.pad(w, ((0, 0), (0, -w.shape[1] % COLUMNS)))
    if words == 1:
        return Packed(jnp.moveaxis(w.reshape(depth, -1, COLUMNS), 1, 0), shape)
    return Packed(jnp.transpose(w.reshape(depth // 2, 2, -1, COLUMNS), (2, 0, 3, 1)), shape)


def multiply(x: jax.Array, w: Packed, axes: int = 1) -> jax.Array:
    """Contracts the last `axes` dimensions of `x` with packed weights.

    Args:
        x: any float dtype; rounded to that of the weights.
        w: of `pack`.
        axes: number of dimensions contracted.

    Returns:
        float32, the remaining dimensions of `x`, then the columns' shape.
    """
    outer = x.shape[: x.ndim - axes]
    x = x.reshape(math.prod(outer), -1).astype(w.blocks.dtype)
    call = jax.ffi.ffi_call(
        _BFLOAT16 if w.blocks.dtype == jnp.bfloat16 else _FLOAT32,
        jax.ShapeDtypeStruct((x.shape[0], w.blocks.shape[0] * COLUMNS), jnp.float32),
    )
    out = call(x, w.blocks)
    columns = math.prod(w.shape)
    return (out if out.shape[1] == columns else out[:, :columns]).reshape(*outer, *w.shape)


@njit(**OPTIONS)
def _count(frame):
    return (input_size(frame, 1, 0) + _BLOCKS_AN_ITEM - 1) // _BLOCKS_AN_ITEM


def _work(multiply_block):
    @njit(**OPTIONS)
    def work(frame, item):
        x, w, out = input_at(frame, 0), input_at(frame, 1), output_at(frame, 0)
        num_rows, num_blocks, depth = input_size(frame, 0, 0), input_size(frame, 1, 0), input_size(frame, 1, 1)
        x_stride, out_stride = 4 * depth, 4 * output_size(frame, 0, 1)
        first = item * _BLOCKS_AN_ITEM
        for block in range(first, min(first + _BLOCKS_AN_ITEM, num_blocks)):
            weights, sums = w + block * depth * _BLOCK_BYTES, out + block * _BLOCK_BYTES
            row = 0
            passes = (num_rows + MOST_ROWS - 1) // MOST_ROWS
            for left in range(passes, 0, -1):  # passes of equal size, or one row more
                rows = (num_rows - row + left - 1) // left
                multiply_block(
                    rows,
                    x + row * x_stride,
                    x_stride,
                    weights,
                    _BLOCK_BYTES,
                    sums + row * out_stride,
                    out_stride,
                    depth,
                    0,
                )
                row += rows

    return work


_FLOAT32 = kernel('jaxreason_product_float32', _count, _work(multiply_packed_float32))
_BFLOAT16 = kernel('jaxreason_product_bfloat16', _count, _work(multiply_packed_bfloat16))
