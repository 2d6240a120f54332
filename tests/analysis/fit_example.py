"""A synthetic fit: a world in which votes answer easy questions best and search answers hard ones best."""

import json
from pathlib import Path

import numpy as np

from jaxreason.allocation.cells import Cell, Cells
from jaxreason.allocation.estimators import FirstScores, FirstVotes
from jaxreason.allocation.fit_config import FitConfig
from jaxreason.allocation.looking import looks_known
from jaxreason.analysis.fit_folder import write_fit
from jaxreason.analysis.fit_inputs import Inputs
from jaxreason.analysis.fitting import Result, fit
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.majority import Majority

BUDGETS = (1, 4, 16)
QUESTIONS, SEEDS = 120, 2
EASE = [round(0.05 + 0.9 * index / (QUESTIONS - 1), 6) for index in range(QUESTIONS)]
ENVIRONMENT = {
    'weights': 'w' * 64,
    'tokenizer': 't' * 64,
    'prompt': 'p' * 64,
    'data': 'd' * 64,
    'seeds': [0, 1],
    'verifiers': {'prm': 'v' * 64},
    'commit': 'a7c86be012345678901234567890123456789012+',
    'device': 'cpu',
}


def make_fit(
    folder: Path, search: str = 'search', estimate: str = '2 scores', predicted: str = 'predicted'
) -> tuple[FitConfig, Inputs, Result]:
    """Fits the synthetic world.

    Args:
        folder: where the run folder of `difficulty` is written.
        search: label of the strategy that answers hard questions.
        estimate: name of the better estimate; the other one says the same of all questions.
        predicted: name of what is reported uncharged; empty for none.
    """
    known = [{'question_id': f'q{index:03d}', 'values': {'oracle': each}, 'flops': {}} for index, each in enumerate(EASE)]
    (folder / 'bins').mkdir(parents=True, exist_ok=True)
    (folder / 'bins' / 'difficulty.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in known))
    config = FitConfig(
        runs=('run',),
        difficulty=str(folder / 'bins'),
        budgets=BUDGETS,
        estimates={estimate: FirstScores(n=2, verifier='prm'), '1 vote': FirstVotes(n=1)},
        predicted=predicted,
        reference='best-of-n',
        reference_n=16,
        bins=3,
        resamples=100,
    )
    inputs = _inputs(search, estimate, predicted)
    return config, inputs, fit(config, inputs)


def _inputs(search: str, estimate: str, predicted: str) -> Inputs:
    rng = np.random.default_rng(0)
    strategies = {
        'majority': Majority(n=16),
        'best-of-n': BestOfN(n=16, verifier='prm'),
        search: BeamSearch(n=16, beam_width=4, verifier='prm'),
    }
    cells = tuple(Cell(label, n) for label in strategies for n in (BUDGETS if label != search else BUDGETS[1:]))
    ease = np.array(EASE)
    chance = np.array([[_chance(cell.strategy, search, cell.n, each) for cell in cells] for each in ease])
    correct = (rng.random((QUESTIONS, SEEDS, len(cells))) < chance[:, None]).astype(float)
    price = {'majority': 1.0, 'best-of-n': 1.4, search: 1.5}
    flops = np.broadcast_to(np.array([1e7 * cell.n * price[cell.strategy] for cell in cells]), correct.shape)
    table = Cells(
        questions=tuple(f'q{index:03d}' for index in range(QUESTIONS)),
        seeds=(0, 1),
        cells=cells,
        correct=correct,
        first=correct,
        flops=flops,
        first_flops=flops,
    )
    generations = np.array([cell.n for cell in cells])
    nothing, noise = np.zeros(QUESTIONS), rng.normal(0, 0.1, (3, QUESTIONS))
    return Inputs(
        cells=table,
        strategies=strategies,
        generations=generations,
        oracle=looks_known('oracle', ease, nothing, table, generations),
        predicted=looks_known(predicted, ease + noise[0], nothing, table, generations) if predicted else None,
        candidates=(
            looks_known(estimate, ease + noise[1], nothing + 2.5e7, table, generations),
            looks_known('1 vote', nothing, nothing + 1e7, table, generations),
        ),
        environment=ENVIRONMENT,
        sampler={'temperature': '1.0'},
        model='nano',
    )


def _chance(strategy: str, search: str, n: int, ease: float) -> float:
    if strategy == search:
        return min(0.75, 0.2 + 0.1 * n)
    return ease**0.5 if strategy == 'majority' and n > 1 else ease


def write_synthetic_fit(folder: Path, **named: str) -> None:
    """The folder of `make_fit`."""
    config, inputs, result = make_fit(folder.parent, **named)
    write_fit(folder, config, inputs, result)
