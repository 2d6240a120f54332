"""Estimates with their intervals: unbiased pass@k, and the bootstrap over questions.

The question is the unit of chance. Seeds of one question are averaged first, so that ten seeds on five questions still count as
five; then whole questions are drawn again with replacement (percentile bootstrap, 95 %), from a fixed generator, so that the
same records give the same bytes. Two strategies are compared on the differences per question, which removes the part of the
noise that both share. Where the bootstrap can say nothing (one question, or every question alike) there is no interval: a
width of zero would claim certainty.

References:
    Chen et al., Evaluating Large Language Models Trained on Code, 2021 (pass@k).
    Efron, Tibshirani, An Introduction to the Bootstrap, 1993.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

NUM_RESAMPLES = 10_000
NUM_WEIGHTED_RESAMPLES = 1_000  # of statistics that are more than a mean
_RESAMPLES_AT_ONCE = 500  # keeps the index array of 1,000 questions under a few megabytes
_MOST_KEPT = 10_000_000  # weights: 80 MB
_SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over questions, or another statistic of them, with its 95 % interval.

    Attributes:
        point: the statistic; of a mean, that over questions of the mean over seeds.
        low: 2.5th percentile of the resampled values; None where there is no interval.
        high: 97.5th percentile; None where there is no interval.
        num_questions: questions that it rests on.
        num_seeds: the most seeds that a question has.
    """

    point: float
    low: float | None
    high: float | None
    num_questions: int
    num_seeds: int


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> np.ndarray:
    """Estimates the chance that at least one of `k` samples is correct, without bias: `1 - C(n-c, k) / C(n, k)`.

    Args:
        n: samples drawn, at least `k`; any shape.
        c: correct ones among them, 0 to `n`; broadcasts with `n`.
        k: samples that may be tried, at least 1.

    Returns:
        Probabilities in [0, 1], float64.

    Raises:
        ValueError: `k` is not in 1..n, or `c` not in 0..n.
    """
    drawn, correct = np.broadcast_arrays(np.asarray(n, np.int64), np.asarray(c, np.int64))
    if k < 1 or np.any(drawn < k):
        raise ValueError(f'pass@k: k must be from 1 to the samples drawn, got k={k} of {np.min(drawn, initial=k)} samples.')
    if np.any((correct < 0) | (correct > drawn)):
        raise ValueError('pass@k: the number of correct samples must be from 0 to the samples drawn.')
    none_correct = np.ones(drawn.shape)
    for tried in range(k):
        # Reaches exactly 0 once the wrong samples run out, and stays there.
        none_correct = none_correct * (drawn - correct - tried) / (drawn - tried)
    return 1.0 - none_correct


def bootstrap_mean(values: ArrayLike, num_resamples: int = NUM_RESAMPLES) -> Estimate:
    """Estimates a mean over questions with its interval.

    Args:
        values: `[questions]` or `[questions, seeds]`; NaN where a question lacks a seed.
        num_resamples: bootstrap resamples.

    Raises:
        ValueError: there is no question, or a question without any value.
    """
    table = _by_seed(values)
    means = np.nanmean(table, axis=1)
    num_questions = len(means)
    low = high = None
    if num_questions > 1 and np.ptp(means) > 0:
        low, high = (float(bound) for bound in np.percentile(_resampled_means(means, num_resamples), [2.5, 97.5]))
    return Estimate(point=float(means.mean()), low=low, high=high, num_questions=num_questions, num_seeds=table.shape[1])


