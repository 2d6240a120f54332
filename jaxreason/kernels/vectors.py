"""Vectors of float32 in registers: blocks of a matrix product, sums, exponentials, and rows written in a dtype.

Strides are in bytes. A vector has 16 lanes whatever the processor's own width: LLVM splits it. Sums run over the depth one term
after the other in each lane, so an element of a product depends on its row, its column and the depth, and on nothing beside
them.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from jaxreason.kernels.machine import F32, HAS_BFLOAT16, I16, I32, I64, LANES, MOST_ROWS, at_address, fetch, load

_VECTOR, _WORDS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite cannot name."""

    def _to_string(self) -> str:
        return 'bfloat'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)


def _splat(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, scalar, I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(I32, count), [0] * count))


def _fma(builder, x, y, z):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, 'llvm.fma.v16f32'), [x, y, z])


def _float32_step(builder, sums, x, weights):
    """Adds x w, one number a row and a vector of columns each."""
    x = _splat(builder, load(builder, x, F32, 4), LANES)
    return [_fma(builder, x, w, total) for w, total in zip(weights, sums, strict=True)]


def _bfloat16_step(builder, sums, x, weights):
    """Adds x w for two terms of the depth at once: a word holds both."""
    x = _splat(builder, load(builder, x, I32, 2), LANES)
    if HAS_BFLOAT16:
        kind = ir.FunctionType(_VECTOR, [_VECTOR, _PAIRS, _PAIRS])
        dot = cgutils.get_or_insert_function(builder.module, kind, 'llvm.x86.avx512bf16.dpbf16ps.512')
        pairs = builder.bitcast(x, _PAIRS)
        return [builder.call(dot, [total, pairs, builder.bitcast(w, _PAIRS)]) for w, total in zip(weights, sums, strict=True)]
    sixteen, high = ir.Constant(_WORDS, [16] * LANES), ir.Constant(_WORDS, [-65536] * LANES)

    def halves(words):
        return builder.bitcast(builder.shl(words, sixteen), _VECTOR), builder.bitcast(builder.and_(words, high), _VECTOR)

    x_even, x_odd = halves(x)
    added = []
    for w, total in zip(weights, sums, strict=True):
        even, odd = halves(builder.bitcast(w, _WORDS))
        added.append(_fma(builder, x_odd, odd, _fma(builder, x_even, even, total)))
    return added


def _vector(builder, address):
    return load(builder, address, _VECTOR, 4)


def _widened_vector(builder, address):
    """16 bfloat16 as float32."""
    words = builder.zext(load(builder, address, ir.VectorType(I16, LANES), 2), _WORDS)
    return builder.bitcast(builder.shl(words, ir.Constant(_WORDS, [16] * LANES)), _VECTOR)


