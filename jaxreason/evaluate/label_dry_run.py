"""`label --dry-run`: samples, tokens and FLOPs to expect, from the problems and the headers of the weights alone.

How long a solution will be, and of how many steps, is not known before it is drawn. What is expected takes the worked solutions
of the problems for the policy's own: as many steps, as long. Where they have none, `GUESS` stands in, and it is said so.
"""

from jaxreason.core.errors import TokenizerError
from jaxreason.core.types import Problem
from jaxreason.data.datasets import load_problems
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluate.inspection import Inspected, aligned, flops_text, inspect
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.train.labelling import Shape, Work

CHARACTERS_PER_TOKEN = 4  # of a tokenizer that is not there yet


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
        likely, longest = expected_shape(config, problem, seen.tokenizer), longest_shape(config)
        expected += labels.work(likely, seen.model, prompts_of(config, problem, seen, likely))
        most += labels.work(longest, seen.model, prompts_of(config, problem, seen, longest))
    guessed = sum(not problem.steps for problem in problems)
    about = 'steps and tokens as the worked solutions have them'
    if guessed:
        about += f'; {guessed:,} problems have none: {len(GUESS.begins) + 1} steps, {GUESS.tokens} tokens, a guess'
    lines = [
        ('problems', f'{len(problems):,} of {config.data.source}, seed {config.seed}'),
        *seen.lines,
        ('labels', f'{labels.about}: {labels.copies:,} rows at once'),
        ('expected', f'{about}:'),
        *_lines(expected, seen.model is not None),
        ('at most', f'{labels.limit} to {config.sampler.max_tokens} tokens:'),
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
    return evenly(min(max(len(steps), tokens), longest), min(len(steps), longest))


def longest_shape(config: LabelConfig) -> Shape:
    """A solution that nothing exceeds: every token ends a step."""
    longest = config.sampler.max_tokens
    return Shape(longest, tuple(range(1, longest)))


def prompts_of(config: LabelConfig, problem: Problem, seen: Inspected[LabelConfig], shape: Shape) -> list[int] | None:
    """Tokens of the prompt that shows 0, 1, ... attempts of a shape, as many as have room; None where they are not known."""
    if seen.tokenizer is None or seen.lengths is None:
        return None
    room, numbers = seen.lengths[problem.id], range(config.num_attempts + 1)
    return [min(config.prompt.most_tokens(seen.tokenizer, problem.text, n, shape.tokens), room) for n in numbers]


def _num_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    try:
        return len(tokenizer.encode(text)) if tokenizer else len(text) // CHARACTERS_PER_TOKEN
    except TokenizerError:  # a policy that cannot write the worked solution will write something else
        return len(text) // CHARACTERS_PER_TOKEN


def _lines(work: Work, is_priced: bool) -> list[tuple[str, str]]:
    lines = [f'{work.solution_tokens:,} tokens of {work.solutions:,} samples']
    if work.rollouts:
        lines.insert(0, f'{work.rollouts:,} rollouts of {work.rollout_tokens:,} tokens')
    if work.revisions and is_priced:
        lines.append(f'{work.revision_prompts:,} tokens of the prompts of {work.revisions:,} revisions')
    if is_priced:
        lines.append(flops_text(work.flops))
    return [('', line) for line in lines]
