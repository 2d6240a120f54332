"""One panel a workload: a bar a contestant with its slowest and fastest run, and over it the bound for its weights."""

import csv
import textwrap
from collections.abc import Sequence
from pathlib import Path

from harness.results import Entry

_OURS = '#e07b1a'
_COLOURS = ('#3b82c4', '#7fb2dd', '#2f9e6e', '#8f6fd6', '#7d8590')
_INK, _QUIET, _FAINT = '#1f2328', '#59636e', '#d0d7de'


def save(entries: Sequence[Entry], abouts: dict[str, str], caption: str, path: Path) -> None:
    """Writes the PNG, and beside it the CSV of what it shows."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [entry for entry in entries if entry.runs]
    names = list(dict.fromkeys(entry.workload for entry in shown))
    labels = list(dict.fromkeys(_label(entry) for entry in shown))
    others = iter(_COLOURS * len(labels))
    tints = {label: _OURS if label.startswith('jaxreason') else next(others) for label in labels}
    sizes = [sum(entry.workload == name for entry in shown) for name in names]
    style = {'font.size': 9, 'text.color': _INK, 'axes.edgecolor': _FAINT, 'xtick.color': _QUIET, 'ytick.color': _QUIET}
    with rc_context(style):
        figure = Figure(figsize=(11, 4.6), dpi=160, layout='constrained')
        axes = figure.subplots(1, len(names), squeeze=False, width_ratios=[max(2.6, size) for size in sizes])[0]
        for ax, name in zip(axes, names, strict=True):
            _panel(ax, [entry for entry in shown if entry.workload == name], tints, f'{name}: {abouts[name]}')
        axes[0].set_ylabel('generated tokens a second', color=_QUIET)
        _legend(figure, tints)
        figure.supxlabel(caption, fontsize=7.5, color=_QUIET, x=0.01, ha='left')
        FigureCanvasAgg(figure).print_png(path, metadata={'Software': None})
    _write_csv(shown, path.with_suffix('.csv'))


def _panel(ax, entries: Sequence[Entry], tints, title: str) -> None:
    for place, entry in enumerate(entries):
        middle, low, high = entry.median, entry.rates[0], entry.rates[-1]
        ax.bar(place, middle, 0.72, color=tints[_label(entry)])
        ax.errorbar(place, middle, [[middle - low], [high - middle]], fmt='none', ecolor=_INK, elinewidth=1, capsize=3)
        ax.hlines(entry.bound, place - 0.42, place + 0.42, color=_INK, linewidth=1.2, linestyle=(0, (2, 1.5)))
        ax.annotate(_short(middle), (place, high), (0, 3), textcoords='offset points', ha='center', fontsize=8)
    lines = textwrap.wrap(title, 5 + 4 * max(2, len(entries)))
    ax.set_title('\n'.join(lines), fontsize=9, loc='left')
    ax.set_xticks([])
    ax.set_ylim(0, 1.06 * max(entry.bound for entry in entries))
    ax.yaxis.set_major_formatter(lambda value, position: _short(value))
    ax.grid(axis='y', color=_FAINT, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ('top', 'right', 'left'):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis='y', length=0)


def _legend(figure, tints) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list = [Patch(color=colour, label=label) for label, colour in tints.items()]
    handles.append(Line2D([], [], color=_INK, linewidth=1.2, linestyle=(0, (2, 1.5)), label='bound for these weights'))
    figure.legend(handles=handles, loc='outside upper left', ncols=4, frameon=False, fontsize=8.5)


def _label(entry: Entry) -> str:
    return f'{entry.contestant}, {entry.weights}'


def _short(value: float) -> str:
    return f'{value / 1e6:.2g}M' if value >= 1e6 else f'{value / 1e3:.0f}k' if value >= 1e4 else f'{value:,.0f}'


def _write_csv(entries: Sequence[Entry], path: Path) -> None:
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['workload', 'contestant', 'weights', 'median', 'min', 'max', 'bound'])
        for entry in entries:
            rates = [round(x, 2) for x in (entry.median, entry.rates[0], entry.rates[-1], entry.bound)]
            writer.writerow([entry.workload, entry.contestant, entry.weights, *rates])
