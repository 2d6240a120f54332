"""Reads JSON Lines that somebody else wrote: every row is an object with text in it, or one error names file and line.

A problem file decides every number of a run, so nothing is skipped or mended in silence: a torn line, a repeated key, a
`NaN`, a lone surrogate are errors. A byte-order mark, CRLF and blank lines are harmless and accepted.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from jaxreason.core.errors import DataError

MAX_LINE_BYTES = 64 << 20


def read_rows(path: str | Path) -> Iterator[tuple[int, dict]]:
    """Reads the rows of a JSON Lines file.

    Args:
        path: of the file, UTF-8.

    Yields:
        Line number, from 1, and the row.

    Raises:
        DataError: the file cannot be read or has no rows, or a line is not one JSON object of usable values.
    """
    rows = 0
    try:
        with open(path, 'rb') as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f'{path}, line {number}: longer than {MAX_LINE_BYTES} bytes; split the file into problems.')
                if number == 1:
                    line = line.removeprefix(b'\xef\xbb\xbf')
                if line.strip():
                    rows += 1
                    yield number, _parse(line, f'{path}, line {number}')
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror or error}); give the path of a JSON Lines file.') from None
    if not rows:
        raise DataError(f'{path}: expected one JSON object a line, the file is empty.')


def _parse(line: bytes, where: str) -> dict:
    try:
        text = line.decode('utf-8')
        row = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
        # Surrogates hide behind escapes: the line is valid UTF-8, the text that it spells is not.
        if '\\u' in text:
            json.dumps(row, ensure_ascii=False).encode('utf-8')
    except UnicodeEncodeError:
        raise DataError(f'{where}: holds a lone surrogate, expected text; remove the character.') from None
    except UnicodeDecodeError as error:
        raise DataError(f'{where}: byte {error.start} is not UTF-8; save the file as UTF-8.') from None
    except RecursionError:
        raise DataError(f'{where}: nested too deeply, expected a flat object.') from None
    except json.JSONDecodeError as error:
        raise DataError(
            f'{where}: not a whole JSON object ({error.msg}, column {error.colno}); mend or remove the line.'
        ) from None
    except ValueError as error:
        raise DataError(f'{where}: {error}; mend or remove the line.') from None
    if not isinstance(row, dict):
        raise DataError(f'{where}: expected a JSON object, got {type(row).__name__}; write {{"question": ..., "answer": ...}}.')
    return row


def _object(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f'key {twice[:40]!r} is there twice')
    return row


def _constant(name: str):
    raise ValueError(f'{name} is not a JSON value')


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'number {text[:40]} is too large')
    return value
