import dataclasses

import pytest

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import total
from jaxreason.core.requests import Extend, Score, Start, Take, Until
from jaxreason.core.types import Finish, Outcome, Question
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.drive import Task, drive
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSampler, FakeSession, LengthVerifier, script

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(9)]


def texts(outcome):
    return [c.text for c in outcome.candidates]


@pytest.mark.parametrize('num_rows', [1, 3, 64])
@pytest.mark.parametrize('per_pump', [1, 5])
def test_rows_and_chunks_change_no_outcome(num_rows, per_pump):
    expected = Majority(n=5).solve(QUESTIONS, FakeSampler(), seed=3)
    found = Majority(n=5).solve(QUESTIONS, FakeSampler(num_rows=num_rows, per_pump=per_pump), seed=3)
    assert found == expected


def test_a_question_alone_gets_what_it_gets_in_company():
    together = Majority(n=3).solve(QUESTIONS, FakeSampler(), seed=1)
    for index, question in enumerate(QUESTIONS):
        assert Majority(n=3).solve([question], FakeSampler(), seed=1) == [together[index]]


def test_samples_are_addressed_so_best_of_2_begins_best_of_5():
    few = Majority(n=2).solve(QUESTIONS, FakeSampler(), seed=1)
    many = Majority(n=5).solve(QUESTIONS, FakeSampler(), seed=1)
    assert [texts(o) for o in few] == [texts(o)[:2] for o in many]


def test_equal_texts_share_their_draws_and_ids_separate_them():
    a, b = Majority(n=3).solve(['same', 'same'], FakeSampler(), seed=1)
    assert texts(a) == texts(b)
    a, b = Majority(n=3).solve([Question('x', 'same'), Question('y', 'same')], FakeSampler(), seed=1)
    assert texts(a) != texts(b)


@pytest.mark.parametrize('n', [10**9, 2**16 + 1])
def test_more_rows_than_anybody_holds_are_refused_before_any_is_started(n):
    sampler = FakeSampler()
    with pytest.raises(ValueError, match=f'1 to 65,536 rows of a question, got {n:,}'):
        Majority(n=n).solve(QUESTIONS, sampler)
    assert sampler.last.held == {}


def test_no_questions_are_no_outcomes():
    assert Majority(n=3).solve([], FakeSampler()) == []


def test_the_session_is_told_how_many_rows_each_question_may_have():
    sampler = FakeSampler()
    Majority(n=3).solve(['a', 'b', 'a'], sampler)
    assert [question.text for question in sampler.last.prepared] == ['a', 'b'] and sampler.last.copies == [6, 3]
    session = FakeSession()
    list(drive([Task(QUESTIONS[0], Greedy().search(QUESTIONS[0], UNLIMITED), UNLIMITED, 0)], session, {}))
    assert session.copies is None


def test_everything_is_released():
    sampler = FakeSampler()
    BestOfN(n=4).solve(QUESTIONS, sampler, LengthVerifier(), seed=1)
    assert sampler.last.held == {} and sampler.last.queue == [] and sampler.last.working == {}


def test_scores_of_several_questions_go_in_one_call():
    verifier = LengthVerifier()
    short = FakeSampler(num_rows=64, per_pump=64)
    BestOfN(n=2).solve(QUESTIONS, short, verifier, seed=1)
    assert verifier.calls == [2 * len(QUESTIONS)]


def test_cost_is_the_prompt_once_and_every_token():
    outcome = BestOfN(n=4).solve(QUESTIONS[:1], FakeSampler(), LengthVerifier(), seed=2)[0]
    tokens = sum(len(c.tokens) for c in outcome.candidates)
    assert outcome.cost.prefill == PROMPT_PRICE and outcome.cost.prompt_tokens == 7
    assert outcome.cost.new_tokens == tokens and outcome.cost.decode == TOKEN_PRICE * tokens
    assert outcome.cost.verify == 4 * 5 + 3 * tokens and outcome.cost.scored_tokens == tokens
    assert outcome.cost.flops == PROMPT_PRICE + 20 + 13 * tokens
    own = total(c.cost for c in outcome.candidates)
    assert (own.decode, own.verify, own.prefill) == (outcome.cost.decode, outcome.cost.verify, 0)


def test_a_generous_budget_changes_nothing_and_a_tight_one_is_used_up():
    free = Majority(n=4).solve(QUESTIONS, FakeSampler(), seed=1)
    budget = Budget(tokens=max(o.cost.new_tokens for o in free))
    assert [texts(o) for o in Majority(n=4).solve(QUESTIONS, FakeSampler(), seed=1, budget=budget)] == [texts(o) for o in free]
    for outcome, whole in zip(
        Majority(n=4).solve(QUESTIONS, FakeSampler(), seed=1, budget=Budget(tokens=9)), free, strict=True
    ):
        # What a short row leaves over goes to the others: nothing is left while a row still grows.
        assert outcome.cost.new_tokens == min(9, whole.cost.new_tokens)


