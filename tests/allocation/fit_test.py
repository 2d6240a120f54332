"""Choosing per bin: equal to trying everything, honest about questions that it has seen, and right where the truth is known."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.allocation.difficulty import cut_points, level_of
from jaxreason.allocation.fit import Mode, crossed, crossed_fixed, folds_of, settle
from tests.allocation.tables import make_looks, make_task

VALUES = st.lists(st.integers(0, 12).map(lambda right: right / 12), min_size=1, max_size=60)
BEST_OF_N, BEAM = 0, 1


def any_task(num_rows=4):
    return make_task(np.zeros((num_rows, 1)), np.ones((num_rows, 1)), [1], (1,))


def cut(values, weights, num_bins=5):
    return tuple(make_looks(any_task(len(values)), values).cut(np.array(weights, float), num_bins))


@given(VALUES, st.integers(1, 7))
def test_weighted_cuts_of_equal_weights_are_those_of_the_bins(values, num_bins):
    assert cut(values, np.ones(len(values)), num_bins) == cut_points(values, num_bins)
    assert cut(values, np.full(len(values), 1 / 3), num_bins) == cut_points(values, num_bins)


@given(VALUES.flatmap(lambda values: st.tuples(st.just(values), st.lists(st.integers(0, 4), min_size=len(values),
       max_size=len(values)).filter(any))), st.integers(1, 7))  # fmt: skip
def test_a_weight_is_a_row_as_many_times(drawn, num_bins):
    values, weights = drawn
    repeated = [value for value, weight in zip(values, weights, strict=True) for _ in range(weight)]
    assert cut(values, weights, num_bins) == cut_points(repeated, num_bins)
    assert cut(values, np.array(weights) / 3, num_bins) == cut_points(repeated, num_bins), 'thirds come of three seeds'


def test_the_sizes_of_the_paper_come_out_of_ties_at_a_boundary():
    values = [index / 2048 for index in range(500)]
    values[95:105] = [values[95]] * 10
    looks = make_looks(any_task(500), values)
    levels = looks.levels(looks.cut(np.full(500, 1 / 3), 5))
    assert np.bincount(levels).tolist() == [100, 100, 100, 105, 95]


@given(VALUES, st.lists(st.floats(0, 1), max_size=4).map(sorted))
def test_a_level_is_that_of_the_difficulty(values, cuts):
    looks = make_looks(any_task(len(values)), values, cuts=tuple(cuts))
    assert [1 + level for level in looks.levels(np.array(cuts))] == [level_of(value, tuple(cuts)) for value in values]


def test_absolute_cuts_stay_whatever_the_questions():
    looks = make_looks(any_task(4), [0.1, 0.2, 0.3, 0.4], cuts=(0.5, 0.9))
    np.testing.assert_array_equal(looks.cut(np.ones(4), 5), [0.5, 0.9])


@st.composite
def tasks(draw, mode=Mode.PER_QUESTION):
    """A small random task and an estimate that is charged, with weights as a resample has them."""
    num_rows, num_cells = draw(st.integers(4, 14)), draw(st.integers(1, 5))
    whole = st.integers(0, 6)
    correct = np.array(draw(st.lists(whole, min_size=num_rows * num_cells, max_size=num_rows * num_cells))) / 6
    generations = sorted(draw(st.lists(st.integers(1, 8), min_size=num_cells, max_size=num_cells)))
    flops = (
        np.array(generations)[None] * np.array(draw(st.lists(st.integers(1, 4), min_size=num_rows, max_size=num_rows)))[:, None]
    )
    budgets = sorted(draw(st.sets(st.integers(generations[0], 9), min_size=1, max_size=3)))
    task = make_task(
        correct.reshape(num_rows, num_cells), flops, generations, budgets, mode=mode, num_bins=draw(st.integers(1, 4))
    )
    values = draw(st.lists(st.integers(0, 4), min_size=num_rows, max_size=num_rows))
    looks = make_looks(task, values, charge=draw(st.sampled_from([0, 1])), more=draw(st.integers(0, 2)))
    weights = draw(st.lists(st.integers(0, 3), min_size=num_rows, max_size=num_rows))
    weights[0], weights[1] = max(1, weights[0]), max(1, weights[1])  # both folds have something
    return task, looks, np.array(weights, float)


def by_hand(task, looks, weights, n):
    """The best cell of every bin that n pays, each bin by itself, in plain Python; None where nothing is paid."""
    repeated = [row for row, weight in enumerate(weights) for _ in range(int(weight))]
    cuts = cut_points([looks.values[row] for row in repeated], task.num_bins)
    chosen, value = [], 0.0
    allowed = [cell for cell in range(task.correct.shape[1]) if looks.generations[cell] <= n]
    if not allowed:
        return None
    for level in range(1, task.num_bins + 1):
        inside = [row for row in repeated if level_of(looks.values[row], cuts) == level]
        rows = inside or repeated
        mean = {
            cell: (round(math.fsum(looks.correct[row, cell] for row in rows) / len(rows), 9),
                   -round(math.fsum(looks.flops[row, cell] for row in rows) / len(rows), 9))
            for cell in allowed
        }  # fmt: skip
        best = max(allowed, key=lambda cell: mean[cell])
        chosen.append((mean[best], best))
        value += len(inside) / len(repeated) * mean[best][0]
    return chosen, value


@settings(deadline=None, max_examples=80)
@given(tasks())
def test_a_choice_is_the_best_of_every_bin(drawn):
    task, looks, weights = drawn
    choice = task.choose(looks, weights)
    fixed = task.best_fixed(weights)
    fixed_value = weights @ task.correct[:, fixed] / weights.sum()
    for row, n in enumerate(task.budgets):
        expected = by_hand(task, looks, weights, n)
        if choice.is_looking[row]:
            chosen, value = expected
            found = [(round(choice.correct[level, cell], 9), -round(choice.flops[level, cell], 9))
                     for level, cell in enumerate(choice.cells[row])]  # fmt: skip
            assert found == [best for best, _ in chosen]
            assert value > fixed_value[row] + 1e-9 and len(set(choice.cells[row])) > 1
            assert (looks.generations[choice.cells[row]] <= n).all()
        else:
            assert set(choice.cells[row]) == {fixed[row]}
            assert expected is None or expected[1] <= fixed_value[row] + 1e-9 or len({cell for _, cell in expected[0]}) == 1
    assert choice.value >= fixed_value.mean() - 1e-12


@settings(deadline=None, max_examples=50)
@given(tasks())
def test_the_best_fixed_cell_is_the_best_that_a_budget_pays(drawn):
    task, _, weights = drawn
    for n, cell in zip(task.budgets, task.best_fixed(weights), strict=True):
        mean = weights @ task.correct / weights.sum()
        assert task.generations[cell] <= n
        assert mean[cell] >= max(mean[other] for other in range(len(mean)) if task.generations[other] <= n) - 1e-9


@settings(deadline=None, max_examples=50)
@given(tasks(Mode.AVERAGE))
def test_an_average_budget_is_kept_on_what_it_was_chosen_on(drawn):
    task, looks, weights = drawn
    choice, limits = task.choose(looks, weights), task.limits(weights)
    spent = task.score(looks, choice, weights)
    cheapest = (weights @ task.flops / weights.sum()).min()
    for row, limit in enumerate(limits):
        assert spent.flops[row] / spent.weight <= max(limit, cheapest) + 1e-9


def rows_of(*bins):
    """Rows of bins, (number, accuracy of each cell), the easiest first: accuracies, and values that tell the bins apart."""
    correct = [row for number, cells in bins for row in [cells] * number]
    values = [len(bins) - index for index, (number, _) in enumerate(bins) for _ in range(number)]
    return np.array(correct, float), values


def crossing(easy=(0.9, 0.6), hard=(0.1, 0.3), num_rows=20):
    """Best-of-n is better for easy questions, beam search for hard ones; both begin 4 solutions for 400 FLOPs."""
    correct, values = rows_of((num_rows, easy), (num_rows, hard))
    return make_task(correct, np.full(correct.shape, 400.0), [4, 4], (4,)), values


def test_a_planted_crossing_is_found_and_is_worth_what_it_is_worth():
    task, values = crossing()
    looks, ones = make_looks(task, values), np.ones(40)
    choice = task.choose(looks, ones)
    assert choice.cells.tolist() == [[BEST_OF_N, BEAM]] and choice.is_looking.all()
    assert choice.weight.tolist() == [0.5, 0.5] and choice.cuts.tolist() == [2.0]
    sums, used = crossed(task, [looks], ones)
    assert sums.correct / sums.weight == pytest.approx([0.6]) and used == ['look', 'look']
    fixed = crossed_fixed(task, ones)
    assert fixed.correct / fixed.weight == pytest.approx([0.5])


def test_without_a_crossing_it_is_the_best_fixed_strategy_and_no_look_is_charged():
    task, values = crossing(easy=(0.9, 0.6), hard=(0.3, 0.1))
    looks, ones = make_looks(task, values, charge=50.0), np.ones(40)
    choice = task.choose(looks, ones)
    assert not choice.is_looking.any() and choice.cells.tolist() == [[BEST_OF_N, BEST_OF_N]]
    sums, fixed = crossed(task, [looks], ones)[0], crossed_fixed(task, ones)
    np.testing.assert_array_equal(sums.correct, fixed.correct)
    assert sums.flops / sums.weight == pytest.approx([400.0]), 'nothing is paid for what nobody looks at'


def test_a_look_that_tells_nothing_apart_is_not_taken_even_if_its_own_samples_were_lucky():
    task, values = crossing(hard=(0.3, 0.1))
    lucky = make_looks(task, values, charge=50.0, correct=task.correct + 0.05)
    choice = task.choose(lucky, np.ones(40))
    assert not choice.is_looking.any(), 'with one cell for all bins the strategy does not look'
    assert task.score(lucky, choice, np.ones(40)).flops == pytest.approx([40 * 400.0])


def test_a_look_is_charged_in_flops_and_in_solutions():
    task, values = crossing()
    ones = np.ones(40)
    charged = make_looks(task, values, charge=50.0)
    sums, _ = crossed(task, [charged], ones)
    assert sums.flops / sums.weight == pytest.approx([450.0])
    dear = make_looks(task, values, more=1)
    choice = task.choose(dear, ones)
    assert not choice.is_looking.any(), 'four solutions do not pay for five'
    assert choice.cells.tolist() == [[BEST_OF_N, BEST_OF_N]]


def test_a_look_that_an_average_budget_does_not_pay_is_not_taken():
    task, values = crossing()
    for charge, expected in ((0.0, True), (3.0, True), (5.0, False)):  # a hundredth of 400 is let pass
        average = make_task(task.correct, task.flops, [4, 4], (4,), mode=Mode.AVERAGE)
        choice = average.choose(make_looks(average, values, charge=charge), np.ones(40))
        assert choice.is_looking.tolist() == [expected]


def test_an_average_budget_takes_from_the_easy_and_the_hopeless():
    correct, values = rows_of((20, (0.9, 0.9, 0.95)), (20, (0.3, 0.6, 0.9)), (20, (0.0, 0.0, 0.0)))
    flops = np.tile([100.0, 400.0, 700.0], (60, 1))
    task = make_task(correct, flops, [1, 4, 8], (1, 4), mode=Mode.AVERAGE, num_bins=3, reference=(0, 1))
    choice = task.choose(make_looks(task, values), np.ones(60))
    assert choice.cells[0].tolist() == [0, 0, 0] and not choice.is_looking[0]
    assert choice.cells[1].tolist() == [0, 2, 0], '(100 + 700 + 100) / 3 of 400: the last step of the easy ones does not fit'
    sums, _ = crossed(task, [make_looks(task, values)], np.ones(60))
    assert sums.correct / sums.weight == pytest.approx([0.4, 0.6]) and sums.flops / sums.weight == pytest.approx([100, 300])


@pytest.mark.parametrize('mode', list(Mode))
def test_a_bin_without_questions_gets_what_is_best_over_all_of_them(mode):
    correct, values = rows_of((20, (0.9, 0.6, 0.99)), (20, (0.1, 0.3, 0.31)))
    flops = np.tile([400.0, 400.0, 99_000.0], (40, 1))
    task = make_task(correct, flops, [4, 4, 64], (4,), mode=mode)
    looks = make_looks(task, values, cuts=(1.5, 7.0))  # nothing reaches the easiest bin
    choice = task.choose(looks, np.ones(40))
    assert choice.weight.tolist() == [0.0, 0.5, 0.5]
    assert choice.cells.tolist() == [[BEST_OF_N, BEST_OF_N, BEAM]], 'not the dearest cell, for which nobody paid'


def test_the_estimate_that_chooses_best_is_used():
    task, values = crossing()
    blind, seeing = make_looks(task, [1.0] * 40, 'blind'), make_looks(task, values, 'seeing')
    for order in ([blind, seeing], [seeing, blind]):
        assert crossed(task, order, np.ones(40))[1] == ['seeing', 'seeing']


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(list(Mode)).flatmap(tasks), st.data())
def test_no_question_has_a_say_in_what_it_is_scored_with(drawn, data):
    """Whatever the questions of a fold turn out to be, what is chosen for them stays the same."""
    task, looks, weights = drawn
    inside = task.folds == 0
    num_inside, num_cells = int(inside.sum()), task.correct.shape[1]
    changed = {name: getattr(task, name).copy() for name in ('correct', 'flops')}
    changed['correct'][inside] = data.draw(st.integers(0, 1))
    changed['flops'][inside] = data.draw(st.integers(1, 50))
    values = looks.values.copy()
    values[inside] = data.draw(st.lists(st.integers(-3, 9), min_size=num_inside, max_size=num_inside))
    other = make_task(**changed, generations=task.generations, budgets=task.budgets, mode=task.mode, num_bins=task.num_bins)
    others = make_looks(
        other, values, charge=looks.flops[0, 0] - task.flops[0, 0], more=looks.generations[0] - task.generations[0]
    )
    chosen_before = task.choose(looks, weights * ~inside)
    expected = other.score(others, chosen_before, weights * inside) + other.score(
        others, other.choose(others, weights * inside), weights * ~inside
    )
    found, _ = crossed(other, [others], weights)
    np.testing.assert_allclose(found.correct, expected.correct)
    np.testing.assert_allclose(found.flops, expected.flops)
    assert found.weight == weights.sum() and len(chosen_before.cells[0]) == task.num_bins and num_cells


def test_folds_are_even_and_decided_by_the_ids_alone():
    questions = [f'q{index}' for index in range(103)]
    folds = folds_of(questions, 4, 0)
    assert sorted(np.bincount(folds)) == [25, 26, 26, 26]
    np.testing.assert_array_equal(folds_of(questions[::-1], 4, 0)[::-1], folds)
    assert (folds_of(questions, 4, 1) != folds).any()
    for wrong in (1, 104):
        with pytest.raises(ValueError, match='from 2 to the number of questions'):
            folds_of(questions, wrong, 0)


def test_whether_to_look_is_decided_on_questions_that_the_table_has_not_seen():
    rng = np.random.default_rng(0)
    looked, in_sample = [], []
    for _ in range(20):
        correct = (rng.random((300, 6)) < 0.5).astype(float)  # six strategies, all alike: whatever seems better is chance
        task = make_task(correct, np.ones((300, 6)), [4] * 6, (4,), folds=np.arange(300) % 4)
        looks = make_looks(task, rng.random(300))
        looked.append(settle(task, [looks], np.ones(300))[1].is_looking.any())
        in_sample.append(task.choose(looks, np.ones(300)).is_looking.any())
    assert sum(in_sample) >= 18 and sum(looked) <= 12, (in_sample, looked)
    task, values = crossing()
    task = dataclasses.replace(task, folds=np.arange(len(values)) // 2 % 4)
    assert settle(task, [make_looks(task, values)], np.ones(len(values)))[1].is_looking.all()
