"""What `fit` reads: records as cells, estimates of difficulty as looks, and the digests of what made them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.allocation.bins_file import ORACLE, read_known, read_probes
from jaxreason.allocation.cells import Cells, read_cells
from jaxreason.allocation.estimators import FirstSamples, Known, Probe
from jaxreason.allocation.fit import Looks
from jaxreason.allocation.fit_config import FitConfig
from jaxreason.allocation.looking import looks_at_first, looks_known
from jaxreason.analysis.run_inputs import ALIKE, environment_in, records_in, strategies_in
from jaxreason.core import yaml_text
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.run_files import read_samples
from jaxreason.core.setting import sampling_of
from jaxreason.search.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What is fitted on.

    Attributes:
        cells: of all strategies that are compared or reported.
        strategies: by label.
        generations: `[cells]` solutions that each begins at most, in the paper's unit.
        oracle: bins by the pass rate of other samples, uncharged.
        predicted: an estimate of the difficulty run, uncharged as in the paper; None where none was named.
        candidates: estimates that can be deployed, charged.
        environment: of the first run, with the verifiers of all.
        sampler: what decided the draws.
        model: the policy, as the configuration of the first run names it.
    """

    cells: Cells
    strategies: Mapping[str, Strategy]
    generations: np.ndarray
    oracle: Looks
    predicted: Looks | None
    candidates: tuple[Looks, ...]
    environment: Mapping[str, Any]
    sampler: Mapping[str, str]
    model: str


def read_inputs(config: FitConfig) -> Inputs:
    """Reads the runs of a fit.

    Raises:
        RunError: a folder lacks something, the runs do not belong together, or the samples that set bins are those scored.
        ConfigError: a strategy or an estimate is named that the folders do not have.
    """
    folders = [Path(run) for run in config.runs]
    environments = [environment_in(folder) for folder in folders]
    for folder, environment in zip(folders[1:], environments[1:], strict=True):
        _check_alike(folder, environment, folders[0], environments[0], ALIKE)
    _check_difficulty(config, folders[0], environments[0])
    trees = [yaml_text.read(folder / 'config.yaml')[0] for folder in folders]
    for folder, tree in zip(folders[1:], trees[1:], strict=True):
        ours, theirs = (sampling_of(each['sampler']) for each in (tree, trees[0]))
        _check_alike(folder, ours, folders[0], theirs, tuple(ours))
    strategies = {label: strategy for tree in trees for label, strategy in strategies_in(tree).items()}
    labels = tuple(dict.fromkeys((*config.strategies, config.reference, *(config.baselines or strategies))))
    if not config.strategies:
        labels = tuple(strategies)
    try:
        cells = read_cells((record for folder in folders for record in records_in(folder)), tuple(strategies)).only(labels)
        cells.index(config.reference, config.reference_n)
        generations = np.array([strategies[cell.strategy].at(cell.n).most_generations for cell in cells.cells])
        candidates = _candidates(config, cells, strategies, generations, folders[0])
    except ConfigError:
        raise
    except ValueError as error:
        raise RunError(f'{", ".join(config.runs)}: {error}') from error
    return Inputs(
        cells=cells,
        strategies=strategies,
        generations=generations,
        oracle=_known(config, ORACLE, 'oracle', cells, generations, config.oracle_cuts),
        predicted=_known(config, config.predicted, 'predicted', cells, generations, ()) if config.predicted else None,
        candidates=candidates,
        environment={**environments[0], 'verifiers': _verifiers(config)},
        sampler=sampling_of(trees[0]['sampler']),
        model=str(trees[0]['model']['source']),
    )


def _candidates(
    config: FitConfig, cells: Cells, strategies: Mapping[str, Strategy], generations: np.ndarray, folder: Path
) -> tuple[Looks, ...]:
    """The estimates that can be deployed."""
    pools = None
    found = []
    for name, estimate in config.estimates.items():
        if isinstance(estimate, FirstSamples):
            pools = pools or {(pool.question_id, pool.seed): pool for pool in read_samples(folder).pools}
            found.append(looks_at_first(name, estimate, cells, pools, strategies))
            continue
        assert isinstance(estimate, Known | Probe)
        column = estimate.estimate if isinstance(estimate, Known) else name
        if column == ORACLE:
            raise ConfigError(f'estimates.{name}: the oracle is reported anyway, uncharged: leave it out.')
        found.append(_known(config, column, name, cells, generations, estimate.cuts, is_charged=True))
    return tuple(found)


def _known(
    config: FitConfig,
    column: str,
    name: str,
    cells: Cells,
    generations: np.ndarray,
    cuts: tuple[float, ...],
    is_charged: bool = False,
) -> Looks:
    """What the difficulty run wrote down, in the order of the questions."""
    known = read_known(config.difficulty, column)
    missing = [question for question in cells.questions if question not in known]
    if missing:
        raise RunError(
            f'{config.difficulty}: says nothing of {len(missing):,} of the {len(cells.questions):,} questions '
            f'({missing[0][:60]}): run jaxreason difficulty on the same problems.'
        )
    values = np.array([known[question].value for question in cells.questions])
    flops = np.array([known[question].flops if is_charged else 0 for question in cells.questions])
    return looks_known(name, values, flops, cells, generations, cuts)


def _verifiers(config: FitConfig) -> dict[str, str]:
    """Digests of the verifiers of all runs, and of the probes of the difficulty run, by name.

    Raises:
        RunError: one name stands for two verifiers.
    """
    found: dict[str, str] = {}
    for folder in (*config.runs, config.difficulty):
        named = dict(environment_in(Path(folder))['verifiers'])
        if folder == config.difficulty:
            named |= read_probes(config.difficulty)
        for name, digest in named.items():
            if found.setdefault(name, digest) != digest:
                raise RunError(
                    f'{folder}: its verifier {name!r} is not that of the runs before it ({digest[:12]}, there '
                    f'{found[name][:12]}): give runs that belong together.'
                )
    return found


def _check_difficulty(config: FitConfig, folder: Path, environment: Mapping[str, Any]) -> None:
    """The bins are those of these questions and of this policy, by other samples."""
    read_known(config.difficulty, ORACLE)  # refused before the records are read, which takes a while
    other = Path(config.difficulty)
    theirs = environment_in(other)
    _check_alike(other, theirs, folder, environment, ('weights', 'tokenizer', 'prompt', 'data'))
    shared = sorted(set(theirs['seeds']) & set(environment['seeds']))
    if shared:
        raise RunError(
            f'{other}: its samples have seed {shared[0]}, which {folder} has too: samples that set a bin must not be those '
            'that are scored; sample the bins under other seeds.'
        )


def _check_alike(folder: Path, ours: Mapping[str, Any], other: Path, theirs: Mapping[str, Any], names: Sequence[str]) -> None:
    words = {'weights': 'policy', 'data': 'set of questions'}
    for name in names:
        if ours[name] != theirs[name]:
            raise RunError(
                f'{folder}: its {words.get(name, name)} is not that of {other} ({str(ours[name])[:12]}, there '
                f'{str(theirs[name])[:12]}): give runs that belong together.'
            )
