"""Records of one strategy at one n (and budget) to numbers: accuracy, gain over the baseline, tokens, FLOPs.

`accuracy` averages all disjoint blocks of n candidates that a pool holds, which is the same quantity as block 0 (what a user
would have got, `accuracy_first_block`) with less noise. `gain` is the paired difference to the baseline strategy at equal n and
budget. An answer that could not be judged counts as not correct and is counted apart.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.core.cost import Cost, total
from jaxreason.core.records import Block, Record, cost_from
from jaxreason.core.stats import NUM_RESAMPLES, bootstrap_mean, interval, paired_difference, rounded
from jaxreason.core.types import Verdict

Row = dict[str, Any]

PHASES = ('prefill', 'decode', 'verify', 'probe')  # they add up to the total


class Group(NamedTuple):
    """What makes a row of the table."""

    strategy: str
    n: int
    budget: tuple[tuple[str, int], ...]
    pool: str


def grouped(records: Iterable[Record]) -> dict[Group, list[Record]]:
    """Records by the row that they belong to.

    Raises:
        ValueError: a record holds no answer.
    """
    groups: dict[Group, list[Record]] = collections.defaultdict(list)
    for record in records:
        if not record.blocks:
            raise ValueError(f'metrics: the record of {record.question_id!r} under {record.strategy!r} holds no block.')
        groups[Group(record.strategy, record.n, tuple(sorted(record.budget.items())), record.pool)].append(record)
    return groups


def group_of(row: Mapping[str, Any]) -> Group:
    """The group that a row was made of."""
    return Group(row['strategy'], row['n'], tuple(sorted(row['budget'].items())), row['pool'])


def row_of(group: Group, groups: Mapping[Group, Sequence[Record]], baseline: str | None) -> Row:
    """The row of a group as JSON values.

    Args:
        group: which one.
        groups: all of them, for the comparison.
        baseline: the strategy to compare with; None for no comparison.
    """
    records = groups[group]
    blocks = [block for record in records for block in record.blocks]
    verdicts = collections.Counter(block.verdict for block in blocks)
    return {
        'strategy': group.strategy,
        'n': group.n,
        'budget': dict(group.budget),
        'pool': group.pool,
        'num_questions': len({record.question_id for record in records}),
        'num_seeds': len({record.seed for record in records}),
        'num_blocks': max(len(record.blocks) for record in records),
        'accuracy': interval(bootstrap_mean(table(accuracies(records)))),
        'accuracy_first_block': interval(bootstrap_mean(table(accuracies(records, first=True)))),
        'gain': gain_over(group, groups, baseline),
        'tokens': mean_cost(records, {'prompt': 'prompt_tokens', 'new': 'new_tokens', 'scored': 'scored_tokens'}),
        'flops': mean_cost(records, {'total': 'flops'} | {name: name for name in (*PHASES, 'lookahead', 'discarded')}),
        'answers': {verdict.value: verdicts[verdict.value] for verdict in Verdict},
        'no_answer': sum(block.answer is None for block in blocks),
    }


def gain_over(
    group: Group, groups: Mapping[Group, Sequence[Record]], baseline: str | None, num_resamples: int = NUM_RESAMPLES
) -> Row | None:
    """The paired difference to the baseline at the same n and budget; None where there is nothing to compare."""
    if baseline is None or group.strategy == baseline:
        return None
    twins = [other for other in groups if (other.strategy, other.n, other.budget) == (baseline, group.n, group.budget)]
    if not twins:
        return None
    # Where the baseline has several pools, the pool that both share is the fair one.
    twin = min(twins, key=lambda other: (other.pool != group.pool, other.pool))
    ours, theirs = accuracies(groups[group]), accuracies(groups[twin])
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    estimate = paired_difference(
        table({question: ours[question] for question in shared}),
        table({question: theirs[question] for question in shared}),
        num_resamples,
    )
    return {'baseline': baseline, 'num_questions': estimate.num_questions, **interval(estimate)}


def accuracies(records: Iterable[Record], first: bool = False) -> dict[str, dict[int, float]]:
    """Share of correct blocks (or whether the first is) by question and seed."""
    values: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for record in records:
        blocks = record.blocks[:1] if first else record.blocks
        values[record.question_id][record.seed] = _share_correct(blocks)
    return values


def _share_correct(blocks: Sequence[Block]) -> float:
    return sum(block.verdict == Verdict.CORRECT for block in blocks) / len(blocks)


def table(values: Mapping[str, Mapping[int, float]]) -> np.ndarray:
    """`[questions, seeds]`, questions sorted; NaN where a question lacks a seed."""
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    return np.array([[values[question].get(seed, math.nan) for seed in seeds] for question in sorted(values)])


def mean_cost(records: Sequence[Record], names: Mapping[str, str]) -> Row:
    """Mean over questions (of seeds, of blocks) of some fields of the cost."""
    by_question: dict[str, list[list[float]]] = collections.defaultdict(list)
    for record in records:
        spent: Cost = total(cost_from(block.cost) for block in record.blocks)
        by_question[record.question_id].append([getattr(spent, name) / len(record.blocks) for name in names.values()])
    means = np.mean([np.mean(by_question[question], axis=0) for question in sorted(by_question)], axis=0)
    return {name: rounded(mean) for name, mean in zip(names, means, strict=True)}
