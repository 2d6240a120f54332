"""Spreads a budget over the bins of difficulty: every FLOP goes where it still buys the most right answers.

The curve of a bin is the upper concave hull of its cells in (FLOPs, accuracy): below it, another cell or a mixture of two does
better. Along the hulls the gain of a FLOP only falls, so taking the steepest steps first is the best for every budget that
they use up; the last step is taken if it fits.
"""

import numpy as np


def spread(correct: np.ndarray, flops: np.ndarray, weight: np.ndarray, budget: float) -> list[int]:
    """Chooses a cell for every bin.

    Args:
        correct: `[bins, cells]` accuracy.
        flops: `[bins, cells]` spent a question.
        weight: `[bins]` share of the questions; a bin without any costs nothing.
        budget: FLOPs a question, on average.

    Returns:
        Index of the cell of every bin. Where the budget does not even pay the cheapest ones, these.
    """
    hulls = [hull(correct[index], flops[index]) for index in range(len(weight))]
    chosen = [cells[0] for cells in hulls]
    spent = sum(weight[index] * flops[index, cells[0]] for index, cells in enumerate(hulls))
    steps = [
        (-(correct[index, to] - correct[index, at]) / (flops[index, to] - flops[index, at]), index, place)
        for index, cells in enumerate(hulls)
        for place, (at, to) in enumerate(zip(cells, cells[1:], strict=False))
    ]
    closed: set[int] = set()  # bins whose next step did not fit: what comes after it would skip it
    for _, index, place in sorted(steps):
        at, to = hulls[index][place : place + 2]
        price = weight[index] * (flops[index, to] - flops[index, at])
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
    kept: list[int] = []
    for cell in np.lexsort((-correct, flops)):
        if kept and correct[cell] <= correct[kept[-1]]:
            continue
        while len(kept) >= 2 and _slope(correct, flops, kept[-1], cell) >= _slope(correct, flops, kept[-2], kept[-1]):
            kept.pop()
        kept.append(int(cell))
    return kept


def _slope(correct: np.ndarray, flops: np.ndarray, at: int, to: int) -> float:
    rise, run = correct[to] - correct[at], flops[to] - flops[at]
    return rise / run if run > 0 else np.inf
