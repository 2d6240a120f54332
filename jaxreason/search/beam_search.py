"""Beam search over steps: a verifier scores every prefix, the best are kept, and each goes on several ways.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.2 and appendix C.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.requests import Search, Until
from jaxreason.core.types import Question
from jaxreason.search.select import Vote
from jaxreason.search.strategy import Strategy
from jaxreason.search.tree import Leaf, Tree, prefixes, shared_out


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearch(Strategy):
    """Grows `n` prefixes step by step; after every step the best `n / beam_width` go on, `beam_width` ways each.

    A solution that has ended keeps its place among the `n`, so that a search begins as many solutions as best-of-n. With a
    width of 1 nothing is ever pruned: the solutions are those of best-of-n, token by token.

    Attributes:
        n: prefixes at a time, and solutions at the end.
        beam_width: ways in which a kept prefix goes on; `sqrt` is the root of `n`, rounded.
        lookahead: steps of a greedy rollout from every prefix, at whose end the verifier says what the prefix is worth; each
            costs as much as a generation: `n` times `lookahead + 1` in all.
        num_iterations: steps after which the prefixes that are left run to their end.
        filter_duplicates: of prefixes with the same text only the first may be kept.
        vote: `weighted` sums the scores of equal answers, `naive` takes the single best solution, `majority` counts.
        agg_strategy: how the scores of a prefix's steps become its score.
        verifier: name of the verifier that it asks; None is the one given to `solve`.
    """

    n: int
    beam_width: int | Literal['sqrt'] = 4
    lookahead: int = 0
    num_iterations: int = 40
    filter_duplicates: bool = False
    vote: Vote = Vote.WEIGHTED
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'n must be at least 1 solution per question, got {self.n}.')
        if self.num_iterations < 1:
            raise ValueError(f'num_iterations must be at least 1 step, got {self.num_iterations}.')
        if self.lookahead < 0:
            raise ValueError(f'lookahead must be at least 0 steps, got {self.lookahead}.')
        if self.beam_width != 'sqrt' and not 1 <= self.beam_width <= self.n:
            raise ValueError(f'beam_width must be from 1 to n ({self.n}), or sqrt, got {self.beam_width}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    @property
    def generations(self) -> int:
        return self.n * (self.lookahead + 1)

    @property
    def width(self) -> int:
        """Ways in which a kept prefix goes on."""
        return round(math.sqrt(self.n)) if self.beam_width == 'sqrt' else self.beam_width

    def at(self, generations: int) -> 'BeamSearch':
        n = prefixes(generations, self.lookahead)
        if self.beam_width != 'sqrt' and self.beam_width > n:
            raise ValueError(f'beam_width {self.beam_width} is more than {n}, its prefixes at a time')
        return dataclasses.replace(self, n=n)

    def search(self, question: Question, budget: Budget) -> Search:
        tree = Tree(question, budget, self.verifier)
        leaves = yield from tree.start(self.n)
        while leaves:
            leaves = yield from tree.grow(leaves, Until.STEP if tree.round + 1 < self.num_iterations else Until.END)
            going = tree.harvest(leaves)
            values = yield from tree.values(going, self.lookahead, self.agg_strategy)
            leaves = yield from tree.fork(going, shared_out(self._best(going, values), len(going)))
        return tree.outcome(self.vote, self.agg_strategy)

    def _best(self, leaves: Sequence[Leaf], values: Sequence[float]) -> list[int]:
        """Which leaves are kept; of equal values the earlier ones."""
        ranked = sorted(range(len(leaves)), key=lambda index: (-values[index], index))
        if self.filter_duplicates:
            first = {leaves[index].row.text: index for index in reversed(range(len(leaves)))}
            ranked = [index for index in ranked if first[leaves[index].row.text] == index]
        return ranked[: max(1, len(leaves) // self.width)]
