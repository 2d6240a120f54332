"""How good a verifier is, from the scores that it gave to steps of which something is known.

The same numbers are made while a verifier is trained, when it is measured on labelled steps, and from a run's own samples.
Questions are the unit of chance everywhere: intervals draw whole questions again, and a threshold is never chosen on the
questions that it is judged on. A solution that could not be scored is left out and counted.

References:
    Zheng et al., ProcessBench: Identifying Process Errors in Mathematical Reasoning, 2024 (first-error F1).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.calibration import calibration
from jaxreason.core.ranking import auc, pooled_auc, within_question
from jaxreason.core.stats import Estimate, bootstrap, counted_interval, ratio, rounded

_NEAREST = 1e-7  # a score is kept so far from 0 and 1, where its logarithm would be infinite: a loss of at most 16.1 a step


class JudgedSolution(NamedTuple):
    """A solution as a verifier scored it, beside what is known of it.

    Attributes:
        question_id: which question it answers.
        scores: one a step, in [0, 1]; () where it could not be scored.
        targets: of each step, in [0, 1]: a soft label, or 1.0 right and 0.0 wrong. A step counts as right from 0.5 on.
        is_correct: whether its final answer is.
    """

    question_id: str
    scores: tuple[float, ...]
    targets: tuple[float, ...]
    is_correct: bool

    @property
    def is_scored(self) -> bool:
        """Whether every step has a score that is a number."""
        return bool(self.scores) and all(map(math.isfinite, self.scores))

    @property
    def first_wrong(self) -> int | None:
        """Index of the first step whose target is below 0.5; None where there is none."""
        return next((index for index, target in enumerate(self.targets) if target < 0.5), None)


class FirstErrors(NamedTuple):
    """How well the first wrong step is found.

    Attributes:
        f1: harmonic mean of the other two; None where one of them is.
        erroneous: share of the solutions with a wrong step of which exactly the first one is named; None where there are none.
        error_free: share of those without a wrong step in which none is named; None where there are none.
    """

    f1: Estimate | None
    erroneous: Estimate | None
    error_free: Estimate | None


class _Steps(NamedTuple):
    """All scored steps as columns."""

    scores: np.ndarray  # [steps]
    targets: np.ndarray  # [steps]
    question: np.ndarray  # [steps], from 0 on
    num_questions: int


def summarise(solutions: Sequence[JudgedSolution], first_wrong: Sequence[int | None] | None = None) -> dict[str, Any]:
    """Everything that can be said of a verifier on some solutions, as JSON values.

    Args:
        solutions: any number of questions.
        first_wrong: index of each solution's first wrong step, None where it has none; not given, the targets say it.

    Returns:
        `num_questions`, `num_solutions` and `num_steps` (scored ones), `num_unscored` (solutions); `share_right` (steps),
        `loss` (nats a step), `accuracy` (of steps at 0.5), `step_auc`, `within_question_step_auc`, `within_question_auc` (by
        aggregation, against the final answer), `calibration`, and `first_error` with the parts of `FirstErrors` at the
        threshold 0.5 (`at_half`) and at thresholds that were chosen on the other half of the questions (`cross_fitted`).
        What is not defined is None.

    Raises:
        ValueError: a solution has not as many scores as targets, or a number is not in [0, 1].
    """
    wrong = [s.first_wrong for s in solutions] if first_wrong is None else list(first_wrong)
    known = _scored(solutions, wrong)
    scored = [solution for solution, _ in known]
    steps = _steps(scored)
    errors = [error for _, error in known]
    fitted = cross_fitted_f1(scored, errors)
    return {
        'num_questions': steps.num_questions,
        'num_solutions': len(scored),
        'num_steps': len(steps.scores),
        'num_unscored': len(solutions) - len(scored),
        'share_right': _mean_of_steps(steps, steps.targets >= 0.5),
        'loss': _mean_of_steps(steps, step_loss(steps.scores, steps.targets)),
        'accuracy': _mean_of_steps(steps, (steps.scores >= 0.5) == (steps.targets >= 0.5)),
        'step_auc': counted_interval(step_auc(scored)),
        'within_question_step_auc': counted_interval(within_question_step_auc(scored)),
        'within_question_auc': {kind.value: counted_interval(within_question_auc(scored, kind)) for kind in Aggregation},
        'calibration': calibration(steps.scores, steps.targets, steps.question),
        'first_error': {
            'num_erroneous': sum(error is not None for error in errors),
            'num_error_free': sum(error is None for error in errors),
            'at_half': _told(first_error_f1(scored, errors, 0.5)),
            'cross_fitted': None if fitted is None else {'thresholds': [rounded(t) for t in fitted[0]], **_told(fitted[1])},
        },
    }


def step_auc(solutions: Sequence[JudgedSolution]) -> Estimate | None:
    """AUC of step scores over all steps, those with a target of at least 0.5 positive; None where a class is missing."""
    steps = _steps(_only_scored(solutions))
    return pooled_auc(steps.scores, steps.targets >= 0.5, steps.question)


def within_question_step_auc(solutions: Sequence[JudgedSolution]) -> Estimate | None:
    """Mean AUC of step scores over the questions that have right and wrong steps; None where there is no such question."""
    steps = _steps(_only_scored(solutions))
    return within_question(auc, steps.scores, steps.targets >= 0.5, steps.question)


def within_question_auc(solutions: Sequence[JudgedSolution], aggregation: Aggregation = Aggregation.LAST) -> Estimate | None:
    """Mean AUC of solution scores against the final answer, over the questions with both outcomes; None without any."""
    scored = _only_scored(solutions)
    scores = [AGGREGATE[aggregation](solution.scores) for solution in scored]
    return within_question(auc, scores, [solution.is_correct for solution in scored], _numbers(scored))


def step_loss(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Binary cross-entropy of each step in nats; scores within 1e-7 of 0 or 1 are taken as that far from it."""
    kept = np.clip(scores, _NEAREST, 1 - _NEAREST)
    return -(targets * np.log(kept) + (1 - targets) * np.log1p(-kept))


