"""Accuracy of every strategy within each bin of difficulty, as in the paper's figure 3, right: bins side by side, n within."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxreason.analysis.drawing import Frame, Look, Plot, bars, grouped, looks, percent
from jaxreason.analysis.tables import label as label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOGETHER = 6  # strategies in one figure, the baseline among them: more cannot be told apart
_PAPER = (4, 16, 64, 256)  # the n of the paper's figure
_ROOM = 0.34  # of a bin to each side of its middle, over which its n spread


def difficulty_figures(metrics: Mapping[str, Any]) -> list[tuple[str, Plot, Frame]]:
    """Name, drawing and frame of each figure; none where no bins were given. The baseline is in all of them."""
    frame = difficulty_frame(metrics)
    groups = grouped(frame)
    styles = looks(label_of(row) for row in metrics['rows'])
    baseline = [label for label in groups if label == metrics['baseline']]
    others = [label for label in groups if label not in baseline]
    size = TOGETHER - len(baseline)
    made: list[tuple[str, Plot, Frame]] = []
    for first in range(0, max(len(others), len(baseline)), size):
        rows = [row for label in (*baseline, *others[first : first + size]) for row in groups[label]]
        part = f'_{first // size + 1}' if len(others) > size else ''
        made.append((f'accuracy_by_difficulty{part}', functools.partial(plot_by_difficulty, styles=styles), rows))
    return made


def difficulty_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy and its interval by level and n; of strategies that have the n of the paper only these, of others all."""
    found = metrics.get('by_difficulty', {'rows': []})['rows']
    have: dict[str, set[int]] = {}
    for row in found:
        have.setdefault(label_of(row), set()).add(row['n'])
    shown = {label: ns & set(_PAPER) or ns for label, ns in have.items()}
    return [
        {
            'strategy': label_of(row),
            'level': row['level'],
            'num_questions': row['num_questions'],
            'n': row['n'],
            **percent('accuracy', row['accuracy']),
        }
        for row in found
        if row['n'] in shown[label_of(row)]
    ]


def plot_by_difficulty(ax: 'Axes', frame: Frame, styles: Mapping[str, Look] | None = None) -> None:
    """Draws accuracy (per cent) in each bin, from the easiest to the hardest, within a bin against n (log), intervals as bars.

    Args:
        ax: where to.
        frame: of `difficulty_frame`.
        styles: of the strategies; None where all that there are are in the frame.
    """
    groups = grouped(frame)
    styles = styles or looks(groups)
    ns = sorted({row['n'] for row in frame})
    levels = sorted({row['level'] for row in frame})
    for index, (label, rows) in enumerate(groups.items()):
        colour, marker = styles[label]
        nudge = 0.2 * _ROOM * (index - (len(groups) - 1) / 2) / max(1, len(groups) - 1)
        for level in levels:
            points = sorted((row for row in rows if row['level'] == level), key=lambda row: row['n'])
            x = [level + _place(row['n'], ns) + nudge for row in points]
            y = [row['accuracy'] for row in points]
            name = label if level == levels[0] else None
            ax.errorbar(
                x,
                y,
                yerr=bars('accuracy', points),
                fmt=f'{marker}-',
                color=colour,
                linewidth=1.4,
                capsize=2,
                elinewidth=1,
                label=name,
            )
    _level_axis(ax, frame, levels, ns)
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, 103)


def _place(n: int, ns: Sequence[int]) -> float:
    """Where an n lies within a bin, between -`_ROOM` and `_ROOM`; in the middle where there is only one."""
    if ns[0] == ns[-1]:
        return 0.0
    return _ROOM * (2 * math.log(n / ns[0]) / math.log(ns[-1] / ns[0]) - 1)


def _level_axis(ax: 'Axes', frame: Frame, levels: Sequence[int], ns: Sequence[int]) -> None:
    """Bins as groups: their n as small ticks, their level and size below."""
    size = {row['level']: row['num_questions'] for row in frame}
    words = {levels[0]: ', easiest', levels[-1]: ', hardest'}
    ticks = [n for n in ns if n in _PAPER] or [ns[0], ns[-1]]  # more would run into each other
    ax.set_xticks(
        [level + _place(n, ns) for level in levels for n in ticks], [str(n) for _ in levels for n in ticks], minor=True
    )
    ax.xaxis.remove_overlapping_locs = False  # the middle n lies where the level does
    ax.set_xticks(levels, [f'\n{level}{words.get(level, "")}\n{size[level]} questions' for level in levels])
    ax.tick_params(axis='x', which='minor', labelsize=7.5, length=0)
    ax.tick_params(axis='x', which='major', length=0)
    for level in levels[1:]:
        ax.axvline(level - 0.5, color=ax.xaxis.label.get_color(), linewidth=0.6, alpha=0.5)
    ax.grid(axis='x', visible=False)
    ax.set_xlim(levels[0] - 0.5, levels[-1] + 0.5)
    ax.set_xlabel('level of difficulty; within each, n in generations per answer (log scale)')
