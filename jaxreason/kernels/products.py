"""Products with weights packed once: for a few rows they run as fast as memory gives the weights.

Columns lie in blocks of 32, and within a block the depth runs outermost, so that a product reads its weights in one stream. In
bfloat16 two terms of the depth are neighbours: one instruction multiplies both and adds to float32. Every element is summed in
the order of the depth, alone: how many rows there are changes no bit.
"""

import jax
import jax.numpy as jnp
from flax import struct
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, num_inputs, output_at, output_size, variant
from jaxreason.kernels.machine import COLUMNS, LANES, MOST_ROWS, allocate, free, load_int
from jaxreason.kernels.vectors import gate_bfloat16, gate_float32, multiply_packed_bfloat16, multiply_packed_float32

_BLOCK_BYTES = 4 * COLUMNS  # of one word of the depth, weights and sums alike
_MOST_BLOCKS = 4  # of an item
_AHEAD = 8192  # bytes of weights fetched ahead; from memory 1.4 times slower with 1,024


@struct.dataclass
class Packed:
    """Weights of a product in the order that its kernel reads them."""

    blocks: jax.Array  # [ceil(columns / 32), depth, 32] float32, or [.., depth / 2, 32, 2] bfloat16
    columns: int = struct.field(pytree_node=False)


def pack(w: jax.Array) -> Packed | None:
    """Lays weights [depth, columns] out for `multiply`.

    Args:
        w: float32 or bfloat16.

    Returns:
        The packed weights, or None where no kernel takes them: another dtype, or an odd depth in bfloat16.
    """
    depth, columns = w.shape
    terms = {jnp.dtype('float32'): 1, jnp.dtype('bfloat16'): 2}.get(w.dtype)
    if terms is None or depth % terms:
        return None
    w = jnp.pad(w, ((0, 0), (0, -columns % COLUMNS)))
    if terms == 1:
        return Packed(jnp.moveaxis(w.reshape(depth, -1, COLUMNS), 1, 0), columns)
    return Packed(jnp.transpose(w.reshape(depth // 2, 2, -1, COLUMNS), (2, 0, 3, 1)), columns)


def pack_pair(gate: jax.Array, up: jax.Array) -> Packed | None:
    """Lays the weights of a gate and of what it gates, both [depth, columns], out for `multiply_gated`: blocks in turn.

    The last block is filled up with zeros, and so are the columns that come out.
    """
    gate, up = (jnp.pad(w, ((0, 0), (0, -w.shape[1] % COLUMNS))) for w in (gate, up))
    pair = jnp.stack([w.reshape(w.shape[0], -1, COLUMNS) for w in (gate, up)], axis=2)
    return pack(pair.reshape(gate.shape[0], -1))


def multiply(x: jax.Array, w: Packed, onto: jax.Array | None = None, live: jax.Array | None = None) -> jax.Array:
    """Multiplies rows with packed weights.

    Args:
        x: [rows, depth], any float dtype; rounded to that of the weights.
        w: of `pack`.
        onto: float32 [rows, columns], what the product is added to.
        live: int32, leading rows that matter; None for all.

    Returns:
        float32 [rows, columns]; anything in the rows that do not matter.
    """
    live = _all_rows(x) if live is None else live
    x = x.astype(w.blocks.dtype)
    columns, padded = w.columns, w.blocks.shape[0] * COLUMNS
    kernel, out = _MULTIPLY[x.dtype.name], jax.ShapeDtypeStruct((x.shape[0], padded), jnp.float32)
    if onto is None:
        product = kernel(out, x, w.blocks, live)
    else:
        onto = jnp.pad(onto, ((0, 0), (0, padded - columns)))
        product = kernel(out, x, w.blocks, live, onto, aliases={3: 0})
    return product if columns == padded else product[:, :columns]


def multiply_gated(x: jax.Array, w: Packed, live: jax.Array | None = None) -> jax.Array:
    """silu(x gate) * (x up).

    Args:
        x: [rows, depth], any float dtype; rounded to that of the weights.
        w: of `pack_pair`.
        live: as of `multiply`.

    Returns:
        [rows, columns of the gate, filled up to whole blocks with zeros] in the dtype of the weights.
    """
    live = _all_rows(x) if live is None else live
    out = jax.ShapeDtypeStruct((x.shape[0], w.columns // 2), w.blocks.dtype)
    return _GATED[w.blocks.dtype.name](out, x.astype(w.blocks.dtype), w.blocks, live)


def _all_rows(x: jax.Array) -> jax.Array:
    return jnp.int32(x.shape[0])


@njit(**OPTIONS)
def _blocks_an_item(num_blocks, least):
    """As few as can be where there are few, so that threads have the same to do."""
    return least if num_blocks < 4 * _MOST_BLOCKS else _MOST_BLOCKS


@njit(**OPTIONS)
def _count(frame):
    together = _blocks_an_item(input_size(frame, 1, 0), 1)
    return (input_size(frame, 1, 0) + together - 1) // together


@njit(**OPTIONS)
def _count_pairs(frame):
    together = _blocks_an_item(input_size(frame, 1, 0), 2)
    return (input_size(frame, 1, 0) + together - 1) // together


def _plain(dtype, multiply_block):
    @variant(dtype)
    def work(frame, item, num_threads):
        x, w, out = input_at(frame, 0), input_at(frame, 1), output_at(frame, 0)
        num_rows, num_blocks, depth = load_int(input_at(frame, 2)), input_size(frame, 1, 0), input_size(frame, 1, 1)
        x_stride, out_stride = 4 * depth, 4 * output_size(frame, 0, 1)
        together, adds = _blocks_an_item(num_blocks, 1), num_inputs(frame) - 3
        for block in range(item * together, min((item + 1) * together, num_blocks)):
            weights, sums = w + block * depth * _BLOCK_BYTES, out + block * _BLOCK_BYTES
            row, passes = 0, (num_rows + MOST_ROWS - 1) // MOST_ROWS
            for left in range(passes, 0, -1):  # passes of equal size, or one row more
                rows = (num_rows - row + left - 1) // left
                inputs, place = x + row * x_stride, sums + row * out_stride
                multiply_block(rows, inputs, x_stride, weights, _BLOCK_BYTES, _AHEAD, place, out_stride, depth, adds)
                row += rows

    return work


def _gated(dtype, multiply_block, gate, size):
    @variant(dtype)
    def work(frame, item, num_threads):
        x, w, out = input_at(frame, 0), input_at(frame, 1), output_at(frame, 0)
        num_rows, num_blocks, depth = load_int(input_at(frame, 2)), input_size(frame, 1, 0), input_size(frame, 1, 1)
        x_stride, out_stride = 4 * depth, size * output_size(frame, 0, 1)
        sums = allocate(2 * MOST_ROWS * _BLOCK_BYTES)
        together = _blocks_an_item(num_blocks, 2)
        for block in range(item * together, min((item + 1) * together, num_blocks), 2):
            weights, place = w + block * depth * _BLOCK_BYTES, out + block // 2 * size * COLUMNS
            row, passes = 0, (num_rows + MOST_ROWS - 1) // MOST_ROWS
            for left in range(passes, 0, -1):
                rows = (num_rows - row + left - 1) // left
                for half in range(2):
                    multiply_block(
                        rows,
                        x + row * x_stride,
                        x_stride,
                        weights + half * depth * _BLOCK_BYTES,
                        _BLOCK_BYTES,
                        _AHEAD,
                        sums + half * _BLOCK_BYTES,
                        2 * _BLOCK_BYTES,
                        depth,
                        0,
                    )
                for index in range(rows):
                    gates = sums + 2 * index * _BLOCK_BYTES
                    gate(gates, place + (row + index) * out_stride, COLUMNS // LANES, gates + _BLOCK_BYTES)
                row += rows
        free(sums)

    return work


_PLAIN = {'float32': _plain('float32', multiply_packed_float32), 'bfloat16': _plain('bfloat16', multiply_packed_bfloat16)}
_MULTIPLY = {dtype: Kernel(f'multiply_{dtype}', _count, work) for dtype, work in _PLAIN.items()}
_PAIRED = {
    'float32': _gated('float32', multiply_packed_float32, gate_float32, 4),
    'bfloat16': _gated('bfloat16', multiply_packed_bfloat16, gate_bfloat16, 2),
}
_GATED = {dtype: Kernel(f'multiply_gated_{dtype}', _count_pairs, work) for dtype, work in _PAIRED.items()}
