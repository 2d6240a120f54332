"""Arithmetic expressions with precedence and brackets, and their evaluation one operation at a time."""

import dataclasses
import random

_STRENGTH = {'+': 1, '-': 1, '*': 2, '/': 2}
_LARGEST_FACTOR = 60  # products of larger numbers are a test of patience, not of order


@dataclasses.dataclass(frozen=True)
class _Node:
    """An expression: a number, or an operation on two expressions."""

    value: int
    sign: str = ''
    parts: tuple['_Node', ...] = ()


def arithmetic(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """An expression of `difficulty` operations: `What is (3 + 4) * 5 - 6?`; divisions come out even."""
    root = _grow(rng, difficulty)
    steps: list[str] = []
    _work(root, steps)
    return f'What is {_write(root)}?', steps, str(root.value)


def _grow(rng: random.Random, operations: int) -> _Node:
    if operations == 0:
        return _Node(rng.randint(1, 20))
    before = rng.randint(0, operations - 1)
    left, right = _grow(rng, before), _grow(rng, operations - 1 - before)
    signs = ['+', '-']
    if max(abs(left.value), abs(right.value)) <= _LARGEST_FACTOR:
        signs += ['*', '*']
    if right.value and left.value % right.value == 0 and abs(right.value) > 1:
        signs += ['/', '/']
    sign = rng.choice(signs)
    a, b = left.value, right.value
    value = a + b if sign == '+' else a - b if sign == '-' else a * b if sign == '*' else a // b
    return _Node(value, sign, (left, right))


def _work(node: _Node, steps: list[str]) -> None:
    for part in node.parts:
        _work(part, steps)
    if node.parts:
        left, right = (part.value for part in node.parts)
        steps.append(f'{left} {node.sign} {f"({right})" if right < 0 else right} = {node.value}')


def _write(node: _Node) -> str:
    if not node.parts:
        return str(node.value)
    left, right = node.parts
    strength = _STRENGTH[node.sign]
    first, second = _write(left), _write(right)
    if left.parts and _STRENGTH[left.sign] < strength:
        first = f'({first})'
    # On the right equal strength needs brackets too, except where the order does not matter.
    if right.parts and (_STRENGTH[right.sign] < strength or (_STRENGTH[right.sign] == strength and node.sign in '-/')):
        second = f'({second})'
    if right.parts and node.sign == '*' and right.sign == '/':
        second = f'({second})'
    return f'{first} {node.sign} {second}'
