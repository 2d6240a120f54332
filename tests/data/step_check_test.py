import pytest

from jaxreason.core.errors import DataError
from jaxreason.data.procedural import generate
from jaxreason.data.step_check import check_nano_steps

QUESTION = '37+58*07-29              ='  # 95, 65, 36


def judged(*steps):
    return [(check.is_right, check.follows) for check in check_nano_steps(QUESTION, steps)]


def test_a_right_solution():
    assert judged('95\n', '65\n', '36') == [(True, True)] * 3


def test_a_slip_makes_all_later_steps_wrong_and_some_of_them_follow():
    assert judged('85\n', '95\n', '66') == [(False, False), (False, True), (False, True)]
    assert judged('95\n', '64\n', '35\n') == [(True, True), (False, False), (False, True)]


def test_a_right_value_after_a_wrong_one_is_not_right():
    assert judged('85\n', '65\n', '36') == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize('step', ['', '9', '095', '9 5', '95=', '-5', '٩٥', 'import os', '9' * 10**6])
def test_what_is_no_value_is_wrong_and_leads_nowhere(step):
    assert judged(step, '65', '36') == [(False, False), (False, False), (False, True)]


def test_too_few_and_too_many():
    assert judged() == [] and judged('95') == [(True, True)]
    assert judged('95', '65', '36', '36') == [(True, True)] * 3 + [(False, False)]


def test_worked_solutions_of_the_exact_world_are_right_and_sloppy_ones_sometimes():
    shares = []
    for kind in ('nano', 'nano_sloppy'):
        problems = [generate(kind, 1, index, 5) for index in range(300)]
        checks = [check_nano_steps(problem.text, problem.steps) for problem in problems]
        for problem, check in zip(problems, checks, strict=True):
            if check[-1].is_right:
                assert problem.steps[-1] == problem.answer
            # Once wrong, always wrong; the first wrong step is the first that does not follow.
            assert [c.is_right for c in check] == [all(c.follows for c in check[: i + 1]) for i in range(len(check))]
        shares.append(sum(check[-1].is_right for check in checks) / len(checks))
    assert shares[0] == 1.0 and 0.1 < shares[1] < 0.5


def test_a_question_of_another_world_is_refused():
    with pytest.raises(DataError, match='nano world'):
        check_nano_steps('What is 2 + 2?', ['4'])
