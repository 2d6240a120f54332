"""The curves of the small model and the answers of the larger one, per question and seed.

Small: the best strategy per bin (*compute-optimal*: by the oracle's bins, uncharged, so an upper bound; *charged*: by the best
of some estimates, which it pays for), the best one for all bins (*best fixed*), all chosen on folds of questions and scored on
the others; majority; greedy. Large: greedy, and majority of some samples.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxreason.allocation.cells import Cells
from jaxreason.allocation.difficulty import NUM_BINS, cut_points
from jaxreason.allocation.estimators import FirstSamples
from jaxreason.allocation.fit import Looks, Mode, Task, folds_of, settle
from jaxreason.allocation.looking import looks_at_first, looks_known
from jaxreason.analysis.match_inputs import Inputs, Side
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.run_files import read_samples
from jaxreason.evaluate.match_config import MatchConfig
from jaxreason.evaluate.matched import Curve, Rival
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority

COMPUTE_OPTIMAL, CHARGED, BEST_FIXED = 'compute-optimal', 'compute-optimal, charged', 'best fixed'
MAJORITY, GREEDY = 'majority', 'greedy'


def small_curves(config: MatchConfig, inputs: Inputs) -> dict[str, Curve]:
    """The curves of the small model, by name.

    Raises:
        RunError: a strategy that may be chosen has no records, or an estimate lacks its samples.
        ConfigError: there are more folds than questions.
    """
    side = inputs.small
    try:
        cells = side.cells.only(config.small.strategies or _searching(side))
        generations = np.array([side.strategies[cell.strategy].at(cell.n).most_generations for cell in cells.cells])
        estimates = _estimates(config, inputs, cells)
    except ValueError as error:
        raise RunError(f'{side.name}: {error}') from error
    task = _task(config, cells, generations)
    cuts = cut_points(inputs.bins.rates.values())
    oracle = looks_known('oracle', inputs.rates, np.zeros(len(cells.questions)), cells, generations, cuts)
    curves = {COMPUTE_OPTIMAL: _curve(task, cells, *_crossed(task, [oracle]))}
    if estimates:
        curves[CHARGED] = _curve(task, cells, *_crossed(task, estimates))
    curves[BEST_FIXED] = _curve(task, cells, *_crossed_fixed(task))
    for name, kind in ((MAJORITY, Majority), (GREEDY, Greedy)):
        label = side.of_kind(kind)
        if label is not None:
            own = side.cells.only([label])
            correct, flops = np.moveaxis(own.correct, 2, 0), np.moveaxis(own.flops, 2, 0)
            curves[name] = Curve(tuple(cell.n for cell in own.cells), correct, flops)
    return curves


def large_rivals(config: MatchConfig, inputs: Inputs) -> dict[str, Rival]:
    """How the larger model answers, by name."""
    cells, side = inputs.large.cells, inputs.large
    greedy, majority = side.of_kind(Greedy), side.of_kind(Majority)
    assert greedy is not None, 'a run without greedy answers was refused'
    rivals = {GREEDY: _rival(cells, greedy, 1)}
    if majority is not None:
        have = {cell.n for cell in cells.cells if cell.strategy == majority}
        rivals |= {f'{MAJORITY} of {n}': _rival(cells, majority, n) for n in sorted(have & set(config.large_samples))}
    return rivals


def _rival(cells: Cells, label: str, n: int) -> Rival:
    place = cells.index(label, n)
    return Rival(n, cells.correct[:, :, place], cells.flops[:, :, place])


def _searching(side: Side) -> list[str]:
    """All that may be chosen: what one can look up in an allocation."""
    return [label for label in side.cells.strategies if label in side.strategies]


def _estimates(config: MatchConfig, inputs: Inputs, cells: Cells) -> list[Looks]:
    if not config.small.estimates:
        return []
    pools = {(pool.question_id, pool.seed): pool for pool in read_samples(Path(config.small.run)).pools}
    found = {name: each for name, each in config.small.estimates.items() if isinstance(each, FirstSamples)}
    return [looks_at_first(name, each, cells, pools, inputs.small.strategies) for name, each in found.items()]


def _task(config: MatchConfig, cells: Cells, generations: np.ndarray) -> Task:
    num_seeds, num_cells = cells.correct.shape[1:]
    try:
        folds = folds_of(cells.questions, config.folds, config.seed)
    except ValueError as error:
        raise ConfigError(f'match: {error}') from error
    return Task(
        budgets=tuple(int(n) for n in np.unique(generations)),
        mode=Mode.PER_QUESTION,
        num_bins=NUM_BINS,
        reference=(),
        flops=cells.flops.reshape(-1, num_cells),
        correct=cells.correct.reshape(-1, num_cells),
        generations=generations,
        grid=np.arange(num_cells),
        folds=np.repeat(folds, num_seeds),
    )


def _crossed(task: Task, candidates: Sequence[Looks]) -> tuple[np.ndarray, np.ndarray]:
    """Right answers and FLOPs, `[budgets, rows]`, of what is chosen on the other folds, by the estimate that is best there."""
    correct, flops = (np.empty((len(task.budgets), len(task.folds))) for _ in range(2))
    for fold in np.unique(task.folds):
        here = task.folds == fold
        settled = settle(task, candidates, (~here).astype(float))
        for whole, part in zip((correct, flops), task.applied(*settled), strict=True):
            whole[:, here] = part[:, here]
    return correct, flops


def _crossed_fixed(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The same of one strategy for all bins."""
    correct, flops = (np.empty((len(task.budgets), len(task.folds))) for _ in range(2))
    for fold in np.unique(task.folds):
        here = task.folds == fold
        cells = task.best_fixed((~here).astype(float))
        correct[:, here], flops[:, here] = task.correct[here][:, cells].T, task.flops[here][:, cells].T
    return correct, flops


def _curve(task: Task, cells: Cells, correct: np.ndarray, flops: np.ndarray) -> Curve:
    shape = (len(task.budgets), *cells.correct.shape[:2])
    return Curve(task.budgets, correct.reshape(shape), flops.reshape(shape))
