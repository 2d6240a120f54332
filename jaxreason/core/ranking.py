"""Rank statistics with intervals: AUC and Spearman's correlation, over everything or within questions.

Within a question is what decides a search: an AUC over everything also rewards knowing which questions are hard. Intervals draw
whole questions again; each resample is a set of weights over values that are sorted once, so a million values are no hurdle.

References:
    Mann, Whitney, On a Test of Whether One of Two Random Variables is Stochastically Larger than the Other, 1947.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from jaxreason.core.stats import NUM_WEIGHTED_RESAMPLES, Estimate, bootstrap, bootstrap_mean


def auc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Chance that a positive one of a random pair has the higher score, ties as one half.

    Args:
        scores: `[values]`.
        is_positive: `[values]`, booleans.

    Returns:
        In [0, 1]; None where all or none are positive.
    """
    values, positive = np.asarray(scores, np.float64), np.asarray(is_positive, bool)
    below, up_to = _beaten(values[positive], np.sort(values[~positive]))
    pairs = len(below) * (len(values) - len(below))
    return float((below.sum() + up_to.sum()) / (2 * pairs)) if pairs else None


def pooled_auc(
    scores: ArrayLike, is_positive: ArrayLike, question: ArrayLike, num_resamples: int = NUM_WEIGHTED_RESAMPLES
) -> Estimate | None:
    """AUC over all pairs, of one question or of two, with an interval over questions.

    Args:
        scores: `[values]`.
        is_positive: `[values]`, booleans.
        question: `[values]`, number of the question of each, from 0 on; every number up to the largest is there.
        num_resamples: bootstrap resamples.

    Returns:
        The estimate; None where all or none are positive.
    """
    values, positive, of = np.asarray(scores, np.float64), np.asarray(is_positive, bool), np.asarray(question, np.int64)
    order = np.argsort(values, kind='stable')
    values, positive, of = values[order], positive[order], of[order]
    below, up_to = _beaten(values[positive], values[~positive])
    winners, losers = of[positive], of[~positive]

    def statistic(weights: np.ndarray) -> np.ndarray:
        found = np.full(len(weights), np.nan)
        for row, weight in enumerate(weights):
            reached = np.concatenate([[0.0], np.cumsum(weight[losers])])  # weight of the losers up to each, as they are sorted
            wins = weight[winners]
            pairs = wins.sum() * reached[-1]
            if pairs:
                found[row] = wins @ (reached[below] + reached[up_to]) / (2 * pairs)
        return found

    return bootstrap(statistic, int(of.max(initial=-1)) + 1, num_resamples)


def within_question(
    statistic: Callable[[np.ndarray, np.ndarray], float | None], x: ArrayLike, y: ArrayLike, question: ArrayLike
) -> Estimate | None:
    """The mean over questions of a statistic of two columns.

    Args:
        statistic: `auc` or `spearman`.
        x: `[values]`, its first argument.
        y: `[values]`, its second.
        question: `[values]`, number of the question of each.

    Returns:
        The estimate, over the questions in which the statistic is defined; None where there is none.
    """
    first, second = np.asarray(x), np.asarray(y)
    found = [statistic(first[rows], second[rows]) for rows in _groups(np.asarray(question, np.int64))]
    values = [value for value in found if value is not None]
    return bootstrap_mean(values) if values else None


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where one of both is constant."""
    ranks = [_Ranks(np.asarray(column, np.float64)) for column in (x, y)]
    once = np.ones(len(ranks[0].order))
    value = _correlation(ranks[0].ranks(once), ranks[1].ranks(once), once)
    return None if np.isnan(value) else value


def pooled_spearman(
    x: ArrayLike, y: ArrayLike, question: ArrayLike, num_resamples: int = NUM_WEIGHTED_RESAMPLES
) -> Estimate | None:
    """Spearman's correlation over all values with an interval over questions; None where one of both is constant.

    Args:
        x: `[values]`.
        y: `[values]`.
        question: `[values]`, number of the question of each, from 0 on.
        num_resamples: bootstrap resamples.
    """
    of = np.asarray(question, np.int64)
    ranks = [_Ranks(np.asarray(column, np.float64)) for column in (x, y)]

    def statistic(weights: np.ndarray) -> np.ndarray:
        rows = [weight[of] for weight in weights]
        return np.array([_correlation(ranks[0].ranks(row), ranks[1].ranks(row), row) for row in rows])

    return bootstrap(statistic, int(of.max(initial=-1)) + 1, num_resamples)


def _beaten(winners: np.ndarray, losers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the sorted losers are below each winner, and how many below or equal."""
    return np.searchsorted(losers, winners, side='left'), np.searchsorted(losers, winners, side='right')


def _groups(question: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the values of each question."""
    order = np.argsort(question, kind='stable')
    cuts = np.flatnonzero(np.diff(question[order])) + 1
    yield from np.split(order, cuts) if len(order) else ()


class _Ranks:
    """Mean ranks of a column under weights: sorted once, ranked for every resample."""

    def __init__(self, column: np.ndarray):
        self.order = np.argsort(column, kind='stable')
        ordered = column[self.order]
        self._below, self._up_to = _beaten(column, ordered)

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Weight below each value plus half of that at it."""
        reached = np.concatenate([[0.0], np.cumsum(weights[self.order])])
        return (reached[self._below] + reached[self._up_to]) / 2


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Pearson's correlation under weights; NaN where one of both is constant."""
    total = weights.sum()
    if not total:
        return float('nan')
    x, y = x - weights @ x / total, y - weights @ y / total
    spread = (weights @ (x * x)) * (weights @ (y * y))
    # Ranks and weights are halves of counts: of a constant column all differences from the mean are exactly 0.
    return float(weights @ (x * y) / np.sqrt(spread)) if spread > 0 else float('nan')
