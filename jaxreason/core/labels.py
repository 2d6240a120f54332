"""What labelling writes down: solutions with what is known of their steps and their end, what it rests on and what it cost."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledSolution:
    """One sampled solution, graded; its steps are labelled by rollouts, or have no labels at all.

    Attributes:
        question_id: which question.
        question: its text.
        gold: the reference answer.
        seed: of the draws.
        sample: index among the samples of its question.
        steps: the text of each step; joined they are the solution.
        tokens: generated token ids, the end token included.
        step_ends: tokens at the end of each step.
        finish: `Finish` as text.
        answer: as extracted.
        verdict: `Verdict` as text.
        correct: of each step, how many of its rollouts were graded correct.
        rollouts: of each step, how many there were. A step that ends the solution leaves nothing to draw: its only rollout is
            the solution itself. Where nothing was rolled out, nothing is known of a step: then this is empty, and so are
            `correct`, `flops` and `new_tokens`.
        flops: of each step, FLOPs of its rollouts.
        new_tokens: of each step, tokens that its rollouts drew.
        own_flops: FLOPs of the solution itself, without the prompt.
        attempts: texts of the earlier attempts that stand before it, the oldest first; empty for a first attempt.
        attempts_correct: of each of them, whether its answer is.
    """

    question_id: str
    question: str
    gold: str
    seed: int
    sample: int
    steps: tuple[str, ...]
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...]
    finish: str
    answer: str
    verdict: str
    correct: tuple[int, ...]
    rollouts: tuple[int, ...]
    flops: tuple[int, ...]
    new_tokens: tuple[int, ...]
    own_flops: int
    attempts: tuple[str, ...] = ()
    attempts_correct: tuple[bool, ...] = ()

    @property
    def soft(self) -> tuple[float, ...]:
        """Share of correct rollouts of each step; empty where there were none."""
        return tuple(correct / rollouts for correct, rollouts in zip(self.correct, self.rollouts, strict=True))

    @property
    def hard(self) -> tuple[bool, ...]:
        """Of each step, whether any of its rollouts was correct; empty where there were none."""
        return tuple(correct > 0 for correct in self.correct)

    @property
    def is_correct(self) -> bool:
        """Whether the solution's own answer is."""
        return self.verdict == 'correct'


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledQuestion:
    """All that labelling made of one question: a line of the journal.

    Attributes:
        question_id: which question.
        solutions: those that were kept, by sample.
        dropped: samples that were not, by reason: `unanswered` (no answer to be read), `too_many_steps`, `failed` (a NaN); of
            trajectories also `unjudged`, and `wrong`: those are shown before the others.
        rollouts: how the rollouts of kept solutions ended: by verdict, and `unanswered` (no answer; not correct either).
        cost: of everything, as the fields of `Cost` that are not 0: `lookahead` is the rollouts, `discarded` what was dropped.
    """

    question_id: str
    solutions: tuple[LabelledSolution, ...]
    dropped: Mapping[str, int]
    rollouts: Mapping[str, int]
    cost: Mapping[str, int]


def labelled_from(fields: Mapping[str, Any]) -> LabelledQuestion:
    """The inverse of `records.to_line` for a `LabelledQuestion`, given the parsed JSON object."""
    solutions = tuple(solution_from(solution) for solution in fields['solutions'])
    return LabelledQuestion(**{**fields, 'solutions': solutions})


def solution_from(fields: Mapping[str, Any]) -> LabelledSolution:
    """A solution from its fields, lists for tuples."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return LabelledSolution(**values)
