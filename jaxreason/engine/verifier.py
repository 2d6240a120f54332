"""Verifiers that need no training: how sure the policy itself is of what it wrote.

They read per-token statistics that the sampler computed on the device, so they cost nothing. A step's score is that of the
solution up to the end of the step, so the last step's is that of the whole solution; all are at least 0, as votes must be.
`VERIFIERS` are those that a strategy may name without more ado.

References:
    Kang et al., Scalable Best-of-N Selection for Large Language Models via Self-Certainty, 2025.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from jaxreason.core.cost import FREE
from jaxreason.core.protocols import Scored, Verifier
from jaxreason.core.types import Row
from jaxreason.engine.confidence import Confidence


@dataclasses.dataclass(frozen=True)
class MeanLogprob:
    """Scores a prefix by the geometric mean of its tokens' probabilities: exp(mean log-prob), in [0, 1]."""

    stats: ClassVar[frozenset[str]] = frozenset({'logprob'})

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        return Scored([_prefix_means(row, 'logprob', math.exp) for row in rows], [FREE] * len(rows), carry)

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class SelfCertainty:
    """Scores a prefix by the mean over its tokens of KL(uniform || policy), in nats."""

    stats: ClassVar[frozenset[str]] = frozenset({'self_certainty'})

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        # KL is not negative; float32 may leave it a hair below 0 for an almost uniform policy.
        return Scored([_prefix_means(row, 'self_certainty', lambda x: max(0.0, x)) for row in rows], [FREE] * len(rows), carry)

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        return 0


VERIFIERS: dict[str, Verifier] = {
    'mean_logprob': MeanLogprob(),
    'self_certainty': SelfCertainty(),
    'confidence_mean': Confidence(measure='mean'),
    'confidence_tail': Confidence(measure='tail'),
    'confidence_bottom': Confidence(measure='bottom'),
    'confidence_lowest': Confidence(measure='lowest'),
}


def _prefix_means(row: Row, stat: str, finish: Callable[[float], float]) -> tuple[float, ...]:
    """`finish` of the mean of a statistic up to the end of each step; no tokens, no scores."""
    values = row.stats[stat]
    return tuple(finish(math.fsum(values[:end]) / end) for end in row.step_ends)
