"""A small model's accuracy against its budget in every bin, and the larger model as stars where its money lies: the paper's
figure 9 (ICLR: 8)."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxreason.analysis.drawing import Frame, Plot, draw_interval, flops_tick, set_height

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ('#2f9e6e', '#8a8f2a', '#e07b1a', '#d1495b', '#8f6fd6')  # the easiest bin first
_CURVE, _RIVAL = 'compute-optimal', 'greedy'


def matching_figures(table: Mapping[str, Any]) -> list[tuple[str, Plot, Frame]]:
    """Name, drawing and frame of a figure for every convention."""
    plot = {'spent': functools.partial(_plot, column='flops', words='FLOPs per question (log scale)')}
    solutions = functools.partial(_plot, column='n', words='n, solutions of the small model (log scale)')
    return [
        (f'duel_{convention}', plot.get(convention, solutions), frame)
        for convention in table['duel']
        if (frame := duel_frame(table, convention))
    ]


def duel_frame(table: Mapping[str, Any], convention: str) -> list[dict[str, Any]]:
    """Accuracy (per cent) with its interval: of the small model by bin and budget, of the larger one by bin and R.

    Where the budget of an R is `n` solutions or `flops`, the column that does not apply is empty.
    """
    levels = [name for name in table['groups'] if name.isdigit()]
    rows = [
        {'model': 'small', 'level': row['group'], 'ratio': None, **{name: row[name] for name in _COLUMNS}}
        for row in table['curves']
        if row['curve'] == _CURVE and row['group'] in levels and row['accuracy'] is not None
    ]
    told = {row['group']: row for row in table['rivals'] if row['rival'] == _RIVAL and row['accuracy'] is not None}
    column = 'flops' if convention == 'spent' else 'n'
    for ratio, groups in table['duel'][convention].items():
        for level in (level for level in levels if level in told and groups[level]['k'] > 0):
            place = {'n': None, 'flops': None, column: groups[level]['k']}
            reached = {name: told[level][name] for name in ('accuracy', 'low', 'high')}
            rows.append({'model': 'large', 'level': level, 'ratio': float(ratio), **place, **reached})
    return rows


_COLUMNS = ('n', 'flops', 'accuracy', 'low', 'high')


def _plot(ax: 'Axes', frame: Frame, column: str, words: str) -> None:
    levels = sorted({row['level'] for row in frame})
    tints = {level: _COLOURS[index % len(_COLOURS)] for index, level in enumerate(levels)}
    for level, tint in tints.items():
        points = sorted(
            (row for row in frame if row['level'] == level and row['model'] == 'small'), key=lambda row: row[column]
        )
        x = [row[column] for row in points]
        ax.plot(x, [row['accuracy'] for row in points], 'o-', color=tint, label=f'level {level}')
        draw_interval(ax, x, points, tint)
        stars = [row for row in frame if row['level'] == level and row['model'] == 'large']
        ax.plot([row[column] for row in stars], [row['accuracy'] for row in stars], '*', color=tint, markersize=11)
    quiet = ax.xaxis.label.get_color()
    ax.plot([], [], '*', color=quiet, markersize=11, label='larger model, greedy')
    for ratio, x in sorted({(row['ratio'], row[column]) for row in frame if row['model'] == 'large'}):
        ax.axvline(x, color=quiet, linewidth=0.8, linestyle=':')
        ax.annotate(
            f'R={ratio:g}',
            (x, 1),
            (2, 2),
            xycoords=('data', 'axes fraction'),
            textcoords='offset points',
            fontsize=8,
            color=quiet,
        )
    ax.set_xscale('log', base=10 if column == 'flops' else 2)
    if column == 'flops':
        ax.xaxis.set_major_formatter(flops_tick)
    else:
        ax.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    ax.set_xlabel(words)
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, 103)
    set_height(ax, 5.4)
