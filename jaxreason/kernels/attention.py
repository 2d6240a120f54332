"""One new token a row: its key and value written, and attention over its slot's prompt and its own tokens.

Only what is there is read, not the room for it. The rows of a slot are taken together, so that its prompt is read once for all
of them; scores, softmax and the weighted sum of a group of rows stay in a core's cache. Sums over keys run in the order of the
keys: neither neighbours nor room change a bit.

Legend as in `models.layers`: `b` rows, `n` query heads, `g` key/value heads, `h` head width, `t` room of a row, `q` slots, `s` room
of a prompt.
"""

import jax
import jax.numpy as jnp
from numba import njit

from jaxreason.kernels.calls import OPTIONS, input_at, input_size, kernel, output_at
from jaxreason.kernels.machine import (
    COLUMNS,
    LANES,
    MOST_ROWS,
    allocate,
    exponentiate,
    free,
    largest,
    load_float,
    load_int,
    multiply_float32,
    store_float,
)

_ROWS = 8  # of a slot, taken together
_SPANS = 5  # numbers a row in `spans`
_MASKED = -1e30


def can_attend(head_width: int, cache_dtype: jnp.dtype) -> bool:
    """Whether the kernel takes such a cache."""
    return head_width % COLUMNS == 0 and cache_dtype == jnp.float32


