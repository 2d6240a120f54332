"""Budget forcing: a policy that wants to stop thinking is told to wait, one that thinks for too long is told to answer.

References:
    Muennighoff et al., s1: Simple test-time scaling, 2025.
"""

import dataclasses
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.requests import Append, Extend, Search, Start, Until
from jaxreason.core.types import Candidate, Finish, Question, Row
from jaxreason.search.select import Choice, Vote, choose
from jaxreason.search.strategy import Divisible, conclude


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetForcing(Divisible):
    """Lets `n` chains think for longer, or for no longer, than they would; then they vote.

    A chain wants to stop thinking when it writes `end`, or ends. That is taken back and `wait` put in its place, `num_ignore`
    times. Once it has drawn `max_thinking_tokens`, `end` and `final` are put behind what it has thought. Either way it then
    writes its answer. What was taken back counts as thinking, and words that were put in do not: so no chain draws more than
    `max_thinking_tokens` before its answer.

    Attributes:
        n: chains.
        num_ignore: times that the wish to stop is ignored.
        wait: put in place of the wish. It begins with a blank line, so that an answer already given stays readable.
        end: what the policy writes between thinking and answer, such as `</think>`; empty for a policy that writes nothing
            there: its wish to stop is the end of its solution.
        final: put behind `end` where thinking was cut short, or ended without `end`, such as `Final Answer:`.
        max_thinking_tokens: tokens that a chain may draw before its answer; None for no limit but the sampler's `max_tokens`.
        vote: `majority` counts equal answers; `weighted` sums their scores, `naive` takes the single best chain.
        agg_strategy: how the scores of a chain's steps become its score.
        verifier: name of the verifier that `weighted` and `naive` ask; None is the one given to `solve`.
    """

    n: int = 1
    num_ignore: int = 1
    wait: str = '\n\nWait'
    end: str = ''
    final: str = ''
    max_thinking_tokens: int | None = None
    vote: Vote = Vote.MAJORITY
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'n must be at least 1 chain per question, got {self.n}.')
        if self.num_ignore < 0:
            raise ValueError(f'num_ignore must be at least 0, got {self.num_ignore}.')
        if self.num_ignore and not self.wait:
            raise ValueError('wait must be words: without any the policy would do the same again, got none; set num_ignore=0.')
        if self.max_thinking_tokens is not None and self.max_thinking_tokens < 1:
            raise ValueError(f'max_thinking_tokens must be at least 1, or null, got {self.max_thinking_tokens}.')
        if self.max_thinking_tokens is not None and not self.end + self.final:
            raise ValueError('max_thinking_tokens needs the words that end thinking, got none: set end, final, or both.')
        if self.vote == Vote.MAJORITY and self.verifier is not None:
            raise ValueError(f'verifier: majority asks none, got {self.verifier!r}: set vote to weighted or naive.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return () if self.vote == Vote.MAJORITY else (self.verifier,)

    @property
    def generations(self) -> int:
        return self.n

    @property
    def block(self) -> int | None:
        return 1

    def at(self, generations: int) -> 'BudgetForcing':
        return dataclasses.replace(self, n=generations)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        return choose(candidates, self.vote, self.agg_strategy)

    def search(self, question: Question, budget: Budget) -> Search:
        rows, spent = yield Start(question, copies=self.n)
        chains = [_Chain(self.num_ignore) for _ in rows]
        while any(row.finish is Finish.OPEN for row in rows):
            thinking = [row for row, chain in zip(rows, chains, strict=True) if chain.thinks and row.finish is Finish.OPEN]
            rows, cost = yield Extend(
                rows,
                until=Until.STEP if thinking and self.end else Until.END,
                budget=budget - spent,
                max_tokens=min((left for row in thinking if (left := self._left(row)) is not None), default=None),
                scored_by=self.judges,
            )
            spent += cost
            texts = tuple(self._words(row, chain) for row, chain in zip(rows, chains, strict=True))
            if any(texts):
                rows, cost = yield Append(rows, texts, cut=self.end, budget=budget - spent, scored_by=self.judges)
                spent += cost
            for row, chain in zip(rows, chains, strict=True):
                chain.thinks = chain.thinks and row.finish is Finish.OPEN
        return (yield from conclude(question, rows, spent, self.judges, self.choose))

    def _left(self, row: Row) -> int | None:
        """Tokens that a chain may still think for."""
        return None if self.max_thinking_tokens is None else self.max_thinking_tokens - row.cost.new_tokens

    def _words(self, row: Row, chain: '_Chain') -> str | None:
        """What is put into a chain now."""
        if not chain.thinks or row.finish not in (Finish.OPEN, Finish.STOP):
            return None
        has_used_up = self._left(row) == 0
        if not (has_used_up or row.at_boundary or row.finish is Finish.STOP):
            return None  # it paused for another chain: what happens to it must not depend on that
        has_closed = bool(self.end) and self.end in row.text
        if not (has_used_up or has_closed or row.finish is Finish.STOP):
            return None
        if not has_used_up and chain.ignores_left:
            chain.ignores_left -= 1
            return self.wait
        chain.thinks = False
        has_answered = has_closed or (row.finish is Finish.STOP and not self.end)
        return None if has_answered else self.end + self.final


@dataclasses.dataclass
class _Chain:
    """How far a chain is."""

    ignores_left: int
    thinks: bool = True
