"""Votes by rank, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.types import Candidate, Finish
from jaxreason.search.borda import Borda
from jaxreason.search.majority import Majority


def candidate(sample, answer, *scores):
    return Candidate(
        sample=sample, text='', tokens=(), steps=(), step_ends=(), finish=Finish.STOP, answer=answer, scores=scores
    )


# Ranks: 5 without an answer, 1, 0 and 3 tied, 4, 2 without scores.
POOL = [
    candidate(0, '7', 9.0, 2.0),
    candidate(1, '8', 3.0),
    candidate(2, '7'),
    candidate(3, '9', 2.0),
    candidate(4, '7', 1.0),
    candidate(5, None, 5.0),
]


def test_a_rank_is_a_vote():
    choice = Borda(n=6, power=1).choose(POOL)
    # Samples 1, 0, 3, 4 and 2 have ranks 2 to 6 and so 5, 4, 3, 2 and 1 votes: the first rank is lost with its answer.
    assert choice == ('7', (('7', 4.0 + 2 + 1), ('8', 5.0), ('9', 3.0)))
    assert Borda(n=6, power=2).choose(POOL) == ('8', (('8', 25.0), ('7', 16.0 + 4 + 1), ('9', 9.0)))
    assert Borda(n=6).choose(POOL).votes[0] == ('7', pytest.approx(4**0.5 + 2**0.5 + 1))


def test_of_equal_scores_the_earlier_sample_ranks_higher_in_whatever_order_they_come():
    tied = [candidate(index, answer, 1.0) for index, answer in enumerate('abc')]
    assert Borda(n=3, power=1).choose(tied[::-1]).votes == (('a', 3.0), ('b', 2.0), ('c', 1.0))


def test_fewer_of_a_pool_are_ranked_among_themselves():
    assert Borda(n=6, power=1).choose(POOL[:2]).votes == (('8', 2.0), ('7', 1.0))


def test_nobody_answers():
    assert Borda(n=2).choose([candidate(0, None, 1.0), candidate(1, None)]) == (None, ())


POOLS = st.lists(st.tuples(st.sampled_from(['1', '2', '3', None]), st.floats(0, 9)), min_size=1, max_size=12)


@given(pool=POOLS)
def test_the_powers_lie_between_the_majority_and_the_best_sample(pool):
    candidates = [candidate(index, *each) for index, each in enumerate(pool)]
    assert Borda(n=12, power=0).choose(candidates) == Majority(n=12).choose(candidates)
    answered = [c for c in candidates if c.answer is not None]
    best = max(answered, key=lambda c: (c.scores[0], -c.sample)).answer if answered else None
    assert Borda(n=12, power=32).choose(candidates).answer == best


@pytest.mark.parametrize('power', [-0.1, 33, float('nan'), float('inf')])
def test_powers_that_floats_cannot_count_are_refused(power):
    with pytest.raises(ValueError, match='power must be in'):
        Borda(n=4, power=power)
