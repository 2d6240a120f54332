"""Reads what a run wrote (records, pools, configuration, environment; no clock times) and adds what is derived from it."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxreason.core import yaml_text
from jaxreason.core.errors import RunError
from jaxreason.core.judged_steps import JUDGEMENTS, JudgedSteps, judged_from
from jaxreason.core.records import Pool, Record, pool_from, record_from

T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run, as written.

    Attributes:
        name: of its folder.
        records: what each strategy made of the pools.
        pools: the sampled candidates; empty where the folder has none.
        config: text of `config.yaml`; empty where the folder has none.
        environment: commit, versions, device, digests; empty where the folder has none.
        labels: the strategies in the order of the configuration, the baseline first.
        strategies: what the configuration says of them, by label; empty where the folder has none.
        model: the policy, as the configuration names it; empty where it does not.
        step_delimiter: what ended a step, as the configuration says it; two line breaks where it does not.
        probes: how trained verifiers scored answers that say nothing; None where the folder does not tell.
    """

    name: str
    records: tuple[Record, ...]
    pools: tuple[Pool, ...]
    config: str
    environment: Mapping[str, Any]
    labels: tuple[str, ...] = ()
    strategies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: str = ''
    step_delimiter: str = '\n\n'
    probes: Mapping[str, Any] | None = None


def read_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
        RunError: it has no records, or a file is damaged; names file and line.
    """
    records = _lines(folder / 'records.jsonl', record_from)
    if not records:
        raise RunError(f'{folder}: expected records, records.jsonl has none: let the run finish first.')
    # Those that the records refer to: an earlier configuration may have left others.
    paths = [folder / 'pools' / f'{name}.jsonl' for name in sorted({record.pool for record in records})]
    pools = [pool for path in paths if path.exists() for pool in _lines(path, pool_from)]
    config, tree = _config(folder)
    strategies, prompt = tree.get('strategies'), tree.get('prompt')
    present = {record.strategy for record in records}
    return Run(
        name=folder.resolve().name,
        records=tuple(records),
        pools=tuple(pools),
        config=config,
        environment=_object(folder / 'environment.json') or {},
        labels=tuple(label for label in strategies if label in present) if isinstance(strategies, dict) else (),
        strategies=strategies if isinstance(strategies, dict) else {},
        model=_source(tree, 'model'),
        step_delimiter=str(prompt.get('step_delimiter', '\n\n')) if isinstance(prompt, dict) else '\n\n',
        probes=_object(folder / 'verifier_probes.json'),
    )


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
    for pool in (pool for path in paths if _is_sampled(path) for pool in _lines(path, pool_from)):
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
    return Samples(name=folder.resolve().name, pools=tuple(found.values()), model=_source(_config(folder)[1], 'model'))


def _is_sampled(path: Path) -> bool:
    """Whether a file of pools holds independent samples: those of a search say what it chose."""
    try:
        with path.open('rb') as file:
            return json.loads(file.readline()).get('chosen') is None
    except (OSError, ValueError, AttributeError, RecursionError):
        return True  # damaged: reading it as a whole names file and line


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgementRun:
    """A finished run in which a verifier judged step-labelled solutions, as written.

    Attributes:
        name: of its folder.
        judged: what the verifier said of each solution.
        config: text of `config.yaml`; empty where the folder has none.
        environment: commit, versions, device, digests; empty where the folder has none.
        verifier: as the configuration names it; empty where it does not.
    """

    name: str
    judged: tuple[JudgedSteps, ...]
    config: str
    environment: Mapping[str, Any]
    verifier: str = ''


def is_judgement(folder: Path) -> bool:
    """Whether step-labelled solutions were judged in a run folder; if not, it is one of search."""
    return os.path.isfile(folder / JUDGEMENTS)  # unlike Path.is_file, it takes an impossible name for an absent one


def read_judgements(folder: Path) -> JudgementRun:
    """Reads such a run folder.

    Raises:
        RunError: it has no judgements, or a file is damaged; names file and line.
    """
    judged = _lines(folder / JUDGEMENTS, judged_from)
    if not judged:
        raise RunError(f'{folder}: expected judgements, {JUDGEMENTS} has none: let the run finish first.')
    config, tree = _config(folder)
    return JudgementRun(
        name=folder.resolve().name,
        judged=tuple(judged),
        config=config,
        environment=_object(folder / 'environment.json') or {},
        verifier=_source(tree, 'verifier'),
    )


def _config(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The configuration as text and as a tree; empty where the folder has none."""
    path = folder / 'config.yaml'
    return (_text(path), yaml_text.read(path)[0]) if path.exists() else ('', {})


def _source(tree: Mapping[str, Any], name: str) -> str:
    value = tree.get(name)
    return str(value.get('source', '')) if isinstance(value, dict) else ''


def _object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where there is no file."""
    try:
        value = json.loads(_text(path)) if path.exists() else None
    except ValueError as error:
        raise RunError(f'{path}: expected a JSON object, got damaged text ({error}).') from error
    if value is not None and not isinstance(value, dict):
        raise RunError(f'{path}: expected a JSON object, got {type(value).__name__}.')
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except OSError as error:
        raise RunError(f'{path}: cannot be read ({error.strerror}): name the folder of a finished run.') from error
    except UnicodeDecodeError as error:
        raise RunError(f'{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}.') from error


def _lines(path: Path, parse: Callable[[Mapping[str, Any]], T]) -> list[T]:
    values = []
    for number, line in enumerate(_text(path).split('\n'), start=1):
        if not line:
            continue
        try:
            values.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = ' '.join(str(error).split())[:120]
            raise RunError(f'{path}:{number}: expected one value of this file a line, got a damaged one ({reason}).') from error
    return values
