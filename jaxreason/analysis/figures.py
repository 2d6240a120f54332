"""Figures from metrics alone: accuracy against FLOPs, gain against n, cost by phase, and the health of verifiers.

A frame is a list of flat rows; `plot_*` draws one on an axis, `save` writes the PNG and, beside it, the CSV of exactly what was
plotted. Every strategy keeps its colour in every figure. Nothing here opens a window or leaves global state behind.
"""

import csv
import io
import textwrap
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxreason.analysis import page
from jaxreason.analysis.rows import PHASES
from jaxreason.analysis.tables import label as label_of
from jaxreason.core.errors import RunError
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Frame = Sequence[Mapping[str, Any]]
Theme = Literal['light', 'dark']
Plot = Callable[['Axes', Frame], None]

COVERAGE = 'pass@k'  # the label of the upper bound

_COLOURS = {
    'greedy': '#7d8590',
    'majority': '#3b82c4',
    'best_of_n': '#e07b1a',
    'beam_search': '#2f9e6e',
    'lookahead': '#8f6fd6',
    'dvts': '#d1495b',
    'rebase': '#1f9bb4',
    'revision': '#b0742f',
    'compute_optimal': '#c65aa5',
    'weighted': '#8a8f2a',
}
_PHASE_COLOURS = dict(zip(PHASES, ('#7d8590', '#3b82c4', '#e07b1a', '#8f6fd6'), strict=True))
_THEMES: dict[Theme, dict[str, str]] = {
    'light': {'paper': '#ffffff', 'ink': '#1f2328', 'faint': '#d0d7de', 'quiet': '#59636e'},
    'dark': {'paper': '#161b22', 'ink': '#e6edf3', 'faint': '#30363d', 'quiet': '#9198a1'},
}


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for every strategy: that of its kind where the label begins with one, else one that its name decides."""
    palette = list(_COLOURS.values())
    chosen: dict[str, str] = {}
    for label in sorted(set(labels), key=lambda label: (label not in _COLOURS, label)):
        kinds = sorted((kind for kind in _COLOURS if label.startswith(kind)), key=len)
        start = palette.index(_COLOURS[kinds[-1]]) if kinds else zlib.crc32(label.encode()) % len(palette)
        turns = [palette[(start + step) % len(palette)] for step in range(len(palette))]
        chosen[label] = next((colour for colour in turns if colour not in chosen.values()), turns[0])
    return chosen


def accuracy_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy and its interval against FLOPs per question, and pass@k of the independent pools as the upper bound."""
    frame = [
        {'strategy': label_of(row), 'n': row['n'], 'flops': row['flops']['total'], **_percent('accuracy', row['accuracy'])}
        for row in metrics['rows']
    ]
    for pool in metrics['pools']:
        frame += [
            {'strategy': COVERAGE, 'n': point['k'], 'flops': point['flops'], **_percent('accuracy', point)}
            for point in pool['pass_at']
        ]
    return frame


def gain_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gain over the baseline, in percentage points, against n; empty without a baseline."""
    return [
        {'strategy': label_of(row), 'n': row['n'], 'baseline': row['gain']['baseline'], **_percent('gain', row['gain'])}
        for row in metrics['rows']
        if row['gain'] is not None
    ]


def cost_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """FLOPs per question by phase, of every strategy at its largest n."""
    largest = {label_of(row): row for row in sorted(metrics['rows'], key=lambda row: row['n'])}
    ordered = dict.fromkeys(label_of(row) for row in metrics['rows'])
    return [
        {'strategy': label, 'n': largest[label]['n'], **{phase: largest[label]['flops'][phase] for phase in PHASES}}
        for label in ordered
    ]


def reliability_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Mean score and share of right solutions (per cent) in bins of the score, of verifiers whose scores are chances."""
    return [
        row
        for name, health in metrics['verifiers'].items()
        for row in reliability_rows(name, (health['calibration'] or {'bins': []})['bins'])
    ]


