"""The other job of `evaluate`: a verifier judges solutions whose first wrong step is known.

There is no policy and nothing is drawn: texts go in, a score for every step comes out. A unit is one solution; the verifier
takes them in batches of its own size, shortest first, so that a batch is of one length and the first results come soon. What a
solution is given depends neither on its neighbours nor on the order, so `judgements.jsonl`, derived from the journals in the
order of the ids, has the same bytes whether the run was killed or not.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.core.judged_steps import JUDGEMENTS, JudgedSteps, judged_from
from jaxreason.core.quantities import quantity
from jaxreason.core.records import cost_fields, to_line
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.data.step_labelled import LabelledSteps, SolutionSpec, load_solutions
from jaxreason.engine.peers import Peers
from jaxreason.engine.reward_model import RewardModel
from jaxreason.engine.verifier_loading import load_verifier, open_verifier
from jaxreason.evaluate.environment import describe_machine
from jaxreason.evaluate.folder import RunFolder
from jaxreason.evaluate.inspection import aligned
from jaxreason.evaluate.journals import Journals
from jaxreason.evaluate.runner import Meter, Progress, agree, open_folder, settle_environment

PINNED = ('verifiers', 'data', 'device', 'packages')  # a run that is resumed must have these as they were


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepJudgementConfig:
    """Solutions with a known first wrong step -> a score for every step.

    Attributes:
        solutions: which.
        verifier: who judges them.
    """

    solutions: SolutionSpec
    verifier: VerifierChoice

    def __post_init__(self):
        if self.verifier.on == 'policy':
            raise ValueError('verifier.on must be own: nothing is sampled here that a head on the policy could be read from.')


def judge_solutions(
    config: StepJudgementConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    peers: Peers | None = None,
) -> None:
    """Judges what is missing of a run; process 0 writes the judgements.

    Args:
        config: what to do.
        out: the run folder; the processes may share it, or have one each.
        report: told of progress; what it raises stops the run between two batches, with everything finished kept.
        say: told in a line what takes time before the first solution.
        peers: the processes of the run, all of which call this; None for a process alone.

    Raises:
        JaxreasonError: the configuration, solutions, weights or folder cannot be used, or the processes disagree.
    """
    peers = peers or Peers()
    solutions = load_solutions(config.solutions)
    inputs = {'data': hashlib.sha256(''.join(to_line(solution) for solution in solutions).encode()).hexdigest()}
    given = (config_files.dump(config), json.dumps(inputs, indent=0))
    for what, mine in zip(('configuration', 'data'), given, strict=True):
        agree(peers, what, mine)
    with open_folder(out, config_files.dump(config), peers) as folder:
        journals = Journals(out, peers.index)
        try:
            folder.check_inputs(inputs)
            done = {key for keys in peers.exchange('done', json.dumps(list(journals.entries))) for key in json.loads(keys)}
            missing = [solution for solution in solutions if solution.id not in done]
            meter = Meter(peers, report, len(solutions) - len(missing), len(solutions))
            if missing:
                say(f'{len(missing)} of {len(solutions)} solutions to judge; loading {config.verifier.source}')
                _run(config, inputs, missing[peers.index :: peers.count], folder, journals, meter, peers)
                peers.exchange('through', '', meter.tell)
                meter.end()
            journals.gather(peers, [solution.id for solution in solutions], meter.tell)
            if peers.is_first:
                _write(folder, [journals.entries[solution.id] for solution in solutions])
            peers.exchange('written', '', meter.tell)
        finally:
            journals.close()


def _run(
    config: StepJudgementConfig,
    inputs: Mapping[str, str],
    mine: Sequence[LabelledSteps],
    folder: RunFolder,
    journals: Journals,
    meter: Meter,
    peers: Peers,
) -> None:
    """Scores and journals this process's share of the missing solutions."""
    verifier = _load(config.verifier) if mine else None
    environment = {**inputs, **describe_machine(peers.count), 'verifiers': {'verifier': verifier.digest}} if verifier else None
    settle_environment(folder, environment, peers, PINNED)
    if verifier is None:
        return
    meter.start()
    tokens = 0
    for batch in batches(verifier, mine):
        for judged in judge(verifier, batch):
            journals.append(judged.id, judged)
            tokens += judged.cost.get('scored_tokens', 0)
            meter.drawn(tokens)
            folder.append_line(
                'timing.jsonl' if peers.is_first else f'timing-{peers.index}.jsonl',
                {'unit': judged.id, 'at_seconds': round(meter.seconds, 3), 'tokens': tokens},
            )
            meter.tell(judged)
        meter.tell()


