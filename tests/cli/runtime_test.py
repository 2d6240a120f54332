"""What a command sets up, in a process of its own."""

import ctypes
import subprocess
import sys

import pytest

FAULTS = """\
import resource, sys
from jaxreason.cli.runtime import keep_freed_memory
if 'keep' in sys.argv:
    keep_freed_memory()
b'x' * (64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    b'x' * (64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='the C library has no mallopt')
def test_freed_memory_is_used_again():
    def faults(*words):
        done = subprocess.run([sys.executable, '-c', FAULTS, *words], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults('keep') < 100 < faults()
