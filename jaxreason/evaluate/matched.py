"""A small model that searches against a larger one that answers at once, at equal FLOPs: what the money of one buys the other.

A model of N parameters costs X = 6 N D_pre to pretrain and Y = 2 N D_inf to use; one of M N parameters costs M times as much of
both. R = D_inf / D_pre says how much a model is used in its life. For what the larger one costs with s samples a question the
small one may draw k:

    X + k Y = M (X + s Y)   =>   k = s M + (c / R) (M - 1)

with c = 3; the ICLR version of the paper doubles Y, which pays for the verifier, so c = 1.5. `spent` counts what really was
spent instead: the training of both sides and the FLOPs of every question, so that its budget is FLOPs, not solutions. All three
read `budget = floor + slope / R`: the floor is left when a model is used so much that its training does not matter.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 7.
"""

import enum
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.allocation.saving import resampled_weights
from jaxreason.core.stats import rounded


class Convention(enum.StrEnum):
    """How FLOPs are counted."""

    ARXIV = 'arxiv'
    ICLR = 'iclr'
    SPENT = 'spent'


_TRAINING_SHARE = {Convention.ARXIV: 3.0, Convention.ICLR: 1.5}  # X / Y at R = 1


class Terms(NamedTuple):
    """What the money of the larger model buys the small one, for one question.

    Attributes:
        floor: the budget that is left as R grows; solutions, or FLOPs.
        slope: what training costs more, as part of the budget at R = 1.
    """

    floor: float
    slope: float

    def budget(self, ratio: float) -> float:
        """The budget at R.

        Raises:
            ValueError: R is not above 0.
        """
        if not ratio > 0:
            raise ValueError(f'R (tokens of inference / tokens of pretraining) must be above 0, got {ratio:g}.')
        return self.floor + self.slope / ratio

    def ratio(self, budget: np.ndarray) -> np.ndarray:
        """The R at which a budget is what the money buys; infinite at the floor."""
        beyond = np.asarray(budget, np.float64) - self.floor
        return np.divide(self.slope, beyond, out=np.full(beyond.shape, np.inf), where=beyond > 0)


def paper_terms(size_ratio: float, convention: Convention, samples: int = 1) -> Terms:
    """The paper's terms, in solutions of the small model.

    Args:
        size_ratio: M, parameters of the larger model / those of the small one, at least 1.
        convention: one of the paper's two.
        samples: s, that the larger model draws for one answer.

    Raises:
        ValueError: the size ratio is below 1, there is no sample, or the convention does not count solutions.
    """
    if convention not in _TRAINING_SHARE:
        raise ValueError(f'{convention} counts FLOPs, not solutions: expected {" or ".join(_TRAINING_SHARE)}.')
    if not size_ratio >= 1:
        raise ValueError(f'size_ratio must be at least 1 (parameters, larger model / small one), got {size_ratio:g}.')
    if samples < 1:
        raise ValueError(f'the larger model must draw at least 1 sample, got {samples}.')
    return Terms(samples * size_ratio, _TRAINING_SHARE[convention] * (size_ratio - 1))


def spent_terms(
    *, small_training: float, large_training: float, large_flops: float, tokens_per_answer: float, training_tokens: float
) -> Terms:
    """Terms by what really was spent, in FLOPs a question.

    Over a life of Q questions the larger side spends X_large + Q f_large; R = Q tokens_per_answer / training_tokens.

    Args:
        small_training: FLOPs of all training of the small side, its verifier and the labels of that included.
        large_training: FLOPs of all training of the larger side.
        large_flops: f_large, FLOPs that the larger model spends on a question.
        tokens_per_answer: that it draws for a greedy answer.
        training_tokens: that it was trained on, D_pre.
    """
    return Terms(large_flops, (large_training - small_training) * tokens_per_answer / training_tokens)


def multiplier(size_ratio: float, ratio: float, convention: Convention, samples: int = 1) -> float:
    """Solutions of the small model that the money of the larger one buys; arguments and errors as of `paper_terms`."""
    return paper_terms(size_ratio, convention, samples).budget(ratio)


