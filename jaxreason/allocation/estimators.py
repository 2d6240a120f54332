"""How an adaptive strategy finds out how hard a question is: a value, larger the easier, cut into bins.

| kind | the value | what it costs |
| --- | --- | --- |
| `scores` | mean verifier score of the first n samples of the question's own budget | those samples, unless they are used on |
| `votes` | share of the first n samples that agree on the most frequent answer | the same, without a verifier |
| `probe` | a verifier's opinion of the bare question | reading the prompt once |
| `known` | what `jaxreason difficulty` wrote down: the oracle's pass rate, or an estimate | what that took (oracle: 0) |

The oracle looks at the right answers, so what is reached with it is an upper bound and not a result.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 3.2 (oracle and predicted difficulty).
"""

import abc
import collections
import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.allocation.bins_file import ORACLE, KnownValue, read_known
from jaxreason.allocation.difficulty import level_of
from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.requests import Charge, Extend, Request, Score, Start
from jaxreason.core.types import Candidate, Finish, Question, Row
from jaxreason.core.verifier_spec import Unscored
from jaxreason.data.normalise import answer_key
from jaxreason.search.select import Choice, Vote, choose, solution_score
from jaxreason.search.strategy import candidate, unscored_by_row


class Scores(NamedTuple):
    """What a verifier replied about rows, one entry a row."""

    scores: tuple[tuple[float, ...], ...] = ()
    costs: tuple[Cost, ...] = ()
    reasons: tuple[Unscored | None, ...] = ()

    def first(self, number: int) -> 'Scores':
        """Those of the first rows."""
        return Scores(self.scores[:number], self.costs[:number], self.reasons[:number])

    def and_then(self, others: 'Scores') -> 'Scores':
        """Those of these rows and of others behind them."""
        return Scores(self.scores + others.scores, self.costs + others.costs, self.reasons + others.reasons)


