"""Bins of known questions, the paper's sizes, and what holds of any values."""

import collections
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.allocation.difficulty import cut_points, level_of, levels, pass_rates
from tests.analysis.metrics_test import pool


def sizes(values, num_bins=5):
    found = collections.Counter(levels({str(index): value for index, value in enumerate(values)}, num_bins).values())
    return [found[level] for level in range(1, num_bins + 1)]


def test_a_pass_rate_counts_all_seeds_and_only_what_is_right():
    pools = [pool('a', ['correct', 'wrong', 'unjudged', 'wrong']), pool('b', ['correct'] * 2)]
    assert pass_rates(pools) == {'a': 0.25, 'b': 1.0}
    assert pass_rates([*pools, pool('a', ['correct', 'correct'], seed=1)]) == {'a': 0.5, 'b': 1.0}


def test_equal_shares_are_equal_whatever_the_number_of_samples():
    rates = pass_rates([pool('a', ['correct', 'wrong', 'wrong']), pool('b', (['correct'] * 7 + ['wrong'] * 14))])
    assert rates['a'] == rates['b']


def test_samples_of_a_search_set_no_bin():
    with pytest.raises(ValueError, match='expected independent samples'):
        pass_rates([pool('a', ['correct'], chosen={'answer': 'x', 'votes': []})])
    chain = pool('a', ['correct', 'wrong'])
    revised = dataclasses.replace(chain.candidates[1], revises=0)
    with pytest.raises(ValueError, match='got revisions'):
        pass_rates([dataclasses.replace(chain, candidates=(chain.candidates[0], revised))])
    with pytest.raises(ValueError, match="none of 'a'"):
        pass_rates([dataclasses.replace(pool('a', []), candidates=())])


def test_level_1_is_the_easiest():
    assert levels({'d': 0.2, 'a': 0.9, 'e': 0.0, 'b': 0.7, 'c': 0.5}) == {'a': 1, 'b': 2, 'c': 3, 'd': 4, 'e': 5}
    assert cut_points([0.0, 0.2, 0.5, 0.7, 0.9]) == (0.2, 0.5, 0.7, 0.9)


def test_the_sizes_of_the_paper_come_out_of_ties_at_a_boundary():
    values = [index / 2048 for index in range(500)]
    assert sizes(values) == [100] * 5
    values[95:105] = [values[95]] * 10  # ten alike around the boundary of the two hardest bins
    assert sizes(values) == [100, 100, 100, 105, 95]


def test_a_group_goes_where_its_middle_falls():
    few_unsolved = [0.0] * 11 + [1 + index for index in range(39)]  # a fifth is 10
    assert sizes(few_unsolved) == [10, 10, 10, 9, 11]
    assert sizes([0.0] * 19 + [1 + index for index in range(31)]) == [10, 10, 10, 1, 19]
    assert sizes([0.0] * 20 + [1 + index for index in range(30)]) == [10, 10, 10, 20, 0]  # its middle is the boundary
    assert sizes([0.0] * 50) == [0, 0, 50, 0, 0]
    assert cut_points([0.0] * 50) == (0.0, 0.0, math.inf, math.inf)


def test_a_new_value_finds_its_level():
    cuts = (0.2, 0.5, 0.7, 0.9)
    assert [level_of(value, cuts) for value in (0.0, 0.19, 0.2, 0.6, 0.7, 0.95, 1.0)] == [5, 5, 4, 3, 2, 1, 1]


def test_what_cannot_be_cut_is_refused():
    for values, num_bins in (([], 5), ([0.5], 0)):
        with pytest.raises(ValueError, match='at least one value and one bin'):
            cut_points(values, num_bins)


VALUES = st.lists(st.integers(0, 12).map(lambda right: right / 12), min_size=1, max_size=60)


@given(VALUES, st.integers(1, 7))
def test_bins_keep_the_order_and_equal_values_share_one(values, num_bins):
    found = levels({str(index): value for index, value in enumerate(values)}, num_bins)
    told = [(value, found[str(index)]) for index, value in enumerate(values)]
    assert all(1 <= level <= num_bins for _, level in told)
    for value, level in told:
        assert all(other <= level if more > value else other == level for more, other in told if more >= value)


@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=60, unique=True))
def test_without_ties_bins_differ_by_one_question_at_most(values):
    assert max(sizes(values)) - min(sizes(values)) <= 1


@given(
    st.integers(1, 12).flatmap(lambda size: st.lists(st.integers(0, 10_000), min_size=5 * size, max_size=5 * size, unique=True))
)
def test_without_ties_the_bins_are_those_of_quantiles(values):
    quantiles = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
    expected = [5 - int(np.sum(value >= quantiles)) for value in values]
    assert [level_of(value, cut_points(values)) for value in values] == expected
