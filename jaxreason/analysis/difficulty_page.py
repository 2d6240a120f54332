"""The section of the report about difficulty: where its bins come from, and what every strategy reaches within each."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.analysis import page, tables
from jaxreason.analysis.difficulty_figures import difficulty_figures
from jaxreason.analysis.drawing import picture_of
from jaxreason.core.quantities import quantity

NOTHING = '–'


def section(metrics: Mapping[str, Any]) -> list[str]:
    """The section as HTML parts; empty where no bins were given."""
    found = metrics.get('by_difficulty')
    if found is None:
        return []
    return [
        '<h3>Accuracy by difficulty</h3>',
        f'<p class="quiet">{page.text(source(found))}</p>',
        _bins(found['bins']),
        *(picture_of(name, plot, frame) for name, plot, frame in difficulty_figures(metrics)),
        _accuracies(found),
        _differences(found, metrics['baseline']),
    ]


def source(found: Mapping[str, Any]) -> str:
    """Where the bins come from, in a few sentences."""
    seeds = ', '.join(map(str, found['seeds']))
    return (
        f'Levels of difficulty by the share of right answers among {found["num_samples"]:,} independent samples a question of '
        f'the run {found["source"]} (model {found["model"] or "unknown"}, seed{"s" * (len(found["seeds"]) > 1)} {seeds}): '
        'level 1 is the easiest; questions with equal shares have the same level. None of these samples is scored here, and no '
        'budget pays for them; they are graded, so these are levels of an oracle.'
    )


def _bins(bins: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(part['level']),
            f'{part["num_questions"]:,}',
            NOTHING if part['pass_rate'] is None else f'{100 * part["pass_rate"]:.1f}',
        )
        for part in bins
    ]
    return page.table(('level', 'questions', 'right samples that set the level, %'), rows)


def _accuracies(found: Mapping[str, Any]) -> str:
    """A row a strategy and n, a column a level."""
    levels = [part['level'] for part in found['bins']]
    cells: dict[tuple[str, int, str], dict[int, str]] = {}
    for row in found['rows']:
        cells.setdefault((tables.label(row), row['n'], row['pool']), {})[row['level']] = tables.percent(row['accuracy'])
    order = {label: index for index, label in enumerate(dict.fromkeys(label for label, _, _ in cells))}
    rows = [
        (label, str(n), *(cells[label, n, pool].get(level, NOTHING) for level in levels))
        for label, n, pool in sorted(cells, key=lambda key: (order[key[0]], *key[1:]))
    ]
    note = 'Accuracy in per cent [95 % bootstrap interval over the questions of the level].'
    table = page.table(('strategy', 'n', *(f'level {level}' for level in levels)), rows)
    return f'{table}<p class="quiet">{note}</p>'


def _differences(found: Mapping[str, Any], baseline: str | None) -> str:
    rows = [
        (
            tables.label(row),
            f'level {row["level"]}, n={row["n"]}',
            tables.gain(row['gain']),
            NOTHING if row['over_best'] is None else f'{tables.gain(row["over_best"])} {row["over_best"]["baseline"]}',
            quantity(row['flops']),
        )
        for row in sorted(found['rows'], key=lambda row: _place(found, row))
    ]
    heads = ('strategy', 'level and n', f'over {baseline or "a baseline"}', 'over the best of the level at this n', 'FLOPs')
    note = (
        'Percentage points, paired by question. The best is found on the same questions, which favours it a little; a dash '
        'stands for the strategy itself or where there is nothing to compare.'
    )
    body = f'{page.table(heads, rows, num_words=2)}<p class="quiet">{note}</p>'
    return page.folded('Differences and cost within the levels', body)


def _place(found: Mapping[str, Any], row: Mapping[str, Any]) -> tuple:
    labels = list(dict.fromkeys(tables.label(other) for other in found['rows']))
    return labels.index(tables.label(row)), row['level'], row['n'], row['pool']
