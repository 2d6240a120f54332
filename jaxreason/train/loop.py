"""The training loop: batches in, updates, metrics, held-out evaluation, checkpoints; stops and goes on at any step.

It knows no objective. What it is given decides what is trained; what it promises is the same for all: a run that is killed and
started again ends with the parameters and the metrics of one that was not.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.core.errors import ConfigError, DivergedError
from jaxreason.data.batches import Batch, Batches
from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.metrics import Metrics
from jaxreason.train.patience import Patience
from jaxreason.train.state import Step, Sums, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and in what portions.

    Attributes:
        steps: updates in all.
        batch: rows of an update.
        length: tokens of a row.
        accumulate: parts that a batch is cut into where it does not fit the memory at once; divides `batch`.
        save_every: steps between checkpoints; the last step is always saved.
        keep: newest checkpoints to keep.
        evaluate_every: steps between evaluations on held-out examples, if there are any; the last step is always evaluated.
        patience: evaluations in a row without a lower held-out loss than the lowest before, after which training stops; then
            the checkpoint with the lowest is kept and loaded, not the last. None goes on to the end and loads that.
        after_lowest: with `patience`, the checkpoint that is kept and loaded is that of so many evaluations after the lowest
            held-out loss, or the last one where training ends before: for models whose held-out examples are not what they
            will be asked, so that its loss rises too early.
        give_up_after: steps in a row whose loss or gradient is not finite, after which training stops; none is an update.
    """

    steps: int
    batch: int = 8
    length: int = 256
    accumulate: int = 1
    save_every: int = 500
    keep: int = 2
    evaluate_every: int = 500
    patience: int | None = None
    after_lowest: int = 0
    give_up_after: int = 10

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), int(field.name != 'after_lowest')
            if value is not None and value < least:
                raise ConfigError(f'{field.name} must be at least {least}, got {value}.')
        if self.after_lowest and self.patience is None:
            raise ConfigError(
                f'after_lowest needs patience: without it the last checkpoint is loaded, got {self.after_lowest}.'
            )
        if self.patience is not None and self.after_lowest > self.patience:
            raise ConfigError(
                f'after_lowest must be at most patience ({self.patience} evaluations, after which training stops), '
                f'got {self.after_lowest}.'
            )
        if self.batch % self.accumulate:
            raise ConfigError(f'accumulate must divide batch ({self.batch} rows), got {self.accumulate}.')


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands, told after every step.

    Attributes:
        step: steps taken, earlier sessions included.
        steps: in all.
        loss: of the latest step that is known, mean over its targets.
        tokens_per_second: read by the model since this session was under way; 0 before.
        seconds_left: expected; None before that is known.
        held_out: what the latest evaluation found, if this step had one.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float | None
    held_out: Mapping[str, float] | None = None


class Parts(NamedTuple):
    """What a loop works with.

    Attributes:
        step: as of `make_step`.
        batches: where training examples come from.
        place: brings a batch to the devices.
        evaluate: measures parameters on held-out examples, `loss` among others; None where there are none.
        checkpoints: where the state is kept.
        metrics: where measurements are written.
    """

    step: Step
    batches: Batches
    place: Callable[[Batch], Any]
    evaluate: Callable[[Any], Mapping[str, float]] | None
    checkpoints: Checkpoints
    metrics: Metrics


def fit(
    config: LoopConfig,
    parts: Parts,
    state: TrainState,
    start: int,
    patience: Patience,
    report: Callable[[Progress], None] = lambda _: None,
) -> TrainState:
    """Trains from a step on to the last, or until patience is over, saving on the way.

    Args:
        config: how long.
        parts: what with.
        state: at step `start`; its memory is taken.
        start: steps taken before.
        patience: has heard of the evaluations before.
        report: told after every step. What it raises stops the run at that step: `KeyboardInterrupt` after a checkpoint.

    Returns:
        The state after the last step that was taken.

    Raises:
        DivergedError: too many steps in a row had no finite loss or gradient.
        RunError: metrics or a checkpoint cannot be written.
    """
    return _Loop(config, parts, state, start, patience, report).run()


