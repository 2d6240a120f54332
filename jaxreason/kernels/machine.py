"""What Numba does not spell: memory by address, atomic words, and blocks of a matrix product in vector registers.

Addresses, sizes and strides are int64, strides in bytes. A vector has 16 float32 lanes whatever the processor's own width: LLVM
splits it. Sums run over the depth one term after the other in each lane, so an element of a product depends on its row, its
column and the depth, and on nothing beside them.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 16
COLUMNS = 2 * LANES  # of a block

# What Numba compiles for: the processor at hand, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES ask for.
TARGET: tuple[str, ...] = cpu_target.target_context.codegen().magic_tuple()
_FEATURES = TARGET[2].split(',')
HAS_BFLOAT16 = '+avx512bf16' in _FEATURES  # multiplies pairs of bfloat16, adds float32
MOST_ROWS = 12 if '+avx512f' in _FEATURES else 3  # of a block: its sums fill the registers
_AHEAD = 8192  # bytes of weights fetched ahead; from memory 1.4 times slower with 1,024

_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR, _WORDS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
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


def _at(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder, address, kind, align):
    loaded = builder.load(_at(builder, address, kind))
    loaded.align = align
    return loaded


@intrinsic
def load_word(typingctx, address):
    """The int64 at an address."""

    def generate(context, builder, signature, arguments):
        return _load(builder, arguments[0], _I64, 8)

    return types.int64(types.int64), generate


@intrinsic
def load_int(typingctx, address):
    """The int32 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.sext(_load(builder, arguments[0], _I32, 4), _I64)

    return types.int64(types.int64), generate


@intrinsic
def load_float(typingctx, address):
    """The float32 at an address."""

    def generate(context, builder, signature, arguments):
        return _load(builder, arguments[0], _F32, 4)

    return types.float32(types.int64), generate


@intrinsic
def store_word(typingctx, address, value):
    """Writes an int64."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], _at(builder, arguments[0], _I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def store_int(typingctx, address, value):
    """Writes an int32."""

    def generate(context, builder, signature, arguments):
        builder.store(builder.trunc(arguments[1], _I32), _at(builder, arguments[0], _I32), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def store_float(typingctx, address, value):
    """Writes a float32."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], _at(builder, arguments[0], _F32), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def fetch_add(typingctx, address, value):
    """Adds to a word that others may be adding to; what was there before."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw('add', _at(builder, arguments[0], _I64), arguments[1], 'seq_cst')

    return types.int64(types.int64, types.int64), generate


@intrinsic
def pause(typingctx):
    """Tells the processor that this thread waits for another."""

    def generate(context, builder, signature, arguments):
        if llvm.get_default_triple().startswith('x86_64'):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, 'llvm.x86.sse2.pause'), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def allocate(typingctx, size):
    """Memory of so many bytes, until `free`."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_I64, [_I64])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, 'malloc'), arguments)

    return types.int64(types.int64), generate


@intrinsic
def free(typingctx, address):
    """Gives memory back."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [_I64])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, 'free'), arguments)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def call_address(typingctx, function, argument):
    """Calls the C function `word f(word)` at an address."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_I64, [_I64])
        return builder.call(_at(builder, arguments[0], kind), [arguments[1]])

    return types.int64(types.int64, types.int64), generate


def _fetch(builder, address):
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, 'llvm.prefetch.p0')
    builder.call(fetch, [_at(builder, address, _I8), _I32(0), _I32(3), _I32(1)])


@intrinsic
def fetch_line(typingctx, address):
    """Asks for the cache line of an address, and goes on."""

    def generate(context, builder, signature, arguments):
        _fetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def load_half(typingctx, address):
    """The two bytes at an address."""

    def generate(context, builder, signature, arguments):
        return builder.zext(_load(builder, arguments[0], _I16, 2), _I64)

    return types.int64(types.int64), generate


@intrinsic
def store_half(typingctx, address, value):
    """Writes two bytes."""

    def generate(context, builder, signature, arguments):
        builder.store(builder.trunc(arguments[1], _I16), _at(builder, arguments[0], _I16), align=2)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _splat(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, scalar, _I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_I32, count), [0] * count))


def _fma(builder, x, y, z):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, 'llvm.fma.v16f32'), [x, y, z])


def _float32_step(builder, sums, x, weights):
    """Adds x w, one number a row and a vector of columns each."""
    x = _splat(builder, _load(builder, x, _F32, 4), LANES)
    return [_fma(builder, x, w, total) for w, total in zip(weights, sums, strict=True)]


def _bfloat16_step(builder, sums, x, weights):
    """Adds x w for two terms of the depth at once: a word holds both."""
    x = _splat(builder, _load(builder, x, _I32, 2), LANES)
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
    return _load(builder, address, _VECTOR, 4)