def first_error_f1(
    solutions: Sequence[JudgedSolution], first_wrong: Sequence[int | None], threshold: float | Mapping[str, float]
) -> FirstErrors:
    """How well the first step with a score below a threshold is the first wrong one.

    Args:
        solutions: those that could not be scored are left out.
        first_wrong: index of each one's first wrong step; None where it has none.
        threshold: of the scores; by question id where questions have their own.

    Returns:
        The shares with intervals over questions.

    Raises:
        ValueError: the numbers of solutions and labels differ, or a label is no step of its solution.
    """
    known = _scored(solutions, first_wrong)
    question = _numbers([solution for solution, _ in known])
    is_hit = np.array([_first_below(s.scores, _threshold_of(threshold, s)) == error for s, error in known], np.float64)
    has_error = np.array([error is not None for _, error in known], np.float64)
    num_questions = int(question.max(initial=-1)) + 1
    # [questions]: hits and solutions with an error, the same without one
    columns = (is_hit * has_error, has_error, is_hit * (1 - has_error), 1 - has_error)
    sums = [np.bincount(question, column, num_questions) for column in columns]
    shares = ratio(*sums[:2]), ratio(*sums[2:])

    def harmonic(weights: np.ndarray) -> np.ndarray:
        first, second = (share(weights) for share in shares)
        total = first + second
        return np.where(total == 0, 0.0, 2 * first * second / np.where(total == 0, 1.0, total))

    return FirstErrors(*(bootstrap(statistic, num_questions) for statistic in (harmonic, *shares)))


def best_threshold(solutions: Sequence[JudgedSolution], first_wrong: Sequence[int | None]) -> float | None:
    """The threshold with the largest first-error F1. Judge it on other questions.

    Args:
        solutions: those that could not be scored are left out.
        first_wrong: index of each one's first wrong step; None where it has none.

    Returns:
        In (0, 1]: the middle of the lowest range of thresholds that are equally good; None where a class is missing.

    Raises:
        ValueError: as of `first_error_f1`.
    """
    ranges: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    num = {True: 0, False: 0}
    for solution, error in _scored(solutions, first_wrong):
        num[error is not None] += 1
        # The first step below t is step i for exactly those t above its score and up to the least score before it.
        low = 0.0 if error is None else solution.scores[error]
        high = min((*solution.scores[:error], 1.0))
        if low < high:
            ranges[error is not None].append((low, high))
    if not all(num.values()):
        return None
    edges = np.unique([0.0, 1.0, *(edge for kind in ranges.values() for pair in kind for edge in pair)])
    middles = (edges[:-1] + edges[1:]) / 2
    tried = np.where(middles > edges[:-1], middles, edges[1:])  # neighbouring floats have nothing between them
    shares = []
    for kind, pairs in ranges.items():
        lows, highs = (np.sort(column) for column in np.array(pairs).reshape(-1, 2).T)
        shares.append((np.searchsorted(lows, tried, 'left') - np.searchsorted(highs, tried, 'left')) / num[kind])
    total = shares[0] + shares[1]
    return float(tried[np.argmax(shares[0] * shares[1] / np.where(total == 0, 1.0, total))])


