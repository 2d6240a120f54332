"""What a stage takes, from its configuration and the architectures of its models alone: FLOPs, tokens, memory."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import decode_flops, forward_flops, prompt_flops, training_flops
from jaxreason.core.types import Problem
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.difficulty_config import DifficultyConfig
from jaxreason.evaluate.dry_run import is_tree
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.evaluate.label_dry_run import longest_shape
from jaxreason.evaluate.most_work import Work, works_of
from jaxreason.evaluate.units import Unit, copies_of, units_of
from jaxreason.pipeline.architectures import architecture_of
from jaxreason.pipeline.questions import Asked, asked_of, longest
from jaxreason.pipeline.recipe import Recipe
from jaxreason.pipeline.stage import Place
from jaxreason.pipeline.verbs import config_class
from jaxreason.scale.roofline import WIDTHS
from jaxreason.train.dry_run import training_memory, update_flops
from jaxreason.train.run import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A training stage.

    Attributes:
        model: what is trained.
        flops: of all steps, every row full; below a head that learns alone one forward pass a step.
        recomputed: FLOPs of the layers that the backward pass computes once more: time, not cost.
        memory: bytes over all chips, by what they are.
        portion: rows of one portion, the most chips that can share it.
    """

    model: ModelConfig
    flops: int
    recomputed: int
    memory: Mapping[str, int]
    portion: int

    @property
    def most(self) -> int:
        """FLOPs at most: those expected."""
        return self.flops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """A stage that samples.

    Attributes:
        model: the policy, in the dtype that it is run with.
        prefill: FLOPs of prompts.
        decode: FLOPs of drawing solutions.
        score: FLOPs of verifiers with a decoder of their own.
        most: FLOPs if every solution is as long as `max_tokens` allows; of a tree about that.
        about: whether trees are among the searches, of which FLOPs are estimates.
        tokens: drawn in all.
        context: tokens before one that is drawn, on average.
        longest_prompt: tokens.
        copies: rows that each question may have at once, one a question.
        settings: of the sampler.
        beside: bytes of verifiers.
        asked: the questions.
    """

    model: ModelConfig
    prefill: int
    decode: int
    score: int
    most: int
    about: bool
    tokens: int
    context: int
    longest_prompt: int
    copies: Sequence[int]
    settings: SamplerSettings
    beside: int
    asked: Asked

    @property
    def flops(self) -> int:
        """Those expected."""
        return self.prefill + self.decode + self.score


StageWork = Training | Sampling | None


def work_of(recipe: Recipe, place: Place) -> StageWork:
    """Says what a stage takes; None for one that needs no chip, or whose work another stage decides.

    Args:
        recipe: that it belongs to.
        place: of the stage.

    Raises:
        JaxreasonError: its model or its questions are not known.
    """
    raw = recipe.stages[place.name].config
    if _waits_for_a_fit(recipe, place):
        return None
    config: Any = config_files.build(config_class(place.stage.verb), place.config)
    if isinstance(config, TrainConfig):
        return _training(recipe, place.name, config)
    if isinstance(config, LabelConfig):
        return _labelling(recipe, raw, config)
    if isinstance(config, DifficultyConfig):
        return _searching(recipe, raw, config.run)
    return _searching(recipe, raw, config) if isinstance(config, EvaluateConfig) else None


def _waits_for_a_fit(recipe: Recipe, place: Place) -> bool:
    """A strategy that another stage fits is not there to be read."""
    return place.stage.verb == 'evaluate' and any(recipe.stages[name].verb == 'fit' for name in place.stage.needs)


def _training(recipe: Recipe, name: str, config: TrainConfig) -> Training:
    model = architecture_of(recipe, f'stage:{name}').config
    loop = config.loop
    rows = loop.steps * loop.batch
    forward = rows * forward_flops(model, 0, loop.length, loop.length)
    frozen = getattr(config, 'trunk', 'trained') == 'frozen'
    flops = forward if frozen else rows * training_flops(model, loop.length) + loop.steps * update_flops(config, model)
    return Training(
        model=model,
        flops=flops,
        recomputed=forward if config.model.remat == 'layers' and not frozen else 0,
        memory=training_memory(config, model, frozen),
        portion=loop.batch // loop.accumulate,
    )


def _policy(recipe: Recipe, raw: Mapping[str, Any], config: EvaluateConfig | LabelConfig) -> tuple[ModelConfig, Asked]:
    found = architecture_of(recipe, str((raw.get('model') or {}).get('source', config.model.source)))
    dtype = config.model.dtype
    model = dataclasses.replace(found.config, parameter_dtype=dtype, matmul_dtype=dtype)
    return model, asked_of(config.data, config.prompt, config.sampler.max_tokens, found.tokenizer)


