"""Worker processes that run math-verify on the answers that the exact normaliser cannot settle.

Started by `subprocess` (never forked, never spawned through `multiprocessing`), so that they work from threads, notebooks,
unguarded scripts and standard input. Each is the leader of its own session and is killed with its process group. A request
that takes too long, or too much memory, has no decision; one whose worker crashes is tried once more.
"""

import contextlib
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from pathlib import Path

from jaxreason.core.errors import JaxreasonError

WALL_SECONDS = 12.0  # backstop for a worker that waits or is starved; its processor time is limited by itself
START_SECONDS = 120.0
_SCRIPT = Path(__file__).with_name('grading_worker.py')
_KEPT_VARIABLES = ('PATH', 'HOME', 'LANG', 'PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'LD_LIBRARY_PATH', 'TMPDIR')
_OUT_OF_TIME = (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL)


class _Crash(Exception):
    """The worker died without a decision, and not for want of time."""


class WorkerPool:
    """Up to `num_workers` processes, started when first needed, replaced when they die. Safe to use from many threads."""

    def __init__(self, num_workers: int):
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(num_workers):
            self._idle.put(None)
        self._workers: set[_Worker] = set()
        self._process_id = os.getpid()
        weakref.finalize(self, _stop_all, self._workers, self._process_id)

    def equal(self, gold: str, answer: str) -> bool | None:
        """Asks a worker whether two expressions in LaTeX are equal.

        Args:
            gold: the reference answer.
            answer: the answer to judge.

        Returns:
            The decision, or None if there was none in time.

        Raises:
            JaxreasonError: workers cannot be started here.
        """
        if os.getpid() != self._process_id:
            raise JaxreasonError('grading: expected the process that made this grader, got a fork of it; make a grader there.')
        for _ in range(2):
            worker = self._idle.get()
            try:
                if worker is None or not worker.is_alive:
                    worker = _Worker()
                    self._workers.add(worker)
                decision = worker.ask({'gold': gold, 'answer': answer})
            except _Crash:
                continue
            finally:
                if worker is not None and not worker.is_alive:
                    self._workers.discard(worker)
                    worker = None
                self._idle.put(worker)
            return decision
        return None

    def warm_up(self) -> None:
        """Starts one worker now, so that no later request waits for it."""
        self.equal('x', 'x')

    def close(self) -> None:
        """Ends all workers."""
        _stop_all(self._workers, self._process_id)


class _Worker:
    """One process and its two pipes."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, '-P', str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment | {'PYTHONHASHSEED': '0'},
                cwd=os.sep,
            )
        except OSError as error:
            raise JaxreasonError(f'grading: expected to start a worker with {sys.executable}, got {error}.') from error
        self.is_alive = True
        if self._reply(time.monotonic() + START_SECONDS) != {'ready': True}:
            self.stop()
            raise JaxreasonError(
                'grading: expected a math-verify worker, it ended while starting; '
                'check that `python -c "import math_verify"` works.'
            )

    def ask(self, request: dict[str, str]) -> bool | None:
        """The worker's decision; the worker is dead afterwards if it took too long."""
        body = json.dumps(request).encode()
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(struct.pack('>I', len(body)) + body)
            self._process.stdin.flush()
            reply = self._reply(time.monotonic() + WALL_SECONDS)
        except BrokenPipeError:
            reply = None
        except BaseException:  # an interrupt between question and answer: the next reply would be this one's
            self.stop()
            raise
        if reply is not None and isinstance(reply['equal'], bool):
            return reply['equal']
        if reply is not None or self.stop() in _OUT_OF_TIME:
            self.stop()
            return None
        raise _Crash

    def stop(self) -> int:
        """Kills the process with its group, if it lives, and returns its exit code."""
        self.is_alive = False
        if self._process.poll() is None:
            # A dying process gets a moment, so that its own exit code is seen.
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # unsent bytes to a dead process
                    pipe.close()
        return code

    def _reply(self, deadline: float) -> dict | None:
        header = self._read(4, deadline)
        body = self._read(struct.unpack('>I', header)[0], deadline) if header else None
        return None if body is None else json.loads(body)

    def _read(self, count: int, deadline: float) -> bytes | None:
        assert self._process.stdout is not None
        descriptor, data = self._process.stdout.fileno(), b''
        while len(data) < count:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(descriptor, count - len(data)) if ready else b''
            if not chunk:
                return None
            data += chunk
        return data


def _stop_all(workers: set[_Worker], process_id: int) -> None:
    if os.getpid() != process_id:  # a fork ends: the workers are its parent's
        return
    for worker in list(workers):
        worker.stop()
    workers.clear()
