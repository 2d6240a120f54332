"""Turns rows of problem files into `Problem`s, one function a family.

GSM8K (Cobbe et al. 2021) writes a worked solution, one step a line, calculator marks inside, and the answer after four hashes.
MATH (Hendrycks et al. 2021) writes a solution with the answer in `\\boxed{}`; MATH-500 has the answer apart.
"""

import re
from collections.abc import Callable, Mapping

from jaxreason.core.types import Problem
from jaxreason.data.boxes import find_boxes

_CALCULATOR = re.compile(r'<<[^<>]*>>')


def gsm8k_problem(row: Mapping[str, object], row_id: str) -> Problem:
    """Reads a row with `question` and a worked `answer` that ends in `#### N`; `id` and `level` if there are any.

    Raises:
        ValueError: says what the row lacks.
    """
    solution, hashes, answer = text_of(row, 'answer').rpartition('####')
    if not hashes or not answer.strip():
        raise ValueError('answer has no "#### N" at its end')
    lines = (_CALCULATOR.sub('', line).strip() for line in solution.splitlines())
    return Problem(
        id=_id_of(row, 'id', row_id),
        text=text_of(row, 'question'),
        answer=answer.strip().replace(',', ''),
        steps=tuple(line for line in lines if line),
        level=_optional(row, 'level'),
    )


def math_problem(row: Mapping[str, object], row_id: str) -> Problem:
    """Reads a row with `problem`, and `answer` or a `solution` that boxes it; level, subject and id if there are any.

    Raises:
        ValueError: says what the row lacks.
    """
    solution = _optional(row, 'solution')
    boxes = find_boxes(solution)
    answer = _optional(row, 'answer') or (boxes[-1].value if boxes else '')
    if not answer:
        raise ValueError('there is neither an answer nor a \\boxed{} in its solution')
    return Problem(
        id=next((_id_of(row, key, '') for key in ('unique_id', 'id', 'idx') if key in row), row_id),
        text=text_of(row, 'problem'),
        answer=answer,
        steps=tuple(line.strip() for line in solution.splitlines() if line.strip()),
        level=_optional(row, 'level').removeprefix('Level '),
        subject=_optional(row, 'subject') or _optional(row, 'type'),
    )


def field_reader(fields: Mapping[str, str]) -> Callable[[Mapping[str, object], str], Problem]:
    """A reader of rows whose fields have other names.

    Args:
        fields: for `question` and `answer`, and if wanted `id`, `level`, `subject` and `solution`, the name in the file.
            `solution` is split into steps by lines.
    """

    def read(row: Mapping[str, object], row_id: str) -> Problem:
        solution = text_of(row, fields['solution']) if 'solution' in fields else ''
        return Problem(
            id=_id_of(row, fields['id'], '') if 'id' in fields else row_id,
            text=text_of(row, fields['question']),
            answer=text_of(row, fields['answer']),
            steps=tuple(line.strip() for line in solution.splitlines() if line.strip()),
            level=text_of(row, fields['level']) if 'level' in fields else '',
            subject=text_of(row, fields['subject']) if 'subject' in fields else '',
        )

    return read


def guess_reader(row: Mapping[str, object]) -> Callable[[Mapping[str, object], str], Problem]:
    """The reader that fits a file, by its first row.

    Raises:
        ValueError: none does.
    """
    if 'question' in row and '####' in str(row.get('answer')):
        return gsm8k_problem
    if 'problem' in row and ('answer' in row or 'solution' in row):
        return math_problem
    if 'question' in row and 'answer' in row:
        names = ('question', 'answer', 'id', 'level', 'subject', 'solution')
        return field_reader({name: name for name in names if name in row})
    raise ValueError(f'cannot tell question and answer among {", ".join(sorted(row))[:200]}; name them with fields=')


def text_of(row: Mapping[str, object], key: str) -> str:
    """A field as text; numbers are written out.

    Raises:
        ValueError: it is missing, empty, or neither text nor a number.
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(f'{key} is {str(value)[:40]!r}, expected text or a number' if key in row else f'{key} is missing')
    return str(value)


def _optional(row: Mapping[str, object], key: str) -> str:
    return text_of(row, key) if row.get(key) not in (None, '') else ''


def _id_of(row: Mapping[str, object], key: str, otherwise: str) -> str:
    return text_of(row, key) if key in row else otherwise
