"""Figures of revisions: along a chain, and sequential against parallel attempts at equal n, as the paper's figures 6 and 7."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxreason.analysis.drawing import INTERVALS_AS_BANDS, Frame, Plot, bars, colours, draw_interval, grouped, n_axis, percent
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POOLS = 5  # in one figure: those with the longest chains
_MARKERS = 'os^Dv<>pPX*hd'
_FLIPS = {
    'lost': ('#d1495b', 'right, then not'),
    'won': ('#2f9e6e', 'not right, then right'),
    'repeated': ('#7d8590', 'same answer'),
}
_SCALE = ('#3b82c4', '#2f9e6e', '#c9a227', '#d1495b')  # middle tones, which a light and a dark page show
_MOST_TICKS = 9
_MOST_POSITIONS = 16  # with a tick


def revision_figures(metrics: Mapping[str, Any]) -> list[tuple[str, Plot, Frame]]:
    """Name, drawing and frame of each figure; none where nothing was revised."""
    found = metrics.get('revisions')
    if found is None:
        return []
    made: list[tuple[str, Plot, Frame]] = [
        ('pass_at_1_along_the_chain', plot_along_the_chain, chain_frame(found)),
        ('flips_along_the_chain', plot_flips, flip_frame(found)),
        ('pass_at_1_by_difficulty', functools.partial(plot_along_the_chain, column='level'), level_frame(found)),
        ('sequential_against_parallel', plot_sequential_against_parallel, sequential_frame(found)),
    ]
    for number, group in enumerate(found['ratios'], start=1):
        part = '' if len(found['ratios']) == 1 else f'_{number}'
        made += [
            (f'ratio{part}', plot_ratio, ratio_frame(group)),
            (f'ratio_by_difficulty{part}', functools.partial(plot_ratio, column='level'), ratio_level_frame(group)),
        ]
    return [(name, plot, frame) for name, plot, frame in made if frame]


def kind_of(group: Mapping[str, Any]) -> str:
    """What the strategies of a group share, in words."""
    judge = f', {group["verifier"] or "verifier"} ({group["agg_strategy"]})' if group['agg_strategy'] else ''
    limits = ''.join(f', {name}≤{quantity(limit)}' for name, limit in sorted(group['budget'].items()))
    return printable(f'{group["vote"]}{judge}, {shown(group["context"])}{limits}')


def _drawn(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    longest = sorted(found['chains'], key=lambda chains: -chains['length'])[:MAX_POOLS]
    return [chains for chains in found['chains'] if chains in longest]


def shown(context: int | None) -> str:
    """How many attempts a revision sees, in words."""
    return 'shown an unknown number of attempts' if context is None else f'shown up to {context} attempt{"s" * (context > 1)}'


def _name(chains: Mapping[str, Any]) -> str:
    return printable(f'{chains["pool"]}: {shown(chains["context"])}')


def chain_frame(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pass@1 in per cent by position, and that of first attempts, one line a pool of chains."""
    return [row for chains in _drawn(found) for row in _positions(_name(chains), chains['positions'])]


def level_frame(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same by level of difficulty, at some positions of the longest chains; empty where levels are not known."""
    longest: Mapping[str, Any] = max(found['chains'], key=lambda each: each['length'], default={'by_difficulty': []})
    return [
        {'level': part['level'], 'num_questions': part['num_questions'], **row}
        for part in longest['by_difficulty']
        for row in _positions(_name(longest), told_positions(part['positions']))
    ]


def told_positions(positions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The positions of a chain, of a long one some: the first, powers of two and half-way between them, the last."""
    if len(positions) <= _MOST_POSITIONS:
        return list(positions)
    kept = {*range(1, 9), *(2**power for power in range(20)), *(3 * 2**power for power in range(20)), len(positions)}
    return [row for row in positions if row['position'] in kept]


def _positions(name: str, positions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            'chains': name,
            'position': row['position'],
            'beyond_context': row['beyond_context'],
            'num_chains': row['num_chains'],
            **percent('accuracy', row['pass_at_1']),
            'control': round(100 * positions[0]['pass_at_1']['point'], 4),
        }
        for row in positions
    ]


