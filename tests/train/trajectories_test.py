"""Trajectories put together from known samples: which are shown before which, in what order, and what is bad input."""

import dataclasses
import json
import random
from collections import Counter

import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.cost import Cost
from jaxreason.core.errors import DataError
from jaxreason.core.labels import labelled_from
from jaxreason.core.records import to_line
from jaxreason.core.types import Finish, Problem, Question, Row, Verdict
from jaxreason.data.grading import Grader
from jaxreason.search.drive import Task, drive
from jaxreason.search.majority import Majority
from jaxreason.train.reward import OrmConfig, PrmConfig
from jaxreason.train.trajectories import Drawn, Trajectories
from tests.search.fakes import PROMPT_PRICE, FakeSampler, FakeSession

PROBLEM = Problem(id='q', text='?', answer='7')
PROMPT = Cost(prefill=5, prompt_tokens=3)
ROW = Cost(decode=100, new_tokens=1)


def row(sample, text, finish=Finish.STOP):
    return Row(
        handle=sample, question=PROBLEM.question, sample=sample, tokens=(sample,), text=text, steps=(text,), step_ends=(1,),
        finish=finish, cost=ROW,
    )  # fmt: skip


def right(sample, words=''):
    return row(sample, f'{words}The answer is 7')


def wrong(sample, number=5, words=''):
    return row(sample, f'{words}The answer is {number}')


def label(rows, seed=0, kind=Trajectories(samples=8), problem=PROBLEM, grader=None):  # noqa: B008
    if grader is not None:
        return kind.label(problem, seed, Drawn(tuple(rows), PROMPT), grader)
    with Grader(num_workers=1) as grader:
        return kind.label(problem, seed, Drawn(tuple(rows), PROMPT), grader)


def edits(a, b):
    """Edit distance by the textbook."""
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(last[j] + 1, now[-1] + 1, last[j - 1] + (x != y)))
        last = now
    return last[-1]


def some_rows(number, seed):
    """Rows with random words, about a third of them right."""
    rng = random.Random(seed)
    words = [''.join(rng.choices('abc ', k=rng.randrange(12))) + '. ' for _ in range(number)]
    return [right(i, word) if rng.random() < 0.35 else wrong(i, rng.randrange(1, 7), word) for i, word in enumerate(words)]


@pytest.mark.parametrize('seed', range(6))
def test_the_last_attempt_is_the_nearest_and_the_others_are_different_wrong_ones(seed):
    rows = some_rows(30, seed)
    texts = {each.text for each in rows if each.text[-1] != '7'}
    solutions = label(rows, seed).solutions
    assert len(solutions) == sum(each.text[-1] == '7' for each in rows) > 3
    for solution in solutions:
        assert solution.is_correct and solution.attempts_correct == (False,) * len(solution.attempts)
        assert len(solution.attempts) <= 4 and len(set(solution.attempts)) == len(solution.attempts)
        assert set(solution.attempts) <= texts
        if solution.attempts:
            least = min(edits(solution.steps[0], text) for text in texts)
            assert edits(solution.steps[0], solution.attempts[-1]) == least
    assert len({solution.attempts[:-1] for solution in solutions}) > 1


def test_of_equally_near_ones_it_is_the_first_sample():
    rows = [right(0), wrong(1, 8), wrong(2, 5)]
    shown = [label(rows, seed, Trajectories(most_wrong=1)).solutions[0].attempts for seed in range(20)]
    assert set(shown) == {(), ('The answer is 8',)}


def test_the_number_of_attempts_is_drawn_evenly_and_every_wrong_one_gets_its_turn():
    rows = [right(0), *(wrong(i, i + 10, 'x' * i) for i in range(1, 9))]  # the nearest is sample 1
    with Grader(num_workers=1) as grader:
        shown = [label(rows, seed, grader=grader).solutions[0].attempts for seed in range(1000)]
    sizes = Counter(map(len, shown))
    assert set(sizes) == {0, 1, 2, 3, 4} and all(150 < count < 250 for count in sizes.values())  # 200, 4 deviations
    others = Counter(text for attempts in shown for text in attempts[:-1])
    # 1, 2 or 3 others in 200 cases each: 1,200 places for 7 texts.
    assert len(others) == 7 and all(120 < count < 225 for count in others.values())
    assert {attempts[-1] for attempts in shown if attempts} == {rows[1].text}


def test_fewer_wrong_ones_are_shown_where_there_are_fewer():
    rows = [right(0), wrong(1), wrong(2, 6)]
    sizes = Counter(len(label(rows, seed).solutions[0].attempts) for seed in range(60))
    assert set(sizes) == {0, 1, 2} and sizes[2] > sizes[1]  # 2, 3 and 4 wanted


