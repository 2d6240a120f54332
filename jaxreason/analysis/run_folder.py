"""Reads what a run wrote (records, pools, configuration, environment; no clock times) and adds what is derived from it."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.judged_steps import JUDGEMENTS, JudgedSteps, judged_from
from jaxreason.core.records import Pool, Record, pool_from, record_from
from jaxreason.core.run_files import config_of, lines_of, object_of, source_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run, as written.

    Attributes:
        name: of its folder.
        records: what each strategy made of the pools.
        pools: the sampled candidates; empty where the folder has none, or they were not read.
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


def read_run(folder: Path, with_pools: bool = True) -> Run:
    """Reads a run folder.

    Args:
        folder: of the run.
        with_pools: whether the pools are read too, which takes most of the time.

    Raises:
        RunError: it has no records, or a file is damaged; names file and line.
    """
    records = lines_of(folder / 'records.jsonl', record_from)
    if not records:
        raise RunError(f'{folder}: expected records, records.jsonl has none: let the run finish first.')
    # Those that the records refer to: an earlier configuration may have left others.
    paths = [folder / 'pools' / f'{name}.jsonl' for name in sorted({record.pool for record in records}) if with_pools]
    pools = [pool for path in paths if path.exists() for pool in lines_of(path, pool_from)]
    config, tree = config_of(folder)
    strategies, prompt = tree.get('strategies'), tree.get('prompt')
    present = {record.strategy for record in records}
    return Run(
        name=folder.resolve().name,
        records=tuple(records),
        pools=tuple(pools),
        config=config,
        environment=object_of(folder / 'environment.json') or {},
        labels=tuple(label for label in strategies if label in present) if isinstance(strategies, dict) else (),
        strategies=strategies if isinstance(strategies, dict) else {},
        model=source_of(tree, 'model'),
        step_delimiter=str(prompt.get('step_delimiter', '\n\n')) if isinstance(prompt, dict) else '\n\n',
        probes=object_of(folder / 'verifier_probes.json'),
    )


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
    judged = lines_of(folder / JUDGEMENTS, judged_from)
    if not judged:
        raise RunError(f'{folder}: expected judgements, {JUDGEMENTS} has none: let the run finish first.')
    config, tree = config_of(folder)
    return JudgementRun(
        name=folder.resolve().name,
        judged=tuple(judged),
        config=config,
        environment=object_of(folder / 'environment.json') or {},
        verifier=source_of(tree, 'verifier'),
    )
