"""New tokens' attention over their slot's prompt and their row's own tokens, their own key and value written on the way.

Only what is there is read, not the room for it. The rows of a slot are taken together, so that its prompt is read once for all
of them; scores, softmax and weighted sums of a group of rows stay in a core's cache. Sums over keys run in the order of the
keys: neither neighbours nor room change a bit.

Legend as in `models.layers`: `b` rows, `n` query heads, `g` key/value heads, `h` head width, `t` room of a row, `q` slots, `s`
room of a prompt, `r` half the rotated width; `m` query heads a key/value head, and `x` the width of a row of projections.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from numba import njit

from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at, output_size, variant
from jaxreason.kernels.machine import (
    COLUMNS,
    LANES,
    MOST_ROWS,
    allocate,
    fetch_line,
    free,
    load_float,
    load_int,
    load_word,
    store_float,
    store_half,
    store_word,
)
from jaxreason.kernels.storing import put_bfloat16, put_float32, rotate
from jaxreason.kernels.vectors import (
    divide_bfloat16,
    divide_float32,
    exponentiate,
    hide,
    largest,
    multiply_by_bfloat16,
    multiply_by_float32,
)

_QUERIES = 24  # of a slot and a key/value head, taken together at most
_MASKED = -1e30
_LINE = 64

# Operands.
_PROJECTIONS, _COS, _SIN, _SCALE, _K, _V, _PROMPT_K, _PROMPT_V, _SPANS = range(9)
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
    out: int
    out_step: int
    projections: int  # of the head's queries; its key and its value lie further on
    projections_step: int
    new_k: int
    new_v: int
    cos: int
    sin: int
    half: int
    scale: float
    k: int
    v: int
    step: int
    prompt_k: int
    prompt_v: int
    spans: int
    # From a row's or a slot's keys to those that this thread will probably want next, and so for values.
    ahead: int
    prompt_ahead: int
    # Memory of the group: of its rows that see anything,
    rows: int  # their numbers
    queries: int  # and of each of their queries: itself,
    sums: int  # its weighted sum of values,
    totals: int  # the sum of its weights,
    scores: int  # and its scores, those of its own keys right after the prompt's, then weights;
    spare: int  # and a head


def attend(
    projections_bx: jax.Array,
    cos_br: jax.Array,
    sin_br: jax.Array,
    scale: float,
    k_bght: jax.Array,
    v_bgth: jax.Array,
    prompt_k_qghs: jax.Array,
    prompt_v_qgsh: jax.Array,
    spans_b5: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Appends a token to every row and attends to what each row sees.

    Args:
        projections_bx: queries, keys and values of all heads, float32; queries and keys are rotated here.
        cos_br: as of `models.layers.rotary_angles`.
        sin_br: the same.
        scale: what scores are multiplied with.
        k_bght: the rows' keys, float32 or bfloat16, written in place.
        v_bgth: the rows' values, written in place; as all that follow in the dtype of the keys.
        prompt_k_qghs: keys of the slots; row i belongs to slot i // (b / q).
        prompt_v_qgsh: values of the slots.
        spans_b5: int32: where to write (at the room or beyond: nowhere), first own token seen, end of them, first prompt token
            seen, end of them. A row that sees nothing gets zeros, and writes nothing.

    Returns:
        [b, n h] in the dtype of the keys, the keys, the values. The width of a head is a multiple of 16, both rooms
        are of 32.
    """
    g, h = k_bght.shape[1:3]
    assert h % LANES == k_bght.shape[3] % COLUMNS == prompt_k_qghs.shape[3] % COLUMNS == 0, 'whole vectors'
    out_like = jax.ShapeDtypeStruct((projections_bx.shape[0], projections_bx.shape[1] - 2 * g * h), k_bght.dtype)
    like = [out_like, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (k_bght, v_bgth))]
    operands = projections_bx, cos_br, sin_br, jnp.float32(scale), k_bght, v_bgth, prompt_k_qghs, prompt_v_qgsh, spans_b5
    out_bx, k_bght, v_bgth = _ATTEND[k_bght.dtype.name](like, *operands, aliases={_K: 1, _V: 2})
    return out_bx, k_bght, v_bgth


@njit(**OPTIONS)
def _queries_a_head(frame):
    """Query heads a key/value head."""
    return output_size(frame, 0, 1) // (input_size(frame, _K, 1) * input_size(frame, _K, 2))


