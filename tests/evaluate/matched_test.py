"""FLOPs-matched comparison: the paper's multipliers, budgets that are never exceeded, break-even, paired intervals."""

import math

import numpy as np
import pytest

from jaxreason.evaluate.matched import (
    Convention,
    Curve,
    Rival,
    Terms,
    accuracies,
    break_even,
    difference,
    multiplier,
    paid,
    paper_terms,
    relative_gain,
    spent_terms,
)

BUDGETS = (1, 4, 16, 64, 256)


@pytest.mark.parametrize('ratio, expected', [(0.16, 257.75), (0.79, 14 + 39 / 0.79), (22, 14 + 39 / 22)])
def test_the_multipliers_of_the_paper(ratio, expected):
    assert multiplier(14, ratio, Convention.ARXIV) == pytest.approx(expected, rel=1e-12)
    assert multiplier(14, ratio / 2, Convention.ICLR) == pytest.approx(expected, rel=1e-12)
    assert round(expected, 2) in (257.75, 63.37, 15.77)


def test_the_iclr_version_rounds_its_middle_ratio():
    assert multiplier(14, 0.40, Convention.ICLR) == pytest.approx(62.75)
    assert multiplier(14, 11, Convention.ICLR) == pytest.approx(15.7727, abs=1e-4)


@pytest.mark.parametrize('samples', [1, 4, 16])
@pytest.mark.parametrize('ratio', [0.01, 0.79, 300])
def test_both_sides_spend_the_same(samples, ratio):
    for convention, per_token in ((Convention.ARXIV, 2), (Convention.ICLR, 4)):
        training, inference = 6 * 1e9, per_token * 1e9 * ratio
        k = multiplier(14, ratio, convention, samples)
        assert training + k * inference == pytest.approx(14 * (training + samples * inference))


def test_what_was_spent_is_the_same_on_both_sides():
    terms = spent_terms(small_training=3e12, large_training=40e12, large_flops=5e6, tokens_per_answer=20, training_tokens=1e7)
    for ratio in (0.16, 22):
        questions = ratio * 1e7 / 20
        assert 3e12 + questions * terms.budget(ratio) == pytest.approx(40e12 + questions * 5e6)


def test_terms_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r'^size_ratio must be at least 1 .*, got 0\.5\.$'):
        paper_terms(0.5, Convention.ARXIV)
    with pytest.raises(ValueError, match='^spent counts FLOPs, not solutions'):
        paper_terms(14, Convention.SPENT)
    with pytest.raises(ValueError, match='at least 1 sample, got 0'):
        paper_terms(14, Convention.ARXIV, 0)
    for ratio in (0, -1, math.nan):
        with pytest.raises(ValueError, match='^R .* must be above 0'):
            multiplier(14, ratio, Convention.ARXIV)


def test_a_budget_is_never_exceeded():
    assert [paid(BUDGETS, k) for k in (0.5, 1, 15.7727, 16, 257.75, 1e9)] == [None, 0, 1, 2, 4, 4]
    assert paid((5.0, 3.0, 4.0), 4.5) == 2  # the largest cost, wherever it stands


def rows(values):
    return np.asarray(values, float)[None]


@pytest.mark.parametrize('target', [0.26, 0.35, 0.44, 0.599])
@pytest.mark.parametrize('samples', [1, 4])
def test_at_the_break_even_the_curve_is_as_good_as_the_larger_model(target, samples):
    """The inverse of what R buys: at the R found, the budget is where the curve meets the target."""
    accuracy = np.array([0.1, 0.2, 0.3, 0.5, 0.6])
    terms = paper_terms(2, Convention.ARXIV, samples)
    found = break_even(BUDGETS, np.repeat(rows(accuracy), 3, axis=0), np.full(3, target), terms)
    assert found.point.censored == '' and found.low == found.high == found.point and found.always == found.never == 0
    there = np.interp(math.log(terms.budget(found.point.ratio)), np.log(BUDGETS), accuracy)
    assert there == pytest.approx(target, abs=1e-5)  # six digits of R


def test_break_even_that_the_budgets_do_not_show_is_censored():
    accuracy, terms = rows([0.1, 0.2, 0.3, 0.5, 0.6]), paper_terms(14, Convention.ARXIV)
    both = np.concatenate([accuracy, accuracy])

    def point(target, costs=BUDGETS, given=terms):
        return break_even(costs, both, np.full(2, target), given).point

    at_floor = float(np.interp(math.log(14), np.log(BUDGETS), accuracy[0]))
    assert point(at_floor) == (None, 'always')  # as good even where a model is used without end
    assert point(at_floor + 1e-6).censored == '' and point(at_floor + 1e-6).ratio > 1000
    assert point(0.6).ratio == pytest.approx(39 / (256 - 14), rel=1e-5) and point(0.601) == (None, 'never')
    tens = tuple(20 * n for n in BUDGETS)  # the smallest of them lies above the floor
    assert point(0.05, tens) == (6.5, 'at_least')
    assert point(0.6, given=Terms(1e6, 5.0)) == (None, 'always')  # the floor lies beyond all budgets
    assert point(0.7, given=Terms(1e6, 5.0)) == (None, 'never')
    assert break_even(BUDGETS, both, np.full(2, 0.4), Terms(14, 0.0)) is None
    assert break_even(BUDGETS, both, np.full(2, np.nan), terms) is None


