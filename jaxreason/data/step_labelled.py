"""Solutions whose first wrong step somebody has marked: what a verifier of steps is measured on.

Two formats of JSON Lines, named by whoever asks and not guessed: ProcessBench's (steps, and the index of the first wrong one)
and CHAMP's (a text, and the place in it where the first wrong passage begins). Whatever the format, steps hold the delimiter
that ends them, so that joined they are the text. A question is known by its text: two solutions of one problem are one
question, however a file names them, so that nothing is tuned on a question that it is reported on.

References:
    Zheng et al., ProcessBench: Identifying Process Errors in Mathematical Reasoning, 2024.
    Mao, Kim, Zhou, CHAMP: A Competition-level Dataset for Fine-Grained Analyses of LLMs' Mathematical Reasoning, 2024.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.data.boundaries import split_steps
from jaxreason.data.jsonl import read_rows

Format = Literal['processbench', 'champ']

SECOND_DELIMITER = '\n'  # of a text that does not hold the first one


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledSteps:
    """A solution, its steps, and where it first goes wrong.

    Attributes:
        id: unique in its file.
        question_id: the same for the same problem text.
        question: that text.
        steps: at least one, each with the delimiter that ends it; joined they are the solution.
        first_wrong: index of the first wrong step; None where there is none.
        group: what results are broken down by, such as the model that wrote it; empty where the file does not say.
    """

    id: str
    question_id: str
    question: str
    steps: tuple[str, ...]
    first_wrong: int | None
    group: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolutionSpec:
    """Which solutions.

    Attributes:
        source: path of a `.jsonl` file.
        format: `processbench` (`id`, `problem`, `steps`, `label`: index of the first wrong step, -1 for none; the group is the
            `generator`, if any) or `champ` (`id`, `problem`, `solution`, `first_wrong_start` and `first_wrong_end`: characters,
            null where no passage is marked; the group is the `setting`, else the `model`, if any).
        delimiter: between two steps. A text is cut behind it, one that does not hold it behind each line break; steps that come
            apart are joined by it.
        limit: at most so many solutions, question by question; None for all.
        seed: of the order in which questions are taken for the limit.
    """

    source: str
    format: Format
    delimiter: str = '\n\n'
    limit: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.format not in get_args(Format):
            raise ConfigError(f'format must be one of {", ".join(get_args(Format))}, got {self.format!r}.')
        if not self.source.endswith('.jsonl'):
            raise ConfigError(f'source must be the path of a .jsonl file, got {self.source!r}.')
        if not self.delimiter:
            raise ConfigError('delimiter must be the text that ends a step, got an empty one.')
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f'limit must be at least 1 solution, got {self.limit}.')
        if self.limit is None and self.seed:
            raise ConfigError(f'seed must be left out without a limit: all solutions are taken, got {self.seed}.')


def load_solutions(spec: SolutionSpec) -> list[LabelledSteps]:
    """Loads solutions.

    Args:
        spec: which.

    Returns:
        Solutions with unique ids, in file order; with a limit in the order of their questions' draws.

    Raises:
        DataError: the file is missing or damaged, is of another format, or a label is outside its solution; names the line.
    """
    read, path = _READERS[spec.format], Path(spec.source)
    solutions: list[LabelledSteps] = []
    lines: dict[str, int] = {}
    for line, row in read_rows(path):
        try:
            solution = read(row, spec.delimiter)
        except ValueError as error:
            raise DataError(f'{path}, line {line}: {error}.') from None
        if solution.id in lines:
            raise DataError(f'{path}, line {line}: {solution.id[:80]!r} is line {lines[solution.id]} too; ids must differ.')
        lines[solution.id] = line
        solutions.append(solution)
    if spec.limit is None:
        return solutions
    solutions.sort(key=lambda solution: hashlib.sha256(f'{spec.seed}/{solution.question_id}'.encode()).digest())
    return solutions[: spec.limit]


def cut(text: str, delimiter: str) -> tuple[str, ...]:
    """Cuts a solution into steps.

    Args:
        text: the whole solution.
        delimiter: ends a step; a text without it is cut behind its line breaks.

    Returns:
        The steps; joined they are `text`. White space alone is no step of its own: it belongs to the step before it, or, at
        the very beginning, to the first one.
    """
    steps: list[str] = []
    before = ''
    for piece in split_steps(text, [delimiter if delimiter in text else SECOND_DELIMITER]):
        if piece.strip():
            steps.append(before + piece)
            before = ''
        elif steps:
            steps[-1] += piece
        else:
            before += piece
    return tuple(steps)


def _processbench(row: Mapping[str, Any], delimiter: str) -> LabelledSteps:
    _check_fields(row, 'processbench', ('id', 'problem', 'steps', 'label'))
    steps, label = row['steps'], row['label']
    if not isinstance(steps, list) or not all(isinstance(step, str) and step.strip() for step in steps) or not steps:
        raise ValueError('steps must be a list of texts, at least one and none of them blank; mend or remove the line')
    if type(label) is not int or not -1 <= label < len(steps):
        raise ValueError(
            f'label must be the index of one of the {len(steps)} steps, or -1 for none, got {_shown(label)}; '
            'steps and label do not belong together'
        )
    return LabelledSteps(
        id=_text(row, 'id'),
        question_id=_question_id(_text(row, 'problem')),
        question=_text(row, 'problem'),
        steps=(*(step + delimiter for step in steps[:-1]), steps[-1]),
        first_wrong=None if label < 0 else label,
        group=_group(row, 'generator'),
    )


def _champ(row: Mapping[str, Any], delimiter: str) -> LabelledSteps:
    _check_fields(row, 'champ', ('id', 'problem', 'solution', 'first_wrong_start', 'first_wrong_end'))
    text, start, end = _text(row, 'solution'), row['first_wrong_start'], row['first_wrong_end']
    if (start is None) != (end is None):
        raise ValueError('first_wrong_start and first_wrong_end must both be numbers or both be null; mend the line')
    if start is not None and not (type(start) is type(end) is int and 0 <= start < end <= len(text)):
        raise ValueError(
            f'first_wrong_start and first_wrong_end must mark a passage of the {len(text)} characters of solution, '
            f'got {_shown(start)} and {_shown(end)}; they do not belong to this text'
        )
    steps, group = cut(text, delimiter), _group(row, 'setting', 'model')
    return LabelledSteps(
        id=f'{_text(row, "id")}/{group}' if group else _text(row, 'id'),  # an id is that of the problem
        question_id=_question_id(_text(row, 'problem')),
        question=_text(row, 'problem'),
        steps=steps,
        first_wrong=None if start is None else _step_at(steps, start),
        group=group,
    )


_READERS: dict[str, Callable[[Mapping[str, Any], str], LabelledSteps]] = {'processbench': _processbench, 'champ': _champ}


def _step_at(steps: tuple[str, ...], place: int) -> int:
    """Index of the step that holds a character of the joined text."""
    for index, step in enumerate(steps):
        place -= len(step)
        if place < 0:
            return index
    raise AssertionError('the place was checked to be in the text')


def _check_fields(row: Mapping[str, Any], name: str, wanted: tuple[str, ...]) -> None:
    missing = [field for field in wanted if field not in row]
    if missing:
        has = ', '.join(field[:40] for field in list(row)[:12])
        raise ValueError(f'a row of format {name} must have {", ".join(missing)}, got {has}; is the format another?')


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'{name} must be text, got {_shown(value)}')
    return value


def _group(row: Mapping[str, Any], *names: str) -> str:
    name = next((name for name in names if row.get(name) is not None), None)
    return '' if name is None else _text(row, name)


def _question_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: object) -> str:
    return repr(value)[:40]