class Curve(NamedTuple):
    """What the small model reaches under every budget.

    Attributes:
        budgets: solutions a question, ascending.
        correct: `[budgets, questions, seeds]` in [0, 1].
        flops: `[budgets, questions, seeds]` spent, verifier and difficulty estimate included.
    """

    budgets: tuple[int, ...]
    correct: np.ndarray
    flops: np.ndarray


class Rival(NamedTuple):
    """One way in which the larger model answers.

    Attributes:
        samples: that it draws for an answer.
        correct: `[questions, seeds]` in [0, 1]; one that draws nothing at random is the same under every seed.
        flops: `[questions, seeds]` spent.
    """

    samples: int
    correct: np.ndarray
    flops: np.ndarray


def paid(costs: Sequence[float], budget: float) -> int | None:
    """Which of the costs is the largest that a budget pays, never more; None where it pays none."""
    within = [index for index, cost in enumerate(costs) if cost <= budget * (1 + 1e-12)]
    return max(within, key=lambda index: costs[index], default=None)


class Accuracies(NamedTuple):
    """Accuracy of everything in every group of questions, of the questions themselves and of resamples.

    Attributes:
        curves: `[1 + resamples, groups, budgets]` by curve; row 0 is what was measured.
        rivals: `[1 + resamples, groups]` by rival.
        num_questions: `[groups]`.
    """

    curves: Mapping[str, np.ndarray]
    rivals: Mapping[str, np.ndarray]
    num_questions: tuple[int, ...]


def accuracies(
    inside_gq: np.ndarray, small: Mapping[str, Curve], large: Mapping[str, Rival], num_resamples: int, seed: int = 0
) -> Accuracies:
    """Averages over groups of questions, and does so again for questions and seeds drawn with replacement.

    Both sides are drawn together, so that what both find hard does not count as noise. Within a drawn question its seeds are
    drawn with replacement too.

    Args:
        inside_gq: `[groups, questions]` whether a question belongs to a group.
        small: curves of the small model.
        large: the larger model.
        num_resamples: bootstrap resamples.
        seed: of their draws.

    Returns:
        Accuracies; NaN where a resample has no question of a group.

    Raises:
        ValueError: the arrays are not of the same questions and seeds.
    """
    columns = [*(part for curve in small.values() for part in curve.correct), *(rival.correct for rival in large.values())]
    shapes = {column.shape for column in columns}
    if len(shapes) != 1 or inside_gq.shape[1:] != next(iter(shapes))[:1]:
        raise ValueError(f'expected the same questions and seeds on both sides, got shapes {sorted(shapes)}.')
    num_questions, num_seeds = next(iter(shapes))
    table = np.stack([column.reshape(-1) for column in columns], axis=1)  # [questions * seeds, columns]
    rows = np.repeat(inside_gq, num_seeds, axis=1).astype(np.float64)
    itself = np.ones(num_questions * num_seeds)
    resampled = resampled_weights(num_questions, num_seeds, num_resamples, seed)
    found = np.stack([_means(weights, rows, table) for weights in itertools.chain([itself], resampled)])
    curves, first = {}, 0
    for name, curve in small.items():
        curves[name], first = found[:, :, first : first + len(curve.budgets)], first + len(curve.budgets)
    rivals = {name: found[:, :, first + index] for index, name in enumerate(large)}
    return Accuracies(curves, rivals, tuple(int(number) for number in inside_gq.sum(axis=1)))


