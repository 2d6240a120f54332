"""Beam search by hand on small trees, against best-of-n, and under budgets."""

import pytest

from jaxreason.core.types import Question
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from tests.search.fakes import FakeSampler, LengthVerifier
from tests.search.world import SCORE_PRICE, STEP_PRICE, World, shape

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(6)]


def test_the_best_prefixes_go_on_and_a_finished_one_keeps_its_place():
    world = World(
        steps={
            '': ['a.', 'b.', 'c.', 'The answer is 1.'],
            'a.': ['The answer is 2.', 'd.'],
            'a.d.': ['The answer is 3.'],
        },
        scores={
            'a.': 0.6, 'b.': 0.2, 'c.': 0.5, 'The answer is 1.': 0.3,
            'a.The answer is 2.': 0.35, 'a.d.': 0.9, 'a.d.The answer is 3.': 0.8,
        },
    )  # fmt: skip
    outcome = world.run(BeamSearch(n=4, beam_width=3))
    # Three go on, a third of them is kept: a; then one of its three ways has ended twice (ways take turns), d goes on alone.
    assert world.scored == [
        ['a.', 'b.', 'c.', 'The answer is 1.'],
        ['a.The answer is 2.', 'a.d.', 'a.The answer is 2.'],
        ['a.d.The answer is 3.'],
    ]
    assert world.taken == [['a.', 'a.', 'a.'], ['a.d.']]
    assert outcome.answer == '3'
    assert outcome.votes == (('3', 0.8), ('2', pytest.approx(0.7)), ('1', 0.3))
    assert shape(outcome) == {
        0: (None, 0, ('a.', 'The answer is 2.'), None),
        1: (None, 0, ('b.',), 1),
        2: (None, 0, ('c.',), 1),
        3: (None, 0, ('The answer is 1.',), None),
        4: (0, 1, ('d.', 'The answer is 3.'), None),
        5: (0, 1, ('The answer is 2.',), None),
    }
    assert [c.scores for c in outcome.candidates] == [(0.6, 0.35), (0.3,), (0.6, 0.9, 0.8), (0.6, 0.35)]
    assert [b.scores for b in outcome.pruned] == [(0.2,), (0.5,)]
    assert outcome.cost.decode == STEP_PRICE * (4 + 3 + 1) and outcome.cost.verify == SCORE_PRICE * 8
    assert outcome.cost.discarded == 2 * (STEP_PRICE + SCORE_PRICE)  # b and c
    own = sum(each.cost.flops for each in (*outcome.candidates, *outcome.pruned))
    assert own + outcome.cost.prefill == outcome.cost.flops


def test_what_a_solution_goes_on_from_is_not_discarded():
    world = World(
        steps={'': ['a.', 'b.'], 'a.': ['c.', 'd.'], 'a.d.': ['The answer is 1.']},
        scores={'a.': 0.6, 'b.': 0.2, 'a.c.': 0.1, 'a.d.': 0.9, 'a.d.The answer is 1.': 0.8},
    )
    outcome = world.run(BeamSearch(n=2, beam_width=2))
    assert shape(outcome) == {
        0: (None, 0, ('a.', 'c.'), 2),
        1: (None, 0, ('b.',), 1),
        2: (0, 1, ('d.', 'The answer is 1.'), None),
        3: (2, 2, ('The answer is 1.',), None),
    }
    # Of sample 0 its second step alone: its first is the beginning of both solutions.
    assert outcome.cost.discarded == 2 * (STEP_PRICE + SCORE_PRICE)


def test_equal_scores_keep_the_earlier_and_duplicates_may_be_left_out():
    steps = {'': ['a.', 'a.', 'b.', 'c.'], **{text: ['The answer is 1.'] for text in ('a.', 'b.', 'c.')}}
    ends = {f'{text}The answer is 1.': 0.5 for text in ('a.', 'b.', 'c.')}
    for is_filtered, kept in ((False, ['a.', 'a.', 'a.', 'a.']), (True, ['a.', 'a.', 'b.', 'b.'])):
        world = World(steps, {'a.': 0.9, 'b.': 0.4, 'c.': 0.4, **ends})
        world.run(BeamSearch(n=4, beam_width=2, filter_duplicates=is_filtered))
        assert world.taken[0] == kept


def test_places_are_shared_out_evenly():
    texts = ['a.', 'b.', 'c.', 'd.', 'e.']
    ends = {f'{text}The answer is 1.': 0.5 for text in texts}
    world = World(
        {'': texts, **{text: ['The answer is 1.'] for text in texts}}, {text: score for score, text in enumerate(texts)} | ends
    )
    world.run(BeamSearch(n=5, beam_width=2))
    assert world.taken[0] == ['d.', 'd.', 'd.', 'e.', 'e.']


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
