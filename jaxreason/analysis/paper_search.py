"""What the paper found of searches by a process reward model, beside what a run shows: against the budget, and by difficulty.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.3, figure 3.
"""

from collections.abc import Collection

from jaxreason.analysis.contrasts import Cell, Term, change
from jaxreason.analysis.paper_config import SearchLabels
from jaxreason.analysis.paper_inputs import Part
from jaxreason.analysis.paper_verdicts import Claim, Finding, of_all, of_sign, points, share

SMALL = 0.05  # a gain that counts as none, as a share of the questions

_AHEAD = Claim(
    'search',
    'section 5.3, figure 3 left',
    'beam search is ahead of best-of-N at small budgets',
    'the interval of beam search less best-of-N at the smallest n of both is above 0 (disagrees: below)',
)
_SHRINKS = Claim(
    'search',
    'section 5.3, figure 3 left',
    'that lead shrinks as the budget grows, and at the largest beam search is behind',
    'the interval of the change of that lead, from the smallest n to the largest, is below 0 (disagrees: above)',
)
_LOOKAHEAD = Claim(
    'search',
    'section 5.3, figure 3 left',
    'at equal cost lookahead search is behind the other methods',
    'the intervals of its differences to best-of-N and to beam search of as many generations are below 0 (disagrees: one of '
    'them is above)',
)
_EASY = Claim(
    'bins',
    'section 5.3, figure 3 right',
    'on easy questions (levels 1 and 2) beam search with a large budget is behind best-of-N, since it exploits the PRM',
    'the interval of beam search less best-of-N at the largest n, in levels 1 and 2, is below 0 (disagrees: above)',
)
_MIDDLE = Claim(
    'bins',
    'section 5.3, figure 3 right',
    'on harder ones (levels 3 and 4) beam search is ahead, whatever the budget',
    'the interval of beam search less best-of-N in levels 3 and 4, mean of all n of both, is above 0 (disagrees: below)',
)
_HARD = Claim(
    'bins',
    'section 5.3, figure 3 right',
    'on the hardest (level 5) nothing helps much',
    f'the intervals of what best-of-N and beam search gain in level 5 from the smallest n of best-of-N to the largest of both '
    f'are below {100 * SMALL:.0f} points (disagrees: one of them is above)',
)


def by_budget(part: Part, labels: SearchLabels) -> list[Finding]:
    """Searches against the budget, over all questions."""
    return [*_beam(part, labels), _lookahead(part, labels)]


def _beam(part: Part, labels: SearchLabels) -> list[Finding]:
    answers, beam, base = part.answers, labels.beam, labels.best_of_n
    ns = answers.ns(beam, base)
    if not ns:
        return [claim.absent(no_strategy(beam)) for claim in (_AHEAD, _SHRINKS)]
    small, large = ns[0], ns[-1]
    first, last = (answers.difference(Cell(beam, n), Cell(base, n)) for n in (small, large))
    reached = f'{beam} {share(answers.accuracy(Cell(beam, small)))}, {base} {share(answers.accuracy(Cell(base, small)))}'
    ours = f'at n = {small} {reached}, a difference of {points(first)}; {beside(part, small)}'
    found = [_AHEAD.found(ours, f'{points(first)} at n = {small}', of_sign(first, 1))]
    if small == large:
        return [*found, _SHRINKS.absent(f'both have answers at n = {small} alone')]
    shrinks = change(answers, beam, base, small, large)
    ours = f'at n = {large} {beam} less {base} is {points(last)}, a change of {points(shrinks)} since n = {small}'
    short = f'{points(shrinks)} from n = {small} to {large}'
    return [*found, _SHRINKS.found(f'{ours}; {beside(part, large)}', short, of_sign(shrinks, -1))]


