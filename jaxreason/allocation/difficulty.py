"""How hard a question is for a policy: bins by the share of its samples that are right, level 1 the easiest.

The bins are those of an oracle: they use the right answer, so they bound what a table by difficulty can reach. Bins are of
equal size, as far as questions can be told apart: those with equal pass rates share a bin, and the whole group goes where its
middle falls, to the easier side where that is exactly a boundary. So a group of ten around the boundary of the two hardest bins
of 500 questions gives 100, 100, 100, 105 and 95, the sizes of the paper. A value then finds its level as in Hugging Face's
search-and-learn (below the first cut 5, below the second 4, ..., else 1); there, however, a group at a boundary always goes to
the easier side, which leaves the hardest bin empty as soon as a policy never solves a fifth of the questions.

Samples that set a bin must never be samples that are scored: a question lucky in its samples would look easy and right at once.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 3.2 and appendix E (2,048 samples a question).
"""

import bisect
import collections
import math
from collections.abc import Iterable, Mapping

from jaxreason.core.records import Pool
from jaxreason.core.types import Verdict

NUM_BINS = 5


def pass_rates(pools: Iterable[Pool]) -> dict[str, float]:
    """The share of right samples of every question, all seeds together; what could not be judged counts as not right.

    Args:
        pools: independent samples, graded; a question may have several pools.

    Returns:
        Shares in [0, 1] by question; equal shares are equal floats, whatever the number of samples.

    Raises:
        ValueError: the samples of a pool are not independent, or a question has none.
    """
    right, drawn = collections.Counter[str](), collections.Counter[str]()
    for pool in pools:
        if pool.chosen is not None:
            raise ValueError(f'difficulty: expected independent samples, got those of a search ({pool.pool!r}).')
        if any(candidate.revises is not None for candidate in pool.candidates):
            raise ValueError(f'difficulty: expected independent samples, got revisions ({pool.pool!r}): leave these out.')
        right[pool.question_id] += sum(candidate.verdict == Verdict.CORRECT for candidate in pool.candidates)
        drawn[pool.question_id] += len(pool.candidates)
    for question, number in drawn.items():
        if not number:
            raise ValueError(f'difficulty: expected samples of every question, got none of {question!r}.')
    return {question: right[question] / number for question, number in drawn.items()}


def cut_points(values: Iterable[float], num_bins: int = NUM_BINS) -> tuple[float, ...]:
    """Where bins of equal size meet: the least value of every bin but the hardest.

    Args:
        values: of all questions, larger the easier; at least one.
        num_bins: at least 1.

    Returns:
        `num_bins - 1` values, ascending: of the second hardest bin first. Two are equal where a bin between them is empty, and
        infinite where no value lies so high.

    Raises:
        ValueError: there is no value or no bin.
    """
    counts = collections.Counter(values)
    total = counts.total()
    if not total or num_bins < 1:
        raise ValueError(f'difficulty: expected at least one value and one bin, got {total} values and {num_bins} bins.')
    cuts = [math.inf] * (num_bins - 1)
    below = 0
    for value in sorted(counts):
        # The bin in which the middle of the group lies, counted from the hardest; whole numbers, so that no rounding decides.
        place = num_bins * (2 * below + counts[value]) // (2 * total)
        for boundary in range(place):
            cuts[boundary] = min(cuts[boundary], value)
        below += counts[value]
    return tuple(cuts)


def level_of(value: float, cuts: tuple[float, ...]) -> int:
    """The level of a value, 1 the easiest: one less than the number of bins for every cut that it reaches."""
    return len(cuts) + 1 - bisect.bisect_right(cuts, value)


def levels(values: Mapping[str, float], num_bins: int = NUM_BINS) -> dict[str, int]:
    """The level of every question from its value; see `cut_points`."""
    cuts = cut_points(values.values(), num_bins)
    return {question: level_of(value, cuts) for question, value in values.items()}