def _labelling(recipe: Recipe, raw: Mapping[str, Any], config: LabelConfig) -> Sampling:
    model, asked = _policy(recipe, raw, config)
    labels, shape = config.labels, asked.shape
    most_shape = longest_shape(config)
    prompts = [asked.prompt + shown * (shape.tokens + asked.frame) for shown in range(labels.num_attempts + 1)]
    most_prompts = [longest(asked, shown, config.sampler.max_tokens) for shown in range(labels.num_attempts + 1)]
    work, most = labels.work(shape, model, prompts), labels.work(most_shape, model, most_prompts)
    prefill = prompt_flops(model, prompts[0])
    own = work.solutions - work.revisions
    contexts = [(own * shape.tokens, prompts[0] + shape.tokens // 2)]
    if work.revisions:
        mean = work.revision_prompts // work.revisions
        prefill += work.revisions * prompt_flops(model, mean)
        contexts.append((work.revisions * shape.tokens, mean + shape.tokens // 2))
    if work.rollouts:
        begin = shape.tokens - work.rollout_tokens // work.rollouts
        contexts.append((work.rollout_tokens, prompts[0] + (begin + shape.tokens) // 2))
    return Sampling(
        model=model,
        prefill=asked.problems * prefill,
        decode=asked.problems * (work.flops - prefill),
        score=0,
        most=asked.problems * most.flops,
        about=False,
        tokens=asked.problems * (work.solution_tokens + work.rollout_tokens),
        context=_mean(contexts),
        longest_prompt=most_prompts[-1],
        copies=[labels.copies] * asked.problems,
        settings=config.sampler,
        beside=0,
        asked=asked,
    )


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Solutions that begin with prompts of one length."""

    prompts: int
    solutions: int
    shown: int  # attempts in the prompt


def _searching(recipe: Recipe, raw: Mapping[str, Any], config: EvaluateConfig) -> Sampling:
    model, asked = _policy(recipe, raw, config)
    units = units_of(config, [Problem(id='any', text='', answer='')])
    verifiers = _verifiers(recipe, raw, config)
    spent = [_unit(config, unit, model, asked, verifiers, asked.shape.tokens) for unit in units]
    most = [_unit(config, unit, model, asked, verifiers, config.sampler.max_tokens) for unit in units]
    tokens = sum(each.tokens for each in spent)
    return Sampling(
        model=model,
        prefill=round(asked.problems * sum(each.prefill for each in spent)),
        decode=round(asked.problems * sum(each.decode for each in spent)),
        score=round(asked.problems * sum(each.score for each in spent)),
        most=round(asked.problems * sum(each.prefill + each.decode + each.score for each in most)),
        about=any(is_tree(config, unit) for unit in units),
        tokens=round(asked.problems * tokens),
        context=_mean([(each.tokens, each.context) for each in spent]),
        longest_prompt=longest(asked, config.num_attempts, config.sampler.max_tokens),
        copies=copies_of(config, units) * asked.problems,
        settings=config.sampler,
        beside=sum(each.bytes for each in verifiers.values()),
        asked=asked,
    )


@dataclasses.dataclass(frozen=True)
class _Verifier:
    """One with a decoder of its own."""

    model: ModelConfig
    bytes: int  # weights, and room for keys and values of solutions that grow


def _verifiers(recipe: Recipe, raw: Mapping[str, Any], config: EvaluateConfig) -> dict[str, _Verifier]:
    found = {}
    for name, choice in config.verifiers.items():
        if isinstance(choice, VerifierChoice) and choice.on == 'own':
            source = str(raw['verifiers'][name]['source'])
            model = architecture_of(recipe, source).config
            stage = recipe.stages.get(source.removeprefix('stage:'))
            carry = (stage.config.get('verifier') or {}).get('carry_bytes', 1 << 30) if stage else 1 << 30
            found[name] = _Verifier(model, model.num_parameters * WIDTHS[choice.dtype or 'float32'] + int(carry))
    return found


@dataclasses.dataclass(frozen=True)
class _Spent:
    prefill: float
    decode: float
    score: float
    tokens: float
    context: int


def _unit(
    config: EvaluateConfig, unit: Unit, model: ModelConfig, asked: Asked, verifiers: Mapping[str, _Verifier], length: int
) -> _Spent:
    """What a unit spends if all its solutions are of one length; the mean of what it may turn out to be."""
    ways = [_way(config, unit, work, model, asked, verifiers, length) for work in works_of(config, unit)]
    return _Spent(
        prefill=statistics.mean(way.prefill for way in ways),
        decode=statistics.mean(way.decode for way in ways),
        score=statistics.mean(way.score for way in ways),
        tokens=statistics.mean(way.tokens for way in ways),
        context=_mean([(way.tokens, way.context) for way in ways]),
    )


def _way(
    config: EvaluateConfig,
    unit: Unit,
    work: Work,
    model: ModelConfig,
    asked: Asked,
    verifiers: Mapping[str, _Verifier],
    length: int,
) -> _Spent:
    draws = _draws(config, unit, work)
    prompts = [asked.prompt + draw.shown * (length + asked.frame) for draw in draws]
    judged = [(verifiers[name].model, number) for name, number in work.judged.items() if name in verifiers]
    pairs = list(zip(draws, prompts, strict=True))
    score = sum(number * forward_flops(judge, 0, asked.question + length, 0) for judge, number in judged)
    return _Spent(
        prefill=work.known + sum(draw.prompts * prompt_flops(model, tokens) for draw, tokens in pairs),
        decode=sum(draw.solutions * decode_flops(model, tokens, 0, length) for draw, tokens in pairs),
        score=score,
        tokens=work.solutions * length,
        context=_mean([(draw.solutions, tokens + length // 2) for draw, tokens in pairs]),
    )


def _draws(config: EvaluateConfig, unit: Unit, work: Work) -> list[_Draw]:
    if unit.chains is not None:
        shown: dict[int, int] = {}
        for length in unit.chains.lengths:
            for turn in range(1, length):
                attempts = min(turn, unit.chains.context)
                shown[attempts] = shown.get(attempts, 0) + 1
        return [_Draw(1, len(unit.chains.lengths), 0), *(_Draw(count, count, number) for number, count in shown.items())]
    later = max(0, work.prompts - 1)
    first = _Draw(min(work.prompts, 1), work.solutions - later, 0)
    return [first, _Draw(later, later, config.num_attempts)] if later else [first]


def _mean(weighted: Sequence[tuple[float, int]]) -> int:
    weight = sum(each for each, _ in weighted)
    return round(sum(each * value for each, value in weighted) / weight) if weight else 0
