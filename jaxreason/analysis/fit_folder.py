"""The folder of a fit: two allocations, the metrics behind them, and the page."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.allocation.fit_config import FitConfig
from jaxreason.analysis.fit_inputs import Inputs
from jaxreason.analysis.fitting import Result
from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.core.source_tree import commit

METRICS = 'fit.json'  # its presence tells the folder of a fit
ALLOCATION = 'allocation.yaml'
BOUND = 'allocation_oracle.yaml'
_HEAD = """\
# Which strategy answers a question of which difficulty under which budget; written by jaxreason fit. To use it:
#   strategy: {{kind: compute_optimal, allocation: {path}, n: {n}}}
"""
_BOUND_HEAD = """\
# By the oracle's difficulty, uncharged: an upper bound, not a method. It knows the questions of {source} alone.
"""


class FitRun(NamedTuple):
    """A finished fit, as written.

    Attributes:
        name: of its folder.
        metrics: of fit.json.
        config: text of config.yaml.
        environment: of the records, and the commit that fitted.
        allocation: text of allocation.yaml.
        bound: text of allocation_oracle.yaml.
    """

    name: str
    metrics: Mapping[str, Any]
    config: str
    environment: Mapping[str, Any]
    allocation: str
    bound: str


def write_fit(out: Path, config: FitConfig, inputs: Inputs, result: Result) -> None:
    """Writes what a fit found; an earlier fit in this folder is replaced.

    Raises:
        RunError: the folder cannot be written.
    """
    # What made the records, which is what the numbers are of; the fit itself is arithmetic.
    environment = {**inputs.environment, 'model': inputs.model, 'fitted_by': commit()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / 'config.yaml', config_files.dump(config))
        write_whole(out / 'environment.json', _json(environment))
        head = _HEAD.format(path=out / ALLOCATION, n=config.budgets[-1])
        write_whole(out / ALLOCATION, head + config_files.dump(result.allocation))
        write_whole(out / BOUND, _BOUND_HEAD.format(source=config.difficulty) + config_files.dump(result.bound))
        write_whole(out / METRICS, _json(result.metrics))
    except OSError as error:
        raise RunError(f'{out}: cannot write there ({error.strerror}); choose another folder with --out.') from error


def is_fit(folder: Path) -> bool:
    """Whether a folder is that of `jaxreason fit`."""
    return os.path.isfile(folder / METRICS)  # unlike Path.is_file, it takes an impossible name for an absent one


def read_fit(folder: Path) -> FitRun:
    """Reads a folder of `jaxreason fit`.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        texts = {
            name: (folder / name).read_text(encoding='utf-8')
            for name in (METRICS, 'config.yaml', 'environment.json', ALLOCATION, BOUND)
        }
        metrics, environment = json.loads(texts[METRICS]), json.loads(texts['environment.json'])
        lacking = {'modes', 'reference', 'estimate', 'looks', 'budgets', 'baselines', 'grid'} - metrics.keys()
        if lacking or not isinstance(environment, dict):
            raise ValueError(f'{METRICS} says nothing of {min(lacking)}' if lacking else 'environment.json holds no object')
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(f'{folder}: not a whole fit ({str(error)[:200]}); run jaxreason fit again.') from error
    config = texts['config.yaml']
    return FitRun(folder.resolve().name, metrics, config, environment, texts[ALLOCATION], texts[BOUND])


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + '\n'
