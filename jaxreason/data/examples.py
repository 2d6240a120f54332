"""Where worked solutions to train on come from: a JSON Lines file, or problems that are generated with their steps."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.core.errors import ConfigError, DataError, TokenizerError
from jaxreason.data.batches import Example
from jaxreason.data.jsonl import read_rows
from jaxreason.data.procedural import read_spec
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer

GENERATED = 'procedural:'
_QUESTIONS, _SOLUTIONS = ('prompt', 'question'), ('solution', 'steps')


class Worked(NamedTuple):
    """A question and a solution to learn, as text; `attempts` are earlier ones that stand before it, the oldest first."""

    question: str
    solution: str
    attempts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSpec:
    """Which worked solutions to learn.

    Attributes:
        source: the path of a `.jsonl` file with the fields `prompt` or `question`, and `solution` (text) or `steps` (a list of
            texts); or `procedural:KIND:DIFFICULTY`, generated problems with their worked steps, ended as `prompt` asks.
        limit: at most so many to learn from; generated problems need it.
        held_out: so many are kept out of training, for the loss on what was not seen: of a file those that come last in an
            order that depends on their text alone, of generated problems further ones.
        seed: of the generated problems.
    """

    source: str
    limit: int | None = None
    held_out: int = 0
    seed: int = 0

    def __post_init__(self):
        if not self.source.startswith(GENERATED) and not self.source.endswith('.jsonl'):
            raise ConfigError(f'source must be a path that ends in .jsonl, or procedural:KIND:DIFFICULTY, got {self.source!r}.')
        if self.source.startswith(GENERATED) and self.limit is None:
            raise ConfigError(f'limit must be set: {self.source} is endless.')
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f'limit must be at least 1 example, got {self.limit}.')
        if self.held_out < 0:
            raise ConfigError(f'held_out must be at least 0 examples, got {self.held_out}.')


def load_examples(spec: ExampleSpec, prompt: PromptSpec, tokenizer: Tokenizer) -> tuple[list[Example], list[Example]]:
    """Loads worked solutions and encodes them; a solution ends with the tokenizer's first end token.

    Args:
        spec: which.
        prompt: how a question becomes a prompt, and what stands between the steps of a solution.
        tokenizer: of the policy.

    Returns:
        Examples to learn from, and those held out.

    Raises:
        DataError: the file cannot be read, a row lacks something, or nothing is left to learn from.
        TokenizerError: the tokenizer cannot write a text, or has no end token.
    """
    train, held_out = read_worked(spec, prompt)
    return encode_worked(train, prompt, tokenizer), encode_worked(held_out, prompt, tokenizer)


def encode_worked(worked: Sequence[Worked], prompt: PromptSpec, tokenizer: Tokenizer) -> list[Example]:
    """Encodes worked solutions; each ends with the tokenizer's first end token.

    Raises:
        TokenizerError: the tokenizer cannot write a text, or has no end token.
    """
    ends = tokenizer.eos_ids[:1]
    if not ends:
        raise TokenizerError('tokenizer: has no end token, a solution could not be told to end; name one in its configuration.')

    def encode(each: Worked) -> Example:
        start = prompt.encode(tokenizer, each.question, attempts=each.attempts)
        whole = prompt.encode(tokenizer, each.question, each.solution, each.attempts)
        # One text with the prompt, unless a token spans both: the policy will be asked to go on from the prompt's own ids.
        solution = whole[len(start) :] if whole[: len(start)] == start else tokenizer.encode(each.solution)
        return Example(tuple(start), (*solution, *ends))

    return [encode(each) for each in worked]


def read_worked(spec: ExampleSpec, prompt: PromptSpec) -> tuple[list[Worked], list[Worked]]:
    """Reads worked solutions as text; arguments, result and errors as of `load_examples`."""
    if spec.source.startswith(GENERATED):
        # Names of their own for both parts, so that neither is part of the problems of a test.
        return (
            list(itertools.islice(_generated(spec, prompt, 'train'), spec.limit)),
            list(itertools.islice(_generated(spec, prompt, 'held-out'), spec.held_out)),
        )
    found = list(_from_file(Path(spec.source), prompt))
    texts = [f'{worked.question}\0{worked.solution}' for worked in found]
    by_text = sorted(range(len(found)), key=lambda index: hashlib.sha256(texts[index].encode()).digest())
    kept_out = set(by_text[len(found) - spec.held_out :]) if spec.held_out else set()
    train = [worked for index, worked in enumerate(found) if index not in kept_out][: spec.limit]
    if not train or len(found) < spec.held_out:
        raise DataError(f'{spec.source}: holds {len(found)} examples, {spec.held_out} are held out; lower held_out.')
    return train, [found[index] for index in sorted(kept_out)]


def _generated(spec: ExampleSpec, prompt: PromptSpec, split: str) -> Iterator[Worked]:
    for problem in read_spec(spec.source, split, spec.seed):
        yield Worked(problem.text, prompt.step_delimiter.join([*problem.steps, *prompt.ending(problem)]))


def _from_file(path: Path, prompt: PromptSpec) -> Iterator[Worked]:
    for line, row in read_rows(path):
        try:
            yield Worked(_text(row, _QUESTIONS), _text(row, _SOLUTIONS, prompt.step_delimiter))
        except ValueError as error:
            raise DataError(f'{path}, line {line}: {error}.') from None


def _text(row: Mapping[str, object], names: Sequence[str], delimiter: str | None = None) -> str:
    """The first of the fields that is there; a list of texts, where one is allowed, is joined."""
    name = next((name for name in names if name in row), None)
    if name is None:
        raise ValueError(f'expected {" or ".join(names)}, the fields are {", ".join(sorted(row))[:200]}')
    value = row[name]
    if delimiter is not None and isinstance(value, list) and value and all(isinstance(step, str) for step in value):
        value = delimiter.join(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{name} is {str(value)[:40]!r}, expected text')
    return value
