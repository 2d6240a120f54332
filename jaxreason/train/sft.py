"""Supervised fine-tuning: a policy learns worked solutions, token by token (`jaxreason train sft`)."""

import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.core.keys import check_seed
from jaxreason.core.source_tree import commit
from jaxreason.data.batches import Batch, Batches, Rows, in_batches, pack
from jaxreason.data.examples import ExampleSpec, load_examples
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.mesh import use_mesh
from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.dry_run import describe_training
from jaxreason.train.loop import LoopConfig, Parts, Progress, fit, mean_over
from jaxreason.train.metrics import Metrics
from jaxreason.train.next_token import next_token_objective
from jaxreason.train.optimiser import OptimiserConfig, make_optimiser, rate_schedule
from jaxreason.train.policy import Beginning, TrainedModel, open_policy, training_mesh
from jaxreason.train.run_folder import TrainingFolder
from jaxreason.train.state import TrainState, make_evaluation, make_step

PACKAGES = ('jaxreason', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'tokenizers')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftConfig:
    """A policy learns worked solutions.

    Attributes:
        seed: of new parameters and of the order of the examples, in [0, 2^32).
        model: what is trained.
        data: worked solutions to learn.
        prompt: how a question becomes a prompt; the policy is to be sampled with the same.
        optimiser: AdamW.
        loop: how long, in what portions.
    """

    seed: int = 0
    model: TrainedModel
    data: ExampleSpec
    prompt: PromptSpec = PromptSpec()
    optimiser: OptimiserConfig = OptimiserConfig()
    loop: LoopConfig

    def __post_init__(self):
        check_seed(self.seed)
        size = (self.model.mesh or {}).get('data', 1)
        if size > 0 and self.loop.batch // self.loop.accumulate % size:
            raise ConfigError(
                f'loop.batch / loop.accumulate must be a multiple of model.mesh.data ({size}), '
                f'got {self.loop.batch} / {self.loop.accumulate}.'
            )


def load_rows(config: SftConfig, policy: Beginning, say: Callable[[str], None]) -> tuple[Rows, Rows | None]:
    """Packed rows to learn from, and held-out ones; says what was too long. Errors as of `load_examples` and `pack`."""
    longest = policy.config.max_context
    if config.loop.length > longest:
        raise ConfigError(f'loop.length must be at most the context of the model, {longest} tokens, got {config.loop.length}.')
    packed: list[Rows | None] = []
    for name, examples in zip(('', 'held-out '), load_examples(config.data, config.prompt, policy.tokenizer), strict=True):
        rows, too_long = pack(examples, config.loop.length) if examples else (None, 0)
        if too_long:
            say(f'{too_long:,} of {len(examples):,} {name}examples are longer than {config.loop.length} tokens and left out')
        packed.append(rows)
    train, held_out = packed
    assert train is not None
    return train, held_out


def train(
    config: SftConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains, or goes on where an earlier session stopped.

    Args:
        config: of the run.
        out: the run folder; `jaxreason.load` takes it as a model.
        report: told after every step; what it raises stops the run, `KeyboardInterrupt` after a checkpoint.
        say: told what a reader should know.

    Returns:
        `out`.

    Raises:
        JaxreasonError: configuration, weights, data or folder cannot be used, or training diverged.
    """
    with TrainingFolder(out, config_files.dump(config), config.loop.steps) as folder:
        policy = open_policy(config.model)
        rows, held_out = load_rows(config, policy, say)
        folder.check_environment(_environment(config, policy, rows, held_out))
        mesh = training_mesh(config.model)
        with use_mesh(mesh), Checkpoints(out, config.loop.keep, policy.files, say) as checkpoints:
            state = _begin(config, policy, mesh)
            batches = Batches(rows, batch=config.loop.batch, seed=config.seed)
            restored = checkpoints.restore(state, batches.restore)
            start = 0 if restored is None else restored.step
            state = state if restored is None else restored.state
            if start >= config.loop.steps:
                say(f'{out}: finished at step {start}; there is nothing left to do')
                return out
            if start:
                say(f'{out}: goes on from step {start} of {config.loop.steps}')
            with Metrics(out, start) as metrics:
                fit(config.loop, _parts(config, policy, mesh, batches, held_out, checkpoints, metrics), state, start, report)
    return out


def describe(config: SftConfig) -> str:
    """Says what a run would do; reads examples and headers of weights, compiles nothing. Errors as of `train`."""
    notes: list[str] = []
    policy = open_policy(config.model)
    rows, held_out = load_rows(config, policy, notes.append)
    return '\n'.join([*notes, describe_training(config.loop, config.model, policy.config, rows, held_out)])


def _begin(config: SftConfig, policy: Beginning, mesh: Any) -> TrainState:
    """The state before the first step, on the devices."""
    params = policy.parameters(config.seed, mesh)
    optimiser = make_optimiser(config.optimiser, config.loop.steps)
    state = TrainState.begin(params, optimiser)
    if mesh is None:
        return jax.device_put(state, jax.local_devices()[0])
    # What has a parameter's shape lies as that parameter does, counters everywhere.
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda x: x if isinstance(x.sharding, NamedSharding) and x.ndim else jax.device_put(x, everywhere), state
    )


def _parts(
    config: SftConfig,
    policy: Beginning,
    mesh: Any,
    batches: Batches,
    held_out: Rows | None,
    checkpoints: Checkpoints,
    metrics: Metrics,
) -> Parts:
    model = config.model
    objective = next_token_objective(policy.config, unrolled=model.layers == 'unrolled', remat=model.remat == 'layers')
    optimiser = make_optimiser(config.optimiser, config.loop.steps)
    schedule = rate_schedule(config.optimiser, config.loop.steps)
    where = jax.local_devices()[0] if mesh is None else NamedSharding(mesh, PartitionSpec('data'))

    def place(batch: Batch) -> Any:
        return jax.device_put(dict(batch), where)

    evaluate = None
    if held_out is not None:
        portion = config.loop.batch // config.loop.accumulate
        evaluate = mean_over(make_evaluation(objective), place, in_batches(held_out, portion))
    step = make_step(objective, optimiser, schedule, config.loop.accumulate)
    return Parts(step, batches, place, evaluate, checkpoints, metrics)


def _environment(config: SftConfig, policy: Beginning, rows: Rows, held_out: Rows | None) -> dict[str, Any]:
    """What the run was made with, as JSON values."""
    device = jax.local_devices()[0]
    return {
        'commit': commit(),
        'data': rows.digest(),
        'device': f'{device.platform} {device.device_kind} x {jax.local_device_count()}',
        'held_out': None if held_out is None else held_out.digest(),
        'machine': platform.machine(),
        'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
        'parameters': policy.config.num_parameters,
        'python': platform.python_version(),
        'rows': {'number': len(rows), 'fill': round(rows.fill, 4), 'tokens': rows.num_tokens, 'targets': rows.num_targets},
        'seed': config.seed,
        'tokenizer': policy.tokenizer_digest(),
        'weights': policy.digest(config.seed),
    }
