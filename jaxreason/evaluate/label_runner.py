"""The job of `label`: problems -> labelled solutions -> a data set.

It lives here and not beside the kinds of labels (`train/labelling.py`), because all that makes a run resumable is here: the run
folder, the journals, the processes that share it out. A unit is one question, journalled once all that was drawn for it is
graded; `labels/` and `summary.json` are derived from the journals alone, in a fixed order: the same bytes whether the run was
killed or not. Clock times go to `timing.jsonl` and nowhere else.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxreason.core import config as config_files
from jaxreason.core.budget import UNLIMITED
from jaxreason.core.cost import total
from jaxreason.core.errors import RunError
from jaxreason.core.labels import LabelledQuestion, labelled_from
from jaxreason.core.records import cost_from
from jaxreason.core.types import Problem, Question
from jaxreason.data.datasets import load_problems
from jaxreason.data.grading import Grader
from jaxreason.engine.peers import Peers
from jaxreason.evaluate.environment import describe_inputs
from jaxreason.evaluate.folder import RunFolder
from jaxreason.evaluate.journals import Journals
from jaxreason.evaluate.label_config import LabelConfig, LabelUnit
from jaxreason.evaluate.row_choice import adopt_rows
from jaxreason.evaluate.runner import Meter, Progress, agree, open_folder, open_session, share, write_timing
from jaxreason.search.drive import Task, drive
from jaxreason.train.labelling import Labelling


def label_problems(
    config: LabelConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    peers: Peers | None = None,
) -> None:
    """Labels what is missing of a run; process 0 writes the data set.

    Args:
        config: what to do.
        out: the run folder; the processes may share it, or have one each.
        report: told of progress; what it raises stops the run between two chunks, with everything finished kept.
        say: told in a line what takes time before the first question.
        peers: the processes of the run, all of which call this; None for a process alone.

    Raises:
        JaxreasonError: the configuration, data, weights or folder cannot be used, the processes disagree, or no sample of any
            question was kept.
    """
    peers = peers or Peers()
    problems = load_problems(config.data)
    units = [LabelUnit(problem) for problem in problems]
    inputs = describe_inputs(config, problems)
    given = (config_files.dump(config), json.dumps(inputs, indent=0, sort_keys=True))
    for what, mine in zip(('configuration', 'data and prompt'), given, strict=True):
        agree(peers, what, mine)
    config = adopt_rows(config, out, _copies(config, problems), peers)
    with open_folder(out, config_files.dump(config), peers) as folder:
        journals = Journals(out, peers.index)
        try:
            folder.check_inputs(inputs)
            done = {key for keys in peers.exchange('done', json.dumps(list(journals.entries))) for key in json.loads(keys)}
            missing = [unit for unit in units if unit.key not in done]
            meter = Meter(peers, report, len(units) - len(missing), len(units))
            if missing:
                say(f'{len(missing)} of {len(units)} questions to label; loading {config.model.source}')
                _run(config, problems, share(missing, peers), folder, journals, meter, peers, say)
                peers.exchange('through', '', meter.tell)
                meter.end()
            journals.gather(peers, [unit.key for unit in units], meter.tell)
            if peers.is_first:
                _write(config.labels, folder, [journals.entries[unit.key] for unit in units])
            peers.exchange('written', '', meter.tell)
        finally:
            journals.close()


def _copies(config: LabelConfig, problems: Sequence[Problem]) -> list[int]:
    return [config.labels.copies] * len(problems)


def _task(config: LabelConfig, question: Question) -> Task:
    labels = config.labels
    return Task(question, labels.search(question), UNLIMITED, config.seed, labels.copies, labels.num_attempts)


def _run(
    config: LabelConfig,
    problems: Sequence[Problem],
    mine: Sequence[LabelUnit],
    folder: RunFolder,
    journals: Journals,
    meter: Meter,
    peers: Peers,
    say: Callable[[str], None],
) -> None:
    """Samples, grades and journals this process's share of the missing questions."""
    config, session, _ = open_session(config, problems, _copies(config, problems), {} if mine else None, folder, peers, say)
    if session is None:
        return
    meter.start()
    tasks = [_task(config, unit.problem.question) for unit in mine]

    def tell(finished: LabelledQuestion | None = None) -> None:
        meter.drawn(session.timing.tokens)
        meter.tell(finished)

    with Grader(num_workers=1) as grader:
        results: Iterator[tuple[int, Any]] = drive(tasks, session, {}, on_tick=tell)
        for index, drawn in results:
            unit = mine[index]
            labelled = config.labels.label(unit.problem, config.seed, drawn, grader, on_tick=tell)
            journals.append(unit.key, labelled)
            write_timing(folder, unit.key, meter, session, peers)
            tell(labelled)


def _write(labels: Labelling, folder: RunFolder, entries: Sequence[Any]) -> None:
    """Derives the data set and its summary from the journals, in the order of the question ids."""
    try:
        questions = sorted(map(labelled_from, entries), key=lambda question: question.question_id)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f'{folder.path}: a journal was written by another version of this program; use that one, or another --out.'
        ) from error
    folder.write_text('summary.json', json.dumps(summary_of(labels, questions), indent=2, sort_keys=True) + '\n')
    from jaxreason.data.label_set import write_labels

    write_labels(folder.path / 'labels', list(itertools.chain.from_iterable(question.solutions for question in questions)))


def summary_of(labels: Labelling, questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
    """What a run has made, as JSON values without a clock time.

    Args:
        labels: the kind that was made.
        questions: all of them.
    """
    solutions = [solution for question in questions for solution in question.solutions]
    dropped: Counter[str] = Counter()
    for question in questions:
        dropped.update(question.dropped)
    cost = total(cost_from(question.cost) for question in questions)
    return {
        'questions': len(questions),
        'samples': len(solutions) + dropped.total(),
        'kept': len(solutions),
        'dropped': dict(dropped),
        'correct': sum(solution.is_correct for solution in solutions),
        **labels.summary(questions),
        'cost': cost._asdict(),
        'flops': cost.flops,
    }
