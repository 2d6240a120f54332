"""The figures of the page about the paper that tell of revisions and of a larger model, narrow enough to be read on a phone."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxreason.analysis.drawing import Frame, bars, grouped, percent, set_height
from jaxreason.analysis.matching_figures import duel_frame, matching_figures
from jaxreason.analysis.paper_figures import COMPUTE_OPTIMAL, FIXED, GREEDY, PaperFigure, level_line
from jaxreason.analysis.paper_inputs import Part
from jaxreason.analysis.paper_revisions import group_of, longest, most_generations
from jaxreason.analysis.paper_savings import terms_of
from jaxreason.analysis.revision_figures import (
    chain_frame,
    flip_frame,
    plot_along_the_chain,
    plot_flips,
    plot_ratio,
    ratio_frame,
    ratio_level_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS = ('easy', 'medium', 'hard')


def chain_figures(part: Part, revised: Mapping[str, Any]) -> list[PaperFigure]:
    """Pass@1 along the longest chains, and what becomes of right and wrong attempts."""
    chains = {'chains': [longest(revised)]}
    frame = _with_references(part, chain_frame(chains), most_generations(part))
    made = [PaperFigure('pass_at_1_along_the_chain', 'Pass@1 along the chain', _plot_chain, frame)]
    flips = flip_frame(chains)
    if flips:
        made.append(PaperFigure('flips_along_the_chain', 'What a revision does', _plot_flips, flips))
    return made


def ratio_figures(part: Part, revised: Mapping[str, Any]) -> list[PaperFigure]:
    """Accuracy by the ratio of sequential to parallel attempts, over all questions and by difficulty."""
    group = group_of(revised)
    frame = ratio_frame(group)
    if not frame:
        return []
    most = max(row['n'] for row in frame)
    made = [
        PaperFigure('ratio', 'All questions', functools.partial(_plot_ratio, column='n'), _with_references(part, frame, most))
    ]
    if inside := ratio_level_frame(group):
        plot = functools.partial(_plot_ratio, column='level')
        made.append(
            PaperFigure('ratio_by_difficulty', f"Within the oracle's bins, n = {most}", plot, _per_level(part, inside, most))
        )
    return made


def _with_references(part: Part, frame: Frame, budget: int) -> list[dict[str, Any]]:
    """A frame with greedy and the best fixed strategy of a budget as further rows, told apart by the column `reference`."""
    empty: dict[str, Any] = dict.fromkeys(frame[0], '')
    made = [{'reference': '', **row} for row in frame]
    best = part.best_fixed(budget)
    cells = {} if best is None else {FIXED: best}
    if part.greedy is not None:
        cells[GREEDY] = part.greedy
    for name, cell in cells.items():
        value = part.answers.accuracy(cell)
        assert value is not None, 'a strategy of the run has answers'
        made.append({'reference': name, **empty, **percent('accuracy', value)})
    return made


def _per_level(part: Part, frame: Frame, budget: int) -> list[dict[str, Any]]:
    """The same within levels: greedy and the best fixed strategy of all questions, as columns of every row."""
    cells = {'best_fixed': part.best_fixed(budget), 'greedy': part.greedy}
    made = []
    for row in frame:
        inside = part.oracle.questions(row['level'])
        values = {name: None if cell is None else part.answers.accuracy(cell, inside) for name, cell in cells.items()}
        told = {name: None if value is None else round(100 * value['point'], 4) for name, value in values.items()}
        made.append({'reference': '', **row, **told})
    return made


def _plot_chain(ax: 'Axes', frame: Frame) -> None:
    plot_along_the_chain(ax, [row for row in frame if not row['reference']])
    _draw_references(ax, frame)
    ax.set_xlabel('attempt, its place in the chain')


def _plot_flips(ax: 'Axes', frame: Frame) -> None:
    plot_flips(ax, frame)
    ax.set_ylabel('share of such attempts, %')
    ax.set_xlabel('attempt, its place in the chain')


def _plot_ratio(ax: 'Axes', frame: Frame, column: str) -> None:
    plot_ratio(ax, [row for row in frame if not row['reference']], column=column)
    _draw_references(ax, frame)
    ax.set_xlabel('length of a chain to number of chains')
    if column == 'level':
        _draw_level_references(ax, frame)
        set_height(ax, 5.4)


def _draw_level_references(ax: 'Axes', frame: Frame) -> None:
    """Greedy as a faint line and the best fixed strategy as a star at the right, in the colour of their level."""
    ink = ax.xaxis.label.get_color()
    lines = {str(line.get_label()).split(' (')[0]: line[0].get_color() for line in ax.containers}
    right = 1.6 * max(row['length'] / row['chains'] for row in frame)
    for level, rows in grouped(frame, 'level').items():
        tint = lines[f'level {level}']
        if rows[0]['greedy'] is not None:
            ax.axhline(rows[0]['greedy'], color=tint, linestyle='-.', linewidth=1.2, alpha=0.6, zorder=1)
        if rows[0]['best_fixed'] is not None:
            ax.plot([right], [rows[0]['best_fixed']], '*', color=tint, markersize=10)
    ax.plot([], [], '-.', color=ink, linewidth=1.2, label=GREEDY)
    ax.plot([], [], '*', color=ink, linestyle='', markersize=10, label=FIXED)


def _draw_references(ax: 'Axes', frame: Frame) -> None:
    for row in frame:
        if row['reference']:
            level_line(ax, row['reference'], row['accuracy'])


def duel_figures(table: Mapping[str, Any]) -> list[PaperFigure]:
    """The relative gain by bin and R beside the paper's, and the small model's curves by level."""
    terms = terms_of(table)
    told = {(f'{row["ratio"]:g}', row['group']): row['paper'] for row in table['paper'] if row['convention'] == terms}
    frame = [
        {
            'ratio': ratio,
            'group': group,
            'gain': cells[group]['gain'],
            'low': cells[group]['gain_low'],
            'high': cells[group]['gain_high'],
            'paper': told.get((ratio, group)),
        }
        for ratio, cells in sorted(table['duel'][terms].items(), key=lambda item: float(item[0]))
        for group in _GROUPS
        if cells[group]['gain'] is not None
    ]
    made = [PaperFigure('duel_gain', 'Relative gain of the small model', plot_duel, frame)] if frame else []
    if duel_frame(table, terms):
        name, plot, rows = next(figure for figure in matching_figures(table) if figure[0] == f'duel_{terms}')
        made.append(PaperFigure(name, 'By level, and where the larger model stands', plot, rows))
    return made


def plot_duel(ax: 'Axes', frame: Frame) -> None:
    """Draws relative gains (per cent), a row a bin and R, intervals as bars; the paper's as hollow marks."""
    ink, tint = ax.xaxis.label.get_color(), COMPUTE_OPTIMAL
    names = [f'R = {row["ratio"]}, {row["group"]}' for row in frame]
    places = list(range(len(frame), 0, -1))
    below, above = bars('gain', frame)
    ax.errorbar([row['gain'] for row in frame], places, xerr=[below, above], fmt='o', color=tint, capsize=3, label='here')
    known = [(row['paper'], place) for row, place in zip(frame, places, strict=True) if row['paper'] is not None]
    if known:
        ax.plot(*zip(*known, strict=True), 'D', color=ink, mfc='none', label='the paper (revisions)')
    ax.axvline(0, color=ink, linewidth=1)
    ax.set_yticks(places, names)
    ax.set_xlabel('small over large, % of the large')
    set_height(ax, 1.4 + 0.3 * len(frame))