def _block(step, read=_vector, vector_bytes=4 * LANES, vectors=2):
    """An intrinsic that multiplies some rows with some vectors of columns: `MOST_ROWS` at most with two of them.

    Args:
        step: adds what one word of the depth brings.
        read: reads a vector of weights.
        vector_bytes: of weights in memory.
        vectors: of columns.
    """

    @intrinsic
    def block(typingctx, num_rows, x, x_stride, w, w_stride, ahead, out, out_stride, depth, adds):
        """out[r, :] = (out[r, :] if adds else 0) + sum over k < depth of x[r, k] w[k, :].

        Args:
            num_rows: 1 .. MOST_ROWS.
            x: address of the first row's first word (four bytes: a float32 or two bfloat16).
            x_stride: from row to row.
            w: address of the first vectors of weights.
            w_stride: from word to word of the depth.
            ahead: how far from where weights are read others are fetched.
            out: address of the first row's sums, float32.
            out_stride: from row to row.
            depth: words, at least 1.
            adds: go on from the sums that are there.
        """

        def generate(context, builder, signature, arguments):
            done = builder.append_basic_block('done')
            choice = builder.switch(arguments[0], done)
            for rows in range(1, MOST_ROWS * 2 // max(2, vectors) + 1):
                case = builder.append_basic_block(f'rows{rows}')
                choice.add_case(I64(rows), case)
                builder.position_at_end(case)
                _rows(builder, (step, read, vector_bytes, vectors), rows, *arguments[1:])
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return block


def _rows(builder, kind, rows, x, x_stride, w, w_stride, ahead, out, out_stride, depth, adds):
    step, read, vector_bytes, vectors = kind
    columns, weight_columns = range(0, vectors * 4 * LANES, 4 * LANES), range(0, vectors * vector_bytes, vector_bytes)
    inputs = [builder.add(x, builder.mul(x_stride, I64(row))) for row in range(rows)]
    outputs = [
        [builder.add(builder.add(out, builder.mul(out_stride, I64(row))), I64(column)) for column in columns]
        for row in range(rows)
    ]
    fresh, going_on, start, loop, end = (
        builder.append_basic_block(name) for name in ('fresh', 'going_on', 'start', 'loop', 'end')
    )
    builder.cbranch(builder.icmp_signed('!=', adds, I64(0)), going_on, fresh)
    builder.position_at_end(fresh)
    builder.branch(start)
    builder.position_at_end(going_on)
    held = [[load(builder, place, _VECTOR, 4) for place in row] for row in outputs]
    builder.branch(start)

    builder.position_at_end(start)
    first = [[_phi(builder, _VECTOR, (_ZERO, fresh), (total, going_on)) for total in row] for row in held]
    builder.branch(loop)

    builder.position_at_end(loop)
    k, at = _phi(builder, I64, (I64(0), start)), _phi(builder, I64, (w, start))
    sums = [[_phi(builder, _VECTOR, (total, start)) for total in row] for row in first]
    others = builder.add(at, ahead)
    for line in range(0, vectors * vector_bytes, 4 * LANES):
        fetch(builder, builder.add(others, I64(line)))
    weights = [read(builder, builder.add(at, I64(column))) for column in weight_columns]
    offset = builder.mul(k, I64(4))
    added = [step(builder, row, builder.add(given, offset), weights) for row, given in zip(sums, inputs, strict=True)]
    for row, new in zip(sums, added, strict=True):
        for total, more in zip(row, new, strict=True):
            total.add_incoming(more, loop)
    following = builder.add(k, I64(1))
    k.add_incoming(following, loop)
    at.add_incoming(builder.add(at, w_stride), loop)
    builder.cbranch(builder.icmp_signed('<', following, depth), loop, end)

    builder.position_at_end(end)
    for row, places in zip(added, outputs, strict=True):
        for total, place in zip(row, places, strict=True):
            builder.store(total, at_address(builder, place, _VECTOR), align=4)


def _phi(builder, kind, *incoming):
    phi = builder.phi(kind)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi


multiply_packed_float32 = _block(_float32_step)
multiply_packed_bfloat16 = _block(_bfloat16_step)
# Rows of float32 with weights that lie in a dtype, for 1, 2, and 4 vectors of columns.
multiply_by_float32 = {vectors: _block(_float32_step, vectors=vectors) for vectors in (1, 2, 4)}
multiply_by_bfloat16 = {vectors: _block(_float32_step, _widened_vector, 2 * LANES, vectors) for vectors in (1, 2, 4)}


def _reduce(builder, operation, vector):
    """Halves against halves until one lane is left, so that the order is always the same."""
    count = LANES
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    while count > 1:
        count //= 2
        mask = [count + lane if lane < count else 0 for lane in range(LANES)]
        vector = operation(vector, builder.shuffle_vector(vector, nothing, ir.Constant(_WORDS, mask)))
    return builder.extract_element(vector, I32(0))


def _over_vectors(builder, address, num_vectors, initial, body):
    """Runs `body(place, carried) -> carried` over the vectors from an address on; returns what is carried at the end."""
    before = builder.block
    loop, end = builder.append_basic_block('vectors'), builder.append_basic_block('after')
    builder.cbranch(builder.icmp_signed('>', num_vectors, I64(0)), loop, end)
    builder.position_at_end(loop)
    k, carried = _phi(builder, I64, (I64(0), before)), _phi(builder, _VECTOR, (initial, before))
    result = body(builder.add(address, builder.mul(k, I64(4 * LANES))), carried)
    following = builder.add(k, I64(1))
    k.add_incoming(following, loop)
    carried.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed('<', following, num_vectors), loop, end)
    builder.position_at_end(end)
    return _phi(builder, _VECTOR, (initial, before), (result, loop))


