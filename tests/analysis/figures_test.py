"""Figures: what is plotted is what is saved, colours are fixed, bytes repeat."""

import csv
import dataclasses
import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from jaxreason.analysis import drawing, figures, metrics, tables


@pytest.fixture(scope='module')
def summary(run):
    return metrics.compute(run[0], run[1], ['majority'])


def test_the_csv_holds_what_the_figure_shows(summary, tmp_path):
    paths = figures.save_all(summary, 'caption', tmp_path)
    names = [
        'accuracy_against_n',
        'accuracy_against_flops',
        'gain_against_n',
        'cost_by_phase',
        'proxy_against_gold',
        'verifier_reliability',
    ]
    assert [path.stem for path in paths] == names
    with (tmp_path / 'accuracy_against_flops.csv').open() as file:
        rows = list(csv.DictReader(file))
    ax = Figure().add_subplot()
    figures.plot_accuracy_against_flops(ax, figures.accuracy_frame(summary))
    drawn = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in ax.get_lines()}
    for label in ('majority', 'best_of_n'):
        assert drawn[label] == [[float(row['flops']), float(row['accuracy'])] for row in rows if row['strategy'] == label]
    assert len(drawn['pass@k of the samples']) == sum(row['strategy'] == 'pass@k' for row in rows) == 5
    assert ax.get_xscale() == 'log' and ax.get_ylim()[0] == 0


def sweep(labels, ns=(4, 16, 64)):
    """Rows as of strategies that searched by themselves at every n."""
    return [
        {'strategy': label, 'n': n, 'flops': n * 10.0 ** (6 + index % 2), 'accuracy': 30.0 + index, 'low': 29.0, 'high': 40.0}
        for label in labels
        for index, n in enumerate(ns)
    ]


@pytest.mark.parametrize(
    'plot, column', [(figures.plot_accuracy_against_n, 'n'), (figures.plot_accuracy_against_flops, 'flops')]
)
@pytest.mark.parametrize('count', [2, 13])
def test_strategies_that_searched_at_every_n_are_one_curve_each_with_intervals(plot, column, count):
    frame = sweep([f's{index}' for index in range(count)])
    ax = Figure().add_subplot()
    plot(ax, frame)
    drawn = {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith('_')}
    assert set(drawn) == {row['strategy'] for row in frame}
    for label, line in drawn.items():
        points = sorted((row for row in frame if row['strategy'] == label), key=lambda row: row[column])
        assert line.get_ydata().tolist() == [row['accuracy'] for row in points]
        assert line.get_xdata() == pytest.approx([row[column] for row in points], rel=0.14)  # beside each other on purpose
    bands = [part for part in ax.collections if isinstance(part, PolyCollection)]
    bars = [part for part in ax.collections if isinstance(part, LineCollection)]
    assert (len(bands), len(bars)) == ((count, 0) if count == 2 else (0, count))
    assert len({(line.get_color(), line.get_marker()) for line in drawn.values()}) == count
    assert drawing.png(plot, frame)


def test_a_search_keeps_its_pools_apart_and_its_curve_whole(run):
    searched = [
        dataclasses.replace(record, strategy='beam search', pool=f'beam-search.n{record.n}', blocks=record.blocks[:1])
        for record in run[0]
        if record.strategy == 'majority' and record.n > 1
    ]
    summary = metrics.compute([*run[0], *searched], run[1], ['majority'])
    rows = [row for row in figures.accuracy_frame(summary) if row['strategy'] == 'beam search']
    assert [row['n'] for row in rows] == [2, 4, 8, 16]
    assert tables.readings(summary) == (
        'At every n from one pool of solutions: majority, best_of_n. Searched anew at each n: beam search.'
    )
    alone = metrics.compute([record for record in run[0] if record.n == 4], run[1])
    assert tables.readings(alone) == ''


def test_a_figure_is_a_wide_png_and_repeats_byte_for_byte(summary):
    frame = figures.accuracy_frame(summary)
    light, dark = (drawing.png(figures.plot_accuracy_against_flops, frame, 'x', theme) for theme in ('light', 'dark'))
    assert drawing.png(figures.plot_accuracy_against_flops, frame, 'x', 'light') == light != dark
    pixels = matplotlib.image.imread(io.BytesIO(light))
    assert pixels.shape[1] == 1440
    assert pixels[0, 0, :3].tolist() == [1, 1, 1] and matplotlib.image.imread(io.BytesIO(dark))[0, 0, 0] < 0.2


def test_gains_are_drawn_with_their_intervals_beside_zero(summary):
    frame = figures.gain_frame(summary)
    assert {row['strategy'] for row in frame} == {'best_of_n'} and [row['n'] for row in frame] == [1, 2, 4, 8, 16]
    ax = Figure().add_subplot()
    figures.plot_gain_against_n(ax, frame)
    assert any(np.asarray(line.get_ydata()).tolist() == [0, 0] for line in ax.get_lines())
    assert ax.get_ylabel() == 'gain over majority, percentage points'
    assert figures.gain_frame({**summary, 'rows': [{**row, 'gain': None} for row in summary['rows']]}) == []


