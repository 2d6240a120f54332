"""`fit`: records to an allocation, and to what it is worth, with every interval from one paired bootstrap.

In each resample of questions and seeds everything is chosen again: cuts, estimate, table, best fixed strategy. The numbers of
one resample belong together, so gaps and savings are paired.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.allocation.agreement import spearman
from jaxreason.allocation.estimators import Known
from jaxreason.allocation.fit import Looks, Mode, Sums, Task, crossed, crossed_fixed, folds_of, settle
from jaxreason.allocation.fit_config import FitConfig
from jaxreason.allocation.saving import Saving, percentiles, resampled_weights, saving, saving_interval
from jaxreason.allocation.table import Allocation
from jaxreason.analysis.fit_inputs import Inputs
from jaxreason.analysis.fitted_table import allocation_of, cuts_of
from jaxreason.core.errors import ConfigError
from jaxreason.core.stats import rounded

POWER = 2.8  # standard errors that a gap must have to be found four times in five
CURVES = ('oracle', 'predicted', 'charged')  # that choose by difficulty


class Curve(NamedTuple):
    """Accuracy and FLOPs a question, `[budgets]` each."""

    correct: np.ndarray
    flops: np.ndarray


class Result(NamedTuple):
    """What a fit found.

    Attributes:
        metrics: JSON values.
        allocation: by what can be known, charged.
        bound: by the oracle, uncharged: an upper bound.
    """

    metrics: dict[str, Any]
    allocation: Allocation
    bound: Allocation


def fit(config: FitConfig, inputs: Inputs) -> Result:
    """Fits an allocation and estimates what it is worth.

    Args:
        config: what was asked.
        inputs: what was read.

    Raises:
        ConfigError: a budget pays no strategy, or the reference has no records at a budget.
    """
    tasks = {mode: _task(config, inputs, mode) for mode in Mode}
    cells = inputs.cells
    num_rows = len(cells.questions) * len(cells.seeds)
    point = _everything(config, inputs, tasks, np.ones(num_rows) / len(cells.seeds))
    drawn = resampled_weights(len(cells.questions), len(cells.seeds), config.resamples, config.seed)
    # Of few questions a resample may have all in one fold: it has none left to choose on, and says nothing.
    weights = (weights_r for weights_r in drawn if np.count_nonzero(np.bincount(tasks[config.mode].folds, weights_r)) > 1)
    resampled = [_everything(config, inputs, tasks, weights_r) for weights_r in weights]
    metrics: dict[str, Any] = {
        'questions': len(cells.questions),
        'seeds': list(cells.seeds),
        'budgets': list(config.budgets),
        'grid': list(config.strategies or cells.strategies),
        'folds': config.folds,
        'resamples': config.resamples,
        'reference': {'strategy': config.reference, 'n': config.reference_n, **_reference(config, inputs, point, resampled)},
        'baselines': _baselines(inputs, point, resampled),
        'modes': {mode.value: _mode(config, inputs, tasks[mode], point[mode], [r[mode] for r in resampled]) for mode in Mode},
    }
    task = tasks[config.mode]
    rows = np.ones(num_rows) / len(cells.seeds)
    looks, choice = settle(task, inputs.candidates, rows)
    curve = metrics['modes'][config.mode.value]['curves']
    estimator = dataclasses.replace(config.estimates[looks.name], cuts=cuts_of(choice.cuts))
    metrics['estimate'] = looks.name
    metrics['looks'] = {each.name: _look(config, inputs, each) for each in inputs.candidates}
    if inputs.predicted is not None:
        metrics['predicted'] = {'name': config.predicted, **_look(config, inputs, inputs.predicted)}
    _, oracle = settle(task, [inputs.oracle], rows)
    known = Known(source=config.difficulty, cuts=cuts_of(oracle.cuts))
    return Result(
        metrics=metrics,
        allocation=allocation_of(config, inputs, looks, choice, estimator, curve['charged']),
        bound=allocation_of(config, inputs, inputs.oracle, oracle, known, curve['oracle']),
    )


def _task(config: FitConfig, inputs: Inputs, mode: Mode) -> Task:
    cells = inputs.cells
    num_seeds, num_cells = cells.correct.shape[1:]
    try:
        reference = tuple(cells.index(config.reference, n) for n in config.budgets)
        folds = folds_of(cells.questions, config.folds, config.seed)
    except ValueError as error:
        raise ConfigError(f'fit: {error}') from error
    labels = config.strategies or cells.strategies
    grid = np.array([index for index, cell in enumerate(cells.cells) if cell.strategy in labels])
    least = inputs.generations[grid].min()
    if config.budgets[0] < least:
        raise ConfigError(f'budgets: {config.budgets[0]} pays no strategy, the least begins {least} solutions: leave it out.')
    return Task(
        budgets=config.budgets,
        mode=mode,
        num_bins=config.bins,
        reference=reference,
        flops=cells.flops.reshape(-1, num_cells),
        correct=cells.correct.reshape(-1, num_cells),
        generations=inputs.generations,
        grid=grid,
        folds=np.repeat(folds, num_seeds),
    )


Everything = dict[Any, Any]  # by mode and curve; of one resample


def _everything(config: FitConfig, inputs: Inputs, tasks: Mapping[Mode, Task], weights_r: np.ndarray) -> Everything:
    """All that is estimated, on one weighting of the rows."""
    found: Everything = {}
    for mode, task in tasks.items():
        sums = {'oracle': crossed(task, [inputs.oracle], weights_r)[0], 'fixed': crossed_fixed(task, weights_r)}
        if inputs.predicted is not None:
            sums['predicted'] = crossed(task, [inputs.predicted], weights_r)[0]
        sums['charged'], used = crossed(task, inputs.candidates, weights_r)
        if mode == config.mode:
            sums |= {f'by {looks.name}': crossed(task, [looks], weights_r)[0] for looks in inputs.candidates}
        found[mode] = {'curves': {name: _curve(each) for name, each in sums.items()}, 'used': used}
    task = tasks[config.mode]
    cells = Curve(weights_r @ task.correct / weights_r.sum(), weights_r @ task.flops / weights_r.sum())
    found['cells'] = cells
    at = inputs.cells.index(config.reference, config.reference_n)
    target = (cells.correct[at], cells.flops[at])
    for mode in tasks:
        curves = found[mode]['curves']
        found[mode]['reference'] = Curve(cells.correct[list(task.reference)], cells.flops[list(task.reference)])
        found[mode]['saving'] = {
            name: saving(curve.flops, curve.correct, *target) for name, curve in curves.items() if name in (*CURVES, 'fixed')
        }
    return found


def _curve(sums: Sums) -> Curve:
    return Curve(sums.correct / sums.weight, sums.flops / sums.weight)


def _reference(config: FitConfig, inputs: Inputs, point: Everything, resampled: Sequence[Everything]) -> dict[str, Any]:
    at = inputs.cells.index(config.reference, config.reference_n)
    values = np.array([each['cells'].correct[at] for each in resampled])
    return {'accuracy': _interval(point['cells'].correct[at], values), 'flops': rounded(point['cells'].flops[at])}


def _baselines(inputs: Inputs, point: Everything, resampled: Sequence[Everything]) -> list[dict[str, Any]]:
    """Every fixed strategy at every n."""
    values = np.array([each['cells'].correct for each in resampled])
    return [
        {
            'strategy': cell.strategy,
            'n': cell.n,
            'generations': int(inputs.generations[index]),
            'accuracy': _interval(point['cells'].correct[index], values[:, index]),
            'flops': rounded(point['cells'].flops[index]),
        }
        for index, cell in enumerate(inputs.cells.cells)
    ]


def _mode(config: FitConfig, inputs: Inputs, task: Task, point: Everything, resampled: Sequence[Everything]) -> dict[str, Any]:
    """Curves, gaps, savings, bins and estimates under one meaning of a budget."""
    names = [name for name in point['curves'] if not name.startswith('by ')]
    curves = {name: _rows(config, point['curves'][name], [r['curves'][name] for r in resampled]) for name in names}
    shown = [name for name in names if name != 'fixed']
    gaps = {
        name: {
            'over_fixed': _gaps(config, inputs, point, resampled, name, 'fixed'),
            'over_reference': _gaps(config, inputs, point, resampled, name, None),
        }
        for name in shown
    }
    found = {
        'curves': curves,
        'gaps': gaps,
        'saving': {
            name: saving_interval(each, [r['saving'][name] for r in resampled]) for name, each in point['saving'].items()
        },
        'used': point['used'],
        'bins': _bins(config, inputs, task),
        'warnings': _warnings(config, gaps, point['saving'], resampled),
    }
    estimates = [name for name in point['curves'] if name.startswith('by ')]
    if estimates:
        found['estimates'] = {name[3:]: _loss(config, inputs, point, resampled, name) for name in estimates}
    return found


def _rows(config: FitConfig, point: Curve, resampled: Sequence[Curve]) -> list[dict[str, Any]]:
    values = np.array([each.correct for each in resampled])
    return [
        {'n': n, 'accuracy': _interval(point.correct[row], values[:, row]), 'flops': rounded(point.flops[row])}
        for row, n in enumerate(config.budgets)
    ]


def _gaps(
    config: FitConfig, inputs: Inputs, point: Everything, resampled: Sequence[Everything], name: str, baseline: str | None
) -> list[dict[str, Any]]:
    """Paired differences at every budget and, with n None, over all of them; and what the questions could tell apart."""

    def gap(found: Everything) -> np.ndarray:
        other = found['reference'] if baseline is None else found['curves'][baseline]
        per_budget = found['curves'][name].correct - other.correct
        return np.append(per_budget, per_budget.mean())

    ours, values = gap(point), np.array([gap(each) for each in resampled])
    return [
        {
            'n': n,
            **_interval(ours[row], values[:, row]),
            'detectable': rounded(POWER * float(values[:, row].std())),
            'questions_needed': _needed(float(ours[row]), float(values[:, row].std()), len(inputs.cells.questions)),
        }
        for row, n in enumerate([*config.budgets, None])
    ]


def _needed(gap: float, error: float, num_questions: int) -> int | None:
    """Questions with which a gap of this size would be found four times in five; None where there is none."""
    if abs(gap) < 1e-6:
        return None
    return math.ceil(num_questions * (POWER * error / gap) ** 2)


def _look(config: FitConfig, inputs: Inputs, looks: Looks) -> dict[str, Any]:
    """What a look costs by itself, and how far it agrees with the oracle, whose samples are others."""
    num_seeds, rows = len(inputs.cells.seeds), np.ones(len(looks.values))
    cuts, oracle_cuts = (each.cut(rows, config.bins) for each in (looks, inputs.oracle))
    found: dict[str, Any] = {
        'flops': rounded(looks.flops_alone),
        'spearman': spearman(looks.values.reshape(-1, num_seeds), inputs.oracle.values.reshape(-1, num_seeds)),
    }
    if len(cuts) == len(oracle_cuts):
        apart = abs(looks.levels(cuts) - inputs.oracle.levels(oracle_cuts))
        found |= {'same_bin': rounded((apart == 0).mean()), 'within_one': rounded((apart <= 1).mean())}
    return found


def _loss(
    config: FitConfig, inputs: Inputs, point: Everything, resampled: Sequence[Everything], name: str
) -> list[dict[str, Any]]:
    """What an estimate loses against the oracle's bins, its charge included; with n None, over all budgets."""

    def loss(found: Everything) -> np.ndarray:
        per_budget = found['curves']['oracle'].correct - found['curves'][name].correct
        return np.append(per_budget, per_budget.mean())

    curve = point['curves'][name]
    correct, flops = (np.append(values, values.mean()) for values in curve)
    ours, values = loss(point), np.array([loss(each) for each in resampled])
    return [
        {
            'n': n,
            'loss': _interval(ours[row], values[:, row]),
            'accuracy': rounded(correct[row]),
            'flops': rounded(flops[row]),
        }
        for row, n in enumerate([*config.budgets, None])
    ]


