"""Finds `\\boxed{...}` and its kin with balanced braces, outermost first, in one pass.

A box that never closes is no box: it was cut off, and what it would have said is unknown. Braces are balanced within a
paragraph, so that a stray brace cannot swallow the rest of a response.
"""

import re
from typing import NamedTuple

_BOX = r'\\(?:boxed|fbox|framebox)'
_TOKEN = re.compile(_BOX + r'\s*(\{)|' + _BOX + r'[ \t]+([^\s{}$\\]+)|\\[\\{}]|([{}])|(\n[ \t]*\n)')
_NESTED = re.compile(_BOX + r'\s*(?=\{)')


class Span(NamedTuple):
    """Where an answer stands in a text: what it says, and the borders of the statement that names it."""

    value: str
    start: int
    end: int


def find_boxes(text: str) -> list[Span]:
    """All closed boxes that are in no other box, in order of appearance.

    Args:
        text: a response, of any length.

    Returns:
        The contents, boxes inside them unwrapped, with the borders of each box.
    """
    if '\\boxed' not in text and '\\fbox' not in text and '\\framebox' not in text:
        return []
    boxes: list[Span] = []
    open_braces: list[int | None] = []  # where the box of this brace starts; None for a plain brace
    inside: list[int] = []  # where the contents of the open boxes start
    first = min(at for name in ('\\boxed', '\\fbox', '\\framebox') if (at := text.find(name)) >= 0)
    for match in _TOKEN.finditer(text, first):
        if match[1]:
            open_braces.append(match.start())
            inside.append(match.end())
        elif match[2] and not inside:
            boxes.append(Span(match[2].rstrip('.,;:!?'), match.start(), match.end()))
        elif match[3] == '{':
            open_braces.append(None)
        elif match[3] == '}' and open_braces:
            start = open_braces.pop()
            if start is not None:
                begin = inside.pop()
                if not inside:
                    boxes.append(Span(_NESTED.sub('', text[begin : match.start()]).strip(), start, match.end()))
        elif match[4]:
            open_braces, inside = [], []
    return boxes
