"""What the paper found of verifiers and of how their scores become an answer, beside what a run shows.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.1 and appendices G and H.
"""

from collections.abc import Mapping
from typing import Any

from jaxreason.analysis.contrasts import Cell, change
from jaxreason.analysis.health_page import number
from jaxreason.analysis.paper_config import SearchLabels
from jaxreason.analysis.paper_inputs import Part
from jaxreason.analysis.paper_search import beside, no_strategy
from jaxreason.analysis.paper_verdicts import Claim, Finding, of_all, of_sign, points, share

_AHEAD = Claim(
    'verifiers',
    'appendix H, figure 15',
    'best-of-N by the PRM is ahead of best-of-N by the ORM',
    'the interval of the difference at the largest n is above 0 (disagrees: below)',
)
_WIDENS = Claim(
    'verifiers',
    'appendix H, figure 15',
    'the lead of the PRM grows with N',
    'the interval of the change of that lead, from the smallest n above 1 to the largest, is above 0 (disagrees: below)',
)
_LAST = Claim(
    'aggregations',
    'section 5.1, appendix G, figure 14',
    'the score of the last step is the best score of a solution, ahead of the least and of the product of all steps',
    'the intervals of its differences to min and prod at the largest n are above 0 (disagrees: one of them is below)',
)
_WEIGHTED = Claim(
    'aggregations',
    'appendix H, figure 13',
    'the weighted vote is ahead of the single best solution, which a verifier that is over-optimised picks',
    'the interval of the difference at the largest n is above 0 (disagrees: below)',
)


def verifiers(part: Part, labels: SearchLabels) -> list[Finding]:
    """Best-of-N by the PRM and by the ORM, on the same samples."""
    answers, prm, orm = part.answers, labels.best_of_n, labels.orm
    ns = [n for n in answers.ns(prm, orm) if n > 1]
    if not ns:
        return [claim.absent(no_strategy(orm)) for claim in (_AHEAD, _WIDENS)]
    small, large = ns[0], ns[-1]
    gap = answers.difference(Cell(prm, large), Cell(orm, large))
    reached = ', '.join(
        f'by the {name} {share(answers.accuracy(Cell(each, large)))}' for name, each in (('PRM', prm), ('ORM', orm))
    )
    ours = f'at n = {large} {reached}, a difference of {points(gap)}; {beside(part, large)}'
    found = [_AHEAD.found(f'{ours}{_steps(part, labels)}', f'{points(gap)} at n = {large}', of_sign(gap, 1))]
    if small == large:
        return [*found, _WIDENS.absent(f'both have answers at n = {large} alone, besides one sample')]
    grows = change(answers, prm, orm, small, large)
    words = f'{points(grows)} from n = {small} to n = {large}'
    return [*found, _WIDENS.found(f'the lead changes by {words}', words, of_sign(grows, 1))]


def _steps(part: Part, labels: SearchLabels) -> str:
    """How well steps are told apart, where an exact checker knows."""
    told = [f'{name.upper()} {number(each["step_auc"])}' for name, each in judges(part, labels).items() if each['step_auc']]
    return f'; AUC of right against wrong steps, by the exact checker: {", ".join(told)}' if told else ''


def judges(part: Part, labels: SearchLabels) -> dict[str, dict[str, Any]]:
    """Of the PRM and the ORM, as far as the run has them, how well they tell right steps and answers from wrong ones.

    Returns:
        By `prm` and `orm`: `step_auc` and `within_question_step_auc` against the exact checker (None where there is none), and
        `within_question_auc` of the last score against the verdict on the answer.
    """
    found = {}
    for name, label in (('prm', labels.best_of_n), ('orm', labels.orm)):
        strategy = part.strategies.get(label)
        verifier = strategy.judges[0] if strategy is not None and strategy.judges else None
        health: Mapping[str, Any] = part.metrics['verifiers'].get(verifier, {})
        if health:
            steps = health['steps'] or {}
            found[name] = {
                **{key: steps.get(key) for key in ('step_auc', 'within_question_step_auc')},
                'within_question_auc': health['within_question_auc']['last'],
            }
    return found


def aggregations(part: Part, labels: SearchLabels) -> list[Finding]:
    """How the scores of steps become that of a solution, and these an answer; all by the PRM."""
    return [_last(part, labels), _weighted(part, labels)]


def _last(part: Part, labels: SearchLabels) -> Finding:
    answers, last = part.answers, labels.best_of_n
    n = answers.ns(last)[-1]
    known = {name: label for name, label in labels.aggregations.items() if n in answers.ns(label)}
    gaps = {name: answers.difference(Cell(last, n), Cell(label, n)) for name, label in known.items()}
    claimed = {name: gap for name, gap in gaps.items() if name in ('min', 'prod')}
    if not claimed:
        return _LAST.absent(f'the run has no strategy by min or prod at n = {n}')
    told = ', '.join(f'{points(gap)} over {name}' for name, gap in gaps.items())
    ours = f'at n = {n} the last score reaches {share(answers.accuracy(Cell(last, n)))}, {told}; {beside(part, n)}'
    short = ', '.join(f'{points(gap)} over {name}' for name, gap in claimed.items())
    return _LAST.found(ours, short, of_all(of_sign(gap, 1) for gap in claimed.values()))


def _weighted(part: Part, labels: SearchLabels) -> Finding:
    answers, weighted, single = part.answers, labels.best_of_n, labels.single
    ns = answers.ns(weighted, single)
    if not ns:
        return _WEIGHTED.absent(no_strategy(single))
    n = ns[-1]
    gap = answers.difference(Cell(weighted, n), Cell(single, n))
    reached = f'the single best {share(answers.accuracy(Cell(single, n)))}'
    ours = f'at n = {n} {reached}, the weighted vote {points(gap)} more, both by the PRM; {beside(part, n)}'
    return _WEIGHTED.found(ours, f'{points(gap)} at n = {n}', of_sign(gap, 1))
