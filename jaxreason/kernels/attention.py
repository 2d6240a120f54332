"""One new token a row: its key and value written, and attention over its slot's prompt and its own tokens.

Only what is there is read, not the room for it. The rows of a slot are taken together, so that its prompt is read once for all
of them; scores, softmax and weighted sums of a group of rows stay in a core's cache. Sums over keys run in the order of the
keys: neither neighbours nor room change a bit.

Legend as in `models.layers`: `b` rows, `n` query heads, `g` key/value heads, `h` head width, `t` room of a row, `q` slots, `s`
room of a prompt; and `m` query heads a key/value head.
"""

from typing import NamedTuple

import jax
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at
from jaxreason.kernels.machine import (
    COLUMNS,
    LANES,
    MOST_ROWS,
    allocate,
    fetch_line,
    free,
    load_float,
    load_half,
    load_int,
    load_word,
    store_float,
    store_half,
    store_int,
    store_word,
)
from jaxreason.kernels.vectors import (
    divide_bfloat16,
    divide_float32,
    exponentiate,
    largest,
    multiply_bfloat16,
    multiply_bfloat16_vector,
    multiply_float32,
    multiply_float32_vector,
)

_QUERIES = 24  # of a slot and a key/value head, taken together at most
_MASKED = -1e30
_LINE = 64

# Operands.
_Q, _NEW_K, _NEW_V, _K, _V, _PROMPT_K, _PROMPT_V, _SPANS = range(8)
# Bytes of a row's span, and where its numbers are.
_SPAN = 20
_WRITE, _OWN_FIRST, _OWN_LAST, _PROMPT_FIRST, _PROMPT_LAST = range(0, _SPAN, 4)