def test_a_text_is_shown_twice_only_where_there_are_no_others():
    rows = [right(0), *(wrong(i, 5) for i in range(1, 4)), wrong(4, 66)]
    shown = {len(attempts): attempts for seed in range(60) if (attempts := label(rows, seed).solutions[0].attempts)}
    near, far = 'The answer is 5', 'The answer is 66'
    assert shown == {1: (near,), 2: (far, near), 3: (far, near, near), 4: (far, near, near, near)}


def test_neither_other_samples_nor_their_order_but_the_address_decides():
    rows = some_rows(24, 3)
    assert label(rows).solutions == label(rows).solutions
    with_another_right_one = [*rows, right(50, 'of no interest. ')]
    assert label(with_another_right_one).solutions[:-1] == label(rows).solutions
    assert label(rows, seed=1).solutions != label(rows).solutions
    another = label(rows, problem=dataclasses.replace(PROBLEM, id='r')).solutions
    assert [s.attempts for s in another] != [s.attempts for s in label(rows).solutions]


def test_a_question_without_a_right_sample_gives_nothing_and_is_counted():
    hopeless, plain, easy = label([wrong(0), wrong(1)]), label([right(0), wrong(1)]), label([right(0), right(1)])
    assert hopeless.solutions == () and hopeless.dropped == {'wrong': 2}
    assert [s.attempts for s in easy.solutions] == [(), ()] and easy.dropped == {}
    summary = Trajectories().summary([hopeless, plain, easy])
    assert (summary['no_correct'], summary['no_wrong'], sum(summary['attempts_shown'])) == (1, 1, 3)
    said = '\n'.join(Trajectories().closing(summary))
    assert '1 questions without a right sample' in said and '1 with right ones alone' in said


class Doubtful(Grader):
    """Cannot judge an 8 in time."""

    def grade_answer(self, gold, answer):
        return Verdict.UNJUDGED if answer == '8' else super().grade_answer(gold, answer)


def test_what_nobody_knows_to_be_wrong_is_not_shown():
    rows = [right(0), row(1, 'no idea'), row(2, 'The answer is 5', Finish.FAILED), wrong(3, 8), wrong(4, 6)]
    with Doubtful(num_workers=1) as grader:
        found = [label(rows, seed, grader=grader) for seed in range(20)]
    assert {s.attempts for each in found for s in each.solutions} == {(), ('The answer is 6',)}
    assert found[0].dropped == {'failed': 1, 'unanswered': 1, 'unjudged': 1, 'wrong': 1}
    cost = Cost(**found[0].cost)
    assert cost.decode == 500 and cost.discarded == 300 and (cost.prefill, cost.prompt_tokens) == (5, 3)


def test_what_is_written_comes_back_and_labels_no_step():
    found = label(some_rows(12, 1))
    assert labelled_from(json.loads(to_line(found))) == found
    for solution in found.solutions:
        assert solution.soft == solution.hard == solution.rollouts == ()


def test_the_samples_are_those_of_a_strategy_and_company_changes_nothing():
    kind, questions = Trajectories(samples=5), [Question('q' * n, '?') for n in (1, 2, 3)]

    def drawn(questions, **settings):
        session = FakeSession(**settings)
        tasks = [Task(each, kind.search(each), UNLIMITED, 0, kind.copies, kind.num_attempts) for each in questions]
        found = {questions[index].id: result for index, result in drive(tasks, session, {})}
        assert session.held == {} and session.num_attempts == 0
        return {name: ([(r.sample, r.text, r.cost) for r in result.rows], result.prompt) for name, result in found.items()}

    together = drawn(questions, num_rows=7, per_pump=2)
    assert together == {question.id: drawn([question])[question.id] for question in questions}
    outcomes = Majority(n=5).solve(questions, FakeSampler())
    for outcome in outcomes:
        rows, prompt = together[outcome.question.id]
        assert [text for _, text, _ in rows] == [c.text for c in outcome.candidates] and prompt.prefill == PROMPT_PRICE


@pytest.mark.parametrize(('field', 'value', 'message'), [
    ('samples', 0, 'samples must be at least 1, got 0'),
    ('most_wrong', -1, 'most_wrong must be at least 0, got -1'),
    ('samples', 10**5, 'samples make 100,000 rows of a question at once, at most 65,536'),
])  # fmt: skip
def test_impossible_numbers_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        Trajectories(**{field: value})


def test_a_verifier_of_steps_refuses_solutions_whose_steps_have_no_labels():
    (solution,) = label([right(0)]).solutions
    prm, orm = object.__new__(PrmConfig), object.__new__(OrmConfig)  # of which nothing but the defaults is asked
    with pytest.raises(DataError, match='expected rollouts from every step, got steps without'):
        prm.targets(solution)
    assert orm.targets(solution) == (1.0,)
