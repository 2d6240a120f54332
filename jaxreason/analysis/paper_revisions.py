"""What the paper found of revisions, beside what a run shows: along the chain, and sequential against parallel.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6 and appendices L to O.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from jaxreason.analysis.contrasts import Cell, Value
from jaxreason.analysis.paper_inputs import Part
from jaxreason.analysis.paper_search import beside
from jaxreason.analysis.paper_verdicts import Claim, Finding, of_all, of_sign, points, share

LOST = 0.38  # of right answers, by the next revision, in the paper

_RISES = Claim(
    'chain',
    'section 6.1, figure 9 left',
    'pass@1 rises along a chain of revisions',
    'the interval of the last attempt less the first is above 0 (disagrees: below)',
)
_PAST = Claim(
    'chain',
    'section 6.1, figure 9 left',
    'it goes on rising past four earlier attempts, the most that training showed',
    'the interval of the last attempt less the last that is shown all before it is above 0 (disagrees: below)',
)
_LOST = Claim(
    'chain',
    'section 6.1',
    f'the next revision loses about {100 * LOST:.0f} % of right answers, so an answer is chosen within the chain',
    f'the interval of the share that is lost is above {50 * LOST:.0f} %, half of that (disagrees: below)',
)
_CHAIN_RULE = 'the interval of one chain less parallel attempts at the largest n is above 0 (disagrees: below)'
_MIDDLE_RULE = (
    'the intervals of the ratio in the middle (not the best one) less either end, at the largest n, are above 0 (disagrees: '
    'one of them is below)'
)
_CHAIN = Claim('ratios', 'section 6.2', 'one chain narrowly beats as many attempts in parallel', _CHAIN_RULE)
_MIDDLE = Claim('ratios', 'section 6.2, figure 7', 'with a large budget a ratio between the two ends is best', _MIDDLE_RULE)
_EASY = Claim('ratios', 'section 6.2, figure 7', 'on easy questions only sequential attempts are best', _CHAIN_RULE)
_HARD = Claim('ratios', 'section 6.2, figure 7', 'on hard questions a ratio between the two ends is best', _MIDDLE_RULE)
LEFT_OUT = 'left out of this run: no revisions were trained'


def longest(revised: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pool with the longest chains."""
    return max(revised['chains'], key=lambda chains: chains['length'])