def paired_difference(ours: ArrayLike, baseline: ArrayLike, num_resamples: int = NUM_RESAMPLES) -> Estimate:
    """Estimates how much better `ours` is than `baseline` on the same questions.

    Args:
        ours: `[questions]` or `[questions, seeds]`; NaN where a question lacks a seed.
        baseline: the same questions in the same order; the seeds may differ in number.
        num_resamples: bootstrap resamples.

    Raises:
        ValueError: the numbers of questions differ.
    """
    first, second = _by_seed(ours), _by_seed(baseline)
    if len(first) != len(second):
        raise ValueError(f'paired difference: expected the same questions, got {len(first)} and {len(second)}.')
    estimate = bootstrap_mean(np.nanmean(first, axis=1) - np.nanmean(second, axis=1), num_resamples)
    return dataclasses.replace(estimate, num_seeds=min(first.shape[1], second.shape[1]))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], num_questions: int, num_resamples: int = NUM_WEIGHTED_RESAMPLES
) -> Estimate | None:
    """Estimates a statistic that is no mean over questions (a ratio of sums, a rank statistic) with its interval.

    Args:
        statistic: takes `[resamples, questions]` weights, how often each question was drawn, and gives `[resamples]` values,
            NaN where it is not defined.
        num_questions: how many there are.
        num_resamples: bootstrap resamples; those in which the statistic is not defined are left out.

    Returns:
        The estimate; None where the statistic of the questions themselves is not defined.
    """
    point = float(statistic(np.ones((1, num_questions)))[0]) if num_questions else float('nan')
    if np.isnan(point):
        return None
    low = high = None
    if num_questions > 1:
        values = np.concatenate([statistic(weights) for weights in _drawn_weights(num_questions, num_resamples)])
        values = values[~np.isnan(values)]
        if len(values) and np.ptp(values) > 1e-9:  # less is rounding: every resample gave the same
            low, high = (float(bound) for bound in np.percentile(values, [2.5, 97.5]))
    return Estimate(point=point, low=low, high=high, num_questions=num_questions, num_seeds=1)


def ratio(above: np.ndarray, below: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic `sum(above) / sum(below)` of values per question, for `bootstrap`; not defined where nothing is below."""

    def statistic(weights: np.ndarray) -> np.ndarray:
        total = weights @ below
        return np.divide(weights @ above, total, out=np.full(len(weights), np.nan), where=total > 0)

    return statistic


def rounded(value: float) -> float:
    """Six digits after the point: more than any interval here can tell apart. Adding 0.0 turns -0.0 into 0.0."""
    return round(float(value), 6) + 0.0


def interval(estimate: Estimate) -> dict[str, Any]:
    """Point, low and high as JSON values."""
    fields = {name: getattr(estimate, name) for name in ('point', 'low', 'high')}
    return {name: None if value is None else rounded(value) for name, value in fields.items()}


def counted_interval(estimate: Estimate | None) -> dict[str, Any] | None:
    """`interval` with the number of questions that it rests on; None where there is no estimate."""
    return None if estimate is None else {**interval(estimate), 'num_questions': estimate.num_questions}


def _drawn_weights(num_questions: int, num_resamples: int) -> Iterator[np.ndarray]:
    """How often each question is drawn, `[resamples, questions]`, in parts of a few megabytes."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    at_once = max(1, min(_RESAMPLES_AT_ONCE, 1_000_000 // num_questions))
    for start in range(0, num_resamples, at_once):
        rows = min(at_once, num_resamples - start)
        drawn = generator.integers(0, num_questions, (rows, num_questions))
        drawn += num_questions * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * num_questions).reshape(rows, num_questions).astype(np.float64)


@functools.lru_cache(maxsize=2)
def _kept_weights(num_questions: int, num_resamples: int) -> tuple[np.ndarray, ...]:
    """`_drawn_weights`, drawn once for all the means over as many questions."""
    return tuple(_drawn_weights(num_questions, num_resamples))


def _by_seed(values: ArrayLike) -> np.ndarray:
    """`values` as float64 `[questions, seeds]` with at least one value a question."""
    table = np.asarray(values, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f'bootstrap: expected values of at least one question by seeds, got shape {table.shape}.')
    if np.any(np.all(np.isnan(table), axis=1)):
        raise ValueError('bootstrap: a question has no value at all: leave it out, and say so.')
    return table


def _resampled_means(means: np.ndarray, num_resamples: int) -> np.ndarray:
    """Means of `num_resamples` draws of all questions with replacement."""
    drawn = _kept_weights if len(means) * num_resamples <= _MOST_KEPT else _drawn_weights
    # Not a BLAS product: that adds in an order which depends on the number of threads.
    parts = [np.einsum('rq,q->r', weights, means) for weights in drawn(len(means), num_resamples)]
    return np.concatenate(parts) / len(means)