def _bins(config: FitConfig, inputs: Inputs, task: Task) -> list[dict[str, Any]]:
    """By the oracle's bins, what every cell reaches, and what was chosen on all questions."""
    num_seeds = len(inputs.cells.seeds)
    _, choice = settle(task, [inputs.oracle], np.ones(len(task.folds)) / num_seeds)
    levels = inputs.oracle.levels(choice.cuts)
    weights = np.array(list(resampled_weights(len(inputs.cells.questions), num_seeds, config.resamples, config.seed)))

    def accuracies(level: int) -> list[dict[str, Any]]:
        # The bins stay as they are: what is resampled is who is in them.
        drawn = weights[:, levels == level]
        drawn = drawn[drawn.sum(axis=1) > 0]
        values = drawn @ task.correct[levels == level] / drawn.sum(axis=1, keepdims=True)
        return [
            {**cell._asdict(), 'accuracy': _interval(choice.correct[level, index], values[:, index])}
            for index, cell in enumerate(inputs.cells.cells)
        ]

    return [
        {
            'level': level + 1,
            'num_questions': int((levels == level).sum()) // num_seeds,
            'pass_rate': rounded(inputs.oracle.values[levels == level].mean()) if (levels == level).any() else None,
            'chosen': [inputs.cells.cells[choice.cells[row, level]]._asdict() for row in range(len(config.budgets))],
            'accuracy': accuracies(level),
        }
        for level in range(len(choice.weight))
    ]


