"""How many programs were compiled, how many of them the persistent cache had, and the seconds it took.

JAX announces compilations to listeners; these are registered once and count for the whole process, whoever compiles.
"""

import functools
import threading
from typing import NamedTuple

import jax.monitoring

_COMPILED = '/jax/core/compile/backend_compile_duration'  # of every program, taken from the cache or not
_CACHED = '/jax/compilation_cache/cache_hits'


class Compiles(NamedTuple):
    """Programs compiled, those of them that came from the persistent cache, and the seconds of all."""

    programs: int = 0
    cached: int = 0
    seconds: float = 0.0

    def __sub__(self, other: 'Compiles') -> 'Compiles':
        return Compiles(self.programs - other.programs, self.cached - other.cached, self.seconds - other.seconds)

    def __str__(self) -> str:
        programs = f'{self.programs} program' + 's' * (self.programs != 1)
        cached = 'none' if not self.cached else 'all' if self.cached == self.programs else str(self.cached)
        return f'compiled {programs} in {self.seconds:.1f} s, {cached} of them from the cache'


class _Counter:
    """What the listeners write to."""

    def __init__(self):
        self._lock = threading.Lock()
        self._total = Compiles()

    @property
    def total(self) -> Compiles:
        with self._lock:
            return self._total

    def on_duration(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _COMPILED:
            self._add(programs=1, seconds=duration_secs)

    def on_event(self, event: str, **kwargs: str | int) -> None:
        if event == _CACHED:
            self._add(cached=1)

    def _add(self, programs: int = 0, cached: int = 0, seconds: float = 0.0) -> None:
        with self._lock:
            was = self._total
            self._total = Compiles(was.programs + programs, was.cached + cached, was.seconds + seconds)


@functools.cache
def _counter() -> _Counter:
    counter = _Counter()
    jax.monitoring.register_event_duration_secs_listener(counter.on_duration)
    jax.monitoring.register_event_listener(counter.on_event)
    return counter


def compiled() -> Compiles:
    """All compilations of this process since this was first asked."""
    return _counter().total
