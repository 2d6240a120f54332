"""Logistic regression on shares: the optimum, by another optimiser and by hand."""

import numpy as np
import pytest
import scipy.optimize

from jaxreason.train.ridge_logistic import cross_entropy, fit_ridge_logistic


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 5))
    chances = 1 / (1 + np.exp(-(inputs @ [3.0, -2.0, 0.0, 0.5, 1.0] + 1)))
    return inputs, rng.binomial(8, chances) / 8


@pytest.mark.parametrize('ridge', [1e-3, 1.0, 100.0])
def test_it_is_the_least_penalised_cross_entropy(problem, ridge):
    inputs, targets = problem
    weights, bias = fit_ridge_logistic(inputs, targets, ridge)

    def loss(at):
        return cross_entropy(inputs @ at[:-1] + at[-1], targets).sum() + ridge / 2 * at[:-1] @ at[:-1]

    found = scipy.optimize.minimize(loss, np.zeros(6), method='BFGS', options={'gtol': 1e-7})
    np.testing.assert_allclose(np.append(weights, bias), found.x, atol=1e-4)  # as near as differences of BFGS get
    assert loss(np.append(weights, bias)) <= found.fun + 1e-9
    p = 1 / (1 + np.exp(-(inputs @ weights + bias)))
    assert p.sum() == pytest.approx(targets.sum())  # the bias goes free
    np.testing.assert_allclose(inputs.T @ (targets - p), ridge * weights, atol=1e-6)


def test_a_share_counts_like_samples(problem):
    inputs, targets = problem
    counts = np.rint(targets * 8).astype(int)
    samples = np.concatenate([[1.0] * count + [0.0] * (8 - count) for count in counts])
    one_by_one = fit_ridge_logistic(np.repeat(inputs, 8, axis=0), samples, 8.0)
    weights, bias = fit_ridge_logistic(inputs, targets, 1.0)
    np.testing.assert_allclose(one_by_one[0], weights, atol=1e-7)
    assert one_by_one[1] == pytest.approx(bias, abs=1e-7)


def test_inputs_that_tell_the_sides_apart_have_a_finite_answer():
    inputs = np.array([[-30.0], [-10.0], [10.0], [30.0]])
    weights, bias = fit_ridge_logistic(inputs, np.array([0.0, 0.0, 1.0, 1.0]), 1e-6)
    assert 0 < weights[0] < 10 and bias == pytest.approx(0, abs=1e-6)


def test_what_has_no_answer_is_refused(problem):
    inputs, targets = problem
    for given in (
        (inputs, targets, 0.0),
        (inputs, np.zeros(60), 1.0),
        (inputs, np.ones(60), 1.0),
        (inputs[:0], targets[:0], 1),
    ):
        with pytest.raises(ValueError, match='expected a ridge above 0 and targets between 0 and 1'):
            fit_ridge_logistic(*given)


def test_cross_entropy_far_out():
    odds = np.array([0.0, 800.0, -800.0, 800.0])
    np.testing.assert_allclose(cross_entropy(odds, np.array([0.3, 1.0, 1.0, 0.5])), [np.log(2), 0.0, 800.0, 400.0])
