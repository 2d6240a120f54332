"""What a fit found, in words and tables: for a terminal, and as a section of the report.

A sentence says no more than its intervals. What chooses by the oracle says each time that it is an upper bound: it uses the
answers, and nobody is charged for them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.analysis import page
from jaxreason.analysis.drawing import picture_of, save
from jaxreason.analysis.fit_figures import CHOOSING, MODES, NAMES, ORACLE, fit_figures, modes_of, times
from jaxreason.analysis.fit_folder import ALLOCATION, BOUND, FitRun
from jaxreason.core.quantities import quantity

NOTHING = '–'
_PAPER = 'The paper reports up to 4x against best-of-N, by predicted difficulty that is not charged.'
_HEADS = {'oracle': 'oracle (bound)', 'predicted': 'predicted, free', 'charged': 'charged', 'fixed': 'best fixed'}

Row = tuple[str, ...]


def lines(metrics: Mapping[str, Any]) -> list[str]:
    """The headline, and for each meaning of a budget the accuracies, gaps and savings, for a terminal 120 columns wide."""
    found = [*headline(metrics)]
    for mode in modes_of(metrics):
        part = metrics['modes'][mode]
        found += ['', f'{mode}: {MODES[mode]}; estimate used: {_used(part)}', *_aligned(_curve_rows(metrics, part))]
        found += ['', f'{mode}: points over the best fixed strategy', *_aligned(_gap_rows(part))]
        found += [f'warning: {warning}' for warning in part['warnings']]
    return [*found, '', 'estimates of difficulty (loss: mean of the budgets)', *_aligned(_estimate_rows(metrics))]


def section(run: FitRun) -> list[str]:
    """The section as HTML parts."""
    metrics = run.metrics
    first, *others = headline(metrics)
    parts = [f'<p><b>{page.text(first)}</b></p>', *(f'<p>{page.text(words)}</p>' for words in others)]
    parts.append(f'<p class="quiet">{page.text(f"{_PAPER} {_basis(metrics)}")}</p>')
    for figure in fit_figures(metrics):
        parts += [picture_of(figure.name, figure.plot, figure.frame), f'<p class="quiet">{page.text(figure.about)}</p>']
    for mode in modes_of(metrics):
        parts += _mode(metrics, mode)
    parts += ['<h3>Estimates of difficulty</h3>', _table(_estimate_rows(metrics))]
    parts += [f'<p class="quiet">{page.text(_ABOUT_ESTIMATES)}</p>', _fixed(metrics), '<h3>Allocations</h3>']
    for name, content in ((ALLOCATION, run.allocation), (f'{BOUND} ({ORACLE})', run.bound)):
        parts.append(page.folded(page.text(name), f'<pre>{page.text(content)}</pre>'))
    return parts


def save_figures(run: FitRun, folder: Path) -> None:
    """Writes PNG and CSV of every figure; errors as of `drawing.save`."""
    environment = run.environment
    made = f'Model {environment.get("model", "unknown")}, commit {str(environment.get("commit", "unknown"))[:10]}.'
    for figure in fit_figures(run.metrics):
        save(figure.name, figure.plot, figure.frame, f'{figure.about} {_basis(run.metrics)} {made}', folder)


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """What the fit is worth: what a user gets, what it adds to the best fixed strategy, and what no user gets."""
    mode = modes_of(metrics)[0]
    part, reference = metrics['modes'][mode], metrics['reference']
    saved = {name: saving(value) for name, value in part['saving'].items()}
    over = next(row for row in part['gaps']['charged']['over_fixed'] if row['n'] is None)
    equal = f'{reference["strategy"]} at n = {reference["n"]} ({percent(reference["accuracy"])} %, '
    equal += f'{quantity(reference["flops"], "FLOPs")} a question)'
    is_reached = part['saving']['charged']['censored'] != 'at_most'
    found = [
        f'Chosen by difficulty, the estimate ({_used(part)}) charged, budget {mode.replace("_", " ")}: '
        f'{"as" if is_reached else "never as"} accurate as {equal}, saving in FLOPs {saved["charged"]}.',
        f'The best fixed strategy of each budget saves {saved["fixed"]}; over it, choosing by difficulty gains '
        f'{points(over)} points, the mean of all budgets, {_verdict(over)}.',
    ]
    free = [f'by the oracle {saved["oracle"]} ({ORACLE})']
    if 'predicted' in saved:
        free.append(f'predicted {saved["predicted"]} (uncharged, as in the paper)')
    return [*found, f'Not what a user gets: {"; ".join(free)}.']


def _basis(metrics: Mapping[str, Any]) -> str:
    """What every number rests on."""
    number = len(metrics['seeds'])
    seeds = f'{number} sampling seeds' if number > 1 else 'a single sampling seed'
    return (
        f'{metrics["questions"]:,} questions, {seeds}, {metrics["folds"]} folds. [95 % bootstrap over questions and seeds, '
        f'{metrics["resamples"]:,} resamples, everything chosen again in each].'
    )


def _mode(metrics: Mapping[str, Any], mode: str) -> list[str]:
    """The tables under one meaning of a budget."""
    part = metrics['modes'][mode]
    told = f'n: {MODES[mode]}. Accuracy in per cent, FLOPs a question of what is charged. '
    told += f'Estimate used, chosen on the fitting folds: {_used(part)}.'
    return [
        f'<h3>Budget {page.text(mode.replace("_", " "))}</h3>',
        f'<p class="quiet">{page.text(told)}</p>',
        _table(_curve_rows(metrics, part), 0),
        f'<h4>Over the best fixed strategy, points (oracle: {ORACLE})</h4>',
        _table(_gap_rows(part), 0),
        *(f'<p>Warning: {page.text(warning)}</p>' for warning in part['warnings']),
        f'<h4>By difficulty (bins of the oracle: {ORACLE})</h4>',
        _table(_bin_rows(metrics, part), 3 + len(metrics['budgets'])),
        page.folded('What the questions can tell apart', _table(_power_rows(part), 2)),
    ]


def _curve_rows(metrics: Mapping[str, Any], part: Mapping[str, Any]) -> list[Row]:
    """Heads, a row a budget, and the savings."""
    names = [name for name in _HEADS if name in part['curves']]
    reference = metrics['reference']
    fixed = {row['n']: row for row in metrics['baselines'] if row['strategy'] == reference['strategy']}
    rows: list[Row] = [('n', *(_HEADS[name] for name in names), 'reference', 'FLOPs')]
    for place, charged in enumerate(part['curves']['charged']):
        cells = [percent(part['curves'][name][place]['accuracy']) for name in names]
        rows.append((str(charged['n']), *cells, percent(fixed[charged['n']]['accuracy']), quantity(charged['flops'])))
    return [*rows, ('saving', *(times(part['saving'][name]) for name in names), '1x', '')]


def _gap_rows(part: Mapping[str, Any]) -> list[Row]:
    """Heads, a row a budget, and the mean of all."""
    names = [name for name in CHOOSING if name in part['gaps']]
    rows = zip(*(part['gaps'][name]['over_fixed'] for name in names), strict=True)
    return [
        ('n', *(_HEADS[name] for name in names)),
        *(('all' if row[0]['n'] is None else str(row[0]['n']), *map(points, row)) for row in rows),
    ]


def _power_rows(part: Mapping[str, Any]) -> list[Row]:
    """Of every gap, how large it would have to be, or how many questions it would need."""
    return [
        ('curve', 'against', 'n', 'gap, points', 'detectable, points', 'questions needed'),
        *(
            (
                NAMES[name],
                words,
                'all' if row['n'] is None else str(row['n']),
                points(row),
                f'{100 * row["detectable"]:.1f}',
                NOTHING if row['questions_needed'] is None else f'{row["questions_needed"]:,}',
            )
            for name in CHOOSING
            for against, words in (('over_fixed', 'best fixed'), ('over_reference', 'reference'))
            for row in part['gaps'].get(name, {against: []})[against]
        ),
    ]


def _bin_rows(metrics: Mapping[str, Any], part: Mapping[str, Any]) -> list[Row]:
    """Of every bin, who is in it and what was chosen at every budget, with what it reaches there."""
    rows: list[Row] = [('level', 'questions', 'pass rate, %', *(f'n = {n}' for n in metrics['budgets']))]
    for each in part['bins']:
        known = {(row['strategy'], row['n']): row['accuracy'] for row in each['accuracy']}
        rate = NOTHING if each['pass_rate'] is None else f'{100 * each["pass_rate"]:.1f}'
        chosen = [
            f'{cell["strategy"]}, n = {cell["n"]}: {100 * known[cell["strategy"], cell["n"]]["point"]:.0f} %'
            for cell in each['chosen']
        ]
        rows.append((str(each['level']), f'{each["num_questions"]:,}', rate, *chosen))
    return rows


_ABOUT_ESTIMATES = (
    'Cost: a look at a question where nothing of it is used again; a strategy that goes on with the same samples pays less. '
    'Agreement: rank correlation with the pass rate of other samples, and how often the bin is the same, or at most one off. '
    'Loss: accuracy by the bins of the oracle (upper bound, uses answers, uncharged) less that by the estimate, charged, mean '
    'of the budgets.'
)


def _estimate_rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Of every estimate what a look costs, how far it agrees with the oracle, and what going by it loses."""
    losses = metrics['modes'][modes_of(metrics)[0]].get('estimates', {})
    rows: list[Row] = [('estimate', 'FLOPs', 'rank correlation', 'same bin', 'within one', 'loss, points')]
    for name, look in metrics['looks'].items():
        mean = next(row['loss'] for row in losses[name] if row['n'] is None)
        chosen = ' (in the allocation)' if name == metrics['estimate'] else ''
        rows.append((f'{name}{chosen}', quantity(look['flops']), *_agreement(look), points(mean)))
    if 'predicted' in metrics:
        look = metrics['predicted']
        rows.append((f'{look["name"]} (predicted, uncharged)', '0', *_agreement(look), NOTHING))
    return rows