class _Group(NamedTuple):
    """Some rows of a slot at one key/value head: sizes, and addresses with the bytes from row to row."""

    m: int
    h: int
    t: int
    s: int
    first: int  # row
    num_rows: int
    stride: int  # from one query's scores to the next's
    q: int
    q_step: int
    out: int
    out_step: int
    new_k: int
    new_v: int
    new_step: int
    k: int
    v: int
    step: int
    prompt_k: int
    prompt_v: int
    spans: int
    # Memory of the group: of its rows that see anything,
    rows: int  # their numbers
    queries: int  # and of each of their queries: itself,
    sums: int  # its weighted sum of values,
    totals: int  # the sum of its weights,
    scores: int  # and its scores, the prompt's first, then weights


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
            seen, end of them. A row that sees nothing gets zeros, and writes nothing.

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
    def locate(frame, item):
        """The group of an item, and memory for it to work in, which begins at `rows`."""
        n, h = input_size(frame, _Q, 1), input_size(frame, _Q, 2)
        heads, t = input_size(frame, _K, 1), input_size(frame, _K, 3)
        slots, s = input_size(frame, _PROMPT_K, 0), input_size(frame, _PROMPT_K, 3)
        m, r = n // heads, input_size(frame, _Q, 0) // slots
        together, groups = _grouping(frame)
        head, slot, first = item // groups % heads, item // groups // heads, item % groups * together
        num_rows, stride = min(together, r - first), 4 * (s + t)
        num_queries, line, room, prompt = num_rows * m, size * h * head, size * h * t, size * h * s * (slot * heads + head)
        rows = allocate(8 * num_rows + num_queries * (8 * h + stride + 4))
        queries = rows + 8 * num_rows
        sums = queries + 4 * num_queries * h
        totals = sums + 4 * num_queries * h
        return _Group(
            m=m,
            h=h,
            t=t,
            s=s,
            first=slot * r + first,
            num_rows=num_rows,
            stride=stride,
            q=input_at(frame, _Q) + 4 * h * m * head,
            q_step=4 * h * n,
            out=output_at(frame, 0) + m * line,
            out_step=size * h * n,
            new_k=input_at(frame, _NEW_K) + line,
            new_v=input_at(frame, _NEW_V) + line,
            new_step=size * h * heads,
            k=input_at(frame, _K) + room * head,
            v=input_at(frame, _V) + room * head,
            step=room * heads,
            prompt_k=input_at(frame, _PROMPT_K) + prompt,
            prompt_v=input_at(frame, _PROMPT_V) + prompt,
            spans=input_at(frame, _SPANS),
            rows=rows,
            queries=queries,
            sums=sums,
            totals=totals,
            scores=totals + 4 * num_queries,
        )

    @njit(**OPTIONS)
    def gather(group):
        """Lists the rows that see any token and copies their queries; the others get zeros.

        Returns how many see, and the range of prompt tokens that any of them sees, in whole vectors.
        """
        width, seeing, shared_first, shared_last = group.h * group.m, 0, group.s, 0
        for row in range(group.first, group.first + group.num_rows):
            span, out = group.spans + _SPAN * row, group.out + group.out_step * row
            has_prompt = load_int(span + _PROMPT_FIRST) < load_int(span + _PROMPT_LAST)
            if has_prompt:
                shared_first = min(shared_first, load_int(span + _PROMPT_FIRST))
                shared_last = max(shared_last, load_int(span + _PROMPT_LAST))
            if has_prompt or load_int(span + _OWN_FIRST) < load_int(span + _OWN_LAST):
                divide_float32(group.q + group.q_step * row, group.queries + 4 * width * seeing, width // LANES, 1.0)
                store_word(group.rows + 8 * seeing, row)
                seeing += 1
            else:
                for half in range(0, size * width, 2):
                    store_half(out + half, 0)
        shared_first, shared_last = _whole(shared_first, shared_last)
        return seeing, shared_first, shared_last

    @njit(**OPTIONS)
    def bring(group, seeing):
        """Asks for the keys and values of a row."""
        row = load_word(group.rows + 8 * seeing)
        span, place = group.spans + _SPAN * row, group.step * row
        first, last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
        fetch_own(group.k + place, group.v + place, group.h, group.t, first, last)

    @njit(**OPTIONS)
    def write(group, seeing):
        """Appends a row's new key and value."""
        row = load_word(group.rows + 8 * seeing)
        at, new, place = load_int(group.spans + _SPAN * row + _WRITE), group.new_step * row, group.step * row
        if at < group.t:
            k, v = group.k + place + size * at, group.v + place + size * group.h * at
            append(group.new_k + new, group.new_v + new, k, v, group.h, group.t)

    @njit(**OPTIONS)
    def weigh(group, seeing, shared_first, shared_last):
        """Scores a row's own keys, and turns all its scores into weights and their sums."""
        row, mine = load_word(group.rows + 8 * seeing), group.scores + seeing * group.m * group.stride
        span, queries = group.spans + _SPAN * row, group.queries + 4 * group.h * group.m * seeing
        first, last, own = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST), mine + 4 * group.s
        score(group.m, queries, group.h, group.k + group.step * row, group.t, own, group.stride, first, last)
        for query in range(group.m):
            shared = mine + query * group.stride
            total = _softmax(span, shared, shared + 4 * group.s, shared_first, shared_last)
            store_float(group.totals + 4 * (group.m * seeing + query), total)

    @njit(**OPTIONS)
    def combine(group, seeing, adds):
        """Sums a row's own values, onto those of its prompt, and writes what its heads give."""
        row, mine = load_word(group.rows + 8 * seeing), group.sums + 4 * group.h * group.m * seeing
        span, out = group.spans + _SPAN * row, group.out + group.out_step * row
        first, last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
        if first < last:
            weights = group.scores + seeing * group.m * group.stride + 4 * group.s
            mix(group.m, weights, group.stride, group.v + group.step * row, group.h, mine, first, last, adds)
        for query in range(group.m):
            total = load_float(group.totals + 4 * (group.m * seeing + query))
            divide(mine + 4 * group.h * query, out + size * group.h * query, group.h // LANES, total)

    @njit(**OPTIONS)
    def work(frame, item):
        group = locate(frame, item)
        num_seeing, first, last = gather(group)
        num_queries, h, stride = num_seeing * group.m, group.h, group.stride
        score(num_queries, group.queries, h, group.prompt_k, group.s, group.scores, stride, first, last)
        for seeing in range(-2, num_seeing):  # fetched two rows ahead, written to one row ahead: nobody waits for memory
            if seeing + 2 < num_seeing:
                bring(group, seeing + 2)
            if 0 <= seeing + 1 < num_seeing:
                write(group, seeing + 1)
            if seeing >= 0:
                weigh(group, seeing, first, last)
        if first < last:
            mix(num_queries, group.scores, stride, group.prompt_v, h, group.sums, first, last, 0)
        for seeing in range(num_seeing):
            combine(group, seeing, 1 if first < last else 0)
        free(group.rows)

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
