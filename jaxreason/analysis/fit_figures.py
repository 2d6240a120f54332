"""Figures of a fit: accuracy against FLOPs, what was chosen by difficulty, gaps to the best fixed strategy, worth of estimates.

Three ways to choose by difficulty are drawn in one colour and told apart by their lines: by the oracle (dashed: it uses the
answers, and is charged nothing, an upper bound), predicted (dotted: charged nothing, as in the paper), and charged (solid: what
a user gets). Fixed strategies have the colours that they have in every other figure.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxreason.analysis.difficulty_figures import TOGETHER, plot_by_difficulty
from jaxreason.analysis.drawing import (
    Frame,
    Look,
    Plot,
    draw_bars,
    draw_interval,
    flops_tick,
    grouped,
    looks,
    percent,
    set_height,
)
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    'oracle': 'oracle (upper bound, uses answers)',
    'predicted': 'predicted, uncharged (the paper)',
    'charged': 'compute-optimal, charged',
    'fixed': 'best fixed strategy',
}
ORACLE = 'an upper bound, uses answers, uncharged'
CHOOSING = ('oracle', 'predicted', 'charged')
MOST_FIXED = 7  # fixed strategies in one figure, the reference among them
MODES = {
    'per_question': 'no question gets more than n solutions',
    'average': 'questions share what the reference spends on n solutions each',
}
_TINT = '#c65aa5'  # of compute-optimal in `drawing`
_LINES = {'oracle': '--', 'predicted': ':', 'charged': '-'}
_MARKS = {'oracle': '^', 'predicted': 's', 'charged': 'o'}
_USUAL = ('greedy', 'majority')
_SHOWN = (4, 16, 64)  # budgets by difficulty, as in the paper's figure 3, right


class Figure(NamedTuple):
    """A figure before it is drawn."""

    name: str
    plot: Plot
    frame: Frame
    about: str  # what stands below it


def fit_figures(metrics: Mapping[str, Any]) -> list[Figure]:
    """Every figure of a fit that has something to show; the mode that the allocation is written for comes first."""
    styles = looks([*fixed_shown(metrics), 'compute_optimal'])  # whose colour no fixed strategy may have
    made = []
    for mode in modes_of(metrics):
        about = f'Budget {mode.replace("_", " ")}: {MODES[mode]}. Oracle: {ORACLE}.'
        plot = functools.partial(plot_accuracy, styles=styles)
        made.append(Figure(f'accuracy_against_flops_{mode}', plot, accuracy_frame(metrics, mode), about))
        made.append(Figure(f'gap_over_fixed_{mode}', plot_gaps, gap_frame(metrics, mode), about))
    told = f'Bins of the oracle, {ORACLE}; the choice was made on these very questions, which favours it.'
    by_difficulty = functools.partial(plot_chosen, styles=styles)
    made.append(Figure('chosen_by_difficulty', by_difficulty, difficulty_frame(metrics), told))
    words = 'Cost: what a look takes by itself; a strategy that goes on with the same samples pays less.'
    made.append(Figure('loss_by_estimate', plot_losses, loss_frame(metrics), words))
    return [figure for figure in made if figure.frame]


def modes_of(metrics: Mapping[str, Any]) -> list[str]:
    """The meanings of a budget, the one that the allocation is written for first: it alone compares the estimates."""
    return sorted(metrics['modes'], key=lambda mode: ('estimates' not in metrics['modes'][mode], mode))


def fixed_shown(metrics: Mapping[str, Any]) -> list[str]:
    """The fixed strategies that are drawn, at most `MOST_FIXED`: the reference, what was chosen from, then others.

    Of each, what everybody compares with comes first, then the most accurate.
    """
    best: dict[str, float] = {}
    for row in metrics['baselines']:
        best[row['strategy']] = max(row['accuracy']['point'], best.get(row['strategy'], 0.0))

    def is_usual(label: str) -> bool:
        return any(word in label.lower() for word in _USUAL)

    def place(label: str) -> tuple:
        is_reference, is_grid = label == metrics['reference']['strategy'], label in metrics['grid']
        return not is_reference, not is_grid, not is_usual(label), -best[label]

    if len(best) > MOST_FIXED:  # those of another verifier say nothing here
        best = {label: most for label, most in best.items() if not all(place(label)[:3])}
    kept = sorted(best, key=place)[:MOST_FIXED]
    return [label for label in best if label in kept]


def accuracy_frame(metrics: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """Accuracy (per cent) and FLOPs a question of what chooses by difficulty and of fixed strategies; where the saving ends."""
    part, reference = metrics['modes'][mode], metrics['reference']
    rows = [
        {'curve': name, 'n': row['n'], 'flops': row['flops'], **percent('accuracy', row['accuracy']), 'saving': ''}
        for name in (*CHOOSING, 'fixed')
        for row in part['curves'].get(name, [])
    ]
    shown = fixed_shown(metrics)
    rows += [
        {
            'curve': f'fixed: {printable(row["strategy"])}',
            'n': row['n'],
            'flops': row['flops'],
            **percent('accuracy', row['accuracy']),
            'saving': '',
        }
        for row in metrics['baselines']
        if row['strategy'] in shown
    ]
    saving = part['saving']['charged']
    ends = [('reference', reference['flops'])]
    if saving['censored'] != 'at_most':  # else it is never reached
        ends.append(('saving', reference['flops'] / saving['point']))
    accuracy = percent('accuracy', reference['accuracy'])
    return rows + [
        {'curve': f'star: {what}', 'n': reference['n'], 'flops': round(flops, 1), **accuracy, 'saving': times(saving)}
        for what, flops in ends
    ]


def plot_accuracy(ax: 'Axes', frame: Frame, styles: Mapping[str, Look]) -> None:
    """Draws accuracy (per cent) against FLOPs a question (log), and an arrow from the reference to where it is equalled.

    Args:
        ax: where to.
        frame: of `accuracy_frame`.
        styles: of the fixed strategies.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    groups = grouped([row for row in frame if not row['curve'].startswith('star: ')], 'curve')
    stars = {row['curve']: row for row in frame if row['curve'].startswith('star: ')}
    ink = ax.xaxis.label.get_color()
    for name in CHOOSING:
        if name in groups:
            points = groups.pop(name)
            x, y = _xy(points)
            ax.plot(x, y, f'{_MARKS[name]}{_LINES[name]}', color=_TINT, label=NAMES[name], zorder=3)
            if name == 'charged':
                draw_interval(ax, x, points, _TINT)
    ax.plot(*_xy(groups.pop('fixed')), '-', color=ink, linewidth=3.6, alpha=0.35, label=NAMES['fixed'], zorder=1.5)
    tints = {printable(label): look for label, look in styles.items()}
    for name, points in groups.items():
        colour, marker, line = tints[name.removeprefix('fixed: ')]
        ax.plot(*_xy(points), f'{marker}{line}', color=colour, linewidth=1, markersize=3.5, label=name.removeprefix('fixed: '))
    _draw_saving(ax, stars['star: reference'], stars.get('star: saving'))
    set_height(ax, 5.6)
    ax.set_xscale('log')
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(flops_tick)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('FLOPs per question (log scale)')
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, None)


