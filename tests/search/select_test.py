"""Votes with known winners, and the same by a plain count."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.types import Candidate, Finish
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.majority import Majority
from jaxreason.search.select import Vote, choose, solution_score


def candidate(sample, answer, *scores):
    return Candidate(
        sample=sample, text='', tokens=(), steps=(), step_ends=(), finish=Finish.STOP, answer=answer, scores=scores
    )


POOL = [
    candidate(0, '1/2', 0.2, 0.9),
    candidate(1, '7', 0.8, 0.3),
    candidate(2, None, 1.0, 1.0),
    candidate(3, '0.5', 0.1, 0.2),
    candidate(4, '7', 0.9, 0.4),
    candidate(5, '50\\%', 0.3, 0.1),
]


def test_equal_answers_vote_together_under_the_earliest_wording():
    assert choose(POOL, Vote.MAJORITY) == ('1/2', (('1/2', 3.0), ('7', 2.0)))
    assert choose(POOL[::-1], Vote.MAJORITY) == choose(POOL, Vote.MAJORITY)


def test_weights_are_sums_and_naive_is_the_single_best():
    answer, votes = choose(POOL, Vote.WEIGHTED)
    assert answer == '1/2' and votes == (('1/2', pytest.approx(1.2)), ('7', pytest.approx(0.7)))
    assert choose(POOL, Vote.WEIGHTED, Aggregation.MIN).answer == '7'
    assert choose(POOL, Vote.NAIVE) == ('1/2', (('1/2', 0.9), ('7', 0.4)))
    assert choose(POOL, Vote.NAIVE, Aggregation.PROD).answer == '7'


def test_a_tie_goes_to_the_earliest_sample():
    tied = [candidate(4, 'b', 1.0), candidate(1, 'a', 1.0), candidate(2, 'b', 1.0), candidate(3, 'a', 1.0)]
    for vote in Vote:
        assert choose(tied, vote).answer == 'a'


def test_silence_is_no_answer():
    assert choose([candidate(0, None, 1.0)], Vote.WEIGHTED) == (None, ())
    assert choose([], Vote.MAJORITY) == (None, ())


@pytest.mark.parametrize('aggregation, expected', [('last', 0.5), ('min', 0.2), ('prod', 0.08), ('mean', 0.5)])
def test_steps_become_a_score(aggregation, expected):
    assert solution_score(candidate(0, '1', 0.8, 0.2, 0.5), Aggregation(aggregation)) == pytest.approx(expected)
    assert solution_score(candidate(0, '1'), Aggregation(aggregation)) == 0.0


@given(st.lists(st.tuples(st.sampled_from(['1', '2', '3', None]), st.integers(0, 8)), max_size=30))
def test_votes_equal_a_plain_count(rows):
    candidates = [candidate(i, answer, score / 8) for i, (answer, score) in enumerate(rows)]
    counts, sums = collections.Counter(), collections.Counter()
    for answer, score in rows:
        if answer is not None:
            counts[answer] += 1
            sums[answer] += score / 8
    assert dict(choose(candidates, Vote.MAJORITY).votes) == dict(counts)
    assert dict(choose(candidates, Vote.WEIGHTED).votes) == dict(sums)
    best = max((score / 8 for answer, score in rows if answer is not None), default=None)
    assert dict(choose(candidates, Vote.NAIVE).votes) == {
        answer: max(score / 8 for a, score in rows if a == answer) for answer in counts
    }
    assert best is None or choose(candidates, Vote.NAIVE).votes[0][1] == best


def test_impossible_strategies_are_refused():
    with pytest.raises(ValueError, match='n must be at least 1'):
        Majority(n=0)
    with pytest.raises(ValueError, match='best_of_n takes weighted or naive'):
        BestOfN(n=4, vote=Vote.MAJORITY)


def test_a_vote_may_be_given_as_a_plain_word():
    pool = [candidate(0, '1', 0.9), candidate(1, '2', 0.5), candidate(2, '2', 0.6)]
    assert BestOfN(n=3, vote='naive').choose(pool).answer == '1' != BestOfN(n=3, vote='weighted').choose(pool).answer
