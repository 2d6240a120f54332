"""The values that travel: problems, questions, rows, candidates, outcomes.

`Problem -> (question only) strategy -> Outcome -> grade -> Record -> analysis`. A strategy sees a `Question`, never the
answer. Text that a model wrote is data here: it is never evaluated, never a path, never a shell word.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Literal

from jaxreason.core.cost import Cost

AnswerFormat = Literal['boxed', 'hash', 'plain', 'last_line']  # how a solution is asked to end; see `data.prompts`


class Verdict(enum.StrEnum):
    """What a grader says of an answer. `UNJUDGED` (no decision in time) counts as not correct and is reported apart."""

    CORRECT = 'correct'
    WRONG = 'wrong'
    UNJUDGED = 'unjudged'


class Finish(enum.StrEnum):
    """Why a row stopped growing."""

    OPEN = 'open'  # it has not: it paused at a boundary, or was pruned
    STOP = 'stop'  # end-of-sequence token or stop string
    LENGTH = 'length'  # max_tokens or the room of the cache
    BUDGET = 'budget'  # the question's budget was spent
    FAILED = 'failed'  # the model produced a NaN


@dataclasses.dataclass(frozen=True)
class Question:
    """What a strategy is asked.

    Attributes:
        id: addresses its randomness.
        text: of the question.
        attempts: texts of earlier answers to it that are shown with it, the oldest first: what is asked for is a better one.
    """

    id: str
    text: str
    attempts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A question with its reference answer.

    Attributes:
        id: unique within its data set; addresses the randomness of its samples.
        text: the question as it is put into the prompt.
        answer: the reference answer, as text.
        steps: worked solution, one step an item; empty where the source has none.
        level: the source's own difficulty, as text; empty where it has none.
        subject: the source's own topic; empty where it has none.
    """

    id: str
    text: str
    answer: str
    steps: tuple[str, ...] = ()
    level: str = ''
    subject: str = ''

    @property
    def question(self) -> Question:
        return Question(self.id, self.text)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A partial or finished solution, as strategies and verifiers see it.

    Attributes:
        handle: names the row to the sampler that made it.
        question: the question that it answers.
        answer_format: how the policy was asked to end a solution; says where its answer is found.
        sample: index among the copies of its `Start`; addresses its draws. A fork has that of its parent.
        tokens: generated token ids, the completing end or stop token included.
        text: what the tokens say, without end token and without anything after a stop string.
        step_ends: number of tokens at the end of each step, increasing; the last step is open unless it ends the row.
        steps: the text of each step; joined they are `text`.
        at_boundary: it paused with the token that completed a step delimiter; else its last step is still open.
        stats: per-token statistics asked of the sampler by name, each as long as `tokens`:
            `logprob` (nats, model), `sampled_logprob` (nats, the distribution drawn from), `self_certainty` (nats),
            `confidence` (nats).
        finish: why it stopped, or `OPEN`.
        cost: what this row alone has cost since its `Start`: generation, not the prompt.
        lineage: handles of the rows that it was forked from, the first one first; a verifier finds their keys by them.
    """

    handle: int
    question: Question
    answer_format: AnswerFormat = 'boxed'
    sample: int
    tokens: tuple[int, ...] = ()
    text: str = ''
    step_ends: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()
    at_boundary: bool = False
    stats: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    finish: Finish = Finish.OPEN
    cost: Cost = Cost()
    lineage: tuple[int, ...] = ()

    def but(self, **changes: Any) -> 'Row':
        """The row with other values: `dataclasses.replace`, several times faster, for what is done with every row drawn."""
        other = object.__new__(Row)
        vars(other).update(vars(self), **changes)
        return other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A solution that a strategy considered, with its verifier's score of every step.

    Attributes:
        sample: its number within the question: of those that began with the prompt the index of the draw, of forks a later one.
        answer: as extracted; None where the text names none.
        scores: one a step; empty without a verifier, and where it could not score.
        unscored: why there are no scores (`Unscored` as text), by verifier; the one given to `solve` is called `verifier`.
        cost: what this candidate alone cost; the prompt is paid by the question, a common beginning by the `parent`.
        parent: `sample` of what it was forked from; None for one that began with the prompt.
        forked_at: leading steps that it shares with its parent.
        revises: `sample` of the attempt before it in its chain, the last of those that it was shown; None for a first attempt.
    """

    sample: int
    text: str
    tokens: tuple[int, ...]
    steps: tuple[str, ...]
    step_ends: tuple[int, ...]
    finish: Finish
    answer: str | None = None
    scores: tuple[float, ...] = ()
    unscored: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cost: Cost = Cost()
    parent: int | None = None
    forked_at: int = 0
    revises: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branch:
    """A prefix that a search left, from where it was forked on: what comes before is its parent's.

    Attributes:
        sample: its number, which no candidate and no other branch has.
        parent: `sample` of what it was forked from; None for one that began with the prompt.
        forked_at: leading steps that it shares with its parent.
        pruned_at: round of the search, from 1, after which it was left.
        tokens: its own, without its parent's.
        steps: texts of its own steps.
        scores: of its own steps; empty where the verifier could not score it.
        cost: what it alone cost.
    """

    sample: int
    parent: int | None
    forked_at: int
    pruned_at: int
    tokens: tuple[int, ...]
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    cost: Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a strategy returns for one question.

    Attributes:
        question: as asked.
        answer: the answer chosen; None where no candidate names one.
        candidates: in sample order.
        votes: weight of every distinct answer, largest first; the first is `answer`.
        cost: everything that this question spent, the prompt included.
        pruned: what a tree search left on the way, in sample order. With the candidates it is the whole tree.
        level: bin of difficulty that an adaptive strategy put the question in, 1 the easiest; None for any other strategy, and
            where the budget ended before the bin's strategy had an answer.
    """

    question: Question
    answer: str | None
    candidates: tuple[Candidate, ...]
    votes: tuple[tuple[str, float], ...]
    cost: Cost
    pruned: tuple[Branch, ...] = ()
    level: int | None = None
