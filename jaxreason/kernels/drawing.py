"""The next token of a row drawn in one pass over its logits, and what is recorded of the draw.

As `engine.sampling` says it for every platform, where the rule cuts nothing: the cumulative distribution is inverted in two
levels, blocks first. Sums run in one order, alone in each row.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at
from jaxreason.kernels.machine import LANES, allocate, free, load_byte, load_float, load_int, store_float, store_int
from jaxreason.kernels.vectors import exponentiate, largest, sum_of

_LOGITS, _UNIFORM, _GREEDY, _FACTOR, _BLOCK = range(5)
_TOKEN, _LOGPROB, _SAMPLED, _CERTAINTY, _FINITE = range(5)
_LEAST = -3.0e38
_NOTHING = np.float32(-np.inf)


def draw_token(
    logits_bv: jax.Array, uniform_b: jax.Array, greedy_b: jax.Array, factor: float, block: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws a token a row.

    Args:
        logits_bv: float32.
        uniform_b: float32 in [0, 1), one number a row.
        greedy_b: bool, rows that take the most likely token instead, the lowest id where several are.
        factor: of the logits, one over the temperature.
        block: tokens of a block in the two-level draw, a multiple of 16.

    Returns:
        The fields of `engine.sampling.Draw`, in their order.
    """
    assert block % LANES == 0, 'whole vectors'
    b = logits_bv.shape[:1]
    like = [jax.ShapeDtypeStruct(b, dtype) for dtype in ('int32', 'float32', 'float32', 'float32', 'int32')]
    *drawn, finite_b = _DRAW(like, logits_bv, uniform_b, greedy_b, jnp.float32(factor), jnp.int32(block))
    return *drawn, finite_b != 0


@njit(**OPTIONS)
def _count(frame):
    return input_size(frame, _LOGITS, 0)


@njit(**OPTIONS)
def _padded(logits, v, spare):
    """The last tokens of a row that fill no vector, and -inf for those that are not there."""
    first = v // LANES * LANES
    for lane in range(LANES):
        store_float(spare + 4 * lane, load_float(logits + 4 * (first + lane)) if first + lane < v else _NOTHING)


@njit(**OPTIONS)
def _weigh(logits, rest, v, weights, sums, block, top, factor):
    """Weights of all tokens, a block after the other; sums of blocks, and of all."""
    whole, total, num_blocks = v // LANES, np.float32(0.0), (v + block - 1) // block
    for index in range(num_blocks):
        first, last = index * block // LANES, min((index + 1) * block // LANES, whole)
        summed = exponentiate(logits + 4 * LANES * first, weights + 4 * LANES * first, last - first, top, factor)
        if index == num_blocks - 1 and v > LANES * whole:
            summed += exponentiate(rest, weights + 4 * LANES * whole, 1, top, factor)
        store_float(sums + 4 * index, summed)
        total += summed
    return total


@njit(**OPTIONS)
def _locate(weights, count, target):
    """First index whose cumulative weight exceeds the target, else the last with a positive weight; the weight before it."""
    cumulative, last, before_last = np.float32(0.0), 0, np.float32(0.0)
    for index in range(count):
        weight = load_float(weights + 4 * index)
        if cumulative + weight > target:
            return index, cumulative
        if weight > 0:
            last, before_last = index, cumulative
        cumulative += weight
    return last, before_last


@njit(**OPTIONS)
def _first(logits, v, top):
    for token in range(v):
        if load_float(logits + 4 * token) == top:
            return token
    return 0


@njit(**OPTIONS)
def _work(frame, row, num_threads):
    v, block, factor = input_size(frame, _LOGITS, 1), load_int(input_at(frame, _BLOCK)), load_float(input_at(frame, _FACTOR))
    logits, whole = input_at(frame, _LOGITS) + 4 * v * row, v // LANES
    num_blocks = (v + block - 1) // block
    rest = allocate(4 * LANES * (whole + 2) + 4 * num_blocks)
    weights, sums = rest + 4 * LANES, rest + 4 * LANES * (whole + 2)
    _padded(logits, v, rest)
    top = largest(rest, 1, largest(logits, whole, _LEAST))
    summed = sum_of(logits, whole)
    for token in range(LANES * whole, v):
        summed += load_float(logits + 4 * token)

    # Of the model first, then of what is drawn from.
    total = _weigh(logits, rest, v, weights, sums, block, top, 1.0)
    log_total = np.float32(math.log(total))
    if factor != 1.0:
        total = _weigh(logits, rest, v, weights, sums, block, top, factor)
    if load_byte(input_at(frame, _GREEDY) + row) != 0:
        token, sampled = _first(logits, v, top), np.float32(0.0)
    else:
        target = load_float(input_at(frame, _UNIFORM) + 4 * row) * total
        index, before = _locate(sums, num_blocks, target)
        within, _ = _locate(weights + 4 * block * index, min(block, v - block * index), max(target - before, np.float32(0.0)))
        token = index * block + within
        sampled = (load_float(logits + 4 * token) - top) * factor - np.float32(math.log(total))
    store_int(output_at(frame, _TOKEN) + 4 * row, token)
    store_float(output_at(frame, _LOGPROB) + 4 * row, load_float(logits + 4 * token) - top - log_total)
    store_float(output_at(frame, _SAMPLED) + 4 * row, sampled)
    certainty = log_total - (summed / np.float32(v) - top) - np.float32(math.log(v))
    store_float(output_at(frame, _CERTAINTY) + 4 * row, certainty)
    store_int(output_at(frame, _FINITE) + 4 * row, 1 if math.isfinite(log_total) else 0)
    free(rest)


_DRAW = Kernel('draw', _count, _work)
