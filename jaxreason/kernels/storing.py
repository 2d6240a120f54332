"""What the projections give a head: keys and queries rotated, keys and values written into a cache.

Projections lie as one row a token, [queries of all heads, keys of all heads, values of all heads], so nothing is split or
copied before a kernel reads it.

Legend as in `models.layers`; `x` is the width of a row of projections, (n + 2 g) h.
"""

import jax
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, variant
from jaxreason.kernels.machine import (
    LANES,
    allocate,
    free,
    load_float,
    load_int,
    store_float,
    store_half,
    store_int,
)
from jaxreason.kernels.vectors import divide_bfloat16, divide_float32

# Operands of `append`.
_PROJECTIONS, _COS, _SIN, _K, _V, _AT = range(6)


def append(
    projections_bcx: jax.Array, cos_bcr: jax.Array, sin_bcr: jax.Array, k_bght: jax.Array, v_bgth: jax.Array, at_bc: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Writes the keys, rotated, and the values of new tokens.

    Args:
        projections_bcx: float32.
        cos_bcr: as of `models.layers.rotary_angles`.
        sin_bcr: the same.
        k_bght: the rows' keys, float32 or bfloat16, written in place.
        v_bgth: the rows' values, written in place.
        at_bc: int32, each token's time; at the room or beyond: nowhere.

    Returns:
        The keys, the values. The width of a head is a multiple of 16.
    """
    assert k_bght.shape[2] % LANES == 0, 'whole vectors'
    like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k_bght, v_bgth)]
    kernel = _APPEND[k_bght.dtype.name]
    return kernel(like, projections_bcx, cos_bcr, sin_bcr, k_bght, v_bgth, at_bc, aliases={_K: 0, _V: 1})


@njit(**OPTIONS)
def rotate(source, target, cos, sin, half, h, scale):
    """A head's channels rotated, as `models.layers.rotate`, and scaled; float32 all."""
    for channel in range(0, 4 * half, 4):
        c, s = load_float(cos + channel), load_float(sin + channel)
        first, second = load_float(source + channel), load_float(source + channel + 4 * half)
        store_float(target + channel, (first * c - second * s) * scale)
        store_float(target + channel + 4 * half, (second * c + first * s) * scale)
    for channel in range(8 * half, 4 * h, 4):
        store_float(target + channel, load_float(source + channel) * scale)


def storing(dtype, round_element, divide, size):
    """A Numba function that writes one token's key and value at a head of a row; elements of the cache have `size` bytes."""

    @variant(dtype)
    def put(key, value, cos, sin, half, h, k, v, room, at, spare):
        """Writes a key, rotated, down its column, and a value along its line.

        Args:
            key: address of what the projections give, float32.
            value: the same.
            cos: address of the token's cosines.
            sin: of its sines.
            half: how many there are.
            h: head width.
            k: address of the head's keys.
            v: of its values.
            room: of the row.
            at: time, nothing is written at the room or beyond.
            spare: memory for h words.
        """
        if at >= room:
            return
        rotate(key, spare, cos, sin, half, h, 1.0)
        for channel in range(h):
            round_element(spare + 4 * channel, k + size * (channel * room + at))
        divide(value, v + size * h * at, h // LANES, 1.0)

    return put


@njit(**OPTIONS)
def _copy_float(source, target):
    store_int(target, load_int(source))


@njit(**OPTIONS)
def _round_to_bfloat16(source, target):
    """To the nearest, ties to even; one at a time, as a vector would wait until all of its lanes are written."""
    bits = load_int(source)
    if bits & 0x7FFFFFFF > 0x7F800000:  # not a number
        store_half(target, 0x7FC0)
    else:
        store_half(target, (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


put_float32, put_bfloat16 = (
    storing('float32', _copy_float, divide_float32, 4),
    storing('bfloat16', _round_to_bfloat16, divide_bfloat16, 2),
)


@njit(**OPTIONS)
def _count(frame):
    return input_size(frame, _K, 0) * input_size(frame, _K, 1)


def _work(dtype, put, size):
    @variant(dtype)
    def work(frame, item, num_threads):
        heads, h, room = input_size(frame, _K, 1), input_size(frame, _K, 2), input_size(frame, _K, 3)
        num_tokens, width, half = input_size(frame, _AT, 1), input_size(frame, _PROJECTIONS, 2), input_size(frame, _COS, 2)
        row, head = item // heads, item % heads
        line, place, first = 4 * width, size * h * room * item, row * num_tokens
        value = input_at(frame, _PROJECTIONS) + line * first + 4 * (width + h * (head - heads))
        k, v, spare = input_at(frame, _K) + place, input_at(frame, _V) + place, allocate(4 * h)
        for token in range(num_tokens):
            given = value + line * token
            angles, at = 4 * half * (first + token), load_int(input_at(frame, _AT) + 4 * (first + token))
            cos, sin = input_at(frame, _COS) + angles, input_at(frame, _SIN) + angles
            put(given - 4 * h * heads, given, cos, sin, half, h, k, v, room, at, spare)
        free(spare)

    return work


_WORK = {'float32': _work('float32', put_float32, 4), 'bfloat16': _work('bfloat16', put_bfloat16, 2)}
_APPEND = {dtype: Kernel(f'append_{dtype}', _count, work) for dtype, work in _WORK.items()}
