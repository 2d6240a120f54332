"""`python -m jaxreason.cli.worker --cores 0,1 -- VERB ...`: a verb at work for a pipeline.

All it prints goes to standard error, its progress as JSON lines to standard output. It ends when its standard input does:
whoever started it holds the other end, so that it ends with that process however that one ended.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence

from jaxreason.cli import status
from jaxreason.cli.main import main
from jaxreason.cli.runtime import keep_freed_memory

_SECONDS = 0.5  # between two lines of progress
_ORPHANED = 137  # exit code, as of SIGKILL


def work(argv: Sequence[str]) -> int:
    """Runs a verb; returns its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cores', type=lambda text: {int(core) for core in text.split(',')}, required=True)
    split = list(argv).index('--')
    args = parser.parse_args(argv[:split])
    keep_freed_memory()  # before there is a second thread, which would have the C library begin a heap that this does not reach
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, 'sched_setaffinity'):
        with contextlib.suppress(OSError):  # cores that were taken away meanwhile: slower, not wrong
            os.sched_setaffinity(0, args.cores)
    pipe = os.dup(1)
    os.dup2(2, 1)
    status.listen(_Teller(pipe))
    return main(argv[split + 1 :])


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(_ORPHANED)


class _Teller:
    """Writes progress to a descriptor, not too often, and whatever is the last word."""

    def __init__(self, pipe: int):
        self._pipe = pipe
        self._told = 0.0

    def __call__(self, done: int, total: int, rate: float, left: float | None) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS and done < total:
            return
        self._told = now
        try:
            os.write(self._pipe, (json.dumps([done, total, round(rate, 1), left]) + '\n').encode())
        except OSError:  # nobody listens any more: the thread above ends the process
            return


if __name__ == '__main__':
    sys.exit(work(sys.argv[1:]))
