"""One new token a row: its key and value written, and attention over its slot's prompt and its own tokens.

Only what is there is read, not the room for it. The rows of a slot are taken together, so that its prompt is read once for all
of them; scores, softmax and weighted sums of a group of rows stay in a core's cache. Sums over keys run in the order of the
keys: neither neighbours nor room change a bit.

Legend as in `models.layers`: `b` rows, `n` query heads, `g` key/value heads, `h` head width, `t` room of a row, `q` slots, `s`
room of a prompt; and `m` query heads a key/value head.
"""

import jax
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at
from jaxreason.kernels.machine import (
    COLUMNS,
    LANES,
    MOST_ROWS,
    allocate,
    divide_bfloat16,
    divide_float32,
    exponentiate,
    fetch_line,
    free,
    largest,
    load_float,
    load_half,
    load_int,
    load_word,
    multiply_bfloat16,
    multiply_bfloat16_vector,
    multiply_float32,
    multiply_float32_vector,
    store_float,
    store_half,
    store_int,
    store_word,
)

_QUERIES = 24  # of a slot and a key/value head, taken together at most
_MASKED = -1e30
_LINE = 64

# Operands.
_Q, _NEW_K, _NEW_V, _K, _V, _PROMPT_K, _PROMPT_V, _SPANS = range(8)
# Bytes of a row's span, and where its numbers are.
_SPAN = 20
_WRITE, _OWN_FIRST, _OWN_LAST, _PROMPT_FIRST, _PROMPT_LAST = range(0, _SPAN, 4)


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
        q_bnh: queries, scaled, float32.
        new_k_bgh: keys to append, any float dtype.
        new_v_bgh: values to append.
        k_bght: the rows' keys, float32 or bfloat16, written in place.
        v_bgth: the rows' values, written in place; as all that follow in the dtype of the keys.
        prompt_k_qghs: keys of the slots; row i belongs to slot i // (b / q).
        prompt_v_qgsh: values of the slots.
        spans_b5: int32: where to write (at the room or beyond: nowhere), first own token seen, end of them, first prompt token
            seen, end of them. A row that sees nothing gets zeros.

    Returns:
        [b, n, h] in the dtype of the keys, the keys, the values. The width of a head is a multiple of 16, both rooms
        are of 32.
    """
    assert q_bnh.shape[2] % LANES == k_bght.shape[3] % COLUMNS == prompt_k_qghs.shape[3] % COLUMNS == 0, 'whole vectors'
    new_k_bgh, new_v_bgh = new_k_bgh.astype(k_bght.dtype), new_v_bgh.astype(k_bght.dtype)
    like = [jax.ShapeDtypeStruct(x.shape, k_bght.dtype) for x in (q_bnh, k_bght, v_bgth)]
    kernel = _ATTEND[k_bght.dtype.name]
    operands = q_bnh, new_k_bgh, new_v_bgh, k_bght, v_bgth, prompt_k_qghs, prompt_v_qgsh, spans_b5
    out_bnh, k_bght, v_bgth = kernel(like, *operands, aliases={_K: 1, _V: 2})
    return out_bnh, k_bght, v_bgth


@njit(**OPTIONS)
def _grouping(frame):
    """(rows of a group, groups of a slot)."""
    rows = max(1, _QUERIES * input_size(frame, _K, 1) // input_size(frame, _Q, 1))
    return rows, (input_size(frame, _Q, 0) // input_size(frame, _PROMPT_K, 0) + rows - 1) // rows


@njit(**OPTIONS)
def _count(frame):
    _, groups = _grouping(frame)
    return input_size(frame, _PROMPT_K, 0) * input_size(frame, _K, 1) * groups


@njit(**OPTIONS)
def _whole(first, last):
    """The smallest range of whole vectors around a range."""
    if last <= first:
        return 0, 0
    return first // LANES * LANES, (last + LANES - 1) // LANES * LANES


@njit(**OPTIONS)
def _mask(scores, first, last, start, end):
    """Hides the scores of [first, last) outside [start, end)."""
    if end <= start:
        start = end = last
    for key in range(first, start):
        store_float(scores + 4 * key, _MASKED)
    for key in range(end, last):
        store_float(scores + 4 * key, _MASKED)


@njit(**OPTIONS)
def _softmax(span, shared, own, shared_first, shared_last):
    """Weights of one query's keys in place of its scores, before normalisation; their sum."""
    own_first, own_last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
    first, last = _whole(own_first, own_last)
    _mask(shared, shared_first, shared_last, load_int(span + _PROMPT_FIRST), load_int(span + _PROMPT_LAST))
    _mask(own, first, last, own_first, own_last)
    shared, num_shared = shared + 4 * shared_first, (shared_last - shared_first) // LANES
    own, num_own = own + 4 * first, (last - first) // LANES
    peak = largest(own, num_own, largest(shared, num_shared, 0.5 * _MASKED))
    return exponentiate(shared, num_shared, peak) + exponentiate(own, num_own, peak)