def _warnings(
    config: FitConfig, gaps: Mapping[str, Any], points: Mapping[str, Saving], resampled: Sequence[Everything]
) -> list[str]:
    """What the questions do not support, in words."""
    found = []
    for name, gap in gaps.items():
        row = gap['over_fixed'][-1]
        if row['low'] is not None and row['low'] <= 0 <= row['high']:
            needed = row['questions_needed']
            more = '' if needed is None else f', a gap of this size needs about {needed:,} questions'
            points_of = f'{100 * row["point"]:+.1f} [{100 * row["low"]:.1f}, {100 * row["high"]:.1f}]'
            found.append(f'{name}: {points_of} points over the best fixed strategy are not told apart from none{more}.')
        ends = saving_interval(points[name], [each['saving'][name] for each in resampled])
        if ends['low_censored'] == 'at_most' or float(str(ends['low'])) <= 1:
            found.append(f'{name}: the saving is not told apart from 1x.')
    return found


def _interval(point: float, values: np.ndarray) -> dict[str, Any]:
    """A point with its percentiles; none where every resample says the same."""
    if not len(values) or np.ptp(values) < 1e-12:
        return {'point': rounded(point), 'low': None, 'high': None}
    low, high = percentiles(values)
    return {'point': rounded(point), 'low': rounded(float(low)), 'high': rounded(float(high))}