@intrinsic
def largest(typingctx, address, num_vectors, least):
    """The largest of whole vectors of float32, at least `least`; NaN is passed over."""

    def generate(context, builder, signature, arguments):
        address, num_vectors, least = arguments

        def greater(x, y):
            return builder.select(builder.fcmp_ordered('>', x, y), x, y)

        initial = _splat(builder, least, LANES)
        tops = _over_vectors(builder, address, num_vectors, initial, lambda at, top: greater(_vector(builder, at), top))
        return _reduce(builder, greater, tops)

    return types.float32(types.int64, types.int64, types.float32), generate


@intrinsic
def sum_of_squares(typingctx, address, num_vectors):
    """Of whole vectors of float32; their lanes are summed apart, then by halves."""

    def generate(context, builder, signature, arguments):
        def add(at, total):
            x = _vector(builder, at)
            return _fma(builder, x, x, total)

        return _reduce(builder, builder.fadd, _over_vectors(builder, *arguments, _ZERO, add))

    return types.float32(types.int64, types.int64), generate


@intrinsic
def hide(typingctx, address, first, last, value):
    """Sets the lanes of a vector of float32 that are not in [first, last)."""

    def generate(context, builder, signature, arguments):
        address, first, last, value = arguments
        lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
        first, last = _splat(builder, first, LANES), _splat(builder, last, LANES)
        is_kept = builder.and_(builder.icmp_signed('>=', lanes, first), builder.icmp_signed('<', lanes, last))
        kept = builder.select(is_kept, _vector(builder, address), _splat(builder, value, LANES))
        builder.store(kept, at_address(builder, address, _VECTOR), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.float32), generate


@intrinsic
def sum_of(typingctx, address, num_vectors):
    """The sum of whole vectors of float32; their lanes are summed apart, then by halves."""

    def generate(context, builder, signature, arguments):
        totals = _over_vectors(builder, *arguments, _ZERO, lambda at, total: builder.fadd(total, _vector(builder, at)))
        return _reduce(builder, builder.fadd, totals)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def exponentiate(typingctx, source, target, num_vectors, offset, factor):
    """Writes exp((x - offset) factor) for whole vectors of float32, and sums it; their lanes are summed apart, then by halves.

    Relative error up to 1.2e-7 for exponents in (-87, 0]; below, 0.
    """

    def generate(context, builder, signature, arguments):
        source, target, num_vectors, offset, factor = arguments
        offset, factor = _splat(builder, offset, LANES), _splat(builder, factor, LANES)

        def write(at, total):
            y = _exp(builder, builder.fmul(builder.fsub(_vector(builder, at), offset), factor))
            place = builder.add(target, builder.sub(at, source))
            builder.store(y, at_address(builder, place, _VECTOR), align=4)
            return builder.fadd(total, y)

        return _reduce(builder, builder.fadd, _over_vectors(builder, source, num_vectors, _ZERO, write))

    return types.float32(types.int64, types.int64, types.int64, types.float32, types.float32), generate