def _work(multiply_block, multiply_vector, copy_element, divide, size):
    """The work on some rows of a slot and one key/value head, whose elements have `size` bytes."""

    @njit(**OPTIONS)
    def append(new_k, new_v, k, v, h, t):
        """Writes a key down its column, a value along its line."""
        for channel in range(h):
            copy_element(new_k + size * channel, k + size * channel * t)
            copy_element(new_v + size * channel, v + size * channel)

    @njit(**OPTIONS)
    def fetch_own(k, v, h, t, first, last):
        """Asks for a row's keys and values."""
        for _ in range(h):
            for at in range(k + size * first, k + size * last, _LINE):
                fetch_line(at)
            k += size * t
        for at in range(v + size * h * first, v + size * h * last, _LINE):
            fetch_line(at)

    @njit(**OPTIONS)
    def score(num_rows, queries, h, keys, room, scores, stride, first, last):
        """Scores of keys in [first, last), and of those that fill up a block."""
        for key in range(first // COLUMNS * COLUMNS, last, COLUMNS):
            for row in range(0, num_rows, MOST_ROWS):
                multiply_block(
                    min(MOST_ROWS, num_rows - row),
                    queries + 4 * h * row,
                    4 * h,
                    keys + size * key,
                    size * room,
                    scores + row * stride + 4 * key,
                    stride,
                    h,
                    0,
                )

    @njit(**OPTIONS)
    def mix(num_rows, weights, stride, values, h, sums, first, last, adds):
        """Weighted sums of the values in [first, last)."""
        wide = h // COLUMNS * COLUMNS
        for row in range(0, num_rows, MOST_ROWS):
            rows, mine, at = min(MOST_ROWS, num_rows - row), weights + row * stride + 4 * first, values + size * h * first
            out = sums + 4 * h * row
            for channel in range(0, wide, COLUMNS):
                multiply_block(rows, mine, stride, at + size * channel, size * h, out + 4 * channel, 4 * h, last - first, adds)
            if wide < h:
                multiply_vector(rows, mine, stride, at + size * wide, size * h, out + 4 * wide, 4 * h, last - first, adds)

    @njit(**OPTIONS)
    def work(frame, item):
        n, h = input_size(frame, _Q, 1), input_size(frame, _Q, 2)
        heads, t = input_size(frame, _K, 1), input_size(frame, _K, 3)
        slots, s = input_size(frame, _PROMPT_K, 0), input_size(frame, _PROMPT_K, 3)
        m, r = n // heads, input_size(frame, _Q, 0) // slots
        together, groups = _grouping(frame)
        head, slot, first_row = item // groups % heads, item // groups // heads, item % groups * together
        num_rows, stride = min(together, r - first_row), 4 * (s + t)
        # From here on addresses of this head; a step from row to row each.
        first = slot * r + first_row
        given, q_step = input_at(frame, _Q) + 4 * h * m * head, 4 * h * n
        out, out_step = output_at(frame, 0) + size * h * m * head, size * h * n
        new_k, new_v, new_step = (
            input_at(frame, _NEW_K) + size * h * head,
            input_at(frame, _NEW_V) + size * h * head,
            size * h * heads,
        )
        k, v, step = input_at(frame, _K) + size * h * t * head, input_at(frame, _V) + size * h * t * head, size * h * t * heads
        prompt = size * h * s * (slot * heads + head)
        prompt_k, prompt_v, spans = (
            input_at(frame, _PROMPT_K) + prompt,
            input_at(frame, _PROMPT_V) + prompt,
            input_at(frame, _SPANS),
        )

        rows = allocate(8 * num_rows + 4 * num_rows * m * 2 * h + num_rows * m * stride + 4 * num_rows * m)
        queries = rows + 8 * num_rows
        sums = queries + 4 * num_rows * m * h
        totals = sums + 4 * num_rows * m * h
        scores = totals + 4 * num_rows * m

        # Rows that see any token, their queries, and the prompt tokens that any of them sees.
        num_seeing, shared_first, shared_last = 0, s, 0
        for row in range(first, first + num_rows):
            span = spans + _SPAN * row
            has_prompt = load_int(span + _PROMPT_FIRST) < load_int(span + _PROMPT_LAST)
            if has_prompt:
                shared_first = min(shared_first, load_int(span + _PROMPT_FIRST))
                shared_last = max(shared_last, load_int(span + _PROMPT_LAST))
            if has_prompt or load_int(span + _OWN_FIRST) < load_int(span + _OWN_LAST):
                divide_float32(given + q_step * row, queries + 4 * h * m * num_seeing, h * m // LANES, 1.0)
                store_word(rows + 8 * num_seeing, row)
                num_seeing += 1
            else:
                for channel in range(h * m):
                    store_half(out + out_step * row + size * channel, 0)
                    store_half(out + out_step * row + size * channel + size - 2, 0)
        shared_first, shared_last = _whole(shared_first, shared_last)
        has_shared = 1 if shared_first < shared_last else 0

        score(num_seeing * m, queries, h, prompt_k, s, scores, stride, shared_first, shared_last)
        for seeing in range(-2, num_seeing):  # fetched two rows ahead, appended to one row ahead: nobody waits for memory
            if 0 <= seeing + 2 < num_seeing:
                row = load_word(rows + 8 * (seeing + 2))
                span = spans + _SPAN * row
                fetch_own(k + step * row, v + step * row, h, t, load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST))
            if 0 <= seeing + 1 < num_seeing:
                row = load_word(rows + 8 * (seeing + 1))
                at = load_int(spans + _SPAN * row + _WRITE)
                if at < t:
                    append(
                        new_k + new_step * row,
                        new_v + new_step * row,
                        k + step * row + size * at,
                        v + step * row + size * h * at,
                        h,
                        t,
                    )
            if seeing >= 0:
                row, mine = load_word(rows + 8 * seeing), scores + seeing * m * stride
                span = spans + _SPAN * row
                score(
                    m,
                    queries + 4 * h * m * seeing,
                    h,
                    k + step * row,
                    t,
                    mine + 4 * s,
                    stride,
                    load_int(span + _OWN_FIRST),
                    load_int(span + _OWN_LAST),
                )
                for query in range(m):
                    shared = mine + query * stride
                    total = _softmax(span, shared, shared + 4 * s, shared_first, shared_last)
                    store_float(totals + 4 * (m * seeing + query), total)

        if has_shared:
            mix(num_seeing * m, scores, stride, prompt_v, h, sums, shared_first, shared_last, 0)
        for seeing in range(num_seeing):
            row, mine = load_word(rows + 8 * seeing), sums + 4 * h * m * seeing
            own_first, own_last = load_int(spans + _SPAN * row + _OWN_FIRST), load_int(spans + _SPAN * row + _OWN_LAST)
            if own_first < own_last:
                mix(m, scores + seeing * m * stride + 4 * s, stride, v + step * row, h, mine, own_first, own_last, has_shared)
            for query in range(m):
                total = load_float(totals + 4 * (m * seeing + query))
                divide(mine + 4 * h * query, out + out_step * row + size * h * query, h // LANES, total)
        free(rows)

    return work


@njit(**OPTIONS)
def _copy_float(source, target):
    store_int(target, load_int(source))


@njit(**OPTIONS)
def _copy_half(source, target):
    store_half(target, load_half(source))


_WORK = {
    'float32': _work(multiply_float32, multiply_float32_vector, _copy_float, divide_float32, 4),
    'bfloat16': _work(multiply_bfloat16, multiply_bfloat16_vector, _copy_half, divide_bfloat16, 2),
}
_ATTEND = {dtype: Kernel(f'attend_{dtype}', _count, work) for dtype, work in _WORK.items()}
