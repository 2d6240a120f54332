"""What a verifier's scores of step-labelled solutions are worth: metrics, tables, a section of the report.

A step counts as right as long as nothing was wrong up to its end. Since mistakes come late in long solutions, a score that
knows nothing but a step's number does better than chance, and the threshold of the first-error F1 rewards a share of solutions
without a mistake: so three scores that read nothing go through the same code, and stand beside the verifier's.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.analysis import page, tables
from jaxreason.analysis.run_folder import JudgementRun, read_judgements
from jaxreason.core.cost import total
from jaxreason.core.files import write_whole
from jaxreason.core.judged_steps import JudgedSteps
from jaxreason.core.judgement import JudgedSolution, summarise
from jaxreason.core.quantities import quantity
from jaxreason.core.records import cost_from

Metrics = dict[str, Any]

# What the tables show: a name for people, and where it stands in a summary.
_MEASURES = {
    'step AUC': ('step_auc',),
    'step AUC within questions': ('within_question_step_auc',),
    'accuracy of steps at 0.5': ('accuracy',),
    'ECE': ('calibration', 'ece'),
    'first-error F1': ('first_error', 'cross_fitted', 'f1'),
    '  first wrong step found': ('first_error', 'cross_fitted', 'erroneous'),
    '  left alone if none wrong': ('first_error', 'cross_fitted', 'error_free'),
    'first-error F1 at 0.5': ('first_error', 'at_half', 'f1'),
}
_OF_GROUPS = ('step AUC', 'accuracy of steps at 0.5', 'first-error F1')  # the others are in metrics.json


def compute(judged: Sequence[JudgedSteps]) -> Metrics:
    """All metrics of a run.

    Args:
        judged: every solution, scored or not, in an order that does not depend on the run.

    Returns:
        JSON values: counts, cost, `verifier` (as `summarise` gives it), the same of `baselines` that see no text, and of the
        `groups`, if there are several.
    """
    groups = sorted({solution.group for solution in judged})
    cost = total(cost_from(solution.cost) for solution in judged)
    return {
        'num_solutions': len(judged),
        'num_questions': len({solution.question_id for solution in judged}),
        'num_steps': sum(solution.num_steps for solution in judged),
        'num_one_step': sum(solution.num_steps == 1 for solution in judged),
        'num_error_free': sum(solution.first_wrong is None for solution in judged),
        'unscored': _unscored(judged),
        'cost': cost._asdict(),
        'flops': cost.flops,
        'verifier': _summary(judged, lambda solution: solution.scores),
        'baselines': {name: _summary(judged, score(judged)) for name, score in _BASELINES.items()},
        'groups': [
            {
                'group': name,
                'num_solutions': len(members),
                'num_steps': sum(solution.num_steps for solution in members),
                'unscored': _unscored(members),
                'verifier': _summary(members, lambda solution: solution.scores),
            }
            for name in groups
            if (members := [solution for solution in judged if solution.group == name]) and len(groups) > 1
        ],
    }


def write_metrics(folder: Path) -> Metrics:
    """Computes the metrics of a run from its judgements and writes `metrics.json`; errors as of `read_judgements`."""
    metrics = compute(read_judgements(folder).judged)
    write_whole(folder / 'metrics.json', json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False) + '\n')
    return metrics


def rows(metrics: Metrics) -> list[tuple[str, ...]]:
    """The cells of the table of measures, heads first."""
    columns = [('verifier', metrics['verifier']), *((f'{name} only', found) for name, found in metrics['baselines'].items())]
    heads = ('measure', *(name for name, _ in columns))
    return [heads, *((name, *(told(found, name) for _, found in columns)) for name in _MEASURES)]


def group_rows(metrics: Metrics) -> list[tuple[str, ...]]:
    """The cells of the table of groups, heads first; none where there is one group."""
    if not metrics['groups']:
        return []
    found = [
        (
            group['group'] or '(none)',
            f'{group["num_solutions"]:,}',
            f'{sum(group["unscored"].values()):,}',
            *(told(group['verifier'], name) for name in _OF_GROUPS),
        )
        for group in metrics['groups']
    ]
    return [('group', 'solutions', 'unscored', *_OF_GROUPS), *found]


def told(summary: Mapping[str, Any], name: str) -> str:
    """A measure with its interval, as in `0.512 [0.480, 0.544]`; a dash where it is not defined."""
    value: Any = summary
    for key in _MEASURES[name]:
        value = None if value is None else value[key]
    if value is None:
        return '–'
    ends = 'none' if value['low'] is None else f'{value["low"]:.3f}, {value["high"]:.3f}'
    return f'{value["point"]:.3f} [{ends}]'


def caption(metrics: Metrics) -> str:
    """What the numbers rest on, and how to read them."""
    unscored = ', '.join(f'{count:,} {reason.replace("_", " ")}' for reason, count in metrics['unscored'].items())
    return (
        f'{metrics["num_solutions"]:,} solutions of {metrics["num_questions"]:,} questions, {metrics["num_steps"]:,} steps; '
        f'{metrics["num_error_free"]:,} solutions have no wrong step, {metrics["num_one_step"]:,} are a single step. '
        f'Unscored and left out: {unscored or "none"}. {quantity(metrics["flops"], "FLOPs")} of scoring. '
        '[95 % bootstrap interval over questions]. A step is right if nothing is wrong up to its end. First-error F1: '
        'the first step below a threshold that was chosen on the other half of the questions. Beside the verifier what '
        'scores get that read no text: earlier steps higher (position), drawn at random, all the same (constant).'
    )


def section(run: JudgementRun) -> str:
    """The tables as HTML."""
    metrics = compute(run.judged)
    heads, *cells = rows(metrics)
    parts = [page.table(heads, cells), f'<p class="quiet">{page.text(caption(metrics))}</p>']
    if metrics['groups']:
        heads, *cells = group_rows(metrics)
        parts += ['<h3>By group</h3>', page.table(heads, cells)]
    return '\n'.join(parts)


def print_tables(metrics: Metrics, title: str = '') -> None:
    """Prints the tables to standard output."""
    tables.print_cells(rows(metrics), title)
    if metrics['groups']:
        tables.print_cells(group_rows(metrics))
    print(f'{caption(metrics)}\n')


def _unscored(judged: Sequence[JudgedSteps]) -> dict[str, int]:
    return dict(sorted(Counter(solution.unscored for solution in judged if solution.unscored is not None).items()))


def _summary(judged: Sequence[JudgedSteps], scores: Callable[[JudgedSteps], Sequence[float]]) -> Metrics:
    """Of the solutions that the verifier could score, what some scores of their steps are worth."""
    solutions = [
        JudgedSolution(
            question_id=solution.question_id,
            scores=tuple(scores(solution)) if solution.scores else (),
            targets=solution.targets,
            is_correct=solution.first_wrong is None,
        )
        for solution in judged
    ]
    return summarise(solutions)


def _position(judged: Sequence[JudgedSteps]) -> Callable[[JudgedSteps], Sequence[float]]:
    return lambda solution: [1 / (2 + index) for index in range(solution.num_steps)]


def _random(judged: Sequence[JudgedSteps]) -> Callable[[JudgedSteps], Sequence[float]]:
    generator = np.random.Generator(np.random.PCG64(0))
    drawn = {solution.id: generator.random(solution.num_steps).tolist() for solution in judged}
    return lambda solution: drawn[solution.id]


def _constant(judged: Sequence[JudgedSteps]) -> Callable[[JudgedSteps], Sequence[float]]:
    """The share of right steps, which nobody knows beforehand: no constant is better calibrated."""
    targets = [target for solution in judged if solution.scores for target in solution.targets]
    share = sum(targets) / len(targets) if targets else 0.0
    return lambda solution: [share] * solution.num_steps


_BASELINES = {'position': _position, 'random': _random, 'constant': _constant}
