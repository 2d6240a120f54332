"""The section of the report about revisions: figures, beside each what the paper found and what this run shows, and tables.

A sentence about this run says no more than its intervals: a difference whose interval includes 0 is none that was shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxreason.analysis import page, tables
from jaxreason.analysis.drawing import picture_of
from jaxreason.analysis.health_page import NOTHING, number
from jaxreason.analysis.revision_figures import kind_of, revision_figures, shown, told_positions
from jaxreason.core.quantities import quantity

# What the paper found, by the beginning of a figure's name.
_PAPER = {
    'pass_at_1_along': 'pass@1 keeps rising past the fourth revision, though training showed at most four earlier attempts.',
    'flips_along': 'about 38 % of right answers are lost by the next revision, so the last attempt is never simply the answer.',
    'sequential_against': 'sequential attempts narrowly beat parallel ones at equal n, under a verifier and under majority.',
    'ratio_by_difficulty': 'at n = 128 easy questions are answered best by one long chain and hard ones by a ratio in between; '
    'under majority the easy ones hardly depend on it.',
    'ratio': 'at large n a ratio in between is best over all questions.',
}


def section(metrics: Mapping[str, Any]) -> list[str]:
    """The section as HTML parts; empty where nothing was revised."""
    found = metrics.get('revisions')
    if found is None:
        return []
    note = (
        'A chain begins with an attempt of its own; every further one is shown the last attempts of its chain. Position 1 is '
        'the control: the same model sampled in parallel. Right to wrong is told of right attempts, wrong to right of all '
        'others. [95 % bootstrap interval over questions].'
    )
    parts = ['<h3>Revisions</h3>', f'<p class="quiet">{page.text(note)}</p>']
    for name, plot, frame in revision_figures(metrics):
        parts += [picture_of(name, plot, frame), f'<p>{page.text(beside(name, found))}</p>']
    parts += [_chain_table(chains) for chains in found['chains']]
    parts += [_level_table(chains) for chains in found['chains'] if chains['by_difficulty']]
    return [*parts, _verifier_table(found['chains']), _choice_table(found['verifiers']), *_ratio_tables(found['ratios'])]


def beside(figure: str, found: Mapping[str, Any]) -> str:
    """What stands beside a figure: the paper's finding, where it has one, and this run's."""
    paper = next((f'The paper: {words} ' for name, words in _PAPER.items() if figure.startswith(name)), '')
    return f'{paper}Here: {"; ".join(_here(figure, found))}.'


def _here(figure: str, found: Mapping[str, Any]) -> Iterator[str]:
    longest = max(found['chains'], key=lambda chains: chains['length'], default=None)
    if figure.startswith('pass_at_1_along'):
        for chains in found['chains']:
            yield _along(chains)
    elif longest is not None and figure.startswith('pass_at_1_by'):
        yield f'the last attempt ({longest["length"]}) against the first, in points'
        for part in longest['by_difficulty']:
            last = part['positions'][-1]
            yield f'level {part["level"]} {tables.percent(last["over_first"], "+")}, {_verdict(last["over_first"])}'
    elif longest is not None and figure.startswith('flips'):
        for what, words in _FLIPS.items():
            if longest[what] is not None:
                yield f'{words} {_share(longest[what])} %, {_share(longest["control"][what])} if it were another first attempt'
    elif figure.startswith('sequential'):
        for group in found['ratios']:
            yield from _one_chain(group)
    else:
        group = found['ratios'][int(figure.rpartition('_')[2]) - 1 if figure[-1].isdigit() else 0]
        yield from _levels_best(group) if 'difficulty' in figure else _overall_best(group)


_FLIPS = {
    'lost': 'right to wrong',
    'won': 'wrong to right',
    'repeated': 'the same answer again',
}


def _along(chains: Mapping[str, Any]) -> str:
    first, last = chains['positions'][0], chains['positions'][-1]
    best = max(chains['positions'], key=lambda row: row['pass_at_1']['point'])
    words = (
        f'{chains["pool"]}: {tables.percent(first["pass_at_1"])} % at the first attempt, {tables.percent(last["pass_at_1"])} % '
        f'at attempt {last["position"]}, {tables.percent(last["over_first"], "+")} points, which is '
        f'{_verdict(last["over_first"])}; the highest point is at attempt {best["position"]}'
    )
    if chains['past_context'] is not None:
        words += (
            f'; after attempt {chains["context"] + 1}, the last that is shown all before it, it changes by '
            f'{tables.percent(chains["past_context"], "+")} points'
        )
    if last['num_ended']:
        words += f'; {last["num_ended"]:,} of the chains ended before that, for want of room or budget, and count as they ended'
    return words


def _verdict(difference: Mapping[str, Any]) -> str:
    """What an interval allows to be said of a difference."""
    if difference['low'] is None:
        return 'without an interval'
    if difference['low'] > 0:
        return 'above the control'
    return 'below the control' if difference['high'] < 0 else 'not told apart from the control'


def _one_chain(group: Mapping[str, Any]) -> Iterator[str]:
    """One chain against first attempts alone, at the largest n that has both."""
    rows = [row for row in group['rows'] if row['chains'] == 1 and row['over_parallel'] is not None]
    if rows:
        row = max(rows, key=lambda row: row['n'])
        over = row['over_parallel']
        yield f'{kind_of(group)}, n = {row["n"]}: one chain {tables.percent(over, "+")} points, {_verdict(over)}'


def _overall_best(group: Mapping[str, Any]) -> Iterator[str]:
    yield f'{kind_of(group)}, at n = {group["best"][-1]["n"]}: {_best(group)}'


def _levels_best(group: Mapping[str, Any]) -> Iterator[str]:
    yield f'{kind_of(group)}, n = {group["best"][-1]["n"]}'
    yield from (f'level {part["level"]}: {_best(part)}' for part in group['by_difficulty'] if part['best'])


def _best(part: Mapping[str, Any]) -> str:
    """The best ratio at the largest n, of all questions or of a level."""
    best = part['best'][-1]
    words = f'{best["ratio"]} is highest'
    if best['over_parallel'] is not None:
        words += f' ({tables.percent(best["over_parallel"], "+")} points over parallel)'
    if not best['also']:
        return f'{words}, above all others'
    others = sum(row['n'] == best['n'] for row in part['rows']) - 1
    return f'{words}, not told apart from {"any other" if len(best["also"]) == others else ", ".join(best["also"])}'


def _chain_table(chains: Mapping[str, Any]) -> str:
    rows = [
        (
            str(row['position']) + '*' * row['beyond_context'],
            f'{row["num_chains"]:,}',
            tables.percent(row['pass_at_1']),
            tables.gain(row['over_first']),
            *(_share(row[what]) for what in _FLIPS),
        )
        for row in told_positions(chains['positions'])
    ]
    rows.append(('all', '', '', '', *(_share(chains[what]) for what in _FLIPS)))
    rows.append(('control', '', '', '', *(_share(chains['control'][what]) for what in _FLIPS)))
    heads = ('attempt', 'chains', 'pass@1, %', 'over the first, points', *(f'{words}, %' for words in _FLIPS.values()))
    seeds = f'{chains["num_seeds"]} seeds' if chains['num_seeds'] > 1 else 'a single seed'
    note = (
        f'{chains["num_questions"]:,} questions, {seeds}; chains: of a question and seed those that were to be so long. '
        'Control: first attempts after other first attempts, as of a model that does not read what it is shown.'
    )
    if any(row['beyond_context'] for row in chains['positions']):
        note += f' *: shown only the last {chains["context"]} of the attempts before it.'
    return f'<h4>{page.text(_title(chains))}</h4>{page.table(heads, rows)}<p class="quiet">{page.text(note)}</p>'


def _title(chains: Mapping[str, Any]) -> str:
    return f'Along the chains ({chains["pool"]}), {shown(chains["context"])}'


def _level_table(chains: Mapping[str, Any]) -> str:
    rows = [
        (
            f'level {part["level"]}',
            str(row['position']),
            f'{part["num_questions"]:,}',
            tables.percent(row['pass_at_1']),
            tables.gain(row['over_first']),
            *(_share(row[what]) for what in _FLIPS),
        )
        for part in chains['by_difficulty']
        for row in told_positions(part['positions'])
    ]
    heads = ('difficulty', 'attempt', 'questions', 'pass@1, %', 'over the first, points', *(f'{w}, %' for w in _FLIPS.values()))
    return page.folded(f'{page.text(_title(chains))}, by difficulty', page.table(heads, rows))


def _share(value: Mapping[str, Any] | None) -> str:
    return NOTHING if value is None else tables.percent(value)


def _verifier_table(found: Sequence[Mapping[str, Any]]) -> str:
    """How well verifiers tell right attempts from wrong ones; nothing where none was asked."""
    rows, pairs = [], []
    for chains in found:
        for place, (name, told) in enumerate(chains['verifiers'].items()):
            others = list(chains['verifiers'])[place + 1 :]
            for row in told['auc']:
                kind = row['aggregation']
                rows.append((f'{name} ({chains["pool"]})', kind, number(row['first']), number(row['revisions'])))
                pairs += [(f'{name} ({chains["pool"]})', other, kind, number(row['against'][other], '+')) for other in others]
    if not rows:
        return ''
    note = (
        'AUC of right against wrong attempts within a question [95 % interval] (questions that have both). The paper: a PRM '
        'that was trained on independent solutions transfers badly to revisions, and an ORM that sees the earlier attempts is '
        'slightly better than one that does not.'
    )
    parts = [page.table(('verifier', 'score', 'first attempts', 'revisions'), rows, num_words=2)]
    if pairs:
        parts.append(page.table(('on revisions', 'against', 'score', 'difference of AUC'), pairs, num_words=3))
    return f'<h4>Verifiers on revisions</h4>{"".join(parts)}<p class="quiet">{page.text(note)}</p>'


def _choice_table(found: Sequence[Mapping[str, Any]]) -> str:
    """What another verifier would have chosen from the same attempts, at the largest n; nothing where there is one verifier."""
    largest = max((row['n'] for row in found), default=None)
    rows = [
        (row['strategy'], row['other'], row['ratio'], str(row['n']), tables.gain(row['difference']))
        for row in found
        if row['n'] == largest
    ]
    if not rows:
        return ''
    heads = ('strategy', 'against', 'ratio', 'n', 'difference, points')
    note = 'Accuracy where two verifiers choose in the same way from the very same attempts, paired by question.'
    table = page.table(heads, rows, num_words=2)
    return f'<h4>Verifiers choosing from the same attempts</h4>{table}<p class="quiet">{note}</p>'


def _ratio_tables(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for group in groups:
        rows = [(f'n = {row["n"]}', *_ratio_cells(row)) for row in group['rows']]
        heads = ('n', 'ratio', 'chains × length', 'strategy', 'accuracy, %', 'over parallel, points', 'FLOPs')
        levels = [
            (f'level {part["level"]}, n = {row["n"]}', *_ratio_cells(row))
            for part in group['by_difficulty']
            for row in part['rows']
        ]
        yield f'<h4>{page.text(f"Sequential to parallel: {kind_of(group)}")}</h4>{page.table(heads, rows, num_words=1)}'
        if levels:
            yield page.folded('The same by difficulty', page.table(('level and n', *heads[1:]), levels))


def _ratio_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    shape = f'{row["chains"]} × {row["length"]}'
    accuracy, over = tables.percent(row['accuracy']), tables.gain(row['over_parallel'])
    return row['ratio'], shape, row['strategy'], accuracy, over, quantity(row['flops'])
