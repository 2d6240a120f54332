"""The chain arithmetic of the nano worlds, read back from the text of a question."""

import re
from typing import NamedTuple

from jaxreason.core.errors import DataError

NANO_COLUMNS = 8  # operations that the fixed columns of a question have room for; longer questions widen them

_CHAIN = re.compile(r'([0-9]{2})((?:[-+*][0-9]{2})+) *=')


class Operation(NamedTuple):
    """What one step does to the running value."""

    sign: str  # one of + - *
    operand: int


class Chain(NamedTuple):
    """A question of a nano world: a running value modulo 100, strictly left to right."""

    start: int
    operations: tuple[Operation, ...]


def read_chain(text: str) -> Chain:
    """Reads a question such as `37+58*07=`.

    Raises:
        DataError: the text is no such question.
    """
    match = _CHAIN.fullmatch(text)
    if match is None:
        raise DataError(f'expected a question of a nano world, such as 37+58*07=, got {text[:80]!r}.')
    found = re.findall(r'([-+*])([0-9]{2})', match[2])
    return Chain(int(match[1]), tuple(Operation(sign, int(operand)) for sign, operand in found))


def apply(value: int, operation: Operation) -> int:
    """The value after one operation, modulo 100."""
    sign, operand = operation
    return {'+': value + operand, '-': value - operand, '*': value * operand}[sign] % 100
