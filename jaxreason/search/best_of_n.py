"""Best-of-N: independent samples, and a verifier chooses.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.2; Cobbe et al., Training Verifiers to Solve Math
    Word Problems, 2021.
"""

import dataclasses
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.types import Candidate
from jaxreason.search.select import Choice, Vote, choose
from jaxreason.search.strategy import Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestOfN(Parallel):
    """Samples `n` solutions and answers with the verifier's choice.

    Attributes:
        n: solutions sampled.
        vote: `weighted` sums the scores of equal answers, `naive` takes the single best solution.
        agg_strategy: how the scores of a solution's steps become its score.
        verifier: name of the verifier that it asks; None is the one given to `solve`.
    """

    vote: Vote = Vote.WEIGHTED
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.vote == Vote.MAJORITY:
            raise ValueError('vote: best_of_n takes weighted or naive, got majority: use the strategy majority.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        return choose(candidates, self.vote, self.agg_strategy)