def flip_frame(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a revision does to the attempt before it, in per cent, by position; of the pool with the longest chains."""
    longest: Mapping[str, Any] = max(found['chains'], key=lambda each: each['length'], default={'positions': []})
    return [
        {
            'what': what,
            'position': row['position'],
            'num_questions': row[what]['num_questions'],
            **percent('share', row[what]),
            'control': None if longest['control'][what] is None else round(100 * longest['control'][what]['point'], 4),
        }
        for what in _FLIPS
        for row in longest['positions']
        if row[what] is not None
    ]


def ratio_frame(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy in per cent by n and ratio, where an n has several."""
    several = {best['n'] for best in group['best']}
    return [_ratio_row(group, row) for row in group['rows'] if row['n'] in several]


def ratio_level_frame(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same by level of difficulty, at the largest n that has several."""
    largest = max((best['n'] for best in group['best']), default=None)
    return [
        {'level': part['level'], 'num_questions': part['num_questions'], **_ratio_row(group, row)}
        for part in group['by_difficulty']
        for row in part['rows']
        if row['n'] == largest
    ]


def _ratio_row(group: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'group': kind_of(group),
        **{name: row[name] for name in ('n', 'ratio', 'length', 'chains')},
        **percent('accuracy', row['accuracy']),
    }


def sequential_frame(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy in per cent by n of one chain and of first attempts alone, by group; of groups that have both."""
    frame = []
    for group in found['ratios']:
        sides = {
            'sequential': [row for row in group['rows'] if row['chains'] == 1],
            'parallel': [row for row in group['rows'] if row['length'] == 1],
        }
        if all(any(row['n'] > 1 for row in rows) for rows in sides.values()):
            frame += [{'side': side, **_ratio_row(group, row)} for side, rows in sides.items() for row in rows]
    return frame


def plot_along_the_chain(ax: 'Axes', frame: Frame, column: str = 'chains') -> None:
    """Draws pass@1 (per cent) by position, with intervals; dotted where earlier attempts are no longer all shown.

    Args:
        ax: where to.
        frame: of `chain_frame` or `level_frame`.
        column: what tells the lines apart.
    """
    groups = grouped(frame, column)
    tints = _tints(groups, column)
    is_crowded = len(groups) > (2 if column == 'level' else INTERVALS_AS_BANDS)
    for name, rows in groups.items():
        points = sorted(rows, key=lambda row: row['position'])
        inside = [row for row in points if not row['beyond_context']]
        beyond = [inside[-1], *points[len(inside) :]]
        for part, line in ((inside, '-'), (beyond, ':')):
            x, y = [row['position'] for row in part], [row['accuracy'] for row in part]
            size = 4.0 if len(points) <= 40 else 0.0
            label = _line_name(name, column, points[0]) if line == '-' else None
            ax.plot(x, y, line, marker='o', markersize=size, color=tints[name], label=label)
        draw_interval(ax, [row['position'] for row in points], points, tints[name], as_bars=is_crowded)
        ax.axhline(points[0]['control'], color=tints[name], linewidth=1, linestyle='--', alpha=0.8)
    quiet = ax.xaxis.label.get_color()
    ax.plot([], [], '--', color=quiet, linewidth=1, label='first attempts: the same model in parallel')
    if any(row['beyond_context'] for row in frame):
        ax.plot([], [], ':', color=quiet, label='earlier attempts not all shown')
    _position_axis(ax, frame)
    ax.set_ylabel('pass@1, %')


def _line_name(name: Any, column: str, row: Mapping[str, Any]) -> str:
    return str(name) if column == 'chains' else f'level {name} ({row["num_questions"]} questions)'


def plot_flips(ax: 'Axes', frame: Frame) -> None:
    """Draws what a revision does to the attempt before it (per cent) by position, with intervals."""
    for what, rows in grouped(frame, 'what').items():
        colour, words = _FLIPS[what]
        points = sorted(rows, key=lambda row: row['position'])
        x, y = [row['position'] for row in points], [row['share'] for row in points]
        below, above = bars('share', points)
        ax.plot(x, y, 'o-', color=colour, label=words, markersize=4.0 if len(points) <= 40 else 0.0)
        low = [value - bar for value, bar in zip(y, below, strict=True)]
        high = [value + bar for value, bar in zip(y, above, strict=True)]
        if len(points) > 1:
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        else:
            ax.errorbar(x, y, yerr=[below, above], fmt='none', ecolor=colour, capsize=3, elinewidth=1)
        if points[0]['control'] is not None:
            ax.axhline(points[0]['control'], color=colour, linewidth=1, linestyle='--', alpha=0.8)
    ax.plot([], [], '--', color=ax.xaxis.label.get_color(), linewidth=1, label='a first attempt after another')
    _position_axis(ax, frame)
    ax.set_xlabel('position of the revision in its chain')
    ax.set_ylabel('share of such attempts before it, %')
    ax.set_ylim(0, None)


def _position_axis(ax: 'Axes', frame: Frame) -> None:
    """A tick at each position, or at some of them where these are many, the first among them."""
    longest = max(row['position'] for row in frame)
    step = next(step for step in (1, 2, 5, 10, 20, 50, longest) if longest <= _MOST_POSITIONS * step)
    ax.set_xticks(sorted({1, *range(step, longest + 1, step)}))
    ax.set_xlabel('position in the chain')


def plot_ratio(ax: 'Axes', frame: Frame, column: str = 'n') -> None:
    """Draws accuracy (per cent) against the ratio of a chain's length to the number of chains (log), intervals as bars.

    Args:
        ax: where to.
        frame: of `ratio_frame` or `ratio_level_frame`.
        column: what tells the lines apart: `n`, or `level` at one n.
    """
    groups = grouped(frame, column)
    tints = _tints(groups, column)
    for index, (name, rows) in enumerate(groups.items()):
        points = sorted(rows, key=lambda row: row['length'] / row['chains'])
        nudge = 2 ** (min(0.12, 0.5 / len(groups)) * (index - (len(groups) - 1) / 2))
        x = [nudge * row['length'] / row['chains'] for row in points]
        label = f'n = {name}' if column == 'n' else _line_name(name, column, points[0])
        ax.errorbar(
            x,
            [row['accuracy'] for row in points],
            yerr=bars('accuracy', points),
            fmt=f'{_MARKERS[index % len(_MARKERS)]}-',
            color=tints[name],
            linewidth=1.4,
            capsize=2,
            elinewidth=1,
            label=label,
        )
    _ratio_axis(ax, frame)
    ax.set_ylabel('accuracy, %')
    ax.set_title(_title(frame, column), fontsize=9, loc='left', color=ax.xaxis.label.get_color())


def _title(frame: Frame, column: str) -> str:
    return frame[0]['group'] + (f'; n = {frame[0]["n"]}' if column == 'level' else '')


def _ratio_axis(ax: 'Axes', frame: Frame) -> None:
    """A tick at each ratio that occurs, or at some of them where these are many."""
    from matplotlib.ticker import NullLocator

    occurring = sorted({math.log2(row['length'] / row['chains']) for row in frame})
    apart = (occurring[-1] - occurring[0]) / _MOST_TICKS
    powers: list[float] = []
    for power in (occurring[0], occurring[-1], min(occurring, key=abs), *occurring):  # both ends and the middle before others
        if all(abs(power - other) >= apart for other in powers) and power not in powers:
            powers.append(power)
    powers.sort()
    names = {math.log2(row['length'] / row['chains']): row['ratio'] for row in frame}
    ax.set_xscale('log', base=2)
    ax.set_xticks([2**power for power in powers], [names[power] for power in powers])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel('sequential to parallel: length of a chain to number of chains (log scale)')


def plot_sequential_against_parallel(ax: 'Axes', frame: Frame) -> None:
    """Draws accuracy (per cent) of one chain (solid) and of first attempts alone (dashed) against n (log)."""
    groups = grouped(frame, 'group')
    for name, tint in colours(groups).items():
        for side, line, marker in (('sequential', '-', 'o'), ('parallel', '--', 's')):
            points = sorted((row for row in groups[name] if row['side'] == side), key=lambda row: row['n'])
            x, y = [row['n'] for row in points], [row['accuracy'] for row in points]
            ax.plot(x, y, f'{marker}{line}', color=tint, label=f'{side}: {name}')
            draw_interval(ax, x, points, tint, as_bars=len(groups) > 2)
    n_axis(ax, frame)
    ax.set_ylabel('accuracy, %')


def _tints(groups: Mapping[Any, Any], column: str) -> dict[Any, Any]:
    """Colours of lines; along a scale where they have an order."""
    if column == 'chains':
        return dict(colours(groups))
    from matplotlib.colors import LinearSegmentedColormap

    scale, ordered = LinearSegmentedColormap.from_list('ordered', _SCALE), sorted(groups)
    return {name: scale(index / max(1, len(ordered) - 1)) for index, name in enumerate(ordered)}
