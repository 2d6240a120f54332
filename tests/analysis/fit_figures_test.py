"""Figures of a fit: what is drawn is what was found, fixed strategies keep out of the colour of compute-optimal."""

import copy
import csv

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxreason.analysis import drawing, fit_figures
from jaxreason.analysis.fit_folder import read_fit
from jaxreason.analysis.fit_page import save_figures
from tests.analysis.fit_example import make_fit


@pytest.fixture(scope='module')
def metrics(fit_folder):
    return read_fit(fit_folder).metrics


def drawn(figure):
    """The axis of a figure, and its lines by label."""
    ax = Figure().add_subplot()
    figure.plot(ax, figure.frame)
    return ax, {line.get_label(): line for line in ax.get_lines()}


def by_name(metrics):
    return {figure.name: figure for figure in fit_figures.fit_figures(metrics)}


def test_every_figure_is_written_with_its_numbers(fit_folder, tmp_path):
    run = read_fit(fit_folder)
    save_figures(run, tmp_path / 'figures')
    names = {
        'accuracy_against_flops_per_question', 'gap_over_fixed_per_question', 'accuracy_against_flops_average',
        'gap_over_fixed_average', 'chosen_by_difficulty', 'loss_by_estimate',
    }  # fmt: skip
    assert {path.name for path in (tmp_path / 'figures').iterdir()} == {
        f'{name}.{end}' for name in names for end in ('png', 'csv')
    }
    with (tmp_path / 'figures/accuracy_against_flops_per_question.csv').open() as file:
        rows = [row for row in csv.DictReader(file) if row['curve'] == 'charged']
    curve = run.metrics['modes']['per_question']['curves']['charged']
    assert [float(row['accuracy']) for row in rows] == pytest.approx([100 * row['accuracy']['point'] for row in curve])


def test_the_curves_are_those_of_the_mode(metrics):
    for mode in ('per_question', 'average'):
        ax, lines = drawn(by_name(metrics)[f'accuracy_against_flops_{mode}'])
        for name in ('oracle', 'predicted', 'charged', 'fixed'):
            curve = sorted(metrics['modes'][mode]['curves'][name], key=lambda row: row['flops'])
            line = lines[fit_figures.NAMES[name]]
            assert line.get_xdata() == pytest.approx([row['flops'] for row in curve])
            assert line.get_ydata() == pytest.approx([100 * row['accuracy']['point'] for row in curve], abs=1e-3)
        styles = [lines[fit_figures.NAMES[name]].get_linestyle() for name in ('oracle', 'predicted', 'charged')]
        assert styles == ['--', ':', '-'] and ax.get_xscale() == 'log'


def test_no_fixed_strategy_has_the_colour_of_compute_optimal(metrics):
    _, lines = drawn(by_name(metrics)['accuracy_against_flops_per_question'])
    tint = lines[fit_figures.NAMES['charged']].get_color()
    fixed = {lines[name].get_color() for name in ('majority', 'best-of-n', 'search')}
    assert tint == drawing.colours(['compute_optimal'])['compute_optimal'] and tint not in fixed and len(fixed) == 3


def arrows(ax):
    return [text for text in ax.texts if getattr(text, 'arrow_patch', None) is not None]


def test_the_arrow_ends_where_the_reference_is_equalled(metrics):
    ax, _ = drawn(by_name(metrics)['accuracy_against_flops_per_question'])
    (arrow,) = arrows(ax)
    saving = metrics['modes']['per_question']['saving']['charged']['point']
    accuracy = 100 * metrics['reference']['accuracy']['point']
    assert arrow.xy == pytest.approx((metrics['reference']['flops'] / saving, accuracy), rel=1e-5)
    assert any(text.get_text().startswith(f'saving, charged: {saving:.1f}x [') for text in ax.texts)


def test_no_arrow_to_what_is_never_reached(metrics):
    changed = copy.deepcopy(metrics)
    changed['modes']['per_question']['saving']['charged']['censored'] = 'at_most'
    ax, _ = drawn(by_name(changed)['accuracy_against_flops_per_question'])
    assert not arrows(ax) and any('saving, charged: ≤' in text.get_text() for text in ax.texts)