def _widened_vector(builder, address):
    """16 bfloat16 as float32."""
    words = builder.zext(_load(builder, address, ir.VectorType(_I16, LANES), 2), _WORDS)
    return builder.bitcast(builder.shl(words, ir.Constant(_WORDS, [16] * LANES)), _VECTOR)


def _block(step, load=_vector, vector_bytes=4 * LANES, vectors=2, ahead=0):
    """An intrinsic that multiplies up to `MOST_ROWS` rows with some vectors of columns.

    Args:
        step: adds what one word of the depth brings.
        load: reads a vector of weights.
        vector_bytes: of weights in memory.
        vectors: of columns.
        ahead: bytes that weights are fetched ahead.
    """

    @intrinsic
    def block(typingctx, num_rows, x, x_stride, w, w_stride, out, out_stride, depth, adds):
        """out[r, :] = (out[r, :] if adds else 0) + sum over k < depth of x[r, k] w[k, :].

        Args:
            num_rows: 1 .. MOST_ROWS.
            x: address of the first row's first word (four bytes: a float32 or two bfloat16).
            x_stride: from row to row.
            w: address of the first vectors of weights.
            w_stride: from word to word of the depth.
            out: address of the first row's sums, float32.
            out_stride: from row to row.
            depth: words, at least 1.
            adds: go on from the sums that are there.
        """

        def generate(context, builder, signature, arguments):
            done = builder.append_basic_block('done')
            choice = builder.switch(arguments[0], done)
            for rows in range(1, MOST_ROWS + 1):
                case = builder.append_basic_block(f'rows{rows}')
                choice.add_case(_I64(rows), case)
                builder.position_at_end(case)
                _rows(builder, (step, load, vector_bytes, vectors, ahead), rows, *arguments[1:])
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return block


def _rows(builder, kind, rows, x, x_stride, w, w_stride, out, out_stride, depth, adds):
    step, load, vector_bytes, vectors, ahead = kind
    columns, weight_columns = range(0, vectors * 4 * LANES, 4 * LANES), range(0, vectors * vector_bytes, vector_bytes)
    inputs = [builder.add(x, builder.mul(x_stride, _I64(row))) for row in range(rows)]
    outputs = [
        [builder.add(builder.add(out, builder.mul(out_stride, _I64(row))), _I64(column)) for column in columns]
        for row in range(rows)
    ]
    fresh, going_on, start, loop, end = (
        builder.append_basic_block(name) for name in ('fresh', 'going_on', 'start', 'loop', 'end')
    )
    builder.cbranch(builder.icmp_signed('!=', adds, _I64(0)), going_on, fresh)
    builder.position_at_end(fresh)
    builder.branch(start)
    builder.position_at_end(going_on)
    held = [[_load(builder, place, _VECTOR, 4) for place in row] for row in outputs]
    builder.branch(start)

    builder.position_at_end(start)
    first = [[_phi(builder, _VECTOR, (_ZERO, fresh), (total, going_on)) for total in row] for row in held]
    builder.branch(loop)

    builder.position_at_end(loop)
    k, at = _phi(builder, _I64, (_I64(0), start)), _phi(builder, _I64, (w, start))
    sums = [[_phi(builder, _VECTOR, (total, start)) for total in row] for row in first]
    if ahead:
        for column in weight_columns:
            _fetch(builder, builder.add(at, _I64(ahead + column)))
    weights = [load(builder, builder.add(at, _I64(column))) for column in weight_columns]
    offset = builder.mul(k, _I64(4))
    added = [step(builder, row, builder.add(given, offset), weights) for row, given in zip(sums, inputs, strict=True)]
    for row, new in zip(sums, added, strict=True):
        for total, more in zip(row, new, strict=True):
            total.add_incoming(more, loop)
    following = builder.add(k, _I64(1))
    k.add_incoming(following, loop)
    at.add_incoming(builder.add(at, w_stride), loop)
    builder.cbranch(builder.icmp_signed('<', following, depth), loop, end)

    builder.position_at_end(end)
    for row, places in zip(added, outputs, strict=True):
        for total, place in zip(row, places, strict=True):
            builder.store(total, _at(builder, place, _VECTOR), align=4)


def _phi(builder, kind, *incoming):
    phi = builder.phi(kind)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi


multiply_float32 = _block(_float32_step)
multiply_float32_vector = _block(_float32_step, vectors=1)
multiply_bfloat16 = _block(_float32_step, _widened_vector, 2 * LANES)  # bfloat16 weights only
multiply_bfloat16_vector = _block(_float32_step, _widened_vector, 2 * LANES, vectors=1)
multiply_packed_float32 = _block(_float32_step, ahead=_AHEAD)
multiply_packed_bfloat16 = _block(_bfloat16_step, ahead=_AHEAD)


