"""Supervised fine-tuning: a policy learns worked solutions, token by token (`jaxreason train sft`).

What is learnt of is all that differs between its kinds: `FineTuningConfig.examples`. The loss is on the solutions only.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.data.batches import Example, Rows, pack
from jaxreason.data.examples import ExampleSpec, load_examples
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.train.dry_run import describe_training
from jaxreason.train.loop import Progress
from jaxreason.train.next_token import next_token_objective
from jaxreason.train.policy import Beginning, open_policy
from jaxreason.train.run import Task, TrainConfig, run_training


class Examples(NamedTuple):
    """What a policy learns of.

    Attributes:
        train: encoded, whatever their length.
        held_out: likewise, to measure on; none where there are no such.
        environment: what is worth noting about them, as JSON values.
    """

    train: Sequence[Example]
    held_out: Sequence[Example]
    environment: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningConfig(TrainConfig, abc.ABC):
    """A policy learns solutions.

    Attributes:
        prompt: how a question becomes a prompt; the policy is to be sampled with the same.
    """

    prompt: PromptSpec = PromptSpec()

    @abc.abstractmethod
    def examples(self, tokenizer: Tokenizer, say: Callable[[str], None]) -> Examples:
        """Loads and encodes what is learnt; says what was left out.

        Raises:
            DataError: it cannot be read, or nothing is left to learn.
            TokenizerError: the tokenizer cannot write a text, or has no end token.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftConfig(FineTuningConfig):
    """A policy learns worked solutions; the attributes are those of `FineTuningConfig`, and:

    Attributes:
        data: worked solutions to learn.
    """

    data: ExampleSpec

    def __post_init__(self):
        super().__post_init__()
        self.check_patience(self.data.held_out, 'data.held_out')

    def examples(self, tokenizer: Tokenizer, say: Callable[[str], None]) -> Examples:
        return Examples(*load_examples(self.data, self.prompt, tokenizer))


class _Loaded(NamedTuple):
    train: Rows
    held_out: Rows | None
    environment: Mapping[str, Any]


def _load(config: FineTuningConfig, policy: Beginning, say: Callable[[str], None]) -> _Loaded:
    """Packed rows to learn from, and held-out ones; says what was too long. Errors as of `examples` and `pack`."""
    config.check_length(policy)
    found = config.examples(policy.tokenizer, say)
    packed: list[Rows | None] = []
    for name, examples in (('', found.train), ('held-out ', found.held_out)):
        rows, too_long = pack(examples, config.loop.length) if examples else (None, 0)
        if too_long:
            say(f'{too_long:,} of {len(examples):,} {name}examples are longer than {config.loop.length} tokens and left out')
        packed.append(rows)
    train, held_out = packed
    assert train is not None
    return _Loaded(train, held_out, found.environment)


def train(
    config: FineTuningConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains a policy, which `jaxreason.load` takes; arguments, result and errors as of `run_training`."""

    def prepare() -> Task:
        policy = open_policy(config.model)
        loaded = _load(config, policy, say)
        return Task(
            policy=policy,
            parameters=lambda mesh: policy.parameters(config.seed, mesh),
            objective=next_token_objective(
                policy.config,
                unrolled=config.model.layers == 'unrolled',
                remat=config.model.remat == 'layers',
                dropout=config.dropout,
            ),
            rows=loaded.train,
            held_out=loaded.held_out,
            files=policy.files,
            environment=loaded.environment,
        )

    return run_training(config, prepare, out, report, say)


def describe(config: FineTuningConfig) -> str:
    """Says what a run would do; reads examples and headers of weights, compiles nothing. Errors as of `train`."""
    notes: list[str] = []
    policy = open_policy(config.model)
    rows, held_out, _ = _load(config, policy, notes.append)
    return '\n'.join([*notes, describe_training(config, policy.config, rows, held_out)])
