"""Beam search over steps: a verifier scores every prefix, the best are kept, and each goes on several ways.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.2 and appendix C.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.requests import Extend, Score, Search, Start, Take, Until
from jaxreason.core.types import Candidate, Finish, Outcome, Question, Row
from jaxreason.search.select import Vote, choose
from jaxreason.search.strategy import Strategy, candidate, unscored_by_row


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamSearch(Strategy):
    """Grows `n` prefixes step by step; after every step the best `n / beam_width` go on, `beam_width` ways each.

    A solution that has ended keeps its place among the `n`, so that a search begins as many solutions as best-of-n. With a
    width of 1 nothing is ever pruned: the solutions are those of best-of-n, token by token.

    Attributes:
        n: prefixes at a time, and solutions at the end.
        beam_width: ways in which a kept prefix goes on; `sqrt` is the root of `n`, rounded.
        num_iterations: steps after which the prefixes that are left run to their end.
        filter_duplicates: of prefixes with the same text only the first may be kept.
        vote: `weighted` sums the scores of equal answers, `naive` takes the single best solution, `majority` counts.
        agg_strategy: how the scores of a prefix's steps become its score.
        verifier: name of the verifier that it asks; None is the one given to `solve`.
    """

    n: int
    beam_width: int | Literal['sqrt'] = 4
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
        if self.beam_width != 'sqrt' and not 1 <= self.beam_width <= self.n:
            raise ValueError(f'beam_width must be from 1 to n ({self.n}), or sqrt, got {self.beam_width}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    @property
    def generations(self) -> int:
        return self.n

    @property
    def width(self) -> int:
        """Ways in which a kept prefix goes on."""
        return round(math.sqrt(self.n)) if self.beam_width == 'sqrt' else self.beam_width

    def search(self, question: Question, budget: Budget) -> Search:
        rows, spent = yield Start(question, copies=self.n)
        paid: dict[int, Cost] = {}  # for the verifier, by row
        ended: list[Candidate] = []
        pruned = 0
        for iteration in range(1, self.num_iterations + 1):
            until = Until.STEP if iteration < self.num_iterations else Until.END
            rows, cost = yield Extend(rows, until=until, budget=budget - spent, scored_by=self.judges)
            scores, verified, reasons = yield Score(rows, self.verifier)
            spent += cost + total(verified)
            for row, price in zip(rows, verified, strict=True):
                paid[row.handle] = paid.get(row.handle, FREE) + price
            unscored = unscored_by_row({self.verifier: reasons}, len(rows))
            for row, each, reason in zip(rows, scores, unscored, strict=True):
                if row.finish is not Finish.OPEN:
                    ended.append(candidate(row, each, paid[row.handle], reason))
            going = [index for index, row in enumerate(rows) if row.finish is Finish.OPEN]
            if not going:
                break
            kept = self._best(rows, scores, going)
            pruned += sum((rows[index].cost + paid[rows[index].handle]).flops for index in set(going) - set(kept))
            rows, _ = yield Take(rows, _shared(kept, len(going)))
        # Forks share the sample that they come from; each solution gets a number of its own, forks behind what they left.
        ended = [dataclasses.replace(c, sample=index) for index, c in enumerate(sorted(ended, key=lambda c: c.sample))]
        choice = choose(ended, self.vote, self.agg_strategy)
        cost = spent._replace(discarded=spent.discarded + pruned)
        return Outcome(question=question, answer=choice.answer, candidates=tuple(ended), votes=choice.votes, cost=cost)

    def _best(self, rows: Sequence[Row], scores: Sequence[Sequence[float]], going: Sequence[int]) -> list[int]:
        """Which of the prefixes that go on are kept, in their own order; of equal scores the earlier ones."""
        values = {index: AGGREGATE[self.agg_strategy](scores[index]) if scores[index] else 0.0 for index in going}
        if self.filter_duplicates:
            first = {rows[index].text: index for index in reversed(going)}
            values = {index: value for index, value in values.items() if first[rows[index].text] == index}
        ranked = sorted(values, key=lambda index: (-values[index], index))
        return sorted(ranked[: max(1, len(going) // self.width)])


def _shared(kept: Sequence[int], places: int) -> tuple[int, ...]:
    """Places given out evenly to what is kept, copies of one beside each other, the first ones getting what is over."""
    each, over = divmod(places, len(kept))
    return tuple(index for rank, index in enumerate(kept) for _ in range(each + (rank < over)))
