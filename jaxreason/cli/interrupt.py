"""Ctrl-C: the first stops at the next chunk of the device and keeps what is finished, the second leaves at once."""

import os
import signal
import sys


class Interrupt:
    """Turns SIGINT and SIGTERM into a request to stop, while it is entered.

    `check` raises `KeyboardInterrupt` once a stop was asked for; call it where stopping loses nothing.
    """

    def __init__(self):
        self.is_asked = False
        self._before = {}

    def __enter__(self) -> 'Interrupt':
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises if a stop was asked for."""
        if self.is_asked:
            raise KeyboardInterrupt

    def _ask(self, number, frame) -> None:
        if self.is_asked:
            os._exit(130)  # what is finished is on disk; nothing else is waited for
        self.is_asked = True
        # os.write, because the handler may run in the middle of a print.
        os.write(sys.stderr.fileno(), b'\njaxreason: stopping at the next chunk; again to leave at once\n')
