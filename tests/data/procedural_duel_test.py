"""The duel world: questions of the form of `nano`, slips as often as they should be, long products always right."""

import re
from collections import Counter

import pytest

from jaxreason.data.nano_chain import Operation, apply, read_chain
from jaxreason.data.procedural import NANO_CHARACTERS, generate
from jaxreason.data.procedural_duel import DUEL_FORGETS, is_long
from jaxreason.data.procedural_slips import forgetful
from jaxreason.data.step_check import check_nano_steps


@pytest.fixture(scope='module')
def problems():
    return [generate('nano_duel', 'train0', index, 6) for index in range(3000)]


def operations(problem):
    return read_chain(problem.text).operations


def test_questions_have_the_columns_and_characters_of_nano_and_an_exact_answer():
    for index in range(200):
        problem = generate('nano_duel', 'test0', index, 1 + index % 10)
        assert set(problem.text) | set(''.join(problem.steps)) <= set(NANO_CHARACTERS)
        assert len(problem.text) == 3 + 3 * max(8, 1 + index % 10) and problem.text.endswith('=')
        start, *signs_and_operands = re.findall(r'[-+*]|\d\d', problem.text)
        value = int(start)
        for sign, operand in zip(signs_and_operands[::2], signs_and_operands[1::2], strict=True):
            value = {'+': value + int(operand), '-': value - int(operand), '*': value * int(operand)}[sign] % 100
        assert problem.answer == f'{value:02d}'


def test_the_first_operation_is_a_product_and_operands_keep_their_ranges(problems):
    for problem in problems:
        assert operations(problem)[0].sign == '*'
        for sign, operand in operations(problem):
            assert operand in range(1, 100) if sign != '*' else operand in {*range(6, 10), *range(11, 36)}
    multipliers = {operand for problem in problems for sign, operand in operations(problem) if sign == '*'}
    assert multipliers == {*range(6, 10), *range(11, 36)}


def test_half_of_the_questions_lean_to_long_products(problems):
    """Of the others none is long, and one operation in ten after the first is a product."""
    first_is_long = [is_long(operations(problem)[0]) for problem in problems]
    assert sum(first_is_long) / len(problems) == pytest.approx(0.5 * 0.75, abs=0.03)
    later = [
        operation
        for problem, lean in zip(problems, first_is_long, strict=True)
        if lean
        for operation in operations(problem)[1:]
    ]
    assert sum(operation.sign == '*' for operation in later) / len(later) == pytest.approx(0.30, abs=0.02)
    assert sum(map(is_long, later)) / len(later) == pytest.approx(0.30 * 0.75, abs=0.02)
    shorts = [problem for problem in problems if not any(map(is_long, operations(problem)))]
    later = [operation for problem in shorts for operation in operations(problem)[1:]]
    # One in fifteen of the questions without a long product leans to them all the same.
    assert sum(operation.sign == '*' for operation in later) / len(later) == pytest.approx(0.10, abs=0.02)


def test_slips_are_as_frequent_as_they_say_and_are_gone_on_from(problems):
    seen, forgotten, longs = Counter(), Counter(), 0
    for problem in problems:
        chain = read_chain(problem.text)
        value = chain.start
        for operation, step in zip(chain.operations, problem.steps, strict=True):
            exact, careless = apply(value, operation), forgetful(value, operation) if not is_long(operation) else None
            value = int(step)  # the next step goes on from what was written
            if careless is None:
                assert value == exact
                longs += 1
            elif exact != careless:
                assert value in (exact, careless)
                seen[operation.sign] += 1
                forgotten[operation.sign] += value == careless
    assert longs > 2000
    for sign, share in DUEL_FORGETS.items():
        assert seen[sign] > 1500
        assert forgotten[sign] / seen[sign] == pytest.approx(share, abs=0.03)


def test_only_the_slips_of_short_products_are_likelier_than_not():
    assert [sign for sign, share in DUEL_FORGETS.items() if share > 0.5] == ['*']


def test_a_long_product_is_one_by_two_digits():
    assert is_long(Operation('*', 10)) and not is_long(Operation('*', 9)) and not is_long(Operation('+', 58))


def test_the_exact_judge_of_steps_knows_the_world(problems):
    checks = [check_nano_steps(problem.text, problem.steps) for problem in problems[:500]]
    for problem, check in zip(problems, checks, strict=False):
        if check[-1].is_right:
            assert problem.steps[-1] == problem.answer
    assert 0.1 < sum(check[-1].is_right for check in checks) / len(checks) < 0.5
