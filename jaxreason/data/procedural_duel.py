"""A world for two policies of unlike size: some errors are the teacher's, others those of a policy that is too small.

Short products, sums and differences are worked by a teacher who is careless in a systematic way (`procedural_slips`). Of short
products the forgotten carry is the likelier result, so that the greedy answer of any policy that imitates it is wrong, however
large, and only search with a verifier mends it. Products by two digits are always right, but they are many facts of which each
comes up rarely: of two policies that learn from the same examples the larger knows more of them, and no search by the smaller
makes up for all that it does not know. Half of the questions lean to the one kind, half to the other.
"""

import random
from collections.abc import Mapping

from jaxreason.data.nano_chain import NANO_COLUMNS, Operation, apply
from jaxreason.data.procedural_slips import forgetful

SHORT_MULTIPLIERS = (6, 9)  # smallest and largest; smaller ones seldom have a carry to forget
LONG_MULTIPLIERS = (11, 35)  # likewise: 100 facts each
LEANS_TO_LONG = 0.5  # share of the questions
IS_LONG = 0.75  # share of their products that are long; the other questions have none
# Share of products among the operations after the first, which always is one; by whether the question leans to long ones.
IS_PRODUCT: Mapping[bool, float] = {True: 0.30, False: 0.10}
# Probability of forgetting the carry or borrow of a sum, a difference, a short product. Only what is above a half is what a
# greedy answer says too; the others make single samples go wrong, the more so the longer the question.
DUEL_FORGETS: Mapping[str, float] = {'+': 0.20, '-': 0.35, '*': 0.55}


def is_long(operation: Operation) -> bool:
    """Whether it is a product by two digits."""
    return operation.sign == '*' and operation.operand > 9


def nano_duel(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """A question of the form of `nano`; its steps slip, each going on from what the step before wrote, its answer is exact.

    Args:
        rng: decides the question and the slips.
        difficulty: number of operations.

    Returns:
        The question, its steps, and the answer.
    """
    answer = value = rng.randrange(100)
    text, steps = f'{value:02d}', []
    leans_to_long = rng.random() < LEANS_TO_LONG
    for index in range(difficulty):
        operation = _operation(rng, leans_to_long, is_first=index == 0)
        forgets = rng.random() < DUEL_FORGETS[operation.sign] and not is_long(operation)
        value = forgetful(value, operation) if forgets else apply(value, operation)
        answer = apply(answer, operation)
        text += f'{operation.sign}{operation.operand:02d}'
        steps.append(f'{value:02d}')
    return text.ljust(2 + 3 * max(NANO_COLUMNS, difficulty)) + '=', steps, f'{answer:02d}'


def _operation(rng: random.Random, leans_to_long: bool, *, is_first: bool) -> Operation:
    if is_first or rng.random() < IS_PRODUCT[leans_to_long]:
        multipliers = LONG_MULTIPLIERS if leans_to_long and rng.random() < IS_LONG else SHORT_MULTIPLIERS
        return Operation('*', rng.randint(*multipliers))
    return Operation(rng.choice('+-'), rng.randint(1, 99))
