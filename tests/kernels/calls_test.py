"""The interface to XLA, threads that share a call, and compiled kernels that are kept."""

import gc
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest
from numba import njit
from numba.core.dispatcher import Dispatcher

from jaxreason.kernels import attention, calls, drawing, norms, products, storing
from jaxreason.kernels.calls import OPTIONS, Kernel, input_at, input_size, output_at
from jaxreason.kernels.machine import load_int, store_int

ROOT = Path(__file__).resolve().parents[2]
SIZES = {'size_t': 8, 'int64_t': 8, 'uint64_t': 8, 'int': 4, 'int32_t': 4, 'uint32_t': 4}


class Header:
    """Structs of XLA's C interface, as jaxlib ships it, laid out as a 64-bit compiler does."""

    def __init__(self):
        path = Path(jaxlib.__file__).parent / 'include' / 'xla' / 'ffi' / 'api' / 'c_api.h'
        text = re.sub(r'//[^\n]*', '', path.read_text())
        self.version = tuple(int(re.search(rf'#define XLA_FFI_API_{part} (\d+)', text)[1]) for part in ('MAJOR', 'MINOR'))
        self._structs = dict(re.findall(r'struct (\w+) \{(.*?)\n\}', text, re.DOTALL))
        self._sizes = SIZES | {name: SIZES[kind] for kind, name in re.findall(r'typedef (\w+) (\w+);', text) if kind in SIZES}
        self._sizes |= dict.fromkeys(re.findall(r'typedef enum \{.*?\} (\w+);', text, re.DOTALL), 4)

    def offset(self, struct, field=None):
        """Where a field begins; without one, the size of the struct."""
        place, largest = 0, 1
        for kind, name in self._fields(struct):
            size, alignment = self._size(kind)
            place += -place % alignment
            if name == field:
                return place
            place, largest = place + size, max(largest, alignment)
        assert field is None, f'{struct} has no {field}'
        return place + -place % largest

    def _fields(self, struct):
        for line in self._structs[struct].split(';'):
            line = re.sub(r'_XLA_FFI_API_STRUCT_FIELD\((\w+)\)', r'void* \1', ' '.join(line.split()))
            if line:
                yield re.fullmatch(r'(.*[ *])(\w+)', line).groups()

    def _size(self, kind):
        """(bytes, alignment)"""
        kind = kind.strip()
        if kind.endswith('*'):
            return 8, 8
        if kind in self._sizes:
            return (self._sizes[kind],) * 2
        return self.offset(kind), max(self._size(inner)[1] for inner, _ in self._fields(kind))


def test_offsets_are_those_of_the_header_of_jaxlib():
    header = Header()
    assert header.version == calls._VERSION
    frame, buffer, metadata = 'XLA_FFI_CallFrame', 'XLA_FFI_Buffer', 'XLA_FFI_Metadata'
    version = header.offset(metadata, 'api_version')
    found = {
        '_EXTENSION': header.offset(frame, 'extension_start'),
        '_API': header.offset(frame, 'api'),
        '_CONTEXT': header.offset(frame, 'ctx'),
        '_NUM_INPUTS': header.offset(frame, 'args') + header.offset('XLA_FFI_Args', 'size'),
        '_INPUTS': header.offset(frame, 'args') + header.offset('XLA_FFI_Args', 'args'),
        '_OUTPUTS': header.offset(frame, 'rets') + header.offset('XLA_FFI_Rets', 'rets'),
        '_METADATA': header.offset('XLA_FFI_Metadata_Extension', 'metadata'),
        '_MAJOR': version + header.offset('XLA_FFI_Api_Version', 'major_version'),
        '_MINOR': version + header.offset('XLA_FFI_Api_Version', 'minor_version'),
        '_TRAITS': header.offset(metadata, 'traits'),
        '_SCHEDULE': header.offset('XLA_FFI_Api', 'XLA_FFI_ThreadPool_Schedule'),
        '_NUM_THREADS': header.offset('XLA_FFI_Api', 'XLA_FFI_ThreadPool_NumThreads'),
        '_DATA': header.offset(buffer, 'data'),
        '_DIMS': header.offset(buffer, 'dims'),
    }
    assert {name: getattr(calls, name) for name in found} == found


def test_arguments_of_the_thread_pool_lie_as_they_are_written():
    header = Header()

    def layout(name, *fields):
        struct = f'XLA_FFI_ThreadPool_{name}_Args'
        return [header.offset(struct, field) for field in fields], header.offset(struct)

    assert layout('Schedule', 'struct_size', 'extension_start', 'ctx', 'task', 'data') == ([0, 8, 16, 24, 32], 40)
    assert layout('NumThreads', 'struct_size', 'extension_start', 'ctx', 'num_threads') == ([0, 8, 16, 24], 32)


