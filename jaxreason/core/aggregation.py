"""How the scores of a solution's steps become the score of the solution.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.1 and appendix G.
"""

import enum
import math
from collections.abc import Callable, Sequence


class Aggregation(enum.StrEnum):
    """What stands for all steps: the last, the worst, their product or their mean."""

    LAST = 'last'
    MIN = 'min'
    PROD = 'prod'
    MEAN = 'mean'


AGGREGATE: dict[Aggregation, Callable[[Sequence[float]], float]] = {
    Aggregation.LAST: lambda scores: scores[-1],
    Aggregation.MIN: min,
    Aggregation.PROD: math.prod,
    Aggregation.MEAN: lambda scores: math.fsum(scores) / len(scores),
}
