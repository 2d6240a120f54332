"""Reward-balanced search: its shares, and a tree by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.search.rebase import Rebase, balanced
from tests.search.world import World, shape


def test_shares_are_rounded_up_best_first():
    # Weights e^0, e^-1, e^-2 of 1.503: ceil(8 / 1.503) = 6, ceil(2 * 0.368 / 0.503) = 2, none is left.
    assert balanced([0.4, 0.8, 0.6], 8, 0.2) == [0, 6, 2]
    assert balanced([0.5, 0.5, 0.5], 4, 0.2) == [2, 1, 1]
    assert balanced([0.5, 0.5, 0.5], 2, 0.2) == [1, 1, 0]
    assert balanced([], 0, 0.2) == []
    assert balanced([0.0, 0.0, 0.0], 15, 7.75) == [5, 5, 5]  # not 6 by rounding


@given(st.lists(st.floats(0, 50), min_size=1, max_size=70), st.integers(0, 300), st.floats(1e-3, 10))
def test_shares_add_up_to_the_places(values, places, balance):
    ways = balanced(values, places, balance)
    assert sum(ways) == places and min(ways) >= 0
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert all(ways[a] >= ways[b] for a, b in itertools.pairwise(ranked))


def test_a_tree_by_hand():
    world = World(
        steps={
            '': ['a.', 'b.', 'c.', 'The answer is 1.'],
            'a.': ['The answer is 2.'],
            'b.': ['d.', 'e.'],
            'b.d.': ['The answer is 3.'],
        },
        scores={
            'a.': 0.6, 'b.': 0.7, 'c.': 0.1, 'The answer is 1.': 0.3, 'a.The answer is 2.': 0.35,
            'b.d.': 0.5, 'b.e.': 0.4, 'b.d.The answer is 3.': 0.8,
        },
    )  # fmt: skip
    outcome = world.run(Rebase(n=4))
    # Three places among exp(0.7 / 0.2), exp(0.6 / 0.2), exp(0.1 / 0.2): ceil(1.80) = 2 for b., then one for a., none for c.
    # Then two among b.d. and b.e., exp(0) and exp(-0.5): ceil(1.24) = 2 for b.d.
    assert world.taken == [['a.', 'b.', 'b.'], ['b.d.', 'b.d.']]
    assert shape(outcome) == {
        0: (None, 0, ('a.', 'The answer is 2.'), None),
        1: (None, 0, ('b.', 'd.', 'The answer is 3.'), None),
        2: (None, 0, ('c.',), 1),
        3: (None, 0, ('The answer is 1.',), None),
        4: (1, 1, ('e.',), 2),
        5: (1, 2, ('The answer is 3.',), None),
    }
    assert outcome.answer == '3' and len(outcome.candidates) == 4


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'n': 0}, 'n must be at least 1'),
        ({'n': 4, 'balance': 0.0}, 'balance must be above 0'),
        ({'n': 4, 'num_iterations': 0}, 'num_iterations must be'),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Rebase(**fields)
