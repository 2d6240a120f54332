"""Chains that say what they were told to: what each attempt was shown, what is known of that, and what it cost."""

import json

import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.cost import Cost
from jaxreason.core.labels import labelled_from
from jaxreason.core.records import to_line
from jaxreason.core.types import Problem, Question
from jaxreason.data.grading import Grader
from jaxreason.search.chains import sample_of, turn_of
from jaxreason.search.drive import Task, drive
from jaxreason.search.revision import Revision
from jaxreason.train.chain_labels import ChainLabels
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSampler, FakeSession

QUESTION = Question('q', '?')
# Answers by chain and turn; the right one is 7, None is an attempt without an answer.
ANSWERS = {0: [5, 7, None, 7, 3], 1: [7, 7, 4, 4, 7]}


def text(chain, turn):
    answer = ANSWERS[chain][turn]
    return f'{chain}{turn} what was asked' if answer is None else f'{chain}{turn} The answer is {answer}'


def script(question, sample, seed):
    return text(sample % 65536, turn_of(sample)).split(' ')


def label_all(kind, questions=(QUESTION,), script=script, **settings):
    session = FakeSession(script=script, **settings)
    tasks = [Task(each, kind.search(each), UNLIMITED, 0, kind.copies, kind.num_attempts) for each in questions]
    found = {}
    with Grader(num_workers=1) as grader:
        for index, grown in drive(tasks, session, {}):
            problem = Problem(id=questions[index].id, text='?', answer='7')
            found[problem.id] = kind.label(problem, 0, grown, grader)
    assert session.held == {} and session.num_attempts == kind.num_attempts
    return found


@pytest.mark.parametrize('context', [1, 2, 4])
def test_every_answered_attempt_is_kept_with_what_it_was_shown(context):
    found = label_all(ChainLabels(chains=2, length=5, context=context))['q']
    by_sample = {solution.sample: solution for solution in found.solutions}
    assert found.dropped == {'unanswered': 1} and len(by_sample) == 9 and sample_of(0, 2) not in by_sample
    for sample, solution in by_sample.items():
        chain, turn = sample % 65536, turn_of(sample)
        before = range(max(0, turn - context), turn)
        assert ''.join(solution.steps) == text(chain, turn) and solution.is_correct == (ANSWERS[chain][turn] == 7)
        assert solution.attempts == tuple(text(chain, each) for each in before)
        assert solution.attempts_correct == tuple(ANSWERS[chain][each] == 7 for each in before)
        assert solution.rollouts == solution.soft == ()


def test_attempts_that_a_prompt_had_no_room_for_are_not_among_those_before():
    """An attempt is 5 words: 11 hold the last two of the four that could be shown."""
    found = label_all(ChainLabels(chains=2, length=5), room=11)['q']
    last = next(solution for solution in found.solutions if solution.sample == sample_of(1, 4))
    assert last.attempts == (text(1, 2), text(1, 3)) and last.attempts_correct == (False, False)
    second = next(solution for solution in found.solutions if solution.sample == sample_of(1, 1))
    assert second.attempts == (text(1, 0),) and second.attempts_correct == (True,)


def test_chains_that_run_out_of_room_end_and_are_counted():
    kind = ChainLabels(chains=2, length=5)
    found = label_all(kind, room=4)['q']
    assert [solution.sample for solution in found.solutions] == [0, 1]
    summary = kind.summary([found])
    assert summary['no_room'] == 8 and summary['kept_by_turn'] == [2, 0, 0, 0, 0]
    assert '8 attempts were never begun' in kind.closing(summary)[-1]


def test_the_summary_tells_what_a_chain_is_worth_at_every_place():
    kind = ChainLabels(chains=2, length=5)
    summary = kind.summary([label_all(kind)['q']])
    assert summary == {
        'attempts_shown': [2, 2, 1, 2, 2],
        'kept_by_turn': [2, 2, 1, 2, 2],
        'correct_by_turn': [1, 2, 0, 1, 1],
        'no_room': 0,
    }
    assert kind.closing(summary)[0].endswith('1: 1/2  2: 2/2  3: 0/1  4: 1/2  5: 1/2') and len(kind.closing(summary)) == 2


def test_everything_is_paid_for():
    found = label_all(ChainLabels(chains=2, length=5))['q']
    cost, words = Cost(**found.cost), sum(len(text(chain, turn).split()) for chain in (0, 1) for turn in range(5))
    assert cost.prefill == PROMPT_PRICE * (1 + 2 * 4) and cost.prompt_tokens == 7 * 9
    assert (cost.decode, cost.new_tokens) == (TOKEN_PRICE * words, words)
    assert cost.discarded == PROMPT_PRICE + TOKEN_PRICE * len(text(0, 2).split())
    assert sum(solution.own_flops for solution in found.solutions) + TOKEN_PRICE * 4 == cost.decode


def test_chains_are_those_of_the_strategy_and_company_changes_nothing():
    questions, kind = [Question('q' * n, '?') for n in (1, 2, 3)], ChainLabels(chains=3, length=4, context=2)
    alone = {each.id: label_all(kind, [each], FakeSession().script)[each.id] for each in questions}
    assert label_all(kind, questions[::-1], FakeSession().script, num_rows=5, per_pump=2) == alone
    for outcome in Revision(chains=3, length=4, context=2, vote='majority').solve(questions, FakeSampler()):
        texts = {c.sample: c.text for c in outcome.candidates}
        for solution in alone[outcome.question.id].solutions:
            assert ''.join(solution.steps).replace(' ', '') == texts[solution.sample].replace(' ', '')


def test_what_is_written_comes_back():
    found = label_all(ChainLabels(chains=2, length=5))['q']
    assert labelled_from(json.loads(to_line(found))) == found


@pytest.mark.parametrize('field', ['chains', 'length', 'context'])
def test_impossible_numbers_are_refused(field):
    with pytest.raises(ValueError, match=f'{field} must be at least 1, got 0'):
        ChainLabels(**{field: 0})
    with pytest.raises(ValueError, match='at most 65,536'):
        ChainLabels(chains=10**5)


def test_prompts_show_no_more_than_a_chain_has():
    assert [ChainLabels(length=length, context=4).num_attempts for length in (1, 3, 5, 9)] == [0, 2, 4, 4]
