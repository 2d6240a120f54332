"""The figures of the page about the paper that tell of searches, narrow enough for a phone; greedy and best fixed in each."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxreason.analysis.contrasts import Cell
from jaxreason.analysis.drawing import Frame, Look, Plot, apart, flops_tick, grouped, looks, percent, set_height
from jaxreason.analysis.paper_config import SearchLabels
from jaxreason.analysis.paper_inputs import Part
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 4.4  # inches; of the page's column on a phone, which makes 10 points 11 pixels high
GREEDY, FIXED = 'greedy', 'best fixed strategy'
_CHOSEN = {'oracle': 'oracle (upper bound)', 'predicted': 'predicted, uncharged', 'charged': 'charged'}
_ORM = '#77b82a'  # far from the colour of best-of-N, beside which it stands
COMPUTE_OPTIMAL = '#c65aa5'  # of compute-optimal in `drawing`
_STYLES = {
    'oracle': Look(COMPUTE_OPTIMAL, '^', '--'),
    'predicted': Look(COMPUTE_OPTIMAL, 's', ':'),
    'charged': Look(COMPUTE_OPTIMAL, 'o', '-'),
}
_SHOWN = (4, 16, 64, 256)  # n within a bin, as in the paper's figure 3
_ROOM = 0.36  # of a bin to each side of its middle, over which its n spread
_BAND: dict[str, Any] = {'linewidth': 5.0, 'alpha': 0.3, 'zorder': 1.5}


class PaperFigure(NamedTuple):
    """A figure before it is drawn."""

    name: str
    title: str
    plot: Plot
    frame: Frame


Styles = Mapping[str, Look]


def styles_of(part: Part, orm: str = '') -> dict[str, Look]:
    """How the strategies of a run are drawn, alike in every figure, by their labels as they are printed.

    Args:
        part: the run.
        orm: label of best-of-N by the ORM, which gets a colour of its own; empty for none.
    """
    styles = looks([*part.answers.labels, 'compute_optimal'])
    if orm in styles:
        styles[orm] = styles[orm]._replace(colour=_ORM)
    return {printable(label): look for label, look in styles.items()}


# Accuracy against what is spent.


def search_figures(part: Part, labels: SearchLabels) -> list[PaperFigure]:
    """Every method against solutions and against FLOPs."""
    shown = (labels.majority, labels.best_of_n, labels.beam, labels.lookahead)
    frame = [*_curves(part, shown), *_fixed_curve(part), *_greedy_line(part)]
    plot = functools.partial(plot_curves, styles=styles_of(part, labels.orm))
    return [
        PaperFigure('search_by_generations', 'Accuracy by solutions begun', plot, frame),
        PaperFigure('search_by_flops', 'The same by FLOPs, the verifier charged', functools.partial(plot, x='flops'), frame),
    ]


def verifier_figures(part: Part, labels: SearchLabels) -> list[PaperFigure]:
    """Best-of-N by the PRM and by the ORM, and the gap between them."""
    if not part.answers.ns(labels.best_of_n, labels.orm):
        return []
    frame = [*_curves(part, (labels.best_of_n, labels.orm, labels.majority)), *_fixed_curve(part), *_greedy_line(part)]
    plot = functools.partial(plot_curves, styles=styles_of(part, labels.orm))
    gaps = _gaps(part, labels.best_of_n, {'PRM over ORM': labels.orm})
    tints = {'PRM over ORM': styles_of(part, labels.orm)[printable(labels.best_of_n)]}
    return [
        PaperFigure('verifiers_by_n', 'Accuracy by verifier', plot, frame),
        PaperFigure('verifier_gap_by_n', 'PRM over ORM', functools.partial(plot_gaps, styles=tints), gaps),
    ]


def aggregation_figures(part: Part, labels: SearchLabels) -> list[PaperFigure]:
    """The ways in which scores of steps become an answer, and what each is behind the last step's score."""
    styles, last = styles_of(part, labels.orm), labels.best_of_n
    names = {f'last over {name}': label for name, label in labels.aggregations.items()} | {
        'weighted over single': labels.single
    }
    names = {name: label for name, label in names.items() if part.answers.ns(last, label)}
    frame = [*_curves(part, (last, *names.values())), *_fixed_curve(part), *_greedy_line(part)]
    gaps = _gaps(part, last, names)
    tints = {name: styles[printable(label)] for name, label in names.items()}
    made = [PaperFigure('aggregations_by_n', 'Accuracy by aggregation', functools.partial(plot_curves, styles=styles), frame)]
    if gaps:
        plot = functools.partial(plot_gaps, styles=tints)
        made.append(PaperFigure('aggregation_gaps_by_n', 'Differences to the last score', plot, gaps))
    return made


