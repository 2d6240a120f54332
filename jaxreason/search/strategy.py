"""What every search strategy is: a frozen value with a generator that reads like the paper's pseudo-code.

`search` knows one question; the driver knows that others exist. `solve` and `stream` run the driver.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.keys import check_seed, text_id
from jaxreason.core.protocols import Sampler, Verifier
from jaxreason.core.requests import Extend, Score, Search, Start, Until
from jaxreason.core.setting import Setting
from jaxreason.core.types import Candidate, Outcome, Question, Row
from jaxreason.core.verifier_spec import Unscored
from jaxreason.data.answers import answer_of
from jaxreason.search.drive import Task, drive
from jaxreason.search.select import Choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strategy(abc.ABC):
    """A way to spend a budget on one question."""

    @property
    def judges(self) -> tuple[str | None, ...]:
        """Names of the verifiers that it asks; None is the one given to `solve`."""
        return ()

    @property
    @abc.abstractmethod
    def generations(self) -> int:
        """Solutions that it begins, in the paper's unit of a budget."""

    @property
    def most_generations(self) -> int:
        """Solutions that it begins at most, where that differs between questions."""
        return self.generations

    @property
    def most_rows(self) -> int:
        """Rows that it has at once at most."""
        return self.generations

    def judges_of(self, outcome: Outcome) -> tuple[str | None, ...]:
        """Names of the verifiers whose scores the candidates of an outcome carry."""
        return self.judges

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that its prompts show at most."""
        return 0

    @abc.abstractmethod
    def search(self, question: Question, budget: Budget) -> Search:
        """Yields requests, is sent replies, returns the outcome. Never spends more than `budget`."""

    def at(self, generations: int) -> 'Strategy':
        """This strategy at another budget in generations, everything else as it is.

        Raises:
            ValueError: it cannot be; a phrase says why.
        """
        if generations != self.generations:
            raise ValueError(f'it always begins {self.generations}')
        return self

    def stream(
        self,
        questions: Sequence[str | Question],
        sampler: Sampler,
        verifier: Verifier | Mapping[str, Verifier] | None = None,
        *,
        seed: int = 0,
        budget: Budget = UNLIMITED,
        on_tick: Callable[[], None] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Answers questions together; yields (index, outcome) as each is finished.

        Args:
            questions: texts, or questions with ids. The id addresses the draws: equal texts given as text share theirs.
            sampler: the policy and how it samples.
            verifier: None where the strategy needs none; one by itself answers to whatever name the strategy asks for.
            seed: in [0, 2^32).
            budget: limits for each question.
            on_tick: called between two chunks of the device; what it raises ends the search.

        Raises:
            ValueError: the strategy needs a verifier or a statistic and has none, or begins more solutions than the budget
                allows.
        """
        check_seed(seed)
        verifiers: dict[str | None, Verifier] = {}
        if isinstance(verifier, Mapping):
            verifiers.update(verifier)
        elif verifier is not None:
            verifiers.update(dict.fromkeys((None, *self.judges), verifier))
        self.check(verifiers, sampler.stats, budget)
        self.check_setting(sampler.setting, verifiers)
        asked = [Question(text_id(q), q) if isinstance(q, str) else q for q in questions]
        about = (budget, seed, self.most_rows, self.num_attempts)
        tasks = [Task(question, self.search(question, budget), *about) for question in asked]
        return drive(tasks, sampler.session(), verifiers, on_tick)

    def solve(
        self,
        questions: Sequence[str | Question],
        sampler: Sampler,
        verifier: Verifier | Mapping[str, Verifier] | None = None,
        *,
        seed: int = 0,
        budget: Budget = UNLIMITED,
    ) -> list[Outcome]:
        """The outcomes of `stream`, in the order of the questions."""
        found = dict(self.stream(questions, sampler, verifier, seed=seed, budget=budget))
        return [found[index] for index in range(len(found))]

    def check(self, verifiers: Mapping[str | None, Verifier], stats: Sequence[str], budget: Budget) -> None:
        """Refuses early what cannot work.

        Args:
            verifiers: by name; None is the default one.
            stats: per-token statistics that rows will carry.
            budget: limits for each question.

        Raises:
            ValueError: a verifier is missing, or a statistic that it reads; or the budget is too small.
        """
        kind = type(self).__name__
        for name in self.judges:
            if name not in verifiers:
                wanted = 'a verifier' if name is None else f'the verifier {name!r}'
                raise ValueError(f'{kind} needs {wanted}, got none: pass one, for example MeanLogprob().')
            missing = sorted(verifiers[name].stats - set(stats))
            if missing:
                raise ValueError(
                    f"{kind}: its verifier reads {missing[0]}, which is not sampled: add it to the sampler's stats, "
                    'or a verifier on the policy to its heads.'
                )
        if budget.generations is not None and self.most_generations > budget.generations:
            raise ValueError(
                f'{kind} begins {self.most_generations} solutions, the budget allows {budget.generations}: lower n or raise it.'
            )

    def check_setting(self, setting: Setting | None, verifiers: Mapping[Any, Verifier]) -> None:
        """Refuses to run with what it was not made for; most strategies run with anything.

        Args:
            setting: what the sampler samples with; None where nobody can tell.
            verifiers: by name.

        Raises:
            ConfigError: something differs; names it.
        """
        return


