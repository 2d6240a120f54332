"""The headline table: what each strategy reached at each n, with its interval, its gain over the baseline, and its price.

One list of rows of text, written as a `rich` table for the terminal or as Markdown for a file. Answers that could not be judged
are counted as not correct, so their share is printed beside the accuracy as soon as there is one; samples that a verifier could
not score are counted as 0, and said below.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table


def columns(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of the table."""
    names = ('strategy', 'n', 'accuracy %', 'unjudged', 'gain', 'tokens', 'FLOPs')
    return names if _has_unjudged(metrics) else tuple(name for name in names if name != 'unjudged')


def rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the table, as text, in the order of `columns`."""
    return [
        (
            label(row),
            str(row['n']),
            percent(row['accuracy']),
            *([f'{100 * row["answers"]["unjudged"] / sum(row["answers"].values()):.1f} %'] if _has_unjudged(metrics) else []),
            gain(row['gain']),
            quantity(row['tokens']['new']),
            quantity(row['flops']['total']),
        )
        for row in metrics['rows']
    ]


def rich_table(metrics: Mapping[str, Any], title: str = '') -> 'Table':
    """The table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    words = [printable(text) for text in (title, caption(metrics))]
    table = Table(title=Text(words[0]) if title else None, caption=Text(f'\n{words[1]}'), caption_justify='left')
    table.box, table.padding = None, (0, 2, 0, 0)
    for index, column in enumerate(columns(metrics)):
        # On a narrow terminal only the labels fold; a number is never cut.
        table.add_column(column, justify='left' if index == 0 else 'right', no_wrap=index > 0, overflow='fold', min_width=2)
    last = ''
    for name, *cells in rows(metrics):
        if last and name != last:
            table.add_row()
        table.add_row(Text('' if name == last else printable(name)), *map(Text, cells))  # Text: never read as markup
        last = name
    return table


def print_table(metrics: Mapping[str, Any], title: str = '') -> None:
    """Prints the table to standard output, 120 columns wide where that is no terminal."""
    _print(rich_table(metrics, title))


def print_cells(cells: Sequence[Sequence[str]], title: str = '') -> None:
    """Prints a table to standard output, likewise: words in the first column, numbers in the others.

    Args:
        cells: rows of text, the first one the heads.
        title: stands above it.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)) if title else None, box=None, padding=(0, 2, 0, 0))
    for index, head in enumerate(cells[0]):
        table.add_column(head, justify='left' if index == 0 else 'right', no_wrap=index > 0, overflow='fold', min_width=2)
    for row in cells[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))  # Text: never read as markup
    _print(table)


def _print(table: 'Table') -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def markdown(metrics: Mapping[str, Any]) -> str:
    """The table in Markdown, columns aligned so that it also reads as plain text."""
    heads = columns(metrics)
    cells = [heads, *(tuple(cell.replace('|', '\\|') for cell in row) for row in rows(metrics))]
    widths = [max(len(row[index]) for row in cells) for index in range(len(heads))]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [_line(cells[0], widths), _line(rule, widths), *(_line(row, widths) for row in cells[1:])]
    return '\n'.join([*lines, '', caption(metrics), ''])


def caption(metrics: Mapping[str, Any]) -> str:
    """What the numbers rest on, in a sentence or two."""
    seeds = f'{metrics["num_seeds"]} seeds' if metrics['num_seeds'] > 1 else 'a single seed'
    text = f'{metrics["num_questions"]} questions, {seeds}; [95 % bootstrap interval over questions].'
    if metrics['baseline'] is not None:
        text += f' Gain: percentage points over {metrics["baseline"]} at equal n, paired by question.'
    return ' '.join([f'{text} Tokens (generated) and FLOPs are per question.', *unscored(metrics)])


def readings(metrics: Mapping[str, Any]) -> str:
    """Which strategies are told at several n from one pool of solutions, and which had to search at each n; '' where none."""
    pools, ns = collections.defaultdict[str, set[str]](set), collections.defaultdict[str, set[int]](set)
    for row in metrics['rows']:
        pools[label(row)].add(row['pool'])
        ns[label(row)].add(row['n'])
    several = [name for name in ns if len(ns[name]) > 1]
    read = [name for name in several if len(pools[name]) == 1]
    searched = [name for name in several if len(pools[name]) > 1]
    parts = [f'At every n from one pool of solutions: {", ".join(read)}.'] if read else []
    return ' '.join([*parts, *([f'Searched anew at each n: {", ".join(searched)}.'] if searched else [])])


def unscored(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for every verifier that could not score some samples: how many, and why."""
    asked, reasons = collections.Counter[str](), collections.defaultdict[str, collections.Counter[str]](collections.Counter)
    for pool in metrics['pools']:
        for name, counts in pool['unscored'].items():
            asked[name] += sum(pool['candidates'].values())
            reasons[name].update(counts)
    return [unscored_sentence(name, counts, asked[name]) for name, counts in sorted(reasons.items()) if counts]


def unscored_sentence(verifier: str, reasons: Mapping[str, int], num_samples: int) -> str:
    """How many of so many samples a verifier could not score, and why."""
    words = ', '.join(f'{count:,} {reason.replace("_", " ")}' for reason, count in sorted(reasons.items()))
    return f'{verifier} could not score {sum(reasons.values()):,} of {num_samples:,} samples ({words}); they count as 0.'


def label(row: Mapping[str, Any]) -> str:
    """A strategy with the limits that it worked under."""
    return row['strategy'] + ''.join(f' {name}≤{quantity(limit)}' for name, limit in sorted(row['budget'].items()))


def percent(value: Mapping[str, Any], sign: str = '') -> str:
    """A share in per cent with its interval, as in `50.2 [44.4, 56.0]`; `[none]` where all questions are alike."""
    text = f'{100 * value["point"]:{sign}.1f}'
    if value['low'] is None:
        return f'{text} [none]'
    return f'{text} [{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]'


def gain(value: Mapping[str, Any] | None) -> str:
    """A gain in percentage points with its interval; a dash for the baseline itself or where it has no such row."""
    return '–' if value is None else percent(value, '+')


def _has_unjudged(metrics: Mapping[str, Any]) -> bool:
    return any(row['answers']['unjudged'] for row in metrics['rows'])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
    return f'| {" | ".join(padded)} |'
