"""What a training run measures, as JSON Lines: a line a step, the same for a run that was stopped and one that was not.

`metrics.jsonl` holds no time. A run that goes on from a checkpoint cuts off what was written after it and writes it again.
Clock times go to `timing.jsonl`, on which nothing depends.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line

METRICS, TIMING = 'metrics.jsonl', 'timing.jsonl'


class Metrics:
    """The metrics of one run, open for appending.

    Attributes:
        step: that it was cut off after.
        held_out_losses: of the evaluations so far, in order: after which step, and the loss.
    """

    def __init__(self, run: Path, step: int):
        """Opens the file, cut off after a step.

        Args:
            run: folder of the run.
            step: the last one whose lines are kept.

        Raises:
            RunError: the file cannot be written, or lacks lines up to that step.
        """
        self.path = run / METRICS
        self.step = step
        self._timing = run / TIMING
        try:
            kept = _kept(self.path.read_bytes() if self.path.exists() else b'', step)
            self._file = self.path.open('ab')
            self._file.truncate(len(kept))
        except OSError as error:
            raise self._unwritable(error) from error
        lines = [json.loads(line) for line in kept.splitlines()]
        self.held_out_losses = [(line['step'], _number(line['held_out_loss'])) for line in lines if 'held_out_loss' in line]
        last = lines[-1]['step'] if lines else 0
        if last != step:
            self._file.close()
            raise RunError(
                f'{self.path}: ends at step {last}, the checkpoint is of step {step}; restore it or use another --out.'
            )

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds a line; one that is not finite is written as null. Errors as of the constructor."""
        finite = {name: _finite(value) for name, value in values.items()}
        try:
            self._file.write(to_line({'step': step, **finite}).encode() + b'\n')
        except OSError as error:
            raise self._unwritable(error) from error

    def time(self, values: Mapping[str, Any]) -> None:
        """Adds a line to `timing.jsonl`; errors as of the constructor."""
        try:
            with self._timing.open('a', encoding='utf-8') as file:
                file.write(to_line(values) + '\n')
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Has every line reach the disk; errors as of the constructor."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> 'Metrics':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(
            f'{self.path}: cannot be written ({error.strerror or error}); free space and run the same command again.'
        )


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Reads the lines of a run.

    Raises:
        RunError: there are none, or a line is damaged.
    """
    try:
        return [json.loads(line) for line in (run / METRICS).read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f'{run / METRICS}: missing or damaged; is this the folder of a training run?') from error


def _kept(content: bytes, step: int) -> bytes:
    """The whole lines at the start that are of steps up to `step`."""
    size = 0
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b'\n') or json.loads(line)['step'] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        size += len(line)
    return content[:size]


def _number(value: Any) -> float:
    return float('nan') if value is None else float(value)


def _finite(value: Any) -> Any:
    # Infinity minus itself is no number, so this tells apart what JSON can hold.
    return None if isinstance(value, float) and value - value != 0.0 else value
