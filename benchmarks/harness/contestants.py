"""Contestants as processes: started, asked one thing at a time, stopped while others run, and watched from outside.

A contestant is a worker script run by a Python of its own environment (`peers/worker_loop.py` has the protocol). While it is
not asked anything it is stopped by a signal, so that no spinning thread of one takes time from another.
"""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TICKS = os.sysconf('SC_CLK_TCK')
WORKERS = Path(__file__).parents[1] / 'peers'


class ContestantError(Exception):
    """A contestant is missing, failed or took too long."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What one timed run gave.

    Attributes:
        seconds: from prompts to the last token, or of all steps, by the contestant's own clock.
        tokens: drawn or learnt in all.
        peak_bytes: most resident memory during the run; None where the system does not tell.
        busy_cores: cores that the contestant itself kept busy, on average.
        foreign_cores: cores that everybody else kept busy, on average; None where the system does not tell.
        head: first tokens of the first row, where tokens are drawn.
    """

    seconds: float
    tokens: int
    peak_bytes: int | None
    busy_cores: float | None
    foreign_cores: float | None
    head: tuple[int, ...] = ()


class Contestant:
    """A worker process."""

    def __init__(self, name: str, python: str, worker: str, settings: Mapping[str, Any], environment: Mapping[str, str]):
        self.name, self.settings, self.versions = name, dict(settings), {}
        self._log: list[str] = []
        path = WORKERS / worker
        try:
            self._process = subprocess.Popen(
                [python, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise ContestantError(
                f'{name}: {python} cannot be run ({error.strerror}); see benchmarks/peers/README.md'
            ) from error
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        for thread in (self._listening, self._hearing):
            thread.start()

    def load(self, limit: float) -> float:
        """Loads the model; returns the seconds that took."""
        answer = self._ask({'do': 'load', 'settings': self.settings}, limit)
        self.versions = answer['versions']
        self.sleep()
        return answer['seconds']

    def run(self, workload: Mapping[str, Any], seed: int, limit: float, greedy: bool = False) -> Run:
        """Runs a workload once.

        Args:
            workload: its message.
            seed: of this run.
            limit: seconds after which the contestant is ended.
            greedy: take the most likely tokens, to compare them with those of others.

        Raises:
            ContestantError: it failed, was too slow, or drew another number of tokens than asked.
        """
        answer, spent = self._timed({'do': 'run', 'workload': workload, 'seed': seed, 'greedy': greedy}, limit)
        expected = [target for _, target in workload['rows']]
        if answer['counts'] != expected:
            raise ContestantError(f'{self.name}: expected {sum(expected)} tokens, got {sum(answer["counts"])}')
        return Run(answer['seconds'], sum(expected), *spent, tuple(answer['head']))

    def train(self, steps: int, tokens: int, limit: float) -> tuple[Run, list[float]]:
        """Takes training steps.

        Args:
            steps: how many.
            tokens: of a step.
            limit: seconds after which the contestant is ended.

        Returns:
            What was measured, and the loss of each step.

        Raises:
            ContestantError: it failed or was too slow.
        """
        answer, spent = self._timed({'do': 'train', 'steps': steps}, limit)
        if len(answer['losses']) != steps:
            raise ContestantError(f'{self.name}: expected {steps} losses, got {len(answer["losses"])}')
        return Run(answer['seconds'], steps * tokens, *spent), answer['losses']

    def _timed(self, message: Mapping[str, Any], limit: float) -> tuple[dict[str, Any], tuple[Any, Any, Any]]:
        """The answer, and what it took: most memory, cores busy with the contestant, with others."""
        self.wake()
        _reset_peak(self._process.pid)
        before = _busy_seconds(self._process.pid)
        answer = self._ask(message, limit)
        after = _busy_seconds(self._process.pid)
        peak = _peak_bytes(self._process.pid)
        self.sleep()
        return answer, (peak, *_cores(before, after))

    def sleep(self) -> None:
        """Stops all its threads."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Lets them go on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in (self._listening, self._hearing):
            thread.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _ask(self, message: Mapping[str, Any], limit: float) -> dict[str, Any]:
        self.wake()
        try:
            self._process.stdin.write(json.dumps(message) + '\n')
            self._process.stdin.flush()
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            raise ContestantError(f'{self.name}: took longer than {limit:.0f} s') from None
        except OSError:
            line = None
        if line is None:
            self._hearing.join(5)  # its last words may still be on their way
        return read_answer(self.name, line, self._log)

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _hear(self) -> None:
        """Keeps the last lines of what it says, for when it fails."""
        for line in self._process.stderr:
            self._log = [*self._log[-7:], line.rstrip()]


def read_answer(name: str, line: str | None, log: list[str]) -> dict[str, Any]:
    """The answer in a worker's line.

    Raises:
        ContestantError: there is none, it is damaged, or it tells of a failure.
    """
    if line is None:
        said = next((text for text in reversed(log) if text.strip()), 'nothing')
        raise ContestantError(f'{name}: ended without an answer; the last it said: {said[:300]}')
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ContestantError(f'{name}: expected a JSON object, got {line[:80]!r}')
    if 'error' in answer:
        raise ContestantError(f'{name}: {answer["error"]}')
    return answer


def _cores(before: tuple[float, float, float] | None, after: tuple[float, float, float] | None):
    """(cores busy with the contestant, with others) between two readings."""
    if before is None or after is None:
        return None, None
    wall, machine, own = (b - a for a, b in zip(before, after, strict=True))
    return own / wall, max(0.0, machine - own) / wall


def _busy_seconds(pid: int) -> tuple[float, float, float] | None:
    """(wall clock, seconds that all cores worked or were taken away, those of the contestant and of this process)."""
    try:
        fields = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:9]
        user, nice, system, _, _, irq, soft, steal = map(int, fields)
        own = sum(_process_ticks(int(p.name)) for p in Path('/proc').iterdir() if p.name.isdigit() and _is_ours(p, pid))
    except (OSError, ValueError):
        return None
    return time.perf_counter(), (user + nice + system + irq + soft + steal) / TICKS, own / TICKS


def _is_ours(folder: Path, session: int) -> bool:
    if int(folder.name) == os.getpid():
        return True
    try:
        return os.getsid(int(folder.name)) == session
    except OSError:
        return False


def _process_ticks(pid: int) -> int:
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:  # it just ended
        return 0
    return int(fields[11]) + int(fields[12])


def _reset_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f'/proc/{pid}/clear_refs').write_text('5')


def _peak_bytes(pid: int) -> int | None:
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')), None)


def own_python() -> str:
    """The Python that runs this benchmark."""
    return sys.executable