@njit(**OPTIONS)
def _count(frame):
    return input_size(frame, 0, 0) - 1


@njit(**OPTIONS)
def _work(frame, item, num_threads):
    """Adds one to the item's own cell; the last cell is for the number of threads."""
    store_int(output_at(frame, 0) + 4 * item, load_int(input_at(frame, 0) + 4 * item) + 1)
    if item == 0:
        store_int(output_at(frame, 0) + 4 * _count(frame), calls._num_threads(frame))


@pytest.fixture(scope='module')
def counter():
    # Kept by name: another text of this file is another kernel.
    return Kernel(f'count_{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:10]}', _count, _work)


@pytest.mark.parametrize('num_items, num_calls', [(0, 5), (1, 50), (3, 2000), (5000, 500)])
def test_every_item_is_done_once(counter, num_items, num_calls):
    @jax.jit
    def repeated(cells):
        def once(_, cells):
            return counter(jax.ShapeDtypeStruct(cells.shape, cells.dtype), cells, aliases={0: 0})

        return jax.lax.fori_loop(0, num_calls, once, cells)

    cells = np.asarray(repeated(jnp.zeros((num_items + 1,), jnp.int32)))
    np.testing.assert_array_equal(cells[:-1], num_calls)
    if num_items:
        assert cells[-1] > 1, 'nobody to help'


def test_calls_of_several_programs_at_once(counter):
    """Each device has a thread of its own, and all ask for the same helpers."""

    @jax.jit
    def repeated(cells):
        def once(_, cells):
            return counter(jax.ShapeDtypeStruct(cells.shape, cells.dtype), cells, aliases={0: 0})

        return jax.lax.fori_loop(0, 200, once, cells)

    started = [repeated(jax.device_put(jnp.zeros((300,), jnp.int32), device)) for device in jax.devices()]
    for cells in started:
        np.testing.assert_array_equal(cells[:-1], 200)


NORM = """
import jax.numpy as jnp
from jaxreason.kernels import norms
y = norms.rms_norm(jnp.full((2, 16), 3.0), jnp.ones(16), 1e-5, 'float32')
print(norms._NORM['float32']._handle.cache_hits, round(float(y[1, 15]), 3))
"""


def norm_elsewhere(cache, **environment):
    """What another process prints: kernels found in the cache, a normed number."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XDG_CACHE_HOME': str(cache), **environment}
    done = subprocess.run([sys.executable, '-c', NORM], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_finds_compiled_kernels(tmp_path):
    assert norm_elsewhere(tmp_path) == ['0', '1.0']
    assert any((tmp_path / 'jaxreason' / 'kernels').rglob('*.nbi'))
    assert norm_elsewhere(tmp_path) == ['1', '1.0']


@pytest.mark.slow
def test_without_a_cache_kernels_are_compiled_anew(tmp_path):
    in_the_way = tmp_path / 'file'
    in_the_way.write_text('')
    # Else Numba would write beside the package's source.
    assert norm_elsewhere(in_the_way, NUMBA_CACHE_LOCATOR_CLASSES='UserProvidedCacheLocator') == ['0', '1.0']


PRODUCTS = """
import sys
import jax.numpy as jnp
from jaxreason.kernels.products import multiply, pack
for dtype in sys.argv[1:]:
    x = jnp.arange(96, dtype=dtype).reshape(3, 32) / 64
    w = jnp.arange(32 * 32, dtype=dtype).reshape(32, 32) / 1024
    exact = x.astype('float32') @ w.astype('float32')
    assert jnp.allclose(multiply(x, pack(w)), exact, rtol=1e-5), dtype
"""


@pytest.mark.slow
def test_kernels_that_several_processes_compiled_meet_in_one(tmp_path):
    """Out of the cache each keeps to its own functions, which have the same source and types."""
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path), 'JAX_PLATFORMS': 'cpu'}
    for dtypes in (['float32'], ['bfloat16'], ['float32', 'bfloat16'], ['bfloat16', 'float32']):
        done = subprocess.run([sys.executable, '-c', PRODUCTS, *dtypes], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (dtypes, done.stderr[-2000:])
    kept = {
        path.name.split('_handler.locals.')[1].split('-')[0] for path in (tmp_path / 'jaxreason' / 'kernels').rglob('*.nbi')
    }
    assert kept == {f'handle_{products._MULTIPLY[dtype].name}' for dtype in ('float32', 'bfloat16')}


def test_functions_that_kernels_are_made_of_have_names_of_their_own():
    modules = {module.__name__ for module in (attention, calls, drawing, norms, products, storing)}
    functions = [x for x in gc.get_objects() if isinstance(x, Dispatcher) and x.py_func.__module__ in modules]
    names = [f'{x.py_func.__module__}.{x.py_func.__qualname__}' for x in functions]
    assert len(names) > 40 and len(set(names)) == len(names)