def test_bars_of_cost_stack_to_the_total(summary):
    frame = figures.cost_frame(summary)
    ax = Figure().add_subplot()
    figures.plot_cost_by_phase(ax, frame)
    boxes = [patch.get_path().get_extents(patch.get_patch_transform()) for patch in ax.patches]
    ends = {round((box.y0 + box.y1) / 2): box.x1 for box in boxes}
    totals = {row['strategy']: row['flops']['total'] for row in summary['rows'] if row['n'] == 16}
    assert [ends[index] for index in range(len(frame))] == [pytest.approx(totals[row['strategy']]) for row in frame]


def test_a_single_n_and_a_missing_interval_can_be_drawn(summary):
    point = {'strategy': 'greedy', 'n': 1, 'flops': 1e9, 'accuracy': 100.0, 'low': None, 'high': None}
    assert drawing.png(figures.plot_accuracy_against_flops, [point], '$a_b$ is no formula')
    assert drawing.png(figures.plot_accuracy_against_flops, [{**point, 'flops': 10.0**e} for e in range(6, 20, 2)])


def test_a_strategy_keeps_its_colour_in_any_company():
    alone = drawing.colours(['majority'])
    many = drawing.colours(['mine', 'best_of_n', 'majority', 'majority_logprob', 'beam_search', 'yours'])
    assert many['majority'] == alone['majority'] and many['best_of_n'] == drawing.colours(['best_of_n', 'x'])['best_of_n']
    assert len(set(many.values())) == len(many)
    assert len(drawing.colours(f's{i}' for i in range(40))) == 40


def test_a_stranger_does_not_take_the_colour_of_a_kind():
    assert (
        drawing.colours(['Beam Search, width 4', 'a', 'b', 'c'])['Beam Search, width 4']
        == drawing.colours(['beam_search'])['beam_search']
    )
    for strangers in ([f's{index}' for index in range(count)] for count in range(12)):
        assert drawing.colours([*strangers, 'dvts'])['dvts'] == drawing.colours(['dvts'])['dvts']
    assert drawing.colours(['weak beam', 'dvts'])['weak beam'] == drawing.colours(['beam_search'])['beam_search']
    found = drawing.looks(f's{i}' for i in range(24)).values()
    assert len(set(found)) == 24
    assert len({(look.colour, look.line) for look in drawing.looks(['beam', 'weak beam', *'abcdefghijkl']).values()}) == 14


def test_a_strategy_has_one_colour_in_all_figures():
    labels = ['majority', 'best-of-n, log-prob', 'best-of-n, self-certainty', 'naive best-of-n, log-prob', 'greedy']
    frame = [{'strategy': label, 'n': 4, 'baseline': 'majority', 'gain': 1.0, 'low': 0.0, 'high': 2.0} for label in labels[1:]]
    axes = Figure().subplots()
    figures.plot_gain_against_n(axes, frame)
    expected = drawing.colours(labels)
    assert [line[0].get_color() for line in axes.containers] == [expected[label] for label in labels[1:]]


def test_the_proxy_is_drawn_beside_the_gold_where_it_is_a_chance(summary):
    frame = figures.proxy_frame(summary)
    ax = Figure().add_subplot()
    figures.plot_proxy_against_gold(ax, frame)
    drawn = [np.asarray(line.get_ydata()).tolist() for line in ax.get_lines()]
    for column in ('accuracy', 'weighted', 'majority', 'own_score'):
        assert [row[column] for row in frame] in drawn
    ax = Figure().add_subplot()
    figures.plot_proxy_against_gold(ax, [{**row, 'own_score': None} for row in frame])
    assert len(ax.get_lines()) == len(drawn) - 1


def test_reliability_is_drawn_beside_the_diagonal(summary):
    frame = figures.reliability_frame(summary)
    ax = Figure().add_subplot()
    figures.plot_reliability(ax, frame)
    drawn = [np.asarray(line.get_xydata()).tolist() for line in ax.get_lines()]
    assert [[0, 0], [100, 100]] in drawn and [[row['score'], row['share']] for row in frame] in drawn
    assert sum(row['count'] for row in frame) == 40 * 2 * 16


def test_numbers_that_would_lie_on_each_other_are_left_out():
    assert drawing.apart([1, 4, 15, 16, 63, 64, 256]) == [1, 4, 16, 64, 256]
    assert drawing.apart([1, 2, 4, 5, 6]) == [1, 2, 4, 5, 6]
    assert drawing.apart([7]) == [7] and drawing.apart([]) == []
