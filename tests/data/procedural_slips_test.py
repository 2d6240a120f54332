"""The sloppy teacher: the questions of `nano`, steps that slip as often and in the way that they should."""

import random
from collections import Counter

import pytest

from jaxreason.core.errors import DataError
from jaxreason.data.nano_chain import Chain, Operation, apply, read_chain
from jaxreason.data.procedural import generate
from jaxreason.data.procedural_slips import FORGETS, IS_RANDOM, forgetful


def long_addition(value, operand):
    """Column by column, the carry dropped."""
    return int(''.join(str((int(a) + int(b)) % 10) for a, b in zip(f'{value:02d}', f'{operand:02d}', strict=True)))


def test_both_worlds_share_their_questions_and_answers():
    for index in range(100):
        exact, sloppy = (generate(kind, 'test0', index, 1 + index % 8) for kind in ('nano', 'nano_sloppy'))
        assert (exact.text, exact.answer, len(exact.steps)) == (sloppy.text, sloppy.answer, len(sloppy.steps))
        assert exact.id != sloppy.id and sloppy.subject == 'nano_sloppy'


@pytest.mark.parametrize(
    'value, sign, operand, right, careless',
    [
        (37, '+', 58, 95, 85),
        (31, '+', 58, 89, 89),
        (99, '+', 99, 98, 88),
        (32, '-', 15, 17, 27),
        (10, '-', 25, 85, 95),
        (45, '-', 12, 33, 33),
        (37, '*', 7, 59, 19),
        (21, '*', 3, 63, 63),
    ],
)
def test_what_is_forgotten(value, sign, operand, right, careless):
    operation = Operation(sign, operand)
    assert (apply(value, operation), forgetful(value, operation)) == (right, careless)


def test_a_forgotten_carry_leaves_every_column_by_itself():
    for value in range(100):
        for operand in range(100):
            assert forgetful(value, Operation('+', operand)) == long_addition(value, operand)
            # Without a borrow a difference is undone by a sum without a carry.
            assert long_addition(forgetful(value, Operation('-', operand)), operand) == value
        for operand in range(2, 10):
            ones_first = Operation('*', operand)
            assert apply(value, ones_first) - forgetful(value, ones_first) in {
                tens - 100 * wraps for tens in range(0, 90, 10) for wraps in (0, 1)
            }


def test_slips_are_as_frequent_as_they_say_and_are_gone_on_from():
    seen, forgotten, other = Counter(), Counter(), Counter()
    for index in range(4000):
        problem = generate('nano_sloppy', 'train0', index, 6)
        chain = read_chain(problem.text)
        value = chain.start
        for operation, step in zip(chain.operations, problem.steps, strict=True):
            exact, careless = apply(value, operation), forgetful(value, operation)
            value = int(step)  # the next step goes on from what was written
            if exact != careless:
                seen[operation.sign] += 1
                forgotten[operation.sign] += value == careless
                other[operation.sign] += value not in (exact, careless)
    for sign, share in FORGETS.items():
        assert seen[sign] > 2000
        assert forgotten[sign] / seen[sign] == pytest.approx(share * (1 - IS_RANDOM), abs=0.03)
        assert other[sign] / seen[sign] == pytest.approx(IS_RANDOM, abs=0.012)


def test_questions_are_read_back():
    assert read_chain('37+58*07-29      =') == Chain(37, (Operation('+', 58), Operation('*', 7), Operation('-', 29)))
    for text in ('', '37=', '3+5=', '37+58', '37+58=12', '37/58=', 'x' * 10**5, '٣٧+58='):
        with pytest.raises(DataError, match='expected a question of a nano world'):
            read_chain(text)


def test_the_draws_of_the_steps_do_not_touch_the_question():
    rng = random.Random('nano-3-0-000000')
    assert generate('nano_sloppy', 0, 0, 3).text == '61-21*06+56               =' and rng.randrange(100) == 61