class Look(NamedTuple):
    """What looking at a question found, and what it left to go on with.

    Attributes:
        value: larger the easier.
        rows: those that were drawn first, then others that have not begun; none where nothing was started.
        drawn: how many were drawn.
        scores: of the drawn ones, by verifier.
        prompt: what starting the rows cost.
        cost: everything, the prompt included.
    """

    value: float
    rows: tuple[Row, ...] = ()
    drawn: int = 0
    scores: Mapping[str | None, Scores] = {}
    prompt: Cost = FREE
    cost: Cost = FREE

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The drawn samples, with the scores of the verifier that was asked first."""
        reasons = unscored_by_row({name: each.reasons for name, each in self.scores.items()}, self.drawn)
        first = next(iter(self.scores.values()), Scores(((),) * self.drawn, (FREE,) * self.drawn))
        parts = zip(self.rows[: self.drawn], first.scores, first.costs, reasons, strict=True)
        return tuple(candidate(row, scores, cost, unscored) for row, scores, cost, unscored in parts)


Looking = Generator[Request, Any, Look]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimator(abc.ABC):
    """How hard a question is, as a value, and where values are cut into bins.

    Attributes:
        cuts: least value of every bin but the hardest, ascending: of five bins four numbers, the second hardest first.
    """

    cuts: tuple[float, ...] = ()

    def __post_init__(self):
        if list(self.cuts) != sorted(self.cuts) or any(map(math.isnan, self.cuts)):
            raise ValueError(f'cuts must ascend, the second hardest bin first, got {list(self.cuts)}.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        """Names of the verifiers that it asks."""
        return ()

    @property
    def num_samples(self) -> int:
        """Samples that it draws, the first of the question's budget."""
        return 0

    def level(self, value: float) -> int:
        """The bin of a value, 1 the easiest."""
        return level_of(value, self.cuts)

    def knows(self, question: Question) -> bool:
        """Whether it can say anything of a question."""
        return True

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        """Picks an answer from the samples that it looked at, where the budget ends with them."""
        return choose(candidates, Vote.MAJORITY)

    @abc.abstractmethod
    def look(self, question: Question, budget: Budget, copies: int) -> Looking:
        """Finds the value of a question.

        Args:
            question: as asked.
            budget: what may be spent.
            copies: rows that somebody would go on with; those started here need not be started again.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstSamples(Estimator):
    """Draws the first `n` samples of the question's budget, and looks at them.

    Attributes:
        n: samples drawn.
    """

    n: int

    def __post_init__(self):
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f'n must be at least 1 sample to look at, got {self.n}.')

    @property
    def num_samples(self) -> int:
        return self.n

    @abc.abstractmethod
    def value(self, candidates: Sequence[Candidate]) -> float:
        """The value of a question whose first samples these are."""

    def look(self, question: Question, budget: Budget, copies: int) -> Looking:
        rows, prompt = yield Start(question, copies=max(self.n, copies))
        drawn, spent = yield Extend(rows[: self.n], budget=budget - prompt, scored_by=self.judges)
        scores: dict[str | None, Scores] = {}
        for name in self.judges:
            scores[name] = Scores(*(yield Score(tuple(drawn), name)))
        cost = prompt + spent + total(cost for each in scores.values() for cost in each.costs)
        look = Look(0.0, (*drawn, *rows[self.n :]), len(drawn), scores, prompt, cost)
        return look._replace(value=self.value(look.candidates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstScores(FirstSamples):
    """The mean score of the first samples; one that could not be scored counts 0.

    Attributes:
        verifier: name of the verifier that it asks; None is the one given to `solve`.
        agg_strategy: how the scores of a sample's steps become its score.
    """

    verifier: str | None = None
    agg_strategy: Aggregation = Aggregation.LAST

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        return choose(candidates, Vote.WEIGHTED, self.agg_strategy)

    def value(self, candidates: Sequence[Candidate]) -> float:
        return math.fsum(solution_score(each, self.agg_strategy) for each in candidates) / max(1, len(candidates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstVotes(FirstSamples):
    """The share of the first samples that give the most frequent answer; one that names no answer agrees with none."""

    def value(self, candidates: Sequence[Candidate]) -> float:
        votes = collections.Counter(answer_key(c.answer) for c in candidates if c.answer is not None)
        return max(votes.values(), default=0) / max(1, len(candidates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(Estimator):
    """What a verifier of kind `probe` says of the question alone, before anything is drawn.

    Attributes:
        verifier: its name.
    """

    verifier: str

    @property
    def judges(self) -> tuple[str | None, ...]:
        return (self.verifier,)

    def look(self, question: Question, budget: Budget, copies: int) -> Looking:
        scores = Scores(*(yield Score((bare(question),), self.verifier)))
        return Look(probed(scores.scores), cost=total(scores.costs))


def bare(question: Question) -> Row:
    """A row that nobody started and nobody goes on with: the question alone, for a verifier that looks at nothing else."""
    return Row(handle=-1, question=question, sample=0, finish=Finish.STOP)


def probed(scores: Sequence[Sequence[float]]) -> float:
    """The value in a probe's reply about one row; a question that cannot be read counts as hard."""
    return scores[0][0] if scores and scores[0] else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Estimator):
    """What a run of `jaxreason difficulty` found out beforehand.

    Attributes:
        source: its run folder.
        estimate: which of its columns.
    """

    source: str
    estimate: str = ORACLE

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, '_values', read_known(self.source, self.estimate))

    def knows(self, question: Question) -> bool:
        return question.id in self._known

    def flops(self, question: Question) -> int:
        """What finding out took; 0 of a question that it does not know."""
        return self._known[question.id].flops if self.knows(question) else 0

    def look(self, question: Question, budget: Budget, copies: int) -> Looking:
        known = self._known[question.id]
        cost = Cost(probe=known.flops)
        yield Charge(cost)
        return Look(known.value, cost=cost)

    @property
    def _known(self) -> Mapping[str, KnownValue]:
        return vars(self)['_values']


ESTIMATORS: dict[str, type[Estimator]] = {'scores': FirstScores, 'votes': FirstVotes, 'probe': Probe, 'known': Known}
