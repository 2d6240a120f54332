"""Whether a score means what it says: reliability diagram and expected calibration error.

Scores fall into ten bins of equal width; in each the mean score is compared with the share that is right. The expected
calibration error (ECE) is the mean distance of both, weighted by how many scores a bin holds. It is never negative, so chance
alone moves it up: of few scores it is too large, and so are its resamples, which is why an interval may lie above the point.

References:
    Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxreason.core.stats import bootstrap, counted_interval, interval, ratio, rounded

NUM_BINS = 10


def calibration(scores: ArrayLike, targets: ArrayLike, question: ArrayLike) -> dict[str, Any] | None:
    """Compares scores with what they predict.

    Args:
        scores: `[values]` in [0, 1].
        targets: `[values]` in [0, 1]: 1 where it is right, 0 where it is wrong, or a soft label.
        question: `[values]`, number of the question of each, from 0 on.

    Returns:
        JSON values: `ece` with its interval, and of every bin that is not empty `low` and `high` (its edges), `count`,
        `score` (their mean) and `share` (mean target, with its interval over questions); None where there are no scores.

    Raises:
        ValueError: a score is not in [0, 1].
    """
    values, wanted, of = np.asarray(scores, np.float64), np.asarray(targets, np.float64), np.asarray(question, np.int64)
    if not len(values):
        return None
    if not (values.min() >= 0 and values.max() <= 1):  # a NaN fails too
        raise ValueError(f'calibration: expected scores in [0, 1], got {values.min():g} to {values.max():g}.')
    cells = of * NUM_BINS + np.minimum((values * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    num_questions = int(of.max()) + 1
    # [questions, bins]: how many, their scores, their targets
    counts, scored, right = (
        np.bincount(cells, column, num_questions * NUM_BINS).reshape(num_questions, NUM_BINS)
        for column in (np.ones(len(values)), values, wanted)
    )

    def error(weights: np.ndarray) -> np.ndarray:
        return np.abs(weights @ scored - weights @ right).sum(axis=1) / (weights @ counts).sum(axis=1)

    bins = []
    for index in np.flatnonzero(counts.sum(axis=0)):
        share = bootstrap(ratio(right[:, index], counts[:, index]), num_questions)
        assert share is not None, 'the bin is not empty'
        count = counts[:, index].sum()
        edges = {'low': index / NUM_BINS, 'high': (index + 1) / NUM_BINS}
        mean = {'score': rounded(scored[:, index].sum() / count), 'share': interval(share)}
        bins.append({**edges, 'count': int(count), **mean})
    return {'ece': counted_interval(bootstrap(error, num_questions)), 'bins': bins}
