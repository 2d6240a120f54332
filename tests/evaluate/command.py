"""The command line in a process of its own, for what only a process can show: signals, exit codes, kills."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

STARTING = 120.0  # seconds that a process may take to get somewhere on a busy machine


@contextlib.contextmanager
def start(*words: object, cache: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """Runs `jaxreason` for the time of the block, compiled programs kept in `cache`, which all processes of a test share."""
    compiled = {'JAX_COMPILATION_CACHE_DIR': str(cache), 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
    with subprocess.Popen(
        [sys.executable, '-m', 'jaxreason', *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **compiled, **environment},
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # a failed test must not wait for it


def run(*words: object, cache: Path, most_bytes: int | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs `jaxreason` to its end; no file that it writes gets larger than `most_bytes`."""
    with start(*words, cache=cache, **environment) as process:
        if most_bytes is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        out, err = process.communicate(timeout=STARTING)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def signal_when(process: subprocess.Popen, number: signal.Signals, is_time: Callable[[], bool]) -> None:
    """Sends a signal as soon as something is so; the process must not end before."""
    deadline = time.monotonic() + STARTING
    while not is_time():
        assert process.poll() is None, f'it ended before the signal: {process.communicate()}'
        assert time.monotonic() < deadline, 'it never got there'
        time.sleep(0.002)
    process.send_signal(number)


def num_lines(path: Path) -> int:
    """Whole lines of a file that may not be there yet."""
    return path.read_bytes().count(b'\n') if path.exists() else 0


def results(folder: Path) -> Mapping[str, bytes]:
    """What must be the same bytes however a run came about."""
    names = ['records.jsonl', 'metrics.json', *(f'pools/{path.name}' for path in sorted((folder / 'pools').iterdir()))]
    return {name: (folder / name).read_bytes() for name in names}
