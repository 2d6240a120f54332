"""An exact judge of steps, for the worlds in which there is one: the yardstick of verifiers, never what they are trained on."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.data.nano_chain import apply, read_chain

_VALUE = re.compile(r'\s*([0-9]{2})\s*')


class StepCheck(NamedTuple):
    """What there is to say of one step.

    Attributes:
        is_right: neither this step nor one before it is wrong, given the question.
        follows: it is what the value written before it leads to, whether that was right or not.
    """

    is_right: bool
    follows: bool


def check_nano_steps(question: str, steps: Sequence[str]) -> tuple[StepCheck, ...]:
    """Judges the steps of a solution in a nano world.

    Args:
        question: its text.
        steps: what was written, a value a step; line breaks around it do not matter. Text of a model: any.

    Returns:
        One judgement a step. A step that is no value of two digits, or one too many, is wrong; what comes after something that
        is no value follows from nothing.

    Raises:
        DataError: the question is not one of a nano world.
    """
    start, operations = read_chain(question)
    exact, is_right = start, True
    written: int | None = start
    checks = []
    for index, step in enumerate(steps):
        match = _VALUE.fullmatch(step)
        value = int(match[1]) if match else None
        if index < len(operations):
            exact = apply(exact, operations[index])
            follows = value is not None and written is not None and value == apply(written, operations[index])
            is_right = is_right and value == exact
        else:
            follows = is_right = False
        checks.append(StepCheck(is_right, follows))
        written = value
    return tuple(checks)
