"""The folder of a fit: two allocations, the metrics behind them, and the page."""

import json
from pathlib import Path

from jaxreason.allocation.fit_config import FitConfig
from jaxreason.analysis.fitting import Result
from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole

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


def write_fit(out: Path, config: FitConfig, result: Result) -> None:
    """Writes what a fit found; an earlier fit in this folder is replaced.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / 'config.yaml', config_files.dump(config))
        head = _HEAD.format(path=out / ALLOCATION, n=config.budgets[-1])
        write_whole(out / ALLOCATION, head + config_files.dump(result.allocation))
        write_whole(out / BOUND, _BOUND_HEAD.format(source=config.difficulty) + config_files.dump(result.bound))
        write_whole(out / METRICS, json.dumps(result.metrics, indent=1, sort_keys=True, allow_nan=False) + '\n')
    except OSError as error:
        raise RunError(f'{out}: cannot write there ({error.strerror}); choose another folder with --out.') from error
