"""How far an estimate of difficulty agrees with the oracle: rank correlation of what both say of the same questions."""

from typing import Any

import numpy as np

from jaxreason.core.stats import bootstrap, interval

_RESAMPLES = 500


def spearman(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any] | None:
    """Rank correlation with its interval, by a bootstrap over questions.

    Args:
        ours: `[questions]` or `[questions, seeds]`, larger the easier.
        theirs: the same of the oracle.

    Returns:
        Point, low and high as JSON values; None where one of them says the same of all questions.
    """
    first, second = (np.unique(values, return_inverse=True)[1].ravel() for values in (ours, theirs))
    num_rows = ours.size // len(ours)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array([_correlation(first, second, np.repeat(row, num_rows)) for row in weights])

    estimate = bootstrap(statistic, len(ours), _RESAMPLES)
    return None if estimate is None else interval(estimate)


def _correlation(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray) -> float:
    """Of the ranks of weighted rows, which are those of rows that are repeated so often, without sorting them each time."""
    first, second = (_centred_ranks(groups, weights) for groups in (ours, theirs))
    spread = (weights @ first**2) * (weights @ second**2)
    return float(weights @ (first * second) / np.sqrt(spread)) if spread > 0 else float('nan')


def _centred_ranks(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Equals share the middle of their places; the weighted mean is 0."""
    held = np.bincount(groups, weights)
    return (np.cumsum(held) - held / 2 - held.sum() / 2)[groups]