def compute_optimal_figures(part: Part, name: str) -> list[PaperFigure]:
    """What chooses by difficulty against FLOPs, with best-of-N and the accuracy to be equalled."""
    metrics, reference = part.fit.metrics, part.fit.metrics['reference']
    frame = [
        _row('curve', _CHOSEN[curve], row, row['n'], row['flops'])
        for curve in _CHOSEN
        for row in part.mode['curves'].get(curve, [])
    ]
    label = printable(reference['strategy'])
    frame += [
        _row('curve', label, row, row['generations'], row['flops'])
        for row in metrics['baselines']
        if row['strategy'] == reference['strategy']
    ]
    frame += [*_fixed_curve(part), *_greedy_line(part)]
    frame.append(_row('goal', f'to equal: n = {reference["n"]}', reference, reference['n'], reference['flops']))
    look = looks([reference['strategy'], 'compute_optimal'])[reference['strategy']]  # whose colours are never one
    known = {label: look, **{words: _STYLES[curve] for curve, words in _CHOSEN.items()}}
    plot = functools.partial(plot_curves, styles=known, x='flops')
    return [PaperFigure(name, 'Accuracy by FLOPs per question', plot, frame)]


def _curves(part: Part, shown: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for row in part.metrics['rows']:
        if row['strategy'] in shown and not row['budget']:
            cell = Cell(row['strategy'], row['n'])
            rows.append(_row('curve', printable(cell.strategy), row, part.generations(cell), row['flops']['total'], cell.n))
    order = {printable(label): place for place, label in enumerate(shown)}
    return sorted(rows, key=lambda row: (order[row['curve']], row['generations']))


def _fixed_curve(part: Part) -> list[dict[str, Any]]:
    """The best fixed strategy of each budget, as the fit has it: chosen on other questions."""
    return [_row('fixed', FIXED, row, row['n'], row['flops']) for row in part.mode['curves']['fixed']]


def _greedy_line(part: Part) -> list[dict[str, Any]]:
    rows = [row for row in part.metrics['rows'] if part.greedy == (row['strategy'], row['n']) and not row['budget']]
    return [_row('line', GREEDY, row, 1, row['flops']['total']) for row in rows[:1]]


def _row(
    drawn: str, curve: str, row: Mapping[str, Any], generations: int, flops: float, n: int | None = None
) -> dict[str, Any]:
    return {
        'drawn': drawn,
        'curve': curve,
        'n': generations if n is None else n,
        'generations': generations,
        'flops': flops,
        **percent('accuracy', row['accuracy']),
    }


def plot_curves(ax: 'Axes', frame: Frame, styles: Styles, x: str = 'generations') -> None:
    """Draws accuracy (per cent) against solutions or FLOPs (log), intervals as bars; greedy as a level line.

    Args:
        ax: where to.
        frame: rows of `drawn` (curve, fixed, line, goal), `curve`, `generations`, `flops` and `accuracy`.
        styles: of the curves.
        x: column to draw against.
    """
    ink = ax.xaxis.label.get_color()
    curves = _by_curve(frame, 'curve')
    for index, (name, found) in enumerate(curves.items()):
        colour, marker, line = styles[name]
        points = sorted(found, key=lambda row: row[x])
        nudge = 2 ** (min(0.1, 0.4 / len(curves)) * (index - (len(curves) - 1) / 2)) if x == 'generations' else 1.0
        at = [nudge * row[x] for row in points]
        ax.plot(at, [row['accuracy'] for row in points], f'{marker}{line}', color=colour, label=name)
        _draw_ends(ax, at, points, colour)
    for name, points in _by_curve(frame, 'fixed').items():
        ax.plot([row[x] for row in points], [row['accuracy'] for row in points], '-', color=ink, label=name, **_BAND)
    for name, points in _by_curve(frame, 'line').items():
        level_line(ax, name, points[0]['accuracy'])
    for name, points in _by_curve(frame, 'goal').items():
        ax.plot([points[0][x]], [points[0]['accuracy']], '*', color=ink, markersize=12, label=name, zorder=4)
        ax.axhline(points[0]['accuracy'], color=ink, linewidth=0.8, linestyle=':')
    if x == 'flops':
        _flops_axis(ax)
    else:
        _n_axis(ax, sorted({row[x] for row in frame}))
    ax.set_ylabel('accuracy, %')


def _draw_ends(ax: 'Axes', at: Sequence[float], points: Frame, colour: str) -> None:
    """Intervals as faint bars, so that many of them do not hide the curves."""
    known = [(place, row['low'], row['high']) for place, row in zip(at, points, strict=True) if row['low'] is not None]
    if known:
        places, low, high = zip(*known, strict=True)
        ax.vlines(places, low, high, colors=colour, linewidth=1.6, alpha=0.45)


def _by_curve(frame: Frame, drawn: str) -> dict[str, list[Mapping[str, Any]]]:
    return grouped([row for row in frame if row['drawn'] == drawn], 'curve')


def level_line(ax: 'Axes', name: str, accuracy: float) -> None:
    """Draws greedy, or the best fixed strategy, as a line at its accuracy (per cent)."""
    colour = '#7d8590' if name == GREEDY else ax.xaxis.label.get_color()
    line = '-.' if name == GREEDY else '-'
    ax.axhline(accuracy, color=colour, linestyle=line, label=name, **({'linewidth': 1.4} if name == GREEDY else _BAND))


def _flops_axis(ax: 'Axes') -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_xscale('log')
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(flops_tick)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('FLOPs per question (log scale)')


def _n_axis(ax: 'Axes', ns: Sequence[int]) -> None:
    from matplotlib.ticker import NullLocator, ScalarFormatter

    ax.set_xscale('log', base=2)
    ax.set_xticks(apart([n for n in ns if len(ns) <= 9 or n & (n - 1) == 0]))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('solutions begun per question (log scale)')


# Differences by n.


def _gaps(part: Part, label: str, others: Mapping[str, str]) -> list[dict[str, Any]]:
    """How far a strategy is ahead of others at every n, in points; n = 1 is left out, where all are the same sample."""
    return [
        {'curve': name, 'n': n, **percent('gap', gap)}
        for name, other in others.items()
        for n in part.answers.ns(label, other)
        if n > 1 and (gap := part.answers.difference(Cell(label, n), Cell(other, n))) is not None
    ]


def plot_gaps(ax: 'Axes', frame: Frame, styles: Styles) -> None:
    """Draws differences (percentage points) against n (log), intervals as bars."""
    groups = grouped(frame, 'curve')
    for index, (name, points) in enumerate(groups.items()):
        colour, marker, line = styles[name]
        at = [row['n'] * 2 ** (0.14 * (index - (len(groups) - 1) / 2)) for row in points]
        _draw_ends(ax, at, points, colour)
        ax.plot(at, [row['gap'] for row in points], f'{marker}{line}', color=colour, label=name, linewidth=1.2)
    ax.axhline(0, color=ax.xaxis.label.get_color(), linewidth=1)
    _n_axis(ax, sorted({row['n'] for row in frame}))
    ax.set_xlabel('n, solutions per question (log scale)')
    ax.set_ylabel('ahead, percentage points')
    set_height(ax, 3.6)


# Within bins of difficulty.


def bin_figures(part: Part, labels: SearchLabels) -> list[PaperFigure]:
    """Beam search and best-of-N in every bin of the oracle."""
    styles = styles_of(part, labels.orm)
    ns = part.answers.ns(labels.best_of_n)
    ns = [n for n in ns if n in _SHOWN] or ns[-3:]
    frame = []
    for level in range(1, part.oracle.num_levels + 1):
        inside = part.oracle.questions(level)
        for name, cells in _cells_in_bins(part, (labels.best_of_n, labels.beam), ns):
            for n, cell in cells:
                value = part.answers.accuracy(cell, inside)
                if value is not None:
                    told = {
                        'level': level,
                        'num_questions': len(inside),
                        'curve': name,
                        'n': n,
                        'cell': printable(cell.strategy),
                    }
                    frame.append({**told, **percent('accuracy', value)})
    plot = functools.partial(plot_bins, styles=styles)
    return [PaperFigure('search_by_difficulty', "Accuracy within the oracle's bins", plot, frame)]


def _cells_in_bins(part: Part, labels: Sequence[str], ns: Sequence[int]) -> list[tuple[str, list[tuple[int, Cell]]]]:
    """What is drawn in each bin: by name the n to draw at, and the cell."""
    made = [(printable(label), [(n, Cell(label, n)) for n in part.answers.ns(label) if n in ns]) for label in labels]
    fixed = [(n, cell) for n in ns if (cell := part.best_fixed(n)) is not None]
    made.append((FIXED, fixed))
    if part.greedy is not None:
        made.append((GREEDY, [(n, part.greedy) for n in ns]))
    return made


def plot_bins(ax: 'Axes', frame: Frame, styles: Styles) -> None:
    """Draws accuracy (per cent) in each bin, from the easiest to the hardest, within a bin against n (log)."""
    ink, ns = ax.xaxis.label.get_color(), sorted({row['n'] for row in frame})
    levels = sorted({row['level'] for row in frame})

    def place(n: int) -> float:
        if ns[0] == ns[-1]:
            return 0.0
        return _ROOM * (2 * math.log(n / ns[0]) / math.log(ns[-1] / ns[0]) - 1)

    for index, (name, rows) in enumerate(grouped(frame, 'curve').items()):
        for level in levels:
            points = [row for row in rows if row['level'] == level]
            y = [row['accuracy'] for row in points]
            label = name if level == levels[0] else None
            if name == GREEDY:
                ax.plot([level - 0.42, level + 0.42], [y[0], y[0]], '-.', color='#7d8590', linewidth=1.4, label=label)
            elif name == FIXED:
                ax.plot([level + place(row['n']) for row in points], y, '-', color=ink, label=label, **_BAND)
            else:
                colour, marker, line = styles[name]
                at = [level + place(row['n']) + 0.05 * (2 * index - 1) for row in points]
                ax.plot(at, y, f'{marker}{line}', color=colour, label=label, linewidth=1.4)
                _draw_ends(ax, at, points, colour)
    sizes = {row['level']: row['num_questions'] for row in frame}
    ax.set_xticks([level + place(n) for level in levels for n in ns], [str(n) for _ in levels for n in ns], minor=True)
    ax.xaxis.remove_overlapping_locs = False  # the middle n lies where the level does
    ax.set_xticks(levels, [f'\nlevel {level}\n({sizes[level]})' for level in levels])
    ax.tick_params(axis='x', which='minor', labelsize=7.5, length=0)
    ax.tick_params(axis='x', which='major', length=0)
    for level in levels[1:]:
        ax.axvline(level - 0.5, color=ink, linewidth=0.6, alpha=0.5)
    ax.grid(axis='x', visible=False)
    ax.set_xlim(levels[0] - 0.5, levels[-1] + 0.5)
    ax.set_xlabel('n, level (1: easiest), its questions')
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, 103)
