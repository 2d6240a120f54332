"""A connection to process 0 that is not torn down under JAX when process 0 dies.

JAX's client aborts the whole process, with a stack trace, in the instant in which its connection to the coordinator closes;
no callback comes before it. So JAX is connected to this relay, inside its own process, and the relay to process 0: when that
side closes, the relay says so (`is_lost`), keeps the other side open, and there is time for one clear line.
"""

import socket
import threading
from collections.abc import Callable

_PIECE = 1 << 16  # bytes


class Relay:
    """Listens on a free port of the loopback interface and passes bytes on to `target`, both ways."""

    def __init__(self, target: str):
        """Starts to listen.

        Args:
            target: `HOST:PORT` of process 0.
        """
        host, _, port = target.rpartition(':')
        self._target = (host.strip('[]'), int(port))
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self._listener.getsockname()[1]}'
        self.is_reached = False  # process 0 has taken a connection
        self.is_lost = False  # and has closed one that JAX had not closed before
        self._kept: list[socket.socket] = []  # a socket that nobody holds would be closed by the garbage collector
        self._ended: set[socket.socket] = set()  # closed by JAX
        _start(self._accept)

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:  # process 0 is not there yet: JAX tries again
                near.close()
                continue
            far.settimeout(None)
            self._kept += [near, far]
            self.is_reached = True
            _start(self._pass_on, near, far)
            _start(self._bring_back, far, near)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        """From JAX to process 0, until JAX closes."""
        try:
            while piece := near.recv(_PIECE):
                far.sendall(piece)
            self._ended.add(near)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other direction notices

    def _bring_back(self, far: socket.socket, near: socket.socket) -> None:
        """From process 0 to JAX; the end is kept from JAX."""
        try:
            while piece := far.recv(_PIECE):
                near.sendall(piece)
        except OSError:
            pass
        if near not in self._ended:
            self.is_lost = True


def _start(work: Callable[..., None], *args: socket.socket) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()
