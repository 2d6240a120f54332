"""`metrics.json` of the page about the paper: every number that it tells, under names that a script can rely on.

No time, no path, no commit: the same records give the same bytes. `point` is None where a curve never gets there, `low` and
`high` where there is no interval; accuracies are shares, differences and AUCs as they are, gains of the duel in per cent.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.analysis.contrasts import Cell
from jaxreason.analysis.paper_inputs import Bins, PaperInputs, Part
from jaxreason.analysis.paper_revisions import longest
from jaxreason.analysis.paper_savings import saving_of, terms_of
from jaxreason.analysis.paper_verdicts import Finding
from jaxreason.analysis.paper_verifiers import judges

Table = dict[str, Any]
_NAMES = {'oracle': 'oracle', 'predicted': 'predicted', 'charged': 'charged', 'fixed': 'best_fixed'}
_FLIPS = ('lost', 'won', 'repeated')


def compute(inputs: PaperInputs, findings: Sequence[Finding]) -> Table:
    """All numbers.

    Returns:
        JSON values: of the searches `num_questions`, `seeds`, `accuracy.<strategy>.<n>`, `best_fixed.<n>`, `saving.<curve>`,
        `gap.<curve>` (over the best fixed strategy and over the reference, mean of the budgets), `bins.<estimate>`, `prm` and
        `orm` (`judges`); `revisions`, None where left out, the same and `chain`, `flips`, `ratios`; `duel.<R>.<bin>`, None
        where left out, in the terms `duel_terms`; `findings`.
    """
    table = inputs.duel.table if inputs.duel is not None else None
    revisions = None
    if inputs.revisions is not None and inputs.revised is not None:
        revisions = {**_part(inputs.revisions), **_revised(inputs.revised)}
    return {
        **_part(inputs.search),
        'prm': None,
        'orm': None,
        **judges(inputs.search, inputs.labels),
        'revisions': revisions,
        'duel': None if table is None else _duel(table, terms_of(table)),
        'duel_spent': None if table is None or 'spent' not in table['duel'] else _duel(table, 'spent'),
        'duel_terms': None if table is None else terms_of(table),
        'findings': [{**finding._asdict(), 'verdict': finding.verdict.value} for finding in findings],
    }


def to_text(metrics: Table) -> str:
    """The text of the file: the same bytes for the same numbers."""
    return json.dumps(metrics, sort_keys=True, indent=1, allow_nan=False) + '\n'


def _part(part: Part) -> Table:
    answers = part.answers
    return {
        'num_questions': part.metrics['num_questions'],
        'seeds': sorted({record.seed for record in part.run.records}),
        'accuracy': {label: {str(n): answers.accuracy(Cell(label, n)) for n in answers.ns(label)} for label in answers.labels},
        'best_fixed': {str(row['n']): row['accuracy'] for row in part.mode['curves']['fixed']},
        'saving': {_NAMES[name]: saving_of(value) for name, value in part.mode['saving'].items()},
        'gap': {
            _NAMES[name]: {
                against: {end: _overall(rows)[end] for end in ('point', 'low', 'high')} for against, rows in gaps.items()
            }
            for name, gaps in part.mode['gaps'].items()
        },
        'bins': {name: _bins(part, bins) for name, bins in part.bins.items()},
    }


def _overall(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The mean of all budgets."""
    return next(row for row in rows if row['n'] is None)


def _bins(part: Part, bins: Bins) -> Table:
    """Lists are by level, the easiest first; an accuracy is None where a level has no questions."""
    levels = [bins.questions(level) for level in range(1, bins.num_levels + 1)]
    answers = part.answers
    return {
        'sizes': [len(questions) for questions in levels],
        'means': [bins.mean(level) for level in range(1, bins.num_levels + 1)],
        'cuts': list(bins.cuts),
        'accuracy': {
            label: {str(n): [answers.accuracy(Cell(label, n), inside) for inside in levels] for n in answers.ns(label)}
            for label in answers.labels
        },
    }


def _revised(revised: Mapping[str, Any]) -> Table:
    chains = longest(revised)
    return {
        'chain': [
            {'position': row['position'], 'pass_at_1': row['pass_at_1'], 'over_first': row['over_first']}
            for row in chains['positions']
        ],
        'past_context': chains['past_context'],
        'flips': {what: chains[what] for what in _FLIPS},
        'flips_of_first_attempts': {what: chains['control'][what] for what in _FLIPS},
        'ratios': [
            {
                'vote': group['vote'],
                'verifier': group['verifier'],
                'all': _ratios(group['rows']),
                'levels': {str(level['level']): _ratios(level['rows']) for level in group['by_difficulty']},
            }
            for group in revised['ratios']
        ],
    }


def _ratios(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Accuracy, and the difference to parallel attempts, by n and ratio."""
    found: Table = {}
    for row in rows:
        told = {'accuracy': row['accuracy'], 'over_parallel': row['over_parallel']}
        found.setdefault(str(row['n']), {})[row['ratio']] = told
    return found


def _duel(table: Mapping[str, Any], terms: str) -> Table:
    """Relative gain in per cent, and points, of compute-optimal over greedy answers of the larger model."""
    return {
        ratio: {
            group: {
                'gain': cell['gain'],
                'low': cell['gain_low'],
                'high': cell['gain_high'],
                'points': {'point': cell['points'], 'low': cell['low'], 'high': cell['high']},
                **{name: cell[name] for name in ('small', 'large', 'k', 'n')},
            }
            for group, cell in groups.items()
        }
        for ratio, groups in table['duel'][terms].items()
    }
