"""Spreads a budget over the bins of difficulty: every FLOP goes where it still buys the most right answers.

The curve of a bin is the upper concave hull of its cells in (FLOPs, accuracy): below it, another cell or a mixture of two does
better. Along the hulls the gain of a FLOP only falls, so taking the steepest steps first is the best for every budget that
they use up; the last step is taken if it fits.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np


def spread(correct: np.ndarray, flops: np.ndarray, weight: np.ndarray, budgets: Iterable[float]) -> list[list[int]]:
    """Chooses a cell for every bin, for each of several budgets.

    Args:
        correct: `[bins, cells]` accuracy.
        flops: `[bins, cells]` spent a question.
        weight: `[bins]` share of the questions; a bin without any costs nothing.
        budgets: FLOPs a question, on average.

    Returns:
        For each budget, the index of the cell of every bin. Where it does not even pay the cheapest ones, these.
    """
    hulls = [hull(*row) for row in zip(correct, flops, strict=True)]
    cheapest = [cells[0] for cells in hulls]
    base = float(weight @ flops[range(len(hulls)), cheapest])
    steps: list[tuple[float, int, int, float]] = []  # steepness, bin, cell, price
    for index, (cells, right, price) in enumerate(zip(hulls, correct.tolist(), flops.tolist(), strict=True)):
        for at, to in itertools.pairwise(cells):
            run = price[to] - price[at]
            steps.append(((right[to] - right[at]) / run, index, to, float(weight[index]) * run))
    steps.sort(key=lambda step: -step[0])  # on a hull steepness falls: the steps of a bin stay in order
    return [_taken(steps, list(cheapest), base, budget) for budget in budgets]


def _taken(steps: Iterable[tuple[float, int, int, float]], chosen: list[int], spent: float, budget: float) -> list[int]:
    closed: set[int] = set()  # bins whose next step did not fit: what comes after it would skip it
    for _, index, to, price in steps:
        if index in closed:
            continue
        if spent + price > budget:
            closed.add(index)
            continue
        chosen[index], spent = to, spent + price
    return chosen


def hull(correct: np.ndarray, flops: np.ndarray) -> list[int]:
    """The cells on the upper concave hull of one bin, from the cheapest to the most accurate.

    Args:
        correct: `[cells]` accuracy.
        flops: `[cells]` spent a question.
    """
    right, price = correct.tolist(), flops.tolist()
    kept: list[int] = []
    for cell in sorted(range(len(right)), key=lambda cell: (price[cell], -right[cell])):
        if kept and right[cell] <= right[kept[-1]]:
            continue
        while len(kept) >= 2 and _slope(right, price, kept[-1], cell) >= _slope(right, price, kept[-2], kept[-1]):
            kept.pop()
        kept.append(cell)
    return kept


def _slope(correct: Sequence[float], flops: Sequence[float], at: int, to: int) -> float:
    rise, run = correct[to] - correct[at], flops[to] - flops[at]
    return rise / run if run > 0 else math.inf
