"""What Numba does not spell: the processor, memory by address, atomic words. Addresses and sizes are int64."""

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

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def at_address(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def load(builder, address, kind, align):
    loaded = builder.load(at_address(builder, address, kind))
    loaded.align = align
    return loaded


@intrinsic
def load_word(typingctx, address):
    """The int64 at an address."""

    def generate(context, builder, signature, arguments):
        return load(builder, arguments[0], I64, 8)

    return types.int64(types.int64), generate


@intrinsic
def load_int(typingctx, address):
    """The int32 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.sext(load(builder, arguments[0], I32, 4), I64)

    return types.int64(types.int64), generate


@intrinsic
def load_float(typingctx, address):
    """The float32 at an address."""

    def generate(context, builder, signature, arguments):
        return load(builder, arguments[0], F32, 4)

    return types.float32(types.int64), generate


@intrinsic
def store_word(typingctx, address, value):
    """Writes an int64."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], at_address(builder, arguments[0], I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def store_int(typingctx, address, value):
    """Writes an int32."""

    def generate(context, builder, signature, arguments):
        builder.store(builder.trunc(arguments[1], I32), at_address(builder, arguments[0], I32), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def store_float(typingctx, address, value):
    """Writes a float32."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], at_address(builder, arguments[0], F32), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def fetch_add(typingctx, address, value):
    """Adds to a word that others may be adding to; what was there before."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw('add', at_address(builder, arguments[0], I64), arguments[1], 'seq_cst')

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
        kind = ir.FunctionType(I64, [I64])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, 'malloc'), arguments)

    return types.int64(types.int64), generate


@intrinsic
def free(typingctx, address):
    """Gives memory back."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [I64])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, 'free'), arguments)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def call_address(typingctx, function, argument):
    """Calls the C function `word f(word)` at an address."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(I64, [I64])
        return builder.call(at_address(builder, arguments[0], kind), [arguments[1]])

    return types.int64(types.int64, types.int64), generate


def fetch(builder, address):
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, 'llvm.prefetch.p0')
    builder.call(fetch, [at_address(builder, address, I8), I32(0), I32(3), I32(1)])


@intrinsic
def fetch_line(typingctx, address):
    """Asks for the cache line of an address, and goes on."""

    def generate(context, builder, signature, arguments):
        fetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def load_byte(typingctx, address):
    """The byte at an address."""

    def generate(context, builder, signature, arguments):
        return builder.zext(load(builder, arguments[0], I8, 1), I64)

    return types.int64(types.int64), generate


@intrinsic
def load_half(typingctx, address):
    """The two bytes at an address."""

    def generate(context, builder, signature, arguments):
        return builder.zext(load(builder, arguments[0], I16, 2), I64)

    return types.int64(types.int64), generate


@intrinsic
def store_half(typingctx, address, value):
    """Writes two bytes."""

    def generate(context, builder, signature, arguments):
        builder.store(builder.trunc(arguments[1], I16), at_address(builder, arguments[0], I16), align=2)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