def _load(choice: VerifierChoice) -> RewardModel:
    return load_verifier(**choice.alone)


def row_of(solution: LabelledSteps) -> Row:
    """A solution as verifiers take it: the text of its steps counts, there are no tokens."""
    return Row(
        handle=0,  # nothing is kept of a row that has ended, so rows need no names
        question=Question(solution.question_id, solution.question),
        sample=0,
        text=''.join(solution.steps),
        steps=solution.steps,
        step_ends=tuple(range(1, len(solution.steps) + 1)),
        finish=Finish.STOP,
    )


def batches(verifier: RewardModel, solutions: Sequence[LabelledSteps]) -> Iterator[Sequence[LabelledSteps]]:
    """Solutions in batches of the verifier's rows, shortest first: a price grows with the tokens alone."""
    ordered = sorted(solutions, key=lambda solution: (verifier.price(row_of(solution), 0), solution.id))
    return (ordered[at : at + verifier.spec.num_rows] for at in range(0, len(ordered), verifier.spec.num_rows))


def judge(verifier: RewardModel, solutions: Sequence[LabelledSteps]) -> list[JudgedSteps]:
    """Scores some solutions.

    Args:
        verifier: who judges them.
        solutions: at most as many as fit a batch of the device, if the others are not to wait.

    Returns:
        A judgement of each, in the same order; one that could not be scored says why.
    """
    scored = verifier.score([row_of(solution) for solution in solutions], None)
    return [
        JudgedSteps(
            id=solution.id,
            question_id=solution.question_id,
            group=solution.group,
            num_steps=len(solution.steps),
            first_wrong=solution.first_wrong,
            scores=scored.scores[index],
            unscored=scored.unscored[index].value if index in scored.unscored else None,
            cost=cost_fields(scored.costs[index]),
        )
        for index, solution in enumerate(solutions)
    ]


def _write(folder: RunFolder, entries: Sequence[Any]) -> None:
    """Derives the judgements from the journals, in the order of the ids."""
    try:
        judged = sorted(map(judged_from, entries), key=lambda solution: solution.id)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f'{folder.path}: a journal was written by another version of this program; use that one, or another --out.'
        ) from error
    folder.write_lines(JUDGEMENTS, judged)


def describe(config: StepJudgementConfig) -> str:
    """Says what a run would do, from the solutions and the headers of the weights alone.

    Args:
        config: of the run.

    Returns:
        Lines of text, each a heading and what belongs to it.

    Raises:
        JaxreasonError: the run would refuse the solutions, the weights or the tokenizer.
    """
    solutions = load_solutions(config.solutions)
    steps = sum(len(solution.steps) for solution in solutions)
    questions = len({solution.question_id for solution in solutions})
    right = sum(solution.first_wrong is None for solution in solutions)
    lines = [
        ('solutions', f'{len(solutions):,} of {questions:,} questions, {steps:,} steps; {right:,} have no wrong step'),
    ]
    if alone := sum(len(solution.steps) == 1 for solution in solutions):
        lines.append(('', f'{alone:,} are one step: there is no boundary in them'))
    verifier = open_verifier(config.verifier)
    prices = [verifier.price(row_of(solution), 0) for solution in solutions]  # 0 for what cannot be scored
    size = f'{verifier.config.num_parameters:,} parameters, context of {verifier.config.max_context:,} tokens'
    lines += [
        ('verifier', f'{verifier.name}: head {verifier.spec.head}, {size}'),
        ('unscored', f'{prices.count(0):,}: too long for the verifier, or no text for its tokenizer'),
        ('batches', f'{verifier.spec.num_rows} rows'),
        ('FLOPs', f'{quantity(sum(prices), "FLOPs")} for the whole run'),
    ]
    return aligned(lines)
