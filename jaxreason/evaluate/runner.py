"""The main job: problems -> search under a budget -> graded records.

Units (`units.py`) are searched together by the driver, graded as they finish, and journalled at once; a rerun does only what
is missing. When all are there, `pools/` and `records.jsonl` are derived from the journals alone, in a fixed order: the same
bytes whether the run was killed or not. Clock times go to `timing.jsonl` and nowhere else.

Several processes share the questions out, each with the model on its own devices; a draw depends on its address alone, so who
draws it leaves no trace. What all must agree on (configuration, problems, weights, versions, device) is compared first.
"""

import dataclasses
import functools
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, ProcessError, RunError
from jaxreason.core.judged_steps import JudgedSteps
from jaxreason.core.labels import LabelledQuestion
from jaxreason.core.records import Pool, Record, pool_from
from jaxreason.core.types import Problem
from jaxreason.data.datasets import load_problems
from jaxreason.data.grading import Grader
from jaxreason.engine.backbone_verifier import heads_of
from jaxreason.engine.mesh import make_mesh, spans_processes
from jaxreason.engine.peers import Peers
from jaxreason.engine.rows import RowChoice
from jaxreason.engine.sampler import Sampler
from jaxreason.engine.scoring_memory import memory_beside
from jaxreason.engine.session import DeviceSession
from jaxreason.evaluate.config import EvaluateConfig, NamedVerifier, load_policy, load_verifiers, trained
from jaxreason.evaluate.environment import PINNED, describe, describe_inputs
from jaxreason.evaluate.folder import RunFolder
from jaxreason.evaluate.journals import Journals
from jaxreason.evaluate.label_config import AnyUnit, Config
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.row_choice import adopt_rows, settle_rows
from jaxreason.evaluate.shapes import prompt_lengths
from jaxreason.evaluate.units import POOLED, Unit, copies_of, pool_of, task_of, units_of
from jaxreason.evaluate.verifier_probes import write_probes
from jaxreason.search.drive import drive

JOURNAL = 'journal-0.jsonl'  # of process 0, and of a process alone


@dataclasses.dataclass(frozen=True)
class Finished:
    """A unit that was just finished.

    Attributes:
        pool: its candidates.
        read: finds out what every strategy made of them at its largest n; who is not shown it need not wait for it.
    """

    pool: Pool
    read: Callable[[], Iterable[Record]]


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands, told after every finished unit and every chunk of the device.

    Attributes:
        done: units finished, earlier sessions and, on process 0, the other processes included.
        total: units in all.
        tokens: drawn in this session, counted likewise.
        seconds: wall time since the model was ready.
        finished: the unit that was just finished, if one was.
    """

    done: int
    total: int
    tokens: int
    seconds: float
    finished: Finished | LabelledQuestion | JudgedSteps | None = None


def evaluate(
    config: EvaluateConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    peers: Peers | None = None,
) -> None:
    """Runs what is missing of a run; process 0 writes its records.

    Args:
        config: what to do.
        out: the run folder; the processes may share it, or have one each.
        report: told of progress; what it raises stops the run between two chunks, with everything finished kept.
        say: told in a line what takes time before the first question.
        peers: the processes of the run, all of which call this; None for a process alone.

    Raises:
        JaxreasonError: the configuration, data, weights or folder cannot be used, or the processes disagree.
    """
    peers = peers or Peers()
    problems = load_problems(config.data)
    units = units_of(config, problems)
    inputs = describe_inputs(config, problems)
    given = (config_files.dump(config), json.dumps(inputs, indent=0, sort_keys=True))
    for what, mine in zip(('configuration', 'data and prompt'), given, strict=True):
        agree(peers, what, mine)
    config = adopt_rows(config, out, copies_of(config, units), peers)
    with open_folder(out, config_files.dump(config), peers) as folder:
        journals = Journals(out, peers.index)
        try:
            folder.check_inputs(inputs)
            done = {key for keys in peers.exchange('done', json.dumps(list(journals.entries))) for key in json.loads(keys)}
            missing = [unit for unit in units if unit.key not in done]
            meter = Meter(peers, report, len(units) - len(missing), len(units))
            if missing:
                for line in config.exceptions:
                    say(line)
                among = f' among {peers.count} processes' if peers.count > 1 else ''
                say(f'{len(missing)} of {len(units)} units to do{among}; loading {config.model.source}')
                config = _run(config, problems, units, share(missing, peers), folder, journals, meter, peers, say)
                if peers.count > 1:
                    say('the share of process 0 is done; waiting for the others')
                peers.exchange('through', '', meter.tell)
                meter.end()
            journals.gather(peers, [unit.key for unit in units], meter.tell)
            if peers.is_first:
                write_probes(folder, config, problems)
                _write(config, folder, journals.entries, units)
            peers.exchange('written', '', meter.tell)
        finally:
            journals.close()


def open_folder(out: Path, config: str, peers: Peers) -> RunFolder:
    """Opens the run folder, process 0 before the others: where they share it, it is made and claimed once."""
    run = peers.exchange('run', secrets.token_hex(8))[0] if peers.count > 1 else None
    if peers.is_first:
        folder = RunFolder(out, config, run)
        peers.exchange('folder', '')
        return folder
    peers.exchange('folder', '')
    return RunFolder(out, config, run)


def agree(peers: Peers, what: str, text: str) -> None:
    """Refuses to go on where the processes were given different things.

    Raises:
        ProcessError: a process differs from process 0.
    """
    texts = peers.exchange('agree', text)
    for index, theirs in enumerate(texts):
        for was, is_now in itertools.zip_longest(texts[0].splitlines(), theirs.splitlines(), fillvalue=''):
            if was != is_now:
                both = f'"{is_now.strip(" ,")}", there "{was.strip(" ,")}"'
                raise ProcessError(f'{peers.name(index)} has another {what} than process 0 ({both}); give all the same.')


def share(missing: Sequence[AnyUnit], peers: Peers) -> list[AnyUnit]:
    """The units of this process: every so-manieth question of those of which something is missing, all seeds and strategies."""
    questions = list(dict.fromkeys(unit.problem.id for unit in missing))
    mine = set(questions[peers.index :: peers.count])
    return [unit for unit in missing if unit.problem.id in mine]


class Meter:
    """Progress of all processes, as far as this one knows it."""

    def __init__(self, peers: Peers, report: Callable[[Progress], None], before: int, total: int):
        self._peers = peers
        self._report = report
        self._before = before  # units finished in earlier sessions
        self._total = total
        self._began = time.monotonic()
        self._finished = 0
        self._tokens = 0
        self._is_through = False

    def start(self) -> None:
        """The model is ready: the clock starts."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the model was ready."""
        return time.monotonic() - self._began

    def end(self) -> None:
        """Every process is through: the last heartbeats of the others need not be waited for."""
        self._is_through = True
        self.tell()

    def drawn(self, tokens: int) -> None:
        """Notes the tokens that this process has drawn."""
        self._tokens = tokens

    def tell(self, finished: Finished | LabelledQuestion | JudgedSteps | None = None) -> None:
        """Reports, to the user and to process 0."""
        self._finished += finished is not None
        self._peers.tell(self._finished, self._tokens)
        others, tokens = self._peers.others()
        done = self._total if self._is_through else self._before + self._finished + others
        self._report(Progress(done, self._total, self._tokens + tokens, self.seconds, finished))


