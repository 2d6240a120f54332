"""DeepConf, offline: the most confident samples vote, each with its confidence.

References:
    Fu et al., Deep Think with Confidence, 2025: confidence-weighted voting with filtering.
"""

import dataclasses
import math
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.types import Candidate
from jaxreason.search.select import Choice, elect, solution_score
from jaxreason.search.strategy import Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepConf(Parallel):
    """Samples `n` solutions, keeps the most confident, and answers with the largest sum of confidence.

    Solutions that name no answer are left out before the most confident are chosen.

    Attributes:
        n: solutions sampled.
        keep: share of the solutions that vote: those whose score reaches the percentile 100 * (1 - keep) of the scores,
            interpolated linearly. 1 keeps all; the paper filters to 0.1, or to 0.9.
        verifier: name of the verifier whose scores are the confidence; None is the one given to `solve`.
    """

    keep: float = 1.0
    verifier: str | None = 'confidence_lowest'

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.keep <= 1:
            raise ValueError(f'keep must be in (0, 1], got {self.keep}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        answered = [c for c in candidates if c.answer is not None]
        if not answered:
            return elect([], [])
        scores = [solution_score(c, Aggregation.LAST) for c in answered]
        threshold = percentile(scores, 1 - self.keep)
        kept = [(c, score) for c, score in zip(answered, scores, strict=True) if score >= threshold]
        return elect([c for c, _ in kept], [score for _, score in kept])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, linearly interpolated between neighbours.

    Args:
        values: at least one.
        share: in [0, 1]; 0 gives the least value, 1 the largest.
    """
    ordered = sorted(values)
    # 1 - 0.7 is a little more than 0.3: a value that lies at the percentile must not end up below it.
    position = round(share * (len(ordered) - 1), 9)
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    return min(high, low + (high - low) * (position - math.floor(position)))