def _draw_saving(ax: 'Axes', reference: Mapping[str, Any], reached: Mapping[str, Any] | None) -> None:
    """An arrow from the star of the reference to the FLOPs at which compute-optimal is as accurate, if it ever is."""
    ink, y = ax.xaxis.label.get_color(), reference['accuracy']
    ax.plot([reference['flops']], [y], '*', color=ink, markersize=13, linestyle='', label='reference, to be equalled', zorder=4)
    if reached is not None and reached['flops'] < reference['flops']:
        arrow = {'arrowstyle': '->', 'color': ink, 'linewidth': 1.3, 'shrinkA': 6, 'shrinkB': 0}
        ax.annotate('', (reached['flops'], y), (reference['flops'], y), arrowprops=arrow, zorder=4)
    # Below the curves and to the right, where a rising curve leaves room.
    words = f'saving, charged: {reference["saving"]}'
    ax.annotate(words, (0.98, 0.04), xycoords='axes fraction', ha='right', fontsize=10)


def gap_frame(metrics: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    """Percentage points over the best fixed strategy by budget, and over all budgets."""
    return [
        {'curve': name, 'n': 'all' if row['n'] is None else row['n'], **percent('gap', row)}
        for name in CHOOSING
        for row in metrics['modes'][mode]['gaps'].get(name, {'over_fixed': []})['over_fixed']
    ]


def plot_gaps(ax: 'Axes', frame: Frame) -> None:
    """Draws gaps (percentage points) by budget, intervals as bars; the mean over the budgets stands apart."""
    places = {n: float(index) for index, n in enumerate(dict.fromkeys(row['n'] for row in frame))}
    places['all'] = len(places) - 0.6  # apart from the budgets
    ink, groups = ax.xaxis.label.get_color(), grouped(frame, 'curve')
    for index, (name, points) in enumerate(groups.items()):
        x = [places[row['n']] + 0.16 * (index - (len(groups) - 1) / 2) for row in points]
        y = [row['gap'] for row in points]
        fill = _TINT if name == 'charged' else 'none'
        draw_bars(ax, x, points, _TINT, _LINES[name])
        ax.plot(x, y, _MARKS[name], color=_TINT, mfc=fill, label=NAMES[name])
    ax.axhline(0, color=ink, linewidth=1)
    ax.axvline(places['all'] - 0.7, color=ink, linewidth=0.6, alpha=0.5)
    ax.set_xticks(list(places.values()), [f'n = {n}' if n != 'all' else 'mean of all' for n in places])
    ax.set_ylabel('over the best fixed strategy, points')
    ax.grid(axis='x', visible=False)


def difficulty_frame(metrics: Mapping[str, Any], mode: str = 'per_question') -> list[dict[str, Any]]:
    """Accuracy (per cent) by the oracle's level and budget, of fixed strategies and of what was chosen."""
    generations = {(row['strategy'], row['n']): row['generations'] for row in metrics['baselines']}
    ns = [n for n in metrics['budgets'] if n in _SHOWN] or metrics['budgets'][-3:]
    chosen = [cell['strategy'] for part in metrics['modes'][mode]['bins'] for cell in part['chosen']]
    others = [label for label in fixed_shown(metrics) if label in metrics['grid']]
    shown = list(dict.fromkeys([metrics['reference']['strategy'], *chosen, *others]))[:TOGETHER]
    rows = []
    for part in metrics['modes'][mode]['bins']:
        if not part['num_questions']:
            continue
        known = {(row['strategy'], row['n']): row['accuracy'] for row in part['accuracy']}
        about = {'level': part['level'], 'num_questions': part['num_questions']}
        for (label, n), accuracy in known.items():
            if label in shown and generations[label, n] in ns:
                name = printable(label)
                rows.append(
                    {'strategy': name, 'cell_n': n, **about, 'n': generations[label, n], **percent('accuracy', accuracy)}
                )
        for n, cell in zip(metrics['budgets'], part['chosen'], strict=True):
            if n in ns:
                accuracy = known[cell['strategy'], cell['n']]
                name = f'chosen: {printable(cell["strategy"])}'
                rows.append({'strategy': name, 'cell_n': cell['n'], **about, 'n': n, **percent('accuracy', accuracy)})
    return rows


def plot_chosen(ax: 'Axes', frame: Frame, styles: Mapping[str, Look]) -> None:
    """Draws accuracy by level and budget as `plot_by_difficulty`, and a star for what was chosen.

    Args:
        ax: where to.
        frame: of `difficulty_frame`.
        styles: of the fixed strategies.
    """
    fixed = [row for row in frame if not row['strategy'].startswith('chosen: ')]
    chosen = [{**row, 'strategy': 'chosen'} for row in frame if row['strategy'].startswith('chosen: ')]
    tints = {printable(label): look for label, look in styles.items()}
    others = looks([*(row['strategy'] for row in fixed), 'compute_optimal'])  # chosen somewhere, and not drawn elsewhere
    plot_by_difficulty(ax, [*fixed, *chosen], {**others, **tints, 'chosen': Look(_TINT, '*', '')})
    set_height(ax, 5.2)


def loss_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each estimate loses against the oracle's bins (percentage points, mean of the budgets) and what a look costs."""
    part = metrics['modes'][modes_of(metrics)[0]]
    return [
        {'estimate': printable(name), 'flops': metrics['looks'][name]['flops'], **percent('loss', row['loss'])}
        for name, rows in part.get('estimates', {}).items()
        for row in rows
        if row['n'] is None
    ]


def plot_losses(ax: 'Axes', frame: Frame) -> None:
    """Draws the loss (points) of each estimate against its cost (FLOPs a question, log where all cost something)."""
    from matplotlib.ticker import LogLocator, NullLocator

    points = sorted(frame, key=lambda row: row['flops'])
    tints = looks(row['estimate'] for row in points)
    if points[0]['flops'] > 0:
        ax.set_xscale('log')
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(points[0]['flops'] / 2, 2 * points[-1]['flops'])
    for index, row in enumerate(points):
        colour, marker, _ = tints[row['estimate']]
        # Estimates from equally many samples cost nearly the same.
        x = row['flops'] * math.exp(0.02 * index)
        draw_bars(ax, [x], [row], colour)
        ax.plot([x], [row['loss']], marker, color=colour, label=_told(row))
    ax.axhline(0, color=ax.xaxis.label.get_color(), linewidth=1)
    ax.xaxis.set_major_formatter(flops_tick)
    ax.set_xlabel('FLOPs of a look at a question')
    ax.set_ylabel("lost against the oracle's bins, points")


def _told(row: Mapping[str, Any]) -> str:
    return f'{row["estimate"]}: {quantity(row["flops"], "FLOPs")}'


def times(value: Mapping[str, Any]) -> str:
    """A saving with its interval; a bound says so."""
    words = {'at_least': '≥', 'at_most': '≤', '': ''}
    point = f'{words[value["censored"]]}{value["point"]:.1f}x'
    low, high = (f'{words[value[f"{end}_censored"]]}{value[end]:.1f}' for end in ('low', 'high'))
    return f'{point} [{low}, {high}]'


def _xy(points: Frame) -> tuple[Sequence[float], Sequence[float]]:
    ordered = sorted(points, key=lambda row: row['flops'])
    return [row['flops'] for row in ordered], [row['accuracy'] for row in ordered]
