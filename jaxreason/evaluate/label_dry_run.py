"""`label --dry-run`: rollouts, tokens and FLOPs to expect, from the problems and the headers of the weights alone.

How many steps a solution will have is not known before it is drawn. What is expected takes the worked solutions of the problems
for the policy's own: as many steps, as long. Where they have none, `GUESS` stands in, and it is said so.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import TokenizerError
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.types import Problem
from jaxreason.data.datasets import load_problems
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluate.inspection import aligned, flops_text, inspect
from jaxreason.evaluate.label_config import LabelConfig

CHARACTERS_PER_TOKEN = 4  # of a tokenizer that is not there yet


class Shape(NamedTuple):
    """What a solution looks like: its length in tokens, and after how many of them rollouts begin."""

    tokens: int
    begins: tuple[int, ...]


class Work(NamedTuple):
    """What labelling takes."""

    rollouts: int = 0
    sample_tokens: int = 0
    rollout_tokens: int = 0
    flops: int = 0

    def __add__(self, other: 'Work') -> 'Work':  # type: ignore[override]
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


def evenly(tokens: int, steps: int) -> Shape:
    """A solution of equally long steps; the last of them ends it, so that no rollout begins there."""
    return Shape(tokens, tuple(tokens * step // steps for step in range(1, steps)))


GUESS = evenly(120, 6)


def describe(config: LabelConfig) -> str:
    """Says what a run would do.

    Args:
        config: of the run.

    Returns:
        Lines of text, each a heading and what belongs to it.

    Raises:
        JaxreasonError: the run would refuse the problems, the weights, the tokenizer or the length of a prompt.
    """
    problems = load_problems(config.data)
    labels = config.labels
    seen = inspect(config, problems, [labels.copies] * len(problems), {})
    expected, most = Work(), Work()
    for problem in problems:
        prompt = seen.lengths[problem.id] if seen.lengths else None
        expected += work_of(config, expected_shape(config, problem, seen.tokenizer), seen.model, prompt)
        most += work_of(config, longest_shape(config), seen.model, prompt)
    guessed = sum(not problem.steps for problem in problems)
    about = 'steps and tokens as the worked solutions have them'
    if guessed:
        about += f'; {guessed:,} problems have none: {len(GUESS.begins) + 1} steps, {GUESS.tokens} tokens, a guess'
    limit = f'{labels.max_steps} steps a solution, the shortest there are, and everything to {config.sampler.max_tokens} tokens'
    lines = [
        ('problems', f'{len(problems):,} of {config.data.source}, seed {config.seed}'),
        *seen.lines,
        ('labels', f'{labels.samples} samples a question, {labels.rollouts} rollouts a step: {labels.copies:,} rows at once'),
        ('expected', f'{about}:'),
        *_lines(expected, seen.model is not None),
        ('at most', f'{limit}:'),
        *_lines(most, seen.model is not None),
    ]
    return aligned(lines)


def expected_shape(config: LabelConfig, problem: Problem, tokenizer: Tokenizer | None) -> Shape:
    """What a solution of a problem may look like, from its worked one.

    Args:
        config: of the run; tells how solutions end and how long they may be.
        problem: with or without worked steps.
        tokenizer: of the policy; None where it is not there yet.
    """
    longest = config.sampler.max_tokens
    if not problem.steps:
        return Shape(min(GUESS.tokens, longest), tuple(begin for begin in GUESS.begins if begin < longest))
    steps = [*problem.steps, *config.prompt.ending(problem)]
    tokens = 1 + _num_tokens(config.prompt.step_delimiter.join(steps), tokenizer)  # and the end token
    return evenly(min(max(len(steps), tokens), longest), min(len(steps), config.labels.max_steps, longest))


def longest_shape(config: LabelConfig) -> Shape:
    """A solution that nothing exceeds: every token ends a step until there are as many steps as are allowed."""
    longest = config.sampler.max_tokens
    return Shape(longest, tuple(range(1, min(config.labels.max_steps, longest - 1) + 1)))


def work_of(config: LabelConfig, shape: Shape, model: ModelConfig | None, prompt_tokens: int | None) -> Work:
    """What labelling one question takes, if all its samples, and all rollouts with their prefixes, are of one shape.

    Args:
        config: of the run.
        shape: of the solutions.
        model: the policy; None where it is not known: then the FLOPs are 0.
        prompt_tokens: likewise.
    """
    samples, rollouts = config.labels.samples, config.labels.rollouts
    flops = 0
    if model is not None and prompt_tokens is not None:
        own = decode_flops(model, prompt_tokens, 0, shape.tokens)
        rest = sum(decode_flops(model, prompt_tokens, begin, shape.tokens - begin) for begin in shape.begins)
        flops = prompt_flops(model, prompt_tokens) + samples * (own + rollouts * rest)
    rollout_tokens = sum(shape.tokens - begin for begin in shape.begins)
    return Work(
        rollouts=samples * rollouts * len(shape.begins),
        sample_tokens=samples * shape.tokens,
        rollout_tokens=samples * rollouts * rollout_tokens,
        flops=flops,
    )


def _num_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    try:
        return len(tokenizer.encode(text)) if tokenizer else len(text) // CHARACTERS_PER_TOKEN
    except TokenizerError:  # a policy that cannot write the worked solution will write something else
        return len(text) // CHARACTERS_PER_TOKEN


def _lines(work: Work, is_priced: bool) -> Sequence[tuple[str, str]]:
    lines = [f'{work.rollouts:,} rollouts of {work.rollout_tokens:,} tokens', f'{work.sample_tokens:,} tokens of the samples']
    if is_priced:
        lines.append(flops_text(work.flops))
    return [('', line) for line in lines]