def test_gaps_stand_where_their_budgets_are_and_the_mean_apart(metrics):
    figure = by_name(metrics)['gap_over_fixed_average']
    ax, _ = drawn(figure)
    assert [text.get_text() for text in ax.get_xticklabels()] == ['n = 1', 'n = 4', 'n = 16', 'mean of all']
    gaps = metrics['modes']['average']['gaps']['charged']['over_fixed']
    charged = next(line for line in ax.lines if line.get_label() == fit_figures.NAMES['charged'])
    assert charged.get_ydata() == pytest.approx([100 * row['point'] for row in gaps], abs=1e-3)
    assert np.all(np.abs(np.asarray(charged.get_xdata()) - ax.get_xticks()) < 0.3)


def test_what_was_chosen_is_starred_in_every_level(metrics):
    figure = by_name(metrics)['chosen_by_difficulty']
    chosen = [row for row in figure.frame if row['strategy'].startswith('chosen: ')]
    assert [(row['level'], row['n']) for row in chosen] == [(level, n) for level in (1, 2, 3) for n in (4, 16)]
    best = {(row['level'], row['n']): 0.0 for row in chosen}
    for row in figure.frame:
        best[row['level'], row['n']] = max(best[row['level'], row['n']], row['accuracy'])
    largest = [row for row in chosen if row['n'] == 16]
    assert [row['accuracy'] for row in largest] == [best[row['level'], 16] for row in largest]
    assert {row['strategy'] for row in largest} == {'chosen: majority', 'chosen: search'}
    assert 'chosen' in {container.get_label() for container in drawn(figure)[0].containers}


def test_an_estimate_stands_where_it_costs(metrics):
    figure = by_name(metrics)['loss_by_estimate']
    assert {row['estimate']: row['flops'] for row in figure.frame} == {'2 scores': 2.5e7, '1 vote': 1e7}
    ax, _ = drawn(figure)
    assert ax.get_xscale() == 'log'
    free = [{**row, 'flops': 0.0} for row in figure.frame]
    other = Figure().add_subplot()
    figure.plot(other, free)
    assert other.get_xscale() == 'linear'


def test_many_strategies_leave_what_may_be_chosen(metrics):
    changed = copy.deepcopy(metrics)
    row = changed['baselines'][0]
    changed['baselines'] += [{**row, 'strategy': f'other {index}'} for index in range(9)] + [{**row, 'strategy': 'Greedy'}]
    assert fit_figures.fixed_shown(changed) == ['majority', 'best-of-n', 'search', 'Greedy']
    changed['grid'] += [f'other {index}' for index in range(9)]
    assert len(fit_figures.fixed_shown(changed)) == fit_figures.MOST_FIXED
    assert {'majority', 'best-of-n', 'search'} <= set(fit_figures.fixed_shown(changed))


def test_without_a_predicted_curve(tmp_path):
    metrics = make_fit(tmp_path, predicted='')[2].metrics
    _, lines = drawn(by_name(metrics)['accuracy_against_flops_per_question'])
    assert fit_figures.NAMES['predicted'] not in lines and fit_figures.NAMES['charged'] in lines


def test_a_point_outside_of_its_interval_is_drawn_where_it_is():
    # What is chosen again in every resample may shift all of them: then the interval leaves its point out.
    frame = [{'curve': 'charged', 'n': n, 'gap': 2.0, 'low': -1.0, 'high': 1.5} for n in (4, 'all')]
    ax = Figure().add_subplot()
    fit_figures.plot_gaps(ax, frame)
    assert [list(line.get_ydata()) for line in ax.lines if line.get_label() == fit_figures.NAMES['charged']] == [[2.0, 2.0]]
    spans = [segment for bars in ax.collections for segment in bars.get_segments()]
    assert [sorted(segment[:, 1]) for segment in spans] == [[-1.0, 1.5]] * 2
    fit_figures.plot_losses(
        Figure().add_subplot(), [{'estimate': 'votes', 'flops': 10.0, 'loss': 0.5, 'low': 0.6, 'high': 0.9}]
    )