def _means(weights: np.ndarray, rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """`[groups, columns]` weighted means."""
    weighted = rows * weights
    held = weighted.sum(axis=1, keepdims=True)
    sums = weighted @ table
    return np.divide(sums, held, out=np.full(sums.shape, np.nan), where=held > 0)


class Span(NamedTuple):
    """A number with its 95 % interval; None where it is not defined, or all resamples agree."""

    point: float | None
    low: float | None
    high: float | None


def difference(small: np.ndarray, large: np.ndarray) -> Span:
    """`small - large` of accuracies `[1 + resamples]`, in percentage points."""
    return _span(100 * (small - large))


def relative_gain(small: np.ndarray, large: np.ndarray) -> Span:
    """`100 (small - large) / large` of accuracies `[1 + resamples]`; not defined where the larger model gets nothing right."""
    return _span(100 * np.divide(small - large, large, out=np.full(large.shape, np.nan), where=large > 0))


def _span(values: np.ndarray) -> Span:
    if math.isnan(values[0]):
        return Span(None, None, None)
    resampled = values[1:][~np.isnan(values[1:])]
    if not len(resampled) or np.ptp(resampled) < 1e-9:
        return Span(rounded(values[0]), None, None)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Span(rounded(values[0]), rounded(low), rounded(high))


class Parity(NamedTuple):
    """An R up to which the small model is at least as good.

    Attributes:
        ratio: R; None where it is censored.
        censored: 'always': it is at the floor too, so at any R. 'never': not even with the largest budget measured.
            'at_least': with the smallest budget measured, which R still pays; '' where the curves cross.
    """

    ratio: float | None
    censored: str


class BreakEven(NamedTuple):
    """The R at which both are equally good, with its 95 % interval; its bounds may be censored too.

    Attributes:
        point: as measured.
        low: 2.5th percentile.
        high: 97.5th percentile.
        always: share of the resamples in which the small model is at least as good at any R.
        never: share in which it never is.
    """

    point: Parity
    low: Parity
    high: Parity
    always: float
    never: float


def break_even(costs: Sequence[float], small: np.ndarray, large: np.ndarray, terms: Terms) -> BreakEven | None:
    """Finds the R up to which the small model is at least as good, read off between two budgets along the log of the budget.

    Args:
        costs: of the budgets, ascending, in the unit of the terms.
        small: `[1 + resamples, budgets]` accuracy, row 0 as measured.
        large: `[1 + resamples]` accuracy.
        terms: what the money buys.

    Returns:
        The break-even; None where there is none to find: no question, or training that costs the small side as much.
    """
    if terms.slope <= 0 or math.isnan(large[0]):
        return None
    ratios = _ratios(np.asarray(costs, np.float64), small, large, terms)
    least = float(terms.ratio(np.array(costs[0])))
    order = np.sort(ratios[1:][~np.isnan(ratios[1:])])
    low, high = (
        _parity(ratios[0] if not len(order) else order[round(share * (len(order) - 1))], least) for share in (0.025, 0.975)
    )
    shares = [rounded(np.mean(order == value)) if len(order) else 0.0 for value in (np.inf, 0)]
    return BreakEven(_parity(ratios[0], least), low, high, *shares)


def _ratios(costs: np.ndarray, small: np.ndarray, large: np.ndarray, terms: Terms) -> np.ndarray:
    """`[1 + resamples]` R; infinite for always, 0 for never, NaN where there is no question."""
    beyond = costs > terms.floor
    logs, values = np.log(costs[beyond]), small[:, beyond]
    starts_at_floor = terms.floor >= costs[0]
    if starts_at_floor:  # what the curve says at the floor; its last point where the floor lies beyond it
        log_floor = math.log(terms.floor)
        at_floor = np.array([np.interp(log_floor, np.log(costs), row) for row in small])
        logs, values = np.concatenate([[log_floor], logs]), np.concatenate([at_floor[:, None], values], axis=1)
    reached = values >= large[:, None] - 1e-12
    place = reached.argmax(axis=1)
    before = np.maximum(place - 1, 0)
    rows = np.arange(len(values))
    rise = values[rows, place] - values[rows, before]
    share = np.divide(large - values[rows, before], rise, out=np.ones(len(rows)), where=rise > 0)
    ratios = terms.ratio(np.exp(logs[before] + share * (logs[place] - logs[before])))
    ratios[(place == 0) & starts_at_floor] = np.inf
    ratios[~reached.any(axis=1)] = 0
    return np.where(np.isnan(large) | np.isnan(values).any(axis=1), np.nan, ratios)


def _parity(ratio: float, least: float) -> Parity:
    if math.isinf(ratio):
        return Parity(None, 'always')
    if ratio == 0:
        return Parity(None, 'never')
    return Parity(float(f'{ratio:.6g}'), 'at_least' if math.isclose(ratio, least) else '')
