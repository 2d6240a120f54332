"""Rank correlation: that of scipy, with ties, weights and seeds."""

import numpy as np
import pytest
import scipy.stats

from jaxreason.allocation.agreement import spearman


def test_it_is_the_correlation_of_ranks():
    rng = np.random.default_rng(0)
    for shape in ((50,), (40, 3)):
        ours = rng.integers(0, 9, shape).astype(float)
        theirs = ours + rng.integers(0, 9, shape)
        found = spearman(ours, theirs)
        assert found['point'] == pytest.approx(scipy.stats.spearmanr(ours.ravel(), theirs.ravel()).statistic, abs=1e-6)
        assert found['low'] < found['point'] < found['high']


def test_more_seeds_of_the_same_are_no_more_questions():
    rng = np.random.default_rng(1)
    ours = rng.normal(size=30)
    theirs = ours + rng.normal(size=30)
    assert spearman(np.repeat(ours[:, None], 4, 1), np.repeat(theirs[:, None], 4, 1)) == spearman(ours, theirs)


def test_order_alone_counts():
    ours = np.arange(20.0)
    assert spearman(ours, np.exp(ours)) == {'point': 1.0, 'low': None, 'high': None}
    assert spearman(ours, -ours)['point'] == -1.0


def test_what_says_the_same_of_all_has_none():
    assert spearman(np.ones(5), np.arange(5.0)) is None
