"""Confidence-weighted votes and the filter before them, against NumPy and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.types import Candidate, Finish
from jaxreason.search.deepconf import DeepConf, percentile


def candidate(sample, answer, *scores):
    return Candidate(
        sample=sample, text='', tokens=(), steps=(), step_ends=(), finish=Finish.STOP, answer=answer, scores=scores
    )


POOL = [
    candidate(0, '1', 0.5, 3.0),
    candidate(1, '1', 3.0),
    candidate(2, '2', 5.0),
    candidate(3, None, 100.0),
    candidate(4, '3', 4.0),
    candidate(5, '2'),
]


def test_the_confident_half_votes_with_its_confidence():
    assert DeepConf(n=6).choose(POOL).votes == (('1', 6.0), ('2', 5.0), ('3', 4.0))
    # Of those with an answer (0, 3, 3, 4, 5) the median is 3, and what reaches it stays, ties and all.
    assert DeepConf(n=6, keep=0.5).choose(POOL).votes == (('1', 6.0), ('2', 5.0), ('3', 4.0))
    # The 75th percentile is 4.
    assert DeepConf(n=6, keep=0.25).choose(POOL).votes == (('2', 5.0), ('3', 4.0))
    assert DeepConf(n=6, keep=0.1).choose(POOL).votes == (('2', 5.0),)


def test_one_is_kept_however_small_the_share():
    assert DeepConf(n=6, keep=1e-12).choose(POOL).answer == '2'
    assert DeepConf(n=1, keep=0.1).choose(POOL[:1]).answer == '1'
    assert DeepConf(n=1, keep=0.1).choose(POOL[3:4]) == (None, ())


@given(
    values=st.lists(st.floats(0, 50, width=32), min_size=1, max_size=40),
    share=st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda tenths: 1 - tenths / 10)),
)
def test_the_percentile_is_interpolated_linearly(values, share):
    found = percentile(values, share)
    # The place is rounded to nine digits, and the values are at most 50 apart.
    assert found == pytest.approx(np.percentile(values, 100 * share), abs=1e-7)
    assert min(values) <= found <= max(values)


def test_a_value_at_the_percentile_reaches_it():
    for tenths in range(1, 11):
        pool = [candidate(index, str(index), float(index + 1)) for index in range(11)]
        assert len(DeepConf(n=11, keep=tenths / 10).choose(pool).votes) == tenths + 1


@pytest.mark.parametrize('keep', [0, -0.1, 1.1, float('nan')])
def test_shares_that_are_none_are_refused(keep):
    with pytest.raises(ValueError, match='keep must be in'):
        DeepConf(n=4, keep=keep)
