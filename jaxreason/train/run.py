"""A training run from its configuration to its folder: what is the same whatever is trained."""

import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.core.keys import check_seed
from jaxreason.core.source_tree import commit
from jaxreason.data.batches import Batch, Batches, Rows, in_batches
from jaxreason.engine.mesh import use_mesh
from jaxreason.models.manifest import best_step
from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.frozen import is_worth_keeping, with_states
from jaxreason.train.loop import LoopConfig, Parts, Progress, fit, mean_over
from jaxreason.train.metrics import Metrics
from jaxreason.train.optimiser import OptimiserConfig, Rates, make_optimiser, rate_schedule
from jaxreason.train.patience import Patience
from jaxreason.train.policy import Beginning, TrainedModel, training_mesh
from jaxreason.train.run_folder import TrainingFolder
from jaxreason.train.state import Objective, TrainState, make_evaluation, make_step

PACKAGES = ('jaxreason', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'tokenizers')

Place = Callable[[Batch], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training run is told.

    Attributes:
        seed: of new parameters, of the order of the examples and of noise, in [0, 2^32).
        model: what is trained.
        dropout: share of what attention and MLP add to the residual stream that is left out while training.
        optimiser: which one, and how its rate goes.
        loop: how long, in what portions.
    """

    seed: int = 0
    model: TrainedModel
    dropout: float = 0.0
    optimiser: OptimiserConfig = OptimiserConfig()
    loop: LoopConfig

    def __post_init__(self):
        check_seed(self.seed)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f'dropout must be a share in [0, 1), got {self.dropout}.')
        size = (self.model.mesh or {}).get('data', 1)
        if size > 0 and self.loop.batch // self.loop.accumulate % size:
            raise ConfigError(
                f'loop.batch / loop.accumulate must be a multiple of model.mesh.data ({size}), '
                f'got {self.loop.batch} / {self.loop.accumulate}.'
            )

    def check_patience(self, held_out: float, field: str) -> None:
        """Refuses to wait for a held-out loss that nobody measures."""
        if self.loop.patience is not None and not held_out:
            raise ConfigError(f'loop.patience needs held-out questions: set {field} above 0, or patience: null.')

    def check_length(self, policy: Beginning) -> None:
        """Refuses rows that are longer than the model can read."""
        longest = policy.config.max_context
        if self.loop.length > longest:
            raise ConfigError(
                f'loop.length must be at most the context of the model, {longest} tokens, got {self.loop.length}.'
            )


class Task(NamedTuple):
    """What a run trains.

    Attributes:
        policy: the model that it begins with.
        parameters: makes all parameters, placed on a mesh or on one device.
        objective: what is minimised.
        rows: to learn from.
        held_out: to measure on, or None.
        files: what checkpoints hold besides arrays, by name.
        environment: what is worth noting besides what every run notes.
        rates: learning rates that differ from the optimiser's, by parameter.
        finish: told the parameters on the devices once a run has ended, with how to place a batch; the best, where those are
            kept.
        states: of parameters and a batch, what the objective would else make of it at every step; None where that changes.
    """

    policy: Beginning
    parameters: Callable[[Any], Any]
    objective: Objective
    rows: Rows
    held_out: Rows | None
    files: Mapping[str, str]
    environment: Mapping[str, Any] = {}
    rates: Rates | None = None
    finish: Callable[[Any, Place], None] | None = None
    states: Callable[[Any, Any], jax.Array] | None = None


def run_training(
    config: TrainConfig,
    prepare: Callable[[], Task],
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains, or goes on where an earlier session stopped.

    Args:
        config: of the run.
        prepare: finds out what is trained; called once the folder is held.
        out: the run folder.
        report: told after every step; what it raises stops the run, `KeyboardInterrupt` after a checkpoint.
        say: told what a reader should know.

    Returns:
        `out`.

    Raises:
        JaxreasonError: configuration, weights, data or folder cannot be used, or training diverged.
    """
    with TrainingFolder(out, config_files.dump(config), config.loop.steps) as folder:
        task = prepare()
        folder.check_environment(_environment(config, task))
        mesh = training_mesh(config.model)
        with use_mesh(mesh), Checkpoints(out, config.loop.keep, task.files, say) as checkpoints:
            optimiser = make_optimiser(config.optimiser, config.loop.steps, task.rates)
            state = _begin(task, optimiser, mesh)
            batches = Batches(task.rows, batch=config.loop.batch, seed=config.seed)
            restored = checkpoints.restore(state, batches.restore)
            start = 0 if restored is None else restored.step
            state = state if restored is None else restored.state
            with Metrics(out, start) as metrics:
                patience = Patience(config.loop.patience, config.loop.after_lowest)
                patience.resume(metrics, checkpoints, config.loop.steps)
                if start >= config.loop.steps or patience.is_over:
                    say(f'{out}: finished at step {start}; there is nothing left to do')
                else:
                    if start:
                        say(f'{out}: goes on from step {start} of {config.loop.steps}')
                    task, batches = _known(config, task, state.params, mesh, batches)
                parts = _parts(config, task, optimiser, mesh, batches, checkpoints, metrics)
                state = fit(config.loop, parts, state, start, patience, report)
            if patience.is_over:
                best = best_step(out)
                chosen = '' if best is None else f'; step {best} is the one to load'
                say(
                    f'{out}: stopped at step {int(state.step)}, '
                    f'no lower held-out loss for {patience.waited} evaluations{chosen}'
                )
            if task.finish is not None:
                task.finish(checkpoints.best(state), parts.place)
    return out


def _begin(task: Task, optimiser: optax.GradientTransformation, mesh: Any) -> TrainState:
    """The state before the first step, on the devices."""
    state = TrainState.begin(task.parameters(mesh), optimiser)
    if mesh is None:
        return jax.device_put(state, jax.local_devices()[0])
    # What has a parameter's shape lies as that parameter does, counters everywhere.
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda x: x if isinstance(x.sharding, NamedSharding) and x.ndim else jax.device_put(x, everywhere), state
    )


