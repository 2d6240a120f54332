"""Rank statistics against counting by hand, and their intervals against resampling the long way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core import stats
from jaxreason.core.ranking import auc, pooled_auc, pooled_spearman, spearman, within_question

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.1000001, 0.5, 0.9, 1.0]), st.booleans()), max_size=30)


def count_pairs(scores, is_positive):
    wins, pairs = 0.0, 0
    for a, positive in zip(scores, is_positive, strict=True):
        for b, other in zip(scores, is_positive, strict=True):
            if positive and not other:
                pairs += 1
                wins += (a > b) + (a == b) / 2
    return wins / pairs if pairs else None


def test_auc_by_hand():
    # Pairs: 0.9 beats both, 0.4 beats 0.1 and ties with 0.4: 3.5 of 4.
    assert auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == 0.875
    assert auc([0.5], [True]) is None and auc([], []) is None and auc([1, 2], [False, False]) is None


@given(PAIRS)
def test_auc_counts_pairs(pairs):
    scores, is_positive = [score for score, _ in pairs], [positive for _, positive in pairs]
    assert auc(scores, is_positive) == pytest.approx(count_pairs(scores, is_positive))


@given(PAIRS)
def test_auc_turns_around_with_the_scores(pairs):
    scores, is_positive = [score for score, _ in pairs], [positive for _, positive in pairs]
    value = auc(scores, is_positive)
    assert value is None or auc([-score for score in scores], is_positive) == pytest.approx(1 - value)


def drawn_again(num_questions, num_resamples):
    """The questions of every resample, as the bootstrap draws them."""
    parts = stats._drawn_weights(num_questions, num_resamples)
    return [np.repeat(np.arange(num_questions), row.astype(int)) for weights in parts for row in weights]


def long_way(statistic, columns, question, num_questions):
    """Percentiles of a statistic over concatenated copies of the drawn questions."""
    values = []
    for chosen in drawn_again(num_questions, 200):
        rows = np.concatenate([np.flatnonzero(question == index) for index in chosen])
        values.append(statistic(*(column[rows] for column in columns)))
    return np.percentile([value for value in values if value is not None], [2.5, 97.5])


def synthetic():
    rng = np.random.default_rng(3)
    question = np.sort(rng.integers(0, 12, 150))
    question[:12] = np.arange(12)
    right = rng.random(150) < 0.2 + 0.05 * question
    scores = np.round(0.3 * right + rng.random(150), 1)  # with ties
    return scores, right, question


def test_the_interval_of_a_pooled_auc_is_that_of_the_long_way():
    scores, right, question = synthetic()
    found = pooled_auc(scores, right, question, num_resamples=200)
    assert found.point == pytest.approx(auc(scores, right)) and found.num_questions == 12
    assert [found.low, found.high] == pytest.approx(list(long_way(auc, (scores, right), question, 12)))


def test_the_interval_of_a_pooled_correlation_is_that_of_the_long_way():
    scores, right, question = synthetic()
    lengths = np.round(20 * scores + 5 * right)
    found = pooled_spearman(scores, lengths, question, num_resamples=200)
    assert found.point == pytest.approx(spearman(scores, lengths))
    assert [found.low, found.high] == pytest.approx(list(long_way(spearman, (scores, lengths), question, 12)))


def test_spearman_by_hand():
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1) and spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 1 2.5 2.5 4 and 1 2 3 4: Pearson's correlation of these is 4.5 / sqrt(4.5 * 5).
    assert spearman([1, 2, 2, 3], [5, 6, 7, 8]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman([1, 1, 1], [1, 2, 3]) is None and spearman([0.1] * 7, range(7)) is None and spearman([], []) is None


def test_within_questions_only_those_count_in_which_it_is_defined():
    scores = [0.9, 0.1, 0.2, 0.8, 0.5, 0.5, 0.7]
    right = [True, False, True, False, True, False, True]
    question = [0, 0, 1, 1, 2, 2, 3]  # AUC 1, 0, 0.5, none
    found = within_question(auc, scores, right, question)
    assert found.point == 0.5 and found.num_questions == 3 and found.low is not None
    assert within_question(auc, [0.5], [True], [0]) is None and within_question(auc, [], [], []) is None


def test_an_interval_needs_questions_that_differ():
    alone = pooled_auc([0.2, 0.9], [False, True], [0, 0])
    assert (alone.point, alone.low, alone.high) == (1.0, None, None)
    perfect = pooled_auc([0.2, 0.9, 0.1, 0.8], [False, True, False, True], [0, 0, 1, 1])
    assert (perfect.point, perfect.low, perfect.num_questions) == (1.0, None, 2)
    assert pooled_auc([0.2, 0.9], [True, True], [0, 1]) is None and pooled_auc([], [], []) is None