def _run(
    config: EvaluateConfig,
    problems: Sequence[Problem],
    units: Sequence[Unit],
    mine: Sequence[Unit],
    folder: RunFolder,
    journals: Journals,
    meter: Meter,
    peers: Peers,
    say: Callable[[str], None],
) -> EvaluateConfig:
    """Searches, grades and journals this process's share of the missing units; returns the configuration, rows chosen."""
    choices = config.verifiers if mine else None
    config, session, verifiers = open_session(config, problems, copies_of(config, units), choices, folder, peers, say)
    if session is None:
        return config
    if peers.is_first:
        write_probes(folder, config, problems, verifiers)
    meter.start()
    tasks = [task_of(config, unit) for unit in mine]

    def tell(finished: Finished | None = None) -> None:
        meter.drawn(session.timing.tokens)
        meter.tell(finished)

    with Grader(num_workers=config.grading_workers) as grader:
        for index, result in drive(tasks, session, verifiers, on_tick=tell):
            unit = mine[index]
            verdicts = grader.grade_answers([(unit.problem.answer, c.answer) for c in result.candidates], on_tick=tell)
            strategy = config.strategies[unit.label] if unit.label is not None else None
            pool = pool_of(unit, result, verdicts, strategy)
            journals.append(unit.key, pool)
            write_timing(folder, unit.key, meter, session, peers)
            tell(Finished(pool, functools.partial(records_of, config, unit, pool, only_whole=True)))
    return config


