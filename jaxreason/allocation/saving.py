"""What a curve of accuracy against FLOPs saves over another: the headline of compute-optimal search, with its interval.

`saving` = FLOPs of the reference strategy at N_ref / FLOPs at which the curve first reaches the reference's accuracy, read off
between two budgets along the logarithm of FLOPs. A curve that is there with its smallest budget saves *at least* so much; one
that never gets there *at most* as much as its largest budget says.

Chance is in questions and in draws: a resample draws questions with replacement, and for each the seeds of its draws. What is
chosen (bins, estimate, table) is chosen again in every resample.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxreason.core.stats import rounded

_AT_ONCE = 100  # resamples whose weights are made together


class Saving(NamedTuple):
    """Times fewer FLOPs.

    Attributes:
        times: the factor; a bound where it is censored.
        censored: 'at_least' or 'at_most' where the curve never shows the point itself; '' where it does.
    """

    times: float
    censored: str = ''


def saving(flops: np.ndarray, correct: np.ndarray, target: float, reference_flops: float) -> Saving:
    """How much less a curve spends to be as good.

    Args:
        flops: `[budgets]` spent a question.
        correct: `[budgets]` accuracy.
        target: accuracy to reach.
        reference_flops: what the reference spends a question to reach it.
    """
    order = np.argsort(flops, kind='stable')
    flops, correct = flops[order], correct[order]
    there = np.flatnonzero(correct >= target)
    if not len(there):
        return Saving(reference_flops / flops[-1], 'at_most')
    place = there[0]
    if place == 0:
        return Saving(reference_flops / flops[0], 'at_least')
    before = place - 1
    share = (target - correct[before]) / (correct[place] - correct[before])
    reached = math.log(flops[before]) + share * (math.log(flops[place]) - math.log(flops[before]))
    return Saving(reference_flops / math.exp(reached))


def saving_interval(point: Saving, resampled: list[Saving]) -> dict[str, object]:
    """A saving with its 95 % interval as JSON values.

    What is behind a bound is not known, so the ends are those of the worst case: for the low end a resample that never gets
    there saves nothing, for the high end one that is there at once saves without limit. Where that leaves an end nowhere, it is
    the bound that the resamples do allow, and says so.
    """
    low, high = _low(resampled, 0.025), _high(resampled, 0.975)
    return {
        'point': rounded(point.times),
        'low': rounded(low.times),
        'high': rounded(high.times),
        'censored': point.censored,
        'low_censored': low.censored,
        'high_censored': high.censored,
        'never_reached': rounded(sum(each.censored == 'at_most' for each in resampled) / len(resampled)),
    }


def _low(resampled: list[Saving], share: float) -> Saving:
    found = _percentile(resampled, _least, share)
    if found.censored != 'at_most':
        return found
    most = _most(_percentile(resampled, _most, share))
    return Saving(most, 'at_most') if math.isfinite(most) else Saving(0.0, 'at_least')


def _high(resampled: list[Saving], share: float) -> Saving:
    found = _percentile(resampled, _most, share)
    if found.censored != 'at_least':
        return found
    return Saving(_least(_percentile(resampled, _least, share)), 'at_least')


def _least(each: Saving) -> float:
    """What a saving is at least."""
    return 0.0 if each.censored == 'at_most' else each.times


def _most(each: Saving) -> float:
    """What a saving is at most."""
    return math.inf if each.censored == 'at_least' else each.times


def _percentile(resampled: list[Saving], value: Callable[[Saving], float], share: float) -> Saving:
    return sorted(resampled, key=value)[round(share * (len(resampled) - 1))]


def resampled_weights(num_questions: int, num_seeds: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often every question counts under every seed, `[questions * seeds]`, one resample after the other.

    Questions are drawn with replacement, and for each drawn one as many of its seeds; the weights of a question that was drawn
    once add up to 1.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, num_resamples, _AT_ONCE):
        number = min(_AT_ONCE, num_resamples - start)
        drawn = generator.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=number)
        seeds = generator.multinomial(drawn * num_seeds, np.full(num_seeds, 1 / num_seeds))
        yield from (seeds / num_seeds).reshape(number, num_questions * num_seeds)


def percentiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5th and 97.5th percentiles over the first axis, the resamples."""
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return low, high
