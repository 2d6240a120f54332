"""What the paper found of choosing by difficulty, and of a larger model at equal FLOPs, beside what a fit and a match show.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, sections 5.3, 6.2 and 7.
"""

from collections.abc import Mapping
from typing import Any

from jaxreason.analysis import fit_page
from jaxreason.analysis.contrasts import Cell, Value
from jaxreason.analysis.fit_figures import times
from jaxreason.analysis.paper_inputs import Part
from jaxreason.analysis.paper_verdicts import Claim, Finding, Verdict, clear_of, of_saving, of_sign, points, share

_NAMES = {
    'oracle': "by the oracle's bins",
    'predicted': 'by predicted bins, which nobody is charged for',
    'charged': 'by an estimate that is charged',
    'fixed': 'by the best fixed strategy of each budget',
}
_GROUPS = ('easy', 'medium', 'hard')
_OTHERS = ('compute-optimal, charged', 'best fixed', 'majority', 'greedy')  # curves of the small model
_RULE = (
    'the interval of the saving in FLOPs is above 1x (disagrees: below), and the baseline itself is clear of what it reaches '
    'with its least budget, else there is nothing to save on; how near it is to 4x is for the reader'
)
_SEARCH, _REVISIONS = ('compute-optimal', 'section 5.3, figure 4'), ('compute-optimal-revisions', 'section 6.2, figure 6')
_ORACLE = 'chosen by the difficulty that an oracle knows, it equals {} with up to 4x less compute'
_PREDICTED = 'by predicted difficulty it saves nearly as much, and less at large budgets'
_SMALL_RATIO = Claim(
    'duel',
    'section 7, figure 8',
    'where answers cost little beside training (R << 1), a small model with search beats a 14x larger one on easy questions',
    'the interval of small less large on easy questions, at the smallest R, is above 0 (disagrees: below)',
)
_LARGE_RATIO = Claim(
    'duel',
    'section 7, figure 8',
    'where they cost much (R >> 1), the larger model is better on hard questions',
    'the interval of small less large on hard questions, at the largest R, is below 0 (disagrees: above)',
)


def search_saving(part: Part) -> list[Finding]:
    """What choosing a search by difficulty saves against best-of-N."""
    return _saving(part, [Claim(*_SEARCH, words, _RULE) for words in (_ORACLE.format('best-of-N'), _PREDICTED)])


def revision_saving(part: Part | None) -> list[Finding]:
    """What choosing a ratio by difficulty saves against parallel best-of-N; None where revisions are left out."""
    claims = [Claim(*_REVISIONS, words, _RULE) for words in (_ORACLE.format('parallel best-of-N'), _PREDICTED)]
    if part is None:
        return [claim.absent('left out of this run: no revisions were trained') for claim in claims]
    return _saving(part, claims)


def _saving(part: Part, claims: list[Claim]) -> list[Finding]:
    metrics, savings = part.fit.metrics, part.mode['saving']
    reference = metrics['reference']
    goal = f'{reference["strategy"]} at n = {reference["n"]} ({fit_page.percent(reference["accuracy"])} %)'
    gain = _gain(part)
    made = []
    for claim, name in zip(claims, ('oracle', 'predicted'), strict=True):
        if name not in savings:
            made.append(claim.absent('the fit was given no predicted difficulty'))
            continue
        told = told_saving(savings[name])
        ours = f'to be as accurate as {goal}, FLOPs saved {_NAMES[name]} {told}; {_NAMES["fixed"]} {times(savings["fixed"])}; '
        ours += f'the baseline gains {points(gain)} over its least budget; {_greedy(part)}'
        verdict = of_saving(savings[name]) if clear_of(gain) > 0 else Verdict.UNTOLD
        made.append(claim.found(ours, told, verdict))
    return made


def _gain(part: Part) -> Value | None:
    """What the baseline gains from its least budget to that of the reference."""
    strategy, n = part.fit.metrics['reference']['strategy'], part.fit.metrics['reference']['n']
    least = min((each for each in part.answers.ns(strategy) if each < n), default=n)
    return part.answers.difference(Cell(strategy, n), Cell(strategy, least))


def _greedy(part: Part) -> str:
    return 'no greedy answers' if part.greedy is None else f'greedy {share(part.answers.accuracy(part.greedy))}'


def told_saving(value: Mapping[str, Any]) -> str:
    """A saving in words, with its interval."""
    if value['censored'] == 'at_most':
        return f'none, since it never gets there ({times(value)})'
    never = 100 * value['never_reached']
    return f'{times(value)}, never reached in {never:.0f} % of resamples' if never >= 0.5 else times(value)


