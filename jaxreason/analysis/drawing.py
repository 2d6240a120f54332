"""How a figure is drawn: the look of strategies, axes, intervals, themes; PNG, the CSV beside it, and the part of a page.

Every strategy keeps its colour and its marker in every figure. Nothing here opens a window or leaves global state behind.
"""

import csv
import io
import re
import textwrap
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxreason.analysis import page
from jaxreason.core.errors import RunError
from jaxreason.core.quantities import quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Frame = Sequence[Mapping[str, Any]]
Theme = Literal['light', 'dark']
Plot = Callable[['Axes', Frame], None]


class Look(NamedTuple):
    """How a strategy is drawn, in every figure."""

    colour: str
    marker: str
    line: str  # of matplotlib; dotted where another strategy has the colour already


WIDTH = 7.2  # inches
INTERVALS_AS_BANDS = 5  # curves; more bands than that hide each other, and bars take their place

_COLOURS = {
    'greedy': '#7d8590',
    'majority': '#3b82c4',
    'best_of_n': '#e07b1a',
    'beam': '#2f9e6e',
    'lookahead': '#8f6fd6',
    'dvts': '#d1495b',
    'rebase': '#1f9bb4',
    'revision': '#b0742f',
    'compute_optimal': '#c65aa5',
    'weighted': '#8a8f2a',
    'borda': '#c9a227',
    'deepconf': '#77b82a',
    'budget_forcing': '#ea8fb0',
}
_MARKERS = 'os^Dv<>pPX*hd'
_THEMES: dict[Theme, dict[str, str]] = {
    'light': {'paper': '#ffffff', 'ink': '#1f2328', 'faint': '#d0d7de', 'quiet': '#59636e'},
    'dark': {'paper': '#161b22', 'ink': '#e6edf3', 'faint': '#30363d', 'quiet': '#9198a1'},
}


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for every strategy: that of its kind where the label names one, else one that its name decides."""
    palette = list(_COLOURS.values())
    kinds = {label: _kind(label) for label in sorted(set(labels), key=lambda label: (label not in _COLOURS, label))}
    chosen: dict[str, str] = {}
    for label, kind in kinds.items():  # before the others, so that a stranger does not take the colour of a kind
        if kind is not None and _COLOURS[kind] not in chosen.values():
            chosen[label] = _COLOURS[kind]
    for label, kind in kinds.items():
        start = palette.index(_COLOURS[kind]) if kind else zlib.crc32(label.encode()) % len(palette)
        turns = [palette[(start + step) % len(palette)] for step in range(len(palette))]
        free = next((colour for colour in turns if colour not in chosen.values()), turns[0])
        chosen.setdefault(label, free)
    return chosen


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Colour, marker and line of every strategy; where there are more strategies than colours, the others tell them apart."""
    found: dict[str, Look] = {}
    used: set[str] = set()
    tints = colours(labels)
    places = {label: index for index, label in enumerate(sorted(tints))}
    for label, tint in tints.items():  # those of a kind before the others
        found[label] = Look(tint, _MARKERS[places[label] % len(_MARKERS)], ':' if tint in used else '-')
        used.add(tint)
    return found


def _kind(label: str) -> str | None:
    """The longest kind that a label names, however it is written."""
    words = '_' + re.sub('[^a-z0-9]+', '_', label.lower())
    return max((kind for kind in _COLOURS if f'_{kind}' in words), key=len, default=None)


