"""A probe of the bare question: the policy's pass rate, learnt from its own states over the prompt (`jaxreason train probe`).

Questions whose samples were graded give the labels: the share that was right. A ridge logistic regression on the standardised
states has one answer and is found in seconds, so there are no checkpoints, and a run that was stopped begins anew. A share of
the questions, chosen by their text, is kept out and tells how well the probe predicts, beside the mean pass rate, which is the
best that somebody can say who has not read the question.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.allocation.difficulty import pass_rates
from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, DataError, RunError, TokenizerError
from jaxreason.core.flops import forward_flops
from jaxreason.core.keys import check_seed
from jaxreason.core.model_spec import ModelSpec
from jaxreason.core.quantities import quantity
from jaxreason.core.ranking import pooled_spearman
from jaxreason.core.records import Pool
from jaxreason.core.run_files import object_of, read_samples
from jaxreason.core.source_tree import commit
from jaxreason.core.stats import Estimate, bootstrap_mean, interval, paired_difference
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.language_model import load
from jaxreason.engine.prompt_states import VECTORS, prompt_states, state_size
from jaxreason.engine.question_probe import PROBE, ProbeFile, write_probe
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import open_weights
from jaxreason.train.loop import Progress
from jaxreason.train.ridge_logistic import cross_entropy, fit_ridge_logistic
from jaxreason.train.run import PACKAGES
from jaxreason.train.run_folder import TrainingFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What a probe is made of.

    Attributes:
        seed: of the choice of held-out questions, in [0, 2^32).
        model: the policy.
        prompt: how it was asked, and will be.
        samples: run folders with its graded, independent samples of questions that nothing is reported of.
        ridge: pulls the weights of the standardised states to 0; above 0.
        held_out: share of the questions that tell how well the probe predicts.
    """

    seed: int = 0
    model: ModelSpec = ModelSpec()
    prompt: PromptSpec = PromptSpec()
    samples: tuple[str, ...]
    ridge: float = 10.0
    held_out: float = 0.2

    def __post_init__(self):
        check_seed(self.seed)
        if not self.samples:
            raise ConfigError('samples must name at least one run folder of jaxreason evaluate, got none.')
        if not self.ridge > 0:
            raise ConfigError(f'ridge must be above 0, got {self.ridge}.')
        if not 0 < self.held_out <= 0.9:
            raise ConfigError(f'held_out must be a share of the questions in (0, 0.9], got {self.held_out}.')


class _Questions(NamedTuple):
    """Questions with their pass rates, the held-out ones first."""

    texts: list[str]
    rates: np.ndarray  # [questions] float64
    num_held_out: int
    num_samples: int
    digest: str


