"""How far an estimate of difficulty agrees with the oracle: rank correlation of what both say of the same questions."""

from typing import Any

import numpy as np
import scipy.stats

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

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.array([_correlation(ours, theirs, row) for row in weights])

    estimate = bootstrap(statistic, len(ours), _RESAMPLES)
    return None if estimate is None else interval(estimate)


def _correlation(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray) -> float:
    drawn = np.repeat(np.arange(len(ours)), weights.astype(int))
    first, second = ours[drawn].ravel(), theirs[drawn].ravel()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float('nan')
    return float(scipy.stats.spearmanr(first, second).statistic)
