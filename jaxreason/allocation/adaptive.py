"""Compute-optimal search: find out how hard a question is, look up what is best for that, do it.

It is a strategy like any other: it looks at the question (`estimators`), delegates with what the budget has left, and is
charged for looking. Samples that it looked at are not drawn again where the strategy of the bin samples independently: then
they are its first ones. Where all bins have the same strategy there is nothing to look for.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, sections 3.2 and 5.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.allocation.estimators import Estimator, Look, Scores
from jaxreason.allocation.table import (
    Allocation,
    Budgeted,
    NamedEstimator,
    SearchStrategy,
    read_allocation,
)
from jaxreason.core.budget import Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.errors import ConfigError
from jaxreason.core.protocols import Verifier
from jaxreason.core.requests import Extend, Score, Search, Take
from jaxreason.core.setting import Setting
from jaxreason.core.types import Outcome, Question
from jaxreason.search.strategy import Parallel, Strategy, candidate, unscored_by_row


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeOptimal(Strategy):
    """The strategy that is best for questions of this difficulty under this budget.

    Attributes:
        allocation: file of an allocation (`jaxreason fit`, or by hand); empty where the next two fields say it all.
        n: budget, of those that the allocation knows; one in between takes the row below it. 0 is the largest.
        difficulty: how the bin of a question is found.
        bins: strategy of every bin, the easiest first.
    """

    allocation: str = ''
    n: int = 0
    difficulty: NamedEstimator | None = None
    bins: tuple[SearchStrategy, ...] = ()

    def __post_init__(self):
        by_hand = self.difficulty is not None or bool(self.bins)
        if by_hand == bool(self.allocation) or (by_hand and not (self.difficulty is not None and self.bins)):
            raise ValueError('compute_optimal takes either allocation: FILE, or difficulty and bins (the easiest first).')
        if by_hand and self.n:
            raise ValueError(f'n chooses a row of an allocation, got {self.n} for bins given by hand: leave it out.')
        table = self._table()
        object.__setattr__(self, '_allocation', table)
        object.__setattr__(self, '_row', table.row(self.n or table.table[-1].n))

    def _table(self) -> Allocation:
        if self.allocation:
            return read_allocation(self.allocation)
        assert self.difficulty is not None
        largest = max(each.generations for each in self.bins)
        return Allocation(difficulty=self.difficulty, table=(Budgeted(n=largest, bins=self.bins),))

    @property
    def table(self) -> Allocation:
        """What it looks things up in."""
        return vars(self)['_allocation']

    @property
    def row(self) -> Budgeted:
        """The row of its budget."""
        return vars(self)['_row']

    @property
    def is_looking(self) -> bool:
        """Whether it makes a difference how hard a question is."""
        return len(set(self.row.bins)) > 1

    @property
    def judges(self) -> tuple[str | None, ...]:
        looking = self.table.difficulty.judges if self.is_looking else ()
        asked = [*looking, *(judge for each in self.row.bins for judge in each.judges)]
        return tuple(dict.fromkeys(asked))

    def judges_of(self, outcome: Outcome) -> tuple[str | None, ...]:
        if outcome.level is None and self.is_looking:
            return self.table.difficulty.judges
        return self.row.bins[(outcome.level or 1) - 1].judges

    @property
    def generations(self) -> int:
        return self.n or self.row.n

    @property
    def most_generations(self) -> int:
        drawn = self.table.difficulty.num_samples if self.is_looking else 0
        return max(_largest(drawn, each) for each in self.row.bins)

    @property
    def most_rows(self) -> int:
        return max(self._copies, *(each.most_rows for each in self.row.bins))

    @property
    def num_attempts(self) -> int:
        return max(each.num_attempts for each in self.row.bins)

    @property
    def _copies(self) -> int:
        """Rows that are started for looking: those that a bin may go on with."""
        parallel = [each.n for each in self.row.bins if isinstance(each, Parallel)]
        return max([self.table.difficulty.num_samples, *parallel])

    def at(self, generations: int) -> Strategy:
        if not self.allocation:
            return super().at(generations)
        return dataclasses.replace(self, n=generations)

    def check(self, verifiers: Mapping[str | None, Verifier], stats: Sequence[str], budget: Budget) -> None:
        super().check(verifiers, stats, budget)
        for each in self.row.bins:
            each.check(verifiers, stats, budget)

    def check_setting(self, setting: Setting | None, verifiers: Mapping[Any, Verifier]) -> None:
        if setting is None:
            return
        digests = {str(name): str(getattr(verifier, 'digest', '')) for name, verifier in verifiers.items()}
        try:
            self.table.check(dataclasses.replace(setting, verifiers=digests))
        except ConfigError as error:
            raise ConfigError(f'{self.allocation or "compute_optimal"}: {error}') from error

    def search(self, question: Question, budget: Budget) -> Search:
        if not self.is_looking:
            return self.row.bins[0].search(question, budget)
        if not self.table.difficulty.knows(question):  # said now, not when its turn comes
            raise ConfigError(
                f'compute_optimal: nothing is known of the question {question.id[:60]!r}: '
                'run jaxreason difficulty on the same problems.'
            )
        return self._search(question, budget)

    def _search(self, question: Question, budget: Budget) -> Search:
        look = yield from self.table.difficulty.look(question, budget, self._copies)
        level = self.table.difficulty.level(look.value)
        strategy = self.row.bins[level - 1]
        if isinstance(strategy, Parallel) and look.rows:
            outcome = yield from _go_on(question, strategy, look, budget)
        else:
            if look.rows:
                yield Take(look.rows, ())
            outcome = yield from strategy.search(question, budget - look.cost)
            outcome = dataclasses.replace(outcome, cost=outcome.cost + _as_probe(look.cost))
        if outcome.answer is None and look.drawn:  # the budget ended with looking, or nothing else names an answer
            return _from_look(outcome, look, self.table.difficulty)
        return dataclasses.replace(outcome, level=level)


def _largest(drawn: int, strategy: Strategy) -> int:
    """Solutions begun where so many were looked at first."""
    return max(drawn, strategy.n) if isinstance(strategy, Parallel) else drawn + strategy.most_generations


def _go_on(question: Question, strategy: Parallel, look: Look, budget: Budget) -> Search:
    """Independent samples of which the first ones are drawn already: the rest is drawn, and all are judged."""
    kept = min(look.drawn, strategy.n)
    wanted = look.rows[look.drawn : strategy.n]
    scored_by = strategy.judges
    grown, spent = yield Extend(wanted, budget=budget - look.cost, scored_by=scored_by)
    rows = (*look.rows[:kept], *grown)
    judged: dict[str | None, Scores] = {}
    verified = FREE
    for name in scored_by:
        known = look.scores.get(name, Scores()).first(kept)
        fresh = Scores(*(yield Score(rows[len(known.scores) :], name)))
        judged[name] = known.and_then(fresh)
        verified += total(fresh.costs)
    last = judged[scored_by[-1]] if scored_by else Scores(((),) * len(rows), (FREE,) * len(rows), (None,) * len(rows))
    reasons = unscored_by_row({name: each.reasons for name, each in judged.items()}, len(rows))
    parts = zip(rows, last.scores, last.costs, reasons, strict=True)
    candidates = tuple(candidate(*part) for part in parts)
    choice = strategy.choose(candidates)
    return Outcome(
        question=question,
        answer=choice.answer,
        candidates=candidates,
        votes=choice.votes,
        cost=_shared(look, kept, scored_by) + spent + verified,
    )


def _shared(look: Look, kept: int, judges: Sequence[str | None]) -> Cost:
    """What looking cost, by its purpose: what the strategy goes on with is its own, the rest is for finding the bin."""
    own = look.prompt + total(row.cost for row in look.rows[:kept])
    own += total(cost for name in judges if name in look.scores for cost in look.scores[name].costs[:kept])
    rest = Cost(*(a - b for a, b in zip(look.cost, own, strict=True)))
    return own + _as_probe(rest)


def _as_probe(cost: Cost) -> Cost:
    """A cost whose FLOPs were spent on finding out how hard a question is."""
    return cost._replace(prefill=0, decode=0, verify=0, probe=cost.flops, lookahead=0, discarded=0)


def _from_look(outcome: Outcome, look: Look, estimator: Estimator) -> Outcome:
    """An answer from the samples that were looked at: they are paid for."""
    candidates = look.candidates
    choice = estimator.choose(candidates)
    return dataclasses.replace(outcome, answer=choice.answer, candidates=candidates, votes=choice.votes, pruned=(), level=None)
