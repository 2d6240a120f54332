"""Borda voting: samples are ranked by how sure the policy was of them, and a better rank is a larger vote.

Between the majority, where every sample counts alike, and the single best sample, where only the first does.

References:
    Kang et al., Scalable Best-of-N Selection for Large Language Models via Self-Certainty, 2025, section 4.
"""

import dataclasses
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.types import Candidate
from jaxreason.search.select import Choice, elect, solution_score
from jaxreason.search.strategy import Parallel

_MOST_POWER = 32.0  # beyond it votes of many samples would leave the range of floats, and only the first rank counts anyway


@dataclasses.dataclass(frozen=True, kw_only=True)
class Borda(Parallel):
    """Samples `n` solutions; the one of rank r, 1 the best, gives (n - r + 1) ** power votes to its answer.

    Solutions that name no answer keep their rank and do not vote. Of equal scores the earlier sample has the better rank.

    Attributes:
        n: solutions sampled, and what the ranks are counted from: at fewer of them from one pool, that many.
        power: the paper's p; 0 is the majority. The paper found the best one to grow with n, from about 0.5 at 8 to 1.2 at 64,
            and to depend on model and task: it proposes 0.3 up to n = 16 and 1.2 from 32.
        agg_strategy: how the scores of a solution's steps become its score.
        verifier: name of the verifier that ranks; None is the one given to `solve`.
    """

    power: float = 0.5
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = 'self_certainty'

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.power <= _MOST_POWER:
            raise ValueError(f'power must be in [0, {_MOST_POWER:g}], got {self.power}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        ranked = sorted(candidates, key=lambda c: (-solution_score(c, self.agg_strategy), c.sample))
        votes = [float(len(ranked) - rank + 1) ** self.power for rank in range(1, len(ranked) + 1)]
        return elect(ranked, votes)
