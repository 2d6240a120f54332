"""What judging solutions with a known first wrong step writes down: a line of `judgements.jsonl` for each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

JUDGEMENTS = 'judgements.jsonl'  # in a run folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedSteps:
    """What a verifier said of the steps of one solution.

    Attributes:
        id: of the solution.
        question_id: the same for all solutions of one problem.
        group: what results are broken down by; empty where the source does not say.
        num_steps: how many steps there are.
        first_wrong: index of the first wrong one; None where there is none.
        scores: one a step; empty where the solution could not be scored.
        unscored: why it has no scores, `Unscored` as text; None where it has.
        cost: of scoring it, as the fields of `Cost` that are not 0.
    """

    id: str
    question_id: str
    group: str
    num_steps: int
    first_wrong: int | None
    scores: tuple[float, ...]
    unscored: str | None
    cost: Mapping[str, int]

    @property
    def targets(self) -> tuple[float, ...]:
        """Of every step, 1 if nothing is wrong up to its end, else 0."""
        right = self.num_steps if self.first_wrong is None else self.first_wrong
        return (1.0,) * right + (0.0,) * (self.num_steps - right)


def judged_from(fields: Mapping[str, Any]) -> JudgedSteps:
    """The inverse of `records.to_line` for a `JudgedSteps`, given the parsed JSON object."""
    return JudgedSteps(**{**fields, 'scores': tuple(fields['scores'])})
