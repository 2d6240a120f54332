"""Verifiers learn from labelled solutions (`jaxreason train prm`, `jaxreason train orm`).

A process reward model learns the label of every step, an outcome reward model whether the answer of the whole solution is
right. Both begin as the policy whose solutions they judge, with a head on it, and stop when the loss on held-out questions has.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.1 and appendices F and H: optimiser, dropout, early
    stop and soft labels are theirs.
"""

import abc
import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.keys import fold
from jaxreason.core.labels import LabelledSolution
from jaxreason.core.model_spec import ModelSpec
from jaxreason.core.verifier_spec import SPEC_FILE, VerifierSpec
from jaxreason.data.batches import Rows, pack
from jaxreason.data.label_examples import LabelSpec, load_labels, set_examples
from jaxreason.data.verifier_layout import Typesetter, token_id
from jaxreason.models.manifest import HEAD
from jaxreason.models.value_heads import head_parameters, init_head
from jaxreason.train.dry_run import describe_training
from jaxreason.train.held_out import HeldOut, write_held_out
from jaxreason.train.loop import LoopConfig, Progress
from jaxreason.train.optimiser import OptimiserConfig, Rates
from jaxreason.train.policy import Beginning, open_policy
from jaxreason.train.run import Place, Task, TrainConfig, batches_in_order, run_training
from jaxreason.train.step_scores import hidden_of, log_odds_of, step_score_objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardOptimiser(OptimiserConfig):
    """The optimiser as verifiers were trained with; the attributes are those of `OptimiserConfig`."""

    learning_rate: float = 3e-5
    schedule: Literal['constant', 'cosine', 'linear'] = 'constant'
    warmup_steps: int = 0
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardLoop(LoopConfig):
    """How long and in what portions; the attributes are those of `LoopConfig`."""

    batch: int = 128
    evaluate_every: int = 100
    patience: int | None = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig(TrainConfig, abc.ABC):
    """A verifier learns from labels.

    Attributes:
        labels: labelled solutions to learn.
        verifier: what it becomes: head, boundary rule, layout. Its `model` is left out: `model.source` says what it begins as.
        hidden: width of the head's hidden layer; None takes the head's own default.
        head_rate: the head learns at `optimiser.learning_rate` times this.
        trunk: whether the decoder below the head is `trained` or `frozen`, so that it stays the policy's.
    """

    dropout: float = 0.05
    labels: LabelSpec
    verifier: VerifierSpec
    hidden: int | None = None
    head_rate: float = 1.0
    trunk: Literal['trained', 'frozen'] = 'trained'
    optimiser: RewardOptimiser = RewardOptimiser()
    loop: RewardLoop

    def __post_init__(self):
        super().__post_init__()
        if self.verifier.model != ModelSpec():
            raise ConfigError('verifier.model must be left out: model.source says what the verifier begins as.')
        if self.hidden is not None and self.hidden < 1:
            raise ConfigError(f'hidden must be at least 1, or null, got {self.hidden}.')
        if self.hidden is not None and self.verifier.head == 'label':
            raise ConfigError('hidden must be left out: head label has no layer of its own.')
        if self.head_rate <= 0:
            raise ConfigError(f'head_rate must be above 0, got {self.head_rate}.')
        if self.trunk == 'frozen' and self.verifier.head == 'label':
            raise ConfigError('trunk must be trained: head label is made of rows of the decoder.')
        if self.trunk == 'frozen' and self.optimiser.kind == 'muon':
            raise ConfigError(
                'optimiser.kind must be adamw where trunk is frozen: Muon moves the matrices of the decoder alone.'
            )
        self.check_patience(self.labels.held_out, 'labels.held_out')

    @abc.abstractmethod
    def targets(self, solution: LabelledSolution) -> Sequence[float | None]:
        """What the score at the end of each step should be; None where it is left alone.

        Raises:
            DataError: the labels do not say.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrmConfig(RewardConfig):
    """A process reward model; the attributes are those of `RewardConfig`, and:

    Attributes:
        target: `soft`: the share of right rollouts; `hard`: whether any was right.
    """

    target: Literal['soft', 'hard'] = 'soft'

    def targets(self, solution: LabelledSolution) -> Sequence[float | None]:
        if len(solution.rollouts) < len(solution.steps):
            raise DataError(
                f'labels of question {solution.question_id[:80]}, sample {solution.sample}: expected rollouts from every step, '
                'got steps without; label with kind steps, or train orm, which learns from answers alone.'
            )
        return solution.soft if self.target == 'soft' else tuple(map(float, solution.hard))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrmConfig(RewardConfig):
    """An outcome reward model: only the end of a solution has a target; the attributes are those of `RewardConfig`."""

    def targets(self, solution: LabelledSolution) -> Sequence[float | None]:
        return (*(None for _ in solution.steps[1:]), float(solution.is_correct))


def train(
    config: RewardConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains a verifier, which `jaxreason.load_verifier` takes; arguments, result and errors as of `run_training`."""
    return run_training(config, lambda: _prepare(config, out, say), out, report, say)


