"""Supervised fine-tuning: a policy learns worked solutions, token by token (`jaxreason train sft`)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jaxreason.data.batches import Rows, pack
from jaxreason.data.examples import ExampleSpec, load_examples
from jaxreason.data.prompts import PromptSpec
from jaxreason.train.dry_run import describe_training
from jaxreason.train.loop import Progress
from jaxreason.train.next_token import next_token_objective
from jaxreason.train.policy import Beginning, open_policy
from jaxreason.train.run import Task, TrainConfig, run_training


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftConfig(TrainConfig):
    """A policy learns worked solutions.

    Attributes:
        data: worked solutions to learn.
        prompt: how a question becomes a prompt; the policy is to be sampled with the same.
    """

    data: ExampleSpec
    prompt: PromptSpec = PromptSpec()


def load_rows(config: SftConfig, policy: Beginning, say: Callable[[str], None]) -> tuple[Rows, Rows | None]:
    """Packed rows to learn from, and held-out ones; says what was too long. Errors as of `load_examples` and `pack`."""
    config.check_length(policy)
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
    """Trains a policy, which `jaxreason.load` takes; arguments, result and errors as of `run_training`."""

    def prepare() -> Task:
        policy = open_policy(config.model)
        rows, held_out = load_rows(config, policy, say)
        return Task(
            policy=policy,
            parameters=lambda mesh: policy.parameters(config.seed, mesh),
            objective=next_token_objective(policy.config, unrolled=config.model.layers == 'unrolled', dropout=config.dropout),
            rows=rows,
            held_out=held_out,
            files=policy.files,
        )

    return run_training(config, prepare, out, report, say)


def describe(config: SftConfig) -> str:
    """Says what a run would do; reads examples and headers of weights, compiles nothing. Errors as of `train`."""
    notes: list[str] = []
    policy = open_policy(config.model)
    rows, held_out = load_rows(config, policy, notes.append)
    return '\n'.join([*notes, describe_training(config.loop, config.model, policy.config, rows, held_out)])
