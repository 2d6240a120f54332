"""Kernels for processors without the instructions of the one at hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OTHERS = {
    'haswell': {'NUMBA_CPU_NAME': 'haswell', 'NUMBA_CPU_FEATURES': '+avx2,+fma,+f16c'},
    'skylake-avx512': {
        'NUMBA_CPU_NAME': 'skylake-avx512',
        'NUMBA_CPU_FEATURES': '+avx2,+fma,+f16c,+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512cd',
    },
}
EXPECTED = {'haswell': 'haswell 3 False', 'skylake-avx512': 'skylake-avx512 12 False'}
PRINT = 'from jaxreason.kernels import machine; print(machine.TARGET[1], machine.MOST_ROWS, machine.HAS_BFLOAT16)'


def run(cache, other, *arguments):
    environment = {**os.environ, **OTHERS[other], 'PYTHONPATH': str(ROOT), 'XDG_CACHE_HOME': str(cache)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def skip_unless_here_is(other):
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    missing = [name for name in OTHERS[other]['NUMBA_CPU_FEATURES'].split(',') if not features.get(name[1:])]
    if missing:
        pytest.skip(f'this processor lacks {", ".join(missing)}')


@pytest.mark.parametrize('other', OTHERS)
def test_blocks_are_those_of_the_processor_asked_for(other, tmp_path):
    assert run(tmp_path, other, '-c', PRINT).stdout.strip() == EXPECTED[other]


@pytest.mark.slow
@pytest.mark.parametrize('other', OTHERS)
def test_kernels_are_right_on_other_processors(other, tmp_path):
    skip_unless_here_is(other)
    files = [str(HERE / f'{name}_test.py') for name in ('products', 'norms', 'attention')]
    done = run(tmp_path, other, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *files)
    assert done.returncode == 0, done.stdout + done.stderr
    # Kept apart from those of the processor at hand.
    assert any((tmp_path / 'jaxreason' / 'kernels').rglob('*.nbi'))
