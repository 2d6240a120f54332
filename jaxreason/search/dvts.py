"""Diverse verifier tree search: beams that do not compete with each other.

References:
    Beeching et al., Scaling Test-Time Compute with Open Models, 2024 (search-and-learn).
"""

import dataclasses
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.requests import Search, Until
from jaxreason.core.types import Candidate, Question
from jaxreason.search.select import Choice, Vote, choose
from jaxreason.search.strategy import Divisible
from jaxreason.search.tree import Leaf, Tree, prefixes


@dataclasses.dataclass(frozen=True, kw_only=True)
class DVTS(Divisible):
    """Grows `n / beam_width` subtrees; in each the best of `beam_width` next steps goes on, `beam_width` ways.

    A subtree ends when its best way has; the others that have ended with it are solutions too, those that have not are left. A
    solution that is not the best of its round is left like any other prefix.

    Attributes:
        n: prefixes at a time, a multiple of `beam_width`, and most solutions at the end.
        beam_width: next steps that a subtree tries.
        lookahead: steps of a greedy rollout from every prefix, at whose end the verifier says what the prefix is worth.
        num_iterations: steps after which what is left runs to its end.
        vote: `naive` takes the single best solution, `weighted` sums the scores of equal answers, `majority` counts.
        agg_strategy: how the scores of a prefix's steps become its score.
        verifier: name of the verifier that it asks; None is the one given to `solve`.
    """

    n: int
    beam_width: int = 4
    lookahead: int = 0
    num_iterations: int = 40
    vote: Vote = Vote.WEIGHTED
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        if self.beam_width < 1:
            raise ValueError(f'beam_width must be at least 1, got {self.beam_width}.')
        if self.n < 1 or self.n % self.beam_width:
            raise ValueError(f'n must be a multiple of beam_width ({self.beam_width}), got {self.n}.')
        if self.num_iterations < 1:
            raise ValueError(f'num_iterations must be at least 1 step, got {self.num_iterations}.')
        if self.lookahead < 0:
            raise ValueError(f'lookahead must be at least 0 steps, got {self.lookahead}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    @property
    def generations(self) -> int:
        return self.n * (self.lookahead + 1)

    @property
    def block(self) -> int | None:
        """A subtree; with rollouts, which no branch is charged with, only the whole."""
        return None if self.lookahead else self.beam_width

    def at(self, generations: int) -> 'DVTS':
        n = prefixes(generations, self.lookahead)
        if n % self.beam_width:
            raise ValueError(f'{n}, its prefixes at a time, is no multiple of beam_width {self.beam_width}')
        return dataclasses.replace(self, n=n)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        """Picks an answer from the solutions of whole subtrees."""
        return choose(candidates, self.vote, self.agg_strategy)

    def search(self, question: Question, budget: Budget) -> Search:
        tree = Tree(question, budget, self.verifier)
        leaves = yield from tree.start(self.n)
        while leaves:
            leaves = yield from tree.grow(leaves, Until.STEP if tree.round + 1 < self.num_iterations else Until.END)
            values = yield from tree.values(leaves, self.lookahead, self.agg_strategy)
            going: list[Leaf] = []
            for first in range(0, len(leaves), self.beam_width):
                subtree = range(first, first + self.beam_width)
                best = max(subtree, key=lambda index: (values[index], -index))
                if leaves[best].has_ended:
                    left = tree.harvest([leaves[index] for index in subtree])
                else:
                    left = [leaves[index] for index in subtree if index != best]
                    going.append(leaves[best])
                for leaf in left:
                    tree.prune(leaf)
            leaves = yield from tree.fork(going, [self.beam_width] * len(going))
        return tree.outcome(self.vote, self.agg_strategy)
