"""Kernels as calls from a compiled program, spread over its threads.

A kernel is two Numba functions of a call's frame: how many items of work there are, and the work of one. XLA calls one C
function; it asks XLA's own threads for help, all take items until none is left, and it returns when no helper is at work any
more. Which thread does an item changes nothing in it.

Offsets are those of `xla/ffi/api/c_api.h`, version 0.3, which ships with jaxlib; another version is refused when a kernel is
registered.
"""

import contextlib
import ctypes
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import llvmlite
import numba
from llvmlite import ir
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from jaxreason.core.user_cache import user_cache
from jaxreason.kernels.machine import TARGET, allocate, call_address, fetch_add, free, load_word, pause, store_int, store_word

OPTIONS: dict[str, Any] = {'error_model': 'numpy', 'boundscheck': False}
_VERSION = 0, 3

# XLA_FFI_CallFrame
_EXTENSION, _API, _CONTEXT, _NUM_INPUTS, _INPUTS, _OUTPUTS = 8, 16, 24, 56, 72, 112
# XLA_FFI_Metadata_Extension, XLA_FFI_Metadata
_METADATA, _MAJOR, _MINOR, _TRAITS = 24, 24, 28, 32
# XLA_FFI_Api
_SCHEDULE, _NUM_THREADS = 136, 144
# XLA_FFI_Buffer
_DATA, _DIMS = 24, 40

# What helpers share of one call; the last to leave frees it.
_FRAME, _NUM_ITEMS, _THREADS, _NEXT, _AT_WORK, _HOLDERS, _STATE_BYTES = 0, 8, 16, 64, 128, 192, 256
_CLOSED = 2**32  # added to _AT_WORK when the call is over
_MOST_HELPERS = 63


def variant(tag: str) -> Callable:
    """Compiles a function that is one of several made of the same source, as Numba's `njit` does.

    Kernels that different processes compiled meet in a third one, out of the cache, and there only names tell functions apart:
    without a tag one kernel would run another's.
    """

    def compiled(function: Callable) -> Callable:
        function.__qualname__ += f'_{tag}'
        return njit(**OPTIONS)(function)

    return compiled


@njit(**OPTIONS)
def num_inputs(frame):
    """Operands of a call."""
    return load_word(frame + _NUM_INPUTS)


@njit(**OPTIONS)
def input_at(frame, index):
    """Address of an operand's data."""
    return load_word(load_word(load_word(frame + _INPUTS) + 8 * index) + _DATA)


@njit(**OPTIONS)
def output_at(frame, index):
    """Address of a result's data."""
    return load_word(load_word(load_word(frame + _OUTPUTS) + 8 * index) + _DATA)


@njit(**OPTIONS)
def input_size(frame, index, axis):
    """A dimension of an operand."""
    return load_word(load_word(load_word(load_word(frame + _INPUTS) + 8 * index) + _DIMS) + 8 * axis)


@njit(**OPTIONS)
def output_size(frame, index, axis):
    """A dimension of a result."""
    return load_word(load_word(load_word(load_word(frame + _OUTPUTS) + 8 * index) + _DIMS) + 8 * axis)


@njit(**OPTIONS)
def _describe(extension):
    """Tells XLA which version of its interface this was written for."""
    metadata = load_word(extension + _METADATA)
    store_int(metadata + _MAJOR, _VERSION[0])
    store_int(metadata + _MINOR, _VERSION[1])
    store_int(metadata + _TRAITS, 0)


@njit(**OPTIONS)
def _num_threads(frame):
    # XLA_FFI_ThreadPool_NumThreads_Args: size, extension, context, and where the answer goes.
    asked = allocate(40)
    store_word(asked, 32)
    store_word(asked + 8, 0)
    store_word(asked + 16, load_word(frame + _CONTEXT))
    store_word(asked + 24, asked + 32)
    store_word(asked + 32, 1)
    failed = call_address(load_word(load_word(frame + _API) + _NUM_THREADS), asked)
    count = load_word(asked + 32)
    free(asked)
    return 1 if failed != 0 else count


@njit(**OPTIONS)
def _leave(state):
    if fetch_add(state + _HOLDERS, -1) == 1:
        free(state)


def _address_of(task) -> Callable:
    """An intrinsic for the address of a C function that runs `task(state)`."""

    @intrinsic
    def address(typingctx):
        word = ir.IntType(64)

        def generate(context, builder, signature, arguments):
            compiled = task.get_compile_result(types.void(types.int64))
            context.active_code_library.add_linking_library(compiled.library)
            wrapper = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [word]), f'run_{task.__name__}')
            wrapper.linkage = 'internal'
            inner = ir.IRBuilder(wrapper.append_basic_block())
            context.call_internal_no_propagate(inner, compiled.fndesc, types.void(types.int64), wrapper.args)
            inner.ret_void()
            return builder.ptrtoint(wrapper, word)

        return types.int64(), generate

    return address


