"""The main job: problems -> search under a budget -> graded records.

Units (`units.py`) are searched together by the driver, graded as they finish, and journalled at once; a rerun does only what
is missing. When all are there, `pools/` and `records.jsonl` are derived from the journal alone, in a fixed order: the same
bytes whether the run was killed or not. Clock times go to `timing.jsonl` and nowhere else.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.core.records import Pool, Record, pool_from
from jaxreason.core.types import Problem
from jaxreason.data.datasets import load_problems
from jaxreason.data.grading import Grader
from jaxreason.engine.sampler import Sampler
from jaxreason.engine.verifier import VERIFIERS
from jaxreason.evaluate.config import EvaluateConfig, load_policy
from jaxreason.evaluate.environment import PINNED, describe, describe_inputs
from jaxreason.evaluate.folder import RunFolder
from jaxreason.evaluate.journal import Journal
from jaxreason.evaluate.units import POOLED, Unit, pool_of, records_of, task_of, units_of
from jaxreason.search.drive import drive

JOURNAL = 'journal-0.jsonl'


class Finished(NamedTuple):
    """A unit that was just finished: its candidates, and what every strategy made of them."""

    pool: Pool
    records: tuple[Record, ...]


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands, told after every finished unit and every chunk of the device.

    Attributes:
        done: units finished, earlier sessions included.
        total: units in all.
        tokens: drawn in this session.
        seconds: wall time since the model was ready.
        finished: the unit that was just finished, if one was.
    """

    done: int
    total: int
    tokens: int
    seconds: float
    finished: Finished | None = None


def evaluate(
    config: EvaluateConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs what is missing of a run and writes its records.

    Args:
        config: what to do.
        out: the run folder.
        report: told of progress; what it raises stops the run between two chunks, with everything finished kept.
        say: told in a line what takes time before the first question.

    Raises:
        JaxreasonError: the configuration, data, weights or folder cannot be used.
    """
    problems = load_problems(config.data)
    units = units_of(config, problems)
    with RunFolder(out, config_files.dump(config)) as folder:
        journal = Journal(out / JOURNAL)
        try:
            folder.check_inputs(describe_inputs(config, problems))
            missing = [unit for unit in units if unit.key not in journal.entries]
            if missing:
                say(f'{len(missing)} of {len(units)} units to do; loading {config.model.source}')
                _run(config, problems, missing, folder, journal, report, len(units))
            _write(config, folder, journal, units)
        finally:
            journal.close()


def _run(
    config: EvaluateConfig,
    problems: Sequence[Problem],
    missing: Sequence[Unit],
    folder: RunFolder,
    journal: Journal,
    report: Callable[[Progress], None],
    total: int,
) -> None:
    """Searches, grades and journals the missing units."""
    lm = load_policy(config.model)
    session = Sampler(lm, prompt=config.prompt, **vars(config.sampler)).session()
    # All of them, done or not: the shapes of the device programs must not depend on what is missing.
    session.prepare([problem.question for problem in problems])
    folder.check_environment(describe(config, problems, lm), PINNED)
    began = time.monotonic()

    def tell(finished: Finished | None = None) -> None:
        done = total - len(missing) + finished_units
        report(Progress(done, total, session.timing.tokens, time.monotonic() - began, finished))

    finished_units = 0
    tasks = [task_of(config, unit) for unit in missing]
    verifiers: dict[Any, Any] = {name: kind() for name, kind in VERIFIERS.items()}
    with Grader(num_workers=config.grading_workers) as grader:
        for index, result in drive(tasks, session, verifiers, on_tick=tell):
            unit = missing[index]
            verdicts = grader.grade_many([(unit.problem.answer, c.text) for c in result.candidates], on_tick=tell)
            strategy = config.strategies[unit.label] if unit.label is not None else None
            pool = pool_of(unit, result, verdicts, strategy)
            journal.append(unit.key, pool)
            finished_units += 1
            folder.append_line(
                'timing.jsonl',
                {'unit': unit.key, 'at_seconds': round(time.monotonic() - began, 3), **dataclasses.asdict(session.timing)},
            )
            tell(Finished(pool, tuple(records_of(config, unit, pool))))


def _write(config: EvaluateConfig, folder: RunFolder, journal: Journal, units: Sequence[Unit]) -> None:
    """Derives pools and records from the journal: sorted, so that the order of finishing leaves no trace."""
    try:
        pools = {unit.key: pool_from(journal.entries[unit.key]) for unit in units}
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f'{journal.path}: written by another version of this program; use that one, or another --out.'
        ) from error
    names = sorted({unit.pool for unit in units}, key=lambda name: (name != POOLED, name))
    for name in names:
        members = sorted((unit for unit in units if unit.pool == name), key=lambda unit: (unit.problem.id, unit.seed))
        folder.write_lines(f'pools/{name}.jsonl', [pools[unit.key] for unit in members])
    records = [record for unit in units for record in records_of(config, unit, pools[unit.key])]
    records.sort(key=lambda r: (r.question_id, r.strategy, r.n, sorted(r.budget.items()), r.seed))
    folder.write_lines('records.jsonl', records)
