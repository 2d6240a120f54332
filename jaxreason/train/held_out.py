"""A verifier measured on the labelled solutions of questions that it was not trained on."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.core.files import write_whole
from jaxreason.core.judgement import JudgedSolution, summarise
from jaxreason.data.batches import Rows
from jaxreason.data.label_examples import JudgedExample

HELD_OUT = 'held_out.json'  # in the run folder


class HeldOut(NamedTuple):
    """Labelled solutions in rows.

    Attributes:
        examples: all of them fit into a row.
        rows: that they were packed into.
    """

    examples: Sequence[JudgedExample]
    rows: Rows

    def judge(self, odds: Callable[[Any, Any], jax.Array], params: Any, batches: Iterable[Any]) -> list[JudgedSolution]:
        """Scores the steps that have a target.

        Args:
            odds: of parameters and a batch, log-odds at every position.
            params: of the verifier, its head among them.
            batches: the rows in order, placed; what is behind the last row is passed over.
        """
        odds_rt = np.concatenate([np.asarray(odds(params, batch), np.float64) for batch in batches])
        scores_rt = 1.0 / (1.0 + np.exp(-np.clip(odds_rt, -700, 700)))
        judged = []
        for row in range(len(self.rows)):
            begin = 0
            for member in self.rows.members(row):
                example = self.examples[member]
                found = [
                    (float(scores_rt[row, begin + read]), target)
                    for read, target in zip(example.laid.reads, example.targets, strict=True)
                    if target is not None
                ]
                scores, targets = zip(*found, strict=True)
                judged.append(JudgedSolution(example.solution.question_id, scores, targets, example.solution.is_correct))
                begin += example.num_inputs
        return judged


def write_held_out(
    out: Path, judged: Sequence[JudgedSolution], left_out: Mapping[str, int], say: Callable[[str], None]
) -> None:
    """Writes what there is to say to `held_out.json`, and says the main numbers.

    Targets are the labels themselves: what can be reached here is limited by how noisy they are.

    Args:
        out: the run folder.
        judged: of `HeldOut.judge`.
        left_out: solutions that could not be learnt from, by reason.
        say: told one line.

    Raises:
        RunError: the file cannot be written.
    """
    content = {**summarise(judged), 'left_out': dict(sorted(left_out.items()))}
    write_whole(out / HELD_OUT, json.dumps(content, indent=1, sort_keys=True) + '\n')
    shown = {
        'loss': content['loss'],
        'accuracy': content['accuracy'],
        'AUC': content['step_auc'],
        'AUC of the last score against the answer within questions': content['within_question_auc']['last'],
    }
    found = ', '.join(f'{name} {_with_interval(value)}' for name, value in shown.items() if value is not None)
    say(f'{content["num_questions"]:,} held-out questions, {content["num_steps"]:,} labelled steps: {found}')


def _with_interval(value: Mapping[str, Any]) -> str:
    if value['low'] is None:
        return f'{value["point"]:.3f} [none]'
    return f'{value["point"]:.3f} [{value["low"]:.3f}, {value["high"]:.3f}]'
