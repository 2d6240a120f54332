"""Chooses a strategy per bin of difficulty and budget, on some questions, and finds what that is worth on others.

Two ways to spend:

- `per_question`: no question gets more solutions than the budget n (the paper's). Of the cells that n pays, a bin gets the one
  with the highest accuracy, the cheapest of equals.
- `average`: all questions together get as many FLOPs as the reference strategy takes for n solutions each (a hundredth more is
  let pass), and the bins share them out by how much a FLOP still buys there (`spread`): easy questions need little, hopeless
  ones deserve little.

What looking at a question costs is charged in both: in solutions where they are limited, in FLOPs everywhere. Accuracy is that
on folds of questions that neither the bins nor the choice have seen.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, sections 3 and 5.3 (two-fold choice per bin and budget).
"""

import dataclasses
import enum
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.allocation.spread import spread

# Strategies of one verifier and n spend within a thousandth of each other: none should lose its place to that.
_LENIENCE = 1.01


class Mode(enum.StrEnum):
    """What a budget limits."""

    PER_QUESTION = 'per_question'
    AVERAGE = 'average'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Looks:
    """What an estimate of difficulty says of every question, and what going by it costs.

    Attributes:
        name: of the estimate.
        values: `[rows]`, larger the easier; a row is a question under a seed.
        correct: `[rows, cells]` right answers of every cell, as far as they go with this look.
        flops: `[rows, cells]` spent, the look included.
        generations: `[cells]` solutions begun at most, those looked at included.
        cuts: absolute least values of every bin but the hardest; empty for bins of equal size.
        flops_alone: that a look takes a question where nothing of it is used again; 0 where it is not charged.
    """

    name: str
    values: np.ndarray
    correct: np.ndarray
    flops: np.ndarray
    generations: np.ndarray
    cuts: tuple[float, ...] = ()
    flops_alone: float = 0.0

    def __post_init__(self):
        distinct, groups = np.unique(self.values, return_inverse=True)
        object.__setattr__(self, 'distinct', distinct)  # ascending
        object.__setattr__(self, 'groups', groups)

    def cut(self, weights_r: np.ndarray, num_bins: int) -> np.ndarray:
        """Where bins are cut that hold equal weight; `difficulty.cut_points` for weighted rows."""
        if self.cuts:
            return np.array(self.cuts)
        distinct, groups = vars(self)['distinct'], vars(self)['groups']
        held = np.bincount(groups, weights_r, len(distinct))
        present = held > 0
        below = np.cumsum(held) - held
        # The bin in which the middle of each group lies, counted from the hardest.
        place = np.floor(num_bins * (below + held / 2) / max(held.sum(), 1e-12) + 1e-9).astype(int)
        cuts = np.full(num_bins - 1, np.inf)
        for boundary in range(num_bins - 1):
            above = distinct[present & (place > boundary)]
            cuts[boundary] = above[0] if len(above) else np.inf
        return cuts

    def levels(self, cuts: np.ndarray) -> np.ndarray:
        """`[rows]` bins counted from 0, the easiest."""
        return len(cuts) - np.searchsorted(cuts, self.values, side='right')


class Choice(NamedTuple):
    """What was chosen on some questions.

    Attributes:
        cuts: of the values.
        cells: `[budgets, bins]` index of the cell, the easiest bin first.
        is_looking: `[budgets]` whether it pays to look; where it does not, all bins have the same cell and nothing is charged.
        weight: `[bins]` share of the rows.
        correct: `[bins, cells]` mean over the rows of a bin.
        flops: `[bins, cells]` mean over the rows of a bin.
        value: mean accuracy over the budgets where it was chosen: optimistic, alike for all estimates.
    """

    cuts: np.ndarray
    cells: np.ndarray
    is_looking: np.ndarray
    weight: np.ndarray
    correct: np.ndarray
    flops: np.ndarray
    value: float

    def only_where(self, pays: np.ndarray, task: 'Task', weights_r: np.ndarray) -> 'Choice':
        """The same, but not looking at the other budgets, `[budgets]`."""
        is_looking = self.is_looking & pays
        cells = np.where(is_looking[:, None], self.cells, task.best_fixed(weights_r)[:, None])
        return self._replace(is_looking=is_looking, cells=cells)


