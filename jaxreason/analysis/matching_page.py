"""What a match found, as tables for the terminal and as a section of the report, from `match.json` alone."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.analysis import page
from jaxreason.analysis.drawing import picture_of, save
from jaxreason.analysis.matching_figures import matching_figures
from jaxreason.core.errors import RunError
from jaxreason.core.quantities import quantity

MATCH = 'match.json'
NOTHING = '–'
_WORDS = {'arxiv': 'arXiv', 'iclr': 'ICLR', 'spent': 'spent'}
_COARSE = ('easy', 'medium', 'hard')
_CENSORED = {'always': 'any', 'never': 'none'}
_AGREEMENT = {True: '=', False: '≠', None: '?'}

Table = Mapping[str, Any]
Cells = list[tuple[str, ...]]


class MatchRun(NamedTuple):
    """A folder of `jaxreason match`."""

    name: str
    table: Table
    config: str
    environment: Table


def is_match(folder: Path) -> bool:
    """Whether a folder is that of `jaxreason match`."""
    return (folder / MATCH).is_file()


def read_match(folder: Path) -> MatchRun:
    """Reads such a folder.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        table = json.loads((folder / MATCH).read_text(encoding='utf-8'))
        config = (folder / 'config.yaml').read_text(encoding='utf-8')
        environment = {'commit': table['small']['commit'], 'device': 'as of the runs that are matched'}
        _ = [table[name] for name in ('duel', 'rows', 'break_even', 'curves', 'rivals', 'groups', 'paper', 'notes', 'large')]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f'{folder}: not a whole match ({str(error)[:200]}); run jaxreason match again.') from error
    return MatchRun(folder.resolve().name, table, config, environment)