def reliability_rows(verifier: str, bins: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bins of a calibration (`core.calibration`), in per cent."""
    return [
        {
            'verifier': printable(verifier),
            'bin': f'{part["low"]:g}-{part["high"]:g}',
            'count': part['count'],
            'score': round(100 * part['score'], 4),
            **_percent('share', part['share']),
        }
        for part in bins
    ]


def proxy_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best-of-n on the same samples, in per cent: what the verifier expects of its choice, and what the choice is worth."""
    return [
        {
            'verifier': printable(name),
            'n': row['n'],
            **_percent('accuracy', row['naive']),
            'weighted': round(100 * row['weighted']['point'], 4),
            'majority': round(100 * row['majority']['point'], 4),
            # Scores that are no chances have no place on this axis.
            'own_score': None if row['accepted'] is None else round(100 * row['chosen_score']['point'], 4),
        }
        for name, health in metrics['verifiers'].items()
        for row in health['best_of_n']
    ]


def plot_accuracy_against_flops(ax: 'Axes', frame: Frame) -> None:
    """Draws accuracy (per cent) against FLOPs per question (log), intervals as bands, pass@k dashed."""
    from matplotlib.ticker import LogLocator, NullLocator

    tints = colours(row['strategy'] for row in frame if row['strategy'] != COVERAGE)
    for label, rows in _grouped(frame).items():
        points = sorted(rows, key=lambda row: row['flops'])
        x, y = [row['flops'] for row in points], [row['accuracy'] for row in points]
        if label == COVERAGE:
            quiet = ax.xaxis.label.get_color()
            ax.plot(x, y, '--', color=quiet, linewidth=1.2, label='pass@k of the samples (upper bound)', zorder=1.5)
            ax.annotate(f'k={points[-1]["n"]}', (x[-1], y[-1]), (5, -4), textcoords='offset points', fontsize=8, color=quiet)
            continue
        _draw_interval(ax, x, points, tints[label])
        if len(points) == 1:
            ax.plot(x, y, 'D', color=tints[label], label=f'{label} (n={points[0]["n"]})')
            continue
        ax.plot(x, y, 'o-', color=tints[label], label=label)
        ax.annotate(
            f'n={points[-1]["n"]}', (x[-1], y[-1]), (5, -11), textcoords='offset points', fontsize=8, color=tints[label]
        )
    ax.set_xscale('log')
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(_tick)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('FLOPs per question (log scale)')
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, None)
    ax.margins(x=0.08)


def plot_gain_against_n(ax: 'Axes', frame: Frame) -> None:
    """Draws the gain over the baseline (percentage points) against n (log), intervals as bars."""
    groups = _grouped(frame)
    # The baseline has no curve here, but its colour is taken: a strategy keeps the colour that it has beside it.
    tints = colours([*groups, *(row['baseline'] for row in frame)])
    for index, (label, rows) in enumerate(groups.items()):
        points = sorted(rows, key=lambda row: row['n'])
        nudge = 2 ** (0.08 * (index - (len(groups) - 1) / 2))  # side by side, so that no bar hides another
        x, y = [row['n'] * nudge for row in points], [row['gain'] for row in points]
        ax.errorbar(x, y, yerr=_bars('gain', points), fmt='o-', color=tints[label], capsize=3, elinewidth=1.2, label=label)
    ax.axhline(0, color=ax.xaxis.label.get_color(), linewidth=1)
    _n_axis(ax, frame)
    ax.set_ylabel(f'gain over {frame[0]["baseline"]}, percentage points' if frame else 'gain, percentage points')


def plot_cost_by_phase(ax: 'Axes', frame: Frame) -> None:
    """Draws FLOPs per question as bars stacked by phase, one bar a strategy."""
    labels = [f'{row["strategy"]}, n={row["n"]}' for row in frame]
    left = [0.0] * len(frame)
    for phase in PHASES:
        widths = [row[phase] for row in frame]
        if any(widths):
            ax.barh(labels, widths, left=left, height=0.6, color=_PHASE_COLOURS[phase], label=phase)
            left = [base + width for base, width in zip(left, widths, strict=True)]
    for label, full in zip(labels, left, strict=True):
        ax.annotate(quantity(full), (full, label), (4, 0), textcoords='offset points', va='center', fontsize=9)
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(_tick)
    ax.set_xlabel('FLOPs per question')
    ax.margins(x=0.12)
    ax.grid(axis='y', visible=False)


