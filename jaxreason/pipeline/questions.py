"""How many questions a stage asks, and how long prompts and solutions are expected to be, without the files of the problems.

Generated problems and files that are there are read. Of the known sets the sizes are published; their lengths are assumptions,
and a dry run says so.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Problem
from jaxreason.data.datasets import FILES, DataSpec, find_file, load_problems
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluate.label_dry_run import CHARACTERS_PER_TOKEN, GUESS, evenly
from jaxreason.train.labelling import Shape

_FRAME = 60  # tokens of a template and its instruction around a question, or around an earlier attempt
_LOOKED_AT = 64  # problems whose lengths stand for all


class Known(NamedTuple):
    """A set that everybody has.

    Attributes:
        sizes: problems of each split.
        question: tokens of a question, assumed.
        solution: tokens of a sampled solution, assumed.
        steps: of it, assumed.
    """

    sizes: Mapping[str, int]
    question: int
    solution: int
    steps: int


# MATH as Lightman et al. (2023) and the paper divide it: 12,000 to train on, MATH-500 to test on.
KNOWN: Mapping[str, Known] = {
    'math': Known({'train': 12_000, 'test': 500}, question=75, solution=300, steps=10),
    'math500': Known({'test': 500}, question=75, solution=300, steps=10),
    'gsm8k': Known({'train': 7_473, 'test': 1_319}, question=60, solution=150, steps=5),
}


class Asked(NamedTuple):
    """What is asked.

    Attributes:
        problems: how many.
        question: tokens of one alone.
        prompt: tokens of its prompt.
        shape: of a solution, as expected.
        frame: tokens around an earlier attempt that is shown.
        about: what was assumed, for people.
    """

    problems: int
    question: int
    prompt: int
    shape: Shape
    frame: int
    about: str


def asked_of(data: DataSpec, prompt: PromptSpec, max_tokens: int, tokenizer: Tokenizer | None) -> Asked:
    """Says what a stage asks.

    Args:
        data: the problems.
        prompt: how they are asked.
        max_tokens: of a solution.
        tokenizer: of the policy; None where it is not known.

    Raises:
        ConfigError: the size of a known set is not known for this split.
        DataError: a file is missing or damaged.
    """
    if data.source in FILES and not _is_there(data):
        return _from_table(data, prompt, max_tokens)
    problems = load_problems(data)
    few = problems[:_LOOKED_AT]
    solutions = [_solution(prompt, problem) for problem in few]
    tokens = round(statistics.mean(1 + _count(text, tokenizer) if text else GUESS.tokens for text, _ in solutions))
    steps = round(statistics.mean(number if text else len(GUESS.begins) + 1 for text, number in solutions))
    question = round(statistics.mean(_count(problem.text, tokenizer) for problem in few))
    shape = _shape(tokens, steps, max_tokens)
    about = f'{data.source}: {len(problems):,} problems; solutions of {shape.tokens} tokens in {len(shape.begins) + 1} steps'
    return _asked(len(problems), question, shape, prompt, about + ', as the worked ones')


def _is_there(data: DataSpec) -> bool:
    return data.manual_dir is not None and find_file(data.source, data.split, Path(data.manual_dir)) is not None


def _from_table(data: DataSpec, prompt: PromptSpec, max_tokens: int) -> Asked:
    known = KNOWN[data.source]
    if data.split not in known.sizes:
        raise ConfigError(f'data.split must be one of {", ".join(known.sizes)} for {data.source}, got {data.split[:40]!r}.')
    size = max(0, known.sizes[data.split] - data.offset)
    problems = size if data.limit is None else min(size, data.limit)
    shape = _shape(known.solution, known.steps, max_tokens)
    about = f'{data.source} {data.split}: {problems:,} problems (published size; the file is not read); '
    about += f'solutions of {shape.tokens} tokens in {len(shape.begins) + 1} steps, questions of {known.question}: assumed'
    if data.levels or data.max_characters is not None:
        about += '; levels and max_characters leave some out, which is not counted'
    return _asked(problems, known.question, shape, prompt, about)


def _asked(problems: int, question: int, shape: Shape, prompt: PromptSpec, about: str) -> Asked:
    frame = 0 if prompt.template == 'raw' else _FRAME
    shown = prompt.few_shot * (question + shape.tokens + frame)
    return Asked(problems, question, 1 + question + frame + shown, shape, frame or 1 + question, about)


def _shape(tokens: int, steps: int, max_tokens: int) -> Shape:
    tokens = min(max(tokens, steps), max_tokens)
    return evenly(tokens, min(steps, tokens))


def _solution(prompt: PromptSpec, problem: Problem) -> tuple[str, int]:
    """The worked solution as text, and its steps; empty where there is none."""
    if not problem.steps:
        return '', 0
    steps = [*problem.steps, *prompt.ending(problem)]
    return prompt.step_delimiter.join(steps), len(steps)


def _count(text: str, tokenizer: Tokenizer | None) -> int:
    return len(tokenizer.encode(text)) if tokenizer else len(text) // CHARACTERS_PER_TOKEN


def longest(asked: Asked, attempts: int, max_tokens: int) -> int:
    """Tokens of the longest prompt, with so many attempts of the longest solutions."""
    return asked.prompt + attempts * (max_tokens + asked.frame)