def test_a_bound_that_rests_on_censored_resamples_says_so():
    small = np.repeat(rows([0.1, 0.2, 0.3, 0.5, 0.6]), 101, axis=0)
    large = np.full(101, 0.4)
    large[1:11], large[11:21] = 0.7, 0.0  # a tenth never, a tenth always
    found = break_even(BUDGETS, small, large, paper_terms(14, Convention.ARXIV))
    assert found.point.censored == '' and found.low == (None, 'never') and found.high == (None, 'always')
    assert (found.always, found.never) == (0.1, 0.1)


def duel(num_questions=40, num_seeds=3, same=False):
    """A curve of two budgets and a greedy rival; with `same` the second budget answers exactly as the rival does."""
    generator = np.random.default_rng(0)
    easy = np.sort(generator.random(num_questions))[:, None]
    greedy = np.repeat((generator.random((num_questions, 1)) < easy).astype(float), num_seeds, axis=1)
    correct = (generator.random((2, num_questions, num_seeds)) < easy[None]).astype(float)
    if same:
        correct[1] = greedy
    inside = np.array([np.arange(num_questions) < num_questions // 2, np.ones(num_questions, bool)])
    ones = np.ones((num_questions, num_seeds))
    return inside, {'search': Curve((1, 4), correct, np.stack([ones, 4 * ones]))}, {'greedy': Rival(1, greedy, ones)}


def test_means_of_the_questions_themselves():
    inside, small, large = duel()
    found = accuracies(inside, small, large, 200)
    curve, greedy = small['search'].correct, large['greedy'].correct
    assert found.curves['search'].shape == (201, 2, 2) and found.num_questions == (20, 40)
    assert found.curves['search'][0] == pytest.approx(np.array([curve[:, :20].mean(axis=(1, 2)), curve.mean(axis=(1, 2))]))
    assert found.rivals['greedy'][0] == pytest.approx([greedy[:20].mean(), greedy.mean()])


def test_what_both_sides_share_is_no_noise():
    found = accuracies(*duel(same=True), num_resamples=500)
    ours, theirs = found.curves['search'][:, :, 1], found.rivals['greedy']
    assert theirs[:, 1].std() > 0.02  # the accuracies themselves vary
    assert difference(ours[:, 1], theirs[:, 1]) == (0, None, None)
    assert relative_gain(ours[:, 0], theirs[:, 0]) == (0, None, None)


def test_an_interval_covers_questions_and_seeds():
    """Against the standard error of nested sampling, worked out by hand from the variance between and within questions."""
    generator = np.random.default_rng(1)
    means = generator.random((200, 1))
    correct = (generator.random((200, 4)) < means).astype(float)
    zero = Rival(1, np.zeros((200, 4)), np.ones((200, 4)))
    found = accuracies(np.ones((1, 200), bool), {'x': Curve((1,), correct[None], correct[None])}, {'greedy': zero}, 4000)
    by_question = correct.mean(axis=1)
    # Of weights that draw questions and then seeds: variance of the drawn mean, plus that of its seeds, n - 1 in neither.
    expected = math.sqrt((by_question.var() + correct.var(axis=1).mean() / 4) / 200)
    assert found.curves['x'][1:, 0, 0].std() == pytest.approx(expected, rel=0.05)


def test_seeds_of_a_rival_without_chance_add_nothing():
    inside, small, large = duel()
    many = accuracies(inside, small, large, 50).rivals['greedy'][1:, 1]
    weights_alike = np.isclose(many * 40, np.round(many * 40), atol=1e-9)
    assert weights_alike.all()  # whole questions: no draw of seeds shows


def test_the_order_of_the_questions_does_not_matter_to_the_points():
    inside, small, large = duel()
    order = np.random.default_rng(3).permutation(40)
    curve, rival = small['search'], large['greedy']
    turned = accuracies(
        inside[:, order],
        {'search': Curve(curve.budgets, curve.correct[:, order], curve.flops[:, order])},
        {'greedy': Rival(1, rival.correct[order], rival.flops[order])},
        2000,
    )
    straight = accuracies(inside, small, large, 2000)
    assert turned.curves['search'][0] == pytest.approx(straight.curves['search'][0])
    spans = [difference(each.curves['search'][:, 0, 1], each.rivals['greedy'][:, 0]) for each in (turned, straight)]
    assert spans[0].point == spans[1].point and spans[0].low == pytest.approx(spans[1].low, abs=3)


def test_gains_that_are_not_defined():
    nothing = np.zeros(5)
    assert relative_gain(np.full(5, 0.3), nothing) == (None, None, None)
    assert relative_gain(np.array([0.6, 0.6, 0.5]), np.array([0.5, 0.0, 0.4]))[0] == pytest.approx(20)
    assert difference(np.full(3, np.nan), np.full(3, 0.5)) == (None, None, None)


def test_a_group_without_questions_has_no_accuracy():
    inside, small, large = duel()
    found = accuracies(np.array([np.zeros(40, bool)]), small, large, 100)
    assert np.isnan(found.rivals['greedy']).all() and found.num_questions == (0,)


def test_other_questions_on_one_side_are_refused():
    inside, small, _ = duel()
    other = Rival(1, np.ones((39, 3)), np.ones((39, 3)))
    with pytest.raises(ValueError, match='expected the same questions and seeds'):
        accuracies(inside, small, {'greedy': other}, 100)
