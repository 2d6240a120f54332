"""Ctrl-C: the first stops at the next chunk of the device and keeps what is finished, the second leaves at once."""

import os
import signal
import sys

_SHOW_CURSOR = b'\x1b[?25h'


class Interrupt:
    """Turns SIGINT and SIGTERM into a request to stop, while it is entered.

    From the first `check` on, `check` raises `KeyboardInterrupt` once a stop was asked for; call it where stopping loses
    nothing. Before, while the model is being loaded, there is nothing to keep and the process leaves at once. It is never the
    handler that raises: where Python happens to be in a callback, as JAX has one in the garbage collector, that is swallowed.
    """

    def __init__(self):
        self.is_asked = False
        self._is_under_way = False
        self._before = {}

    def __enter__(self) -> 'Interrupt':
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.is_asked and kind is None:  # asked for after the last chance to stop
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raises if a stop was asked for."""
        self._is_under_way = True
        if self.is_asked:
            raise KeyboardInterrupt

    def _ask(self, number, frame) -> None:
        # os.write, because the handler may run in the middle of a print.
        if self.is_asked or not self._is_under_way:
            if sys.stdout.isatty():  # a progress bar hides the cursor
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            os.write(sys.stderr.fileno(), b'jaxreason: interrupted\n')
            os._exit(130)  # what is finished is on disk; nothing else is waited for
        self.is_asked = True
        os.write(sys.stderr.fileno(), b'\njaxreason: stopping at the next chunk; again to leave at once\n')