def _reduce(builder, operation, vector):
    """Halves against halves until one lane is left, so that the order is always the same."""
    count = LANES
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    while count > 1:
        count //= 2
        mask = [count + lane if lane < count else 0 for lane in range(LANES)]
        vector = operation(vector, builder.shuffle_vector(vector, nothing, ir.Constant(_WORDS, mask)))
    return builder.extract_element(vector, _I32(0))


def _over_vectors(builder, address, num_vectors, initial, body):
    """Runs `body(place, carried) -> carried` over the vectors from an address on; returns what is carried at the end."""
    before = builder.block
    loop, end = builder.append_basic_block('vectors'), builder.append_basic_block('after')
    builder.cbranch(builder.icmp_signed('>', num_vectors, _I64(0)), loop, end)
    builder.position_at_end(loop)
    k, carried = _phi(builder, _I64, (_I64(0), before)), _phi(builder, _VECTOR, (initial, before))
    result = body(builder.add(address, builder.mul(k, _I64(4 * LANES))), carried)
    following = builder.add(k, _I64(1))
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
def exponentiate(typingctx, address, num_vectors, offset):
    """Replaces whole vectors of float32 by exp(x - offset), and sums them; their lanes are summed apart, then by halves.

    Relative error up to 1.2e-7 for differences in (-87, 0]; below, 0.
    """

    def generate(context, builder, signature, arguments):
        address, num_vectors, offset = arguments
        offset = _splat(builder, offset, LANES)

        def replace(at, total):
            y = _exp(builder, builder.fsub(_vector(builder, at), offset))
            builder.store(y, _at(builder, at, _VECTOR), align=4)
            return builder.fadd(total, y)

        totals = _over_vectors(builder, address, num_vectors, _ZERO, replace)
        return _reduce(builder, builder.fadd, totals)

    return types.float32(types.int64, types.int64, types.float32), generate


def _exp(builder, x):
    """exp of a vector: 2^n times a polynomial on half a binade (coefficients of Cephes' expf)."""

    def constant(value):
        return ir.Constant(_VECTOR, [value] * LANES)

    def call(name, kind, *arguments):
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    n = call('llvm.rint.v16f32', ir.FunctionType(_VECTOR, [_VECTOR]), builder.fmul(x, constant(1.44269504088896341)))
    r = _fma(builder, n, constant(-0.693359375), x)
    r = _fma(builder, n, constant(2.12194440e-4), r)
    y = constant(1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        y = _fma(builder, y, r, constant(coefficient))
    y = builder.fadd(_fma(builder, y, builder.fmul(r, r), r), constant(1.0))
    whole = call('llvm.fptosi.sat.v16i32.v16f32', ir.FunctionType(_WORDS, [_VECTOR]), n)
    bits = builder.shl(builder.add(whole, ir.Constant(_WORDS, [127] * LANES)), ir.Constant(_WORDS, [23] * LANES))
    y = builder.fmul(y, builder.bitcast(bits, _VECTOR))
    y = builder.select(builder.fcmp_ordered('>', x, constant(88.0)), constant(float('inf')), y)
    return builder.select(builder.fcmp_ordered('<', x, constant(-87.0)), _ZERO, y)


def _put_float32(builder, values, address):
    builder.store(values, _at(builder, address, _VECTOR), align=4)


def _put_bfloat16(builder, values, address):
    if HAS_BFLOAT16:
        kind = ir.VectorType(_BFloat(), LANES)
        builder.store(builder.fptrunc(values, kind), _at(builder, address, kind), align=2)
        return

    # LLVM would call a function of the compiler's runtime, which is not there: to the nearest by hand, ties to even.
    def constant(value):
        return ir.Constant(_WORDS, [value] * LANES)

    bits = builder.bitcast(values, _WORDS)
    high = builder.lshr(bits, constant(16))
    up = builder.add(builder.and_(high, constant(1)), constant(0x7FFF))
    nearest = builder.lshr(builder.add(bits, up), constant(16))
    words = builder.select(builder.fcmp_unordered('uno', values, values), builder.or_(high, constant(0x40)), nearest)
    kind = ir.VectorType(_I16, LANES)
    builder.store(builder.trunc(words, kind), _at(builder, address, kind), align=2)


def _writers(put, vector_bytes):
    """Intrinsics that write whole vectors to rows of a dtype: (divided, normed, gated)."""

    def over(builder, source, target, num_vectors, values):
        """Writes `values(at, offset)` of each vector; `at` in the source, `offset` in bytes of float32."""

        def write(at, nothing):
            offset = builder.sub(at, source)
            place = offset if vector_bytes == 4 * LANES else builder.lshr(offset, _I64(1))
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
