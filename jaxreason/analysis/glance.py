"""One figure of a finished run, for whoever watches it finish: a notebook shows it as soon as the stage has ended."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxreason.analysis.difficulty_bins import read_bins
from jaxreason.analysis.difficulty_figures import difficulty_figures
from jaxreason.analysis.drawing import png
from jaxreason.analysis.figures import accuracy_frame, plot_accuracy_against_n
from jaxreason.analysis.fit_figures import fit_figures
from jaxreason.analysis.fit_folder import read_fit
from jaxreason.analysis.metrics import metrics_of
from jaxreason.analysis.run_folder import read_run
from jaxreason.core.errors import RunError
from jaxreason.core.run_files import object_of


def accuracy_by_n(run: Path, strategies: Sequence[str] = ()) -> bytes:
    """Draws accuracy against the number of solutions.

    Args:
        run: folder of a finished `evaluate`, its metrics written.
        strategies: labels to show; empty for all.

    Returns:
        A PNG.

    Raises:
        RunError: the folder cannot be read, or has none of these strategies.
    """
    metrics = object_of(run / 'metrics.json')
    if metrics is None:
        raise RunError(f'{run}: has no metrics.json: it is no finished run of jaxreason evaluate.')
    frame = [row for row in accuracy_frame(metrics) if not strategies or row['strategy'] in strategies]
    if not frame:
        raise RunError(f'{run}: has none of the strategies {", ".join(strategies)}.')
    return png(plot_accuracy_against_n, frame)


def accuracy_by_difficulty(run: Path, difficulty: Path, strategies: Sequence[str]) -> bytes:
    """Draws accuracy within each bin of difficulty.

    Args:
        run: folder of a finished `evaluate`.
        difficulty: folder of a finished `difficulty`, on the same questions.
        strategies: labels to show, at most six of them; the first is the baseline.

    Returns:
        A PNG.

    Raises:
        RunError: a folder cannot be read, they do not fit each other, or the run has none of these strategies.
    """
    found, bins = read_run(run), read_bins(difficulty)
    bins.check(found)
    shown = [record for record in found.records if record.strategy in strategies]
    if not shown:
        raise RunError(f'{run}: has none of the strategies {", ".join(strategies)}.')
    known = {record.strategy for record in shown}
    labels = tuple(label for label in strategies if label in known)
    metrics = metrics_of(dataclasses.replace(found, records=tuple(shown), pools=(), labels=labels), bins)
    _, plot, frame = difficulty_figures(metrics)[0]
    return png(plot, frame)


def compute_optimal(fit: Path) -> bytes:
    """Draws accuracy against FLOPs of what chooses by difficulty, and of every fixed strategy.

    Args:
        fit: folder of a finished `fit`.

    Returns:
        A PNG.

    Raises:
        RunError: the folder cannot be read.
    """
    figure = fit_figures(read_fit(fit).metrics)[0]
    return png(figure.plot, figure.frame)
