"""Reward-balanced search (REBASE): a prefix goes on in as many ways as its reward deserves.

References:
    Wu et al., Inference Scaling Laws, 2024 (ICLR 2025), section 3.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.requests import Search, Until
from jaxreason.core.types import Question
from jaxreason.search.select import Vote
from jaxreason.search.strategy import Strategy
from jaxreason.search.tree import Tree

_ROUNDING = 1e-9  # a share of 5 must not become 6 places because it came out as 5.000000000000001


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rebase(Strategy):
    """Grows `n` prefixes step by step; the ways on are shared out in proportion to exp(score / balance).

    A solution that has ended keeps its place among the `n`.

    Attributes:
        n: prefixes at a time, and solutions at the end.
        balance: temperature of the shares, above 0 (`T_b` of the paper): the smaller, the more the best prefixes get.
        num_iterations: steps after which the prefixes that are left run to their end.
        vote: `weighted` sums the scores of equal answers, `naive` takes the single best solution, `majority` counts.
        agg_strategy: how the scores of a prefix's steps become its score.
        verifier: name of the verifier that it asks; None is the one given to `solve`.
    """

    n: int
    balance: float = 0.2
    num_iterations: int = 40
    vote: Vote = Vote.WEIGHTED
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'n must be at least 1 solution per question, got {self.n}.')
        if not 0 < self.balance < math.inf:
            raise ValueError(f'balance must be above 0 and finite, got {self.balance}.')
        if self.num_iterations < 1:
            raise ValueError(f'num_iterations must be at least 1 step, got {self.num_iterations}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    @property
    def generations(self) -> int:
        return self.n

    def at(self, generations: int) -> 'Rebase':
        return dataclasses.replace(self, n=generations)

    def search(self, question: Question, budget: Budget) -> Search:
        tree = Tree(question, budget, self.verifier)
        leaves = yield from tree.start(self.n)
        while leaves:
            leaves = yield from tree.grow(leaves, Until.STEP if tree.round + 1 < self.num_iterations else Until.END)
            going = tree.harvest(leaves)
            ways = balanced([leaf.value(self.agg_strategy) for leaf in going], len(going), self.balance)
            leaves = yield from tree.fork(going, ways)
        return tree.outcome(self.vote, self.agg_strategy)


def balanced(values: Sequence[float], places: int, balance: float) -> list[int]:
    """Shares places out in proportion to exp(value / balance), the best first, each share rounded up.

    Args:
        values: of the prefixes.
        places: to share out.
        balance: temperature of the shares.

    Returns:
        One number a prefix; they add up to `places`.
    """
    ranked = sorted(range(len(values)), key=lambda index: (-values[index], index))
    weights = [math.exp((values[index] - values[ranked[0]]) / balance) for index in ranked]
    rests = list(itertools.accumulate(reversed(weights)))[::-1]  # of each and all behind it
    ways, left = [0] * len(values), places
    for index, weight, rest in zip(ranked, weights, rests, strict=True):
        if not left:
            break
        ways[index] = min(left, math.ceil(left * weight / rest - _ROUNDING))
        left -= ways[index]
    return ways
