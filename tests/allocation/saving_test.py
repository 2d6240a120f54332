"""Savings read off by hand, bounds that say that they are bounds, and the weights of a resample."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.allocation.saving import Saving, percentiles, resampled_weights, saving, saving_interval

FLOPS = np.array([100.0, 400.0, 1600.0])


def curve(*correct):
    return np.array(correct)


def test_a_saving_is_read_off_between_two_budgets_along_the_logarithm():
    # Half way from 0.5 to 0.7, so at the geometric mean of 400 and 1600: 800.
    assert saving(FLOPS, curve(0.3, 0.5, 0.7), 0.6, 3200.0) == (pytest.approx(4.0), '')
    quarter = saving(FLOPS, curve(0.2, 0.6, 0.7), 0.3, 100.0)
    assert quarter.times == pytest.approx(100 / (100 * 4**0.25)) and not quarter.censored
    assert saving(FLOPS, curve(0.3, 0.5, 0.7), 0.5, 1200.0) == (pytest.approx(3.0), ''), 'exactly at a budget'


def test_a_curve_that_is_there_at_once_saves_at_least_so_much():
    assert saving(FLOPS, curve(0.6, 0.5, 0.9), 0.6, 1600.0) == (16.0, 'at_least')


def test_a_curve_that_never_gets_there_saves_at_most_so_much():
    assert saving(FLOPS, curve(0.1, 0.2, 0.59), 0.6, 3200.0) == (2.0, 'at_most')


def test_a_curve_may_be_given_in_any_order():
    assert saving(FLOPS[::-1], curve(0.7, 0.5, 0.3), 0.6, 3200.0) == (pytest.approx(4.0), '')


def test_the_first_time_counts_where_a_curve_falls_again():
    assert saving(FLOPS, curve(0.3, 0.7, 0.5), 0.5, 1600.0).times == pytest.approx(1600 / 200)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(1, 1e6), st.floats(1.01, 100))
def test_a_dearer_reference_saves_as_much_more(correct, target, reference, factor):
    once, again = (saving(FLOPS, curve(*correct), target, flops) for flops in (reference, factor * reference))
    assert again.times == pytest.approx(factor * once.times) and again.censored == once.censored
    assert reference / 1600 - 1e-9 <= once.times <= reference / 100 + 1e-9


def exact(number, of=100):
    return [Saving(1.0 + index / of) for index in range(number)]


def test_an_interval_without_bounds_is_that_of_the_percentiles():
    found = saving_interval(Saving(1.5), exact(101))
    assert (found['point'], found['low'], found['high']) == (
        1.5,
        pytest.approx(1.02, abs=0.006),
        pytest.approx(1.98, abs=0.006),
    )
    assert not (found['censored'] or found['low_censored'] or found['high_censored']) and found['never_reached'] == 0.0


def test_a_resample_that_never_gets_there_may_lie_below_all_others():
    """Its bound of 4x is no saving of 4x: the lower end is no number above it, and says so."""
    few, many = ([*exact(100 - number), *[Saving(4.0, 'at_most')] * number] for number in (1, 10))
    assert saving_interval(Saving(1.5), few)['low_censored'] == ''
    found = saving_interval(Saving(1.5), many)
    assert found['low_censored'] == 'at_most' and found['never_reached'] == 0.1
    assert found['low'] <= 1.1, 'no more than what the others allow'


def test_a_resample_that_is_there_at_once_may_lie_above_all_others():
    found = saving_interval(Saving(1.5), [*exact(90), *[Saving(0.5, 'at_least')] * 10])
    assert found['high_censored'] == 'at_least' and found['high'] >= 1.8
    assert found['low'] == 0.5 and found['low_censored'] in ('', 'at_least')


def test_where_every_resample_is_a_bound_both_ends_are():
    for word in ('at_least', 'at_most'):
        found = saving_interval(Saving(3.0, word), [Saving(2.0, word)] * 50)
        assert found == {
            'point': 3.0, 'low': 2.0, 'high': 2.0, 'censored': word, 'low_censored': word, 'high_censored': word,
            'never_reached': float(word == 'at_most'),
        }  # fmt: skip


BOUNDS = st.builds(Saving, st.floats(0.1, 50), st.sampled_from(['', 'at_least', 'at_most']))


@given(st.lists(BOUNDS, min_size=20, max_size=200))
def test_no_truth_behind_the_bounds_lies_outside_what_is_claimed(resampled):
    """Whatever the censored savings really are: a low end is not too high, nor a high one too low, unless it says so."""
    found = saving_interval(Saving(1.0), resampled)
    least = sorted(0.0 if each.censored == 'at_most' else each.times for each in resampled)
    most = sorted(math.inf if each.censored == 'at_least' else each.times for each in resampled)
    place_low, place_high = (round(share * (len(resampled) - 1)) for share in (0.025, 0.975))
    if found['low_censored'] == 'at_most':
        assert found['low'] >= most[place_low] - 1e-5 and least[place_low] == 0
    else:
        assert found['low'] <= least[place_low] + 1e-5
    if found['high_censored'] == 'at_least':
        assert found['high'] <= least[place_high] + 1e-5 and most[place_high] == math.inf
    else:
        assert found['high'] >= most[place_high] - 1e-5
    if not any(each.censored for each in resampled):
        assert not found['low_censored'] and not found['high_censored'] and found['low'] <= found['high']


def test_every_resample_draws_as_many_questions_and_seeds_as_there_are():
    weights = list(resampled_weights(50, 3, 230, 0))
    assert len(weights) == 230
    for each in weights:
        assert each.shape == (150,) and each.sum() == pytest.approx(50.0)
        drawn = each.reshape(50, 3).sum(axis=1)
        np.testing.assert_allclose(drawn, drawn.round(), atol=1e-9, err_msg='a question counts a whole number of times')
        np.testing.assert_allclose(each * 3, (each * 3).round(), atol=1e-9)
    mean = np.mean(weights, axis=0)
    assert abs(mean - 1 / 3).max() < 0.2, 'every question and seed counts alike'
    drawn = np.array(weights).reshape(230, 50, 3).sum(axis=2)
    assert drawn.var() == pytest.approx(1 - 1 / 50, rel=0.1), 'questions are drawn with replacement'
    seeds = np.array(weights).reshape(230, 50, 3)[drawn == 1]
    assert {tuple(sorted(np.round(3 * each))) for each in seeds} == {(0, 0, 3), (0, 1, 2), (1, 1, 1)}, (
        'and so are the seeds of each'
    )


def test_one_seed_counts_whole():
    for each in resampled_weights(9, 1, 20, 4):
        np.testing.assert_array_equal(each, each.round())


def test_the_seed_decides_the_resamples_and_more_of_them_change_none():
    few, many = (np.array(list(resampled_weights(7, 2, number, 3))) for number in (100, 250))
    np.testing.assert_array_equal(few, many[:100])
    assert not np.array_equal(few, np.array(list(resampled_weights(7, 2, 100, 4))))


def test_percentiles_are_those_over_the_resamples():
    low, high = percentiles(np.arange(1001.0)[:, None] * np.array([1.0, 2.0])[None])
    np.testing.assert_allclose((low, high), [[25, 50], [975, 1950]])