class Sums(NamedTuple):
    """Weighted sums over the rows that something was scored on; they add over folds.

    Attributes:
        correct: `[budgets]`
        flops: `[budgets]`
        weight: of the rows.
    """

    correct: np.ndarray
    flops: np.ndarray
    weight: float

    def __add__(self, other: 'Sums') -> 'Sums':  # type: ignore[override]  # of what they hold, not of tuples
        return Sums(self.correct + other.correct, self.flops + other.flops, self.weight + other.weight)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is fitted.

    Attributes:
        budgets: n, ascending.
        mode: what a budget limits.
        num_bins: bins of equal size, where an estimate has no cuts of its own.
        reference: index of the cell of the reference strategy at every budget; what it spends is an average budget.
        flops: `[rows, cells]` of the cells themselves.
        correct: `[rows, cells]` of the cells themselves.
        generations: `[cells]` of the cells themselves.
        grid: indices of the cells to choose from.
        folds: `[rows]` fold of every row's question.
    """

    budgets: tuple[int, ...]
    mode: Mode
    num_bins: int
    reference: tuple[int, ...]
    flops: np.ndarray
    correct: np.ndarray
    generations: np.ndarray
    grid: np.ndarray
    folds: np.ndarray

    def limits(self, weights_r: np.ndarray) -> np.ndarray:
        """`[budgets]` what a budget allows: solutions a question, or FLOPs on average."""
        if self.mode == Mode.PER_QUESTION:
            return np.array(self.budgets, float)
        return weights_r @ self.flops[:, list(self.reference)] / weights_r.sum() * _LENIENCE

    def choose(self, looks: Looks, weights_r: np.ndarray) -> Choice:
        """Chooses on weighted rows."""
        cuts = looks.cut(weights_r, self.num_bins)
        inside = (looks.levels(cuts)[None] == np.arange(len(cuts) + 1)[:, None]) * weights_r[None]
        held = inside.sum(axis=1)
        total = held.sum()
        everywhere = (weights_r @ looks.correct / total, weights_r @ looks.flops / total)
        # A bin without questions is as all of them.
        correct, flops = (
            np.where(held[:, None] > 0, inside @ table / np.maximum(held, 1e-12)[:, None], mean[None])
            for table, mean in zip((looks.correct, looks.flops), everywhere, strict=True)
        )
        weight = held / total
        limits = self.limits(weights_r)
        fixed = self.best_fixed(weights_r)
        cells, value = self._per_bin(looks, correct, flops, weight, limits)
        if self.mode == Mode.AVERAGE:  # where nobody was, nothing is spent, and the best for nothing would be the dearest
            cells = np.where(weight[None] > 0, cells, fixed[:, None])
        fixed_value = (weights_r @ self.correct[:, fixed]) / total
        # Where all bins have the same cell, the strategy does not look (`ComputeOptimal.is_looking`); nor for a rounding error.
        is_looking = (value > fixed_value + 1e-12) & (cells != cells[:, :1]).any(axis=1)
        cells = np.where(is_looking[:, None], cells, fixed[:, None])
        return Choice(cuts, cells, is_looking, weight, correct, flops, float(np.where(is_looking, value, fixed_value).mean()))

    def _per_bin(
        self, looks: Looks, correct: np.ndarray, flops: np.ndarray, weight: np.ndarray, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best cell of every bin, `[budgets, bins]`, and the accuracy of that; -1 where a budget does not pay looking."""
        some, price = correct[:, self.grid], flops[:, self.grid]
        if self.mode == Mode.AVERAGE:
            chosen = np.array(spread(some, price, weight, limits))
            pays = np.take_along_axis(price[None], chosen[..., None], axis=2)[..., 0] @ weight <= limits
        else:
            allowed = looks.generations[self.grid][None] <= limits[:, None]
            chosen, pays = _best(some[None], price[None], allowed[:, None]), allowed.any(axis=1)
        gained = np.take_along_axis(some[None], chosen[..., None], axis=2)[..., 0] @ weight
        return self.grid[chosen], np.where(pays, gained, -1.0)

    def applied(self, looks: Looks, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
        """What a choice makes of every row: right answers and FLOPs, `[budgets, rows]` each."""
        cells = choice.cells[:, looks.levels(choice.cuts)]
        rows = np.arange(cells.shape[1])[None]
        is_looking = choice.is_looking[:, None]
        correct = np.where(is_looking, looks.correct[rows, cells], self.correct[rows, cells])
        flops = np.where(is_looking, looks.flops[rows, cells], self.flops[rows, cells])
        return correct, flops

    def score(self, looks: Looks, choice: Choice, weights_r: np.ndarray) -> Sums:
        """What a choice is worth on weighted rows."""
        correct, flops = self.applied(looks, choice)
        return Sums(correct @ weights_r, flops @ weights_r, weights_r.sum())

    def best_fixed(self, weights_r: np.ndarray) -> np.ndarray:
        """`[budgets]` the cell that is best over all questions, of those that a budget pays."""
        total = weights_r.sum()
        correct, flops = (weights_r @ table[:, self.grid] / total for table in (self.correct, self.flops))
        limits = self.limits(weights_r)
        spent = self.generations[self.grid].astype(float) if self.mode == Mode.PER_QUESTION else flops
        return self.grid[_best(correct[None], flops[None], spent[None] <= limits[:, None])]

    def score_cells(self, cells: np.ndarray, weights_r: np.ndarray) -> Sums:
        """What fixed cells, `[budgets]`, are worth on weighted rows."""
        correct, flops = weights_r @ self.correct[:, cells], weights_r @ self.flops[:, cells]
        return Sums(correct, flops, weights_r.sum())


def settle(task: Task, candidates: Sequence[Looks], weights_r: np.ndarray) -> tuple[Looks, Choice]:
    """Chooses an estimate, the budgets at which going by it pays, and the table.

    A choice per bin is never worse than a fixed one where it was made, so whether to look is decided where it was not: on each
    half of the folds, chosen on the other half. With a single fold there are no halves, and the table's own questions decide.

    Args:
        task: what is fitted.
        candidates: estimates of difficulty to choose from.
        weights_r: `[rows]`, how often each counts; the rows of other folds than the fitting ones count 0.
    """
    folds = np.unique(task.folds[weights_r > 0])
    halves = [weights_r * np.isin(task.folds, folds[part::2]) for part in (0, 1)]
    if len(folds) < 2 or not all(half.any() for half in halves):
        choices = [task.choose(looks, weights_r) for looks in candidates]
        best = max(range(len(choices)), key=lambda index: choices[index].value)
        return candidates[best], choices[best]
    pairs = ((halves[0], halves[1]), (halves[1], halves[0]))
    fixed = _added([task.score_cells(task.best_fixed(fitting), scored) for fitting, scored in pairs])
    looking = [
        _added([task.score(looks, task.choose(looks, fitting), scored) for fitting, scored in pairs]) for looks in candidates
    ]
    gains = np.array([(sums.correct - fixed.correct) / fixed.weight for sums in looking])
    best = int(np.maximum(gains, 0).mean(axis=1).argmax())
    return candidates[best], task.choose(candidates[best], weights_r).only_where(gains[best] > 1e-12, task, weights_r)


def crossed(task: Task, candidates: Sequence[Looks], weights_r: np.ndarray) -> tuple[Sums, list[str]]:
    """Fits on all folds but one and scores on that one, in turn; the estimate is chosen on the fitting folds as well.

    Args:
        task: what is fitted.
        candidates: estimates of difficulty to choose from.
        weights_r: `[rows]`, how often each counts.

    Returns:
        Sums over all rows, and the estimate used for each fold.
    """
    sums, used = [], []
    for fold in np.unique(task.folds):
        inside, outside = weights_r * (task.folds == fold), weights_r * (task.folds != fold)
        if not inside.any() or not outside.any():
            continue
        looks, choice = settle(task, candidates, outside)
        sums.append(task.score(looks, choice, inside))
        used.append(looks.name)
    return _added(sums), used


def crossed_fixed(task: Task, weights_r: np.ndarray) -> Sums:
    """The best fixed strategy, chosen on all folds but one and scored on that one, in turn."""
    sums = []
    for fold in np.unique(task.folds):
        inside, outside = weights_r * (task.folds == fold), weights_r * (task.folds != fold)
        if inside.any() and outside.any():
            sums.append(task.score_cells(task.best_fixed(outside), inside))
    return _added(sums)


def folds_of(questions: Sequence[str], num_folds: int, seed: int) -> np.ndarray:
    """`[questions]` a fold each, as even as can be; decided by the ids and the seed, whatever their order.

    Raises:
        ValueError: there are fewer questions than folds, or fewer than two folds.
    """
    if not 2 <= num_folds <= len(questions):
        raise ValueError(f'folds must be from 2 to the number of questions ({len(questions)}), got {num_folds}.')
    drawn = [hashlib.sha256(f'{seed}/{question}'.encode()).digest() for question in questions]
    folds = np.empty(len(questions), int)
    folds[sorted(range(len(questions)), key=drawn.__getitem__)] = np.arange(len(questions)) % num_folds
    return folds


def _best(correct: np.ndarray, flops: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The most accurate of the allowed cells along the last axis, the cheapest of equals."""
    masked = np.where(allowed, correct, -1.0)
    ties = masked >= masked.max(axis=-1, keepdims=True) - 1e-12
    return np.where(ties, flops, np.inf).argmin(axis=-1)


def _added(sums: Sequence[Sums]) -> Sums:
    first, *others = sums
    for other in others:
        first = first + other
    return first