def train(
    config: ProbeConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains a probe; a folder that has one is left as it is.

    Args:
        config: of the run.
        out: the run folder.
        report: told after every batch of prompts; what it raises stops the run.
        say: told what a reader should know.

    Returns:
        `out`.

    Raises:
        JaxreasonError: configuration, weights, samples or folder cannot be used.
    """
    with TrainingFolder(out, config_files.dump(config), product=PROBE) as folder:
        if folder.is_begun:
            say(f'{out}: finished; there is nothing left to do')
            return out
        lm = load(config.model.source, dtype=config.model.dtype, mesh=config.model.mesh, max_context=config.model.max_context)
        questions = _load(config, lm.digest)
        tokenizer = lm.need_tokenizer()
        folder.check_environment(_environment(config, questions, lm.digest, tokenizer))
        prompts = _prompts(config, questions, tokenizer, lm.config)
        states = np.empty((len(prompts), state_size(lm.config)))
        done = 0
        for batch in prompt_states(lm, prompts):
            states[batch.prompts] = batch.states
            done += len(batch.prompts)
            report(Progress(done, len(prompts), float('nan'), 0.0, None))
        weights, bias = _fit(config, questions, states)
        found = _measure(questions, states @ weights + bias)
        probe = ProbeFile(weights, bias, lm.digest, config.prompt.digest, tokenizer.digest)
        write_probe(out, probe, {'features': dict.fromkeys(VECTORS, lm.config.width), **found})
        for line in _lines(found):
            say(line)
    return out


def describe(config: ProbeConfig) -> str:
    """Says what a run would do; reads samples and headers of weights, compiles nothing. Errors as of `train`."""
    weights = open_weights(resolve(config.model.source), config.model.dtype, config.model.max_context)
    tokenizer = Tokenizer.from_source(weights.tokenizer_source)
    if tokenizer is None:
        raise TokenizerError(f'{config.model.source} has no tokenizer: a probe reads text; put tokenizer.json into its folder.')
    questions = _load(config, weights.digest())
    prompts = _prompts(config, questions, tokenizer, weights.config)
    lengths = [len(ids) for ids in prompts]
    flops = sum(forward_flops(weights.config, 0, length, 0) for length in lengths)
    return '\n'.join(
        [
            f'{len(prompts):,} questions, {questions.num_held_out:,} of them held out; {questions.num_samples:,} samples, '
            f'{questions.rates.mean():.1%} of them right',
            f'prompts of {min(lengths):,} to {max(lengths):,} tokens, {quantity(flops, "FLOPs")} to read them',
            f'{state_size(weights.config) + 1:,} numbers to learn',
        ]
    )


def _load(config: ProbeConfig, policy: str) -> _Questions:
    """Questions and pass rates of all folders; equal texts are one question, whatever their ids."""
    pools: list[Pool] = []
    for name in config.samples:
        _check_drawn_by(Path(name), {'weights': policy, 'prompt': config.prompt.digest})
        pools += (dataclasses.replace(pool, question_id=pool.question) for pool in read_samples(Path(name)).pools)
    rates = pass_rates(pools)

    def place(text: str) -> bytes:
        """The order of a hash is no order of difficulty, and does not depend on what other questions there are."""
        return hashlib.sha256(f'{config.seed}\n{text}'.encode()).digest()

    texts = sorted(rates, key=place)
    count = max(1, round(config.held_out * len(texts)))
    learnt = {rates[text] for text in texts[count:]}
    if not learnt or learnt in ({0.0}, {1.0}):
        every = f'every pass rate is {learnt.pop():.0f}' if learnt else 'none is left to learn from'
        raise DataError(
            f'{", ".join(config.samples)}: {len(texts)} questions, {every}; expected some that are right sometimes and some '
            'that are not: sample more questions.'
        )
    told = json.dumps([(text, rates[text]) for text in texts])
    return _Questions(
        texts=texts,
        rates=np.array([rates[text] for text in texts]),
        num_held_out=count,
        num_samples=sum(len(pool.candidates) for pool in pools),
        digest=hashlib.sha256(told.encode()).hexdigest(),
    )


def _check_drawn_by(folder: Path, expected: Mapping[str, str]) -> None:
    """Refuses samples of another policy, or of one that was asked otherwise: their pass rates are not this one's."""
    environment = object_of(folder / 'environment.json')
    if environment is None:
        raise RunError(
            f'{folder}: has no environment.json, which says who drew its samples; name the folder of a finished run.'
        )
    for name, what in (('weights', 'policy'), ('prompt', 'prompt')):
        if environment.get(name) != expected[name]:
            raise ConfigError(
                f'{folder}: its samples were drawn with another {what} ({str(environment.get(name))[:12]}, here '
                f'{expected[name][:12]}): name samples of this one.'
            )


def _prompts(config: ProbeConfig, questions: _Questions, tokenizer: Tokenizer, model: ModelConfig) -> list[list[int]]:
    """Token ids of every prompt."""
    prompts = [config.prompt.encode(tokenizer, text) for text in questions.texts]
    if (longest := max(map(len, prompts))) > model.max_context:
        raise ConfigError(f'a prompt has {longest} tokens, the context of the policy is {model.max_context}: leave it out.')
    return prompts


def _fit(config: ProbeConfig, questions: _Questions, states: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of the states as they are, and the bias: how they were standardised is in them."""
    inputs, targets = states[questions.num_held_out :], questions.rates[questions.num_held_out :]
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale <= 1e-6 * (1e-6 + np.abs(mean))] = np.inf  # the same for all questions: it tells nothing
    weights, bias = fit_ridge_logistic((inputs - mean) / scale, targets, config.ridge)
    weights = weights / scale
    return weights, bias - float(mean @ weights)


def _measure(questions: _Questions, odds: np.ndarray) -> dict[str, Any]:
    """How well the held-out questions are predicted, by the probe and by the mean pass rate of the others."""
    count = questions.num_held_out
    rates, predicted = questions.rates[:count], odds[:count]
    mean = float(questions.rates[count:].mean())
    constant = np.full(count, np.log(mean) - np.log1p(-mean))
    ours, theirs = cross_entropy(predicted, rates), cross_entropy(constant, rates)
    return {
        'num_questions': len(questions.texts),
        'num_held_out': count,
        'num_samples': questions.num_samples,
        'held_out': {
            'spearman': _interval(pooled_spearman(predicted, rates, np.arange(count))),
            'cross_entropy': interval(bootstrap_mean(ours)),
            'floor': interval(bootstrap_mean(_entropy(rates))),  # of one that knew every pass rate
        },
        'constant': {'value': mean, 'spearman': None, 'cross_entropy': interval(bootstrap_mean(theirs))},
        'gain': interval(paired_difference(theirs, ours)),
    }


def _entropy(rates: np.ndarray) -> np.ndarray:
    inside = np.clip(rates, 1e-300, 1 - 1e-16)
    return -rates * np.log(inside) - (1 - rates) * np.log1p(-inside)


def _interval(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else interval(estimate)


def _lines(found: Mapping[str, Any]) -> Sequence[str]:
    """What was measured, for people."""
    held_out, constant = found['held_out'], found['constant']
    rank = held_out['spearman']
    return [
        f'{found["num_held_out"]:,} held-out questions of {found["num_questions"]:,}, {found["num_samples"]:,} samples',
        f'rank correlation with the pass rate {"undefined" if rank is None else _shown(rank)}',
        f'cross-entropy {_shown(held_out["cross_entropy"])} nats, of the mean pass rate {_shown(constant["cross_entropy"])}, '
        f'of the pass rates themselves {_shown(held_out["floor"])}',
    ]


def _shown(estimate: Mapping[str, Any]) -> str:
    low, high = estimate['low'], estimate['high']
    return f'{estimate["point"]:.3f}' + ('' if low is None else f' [{low:.3f}, {high:.3f}]')


def _environment(config: ProbeConfig, questions: _Questions, policy: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """What the run was made with, as JSON values."""
    device = jax.local_devices()[0]
    return {
        'commit': commit(),
        'data': questions.digest,
        'device': f'{device.platform} {device.device_kind} x {jax.local_device_count()}',
        'machine': platform.machine(),
        'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
        'prompt': config.prompt.digest,
        'python': platform.python_version(),
        'seed': config.seed,
        'tokenizer': tokenizer.digest,
        'weights': policy,
    }
