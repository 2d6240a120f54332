"""Calibration against a table by hand."""

import numpy as np
import pytest

from jaxreason.core.calibration import calibration


def test_a_diagram_by_hand():
    # Bin 0.2: scores 0.2 and 0.24, one right; bin 0.9: 0.95 and 1.0, both right.
    found = calibration([0.2, 0.24, 0.95, 1.0], [1, 0, 1, 1], [0, 1, 0, 1])
    low, high = found['bins']
    assert (low['low'], low['high'], low['count'], low['score'], low['share']['point']) == (0.2, 0.3, 2, 0.22, 0.5)
    assert (high['low'], high['high'], high['count'], high['score'], high['share']['point']) == (0.9, 1.0, 2, 0.975, 1.0)
    assert (low['share']['low'], low['share']['high']) == (0.0, 1.0) and high['share']['low'] is None
    assert found['ece']['point'] == pytest.approx((2 * 0.28 + 2 * 0.025) / 4) and found['ece']['num_questions'] == 2


def test_edges_belong_to_the_bin_above_and_one_to_the_last():
    found = calibration([0.0, 0.1, 0.3, 0.6, 0.7, 1.0], [1] * 6, range(6))
    assert [part['low'] for part in found['bins']] == [0.0, 0.1, 0.3, 0.6, 0.7, 0.9]


def test_scores_that_are_chances_have_a_small_error_and_shifted_ones_have_the_shift():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 0.8, 20_000)
    right, question = rng.random(20_000) < scores, np.arange(20_000) % 100
    assert calibration(scores, right, question)['ece']['point'] < 0.02
    shifted = calibration(scores + 0.2, right, question)['ece']
    assert shifted['point'] == pytest.approx(0.2, abs=0.01) and shifted['low'] < shifted['point'] < shifted['high']


def test_soft_labels_are_averaged():
    found = calibration([0.5, 0.5], [0.25, 0.75], [0, 0])
    assert found['ece']['point'] == 0 and found['bins'][0]['share']['point'] == 0.5


def test_what_is_no_chance_is_refused():
    assert calibration([], [], []) is None
    for bad in ([1.2], [-0.1], [float('nan')]):
        with pytest.raises(ValueError, match=r'expected scores in \[0, 1\]'):
            calibration(bad, [1], [0])