def worth(part: Part) -> list[tuple[str, ...]]:
    """What each way to choose saves, adds to the best fixed strategy, and reaches; heads first."""
    budget = max(part.fit.metrics['budgets'])
    rows: list[tuple[str, ...]] = [
        ('chosen', 'FLOPs saved', 'over the best fixed, points, mean of all n', f'accuracy at n = {budget}, %')
    ]
    for name, words in _NAMES.items():
        if name in part.mode['curves']:
            gaps = part.mode['gaps'].get(name, {'over_fixed': []})['over_fixed']
            over = next((fit_page.points(row) for row in gaps if row['n'] is None), '–')
            reached = part.mode['curves'][name][-1]['accuracy']
            rows.append((words, told_saving(part.mode['saving'][name]), over, fit_page.percent(reached)))
    if part.greedy is not None and (reached := part.answers.accuracy(part.greedy)) is not None:
        rows.append(('greedy', '–', '–', fit_page.percent(reached)))
    return rows


def saving_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """A saving as numbers; the point or an end is None where the curve never gets there, and a bound where that says so."""
    unknown = {'point': value['censored'], 'low': value['low_censored'], 'high': value['high_censored']}
    found: dict[str, Any] = {name: None if how == 'at_most' else value[name] for name, how in unknown.items()}
    return {**found, **{name: value[name] for name in ('censored', 'low_censored', 'high_censored', 'never_reached')}}


def duel(table: Mapping[str, Any] | None) -> list[Finding]:
    """A small model with search against a larger one at equal FLOPs; None where left out."""
    if table is None:
        return [claim.absent('left out of this run: no larger model was trained') for claim in (_SMALL_RATIO, _LARGE_RATIO)]
    ratios = sorted(table['duel'][terms_of(table)], key=float)
    return [_cell(_SMALL_RATIO, table, ratios[0], 'easy', 1), _cell(_LARGE_RATIO, table, ratios[-1], 'hard', -1)]


def _cell(claim: Claim, table: Mapping[str, Any], ratio: str, group: str, sign: int) -> Finding:
    cell = table['duel'][terms_of(table)][ratio][group]
    if cell['points'] is None:
        return claim.absent(f'at R = {ratio} there is no {group} question, or the money does not buy the smallest budget')
    value = {'point': cell['points'], 'low': cell['low'], 'high': cell['high']}
    ends = '[none]' if cell['low'] is None else f'[{cell["low"]:+.1f}, {cell["high"]:+.1f}]'
    short = f'{cell["points"]:+.1f} {ends} points at R = {ratio}'
    ours = f'at R = {ratio}, {group} questions: small {100 * cell["small"]:.1f} %, large, greedy {100 * cell["large"]:.1f} %'
    ours += f', a difference of {cell["points"]:+.1f} {ends} points{_other_curves(table, ratio, group)}'
    return claim.found(ours, short, of_sign(value, sign))


def terms_of(table: Mapping[str, Any]) -> str:
    """The convention that is shown: that of the paper's first version, where the match has it."""
    return 'arxiv' if 'arxiv' in table['duel'] else next(iter(table['duel']))


def _other_curves(table: Mapping[str, Any], ratio: str, group: str) -> str:
    """What the small model reaches otherwise for the same money."""
    place = (terms_of(table), ratio, 'greedy', group)
    here = [row for row in table['rows'] if (row['convention'], f'{row["ratio"]:g}', row['rival'], row['group']) == place]
    told = [
        f'{row["curve"]} {100 * row["small"]:.1f} %' for row in here if row['curve'] in _OTHERS and row['small'] is not None
    ]
    return f'; the small model otherwise: {", ".join(told)}' if told else ''


def duel_points(table: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of every R, what each curve of the small model is ahead of greedy answers of the larger one, in points; heads first."""
    found: dict[tuple[float, str], dict[str, str]] = {}
    for row in table['rows']:
        is_shown = row['curve'] in ('compute-optimal', *_OTHERS) and row['rival'] == 'greedy'
        if is_shown and row['convention'] == terms_of(table) and row['group'] in _GROUPS:
            ends = '[none]' if row['low'] is None else f'[{row["low"]:+.0f}, {row["high"]:+.0f}]'
            told = '–' if row['points'] is None else f'{row["points"]:+.1f} {ends}'
            found.setdefault((row['ratio'], row['curve']), {})[row['group']] = told
    heads = ('R', 'small model', *(f'{group}, points' for group in _GROUPS))
    return [heads, *((f'{ratio:g}', curve, *cells.values()) for (ratio, curve), cells in sorted(found.items(), key=_by_ratio))]


def _by_ratio(item: tuple[tuple[float, str], Any]) -> float:
    return item[0][0]