@njit(**OPTIONS)
def _grouping(frame):
    """(rows of a group, groups of a slot)."""
    rows = max(1, _QUERIES // _queries_a_head(frame))
    return rows, (input_size(frame, _PROJECTIONS, 0) // input_size(frame, _PROMPT_K, 0) + rows - 1) // rows


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
    for vector in range(first, last, LANES):
        if vector < start or vector + LANES > end:
            hide(scores + 4 * vector, start - vector, end - vector, _MASKED)


@njit(**OPTIONS)
def _softmax(span, scores, shared_first, shared_last):
    """Weights of one query's keys in place of its scores, before normalisation; their sum."""
    own_first, own_last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
    first, last = _whole(own_first, own_last)
    _mask(scores, shared_first, shared_last, load_int(span + _PROMPT_FIRST), load_int(span + _PROMPT_LAST))
    _mask(scores + 4 * (shared_last - first), first, last, own_first, own_last)
    scores, num_vectors = scores + 4 * shared_first, (shared_last - shared_first + last - first) // LANES
    return exponentiate(scores, scores, num_vectors, largest(scores, num_vectors, 0.5 * _MASKED), 1.0)


def _work(dtype, products, put, divide, size):
    """The work on some rows of a slot and one key/value head, whose elements have `size` bytes."""
    by_one, by_two, by_four = (products[vectors] for vectors in (1, 2, 4))

    @variant(dtype)
    def fetch_own(k, v, h, t, first, last):
        """Asks for a row's keys and values."""
        for _ in range(h):
            for at in range(k + size * first, k + size * last, _LINE):
                fetch_line(at)
            k += size * t
        for at in range(v + size * h * first, v + size * h * last, _LINE):
            fetch_line(at)

    @variant(dtype)
    def multiply(num_rows, x, x_stride, w, w_stride, ahead, out, out_stride, depth, adds, num_vectors):
        """Products of rows with so many vectors of columns; of few rows with more columns at once, for more sums at once."""
        vector = 0
        while vector < num_vectors:
            weights, place, left = w + size * LANES * vector, out + 4 * LANES * vector, num_vectors - vector
            vectors = 4 if left >= 4 and num_rows <= MOST_ROWS // 2 else min(left, 2)
            for row in range(0, num_rows, MOST_ROWS):
                rows, inputs, sums = min(MOST_ROWS, num_rows - row), x + row * x_stride, place + row * out_stride
                if vectors == 4:
                    by_four(rows, inputs, x_stride, weights, w_stride, ahead, sums, out_stride, depth, adds)
                elif vectors == 2:
                    by_two(rows, inputs, x_stride, weights, w_stride, ahead, sums, out_stride, depth, adds)
                else:
                    by_one(rows, inputs, x_stride, weights, w_stride, ahead, sums, out_stride, depth, adds)
            vector += vectors

    @variant(dtype)
    def score(num_rows, queries, h, keys, room, ahead, scores, stride, first, last):
        """Scores of keys in [first, last), whole vectors of them."""
        keys, scores = keys + size * first, scores + 4 * first
        multiply(num_rows, queries, 4 * h, keys, size * room, ahead, scores, stride, h, 0, (last - first) // LANES)

    @variant(dtype)
    def mix(num_rows, weights, stride, values, h, ahead, sums, first, last, adds):
        """Weighted sums of the values in [first, last)."""
        values, weights, line = values + size * h * first, weights + 4 * first, size * h
        multiply(num_rows, weights, stride, values, line, ahead, sums, 4 * h, last - first, adds, h // LANES)

    @variant(dtype)
    def locate(frame, item, num_threads):
        """The group of an item, and memory for it to work in, which begins at `rows`."""
        heads, h, t = input_size(frame, _K, 1), input_size(frame, _K, 2), input_size(frame, _K, 3)
        slots, s = input_size(frame, _PROMPT_K, 0), input_size(frame, _PROMPT_K, 3)
        m, r, width = _queries_a_head(frame), input_size(frame, _PROJECTIONS, 0) // slots, input_size(frame, _PROJECTIONS, 1)
        together, groups = _grouping(frame)
        head, slot, first = item // groups % heads, item // groups // heads, item % groups * together
        num_rows, stride = min(together, r - first), 4 * (s + t)
        num_queries, room, prompt = num_rows * m, size * h * t, size * h * s * (slot * heads + head)
        ahead = num_threads * room if r == 1 else 0  # several rows of a slot are asked for in turn
        rows = allocate(8 * num_rows + num_queries * (8 * h + stride + 4) + 4 * h)
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
            out=output_at(frame, 0) + size * h * m * head,
            out_step=size * h * m * heads,
            projections=input_at(frame, _PROJECTIONS) + 4 * h * m * head,
            projections_step=4 * width,
            new_k=4 * h * (m * heads + head - m * head),
            new_v=4 * h * (m * heads + heads + head - m * head),
            cos=input_at(frame, _COS),
            sin=input_at(frame, _SIN),
            half=input_size(frame, _COS, 1),
            scale=load_float(input_at(frame, _SCALE)),
            k=input_at(frame, _K) + room * head,
            v=input_at(frame, _V) + room * head,
            step=room * heads,
            prompt_k=input_at(frame, _PROMPT_K) + prompt,
            prompt_v=input_at(frame, _PROMPT_V) + prompt,
            spans=input_at(frame, _SPANS),
            ahead=ahead,
            prompt_ahead=num_threads // groups * size * h * s,
            rows=rows,
            queries=queries,
            sums=sums,
            totals=totals,
            scores=totals + 4 * num_queries,
            spare=totals + num_queries * (stride + 4),
        )

    @variant(dtype)
    def gather(group):
        """Lists the rows that see any token and rotates their queries; the others get zeros.

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
                given, mine = group.projections + group.projections_step * row, group.queries + 4 * width * seeing
                cos, sin = group.cos + 4 * group.half * row, group.sin + 4 * group.half * row
                for query in range(0, 4 * width, 4 * group.h):
                    rotate(given + query, mine + query, cos, sin, group.half, group.h, group.scale)
                store_word(group.rows + 8 * seeing, row)
                seeing += 1
            else:
                for half in range(0, size * width, 2):
                    store_half(out + half, 0)
        shared_first, shared_last = _whole(shared_first, shared_last)
        return seeing, shared_first, shared_last

    @variant(dtype)
    def bring(group, seeing):
        """Asks for the keys and values of a row."""
        row = load_word(group.rows + 8 * seeing)
        span, place = group.spans + _SPAN * row, group.step * row
        first, last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
        fetch_own(group.k + place, group.v + place, group.h, group.t, first, last)

    @variant(dtype)
    def write(group, seeing):
        """Appends a row's new key and value."""
        row = load_word(group.rows + 8 * seeing)
        at, place, given = load_int(group.spans + _SPAN * row + _WRITE), group.step * row, group.projections_step * row
        key, value = group.projections + given + group.new_k, group.projections + given + group.new_v
        cos, sin = group.cos + 4 * group.half * row, group.sin + 4 * group.half * row
        put(key, value, cos, sin, group.half, group.h, group.k + place, group.v + place, group.t, at, group.spare)

    @variant(dtype)
    def weigh(group, seeing, shared_first, shared_last):
        """Scores a row's own keys, and turns all its scores into weights and their sums."""
        row, mine = load_word(group.rows + 8 * seeing), group.scores + seeing * group.m * group.stride
        span, queries = group.spans + _SPAN * row, group.queries + 4 * group.h * group.m * seeing
        first, last = _whole(load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST))
        keys, own = group.k + group.step * row, mine + 4 * (shared_last - first)
        score(group.m, queries, group.h, keys, group.t, group.ahead, own, group.stride, first, last)
        for query in range(group.m):
            total = _softmax(span, mine + query * group.stride, shared_first, shared_last)
            store_float(group.totals + 4 * (group.m * seeing + query), total)

    @variant(dtype)
    def combine(group, seeing, shared_first, shared_last):
        """Sums a row's own values, onto those of its prompt, and writes what its heads give."""
        row, mine = load_word(group.rows + 8 * seeing), group.sums + 4 * group.h * group.m * seeing
        span, out = group.spans + _SPAN * row, group.out + group.out_step * row
        first, last = load_int(span + _OWN_FIRST), load_int(span + _OWN_LAST)
        if first < last:
            # The weights of own keys begin, in whole vectors, where those of the prompt's end.
            weights = group.scores + seeing * group.m * group.stride + 4 * (shared_last - _whole(first, last)[0])
            values, adds = group.v + group.step * row, 1 if shared_first < shared_last else 0
            mix(group.m, weights, group.stride, values, group.h, group.ahead, mine, first, last, adds)
        for query in range(group.m):
            total = load_float(group.totals + 4 * (group.m * seeing + query))
            divide(mine + 4 * group.h * query, out + size * group.h * query, group.h // LANES, total)

    @variant(dtype)
    def work(frame, item, num_threads):
        group = locate(frame, item, num_threads)
        num_seeing, first, last = gather(group)
        num_queries, h, stride, ahead = num_seeing * group.m, group.h, group.stride, group.prompt_ahead
        # Fetched two rows ahead, written to one row ahead: nobody waits for memory.
        for seeing in range(min(2, num_seeing)):
            bring(group, seeing)
        if num_seeing > 0:
            write(group, 0)
        score(num_queries, group.queries, h, group.prompt_k, group.s, ahead, group.scores, stride, first, last)
        for seeing in range(num_seeing):
            if seeing + 2 < num_seeing:
                bring(group, seeing + 2)
            if seeing + 1 < num_seeing:
                write(group, seeing + 1)
            weigh(group, seeing, first, last)
        if first < last:
            mix(num_queries, group.scores, stride, group.prompt_v, h, ahead, group.sums, first, last, 0)
        for seeing in range(num_seeing):
            combine(group, seeing, first, last)
        free(group.rows)

    return work


_WORK = {
    'float32': _work('float32', multiply_by_float32, put_float32, divide_float32, 4),
    'bfloat16': _work('bfloat16', multiply_by_bfloat16, put_bfloat16, divide_bfloat16, 2),
}
_ATTEND = {dtype: Kernel(f'attend_{dtype}', _count, work) for dtype, work in _WORK.items()}