def _placing(mesh: Any) -> Place:
    where = jax.local_devices()[0] if mesh is None else NamedSharding(mesh, PartitionSpec('data'))
    return lambda batch: jax.device_put(dict(batch), where)


def _known(config: TrainConfig, task: Task, params: Any, mesh: Any, batches: Batches) -> tuple[Task, Batches]:
    """Rows with their states, where those stay the same and are worth keeping; batches go on where they stood."""
    if not _keeps_states(config, task):
        return task, batches
    assert task.states is not None
    states = jax.jit(task.states)

    def known(rows: Rows) -> Rows:
        return with_states(rows, batches_in_order(config, rows), lambda batch: states(params, batch), _placing(mesh))

    task = task._replace(rows=known(task.rows), held_out=None if task.held_out is None else known(task.held_out))
    again = Batches(task.rows, batch=config.loop.batch, seed=config.seed)
    again.restore(batches.state())
    return task, again


def _keeps_states(config: TrainConfig, task: Task) -> bool:
    num_read = config.loop.steps * config.loop.batch
    return task.states is not None and is_worth_keeping(task.policy.config, task.rows, num_read)


def _parts(
    config: TrainConfig,
    task: Task,
    optimiser: optax.GradientTransformation,
    mesh: Any,
    batches: Batches,
    checkpoints: Checkpoints,
    metrics: Metrics,
) -> Parts:
    place, evaluate = _placing(mesh), None
    if task.held_out is not None:
        evaluate = mean_over(make_evaluation(task.objective), place, batches_in_order(config, task.held_out))
    schedule = rate_schedule(config.optimiser, config.loop.steps)
    step = make_step(task.objective, optimiser, schedule, config.loop.accumulate, config.seed)
    return Parts(step, batches, place, evaluate, checkpoints, metrics)


def batches_in_order(config: TrainConfig, rows: Rows) -> Iterable[Batch]:
    """All rows in order, in batches as large as the parts that training cuts its own into."""
    return in_batches(rows, config.loop.batch // config.loop.accumulate)


def _environment(config: TrainConfig, task: Task) -> dict[str, Any]:
    """What the run was made with, as JSON values."""
    device, rows, policy = jax.local_devices()[0], task.rows, task.policy
    return {
        'commit': commit(),
        'data': rows.digest(),
        'device': f'{device.platform} {device.device_kind} x {jax.local_device_count()}',
        'held_out': None if task.held_out is None else task.held_out.digest(),
        'machine': platform.machine(),
        'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
        'parameters': policy.config.num_parameters,
        'python': platform.python_version(),
        'rows': {
            'number': len(rows),
            'examples': rows.num_examples,
            'fill': round(rows.fill, 4),
            'tokens': rows.num_tokens,
            'targets': rows.num_targets,
        },
        'seed': config.seed,
        **({'states': 'once'} if _keeps_states(config, task) else {}),  # of rows; else of every batch
        'tokenizer': policy.tokenizer_digest(),
        'weights': policy.digest(config.seed),
        **task.environment,
    }
