"""One stage at work: its processes, what they last told of their progress, and their end."""

import json
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.core.errors import RunError
from jaxreason.pipeline.stage import Place
from jaxreason.pipeline.verbs import SHAREABLE

_LAST = 4_000  # bytes of a log that an error is looked for in
_PATIENCE = 10.0  # seconds that the processes of a stage outlive the first of them that failed


class Status(NamedTuple):
    """How far a stage is.

    Attributes:
        done: units of work: questions, or steps of training.
        total: of them.
        rate: tokens a second.
        left: seconds; None where that is not known yet.
    """

    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float | None = None


class Slot(NamedTuple):
    """What a worker has for itself: its number, and processor cores."""

    number: int
    cores: tuple[int, ...]


class Running:
    """A stage that has begun."""

    def __init__(self, place: Place, slots: Sequence[Slot], command: Sequence[str], environment: Mapping[str, str]):
        """Starts a process in every slot.

        Args:
            place: of the stage, its configuration written.
            slots: one for a stage that runs alone, all for a shared one.
            command: what runs a verb in a process that ends when its standard input does: it is given `--cores`, `--` and
                the words, and writes a `Status` as a JSON list a line to its standard output, all else to standard error.
            environment: variables that it begins with where the user has not set them.

        Raises:
            RunError: a process cannot be started.
        """
        self.place = place
        self.slots = tuple(slots)
        self._environment = {**environment, **os.environ}
        self.began = time.monotonic()
        self._statuses = [Status() for _ in slots]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._code = 0
        self._failed: float | None = None  # when a process was first seen to have failed
        self._logs = [_log(place, index) for index in range(len(slots))]
        self._log_sizes = [_size(path) for path in self._logs]  # what earlier sessions wrote
        port = _free_port() if len(slots) > 1 else 0
        try:
            for index, slot in enumerate(slots):
                words = [*_words(place), *_share(place, index, len(slots), port)]
                cores = ','.join(map(str, slot.cores))
                self._processes.append(self._start([*command, '--cores', cores, '--', *words], index))
        except OSError as error:
            self.kill()
            raise RunError(f'stage {place.name}: cannot start a process ({error.strerror}).') from error

    def _start(self, words: Sequence[str], index: int) -> 'subprocess.Popen[bytes]':
        with self._logs[index].open('ab') as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(process, index), daemon=True).start()
        return process

    def _listen(self, process: 'subprocess.Popen[bytes]', index: int) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._statuses[index] = _status(line) or self._statuses[index]

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def status(self) -> Status:
        """As its first process tells it, which counts what all have done."""
        return self._statuses[0]

    def poll(self) -> int | None:
        """The exit code once all processes have ended, of the first that failed if any did; None before.

        Where one fails the others hear of it and end; those that do not, since they had not met yet, are ended here.
        """
        codes = [process.poll() for process in self._processes]
        failed = [code for code in codes if code]
        if failed and self._failed is None:
            self._failed, self._code = time.monotonic(), failed[0]
        if any(code is None for code in codes):
            if self._failed is not None and time.monotonic() - self._failed > _PATIENCE:
                self.kill()
            return None
        return self._code

    def interrupt(self) -> None:
        """Asks it to stop where nothing is lost."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once: what it has finished is on disk."""
        for process in self._processes:
            process.kill()
            process.wait()

    def explain(self, code: int) -> str:
        """Why it ended with that code, in a line."""
        if code < 0:
            more = '; memory may have run out' if -code == signal.SIGKILL else ''
            return f'ended by signal {-code}{more}'
        for log, before in zip(self._logs, self._log_sizes, strict=True):
            lines = [line for line in _tail(log, before) if line.startswith('jaxreason: error: ')]
            if lines:
                return lines[-1].removeprefix('jaxreason: error: ')
        lines = _tail(self._logs[0], self._log_sizes[0])
        return lines[-1].removeprefix('jaxreason: ') if lines else f'exit code {code} without a word; the disk may be full'


def _words(place: Place) -> list[str]:
    # Absolute, so that no folder's name is taken for an option or for key=value.
    quiet = ['--quiet'] if place.stage.verb in SHAREABLE else []  # its log is for what goes wrong
    return [*place.stage.verb.split(), str(place.config_file.absolute()), '--out', str(place.folder.absolute()), *quiet]


def _share(place: Place, index: int, count: int, port: int) -> list[str]:
    """How a process is told of the others; those of other launchers are not meant."""
    if place.stage.verb in ('fit', 'match', 'report'):
        return []
    if count == 1:
        return ['--processes', '1']
    return ['--processes', str(count), '--process-id', str(index), '--coordinator', f'localhost:{port}']


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def _log(place: Place, index: int) -> Path:
    return place.log if index == 0 else place.log.with_suffix(f'.{index}.log')


def _size(path: Path) -> int:
    return os.path.getsize(path) if path.exists() else 0


def _status(line: bytes) -> Status | None:
    """What a line tells; None where it is no status: a library may write to the descriptor itself."""
    try:
        status = Status(*json.loads(line))
        numbers = [number for number in status if number is not None]
        if all(isinstance(number, int | float) and math.isfinite(number) and number >= 0 for number in numbers):
            return Status(int(status.done), int(status.total), status.rate, status.left)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return None


def _tail(path: Path, before: int) -> list[str]:
    """The last lines of a log that were written after its first bytes."""
    try:
        with path.open('rb') as file:
            file.seek(0, 2)
            file.seek(max(before, file.tell() - _LAST))
            return [line for line in file.read().decode(errors='replace').splitlines() if line.strip()]
    except OSError:
        return []