class _Loop:
    def __init__(
        self,
        config: LoopConfig,
        parts: Parts,
        state: TrainState,
        start: int,
        patience: Patience,
        report: Callable[[Progress], None],
    ):
        self.config = config
        self.parts = parts
        self.state = state
        self.done = start
        self.patience = patience
        self.report = report
        self.pending: list[tuple[int, Sums, int]] = []  # steps under way: number, what they measure, tokens
        self.loss = float('nan')
        self.began: float | None = None  # when the first step of the session was through: what follows compiles nothing
        self.tokens = 0
        self.steps_timed = 0

    def run(self) -> TrainState:
        saved = self.done
        try:
            self._tell(None)
            while self.done < self.config.steps and not self.patience.is_over:
                self._step()
                held_out = self._evaluate() if self._is_due(self.config.evaluate_every) else None
                is_last = self.done == self.config.steps
                is_best = held_out is not None and self.patience.hear(held_out['loss'], is_last)
                if self._is_due(self.config.save_every) or is_best or self.patience.is_over:
                    self._save(is_best)
                    saved = self.done
                self.parts.checkpoints.check()
                self._tell(held_out)
        except KeyboardInterrupt:
            if saved < self.done:
                self._save()
            self.parts.checkpoints.wait()
            raise
        self.parts.checkpoints.wait()
        return self.state

    def _is_due(self, every: int) -> bool:
        return self.done % every == 0 or self.done == self.config.steps

    def _step(self) -> None:
        batch = next(self.parts.batches)
        tokens = int(np.count_nonzero(batch['positions'] >= 0))
        self.state, measured = self.parts.step(self.state, self.parts.place(batch))
        self.done += 1
        self.pending.append((self.done, measured, tokens))
        self._drain(1)  # the device has the next step to do while the host reads what the last one measured

    def _drain(self, left: int) -> None:
        """Writes what the steps under way have measured, but for the last `left`."""
        while len(self.pending) > left:
            step, measured, tokens = self.pending.pop(0)
            values = {name: value.item() for name, value in jax.device_get(measured).items()}
            in_row = values.pop('skipped_in_row')
            self.parts.metrics.write(step, {**values, 'tokens': tokens})
            self.loss = values['loss']
            self._count(step, tokens)
            if in_row >= self.config.give_up_after:
                self.parts.metrics.sync()
                raise DivergedError(
                    f'step {step}: loss or gradient was not finite {in_row} steps in a row; '
                    'lower optimiser.learning_rate or look at the examples, and start in a new folder.'
                )

    def _count(self, step: int, tokens: int) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now
            return
        self.tokens += tokens
        self.steps_timed += 1
        if self._is_due(100):
            seconds = now - self.began
            self.parts.metrics.time({'step': step, 'seconds': round(seconds, 3), 'tokens_per_second': self.tokens / seconds})

    def _evaluate(self) -> Mapping[str, float] | None:
        if self.parts.evaluate is None:
            return None
        self._drain(0)
        found = self.parts.evaluate(self.state.params)
        self.parts.metrics.write(self.done, {f'held_out_{name}': value for name, value in found.items()})
        return found

    def _save(self, is_best: bool = False) -> None:
        self._drain(0)
        self.parts.metrics.sync()
        self.parts.checkpoints.save(self.done, self.state, self.parts.batches.state(), is_best)

    def _tell(self, held_out: Mapping[str, float] | None) -> None:
        speed, left = 0.0, None
        if self.began is not None and self.steps_timed:
            seconds = time.monotonic() - self.began
            speed = self.tokens / seconds
            left = seconds / self.steps_timed * (self.config.steps - self.done)
        self.report(Progress(self.done, self.config.steps, self.loss, speed, left, held_out))


def mean_over(
    evaluation: Callable[[Any, Any], Sums], place: Callable[[Batch], Any], batches: Iterable[Batch]
) -> Callable[[Any], Mapping[str, float]]:
    """What a loop asks of held-out examples.

    Args:
        evaluation: as of `make_evaluation`.
        place: brings a batch to the devices.
        batches: all of them; read once.

    Returns:
        A function of parameters: `loss` and every other sum of the objective, divided by the weight.
    """
    kept = [place(batch) for batch in batches]

    def evaluate(params: Any) -> dict[str, float]:
        found = [jax.device_get(evaluation(params, batch)) for batch in kept]
        sums = {name: float(np.sum([each[name] for each in found], dtype=np.float64)) for name in found[0]}
        weight = max(sums.pop('weight'), 1.0)
        return {('loss' if name == 'total' else name): total / weight for name, total in sums.items()}

    return evaluate