def plot_reliability(ax: 'Axes', frame: Frame) -> None:
    """Draws the share of right solutions against the mean last score (per cent), one line a verifier, intervals as bars."""
    ax.plot([0, 100], [0, 100], '--', color=ax.xaxis.label.get_color(), linewidth=1, label='a score that means what it says')
    groups = _grouped(frame, 'verifier')
    for name, tint in colours(groups).items():
        points = groups[name]
        x, y = [row['score'] for row in points], [row['share'] for row in points]
        ax.errorbar(x, y, yerr=_bars('share', points), fmt='o-', color=tint, capsize=3, elinewidth=1.2, label=name)
    ax.set_xlabel('last score, % (mean of each tenth of the scale)')
    ax.set_ylabel('right solutions, %')
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)


def plot_proxy_against_gold(ax: 'Axes', frame: Frame) -> None:
    """Draws best-of-n against n (log): accuracy and the verifier's own score of the same choice, one colour a verifier."""
    quiet = ax.xaxis.label.get_color()
    groups = _grouped(frame, 'verifier')
    tints = colours([*groups, 'majority'])
    for name, points in groups.items():
        x, expected = [row['n'] for row in points], [row['own_score'] for row in points]
        ax.plot(x, [row['accuracy'] for row in points], 'o-', color=tints[name], label=name)
        _draw_interval(ax, x, points, tints[name])
        ax.plot(x, [row['weighted'] for row in points], ':', color=tints[name])
        if None not in expected:
            ax.plot(x, expected, '--', color=tints[name])
    longest = max(groups.values(), key=len)
    ax.plot([row['n'] for row in longest], [row['majority'] for row in longest], '-', color=tints['majority'], label='majority')
    styles = (('-', 'right: single best solution'), (':', 'right: weighted vote'), ('--', "verifier's score of the best"))
    for style, words in styles:
        ax.plot([], [], style, color=quiet, label=words)
    _n_axis(ax, frame)
    ax.set_ylabel('right answers or mean score, %')
    ax.set_ylim(0, 100)