def test_a_budget_below_the_prompt_is_an_outcome_without_answer():
    sampler = FakeSampler()
    outcome = Majority(n=2).solve(QUESTIONS[:1], sampler, seed=0, budget=Budget(flops=PROMPT_PRICE - 1))[0]
    assert outcome.answer is None and outcome.candidates == () and outcome.cost.flops == 0
    assert sampler.last.next_handle == 0


def test_too_many_generations_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match='begins 5 solutions, the budget allows 4'):
        Majority(n=5).solve(QUESTIONS, FakeSampler(), budget=Budget(generations=4))
    with pytest.raises(ValueError, match='needs a verifier'):
        BestOfN(n=5).solve(QUESTIONS, FakeSampler())
    with pytest.raises(ValueError, match='seed must be in'):
        Majority(n=1).solve(QUESTIONS, FakeSampler(), seed=2**32)


def test_a_verifier_whose_statistic_is_not_sampled_is_refused():
    verifier = LengthVerifier()
    verifier.stats = frozenset({'entropy'})
    with pytest.raises(ValueError, match='entropy'):
        BestOfN(n=1).solve(QUESTIONS, FakeSampler(), verifier)


def run(search, budget=UNLIMITED, **settings):
    session = FakeSession(**settings)
    (found,) = drive([Task(QUESTIONS[0], search, budget, 0)], session, {None: LengthVerifier()})
    assert session.held == {}
    return found[1]


def test_steps_pause_forks_draw_anew_and_rank_0_goes_on():
    def search():
        rows, _ = yield Start(QUESTIONS[0], copies=1)
        rows, _ = yield Extend(rows, until=Until.STEP)
        assert rows[0].finish is Finish.OPEN and len(rows[0].steps) == 1 and rows[0].text.endswith('.')
        rows, cost = yield Take(rows, (0, 0))
        assert cost.flops == 0 and rows[0].handle != rows[1].handle
        rows, _ = yield Extend(rows)
        scores, costs, reasons = yield Score(rows)
        assert [len(s) for s in scores] == [len(r.step_ends) for r in rows] and all(c.verify for c in costs)
        assert reasons == (None, None)
        return rows

    rows = run(search())
    assert rows[0].text == ' '.join(script(QUESTIONS[0], 0, 0))
    assert rows[1].text.startswith(rows[0].steps[0]) and rows[1].text != rows[0].text


def test_rows_that_are_not_taken_are_gone():
    def search():
        rows, _ = yield Start(QUESTIONS[0], copies=3)
        rows, _ = yield Extend(rows, until=Until.STEP)
        rows, _ = yield Take(rows, (2,))
        rows, _ = yield Extend(rows)
        return rows

    rows = run(search())
    assert [row.sample for row in rows] == [2]


def test_extending_in_pieces_costs_what_extending_at_once_costs():
    def pieces():
        rows, cost = yield Start(QUESTIONS[0], copies=2)
        while any(row.finish is Finish.OPEN for row in rows):
            rows, more = yield Extend(rows, max_tokens=2)
            cost += more
        return [row.text for row in rows], cost

    def whole():
        rows, cost = yield Start(QUESTIONS[0], copies=2)
        rows, more = yield Extend(rows)
        return [row.text for row in rows], cost + more

    assert run(pieces()) == run(whole())


def test_what_on_tick_raises_ends_the_drive_and_frees_everything():
    session = FakeSession()
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 2:
            raise KeyboardInterrupt

    closed = []

    def search():
        try:
            rows, _ = yield Start(QUESTIONS[0], copies=2)
            yield Extend(rows)
        finally:
            closed.append(1)

    with pytest.raises(KeyboardInterrupt):
        list(drive([Task(QUESTIONS[0], search(), UNLIMITED, 0)], session, {}, on_tick=tick))
    assert closed == [1] and session.held == {}


def test_outcomes_stream_as_questions_finish():
    lengths = {'q0': 12, 'q1': 2}

    def words(question, sample, seed):
        return ['w'] * lengths[question.id]

    order = [i for i, _ in Majority(n=1).stream(QUESTIONS[:2], FakeSampler(script=words))]
    assert order == [1, 0]


def test_outcome_is_a_value():
    outcome = Majority(n=2).solve(QUESTIONS[:1], FakeSampler(), seed=1)[0]
    assert isinstance(outcome, Outcome) and dataclasses.replace(outcome) == outcome
