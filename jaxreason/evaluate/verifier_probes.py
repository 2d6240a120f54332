"""How trained verifiers score answers that say nothing.

A verifier that has learned the look of a solution rewards an empty line or an opening phrase. Before a run samples, each
trained verifier scores three such answers to a few of its questions; the report sets them beside the scores of real solutions.
"""

import collections
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.core.protocols import Verifier
from jaxreason.core.stats import rounded
from jaxreason.core.types import Finish, Problem, Question, Row
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.evaluate.config import EvaluateConfig, load_policy, load_verifiers, step_judges, trained
from jaxreason.evaluate.folder import RunFolder

FILE = 'verifier_probes.json'
PROBES = {'blank': '\n', 'opener': "Let's think step by step.", 'thought process': 'Thought process:'}
NUM_QUESTIONS = 20


def write_probes(
    folder: RunFolder, config: EvaluateConfig, problems: Sequence[Problem], verifiers: Mapping[Any, Any] | None = None
) -> None:
    """Writes `verifier_probes.json` unless it is there, of these verifiers and questions, or no trained one judges solutions.

    Args:
        folder: of the run.
        config: of the run.
        problems: all of them; the first 20 are asked about.
        verifiers: loaded ones by name; None, for a run whose units are all finished, to load them if the file is missing.

    Raises:
        JaxreasonError: a verifier cannot be loaded or is another one than the run has used, or the file cannot be written.
    """
    path = folder.path / FILE
    choices, judges = trained(config.verifiers), step_judges(config.verifiers)
    if not judges or (verifiers is None and path.is_file()):
        return
    if verifiers is None:
        is_own = all(isinstance(choice, VerifierChoice) and choice.on == 'own' for choice in choices.values())
        policy = None if is_own else load_policy(config.model)
        loaded: Mapping[Any, Any] = load_verifiers(choices, policy, config.prompt)
    else:
        loaded = verifiers
    head = {
        'digests': {name: loaded[name].digest for name in choices},
        'probes': PROBES,
        'questions': [problem.id for problem in problems[:NUM_QUESTIONS]],
    }
    if verifiers is None:
        folder.check_environment({'verifiers': head['digests']}, ('verifiers',))
    elif path.is_file() and _head(path) == head:
        return
    questions = [problem.question for problem in problems[:NUM_QUESTIONS]]
    told = {**head, 'verifiers': {name: probe(loaded[name], questions) for name in judges}}
    folder.write_text(FILE, json.dumps(told, sort_keys=True, indent=1, allow_nan=False) + '\n')


def _head(path: Path) -> Any:
    """What the file is about: a run in which nothing was finished may have been begun with other verifiers or questions."""
    try:
        told = json.loads(path.read_text(encoding='utf-8'))
        return {name: told[name] for name in ('digests', 'probes', 'questions')}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is written anew


def probe(verifier: Verifier, questions: Sequence[Question]) -> dict[str, Any]:
    """Scores every probe as an answer of one step to every question.

    Returns:
        By probe JSON values: `scores`, one a question, None where it has none, and `unscored`, how many by reason.
    """
    return {
        name: _scored(verifier, [_row(index, q, text) for index, q in enumerate(questions)]) for name, text in PROBES.items()
    }


def _row(handle: int, question: Question, text: str) -> Row:
    return Row(handle=handle, question=question, sample=0, text=text, steps=(text,), step_ends=(1,), finish=Finish.STOP)


def _scored(verifier: Verifier, rows: Sequence[Row]) -> dict[str, Any]:
    if verifier.stats:  # it reads what the policy's sampler measured, and no sampler wrote this text
        return {'scores': [None] * len(rows), 'unscored': {'statistics': len(rows)}}
    found = verifier.score(rows, None)
    reasons = collections.Counter(reason.value for reason in found.unscored.values())
    return {'scores': [rounded(scores[-1]) if scores else None for scores in found.scores], 'unscored': dict(reasons)}