def group_of(revised: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ratios among which a verifier chooses; where there are none, those of a majority."""
    return min(revised['ratios'], key=lambda group: (group['verifier'] is None, not group['best']))


def chain_left_out() -> list[Finding]:
    """What stands in place of `along_the_chain`."""
    return [claim.absent(LEFT_OUT) for claim in (_RISES, _PAST, _LOST)]


def ratios_left_out() -> list[Finding]:
    """What stands in place of `ratios`."""
    return [claim.absent(LEFT_OUT) for claim in (_CHAIN, _MIDDLE, _EASY, _HARD)]


def along_the_chain(part: Part, revised: Mapping[str, Any]) -> list[Finding]:
    """What the next attempt gains and loses."""
    chains = longest(revised)
    first, last = chains['positions'][0], chains['positions'][-1]
    over, past = last['over_first'], chains['past_context']
    reached = f'{share(first["pass_at_1"])} at the first attempt, {share(last["pass_at_1"])} at attempt {last["position"]}'
    ours = f'{reached}, a difference of {points(over)}; {beside(part, most_generations(part))}'
    found = [_RISES.found(ours, f'{points(over)} at attempt {last["position"]}', of_sign(over, 1))]
    if past is None:
        found.append(_PAST.absent('no chain is known to be longer than what a revision is shown'))
    else:
        words = f'{points(past)} from attempt {chains["context"] + 1} to {last["position"]}'
        found.append(_PAST.found(f'pass@1 changes by {words}', words, of_sign(past, 1)))
    return [*found, _lost(chains)]


def _lost(chains: Mapping[str, Any]) -> Finding:
    if chains['lost'] is None:
        return _LOST.absent('no right attempt was revised')
    control, won = chains['control']['lost'], chains['won']
    told = [f'{share(chains["lost"])} of right attempts are lost by the next one']
    told += [f'{share(control)} if that were another first attempt'] if control is not None else []
    told += [f'{share(won)} of the others are put right'] if won is not None else []
    return _LOST.found(', '.join(told), share(chains['lost']), of_sign(chains['lost'], 1, LOST / 2))


def most_generations(part: Part) -> int:
    """The largest budget that the fit knows."""
    return max(part.fit.metrics['budgets'])


class _Places(NamedTuple):
    """Strategies at one n by their ratio: rows of `analysis.ratios`."""

    chain: Mapping[str, Any]
    middle: Mapping[str, Any]
    parallel: Mapping[str, Any]

    @property
    def n(self) -> int:
        return self.chain['n']


def ratios(part: Part, revised: Mapping[str, Any]) -> list[Finding]:
    """Sequential against parallel at the largest n: over all questions, then on easy and on hard ones."""
    places = _places(group_of(revised))
    if places is None:
        why = 'no n of the run has one chain, parallel attempts, and a ratio between them'
        return [claim.absent(why) for claim in (_CHAIN, _MIDDLE, _EASY, _HARD)]
    easy, hard = part.oracle.questions(1, 2), part.oracle.questions(4, 5)
    return [
        _sequential(_CHAIN, part, places, None),
        _between(_MIDDLE, part, places, None),
        _sequential(_EASY, part, places, easy) if easy else _EASY.absent('no question is in levels 1 and 2'),
        _between(_HARD, part, places, hard) if hard else _HARD.absent('no question is in levels 4 and 5'),
    ]


def _places(group: Mapping[str, Any]) -> _Places | None:
    """One chain, the ratio nearest to 1:1 between the ends, and parallel attempts, at the largest n that has all three."""
    for n in sorted({row['n'] for row in group['rows']}, reverse=True):
        rows = [row for row in group['rows'] if row['n'] == n]
        chain = next((row for row in rows if row['chains'] == 1 and row['length'] > 1), None)
        parallel = next((row for row in rows if row['length'] == 1 and row['chains'] > 1), None)
        between = [row for row in rows if row['chains'] > 1 and row['length'] > 1]
        if chain and parallel and between:
            return _Places(chain, min(between, key=lambda row: max(row['length'], row['chains'])), parallel)
    return None


def _sequential(claim: Claim, part: Part, places: _Places, questions: Collection[str] | None) -> Finding:
    gap = _difference(part, places.chain, places.parallel, questions)
    told = ', '.join(_reached(part, row, questions) for row in (places.chain, places.parallel))
    where = f'{_inside(part, questions)}at n = {places.n}'
    ours = f'{where} {told}, a difference of {points(gap)}; {beside(part, places.n, questions)}'
    return claim.found(ours, f'{points(gap)} at n = {places.n}', of_sign(gap, 1))


def _between(claim: Claim, part: Part, places: _Places, questions: Collection[str] | None) -> Finding:
    ends = {'parallel': places.parallel, 'one chain': places.chain}
    gaps = {name: _difference(part, places.middle, end, questions) for name, end in ends.items()}
    told = ', '.join(f'{points(gap)} over {name}' for name, gap in gaps.items())
    where = f'{_inside(part, questions)}at n = {places.n}'
    ours = f'{where} {_reached(part, places.middle, questions)}, {told}; {beside(part, places.n, questions)}'
    return claim.found(ours, told, of_all(of_sign(gap, 1) for gap in gaps.values()))


def _inside(part: Part, questions: Collection[str] | None) -> str:
    """Which levels some questions are of, as words before a sentence; none for all questions."""
    if questions is None:
        return ''
    levels = sorted({part.oracle.levels[question] for question in questions})
    return f'in level{"s" * (len(levels) > 1)} {" and ".join(map(str, levels))} '


def _difference(
    part: Part, row: Mapping[str, Any], other: Mapping[str, Any], questions: Collection[str] | None
) -> Value | None:
    return part.answers.difference(Cell(row['strategy'], row['n']), Cell(other['strategy'], other['n']), questions)


def _reached(part: Part, row: Mapping[str, Any], questions: Collection[str] | None) -> str:
    return f'ratio {row["ratio"]} reaches {share(part.answers.accuracy(Cell(row["strategy"], row["n"]), questions))}'