def _agreement(look: Mapping[str, Any]) -> Row:
    found = look['spearman']
    if found is None:
        ranks = NOTHING
    elif found['low'] is None:
        ranks = f'{found["point"]:.2f}'
    else:
        ranks = f'{found["point"]:.2f} [{found["low"]:.2f}, {found["high"]:.2f}]'
    shares = [f'{100 * look[name]:.0f} %' if name in look else NOTHING for name in ('same_bin', 'within_one')]
    return ranks, *shares


def _fixed(metrics: Mapping[str, Any]) -> str:
    """Every fixed strategy at every n, folded."""
    rows = [
        (row['strategy'], str(row['n']), str(row['generations']), percent(row['accuracy']), quantity(row['flops']))
        for row in metrics['baselines']
    ]
    heads = ('strategy', 'n', 'solutions begun', 'accuracy, %', 'FLOPs')
    return f'<h3>Fixed strategies</h3>{page.folded(f"{len(rows)} cells", page.table(heads, rows))}'


def _used(part: Mapping[str, Any]) -> str:
    return ', '.join(dict.fromkeys(part['used']))


def _verdict(difference: Mapping[str, Any]) -> str:
    """What an interval allows to be said of a difference."""
    if difference['low'] is None:
        return 'without an interval'
    if difference['low'] > 0:
        return 'clear of zero'
    return 'a loss' if difference['high'] < 0 else 'not told apart from none'


def _table(rows: Sequence[Row], num_words: int = 1) -> str:
    return page.table(rows[0], rows[1:], num_words)


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        '  '.join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def percent(value: Mapping[str, Any]) -> str:
    """A share as per cent with its interval."""
    if value['low'] is None:
        return f'{100 * value["point"]:.1f}'
    return f'{100 * value["point"]:.1f} [{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]'


def points(value: Mapping[str, Any]) -> str:
    """A difference in points with its interval."""
    if value['low'] is None:
        return f'{100 * value["point"]:+.1f}'
    return f'{100 * value["point"]:+.1f} [{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]'


def saving(value: Mapping[str, Any]) -> str:
    """A saving with its interval, and how often a resample never gets there."""
    never = f', never reached in {100 * value["never_reached"]:.0f} % of resamples' if value['never_reached'] else ''
    return f'{times(value)}{never}'
