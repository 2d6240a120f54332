"""What every worker does: one JSON object a line on standard input, one a line on standard output.

`{"do": "load", "settings": {...}}` answers with versions; `{"do": "run", "workload": {...}, "seed": 1, "greedy": false}` with
the seconds from prompts to the last token and how many tokens each row got; `{"do": "train", "steps": 8}` with seconds and the
loss of each step. A worker imports nothing of this project but this
file, so that it runs in the environment of its peer.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Trainer(Protocol):
    """A program that trains."""

    def load(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Makes a model and its optimiser; returns versions."""

    def train(self, steps: int) -> Sequence[float]:
        """Takes steps; returns the loss of each, once the last one is through."""


class Contestant(Protocol):
    """A program that samples."""

    def load(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Loads a model; returns versions and what else describes the program."""

    def ready(self, workload: Mapping[str, Any], greedy: bool) -> None:
        """Does what comes before the clock: memory for keys and values, encoding of prompts; nothing of the prompts' work."""

    def run(self, workload: Mapping[str, Any], seed: int, greedy: bool) -> Sequence[Sequence[int]]:
        """Draws all rows of a workload from nothing but its token ids; returns the token ids of each row."""


def serve(contestant: Contestant | Trainer) -> None:
    """Answers until standard input ends. What libraries print goes to standard error."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the end of standard input must do
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = _answer(contestant, json.loads(line))
        except Exception as error:  # whatever a peer raises is told, and ends this worker
            print(json.dumps({'error': f'{type(error).__name__}: {error}'[:2000]}), file=answers, flush=True)
            raise
        print(json.dumps(answer), file=answers, flush=True)


def _answer(contestant: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    if asked['do'] == 'load':
        versions = contestant.load(asked['settings'])
        return {'versions': versions, 'seconds': time.perf_counter() - began}
    if asked['do'] == 'train':
        losses = contestant.train(asked['steps'])
        return {'seconds': time.perf_counter() - began, 'losses': list(losses)}
    contestant.ready(asked['workload'], asked['greedy'])
    began = time.perf_counter()
    rows = contestant.run(asked['workload'], asked['seed'], asked['greedy'])
    seconds = time.perf_counter() - began
    return {'seconds': seconds, 'counts': [len(row) for row in rows], 'head': [int(token) for token in rows[0][:16]]}


def rows_of_prompts(workload: Mapping[str, Any]) -> list[list[int]]:
    """For each prompt, the indices of its rows."""
    rows: list[list[int]] = [[] for _ in workload['prompts']]
    for index, (prompt, _) in enumerate(workload['rows']):
        rows[prompt].append(index)
    return rows