def _lookahead(part: Part, labels: SearchLabels) -> Finding:
    answers, label = part.answers, labels.lookahead
    costs = {n: part.generations(Cell(label, n)) for n in answers.ns(label)}
    shared = [n for n, cost in costs.items() if cost in answers.ns(labels.best_of_n)]
    if not shared:
        return _LOOKAHEAD.absent(f'{label} never costs as much as another strategy' if costs else no_strategy(label))
    n = shared[-1]
    cost = costs[n]
    others = [each for each in (labels.best_of_n, labels.beam) if cost in answers.ns(each)]
    gaps = {each: answers.difference(Cell(label, n), Cell(each, cost)) for each in others}
    told = ', '.join(f'{points(gap)} against {each}' for each, gap in gaps.items())
    ours = f'for {cost} generations {label} reaches {share(answers.accuracy(Cell(label, n)))}, {told}; {beside(part, cost)}'
    short = f'{told}, for {cost} generations'
    return _LOOKAHEAD.found(ours, short, of_all(of_sign(gap, -1) for gap in gaps.values()))


def by_difficulty(part: Part, labels: SearchLabels) -> list[Finding]:
    """Searches within the bins of the oracle."""
    ns = part.answers.ns(labels.beam, labels.best_of_n)
    if not ns:
        return [claim.absent(no_strategy(labels.beam)) for claim in (_EASY, _MIDDLE, _HARD)]
    return [_easy(part, labels, ns), _middle(part, labels, ns), _hard(part, labels, ns)]


def _easy(part: Part, labels: SearchLabels, ns: list[int]) -> Finding:
    inside, large = part.oracle.questions(1, 2), ns[-1]
    gap = part.answers.difference(Cell(labels.beam, large), Cell(labels.best_of_n, large), inside)
    if gap is None:
        return _EASY.absent('no question is in levels 1 and 2')
    ours = f'in levels 1 and 2 at n = {large} {labels.beam} less {labels.best_of_n} is {points(gap)}'
    return _EASY.found(f'{ours}; {beside(part, large, inside)}', f'{points(gap)} at n = {large}', of_sign(gap, -1))


def _middle(part: Part, labels: SearchLabels, ns: list[int]) -> Finding:
    inside = part.oracle.questions(3, 4)
    sides = ((labels.beam, 1), (labels.best_of_n, -1))
    gap = part.answers.total([Term(sign / len(ns), Cell(label, n)) for n in ns for label, sign in sides], inside)
    if gap is None:
        return _MIDDLE.absent('no question is in levels 3 and 4')
    budgets = ', '.join(map(str, ns))
    ours = f'in levels 3 and 4 {labels.beam} less {labels.best_of_n} is {points(gap)}, the mean of n = {budgets}'
    return _MIDDLE.found(f'{ours}; at n = {ns[-1]} {beside(part, ns[-1], inside)}', points(gap), of_sign(gap, 1))


def _hard(part: Part, labels: SearchLabels, ns: list[int]) -> Finding:
    base, inside, large = labels.best_of_n, part.oracle.questions(5), ns[-1]
    least = part.answers.ns(base)[0]
    gains = {label: part.answers.difference(Cell(label, large), Cell(base, least), inside) for label in (base, labels.beam)}
    if None in gains.values():
        return _HARD.absent('no question is in level 5')
    told = ', '.join(f'{label} {points(gain)}' for label, gain in gains.items())
    ours = f'in level 5, n = {large} gains over {base} at n = {least}: {told}; {beside(part, large, inside)}'
    return _HARD.found(ours, told, of_all(of_sign(gain, -1, SMALL) for gain in gains.values()))


def beside(part: Part, n: int, questions: Collection[str] | None = None) -> str:
    """Greedy and the best fixed strategy within n solutions, which stand beside every accuracy."""
    told = [] if part.greedy is None else [f'greedy {share(part.answers.accuracy(part.greedy, questions))}']
    best = part.best_fixed(n)
    if best is not None:
        told.append(f'best fixed ({best.strategy}, n = {best.n}) {share(part.answers.accuracy(best, questions))}')
    return ', '.join(told)


def no_strategy(label: str) -> str:
    """Why nothing can be said of a strategy."""
    return f'the run has no strategy {label!r}'
