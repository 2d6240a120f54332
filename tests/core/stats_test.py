"""Estimates: exact values, invariances, and coverage of the interval by simulation."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.stats import Estimate, _drawn_weights, bootstrap, bootstrap_mean, paired_difference, pass_at_k, ratio


def interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low, estimate.high


@pytest.mark.parametrize(
    ('n', 'c', 'k', 'expected'),
    [(10, 3, 1, 0.3), (10, 3, 5, 0.916667), (100, 5, 10, 0.416248), (256, 1, 64, 0.25), (2048, 20, 16, 0.145808)],
)
def test_pass_at_k_gives_the_published_values(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=5e-7)


@settings(deadline=None)
@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(case):
    n, c, k = case
    subsets = list(itertools.combinations(range(n), k))
    share = sum(any(item < c for item in subset) for subset in subsets) / len(subsets)
    assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-12)
    assert pass_at_k([n, n], [c, c], k).tolist() == [pass_at_k(n, c, k)] * 2


def test_pass_at_k_refuses_what_was_not_sampled():
    for n, c, k in [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)]:
        with pytest.raises(ValueError, match='pass@k'):
            pass_at_k(n, c, k)


def test_seeds_are_averaged_within_their_question():
    values = [[1, 0, 0, 0], [1, 1, math.nan, math.nan], [0, math.nan, math.nan, math.nan]]
    estimate = bootstrap_mean(np.array(values))
    assert estimate.point == pytest.approx((0.25 + 1 + 0) / 3)
    assert (estimate.num_questions, estimate.num_seeds) == (3, 4)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_more_seeds_alone_do_not_narrow_the_interval():
    one = bootstrap_mean(np.tile([[0.0], [1.0]], (20, 1)))
    ten = bootstrap_mean(np.tile([[0.0] * 10, [1.0] * 10], (20, 1)))
    assert (one.low, one.high) == (ten.low, ten.high)


def test_no_interval_where_the_bootstrap_can_say_nothing():
    for values in (np.ones(1), np.array([[1.0, 0.0]]), np.ones(30), np.tile([0.0, 1.0], (30, 1))):
        estimate = bootstrap_mean(values)
        assert estimate.low is None and estimate.high is None
    for values in (np.zeros(0), np.zeros((1, 0)), np.array([[1.0], [math.nan]])):
        with pytest.raises(ValueError, match='bootstrap'):
            bootstrap_mean(values)


def test_the_same_values_give_the_same_interval_and_order_of_seeds_is_free():
    values = np.random.default_rng(3).integers(0, 2, (40, 3)).astype(float)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert interval(bootstrap_mean(values[:, ::-1])) == pytest.approx(interval(bootstrap_mean(values)))


def test_the_interval_is_close_to_the_normal_one_for_many_questions():
    values = np.random.default_rng(0).integers(0, 2, 1000).astype(float)
    estimate = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert estimate.low == pytest.approx(estimate.point - half, abs=0.002)
    assert estimate.high == pytest.approx(estimate.point + half, abs=0.002)


def test_pairing_removes_the_noise_that_both_share():
    rng = np.random.default_rng(1)
    hardness = rng.random(200)
    baseline = hardness + rng.normal(0, 0.01, 200)
    ours = hardness + 0.05 + rng.normal(0, 0.01, 200)
    gain = paired_difference(ours, baseline)
    low, high = interval(gain)
    assert 0.04 < low < gain.point < high < 0.06
    assert interval(bootstrap_mean(ours))[0] < interval(bootstrap_mean(baseline))[1]  # unpaired, they overlap
    assert paired_difference(baseline, ours).point == -gain.point


def test_a_strategy_against_itself_gains_nothing_and_has_no_interval():
    values = np.random.default_rng(2).random((30, 2))
    gain = paired_difference(values, values)
    assert (gain.point, gain.low, gain.high, gain.num_seeds) == (0.0, None, None, 2)
    with pytest.raises(ValueError, match='same questions'):
        paired_difference([1.0, 0.0], [1.0])


def test_a_thousand_questions_take_about_a_second():
    values = np.random.default_rng(0).random((1000, 4))
    start = time.process_time()
    bootstrap_mean(values)
    assert time.process_time() - start < 5  # 0.1 s on a desktop core


@pytest.mark.slow
@pytest.mark.parametrize(('num_questions', 'alpha'), [(40, 1.0), (150, 0.5)])
def test_the_interval_covers_the_truth_as_often_as_it_says(num_questions, alpha):
    """Beta-distributed hardness, two seeds a question: 600 repetitions give a standard error of 0.9 %."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(600):
        chance = rng.beta(alpha, alpha, num_questions)
        low, high = interval(bootstrap_mean(rng.random((num_questions, 2)) < chance[:, None], num_resamples=2000))
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 600 <= 0.975


def test_a_ratio_of_sums_is_estimated_over_questions():
    above, below = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 3.0])
    found = bootstrap(ratio(above, below), 3)
    assert found.point == 0.8 and found.low == 0.5 and found.high == 1.0 and found.num_questions == 3
    assert bootstrap(ratio(np.zeros(2), np.zeros(2)), 2) is None and bootstrap(ratio(above, below), 0) is None
    alike = bootstrap(ratio(np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])), 3)  # 0.1 everywhere, up to rounding
    assert alike.point == pytest.approx(0.1) and alike.low is None


def test_weights_of_resamples_are_draws_of_all_questions():
    parts = list(_drawn_weights(7, 1_200))
    weights = np.concatenate(parts)
    assert weights.shape == (1_200, 7) and np.all(weights.sum(axis=1) == 7) and abs(weights.mean() - 1) < 1e-9
    assert weights.var() == pytest.approx(6 / 7, rel=0.05)  # of a binomial with 7 draws
    assert max(part.nbytes for part in _drawn_weights(300_000, 9)) < 20_000_000