def describe(config: RewardConfig) -> str:
    """Says what a run would do; reads labels and headers of weights, compiles nothing. Errors as of `train`."""
    notes: list[str] = []
    policy = open_policy(config.model)
    loaded = _load(config, policy, notes.append)
    held_out = None if loaded.held_out is None else loaded.held_out.rows
    return '\n'.join([*notes, describe_training(config, policy.config, loaded.train, held_out, config.trunk == 'frozen')])


class _Loaded(NamedTuple):
    train: Rows
    held_out: HeldOut | None
    lost: Mapping[str, int]  # solutions that are in neither, by reason
    num_tokens: float  # of a solution, their mean


def _load(config: RewardConfig, policy: Beginning, say: Callable[[str], None]) -> _Loaded:
    """Labels as packed rows; says what was left out."""
    config.check_length(policy)
    typesetter = Typesetter(config.verifier.layout, config.verifier.boundary, policy.tokenizer)
    parts: list[HeldOut] = []
    lost = Counter[str]()
    for name, solutions in zip(('', 'held-out '), load_labels(config.labels), strict=True):
        targets = [config.targets(solution) for solution in solutions]
        examples, unwritten = set_examples(solutions, targets, typesetter, config.loop.length)
        for reason, count in sorted(unwritten.items()):
            say(f'{count:,} of {len(solutions):,} {name}solutions are left out: {reason.value}')
            lost[reason.value] += count
        if solutions:
            parts.append(HeldOut(examples, pack(examples, config.loop.length)[0]))
    lengths = [example.num_inputs - example.laid.start for example in parts[0].examples]
    return _Loaded(parts[0].rows, parts[1] if len(parts) > 1 else None, dict(lost), sum(lengths) / len(lengths))


def _prepare(config: RewardConfig, out: Path, say: Callable[[str], None]) -> Task:
    policy = open_policy(config.model)
    loaded = _load(config, policy, say)
    labels = tuple(token_id(policy.tokenizer, text, 'label') for text in config.verifier.labels)
    is_frozen = config.trunk == 'frozen'
    odds = log_odds_of(
        policy.config,
        config.verifier.head,
        unrolled=config.model.layers == 'unrolled',
        remat=config.model.remat == 'layers',
        labels=labels,
        is_frozen=is_frozen,
    )
    spec = dataclasses.replace(config.verifier, model=ModelSpec(dtype=config.model.dtype))

    def finish(params: Any, place: Place) -> None:
        if loaded.held_out is not None:
            batches = batches_in_order(config, loaded.held_out.rows)
            judged = loaded.held_out.judge(
                jax.jit(lambda params, batch: odds(params, batch, None)), params, map(place, batches)
            )
            write_held_out(out, judged, loaded.lost, say)

    return Task(
        policy=policy,
        parameters=lambda mesh: _parameters(config, policy, mesh, loaded.num_tokens),
        objective=step_score_objective(odds, 0.0 if is_frozen else config.dropout),
        rows=loaded.train,
        held_out=None if loaded.held_out is None else loaded.held_out.rows,
        files={**policy.files, SPEC_FILE: config_files.dump(spec)},
        environment=_environment(config, policy),
        rates=_rates(config),
        finish=finish,
        states=_states(config, policy) if is_frozen else None,
    )


def _states(config: RewardConfig, policy: Beginning) -> Callable[[Any, Any], jax.Array]:
    read = hidden_of(policy.config, unrolled=config.model.layers == 'unrolled')
    return lambda params, batch: read({name: part for name, part in params.items() if name != HEAD}, batch, None)


def _parameters(config: RewardConfig, policy: Beginning, mesh: Any, num_tokens: float) -> dict[str, Any]:
    """Those of the decoder, and of a new head."""
    params = policy.parameters(config.seed, mesh)
    if config.verifier.head == 'label':
        return params
    key = fold(jax.random.key(config.seed, impl='threefry2x32'), 'head')
    head = init_head(config.verifier.head, policy.config, key, config.hidden, num_tokens)
    where = jax.local_devices()[0] if mesh is None else NamedSharding(mesh, PartitionSpec())
    return {**params, HEAD: jax.device_put(head, where)}


def _environment(config: RewardConfig, policy: Beginning) -> dict[str, int]:
    """Numbers in the matrices of a head of its own, by which its training is priced."""
    kind = config.verifier.head
    if kind == 'label':
        return {}
    shapes = jax.eval_shape(lambda: init_head(kind, policy.config, jax.random.key(0), config.hidden))
    return {'head_parameters': head_parameters(shapes)}


def _rates(config: RewardConfig) -> Rates | None:
    if config.head_rate == 1 and config.trunk == 'trained':
        return None
    trunk = 0.0 if config.trunk == 'frozen' else 1.0
    return lambda path: config.head_rate if path[0] == HEAD else trunk
