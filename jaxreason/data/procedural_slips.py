"""A teacher who is sloppy in a systematic way: the worked steps of nano world B.

A policy that imitates these steps learns misconceptions, not mere noise: a slip that is the likelier choice survives greedy
decoding and majority votes, and only something that checks steps can mend it. The answers of the problems stay exact.
"""

import random
from collections.abc import Mapping

from jaxreason.data.nano_chain import Operation, apply, read_chain

FORGETS: Mapping[str, float] = {'+': 0.25, '-': 0.45, '*': 0.60}  # probability of forgetting a step's carry or borrow
IS_RANDOM = 0.03  # share of steps that are any value at all


def sloppy_steps(rng: random.Random, text: str) -> list[str]:
    """Works a nano question carelessly, each step going on from what the step before wrote.

    Args:
        rng: decides the slips; three numbers a step, whatever they decide.
        text: of the question.

    Returns:
        One value of two digits a step.
    """
    value, operations = read_chain(text)
    steps = []
    for operation in operations:
        is_random, forgets, other = rng.random() < IS_RANDOM, rng.random() < FORGETS[operation.sign], rng.randrange(100)
        value = other if is_random else forgetful(value, operation) if forgets else apply(value, operation)
        steps.append(f'{value:02d}')
    return steps


def forgetful(value: int, operation: Operation) -> int:
    """The value after one operation without its carry or borrow: each digit by itself; right where there is none to forget.

    `37+58` is 85: 7+8 gives 5, and 3+5 gives 8 without the ten. `37*7` is 19, not 59.
    """
    sign, operand = operation
    tens, ones = divmod(value, 10)
    if sign == '*':  # by one digit
        return 10 * (tens * operand % 10) + ones * operand % 10
    more_tens, more_ones = divmod(operand, 10)
    if sign == '-':
        return 10 * ((tens - more_tens) % 10) + (ones - more_ones) % 10
    return 10 * ((tens + more_tens) % 10) + (ones + more_ones) % 10
