"""Accuracy, gain and cost of every strategy within each bin of difficulty: the numbers behind the paper's figure 3, right.

Only a bin shows what a mean over all questions hides: a verifier that is exploited on easy questions, and a search that pays on
hard ones.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.analysis.difficulty_bins import Bins
from jaxreason.analysis.rows import Group, Row, accuracies, gain_over, group_of, grouped, mean_cost, table
from jaxreason.analysis.run_folder import Run
from jaxreason.core.records import Record
from jaxreason.core.stats import bootstrap_mean, interval, rounded

NUM_RESAMPLES = 2_000  # a bin is a fifth of the questions, and there are many rows


def by_difficulty(run: Run, rows: Sequence[Mapping[str, Any]], bins: Bins) -> Row:
    """Summarises a run within every bin.

    Args:
        run: the run that is scored.
        rows: its rows over all questions, in the order to show.
        bins: the difficulty of its questions.

    Returns:
        JSON values: `source`, `model`, `seeds` and `num_samples` (where the bins come from), `bins` (of each `level`, 1 the
        easiest: `num_questions` of the run, `pass_rate` over them) and `rows`: as over all questions, of each level
        `accuracy`, `gain`, `over_best` (paired difference to the strategy that is best in this bin at equal n and budget, on
        the same questions, so a little in its favour; None for itself) and `flops`.

    Raises:
        RunError: the bins do not fit the run.
    """
    bins.check(run)
    groups = grouped(run.records)
    asked = sorted({record.question_id for record in run.records})
    found: dict[int, list[str]] = {level: [] for level in range(1, bins.num_bins + 1)}
    for question in asked:
        found[bins.levels[question]].append(question)
    return {
        'source': bins.samples.name,
        'model': bins.samples.model,
        'seeds': bins.seeds,
        'num_samples': bins.num_samples,
        'bins': [
            {
                'level': level,
                'num_questions': len(questions),
                'pass_rate': _mean([bins.rates[question] for question in questions]),
            }
            for level, questions in found.items()
        ],
        'rows': [row for level, questions in found.items() for row in _rows(level, set(questions), groups, rows)],
    }


def _rows(
    level: int, questions: set[str], groups: Mapping[Group, Sequence[Record]], rows: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """The rows of one bin."""
    inside = {group: [r for r in records if r.question_id in questions] for group, records in groups.items()}
    inside = {group: records for group, records in inside.items() if records}
    made = []
    for row in rows:
        group = group_of(row)
        if group not in inside:
            continue
        values = accuracies(inside[group])
        baseline = row['gain'] and row['gain']['baseline']
        made.append(
            {
                'level': level,
                **{name: row[name] for name in ('strategy', 'n', 'budget', 'pool')},
                'num_questions': len(values),
                'accuracy': interval(bootstrap_mean(table(values), NUM_RESAMPLES)),
                'gain': gain_over(group, inside, baseline, NUM_RESAMPLES),
                'flops': mean_cost(inside[group], {'total': 'flops'})['total'],
            }
        )
    best: dict[tuple, Row] = {}
    for row in made:
        leader = best.setdefault(_rivals(row), row)
        if row['accuracy']['point'] > leader['accuracy']['point']:
            best[_rivals(row)] = row
    for row in made:
        row['over_best'] = gain_over(group_of(row), inside, best[_rivals(row)]['strategy'], NUM_RESAMPLES)
    return made


def _rivals(row: Mapping[str, Any]) -> tuple:
    """What strategies must share to be compared: n and budget."""
    return row['n'], tuple(sorted(row['budget'].items()))


def _mean(values: Sequence[float]) -> float | None:
    return rounded(sum(values) / len(values)) if values else None