def cross_fitted_f1(
    solutions: Sequence[JudgedSolution], first_wrong: Sequence[int | None]
) -> tuple[tuple[float, float], FirstErrors] | None:
    """First-error F1 where each half of the questions is judged at the threshold that is best for the other half.

    Args:
        solutions: those that could not be scored are left out.
        first_wrong: index of each one's first wrong step; None where it has none.

    Returns:
        The thresholds that the halves 0 and 1 (`half`) were judged at, and the shares over all questions; the intervals take
        the thresholds as given. None where a half lacks solutions with or without an error.
    """
    halves: tuple[list, list] = ([], [])
    for solution, error in zip(solutions, first_wrong, strict=True):
        halves[half(solution.question_id)].append((solution, error))
    best = [best_threshold([s for s, _ in part], [error for _, error in part]) for part in halves]
    if best[0] is None or best[1] is None:
        return None
    used = (best[1], best[0])
    thresholds = {solution.question_id: used[half(solution.question_id)] for solution in solutions}
    return used, first_error_f1(solutions, first_wrong, thresholds)


def half(question_id: str) -> int:
    """The half, 0 or 1, that a question belongs to, whatever the others are."""
    return hashlib.sha256(question_id.encode(errors='surrogatepass')).digest()[0] & 1


def _first_below(scores: Sequence[float], threshold: float) -> int | None:
    return next((index for index, score in enumerate(scores) if score < threshold), None)


def _threshold_of(threshold: float | Mapping[str, float], solution: JudgedSolution) -> float:
    return threshold[solution.question_id] if isinstance(threshold, Mapping) else threshold


def _is_usable(solution: JudgedSolution) -> bool:
    """Whether it is scored; refuses scores that are not one a step."""
    if solution.scores and len(solution.scores) != len(solution.targets):
        raise ValueError(
            f'judgement: a solution of {solution.question_id!r} has {len(solution.scores)} scores and '
            f'{len(solution.targets)} targets; expected one of each a step.'
        )
    return solution.is_scored


def _only_scored(solutions: Sequence[JudgedSolution]) -> list[JudgedSolution]:
    """Those with scores."""
    return [solution for solution in solutions if _is_usable(solution)]


def _scored(solutions: Sequence[JudgedSolution], first_wrong: Sequence[int | None]) -> list[tuple[JudgedSolution, int | None]]:
    """Those with scores, and their first wrong steps, checked."""
    if len(solutions) != len(first_wrong):
        raise ValueError(f'judgement: expected a label a solution, got {len(first_wrong)} for {len(solutions)}.')
    known = [(s, error) for s, error in zip(solutions, first_wrong, strict=True) if _is_usable(s)]
    for s, error in known:
        if error is not None and not 0 <= error < len(s.scores):
            raise ValueError(f'judgement: the first wrong step of {s.question_id!r} is {error}, it has {len(s.scores)} steps.')
    return known


def _numbers(solutions: Sequence[JudgedSolution]) -> np.ndarray:
    """Number of each one's question, in the order of the ids: the order of the solutions leaves no trace."""
    place = {name: index for index, name in enumerate(sorted({solution.question_id for solution in solutions}))}
    return np.array([place[solution.question_id] for solution in solutions], np.int64)


def _steps(scored: Sequence[JudgedSolution]) -> _Steps:
    """The steps of scored solutions.

    Raises:
        ValueError: a number is not in [0, 1].
    """
    numbers = _numbers(scored)
    scores = np.array([score for solution in scored for score in solution.scores], np.float64)
    targets = np.array([target for solution in scored for target in solution.targets], np.float64)
    for name, column in (('scores', scores), ('targets', targets)):
        if len(column) and not (column.min() >= 0 and column.max() <= 1):
            raise ValueError(f'judgement: expected {name} in [0, 1], got {column.min():g} to {column.max():g}.')
    question = np.repeat(numbers, np.array([len(solution.scores) for solution in scored], np.int64))
    return _Steps(scores, targets, question, int(numbers.max(initial=-1)) + 1)


def _mean_of_steps(steps: _Steps, values: np.ndarray) -> dict[str, Any] | None:
    """The mean over steps, with an interval over questions."""
    sums, counts = (
        np.bincount(steps.question, column, steps.num_questions) for column in (values, np.ones(len(steps.question)))
    )
    return counted_interval(bootstrap(ratio(sums, counts), steps.num_questions))


def _told(found: FirstErrors) -> dict[str, Any]:
    return {name: counted_interval(value) for name, value in found._asdict().items()}
