"""Figures from metrics alone: accuracy against n and FLOPs, gain against n, cost by phase, and the health of verifiers.

A frame is a list of flat rows; `plot_*` draws one on an axis, `drawing.save` writes the PNG and, beside it, the CSV of exactly
what was plotted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxreason.analysis.difficulty_figures import difficulty_figures
from jaxreason.analysis.drawing import (
    INTERVALS_AS_BANDS,
    Frame,
    Look,
    Plot,
    bars,
    colours,
    draw_interval,
    flops_tick,
    grouped,
    looks,
    n_axis,
    percent,
    picture_of,
    save,
    set_height,
)
from jaxreason.analysis.revision_figures import revision_figures
from jaxreason.analysis.rows import PHASES
from jaxreason.analysis.tables import label as label_of
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COVERAGE = 'pass@k'  # the label of what bounds every choice among independent samples; a tree search may reach more

_PHASE_COLOURS = dict(zip(PHASES, ('#7d8590', '#3b82c4', '#e07b1a', '#8f6fd6'), strict=True))


def accuracy_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy and its interval by n and FLOPs per question, and pass@k of the independent pools, which bounds votes."""
    frame = [
        {'strategy': label_of(row), 'n': row['n'], 'flops': row['flops']['total'], **percent('accuracy', row['accuracy'])}
        for row in metrics['rows']
    ]
    for pool in metrics['pools']:
        frame += [
            {'strategy': COVERAGE, 'n': point['k'], 'flops': point['flops'], **percent('accuracy', point)}
            for point in pool['pass_at']
        ]
    return frame


def gain_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gain over the baseline, in percentage points, against n; empty without a baseline."""
    return [
        {'strategy': label_of(row), 'n': row['n'], 'baseline': row['gain']['baseline'], **percent('gain', row['gain'])}
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
            **percent('share', part['share']),
        }
        for part in bins
    ]


def proxy_frame(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best-of-n on the same samples, in per cent: what the verifier expects of its choice, and what the choice is worth."""
    return [
        {
            'verifier': printable(name),
            'n': row['n'],
            **percent('accuracy', row['naive']),
            'weighted': round(100 * row['weighted']['point'], 4),
            'majority': round(100 * row['majority']['point'], 4),
            # Scores that are no chances have no place on this axis.
            'own_score': None if row['accepted'] is None else round(100 * row['chosen_score']['point'], 4),
        }
        for name, health in metrics['verifiers'].items()
        for row in health['best_of_n']
    ]


def plot_accuracy_against_flops(ax: 'Axes', frame: Frame) -> None:
    """Draws accuracy (per cent) against FLOPs per question (log), with intervals, pass@k dashed."""
    from matplotlib.ticker import LogLocator, NullLocator

    _draw_accuracy(ax, frame, 'flops')
    ax.set_xscale('log')
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(flops_tick)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('FLOPs per question (log scale)')


def plot_accuracy_against_n(ax: 'Axes', frame: Frame) -> None:
    """Draws accuracy (per cent) against n in generations (log), with intervals, pass@k dashed."""
    _draw_accuracy(ax, frame, 'n')
    n_axis(ax, frame)


def _draw_accuracy(ax: 'Axes', frame: Frame, column: str) -> None:
    """A curve for every strategy, however it came to its several n."""
    groups = grouped(frame)
    bound = groups.pop(COVERAGE, [])
    styles = looks(groups)
    is_crowded = len(groups) > INTERVALS_AS_BANDS
    for index, (label, rows) in enumerate(groups.items()):
        points = sorted(rows, key=lambda row: row[column])
        # Side by side where the same n meet, so that no bar hides another.
        nudge = _nudge(index, len(groups)) if is_crowded and column == 'n' else 1.0
        _draw_curve(ax, [row[column] * nudge for row in points], points, label, styles[label], is_crowded)
    if bound:
        quiet = ax.xaxis.label.get_color()
        x, y = [row[column] for row in bound], [row['accuracy'] for row in bound]
        ax.plot(x, y, '--', color=quiet, linewidth=1.2, label='pass@k of the samples', zorder=1.5)
        ax.annotate(f'k={bound[-1]["n"]}', (x[-1], y[-1]), (5, -4), textcoords='offset points', fontsize=8, color=quiet)
    if is_crowded:
        set_height(ax, 6.0)
    ax.set_ylabel('accuracy, %')
    ax.set_ylim(0, None)
    ax.margins(x=0.08)


def _draw_curve(ax: 'Axes', x: Sequence[float], points: Frame, label: str, look: Look, is_crowded: bool) -> None:
    y = [row['accuracy'] for row in points]
    if len(points) == 1:
        ax.plot(x, y, look.marker, color=look.colour, label=f'{label} (n={points[0]["n"]})')
    else:
        ax.plot(x, y, f'{look.marker}{look.line}', color=look.colour, label=label, linewidth=1.2 if is_crowded else None)
    draw_interval(ax, x, points, look.colour, as_bars=is_crowded)
    if not is_crowded and len(points) > 1:
        words = f'n={points[-1]["n"]}'
        ax.annotate(words, (x[-1], y[-1]), (5, -11), textcoords='offset points', fontsize=8, color=look.colour)