def open_session(
    config: Config,
    problems: Sequence[Problem],
    copies: Sequence[int],
    choices: Mapping[str, NamedVerifier] | None,
    folder: RunFolder,
    peers: Peers,
    say: Callable[[str], None],
) -> tuple[Config, DeviceSession | None, dict[Any, Any]]:
    """Loads the policy and the verifiers, settles rows and environment with the other processes, and opens a session.

    Args:
        config: of the run.
        problems: all of them, done or not: the shapes of the device programs must not depend on what is missing.
        copies: rows that each question may have at once.
        choices: the configuration's verifiers, by name; None where this process has nothing to do and only takes part in what
            all compare.
        folder: of the run.
        peers: the processes.
        say: told what was chosen.

    Returns:
        The configuration, rows chosen; the session, None where it is not needed; and the verifiers, by name.

    Raises:
        JaxreasonError: the policy or a verifier cannot be loaded or does not fit, or the processes disagree.
    """
    if choices is None:
        config = _settle_rows(config, None, folder, peers, say)
        settle_environment(folder, None, peers)
        return config, None, {}
    if peers.count > 1 and config.model.mesh is not None and spans_processes(make_mesh(config.model.mesh)):
        raise ConfigError(
            f'model.mesh {config.model.mesh} spreads the model over {peers.count} processes, which cannot be done yet; '
            'give sizes whose product is the number of devices of one process: each then holds the model and does its share.'
        )
    lm = load_policy(config.model)
    questions = [problem.question for problem in problems]
    lengths = prompt_lengths(config, questions, lm.need_tokenizer(), lm.config)
    verifiers: dict[Any, Any] = {**load_verifiers(choices, lm, config.prompt)}
    beside = memory_beside(verifiers.values(), questions, config.sampler.max_tokens, jax.default_backend() == 'cpu')
    sampler = Sampler(lm, prompt=config.prompt, heads=heads_of(verifiers), beside=beside, **vars(config.sampler))
    for strategy in config.strategies.values() if isinstance(config, EvaluateConfig) else ():
        strategy.check_setting(sampler.setting, verifiers)
    choice = sampler.choose_rows(max(lengths), copies) if config.sampler.num_rows == 'auto' else None
    config = _settle_rows(config, choice, folder, peers, say)
    session = dataclasses.replace(sampler, **vars(config.sampler)).session()
    session.prepare(questions, num_attempts=config.num_attempts)
    digests = {name: verifiers[name].digest for name in trained(choices)}
    settle_environment(folder, describe(config, lengths, problems, lm, digests, peers.count), peers)
    return config, session, verifiers


def write_timing(folder: RunFolder, key: str, meter: Meter, session: DeviceSession, peers: Peers) -> None:
    """Notes when a unit was finished, and what the device has done by then; nothing depends on it."""
    folder.append_line(
        'timing.jsonl' if peers.is_first else f'timing-{peers.index}.jsonl',
        {'unit': key, 'at_seconds': round(meter.seconds, 3), **dataclasses.asdict(session.timing)},
    )


def _settle_rows(config: Config, mine: RowChoice | None, folder: RunFolder, peers: Peers, say: Callable[[str], None]) -> Config:
    """The configuration with its rows known, written down where they had to be chosen."""
    if config.sampler.num_rows != 'auto':
        return config
    config, line = settle_rows(config, mine, peers)
    say(line)
    if peers.is_first:
        folder.settle_config(config_files.dump(config))
    peers.exchange('rows are written', '')  # once, where they share a folder
    if not peers.is_first:
        folder.settle_config(config_files.dump(config))
    return config


def settle_environment(folder: RunFolder, mine: Mapping[str, Any] | None, peers: Peers, pinned: Sequence[str] = PINNED) -> None:
    """Compares what the processes run with, and writes down that of process 0, or compares it with what is written.

    Args:
        folder: of the run.
        mine: environment of this process; None where it has nothing to run.
        peers: the processes.
        pinned: keys whose values decide the results.

    Raises:
        ProcessError: what decides the records differs between two processes.
        RunError: it differs from what the run was begun with.
    """
    texts = peers.exchange('environment', json.dumps(mine))
    first = json.loads(texts[0])
    for index, text in enumerate(texts):
        theirs = json.loads(text) or first
        for name in pinned:
            if theirs[name] != first[name]:
                raise ProcessError(
                    f'{peers.name(index)} has {name} {theirs[name]!r}, process 0 has {first[name]!r}; '
                    'records of one run must come from one setting: make them the same.'
                )
    if peers.is_first:
        folder.check_environment(first, pinned)
    peers.exchange('environment is written', '')  # once, where they share a folder
    if mine and not peers.is_first:
        folder.check_environment(first, pinned)


def _write(config: EvaluateConfig, folder: RunFolder, entries: Mapping[str, Any], units: Sequence[Unit]) -> None:
    """Derives pools and records from the journals: sorted, so that the order of finishing leaves no trace."""
    try:
        pools = {unit.key: pool_from(entries[unit.key]) for unit in units}
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f'{folder.path}: a journal was written by another version of this program; use that one, or another --out.'
        ) from error
    names = sorted({unit.pool for unit in units}, key=lambda name: (name != POOLED, name))
    for name in names:
        members = sorted((unit for unit in units if unit.pool == name), key=lambda unit: (unit.problem.id, unit.seed))
        folder.write_lines(f'pools/{name}.jsonl', [entries[unit.key] for unit in members])
    records = [record for unit in units for record in records_of(config, unit, pools[unit.key])]
    records.sort(key=lambda r: (r.question_id, r.strategy, r.n, sorted(r.budget.items()), r.seed))
    folder.write_lines('records.jsonl', records)