class Kernel:
    """A kernel that compiled programs on CPUs call by name; compiled itself when a program with it is first traced.

    Attributes:
        name: what programs call it; a digest of this package's source and of the compiler is added, so that a program kept
            by JAX's persistent cache never meets another kernel than its own.
    """

    def __init__(self, name: str, count: Callable, work: Callable):
        """Args:
        name: a name of its own.
        count: Numba function of a frame: number of items.
        work: Numba function of a frame, an item's index, and the number of threads that take items in turn.
        """
        self.name = f'jaxreason_{name}_{_digest()}'
        self._count, self._work = count, work
        self._handle: CFunc | None = None

    def __call__(self, outputs: Any, *inputs: jax.Array, aliases: Mapping[int, int] | None = None) -> Any:
        """Calls the kernel.

        Args:
            outputs: shapes and dtypes of the results, as `jax.ffi.ffi_call` takes them.
            inputs: operands.
            aliases: results that lie where an operand lies, by the operand's index.
        """
        if self._handle is None:
            self._handle = _compile(_handler(self.name, self._count, self._work))
            pointer = ctypes.pythonapi.PyCapsule_New
            pointer.restype, pointer.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
            jax.ffi.register_ffi_target(self.name, pointer(self._handle.address, None, None), platform='cpu')
        return jax.ffi.ffi_call(self.name, outputs, input_output_aliases=dict(aliases or {}))(*inputs)


@functools.cache
def _digest() -> str:
    """Ten hexadecimal digits that stand for what kernels are made of and by."""
    made_of = b''.join(path.read_bytes() for path in sorted(Path(__file__).parent.glob('*.py')))
    made_by = f'{numba.__version__} {llvmlite.__version__} {" ".join(TARGET)}'
    return hashlib.sha256(made_of + made_by.encode()).hexdigest()[:10]


class _InOneFolder(CompileResultCacheImpl):
    _locator_classes = [UserProvidedCacheLocator]  # the folder that is set, and no other


class _KernelCache(FunctionCache):
    """Compiled kernels in the user's cache, each in files of its own; what Numba would add to the key differs by process."""

    _impl_class = _InOneFolder

    def __init__(self, function: Callable):
        config: Any = numba.config
        before, config.CACHE_DIR = config.CACHE_DIR, str(user_cache('kernels'))
        try:
            super().__init__(function)
        finally:
            config.CACHE_DIR = before

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()


def _compile(handler: Callable) -> CFunc:
    """A C function, from the cache where it has been compiled before."""
    function: Any = CFunc(handler, ((types.int64,), types.int64), {}, OPTIONS)
    with contextlib.suppress(RuntimeError):  # no folder can be written to: compiled anew each time
        function._cache = _KernelCache(handler)
    function.compile()
    return function


def _handler(name: str, count: Callable, work: Callable) -> Callable:
    """What XLA calls, of a frame's address; 0 says that all went well."""

    @variant(name)
    def drain(state):
        frame, num_items, num_threads = (load_word(state + _FRAME), load_word(state + _NUM_ITEMS), load_word(state + _THREADS))
        item = fetch_add(state + _NEXT, 1)
        while item < num_items:
            work(frame, item, num_threads)
            item = fetch_add(state + _NEXT, 1)

    @variant(name)
    def help_out(state):
        if fetch_add(state + _AT_WORK, 1) < _CLOSED:
            drain(state)
        fetch_add(state + _AT_WORK, -1)
        _leave(state)

    address_of_help = _address_of(help_out)

    @variant(name)
    def share(frame, num_items, num_helpers):
        state = allocate(_STATE_BYTES)
        store_word(state + _FRAME, frame)
        store_word(state + _NEXT, 0)
        store_word(state + _NUM_ITEMS, num_items)
        store_word(state + _THREADS, 1 + num_helpers)
        store_word(state + _AT_WORK, 0)
        store_word(state + _HOLDERS, 1 + num_helpers)
        # XLA_FFI_ThreadPool_Schedule_Args: size, extension, context, task, data.
        asked = allocate(40)
        store_word(asked, 40)
        store_word(asked + 8, 0)
        store_word(asked + 16, load_word(frame + _CONTEXT))
        store_word(asked + 24, address_of_help())
        store_word(asked + 32, state)
        for _ in range(num_helpers):
            if call_address(load_word(load_word(frame + _API) + _SCHEDULE), asked) != 0:
                _leave(state)
        free(asked)
        drain(state)
        fetch_add(state + _AT_WORK, _CLOSED)
        while fetch_add(state + _AT_WORK, 0) != _CLOSED:
            pause()
        _leave(state)

    def handle(frame):
        extension = load_word(frame + _EXTENSION)
        if extension != 0:
            _describe(extension)
            return 0
        num_items = count(frame)
        num_helpers = min(_num_threads(frame), num_items, _MOST_HELPERS + 1) - 1
        if num_helpers > 0:
            share(frame, num_items, num_helpers)
        else:
            for item in range(num_items):
                work(frame, item, 1)
        return 0

    handle.__qualname__ += f'_{name}'
    return handle