def png(plot: Plot, frame: Frame, caption: str = '', theme: Theme = 'light', width: float = WIDTH) -> bytes:
    """Draws one figure.

    Args:
        plot: one of the `plot_*` functions; it may set another height than 4.4 inches.
        frame: what it draws.
        caption: a line or two below: questions, seeds, model, commit; none where the page around it says that.
        theme: for a light or a dark page.
        width: inches; text keeps its size, so that a narrow figure is the one that a phone shows legibly.

    Returns:
        A PNG of 200 pixels an inch; the same bytes for the same arguments and library versions.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {**matplotlib.rcParamsDefault, **_style(theme)}  # defaults too: a user's matplotlibrc changes nothing
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, 4.4), dpi=200, layout='constrained')
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_subplot()
        plot(ax, frame)
        _legend(figure, ax)
        if caption:
            lines = textwrap.fill(caption, int(14.6 * width))
            figure.supxlabel(lines, fontsize=8, color=_THEMES[theme]['quiet'], x=0.01, ha='left', linespacing=1.4)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={'Software': None})
    return buffer.getvalue()


def save(name: str, plot: Plot, frame: Frame, caption: str, folder: Path, width: float = WIDTH) -> Path:
    """Writes `name.png` and `name.csv` (of a frame with at least one row) into `folder`; returns the path of the PNG."""
    path, image = folder / f'{name}.png', png(plot, frame, caption, width=width)
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


def _legend(figure: 'Figure', ax: 'Axes') -> None:
    """The legend above the axis, in as many columns as its longest words leave room for; a long one makes the figure higher."""
    words = [str(label) for label in ax.get_legend_handles_labels()[1]]
    if words:
        columns = max(1, min(3, int(figure.get_figwidth() / (0.6 + 0.072 * max(map(len, words))))))
        figure.set_figheight(figure.get_figheight() + 0.18 * max(0, -(-len(words) // columns) - 2))
        figure.legend(loc='outside upper left', ncols=columns, frameon=False)


def set_height(ax: 'Axes', inches: float) -> None:
    """Makes the figure of an axis higher or lower than usual."""
    figure = ax.get_figure(root=True)
    assert figure is not None, 'an axis is drawn on a figure'
    figure.set_figheight(inches)


def n_axis(ax: 'Axes', frame: Frame) -> None:
    """Makes x the number of solutions, with a tick at each that occurs, or at powers of two where these are many."""
    from matplotlib.ticker import NullLocator, ScalarFormatter

    ticks = sorted({row['n'] for row in frame})
    if len(ticks) > 10:
        ticks = [2**power for power in range(ticks[-1].bit_length()) if 2**power >= ticks[0]]
    ax.set_xscale('log', base=2)
    ax.set_xticks(apart(ticks))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('n, generations per answer (log scale)')


def apart(ns: Sequence[int]) -> list[int]:
    """Of increasing numbers those that can be read side by side on a log scale; the last one stays."""
    kept: list[int] = []
    for n in reversed(ns):
        if not kept or 1.2 * n <= kept[0]:
            kept.insert(0, n)
    return kept


def grouped(frame: Frame, column: str = 'strategy') -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in frame:
        groups.setdefault(row[column], []).append(row)
    return groups


def percent(name: str, value: Mapping[str, Any]) -> dict[str, float | None]:
    low, high = (None if value[name] is None else round(100 * value[name], 4) for name in ('low', 'high'))
    return {name: round(100 * value['point'], 4), 'low': low, 'high': high}


def bars(name: str, points: Frame) -> list[list[float]]:
    """Lengths below and above the points; 0 where there is no interval."""
    below = [0.0 if row['low'] is None else row[name] - row['low'] for row in points]
    above = [0.0 if row['high'] is None else row['high'] - row[name] for row in points]
    return [below, above]


def draw_bars(ax: 'Axes', x: Sequence[float], points: Frame, colour: str, line: str = '-', cap: float = 3) -> None:
    """Intervals as bars, wherever they lie: what is chosen again in every resample may have its point outside of its own."""
    known = [(at, row['low'], row['high']) for at, row in zip(x, points, strict=True) if row['low'] is not None]
    if not known:
        return
    middles, halves = ([(high + sign * low) / 2 for _, low, high in known] for sign in (1, -1))
    places = [at for at, _, _ in known]
    drawn = ax.errorbar(places, middles, yerr=halves, fmt='none', ecolor=colour, capsize=cap, elinewidth=1.2)
    for bar in drawn[2]:
        bar.set_linestyle(line)


def draw_interval(ax: 'Axes', x: Sequence[float], points: Frame, colour: str, as_bars: bool = False) -> None:
    """The interval of accuracy: a band along a curve, a bar at a single point or where curves are many."""
    if len(points) == 1 or as_bars:
        draw_bars(ax, x, points, colour, cap=2 if as_bars else 3)
        return
    low, high = ([row['accuracy'] if row[end] is None else row[end] for row in points] for end in ('low', 'high'))
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def flops_tick(value: float, position: float) -> str:
    """A tick label without digits that say nothing: `50 G`, not `50.0 G`."""
    del position  # matplotlib gives it
    digits, _, prefix = quantity(value).partition(' ')
    return f'{float(digits):g} {prefix}'.strip()


def picture_of(name: str, plot: Plot, frame: Frame, width: float = WIDTH) -> str:
    """A figure as part of a page, for light and dark screens."""
    return page.picture(png(plot, frame, width=width), png(plot, frame, theme='dark', width=width), name.replace('_', ' '))