def attend(
    q_bnh: jax.Array,
    new_k_bgh: jax.Array,
    new_v_bgh: jax.Array,
    k_bght: jax.Array,
    v_bgth: jax.Array,
    prompt_k_qghs: jax.Array,
    prompt_v_qgsh: jax.Array,
    spans_b5: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Appends a token to every row and attends to what each row sees.

    Args:
        q_bnh: queries, scaled, float32; as all others but `spans_b5`.
        new_k_bgh: keys to append.
        new_v_bgh: values to append.
        k_bght: the rows' keys, written in place; rooms are multiples of 32.
        v_bgth: the rows' values, written in place.
        prompt_k_qghs: keys of the slots; row i belongs to slot i // (b / q).
        prompt_v_qgsh: values of the slots.
        spans_b5: int32: where to write (at the room or beyond: nowhere), first own token seen, end of them, first prompt token
            seen, end of them. A row that sees nothing gets zeros.

    Returns:
        float32 [b, n, h], the keys, the values.
    """
    like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q_bnh, k_bght, v_bgth)]
    call = jax.ffi.ffi_call(_ATTEND, like, input_output_aliases={3: 1, 4: 2})
    out_bnh, k_bght, v_bgth = call(q_bnh, new_k_bgh, new_v_bgh, k_bght, v_bgth, prompt_k_qghs, prompt_v_qgsh, spans_b5)
    return out_bnh, k_bght, v_bgth


@njit(**OPTIONS)
def _groups(frame):
    """Groups of rows in a slot."""
    return (input_size(frame, 0, 0) // input_size(frame, 5, 0) + _ROWS - 1) // _ROWS


@njit(**OPTIONS)
def _count(frame):
    return input_size(frame, 5, 0) * input_size(frame, 3, 1) * _groups(frame)


@njit(**OPTIONS)
def _multiply(num_rows, x, x_stride, w, w_stride, out, out_stride, depth, adds):
    """`multiply_float32` for any number of rows."""
    for row in range(0, num_rows, MOST_ROWS):
        rows = min(MOST_ROWS, num_rows - row)
        multiply_float32(rows, x + row * x_stride, x_stride, w, w_stride, out + row * out_stride, out_stride, depth, adds)


@njit(**OPTIONS)
def _score(num_rows, queries, h, keys, room, scores, stride, first, last):
    """Scores of keys in [first, last), and of those that fill up a block."""
    for key in range(first // COLUMNS * COLUMNS, last, COLUMNS):
        _multiply(num_rows, queries, 4 * h, keys + 4 * key, 4 * room, scores + 4 * key, stride, h, 0)


@njit(**OPTIONS)
def _mask(scores, first, last, start, end):
    """Hides the scores of [first, last) outside [start, end); both are within it."""
    for key in range(first, start):
        store_float(scores + 4 * key, _MASKED)
    for key in range(end, last):
        store_float(scores + 4 * key, _MASKED)


@njit(**OPTIONS)
def _whole(first, last):
    """The smallest range of whole vectors around a range."""
    if last <= first:
        return 0, 0
    return first // LANES * LANES, (last + LANES - 1) // LANES * LANES


@njit(**OPTIONS)
def _append(frame, row, g, head, at):
    h, t = input_size(frame, 3, 2), input_size(frame, 3, 3)
    if at >= t:
        return
    new_k, new_v = input_at(frame, 1) + 4 * h * (row * g + head), input_at(frame, 2) + 4 * h * (row * g + head)
    k, v = input_at(frame, 3) + 4 * h * t * (row * g + head), input_at(frame, 4) + 4 * h * t * (row * g + head)
    for channel in range(h):
        store_float(k + 4 * (channel * t + at), load_float(new_k + 4 * channel))
        store_float(v + 4 * (at * h + channel), load_float(new_v + 4 * channel))


@njit(**OPTIONS)
def _work(frame, item):
    b, n, h = input_size(frame, 0, 0), input_size(frame, 0, 1), input_size(frame, 0, 2)
    g, t = input_size(frame, 3, 1), input_size(frame, 3, 3)
    slots, s = input_size(frame, 5, 0), input_size(frame, 5, 3)
    m, r, groups = n // g, b // slots, _groups(frame)
    group, head, slot = item % groups, item // groups % g, item // groups // g
    first_row = slot * r + group * _ROWS
    num_rows = min(_ROWS, (slot + 1) * r - first_row)
    spans = input_at(frame, 7)

    # Prompt tokens that any of the rows sees, and rows that see any token.
    shared_first, shared_last, num_seeing = s, 0, 0
    for row in range(first_row, first_row + num_rows):
        mine = spans + 4 * _SPANS * row
        _append(frame, row, g, head, load_int(mine))
        if load_int(mine + 12) < load_int(mine + 16):
            shared_first = min(shared_first, load_int(mine + 12))
            shared_last = max(shared_last, load_int(mine + 16))
        if load_int(mine + 4) < load_int(mine + 8) or load_int(mine + 12) < load_int(mine + 16):
            num_seeing += 1
    shared_first, shared_last = _whole(shared_first, shared_last)

    width = s + t
    num_queries, stride = num_seeing * m, 4 * width
    memory = allocate(4 * num_rows * m * (2 * h + width + 1) + 64)
    queries, sums = memory, memory + 4 * num_rows * m * h
    scores = sums + 4 * num_rows * m * h
    totals = scores + num_rows * m * stride

    at = 0
    for row in range(first_row, first_row + num_rows):
        mine = spans + 4 * _SPANS * row
        q = input_at(frame, 0) + 4 * h * (row * n + head * m)
        if load_int(mine + 4) < load_int(mine + 8) or load_int(mine + 12) < load_int(mine + 16):
            for channel in range(m * h):
                store_float(queries + 4 * (at * m * h + channel), load_float(q + 4 * channel))
            at += 1

    prompt_k = input_at(frame, 5) + 4 * h * s * (slot * g + head)
    prompt_v = input_at(frame, 6) + 4 * h * s * (slot * g + head)
    _score(num_queries, queries, h, prompt_k, s, scores, stride, shared_first, shared_last)
    at = 0
    for row in range(first_row, first_row + num_rows):
        mine = spans + 4 * _SPANS * row
        own_first, own_last = load_int(mine + 4), load_int(mine + 8)
        prompt_first, prompt_last = load_int(mine + 12), load_int(mine + 16)
        if own_first >= own_last and prompt_first >= prompt_last:
            continue
        k = input_at(frame, 3) + 4 * h * t * (row * g + head)
        own = scores + at * m * stride + 4 * s
        _score(m, queries + 4 * at * m * h, h, k, t, own, stride, own_first, own_last)
        first, last = _whole(own_first, own_last)
        for query in range(at * m, at * m + m):
            shared, own = scores + query * stride, scores + query * stride + 4 * s
            if prompt_first >= prompt_last:
                prompt_first = prompt_last = shared_first
            _mask(shared, shared_first, shared_last, prompt_first, prompt_last)
            _mask(own, first, last, own_first, own_last)
            num_shared, num_own = (shared_last - shared_first) // LANES, (last - first) // LANES
            peak = largest(shared + 4 * shared_first, num_shared, 0.5 * _MASKED)
            peak = largest(own + 4 * first, num_own, peak)
            total = exponentiate(shared + 4 * shared_first, num_shared, peak) + exponentiate(own + 4 * first, num_own, peak)
            store_float(totals + 4 * query, total)
        at += 1

    has_shared = shared_last > shared_first
    for channel in range(0, h, COLUMNS):
        if has_shared:
            _multiply(
                num_queries,
                scores + 4 * shared_first,
                stride,
                prompt_v + 4 * (shared_first * h + channel),
                4 * h,
                sums + 4 * channel,
                4 * h,
                shared_last - shared_first,
                0,
            )
    at = 0
    for row in range(first_row, first_row + num_rows):
        mine = spans + 4 * _SPANS * row
        own_first, own_last = load_int(mine + 4), load_int(mine + 8)
        out = output_at(frame, 0) + 4 * h * (row * n + head * m)
        if own_first >= own_last and load_int(mine + 12) >= load_int(mine + 16):
            for channel in range(m * h):
                store_float(out + 4 * channel, 0.0)
            continue
        v = input_at(frame, 4) + 4 * h * t * (row * g + head)
        if own_first < own_last:
            for channel in range(0, h, COLUMNS):
                _multiply(
                    m,
                    scores + at * m * stride + 4 * (s + own_first),
                    stride,
                    v + 4 * (own_first * h + channel),
                    4 * h,
                    sums + 4 * (at * m * h + channel),
                    4 * h,
                    own_last - own_first,
                    1 if has_shared else 0,
                )
        for query in range(m):
            total = load_float(totals + 4 * (at * m + query))
            for channel in range(query * h, query * h + h):
                store_float(out + 4 * channel, load_float(sums + 4 * (at * m * h + channel)) / total)
        at += 1
    free(memory)


_ATTEND = kernel('jaxreason_attend', _count, _work)
