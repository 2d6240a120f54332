"""What `fit` and `match` read of a finished run of `evaluate`: records parsed but plain, environment, strategies."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxreason.allocation.table import SearchStrategy
from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.search.strategy import Strategy

ALIKE = ('weights', 'tokenizer', 'prompt', 'data', 'seeds')  # of the environments of runs of one model that are read together


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Holder:
    """Reads one strategy of a configuration."""

    strategy: SearchStrategy


def records_in(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The records of a run, parsed but plain.

    Raises:
        RunError: they cannot be read, or one is damaged; names file and line.
    """
    path = folder / 'records.jsonl'
    try:
        with path.open(encoding='utf-8') as lines:
            for number, line in enumerate(lines, start=1):
                yield _parsed(line, f'{path}:{number}')
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f'{path}: cannot be read ({error}): name the folder of a finished run.') from error


def environment_in(folder: Path) -> Mapping[str, Any]:
    """What a run was made with.

    Raises:
        RunError: it cannot be read, or lacks a digest that is compared.
    """
    path = folder / 'environment.json'
    try:
        environment = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f'{path}: cannot be read ({error}): name the folder of a finished run.') from error
    if not isinstance(environment, dict):
        raise RunError(f'{path}: expected a JSON object, got {type(environment).__name__}: name the folder of a finished run.')
    lacking = [name for name in (*ALIKE, 'verifiers') if name not in environment]
    if lacking:
        raise RunError(f'{path}: says nothing of {lacking[0]}: it was written by another version; run it again.')
    return environment


def strategies_in(tree: Mapping[str, Any]) -> dict[str, Strategy]:
    """The strategies of a configuration, by label; those that are adaptive themselves are left out."""
    named = tree.get('strategies') or {}
    return {
        label: config_files.build(_Holder, {'strategy': fields}, f'strategies.{label}').strategy
        for label, fields in named.items()
        if fields.get('kind') != 'compute_optimal'
    }


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f'{where}: expected one record a line, got a damaged one.') from error
    if not isinstance(record, dict) or not record.keys() >= {'question_id', 'strategy', 'n', 'budget', 'seed', 'blocks'}:
        raise RunError(f'{where}: expected one record a line, got something else.')
    return record
