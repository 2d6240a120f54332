"""Diverse verifier tree search by hand."""

import pytest

from jaxreason.search.dvts import DVTS
from tests.search.world import SCORE_PRICE, STEP_PRICE, World, shape


def test_subtrees_do_not_compete():
    world = World(
        steps={
            '': ['a.', 'b.', 'c.', 'd.'],
            'b.': ['The answer is 1.', 'e.'],
            'c.': ['The answer is 2.', 'f.'],
            'c.f.': ['The answer is 3.', 'The answer is 4.'],
        },
        scores={
            'a.': 0.8, 'b.': 0.9, 'c.': 0.2, 'd.': 0.1,  # both of the first are better than both of the second
            'b.The answer is 1.': 0.9, 'b.e.': 0.4, 'c.The answer is 2.': 0.3, 'c.f.': 0.5,
            'c.f.The answer is 3.': 0.4, 'c.f.The answer is 4.': 0.6,
        },
    )  # fmt: skip
    outcome = world.run(DVTS(n=4, beam_width=2))
    assert world.taken == [['b.', 'b.', 'c.', 'c.'], ['c.f.', 'c.f.']]
    assert shape(outcome) == {
        0: (None, 0, ('a.',), 1),
        1: (None, 0, ('b.', 'The answer is 1.'), None),  # the best of its round has ended: so has its subtree
        2: (None, 0, ('c.', 'The answer is 2.'), 2),  # ended, but not the best of its round
        3: (None, 0, ('d.',), 1),
        4: (1, 1, ('e.',), 2),
        5: (2, 1, ('f.', 'The answer is 3.'), None),
        6: (5, 2, ('The answer is 4.',), None),
    }
    assert outcome.votes == (('1', 0.9), ('4', 0.6), ('3', 0.4))
    assert outcome.cost.flops == 1 + 10 * (STEP_PRICE + SCORE_PRICE)
    # a., d., b.e. and the last step of the solution that was left: its first is the beginning of two others.
    assert outcome.cost.discarded == 4 * (STEP_PRICE + SCORE_PRICE)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'n': 6}, r'n must be a multiple of beam_width \(4\), got 6'),
        ({'n': 0}, 'n must be a multiple'),
        ({'n': 4, 'beam_width': 0}, 'beam_width must be at least 1'),
        ({'n': 4, 'lookahead': -1}, 'lookahead must be'),
        ({'n': 4, 'num_iterations': 0}, 'num_iterations must be'),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DVTS(**fields)
