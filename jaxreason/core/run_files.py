"""What a run has written, read back: its files as text, JSON and configuration, and the independent samples in its pools."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxreason.core import yaml_text
from jaxreason.core.errors import RunError
from jaxreason.core.records import Pool, pool_from

T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """The independent samples of a finished run.

    Attributes:
        name: of its folder.
        pools: one a question and seed.
        model: the policy, as the configuration names it; empty where it does not.
    """

    name: str
    pools: tuple[Pool, ...]
    model: str = ''


def read_samples(folder: Path) -> Samples:
    """Reads the independent samples of a run folder, whatever strategies made of them.

    A revision is no independent sample, but the first attempts of chains are. They are the very draws that other pools of the
    folder hold under the same numbers, so each is taken once.

    Raises:
        RunError: it has none, or a file is damaged; names file and line.
    """
    paths = sorted((folder / 'pools').glob('*.jsonl')) if os.path.isdir(folder / 'pools') else []
    found: dict[tuple[str, int], Pool] = {}
    for pool in (pool for path in paths if _is_sampled(path) for pool in lines_of(path, pool_from)):
        before = found.get((pool.question_id, pool.seed))
        drawn = {c.sample: c for c in pool.candidates if c.revises is None}
        drawn |= {c.sample: c for c in (before.candidates if before else ())}
        candidates = tuple(drawn[sample] for sample in sorted(drawn))
        found[pool.question_id, pool.seed] = dataclasses.replace(before or pool, candidates=candidates)
    if not found:
        raise RunError(
            f'{folder}: expected independent samples in its pools, there are none; '
            'name the finished run of a strategy that samples them, as majority does.'
        )
    return Samples(name=folder.resolve().name, pools=tuple(found.values()), model=source_of(config_of(folder)[1], 'model'))


def _is_sampled(path: Path) -> bool:
    """Whether a file of pools holds independent samples: those of a search say what it chose."""
    try:
        with path.open('rb') as file:
            return json.loads(file.readline()).get('chosen') is None
    except (OSError, ValueError, AttributeError, RecursionError):
        return True  # damaged: reading it as a whole names file and line


def config_of(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The configuration as text and as a tree; empty where the folder has none."""
    path = folder / 'config.yaml'
    return (text_of(path), yaml_text.read(path)[0]) if path.exists() else ('', {})


def source_of(tree: Mapping[str, Any], name: str) -> str:
    """Where a configuration has a model from, as it says it; empty where it does not."""
    value = tree.get(name)
    return str(value.get('source', '')) if isinstance(value, dict) else ''


def object_of(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where there is no file.

    Raises:
        RunError: it holds something else.
    """
    try:
        value = json.loads(text_of(path)) if path.exists() else None
    except ValueError as error:
        raise RunError(f'{path}: expected a JSON object, got damaged text ({error}).') from error
    if value is not None and not isinstance(value, dict):
        raise RunError(f'{path}: expected a JSON object, got {type(value).__name__}.')
    return value


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        RunError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding='utf-8')
    except OSError as error:
        raise RunError(f'{path}: cannot be read ({error.strerror}): name the folder of a finished run.') from error
    except UnicodeDecodeError as error:
        raise RunError(f'{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}.') from error


def lines_of(path: Path, parse: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """The values of a file that has one a line; `parse` makes them of JSON objects.

    Raises:
        RunError: it cannot be read, or a line is damaged; names file and line.
    """
    values = []
    for number, line in enumerate(text_of(path).split('\n'), start=1):
        if not line:
            continue
        try:
            values.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = ' '.join(str(error).split())[:120]
            raise RunError(f'{path}:{number}: expected one value of this file a line, got a damaged one ({reason}).') from error
    return values
