"""Endless problems with worked steps, exact answers and a difficulty knob: the number of steps.

A problem is a function of its address (kind, difficulty, seed, index) alone, so any part of the endless stream can be made
anywhere, in any order, and is the same on every machine. Each kind writes its own worked solution as it makes the problem.

`nano` is the smallest world in which search has something to do: a running value modulo 100, one step an operation, in
fixed columns so that a character-level policy of 10^5 parameters learns it in minutes. `nano_sloppy` asks the same questions,
and works them carelessly. In `nano_drafts` (`procedural_drafts`) revising pays; `nano_duel` (`procedural_duel`) sets a policy
that searches against a larger one.
"""

import random
from collections.abc import Callable, Iterator

from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Problem
from jaxreason.data.nano_chain import NANO_COLUMNS
from jaxreason.data.procedural_drafts import nano_drafts
from jaxreason.data.procedural_duel import nano_duel
from jaxreason.data.procedural_expressions import arithmetic
from jaxreason.data.procedural_slips import sloppy_steps
from jaxreason.data.procedural_stories import word

MAX_DIFFICULTY = 32
NANO_CHARACTERS = '0123456789+-*= \n'  # all that the problems and steps of `nano` are made of


def nano(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """Chain arithmetic modulo 100, strictly left to right.

    `37+58*07=` has the steps `95` and `65`. Operations stand in columns of three, padded on the right, so that with steps
    of two digits and a line break the k-th step is always equally far from the k-th operation.
    """
    value = rng.randrange(100)
    text, steps = f'{value:02d}', []
    for _ in range(difficulty):
        if rng.random() < 0.34:
            sign, operand = '*', rng.randint(2, 9)
        else:
            sign, operand = rng.choice('+-'), rng.randint(1, 99)
        value = _apply(sign, value, operand) % 100
        text += f'{sign}{operand:02d}'
        steps.append(f'{value:02d}')
    return text.ljust(2 + 3 * max(NANO_COLUMNS, difficulty)) + '=', steps, steps[-1]


def nano_sloppy(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """The question of `nano` for the same draws; its steps slip (`procedural_slips`), its answer is exact."""
    text, _, answer = nano(rng, difficulty)
    return text, sloppy_steps(rng, text), answer


def chain(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """Integer arithmetic told as instructions, one after the other: `Start with 5. Add 7.`"""
    value = rng.randint(1, 20)
    sentences, steps = [f'Start with {value}.'], []
    for _ in range(difficulty):
        sign = rng.choice('+-*' if abs(value) <= 100 else '+-')
        operand = rng.randint(2, 9) if sign == '*' else rng.randint(1, 50)
        sentences.append({'+': f'Add {operand}.', '-': f'Subtract {operand}.', '*': f'Multiply by {operand}.'}[sign])
        result = _apply(sign, value, operand)
        steps.append(f'{value} {sign} {operand} = {result}')
        value = result
    return ' '.join([*sentences, 'What number do you get?']), steps, str(value)


def linear(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """A linear equation in `x` with an integer solution; from difficulty four on some terms are brackets."""
    solution = rng.randint(-12, 12)
    if difficulty == 1:
        shift = _nonzero(rng, 30)
        total = solution + shift
        return f'Solve for x: x{_signed(shift)} = {total}', [f'x = {total}{_signed(-shift)} = {solution}'], str(solution)
    brackets = [(rng.randint(2, 6), _nonzero(rng, 9)) for _ in range(difficulty - 3)]
    slope, shift = rng.randint(2, 9), _nonzero(rng, 30)
    factors = sum(factor for factor, _ in brackets)
    # The sides must not have the same slope, or every x or none would do.
    right = rng.choice([c for c in range(2, 10) if c != slope + factors]) if difficulty >= 3 else 0
    left_value = slope * solution + shift + sum(factor * (solution + inner) for factor, inner in brackets)
    constant = left_value - right * solution
    right_side = f'{right}*x{_signed(constant)}' if right else str(constant)
    steps = []
    written = _left(brackets, slope, shift)
    for done, (factor, inner) in enumerate(brackets, start=1):
        slope, shift = slope + factor, shift + factor * inner
        expanded = f'{factor}*(x{_signed(inner)}) = {factor}*x{_signed(factor * inner)}'
        steps.append(f'{expanded}, so {_left(brackets[done:], slope, shift)} = {right_side}')
    if right:
        slope -= right
        steps.append(f'Subtract {right}*x: {slope}*x{_signed(shift)} = {constant}')
    steps.append(f'{slope}*x = {constant}{_signed(-shift)} = {constant - shift}')
    steps.append(f'x = {constant - shift}/{_bracketed(slope)} = {solution}')
    return f'Solve for x: {written} = {right_side}', steps, str(solution)


KINDS: dict[str, Callable[[random.Random, int], tuple[str, list[str], str]]] = {
    'nano': nano,
    'nano_sloppy': nano_sloppy,
    'nano_drafts': nano_drafts,
    'nano_duel': nano_duel,
    'chain': chain,
    'arithmetic': arithmetic,
    'linear': linear,
    'word': word,
}
# Kinds whose questions are those of another kind with the same seed and index: worlds that share their test problems.
QUESTIONS_OF = {'nano_sloppy': 'nano'}


def generate(kind: str, seed: int | str, index: int, difficulty: int) -> Problem:
    """Makes one problem.

    Args:
        kind: a key of `KINDS`.
        seed: names a stream; streams of different seeds are independent.
        index: place in the stream, from 0.
        difficulty: number of steps of the worked solution, 1 to `MAX_DIFFICULTY`.

    Returns:
        The problem, with worked steps.

    Raises:
        ConfigError: unknown kind, negative index, or a difficulty that is out of range.
    """
    if kind not in KINDS:
        raise ConfigError(f'procedural problems: kind is {kind!r}, expected one of {", ".join(KINDS)}.')
    if not 1 <= difficulty <= MAX_DIFFICULTY:
        raise ConfigError(f'procedural problems: difficulty is {difficulty}, expected 1 to {MAX_DIFFICULTY} steps.')
    if index < 0:
        raise ConfigError(f'procedural problems: index is {index}, expected 0 or more.')
    place = f'{difficulty}-{seed}-{index:06d}'
    text, steps, answer = KINDS[kind](random.Random(f'{QUESTIONS_OF.get(kind, kind)}-{place}'), difficulty)
    return Problem(id=f'{kind}-{place}', text=text, answer=answer, steps=tuple(steps), level=str(difficulty), subject=kind)


def stream(kind: str, seed: int | str, difficulty: int, start: int = 0) -> Iterator[Problem]:
    """Makes problems for ever, from index `start` on; arguments as for `generate`."""
    index = start
    while True:
        yield generate(kind, seed, index, difficulty)
        index += 1


def read_spec(spec: str, split: str, seed: int) -> Iterator[Problem]:
    """Makes the problems that `procedural:KIND:DIFFICULTY` names, for ever.

    Args:
        spec: DIFFICULTY is a number, or a range such as 1-8 whose values take turns.
        split: part of the address, so that training and test problems are drawn independently.
        seed: part of the address.

    Raises:
        ConfigError: the text is not of that form.
    """
    _, _, rest = spec.partition(':')
    kind, _, difficulty = rest.partition(':')
    low, _, high = difficulty.partition('-')
    if not (low.isdecimal() and (high or low).isdecimal() and int(low) <= int(high or low)):
        raise ConfigError(
            f'problems: source is {spec!r}, expected procedural:KIND:DIFFICULTY such as procedural:word:3 or :1-8.'
        )
    levels = range(int(low), int(high or low) + 1)
    index = 0
    while True:
        yield generate(kind, f'{split}{seed}', index, levels[index % len(levels)])
        index += 1


def _apply(sign: str, left: int, right: int) -> int:
    return {'+': left + right, '-': left - right, '*': left * right}[sign]


def _nonzero(rng: random.Random, limit: int) -> int:
    return rng.randint(1, limit) * rng.choice((-1, 1))


def _signed(value: int) -> str:
    return f' - {-value}' if value < 0 else f' + {value}'


def _bracketed(value: int) -> str:
    return f'({value})' if value < 0 else str(value)


def _left(brackets: list[tuple[int, int]], slope: int, shift: int) -> str:
    return ''.join(f'{factor}*(x{_signed(inner)}) + ' for factor, inner in brackets) + f'{slope}*x{_signed(shift)}'
