"""Labelled solutions as what a revision model learns: a right answer after wrong ones, which are shown and not learnt.

An answer is learnt if it is right, ended by itself, and every attempt before it was wrong: of trajectories that were put
together so, all of them; of sampled chains those that stop at their first right answer. What stood before the attempts that
a set shows is not known: of chains that are longer than what their attempts were shown, later right answers count as first.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.1 and appendices L and P.
"""

import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxreason.core.errors import DataError
from jaxreason.core.labels import LabelledSolution
from jaxreason.core.types import Finish
from jaxreason.data.examples import Worked

T = TypeVar('T')


class Unlearnt(enum.StrEnum):
    """Why a labelled solution is no example of a revision."""

    NOT_CORRECT = 'not_correct'  # its own answer is wrong, or nobody could judge it
    RIGHT_BEFORE = 'right_before'  # an attempt before it was right already: it would be taught to change that
    CUT_OFF = 'cut_off'  # its answer is right, but it was not the policy that ended it: it would be taught to break off


def read_revisions(solutions: Sequence[LabelledSolution], most_attempts: int) -> tuple[list[Worked], Counter[Unlearnt]]:
    """Chooses what is learnt, in an order that the texts decide: neighbours are of different questions.

    Args:
        solutions: labelled ones.
        most_attempts: attempts that are shown before an answer at most, the last ones; 0 shows none.

    Returns:
        What is learnt, and how many solutions are not, by reason.

    Raises:
        DataError: it is not known of every attempt whether it is right.
    """
    chosen, unlearnt = [], Counter[Unlearnt]()
    for solution in solutions:
        reason = _reason(solution)
        if reason is not None:
            unlearnt[reason] += 1
            continue
        shown = solution.attempts[-most_attempts:] if most_attempts else ()
        chosen.append(Worked(solution.question, ''.join(solution.steps), shown))
    return sorted(chosen, key=_address), unlearnt


def _reason(solution: LabelledSolution) -> Unlearnt | None:
    if len(solution.attempts) != len(solution.attempts_correct):
        raise DataError(
            f'labels of question {solution.question_id[:80]}, sample {solution.sample}: expected {len(solution.attempts)} '
            f'attempts_correct, one for each of its attempts, got {len(solution.attempts_correct)}; label again.'
        )
    if not solution.is_correct:
        return Unlearnt.NOT_CORRECT
    if any(solution.attempts_correct):
        return Unlearnt.RIGHT_BEFORE
    return None if solution.finish == Finish.STOP else Unlearnt.CUT_OFF


def _address(worked: Worked) -> bytes:
    return hashlib.sha256('\0'.join((worked.question, worked.solution, *worked.attempts)).encode()).digest()


def balanced(items: Sequence[T], size: Callable[[T], int]) -> list[T]:
    """Every size equally often: as often as the most frequent one, the items of the others over and over again.

    Nothing is left out. Sizes follow one another in turn, and an item comes back only when all of its size have come.

    Args:
        items: in any order, which decides whose turn it is.
        size: of an item.
    """
    groups: dict[int, list[T]] = {}
    for item in items:
        groups.setdefault(size(item), []).append(item)
    most = max(map(len, groups.values()), default=0)
    return [group[turn % len(group)] for turn in range(most) for _, group in sorted(groups.items())]