class Divisible(Strategy):
    """A strategy of which one search of N solutions is also several smaller ones, side by side."""

    @property
    @abc.abstractmethod
    def block(self) -> int | None:
        """Draws that go together: a search can be read at every multiple of it; None where only at its whole."""

    @abc.abstractmethod
    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        """Picks an answer from the solutions of whole blocks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parallel(Divisible):
    """Samples `n` independent solutions, then chooses.

    Since the samples are independent, one pool of N of them gives every n <= N: `choose` is all that differs.
    """

    n: int

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'n must be at least 1 sample per question, got {self.n}.')

    @property
    def generations(self) -> int:
        return self.n

    @property
    def block(self) -> int | None:
        return 1

    def at(self, generations: int) -> 'Parallel':
        return dataclasses.replace(self, n=generations)

    def search(self, question: Question, budget: Budget) -> Search:
        rows, cost = yield Start(question, copies=self.n)
        rows, spent = yield Extend(rows, until=Until.END, budget=budget - cost, scored_by=self.judges)
        return (yield from conclude(question, rows, cost + spent, self.judges, self.choose))


def conclude(
    question: Question,
    rows: Sequence[Row],
    spent: Cost,
    judges: Sequence[str | None],
    choose: Callable[[Sequence[Candidate]], Choice],
) -> Search:
    """Ends a search of independent solutions: has them scored and chooses.

    Args:
        question: as asked.
        rows: the solutions.
        spent: so far.
        judges: names of the verifiers to ask.
        choose: picks an answer from the candidates.
    """
    scores: Sequence[tuple[float, ...]] = [()] * len(rows)
    verified: Sequence[Cost] = [FREE] * len(rows)
    reasons: dict[str | None, Sequence[Unscored | None]] = {}
    for judge in judges:
        scores, verified, reasons[judge] = yield Score(tuple(rows), judge)
    judged = zip(rows, scores, verified, unscored_by_row(reasons, len(rows)), strict=True)
    candidates = tuple(candidate(*each) for each in judged)
    choice = choose(candidates)
    cost = spent + total(verified)
    return Outcome(question=question, answer=choice.answer, candidates=candidates, votes=choice.votes, cost=cost)


def unscored_by_row(reasons: Mapping[str | None, Sequence[Unscored | None]], num_rows: int) -> list[dict[str, str]]:
    """For every row why it has no scores, by verifier; {} where it has them all.

    Args:
        reasons: replies to `Score`, by the name that was asked.
        num_rows: of the search.
    """
    found: list[dict[str, str]] = [{} for _ in range(num_rows)]
    for name, each in reasons.items():
        for unscored, reason in zip(found, each, strict=True):
            if reason is not None:
                unscored[name or 'verifier'] = reason.value
    return found


def candidate(
    row: Row, scores: Sequence[float] = (), verified: Cost = FREE, unscored: Mapping[str, str] = MappingProxyType({})
) -> Candidate:
    """What a strategy keeps of a row: its text, its answer, its scores, and what it alone cost."""
    return Candidate(
        sample=row.sample,
        text=row.text,
        tokens=row.tokens,
        steps=row.steps,
        step_ends=row.step_ends,
        finish=row.finish,
        answer=answer_of(row),
        scores=tuple(scores),
        unscored=dict(unscored),
        cost=row.cost + verified,
    )
