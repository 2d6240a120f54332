"""The table that a fit chose on all questions, as an artefact with what it rests on."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.allocation.estimators import Estimator
from jaxreason.allocation.fit import Choice, Looks
from jaxreason.allocation.fit_config import FitConfig
from jaxreason.allocation.table import Allocation, Budgeted, Evidence, Fitted, Interval
from jaxreason.analysis.fit_inputs import Inputs
from jaxreason.core.stats import bootstrap_mean, rounded


def allocation_of(
    config: FitConfig, inputs: Inputs, looks: Looks, choice: Choice, estimator: Estimator, held_out: Sequence[Mapping[str, Any]]
) -> Allocation:
    """Puts what was chosen on all questions into a table.

    Args:
        config: what was asked.
        inputs: what was read.
        looks: the estimate that is used.
        choice: what was chosen by it.
        estimator: how it is made of a new question, with its cuts.
        held_out: accuracy and FLOPs at every budget on questions that were not chosen on, as JSON values.
    """
    levels = looks.levels(choice.cuts)
    evidence = {
        (level, index): _evidence(inputs, looks, choice, levels == level, level, index)
        for level in range(len(choice.weight))
        for index in set(choice.cells[:, level])
    }
    table = tuple(
        Budgeted(
            n=n,
            bins=tuple(_strategy(inputs, index) for index in choice.cells[row]),
            held_out=Interval(**held_out[row]['accuracy']),
            flops=held_out[row]['flops'],
            evidence=tuple(evidence[level, index] for level, index in enumerate(choice.cells[row])),
        )
        for row, n in enumerate(config.budgets)
    )
    return Allocation(difficulty=estimator, table=table, fitted=_fitted(config, inputs))


def _evidence(inputs: Inputs, looks: Looks, choice: Choice, inside: np.ndarray, level: int, index: int) -> Evidence:
    num_seeds = len(inputs.cells.seeds)
    by_question = np.where(inside, looks.correct[:, index], np.nan).reshape(-1, num_seeds)
    by_question = by_question[~np.isnan(by_question).all(axis=1)]
    accuracy = Interval(point=rounded(choice.correct[level, index]))
    own = inputs.cells.flops[..., index].reshape(-1)[inside]
    if len(by_question):
        estimate = bootstrap_mean(by_question, 1000)
        if estimate.low is not None and estimate.high is not None:
            accuracy = dataclasses.replace(accuracy, low=rounded(estimate.low), high=rounded(estimate.high))
    return Evidence(
        strategy=inputs.cells.cells[index].strategy,
        num_questions=rounded(inside.sum() / num_seeds),
        accuracy=accuracy,
        flops=rounded(own.mean()) if len(own) else rounded(inputs.cells.flops[..., index].mean()),
    )


def _strategy(inputs: Inputs, index: int) -> Any:
    cell = inputs.cells.cells[index]
    return inputs.strategies[cell.strategy].at(cell.n)


def _fitted(config: FitConfig, inputs: Inputs) -> Fitted:
    environment, cells = inputs.environment, inputs.cells
    return Fitted(
        mode=config.mode.value,
        policy=environment['weights'],
        tokenizer=environment['tokenizer'],
        prompt=environment['prompt'],
        sampler=dict(inputs.sampler),
        verifiers=dict(environment['verifiers']),
        data=environment['data'],
        num_questions=len(cells.questions),
        seeds=cells.seeds,
        grid={label: tuple(cell.n for cell in cells.cells if cell.strategy == label) for label in cells.strategies},
        folds=config.folds,
        runs=config.runs,
    )


def cuts_of(cuts: np.ndarray) -> tuple[float, ...]:
    """As numbers that a file can hold: a cut that nothing reaches lies above all values."""
    return tuple(float(min(cut, np.finfo(np.float64).max)) for cut in cuts)