def _exp(builder, x):
    """exp of a vector: 2^n times a polynomial on half a binade (coefficients of Cephes' expf)."""

    def constant(value):
        return ir.Constant(_VECTOR, [value] * LANES)

    def call(name, kind, *arguments):
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def integer(value):
        return ir.Constant(_WORDS, [value] * LANES)

    # n is x / log 2, rounded by adding 1.5 * 2^23; its low bits then hold n, and below -126 nothing is asked of them.
    magic = constant(12582912.0)
    shifted = _fma(builder, x, constant(1.44269504088896341), magic)
    n = builder.fsub(shifted, magic)
    r = _fma(builder, n, constant(-0.693359375), x)
    r = _fma(builder, n, constant(2.12194440e-4), r)
    y = constant(1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        y = _fma(builder, y, r, constant(coefficient))
    y = builder.fadd(_fma(builder, y, builder.fmul(r, r), r), constant(1.0))
    bits = builder.shl(builder.add(builder.bitcast(shifted, _WORDS), integer(127)), integer(23))
    y = builder.fmul(y, builder.bitcast(bits, _VECTOR))
    y = builder.select(builder.fcmp_ordered('>', x, constant(88.0)), constant(float('inf')), y)
    return builder.select(builder.fcmp_ordered('<', x, constant(-87.0)), _ZERO, y)


def _put_float32(builder, values, address):
    builder.store(values, at_address(builder, address, _VECTOR), align=4)


def _put_bfloat16(builder, values, address):
    if HAS_BFLOAT16:
        kind = ir.VectorType(_BFloat(), LANES)
        builder.store(builder.fptrunc(values, kind), at_address(builder, address, kind), align=2)
        return

    # LLVM would call a function of the compiler's runtime, which is not there: to the nearest by hand, ties to even.
    def constant(value):
        return ir.Constant(_WORDS, [value] * LANES)

    bits = builder.bitcast(values, _WORDS)
    high = builder.lshr(bits, constant(16))
    up = builder.add(builder.and_(high, constant(1)), constant(0x7FFF))
    nearest = builder.lshr(builder.add(bits, up), constant(16))
    words = builder.select(builder.fcmp_unordered('uno', values, values), builder.or_(high, constant(0x40)), nearest)
    kind = ir.VectorType(I16, LANES)
    builder.store(builder.trunc(words, kind), at_address(builder, address, kind), align=2)


def _writers(put, vector_bytes):
    """Intrinsics that write whole vectors to rows of a dtype: (divided, normed, gated)."""

    def over(builder, source, target, num_vectors, values):
        """Writes `values(at, offset)` of each vector; `at` in the source, `offset` in bytes of float32."""

        def write(at, nothing):
            offset = builder.sub(at, source)
            place = offset if vector_bytes == 4 * LANES else builder.lshr(offset, I64(1))
            put(builder, values(at, offset), builder.add(target, place))
            return nothing

        _over_vectors(builder, source, num_vectors, _ZERO, write)

    @intrinsic
    def divided(typingctx, source, target, num_vectors, divisor):
        """x / divisor."""

        def generate(context, builder, signature, arguments):
            divisor = _splat(builder, arguments[3], LANES)
            over(builder, *arguments[:3], lambda at, offset: builder.fdiv(_vector(builder, at), divisor))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.float32), generate

    @intrinsic
    def normed(typingctx, source, target, num_vectors, scales, factor):
        """x factor scale, with a scale a channel."""

        def generate(context, builder, signature, arguments):
            scales, factor = arguments[3], _splat(builder, arguments[4], LANES)

            def values(at, offset):
                scale = _vector(builder, builder.add(scales, offset))
                return builder.fmul(builder.fmul(_vector(builder, at), factor), scale)

            over(builder, *arguments[:3], values)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64, types.float32), generate

    @intrinsic
    def gated(typingctx, gates, target, num_vectors, values):
        """silu(gate) value."""

        def generate(context, builder, signature, arguments):
            others, one = arguments[3], ir.Constant(_VECTOR, [1.0] * LANES)

            def silu(at, offset):
                gate = _vector(builder, at)
                weight = _exp(builder, builder.fneg(gate))
                value = _vector(builder, builder.add(others, offset))
                return builder.fmul(builder.fdiv(gate, builder.fadd(one, weight)), value)

            over(builder, *arguments[:3], silu)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return divided, normed, gated


divide_float32, norm_float32, gate_float32 = _writers(_put_float32, 4 * LANES)
divide_bfloat16, norm_bfloat16, gate_bfloat16 = _writers(_put_bfloat16, 2 * LANES)
