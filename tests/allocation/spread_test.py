"""A budget over bins: as good as trying every combination, and never too dear."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.allocation.spread import hull, spread


@st.composite
def tables(draw, most_bins=3, most_cells=4):
    """Accuracy and FLOPs of a few cells in a few bins, in whole numbers so that sums are exact, and the weights of the bins."""
    num_bins, num_cells = draw(st.integers(1, most_bins)), draw(st.integers(1, most_cells))
    shape = num_bins * num_cells
    correct = draw(st.lists(st.integers(0, 20), min_size=shape, max_size=shape))
    flops = draw(st.lists(st.integers(1, 30), min_size=shape, max_size=shape))
    weight = draw(st.lists(st.integers(0, 4), min_size=num_bins, max_size=num_bins).filter(any))
    arrays = (np.array(each, float).reshape(num_bins, num_cells) for each in (correct, flops))
    return (*arrays, np.array(weight, float))


def worth(correct, flops, weight, cells):
    """Accuracy and FLOPs of a combination."""
    bins = np.arange(len(weight))
    return weight @ correct[bins, list(cells)], weight @ flops[bins, list(cells)]


def combinations(correct, flops, weight):
    return [worth(correct, flops, weight, each) for each in itertools.product(range(correct.shape[1]), repeat=len(weight))]


@settings(deadline=None, max_examples=100)
@given(tables(), st.data())
def test_where_the_steepest_steps_use_the_budget_up_nothing_is_better(table, data):
    correct, flops, weight = table
    steps = sorted(
        ((correct[b, to] - correct[b, at]) / (flops[b, to] - flops[b, at]), weight[b] * (flops[b, to] - flops[b, at]))
        for b in range(len(weight))
        for at, to in itertools.pairwise(hull(correct[b], flops[b]))
    )[::-1]
    cheapest = sum(weight[b] * flops[b, hull(correct[b], flops[b])[0]] for b in range(len(weight)))
    # Steps of one steepness go together: in which order they are taken is nobody's business.
    taken = data.draw(
        st.sampled_from([i for i in range(len(steps) + 1) if i in (0, len(steps)) or steps[i][0] < steps[i - 1][0] - 1e-12])
    )
    budget = cheapest + sum(price for _, price in steps[:taken])
    accuracy, spent = worth(correct, flops, weight, spread(correct, flops, weight, [budget])[0])
    best = max(right for right, price in combinations(correct, flops, weight) if price <= budget)
    assert spent <= budget
    assert accuracy == best


@settings(deadline=None, max_examples=100)
@given(tables(), st.integers(0, 400))
def test_a_budget_is_kept_and_more_of_it_is_never_worse_than_the_cheapest(table, budget):
    correct, flops, weight = table
    cheapest = [hull(correct[b], flops[b])[0] for b in range(len(weight))]
    chosen = spread(correct, flops, weight, [budget])[0]
    least, price = worth(correct, flops, weight, cheapest)
    accuracy, spent = worth(correct, flops, weight, chosen)
    if price > budget:
        assert chosen == cheapest, 'what no budget pays is not made dearer'
    else:
        assert spent <= budget and accuracy >= least


@given(tables(most_bins=1, most_cells=6))
def test_no_cell_and_no_mixture_of_two_lies_above_the_hull(table):
    (correct,), (flops,), _ = table
    kept = hull(correct, flops)
    assert list(flops[kept]) == sorted(set(flops[kept])) and list(correct[kept]) == sorted(set(correct[kept]))
    for cell in range(len(correct)):
        above = np.interp(flops[cell], flops[kept], correct[kept])  # beyond the last cell the hull stays level
        assert flops[cell] >= flops[kept[0]] and correct[cell] <= above + 1e-9


def test_easy_and_hopeless_questions_leave_their_share_to_those_between():
    correct = np.array([[0.95, 0.97, 0.98], [0.2, 0.5, 0.8], [0.0, 0.01, 0.02]])
    flops = np.tile([1.0, 4.0, 16.0], (3, 1))
    weight = np.full(3, 1 / 3)
    assert spread(correct, flops, weight, [6.0])[0] == [0, 2, 0], 'what evenly bought 4 a question buys 16 in the middle'
    assert spread(correct, flops, weight, [16.0])[0] == [2, 2, 2]
    assert spread(correct, flops, weight, [0.5])[0] == [0, 0, 0]


def test_a_step_that_does_not_fit_is_not_jumped_over():
    correct = np.array([[0.0, 0.5, 0.6], [0.0, 0.1, 0.2]])
    flops = np.array([[1.0, 11.0, 14.0], [1.0, 3.0, 8.0]])
    # The first step of bin 0 costs 5 of 4: bin 1 goes on, bin 0 stays where it is.
    assert spread(correct, flops, np.array([0.5, 0.5]), [5.0])[0] == [0, 2]


def test_a_bin_without_weight_costs_nothing():
    correct, flops = np.array([[0.1, 0.9], [0.1, 0.9]]), np.array([[1.0, 100.0], [1.0, 10.0]])
    assert spread(correct, flops, np.array([0.0, 1.0]), [10.0])[0][1] == 1
    assert spread(correct, flops, np.array([0.0, 1.0]), [9.0])[0][1] == 0


@pytest.mark.parametrize('correct', [[0.5, 0.5, 0.5], [0.5, 0.4, 0.3]])
def test_a_hull_of_cells_that_gain_nothing_is_the_cheapest(correct):
    assert hull(np.array(correct), np.array([1.0, 2.0, 3.0])) == [0]
    assert hull(np.array(correct[::-1]), np.array([3.0, 2.0, 1.0])) == [2]
