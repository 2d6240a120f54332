"""Beam search by hand on small trees, against best-of-n, and under budgets."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import Cost
from jaxreason.core.requests import Extend, Score, Start, Take, Until
from jaxreason.core.types import Finish, Question, Row
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from tests.search.fakes import FakeSampler, LengthVerifier

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(6)]
STEP_PRICE, SCORE_PRICE = 100, 7


class World:
    """A tree known beforehand: what each prefix goes on with, way by way, and how good each prefix is."""

    def __init__(self, steps, scores):
        self.steps, self.scores = steps, scores
        self.asked = []  # per round: the prefixes scored, those kept

    def run(self, strategy):
        search, reply, handle = strategy.search(QUESTIONS[0], UNLIMITED), None, 0
        ways = {}
        while True:
            try:
                request = search.send(reply)
            except StopIteration as stop:
                return stop.value
            match request:
                case Start(question, copies):
                    rows = [Row(handle=i, question=question, sample=i) for i in range(copies)]
                    handle, reply = copies, (tuple(rows), Cost(prefill=1))
                case Extend(rows, until):
                    rows = tuple(self._grow(row, ways, until) for row in rows)
                    reply = (rows, Cost(decode=STEP_PRICE * len(rows)))
                case Score(rows):
                    self.asked.append([row.text for row in rows])
                    scores = tuple(
                        tuple(self.scores[''.join(row.steps[: i + 1])] for i in range(len(row.steps))) for row in rows
                    )
                    reply = (scores, (Cost(verify=SCORE_PRICE),) * len(rows), (None,) * len(rows))
                case Take(rows, indices):
                    taken, seen = [], set()
                    for index in indices:
                        row = rows[index]
                        if index in seen:
                            row = dataclasses.replace(row, handle=handle, cost=Cost(), lineage=(row.handle,))
                            handle += 1
                        seen.add(index)
                        taken.append(row)
                    self.asked[-1] = (self.asked[-1], [row.text for row in taken])
                    reply = (tuple(taken), Cost())

    def _grow(self, row, ways, until):
        """The next way on from a prefix: each row that is there takes the next one in turn."""
        assert until is Until.STEP
        number = ways[row.text] = ways.get(row.text, -1) + 1
        choices = self.steps[row.text]
        step = choices[number % len(choices)]
        steps = (*row.steps, step)
        finish = Finish.STOP if step.startswith('The') else Finish.OPEN
        ends = tuple(range(1, len(steps) + 1))
        return dataclasses.replace(
            row, text=''.join(steps), steps=steps, step_ends=ends, tokens=ends, finish=finish,
            cost=row.cost + Cost(decode=STEP_PRICE),
        )  # fmt: skip


def test_the_best_prefixes_go_on_and_a_finished_one_keeps_its_place():
    world = World(
        steps={
            '': ['a.', 'b.', 'c.', 'The answer is 1.'],
            'a.': ['The answer is 2.', 'd.'],
            'b.': ['e.'],
            'a.d.': ['The answer is 3.'],
        },
        scores={
            'a.': 0.6, 'b.': 0.2, 'c.': 0.5, 'The answer is 1.': 0.3,
            'a.The answer is 2.': 0.35, 'a.d.': 0.9, 'a.d.The answer is 3.': 0.8,
        },
    )  # fmt: skip
    outcome = world.run(BeamSearch(n=4, beam_width=3))
    # Three go on, a third of them is kept: a; then one of its three ways has ended twice (ways take turns), d goes on alone.
    assert world.asked == [
        (['a.', 'b.', 'c.', 'The answer is 1.'], ['a.', 'a.', 'a.']),
        (['a.The answer is 2.', 'a.d.', 'a.The answer is 2.'], ['a.d.']),
        ['a.d.The answer is 3.'],
    ]
    assert outcome.answer == '3'
    assert outcome.votes == (('3', 0.8), ('2', pytest.approx(0.7)), ('1', 0.3))
    assert [c.sample for c in outcome.candidates] == [0, 1, 2, 3]
    assert outcome.cost.decode == STEP_PRICE * (4 + 3 + 1) and outcome.cost.verify == SCORE_PRICE * 8
    assert outcome.cost.discarded == 2 * (STEP_PRICE + SCORE_PRICE)  # b and c


def test_equal_scores_keep_the_earlier_and_duplicates_may_be_left_out():
    steps = {'': ['a.', 'a.', 'b.', 'c.'], **{text: ['The answer is 1.'] for text in ('a.', 'b.', 'c.')}}
    ends = {f'{text}The answer is 1.': 0.5 for text in ('a.', 'b.', 'c.')}
    for is_filtered, kept in ((False, ['a.', 'a.', 'a.', 'a.']), (True, ['a.', 'a.', 'b.', 'b.'])):
        world = World(steps, {'a.': 0.9, 'b.': 0.4, 'c.': 0.4, **ends})
        world.run(BeamSearch(n=4, beam_width=2, filter_duplicates=is_filtered))
        assert world.asked[0][1] == kept


def test_places_are_shared_out_evenly():
    world = World(
        {'': ['a.', 'b.', 'c.', 'd.', 'e.'], **{text: ['The answer is 1.'] for text in ('a.', 'b.', 'c.', 'd.', 'e.')}},
        {text: score for score, text in enumerate(['a.', 'b.', 'c.', 'd.', 'e.'])}
        | {f'{text}The answer is 1.': 0.5 for text in ('a.', 'b.', 'c.', 'd.', 'e.')},
    )
    world.run(BeamSearch(n=5, beam_width=2))
    assert world.asked[0][1] == ['d.', 'd.', 'd.', 'e.', 'e.']


@pytest.mark.parametrize('n', [1, 5])
def test_a_width_of_one_is_best_of_n(n):
    beam = BeamSearch(n=n, beam_width=1).solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3)
    best = BestOfN(n=n).solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3)
    assert [[c.text for c in o.candidates] for o in beam] == [[c.text for c in o.candidates] for o in best]
    assert [(o.answer, o.votes) for o in beam] == [(o.answer, o.votes) for o in best]
    assert all(o.cost.discarded == 0 for o in beam)


@pytest.mark.parametrize('num_rows', [1, 3, 64])
def test_rows_and_company_change_no_outcome(num_rows):
    expected = [BeamSearch(n=6, beam_width=2).solve([q], FakeSampler(), LengthVerifier(), seed=1)[0] for q in QUESTIONS]
    assert BeamSearch(n=6, beam_width=2).solve(QUESTIONS, FakeSampler(num_rows=num_rows), LengthVerifier(), seed=1) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 3000), st.integers(0, 60), st.booleans())
def test_a_budget_is_never_exceeded(n, width, iterations, flops, tokens, in_tokens):
    budget = Budget(tokens=tokens) if in_tokens else Budget(flops=flops)
    strategy = BeamSearch(n=n, beam_width=min(width, n), num_iterations=iterations)
    for outcome in strategy.solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=2, budget=budget):
        spent = outcome.cost.new_tokens if in_tokens else outcome.cost.flops
        assert spent <= (tokens if in_tokens else flops)
        assert outcome.cost.discarded <= outcome.cost.flops and len(outcome.candidates) <= n


def test_the_last_iteration_runs_to_the_end():
    outcomes = BeamSearch(n=4, beam_width=2, num_iterations=1).solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3)
    best = BestOfN(n=4).solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3)
    assert [[c.text for c in o.candidates] for o in outcomes] == [[c.text for c in o.candidates] for o in best]


def test_the_root_of_n():
    assert BeamSearch(n=16, beam_width='sqrt').width == 4 and BeamSearch(n=64, beam_width='sqrt').width == 8


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'n': 0}, 'n must be at least 1'),
        ({'n': 4, 'beam_width': 5}, r'beam_width must be from 1 to n \(4\), or sqrt, got 5'),
        ({'n': 4, 'beam_width': 0}, 'beam_width must be'),
        ({'n': 4, 'num_iterations': 0}, 'num_iterations must be'),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(**fields)