def plot_gain_against_n(ax: 'Axes', frame: Frame) -> None:
    """Draws the gain over the baseline (percentage points) against n (log), intervals as bars."""
    groups = grouped(frame)
    # The baseline has no curve here, but its look is taken: a strategy keeps the one that it has beside it.
    styles = looks([*groups, *(row['baseline'] for row in frame)])
    for index, (label, rows) in enumerate(groups.items()):
        points = sorted(rows, key=lambda row: row['n'])
        x, y = [row['n'] * _nudge(index, len(groups)) for row in points], [row['gain'] for row in points]
        colour, marker, line = styles[label]
        ax.errorbar(
            x, y, yerr=bars('gain', points), fmt=f'{marker}{line}', color=colour, capsize=3, elinewidth=1.2, label=label
        )
    ax.axhline(0, color=ax.xaxis.label.get_color(), linewidth=1)
    n_axis(ax, frame)
    ax.set_ylabel(f'gain over {frame[0]["baseline"]}, percentage points' if frame else 'gain, percentage points')


def _nudge(index: int, count: int) -> float:
    """A factor that sets curves side by side on a logarithmic axis, all of them within a third of the way to the next n."""
    return 2 ** (min(0.08, 0.36 / count) * (index - (count - 1) / 2))


def plot_cost_by_phase(ax: 'Axes', frame: Frame) -> None:
    """Draws FLOPs per question as bars stacked by phase, one bar a strategy."""
    set_height(ax, 1.6 + 0.42 * len(frame))
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
    ax.xaxis.set_major_formatter(flops_tick)
    ax.set_xlabel('FLOPs per question')
    ax.margins(x=0.12)
    ax.grid(axis='y', visible=False)


def plot_reliability(ax: 'Axes', frame: Frame) -> None:
    """Draws the share of right solutions against the mean last score (per cent), one line a verifier, intervals as bars."""
    ax.plot([0, 100], [0, 100], '--', color=ax.xaxis.label.get_color(), linewidth=1, label='a score that means what it says')
    groups = grouped(frame, 'verifier')
    for name, tint in colours(groups).items():
        points = groups[name]
        x, y = [row['score'] for row in points], [row['share'] for row in points]
        ax.errorbar(x, y, yerr=bars('share', points), fmt='o-', color=tint, capsize=3, elinewidth=1.2, label=name)
    ax.set_xlabel('last score, % (mean of each tenth of the scale)')
    ax.set_ylabel('right solutions, %')
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)


def plot_proxy_against_gold(ax: 'Axes', frame: Frame) -> None:
    """Draws best-of-n against n (log): accuracy and the verifier's own score of the same choice, one colour a verifier."""
    quiet = ax.xaxis.label.get_color()
    groups = grouped(frame, 'verifier')
    tints = colours([*groups, 'majority'])
    for name, points in groups.items():
        x, expected = [row['n'] for row in points], [row['own_score'] for row in points]
        ax.plot(x, [row['accuracy'] for row in points], 'o-', color=tints[name], label=name)
        draw_interval(ax, x, points, tints[name])
        ax.plot(x, [row['weighted'] for row in points], ':', color=tints[name])
        if None not in expected:
            ax.plot(x, expected, '--', color=tints[name])
    longest = max(groups.values(), key=len)
    ax.plot([row['n'] for row in longest], [row['majority'] for row in longest], '-', color=tints['majority'], label='majority')
    styles = (('-', 'right: single best solution'), (':', 'right: weighted vote'), ('--', "verifier's score of the best"))
    for style, words in styles:
        ax.plot([], [], style, color=quiet, label=words)
    n_axis(ax, frame)
    ax.set_ylabel('right answers or mean score, %')
    ax.set_ylim(0, 100)


# Every figure of a run: file name, how it is drawn, what it draws.
FIGURES: tuple[tuple[str, Plot, Callable[[Mapping[str, Any]], list[dict[str, Any]]]], ...] = (
    ('accuracy_against_n', plot_accuracy_against_n, accuracy_frame),
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
    frames: list[tuple[str, Plot, Frame]] = [
        *((name, plot, frame_of(metrics)) for name, plot, frame_of in (*FIGURES, *HEALTH_FIGURES)),
        *difficulty_figures(metrics),
        *revision_figures(metrics),
    ]
    return [save(name, plot, frame, caption, folder) for name, plot, frame in frames if frame]


def pictures(figures: Sequence[tuple[str, Plot, Callable]], metrics: Mapping[str, Any]) -> list[str]:
    """Figures as parts of a page; those that have nothing to show are left out."""
    frames = [(name, plot, frame_of(metrics)) for name, plot, frame_of in figures]
    return [picture_of(name, plot, frame) for name, plot, frame in frames if frame]
