"""Ctrl-C: the first stops at the next chunk of the device and keeps what is finished, the second leaves at once."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

_SHOW_CURSOR = b'\x1b[?25h'


class Terminated(KeyboardInterrupt):
    """A stop that SIGTERM asked for: a scheduler tells by the exit code."""


class Interrupt:
    """Turns SIGINT and SIGTERM into a request to stop, while it is entered.

    From the first `check` on, `check` raises `KeyboardInterrupt` (for SIGTERM `Terminated`) once a stop was asked for; call it
    where stopping loses nothing. Before, while the model is being loaded, there is nothing to keep and the process leaves at
    once. It is never the handler that raises: where Python happens to be in a callback, as JAX has one in the garbage
    collector, that is swallowed.
    """

    def __init__(self, before_leaving: Callable[[], None] = lambda: None):
        """Sets nothing yet.

        Args:
            before_leaving: called once when a first signal ends the process at once; it must return soon.
        """
        self.is_asked = False
        self._number: int = signal.SIGINT  # which signal asked
        self._before_leaving = before_leaving
        self._is_under_way = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> 'Interrupt':
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.is_asked and kind is None:  # asked for after the last chance to stop
            self._stop()

    def check(self) -> None:
        """Raises if a stop was asked for."""
        self._is_under_way = True
        if self.is_asked:
            self._stop()

    def _stop(self) -> NoReturn:
        raise Terminated if self._number == signal.SIGTERM else KeyboardInterrupt

    def stop_with(self, why: str) -> None:
        """Stops for another process's sake; from any thread."""
        if not self._is_under_way:
            leave_at_once(f'{why}: interrupted', 130)
        if not self.is_asked:
            self.is_asked = True
            _write(f'\njaxreason: {why}: stopping at the next chunk\n')

    def _ask(self, number, frame) -> None:
        if self.is_asked or not self._is_under_way:
            if not self.is_asked:
                self.is_asked = True
                self._before_leaving()
            leave_at_once('interrupted', 128 + number)
        self.is_asked, self._number = True, number
        _write('\njaxreason: stopping at the next chunk; again to leave at once\n')


def leave_at_once(line: str, code: int) -> NoReturn:
    """Ends the process from wherever it is, with one line: what is finished is on disk; nothing else is waited for."""
    if sys.stdout.isatty():  # a progress bar hides the cursor
        os.write(sys.stdout.fileno(), _SHOW_CURSOR)
    _write(f'jaxreason: {line}\n')
    os._exit(code)


def _write(text: str) -> None:
    # os.write, because it may happen in the middle of a print.
    os.write(sys.stderr.fileno(), text.encode(errors='backslashreplace'))
