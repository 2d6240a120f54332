"""What `label` can make of a question: the one form that all kinds of labels have, and what they share.

A search never sees the answer: it returns what it has drawn, and only then is that graded and becomes labelled solutions.
"""

import abc
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.labels import LabelledQuestion, LabelledSolution
from jaxreason.core.requests import Request
from jaxreason.core.types import Finish, Problem, Question, Row, Verdict
from jaxreason.data.answers import answer_of
from jaxreason.data.grading import Grader
from jaxreason.search.drive import MOST_COPIES


class Shape(NamedTuple):
    """What a solution looks like: its length in tokens, and after how many of them a further step begins."""

    tokens: int
    begins: tuple[int, ...]


class Work(NamedTuple):
    """What labelling takes."""

    solutions: int = 0
    solution_tokens: int = 0
    rollouts: int = 0
    rollout_tokens: int = 0
    revisions: int = 0  # solutions with a prompt of their own
    revision_prompts: int = 0  # tokens of these prompts
    flops: int = 0

    def __add__(self, other: 'Work') -> 'Work':  # type: ignore[override]
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


class Labelling(abc.ABC):
    """A kind of labels: what is drawn for a question, and what becomes of it."""

    @property
    @abc.abstractmethod
    def copies(self) -> int:
        """Rows that a question may have at once."""

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that prompts show at most."""
        return 0

    @abc.abstractmethod
    def search(self, question: Question) -> Generator[Request, Any, Any]:
        """Yields requests, is sent replies, returns what `label` takes."""

    @abc.abstractmethod
    def label(
        self, problem: Problem, seed: int, drawn: Any, grader: Grader, on_tick: Callable[[], None] = lambda: None
    ) -> LabelledQuestion:
        """Grades what the search on a question has drawn.

        Args:
            problem: with the reference answer.
            seed: of the draws.
            drawn: what the search returned.
            grader: judges the answers; an answer that it cannot judge in time is not correct.
            on_tick: called after every distinct answer; what it raises ends the grading.
        """

    @abc.abstractmethod
    def summary(self, questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
        """What there is to say of this kind only, as JSON values."""

    @abc.abstractmethod
    def closing(self, summary: Mapping[str, Any]) -> list[str]:
        """What `summary` says, as lines for people."""

    @property
    @abc.abstractmethod
    def about(self) -> str:
        """How much of what is drawn for a question, in words."""

    @property
    def limit(self) -> str:
        """What a run at its dearest draws, in words."""
        return 'every solution'

    @abc.abstractmethod
    def work(self, shape: Shape, model: ModelConfig | None, prompts: Sequence[int] | None) -> Work:
        """What labelling one question takes, if all its solutions are of one shape.

        Args:
            shape: of the solutions.
            model: the policy; None where it is not known: then the FLOPs are 0.
            prompts: tokens of the prompt that shows 0, 1, ... `num_attempts` attempts; None where they are not known.
        """

    def check_copies(self, *names: str) -> None:
        """Refuses more rows of a question than there can be.

        Args:
            names: fields that decide their number.

        Raises:
            ValueError: there would be too many.
        """
        if self.copies > MOST_COPIES:
            raise ValueError(
                f'{" and ".join(names)} make {self.copies:,} rows of a question at once, at most {MOST_COPIES:,}: lower one.'
            )


def check_counts(kind: Any, names: Iterable[str], least: int = 1) -> None:
    """Refuses counts that are too small.

    Args:
        kind: has them as attributes.
        names: of the attributes.
        least: the least that each may be.

    Raises:
        ValueError: one is smaller.
    """
    for name in names:
        if getattr(kind, name) < least:
            raise ValueError(f'{name} must be at least {least}, got {getattr(kind, name)}.')


def unusable(row: Row) -> str | None:
    """Why nobody can say whether a solution is right, `failed` or `unanswered`; None if it has an answer."""
    if row.finish is Finish.FAILED:
        return 'failed'
    return 'unanswered' if answer_of(row) is None else None


def verdicts_of(
    problem: Problem, answers: Iterable[str | None], grader: Grader, on_tick: Callable[[], None]
) -> dict[str | None, Verdict]:
    """Grades each distinct answer once; the arguments are those of `Labelling.label`."""
    verdicts: dict[str | None, Verdict] = {}
    for answer in answers:
        if answer not in verdicts:
            verdicts[answer] = grader.grade_answer(problem.answer, answer)
            on_tick()
    return verdicts


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason is given."""
    return dict(sorted(Counter(reasons).items()))


def solution_of(problem: Problem, seed: int, row: Row, verdict: Verdict, **known: Any) -> LabelledSolution:
    """What is written down of a row.

    Args:
        problem: that it solves.
        seed: of the draws.
        row: an answered one.
        verdict: on its answer.
        known: further fields: of its steps, of the attempts before it.
    """
    answer = answer_of(row)
    assert answer is not None, 'only answered samples are kept'
    steps: dict[str, Any] = {name: () for name in ('correct', 'rollouts', 'flops', 'new_tokens')}
    return LabelledSolution(
        question_id=problem.id,
        question=problem.text,
        gold=problem.answer,
        seed=seed,
        sample=row.sample,
        steps=row.steps,
        tokens=row.tokens,
        step_ends=row.step_ends,
        finish=row.finish.value,
        answer=answer,
        verdict=verdict.value,
        own_flops=row.cost.flops,
        **(steps | known),
    )


def num_shown(questions: Sequence[LabelledQuestion]) -> list[int]:
    """Solutions by the number of attempts that stand before them, from 0 on."""
    counts = Counter(len(solution.attempts) for question in questions for solution in question.solutions)
    return [counts[size] for size in range(max(counts, default=-1) + 1)]


def shown_line(counts: Sequence[int]) -> str:
    """What `num_shown` says, for people."""
    return 'solutions by the number of attempts before them: ' + '  '.join(
        f'{size}: {count:,}' for size, count in enumerate(counts)
    )