def csv_of(table: Table) -> str:
    """The text of `match.csv`: a line for every convention, R, way of the larger model, curve and group."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(table['rows'][0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(table['rows'])
    return stream.getvalue()


def caption(table: Table) -> str:
    """What the numbers rest on."""
    seeds = len(table['seeds'])
    return (
        f'{table["small"]["model"]} with search against {table["large"]["model"]}, {table["size_ratio"]:.3g} times its '
        f'parameters, greedy; {table["num_questions"]:,} questions, {seeds} seed{"s" * (seeds > 1)}, '
        f'commit {table["small"]["commit"][:10]}. [95 % paired bootstrap over questions and seeds]'
    )


def gains(table: Table) -> Cells:
    """Relative gain of compute-optimal search over the larger model's greedy answer, beside the paper's."""
    told = {(cell['convention'], cell['ratio'], cell['group']): cell for cell in table['paper']}
    rows: Cells = [('terms', 'R', 'buys', 'n', *(word for name in _COARSE for word in (f'{name}, %', 'paper')))]
    for convention, by_ratio in table['duel'].items():
        for ratio, groups in sorted(by_ratio.items(), key=lambda item: float(item[0])):
            shown = [_WORDS.get(convention, convention), ratio, _budget(convention, groups['all']['k'])]
            shown.append(_text(groups['all']['n'], 'd'))
            for name in _COARSE:
                cell = told.get((convention, float(ratio), name))
                shown.append(_interval(groups[name], 'gain', 'gain_low', 'gain_high'))
                shown.append(NOTHING if cell is None else f'{cell["paper"]:+.1f} {_AGREEMENT[cell["agrees"]]}')
            rows.append(tuple(shown))
    return rows


def points(table: Table) -> Cells:
    """Differences in percentage points, in every bin and over all questions."""
    names = [name for name in table['groups'] if name not in _COARSE]
    rows: Cells = [('terms, R', *(f'level {name}' if name.isdigit() else name for name in names))]
    for convention, by_ratio in table['duel'].items():
        for ratio, groups in sorted(by_ratio.items(), key=lambda item: float(item[0])):
            shown = (_interval(groups[name], 'points', 'low', 'high') for name in names)
            rows.append((f'{_WORDS.get(convention, convention)} {ratio}', *shown))
    return rows


def parities(table: Table, rival: str = 'greedy') -> Cells:
    """The R up to which the small model is at least as good as one way of the larger: a row a bin, a column a curve."""
    found = {(row['convention'], row['group'], row['curve']): row for row in table['break_even'] if row['rival'] == rival}
    curves = list(dict.fromkeys(curve for _, _, curve in found))
    rows: Cells = [('terms', 'level', *curves)]
    for convention in table['duel']:
        for name in (name for name in table['groups'] if name not in _COARSE):
            shown = (_parity(found[convention, name, curve]) for curve in curves)
            rows.append((_WORDS.get(convention, convention), name, *shown))
    return rows


def section(run: MatchRun) -> list[str]:
    """The section as HTML parts."""
    table = run.table
    notes = ''.join(f'<li>{page.text(note)}</li>' for note in table['notes'])
    others = [rival for rival in dict.fromkeys(row['rival'] for row in table['break_even']) if rival != 'greedy']
    return [
        f'<p class="quiet">{page.text(caption(table))}</p>',
        '<h3>Relative gain at equal FLOPs</h3>',
        _html(gains(table)),
        f'<p class="quiet">{page.text(LEGEND)}</p>',
        *(picture_of(name, plot, frame) for name, plot, frame in matching_figures(table)),
        '<h3>Percentage points by level of difficulty</h3>',
        _html(points(table)),
        '<h3>Break-even R</h3>',
        _html(parities(table)),
        f'<p class="quiet">{page.text(BREAK_EVEN)}</p>',
        *(
            page.folded(f'Break-even against the larger model, {page.text(each)}', _html(parities(table, each)))
            for each in others
        ),
        page.folded('Every curve against every answer of the larger model', _html(_everything(table), 4)),
        f'<h3>To keep in mind</h3><ul>{notes}</ul>',
    ]


LEGEND = (
    '100 (small - large) / large; easy: levels 1 and 2, medium: 3, hard: 4 and 5. "buys": what the larger model\'s money buys '
    'the small one for a question; "n": the largest budget measured that this pays. After the paper\'s number (revisions, its '
    'figure 1): = same sign as ours, ≠ opposite sign, ? ours is not clear of zero.'
)
BREAK_EVEN = (
    'R up to which the small model is at least as good, by its curve of accuracy against the budget. any: at every R, however '
    'much a model is used. none: not even with the largest budget measured. ≥: with the smallest budget measured.'
)


def save_figures(run: MatchRun, folder: Path) -> None:
    """Writes PNG and CSV of every figure."""
    for name, plot, frame in matching_figures(run.table):
        save(name, plot, frame, f'{run.name}: {caption(run.table)}', folder)


def _everything(table: Table) -> Cells:
    rows: Cells = [('terms', 'R', 'larger model', 'small model', 'n', 'easy', 'medium', 'hard', 'all')]
    found: dict[tuple, dict[str, Table]] = {}
    for row in table['rows']:
        found.setdefault((row['convention'], row['ratio'], row['rival'], row['curve']), {})[row['group']] = row
    for (convention, ratio, rival, curve), groups in found.items():
        shown = (_interval(groups[name], 'points', 'low', 'high') for name in (*_COARSE, 'all'))
        number = _text(groups['all']['n'], 'd')
        rows.append((_WORDS.get(convention, convention), f'{ratio:g}', rival, curve, number, *shown))
    return rows


def _html(cells: Sequence[Sequence[str]], num_words: int = 1) -> str:
    return page.table(cells[0], cells[1:], num_words)


def _budget(convention: str, k: float) -> str:
    if k <= 0:
        return 'nothing'
    return quantity(k, 'FLOPs') if convention == 'spent' else f'{k:.2f}'


def _interval(row: Table, name: str, low: str, high: str) -> str:
    if row[name] is None:
        return NOTHING
    bounds = '[none]' if row[low] is None else f'[{row[low]:+.0f}, {row[high]:+.0f}]'
    return f'{row[name]:+.1f} {bounds}'


def _parity(row: Table) -> str:
    if row['ratio'] is None:
        return NOTHING
    return f'{_even(row["ratio"])} [{_even(row["low"])}, {_even(row["high"])}]'


def _even(value: float | str) -> str:
    """Two digits say enough."""
    if isinstance(value, str):
        return _CENSORED.get(value, value.replace('at_least ', '≥'))
    return f'{value:,.0f}' if value >= 10 else f'{value:.2g}'


def _text(value: Any, form: str) -> str:
    return NOTHING if value is None else format(value, form)
