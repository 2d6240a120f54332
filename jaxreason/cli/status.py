"""How far a verb is, for whoever started it: displays tell it here, a worker of a pipeline passes it on."""

from collections.abc import Callable

Listener = Callable[[int, int, float, float | None], None]  # units done, of how many, tokens a second, seconds left

_listener: Listener | None = None


def listen(listener: Listener) -> None:
    """Has progress told to a listener from now on."""
    global _listener
    _listener = listener


def tell(done: int, total: int, rate: float, left: float | None) -> None:
    """Tells it, if anyone listens."""
    if _listener is not None:
        _listener(done, total, rate, left)
