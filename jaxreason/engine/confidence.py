"""Verifiers that need no training: how peaked the policy's distribution was along a solution, above all where it was least so.

They read `confidence`, which the sampler computes on the device for every token, so they cost nothing. A step's score is that
of the solution up to the end of the step, so the last step's is that of the whole solution.

References:
    Fu et al., Deep Think with Confidence, 2025.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from jaxreason.core.cost import FREE
from jaxreason.core.protocols import Scored
from jaxreason.core.types import Row

_SHARE = 10  # one window in so many counts for `bottom`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confidence:
    """Scores a prefix by the confidence of its tokens, in nats.

    The windows of a prefix are all runs of `window` tokens within it; a shorter one is a window itself.

    Attributes:
        measure: `mean` over all tokens; `tail`, over the last `window` ones; `bottom`, the mean of the lowest tenth of the
            windows' means, rounded down and one at least; `lowest`, the lowest of them.
        window: tokens.
    """

    measure: Literal['mean', 'tail', 'bottom', 'lowest'] = 'lowest'
    window: int = 2048

    stats: ClassVar[frozenset[str]] = frozenset({'confidence'})

    def __post_init__(self):
        if self.measure not in ('mean', 'tail', *_OVER_WINDOWS):
            raise ValueError(f'measure must be mean, tail, {" or ".join(_OVER_WINDOWS)}, got {self.measure!r}.')
        if self.window < 1:
            raise ValueError(f'window must be at least 1 token, got {self.window}.')

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        return Scored([self._prefix_scores(row) for row in rows], [FREE] * len(rows), carry)

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        return 0

    def _prefix_scores(self, row: Row) -> tuple[float, ...]:
        """The score up to the end of each step: one pass over the tokens for all of them."""
        values = row.stats['confidence']
        sums = list(itertools.accumulate(values, initial=0.0))

        def mean(end: int, size: int) -> float:
            """Over the `size` tokens before `end`."""
            return (sums[end] - sums[end - size]) / size

        if self.measure == 'mean':
            return tuple(mean(end, end) for end in row.step_ends)
        if self.measure == 'tail':
            return tuple(mean(end, min(end, self.window)) for end in row.step_ends)
        windows = (mean(end, self.window) for end in range(self.window, len(values) + 1))
        reached = list(_OVER_WINDOWS[self.measure](windows))
        return tuple(mean(end, end) if end < self.window else reached[end - self.window] for end in row.step_ends)


def _lowest(values: Iterable[float]) -> Iterator[float]:
    """The least of the values up to each."""
    return itertools.accumulate(values, min)


def _bottom(values: Iterable[float]) -> Iterator[float]:
    """The mean of the lowest tenth of the values up to each."""
    low: list[float] = []  # a heap of the lowest tenth, negated: the largest of them is on top
    rest: list[float] = []  # a heap of the others
    total = 0.0  # of the lowest tenth
    for count, value in enumerate(values, 1):
        largest = -heapq.heappushpop(low, -value)
        heapq.heappush(rest, largest)
        total += value - largest
        if len(low) < max(1, count // _SHARE):
            smallest = heapq.heappop(rest)
            heapq.heappush(low, -smallest)
            total += smallest
        yield max(0.0, total / len(low))  # rounding may leave sums of next to nothing below 0, and no score may be


_OVER_WINDOWS: dict[str, Callable[[Iterable[float]], Iterator[float]]] = {'bottom': _bottom, 'lowest': _lowest}