def png(plot: Plot, frame: Frame, caption: str = '', theme: Theme = 'light') -> bytes:
    """Draws one figure.

    Args:
        plot: one of the `plot_*` functions.
        frame: what it draws.
        caption: a line or two below: questions, seeds, model, commit; none where the page around it says that.
        theme: for a light or a dark page.

    Returns:
        A PNG, 1,440 pixels wide; the same bytes for the same arguments and library versions.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {**matplotlib.rcParamsDefault, **_style(theme)}  # defaults too: a user's matplotlibrc changes nothing
    with matplotlib.rc_context(settings):
        height = 4.4 if plot is not plot_cost_by_phase else 1.6 + 0.42 * len(frame)
        figure = Figure(figsize=(7.2, height), dpi=200, layout='constrained')
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_subplot()
        plot(ax, frame)
        figure.legend(loc='outside upper left', ncols=3, frameon=False)
        if caption:
            lines = textwrap.fill(caption, 105)
            figure.supxlabel(lines, fontsize=8, color=_THEMES[theme]['quiet'], x=0.01, ha='left', linespacing=1.4)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={'Software': None})
    return buffer.getvalue()


def save(name: str, plot: Plot, frame: Frame, caption: str, folder: Path) -> Path:
    """Writes `name.png` and `name.csv` (of a frame with at least one row) into `folder`; returns the path of the PNG."""
    path, image = folder / f'{name}.png', png(plot, frame, caption)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        with (folder / f'{name}.csv').open('w', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, fieldnames=list(frame[0]), lineterminator='\n')
            writer.writeheader()
            writer.writerows(frame)
    except OSError as error:
        raise RunError(f'{path}: cannot be written ({error.strerror}).') from error
    return path


def _style(theme: Theme) -> dict[str, Any]:
    tone = _THEMES[theme]
    return {
        'figure.facecolor': tone['paper'],
        'axes.facecolor': tone['paper'],
        'axes.edgecolor': tone['faint'],
        'axes.labelcolor': tone['quiet'],
        'text.color': tone['ink'],
        'xtick.color': tone['quiet'],
        'ytick.color': tone['quiet'],
        'grid.color': tone['faint'],
        'axes.grid': True,
        'axes.axisbelow': True,
        'axes.spines.top': False,
        'axes.spines.right': False,
        'axes.spines.left': False,
        'grid.linewidth': 0.6,
        'xtick.minor.size': 0,
        'ytick.major.size': 0,
        'font.size': 10,
        'lines.linewidth': 1.8,
        'lines.markersize': 5,
        'legend.fontsize': 9,
        'text.parse_math': False,  # a label is text, dollars and all
    }


def _percent(name: str, value: Mapping[str, Any]) -> dict[str, float | None]:
    low, high = (None if value[name] is None else round(100 * value[name], 4) for name in ('low', 'high'))
    return {name: round(100 * value['point'], 4), 'low': low, 'high': high}


def _n_axis(ax: 'Axes', frame: Frame) -> None:
    """Makes x the number of solutions, with a tick at each that occurs."""
    from matplotlib.ticker import NullLocator, ScalarFormatter

    ax.set_xscale('log', base=2)
    ax.set_xticks(sorted({row['n'] for row in frame}))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('n, solutions per answer (log scale)')


def _grouped(frame: Frame, column: str = 'strategy') -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in frame:
        groups.setdefault(row[column], []).append(row)
    return groups


def _bars(name: str, points: Frame) -> list[list[float]]:
    """Lengths below and above the points; 0 where there is no interval."""
    below = [0.0 if row['low'] is None else row[name] - row['low'] for row in points]
    above = [0.0 if row['high'] is None else row['high'] - row[name] for row in points]
    return [below, above]


def _draw_interval(ax: 'Axes', x: Sequence[float], points: Frame, colour: str) -> None:
    """The interval of accuracy: a band along a curve, a bar at a single point."""
    y, (below, above) = [row['accuracy'] for row in points], _bars('accuracy', points)
    if len(points) == 1:
        ax.errorbar(x, y, yerr=[below, above], fmt='none', ecolor=colour, capsize=3, elinewidth=1.2)
        return
    low = [value - bar for value, bar in zip(y, below, strict=True)]
    high = [value + bar for value, bar in zip(y, above, strict=True)]
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _tick(value: float, position: float) -> str:
    """A tick label without digits that say nothing: `50 G`, not `50.0 G`."""
    del position  # matplotlib gives it
    digits, _, prefix = quantity(value).partition(' ')
    return f'{float(digits):g} {prefix}'.strip()


# Every figure of a run: file name, how it is drawn, what it draws.
FIGURES: tuple[tuple[str, Plot, Callable[[Mapping[str, Any]], list[dict[str, Any]]]], ...] = (
    ('accuracy_against_flops', plot_accuracy_against_flops, accuracy_frame),
    ('gain_against_n', plot_gain_against_n, gain_frame),
    ('cost_by_phase', plot_cost_by_phase, cost_frame),
)
# The same of its verifiers, where it has any.
HEALTH_FIGURES: tuple[tuple[str, Plot, Callable[[Mapping[str, Any]], list[dict[str, Any]]]], ...] = (
    ('proxy_against_gold', plot_proxy_against_gold, proxy_frame),
    ('verifier_reliability', plot_reliability, reliability_frame),
)


def save_all(metrics: Mapping[str, Any], caption: str, folder: Path) -> list[Path]:
    """Writes every figure of a run that has something to show; returns the PNG paths."""
    frames = [(name, plot, frame_of(metrics)) for name, plot, frame_of in (*FIGURES, *HEALTH_FIGURES)]
    return [save(name, plot, frame, caption, folder) for name, plot, frame in frames if frame]


def pictures(figures: Sequence[tuple[str, Plot, Callable]], metrics: Mapping[str, Any]) -> list[str]:
    """Figures as parts of a page; those that have nothing to show are left out."""
    frames = [(name, plot, frame_of(metrics)) for name, plot, frame_of in figures]
    return [picture_of(name, plot, frame) for name, plot, frame in frames if frame]


def picture_of(name: str, plot: Plot, frame: Frame) -> str:
    """A figure as part of a page, for light and dark screens."""
    return page.picture(png(plot, frame), png(plot, frame, theme='dark'), name.replace('_', ' '))
