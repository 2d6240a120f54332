"""Records and pools to the numbers of `metrics.json`: accuracy, gain, pass@k, tokens, FLOPs, and what could not be judged.

A row is one strategy at one n (and budget). `accuracy` averages all disjoint blocks of n candidates that a pool holds, which is
the same quantity as block 0 (what a user would have got, `accuracy_first_block`) with less noise. `gain` is the paired
difference to the baseline strategy at equal n and budget. An answer that could not be judged counts as not correct and is
counted apart. Floats are rounded, so that the same records give the same bytes.
"""

import collections
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreason.analysis.health import verifier_health
from jaxreason.analysis.run_folder import Run, read_run
from jaxreason.core.cost import Cost, total
from jaxreason.core.files import write_whole
from jaxreason.core.records import Block, Pool, PoolCandidate, Record, cost_from
from jaxreason.core.stats import bootstrap_mean, interval, paired_difference, pass_at_k, rounded
from jaxreason.core.types import Verdict

Metrics = dict[str, Any]

PHASES = ('prefill', 'decode', 'verify', 'probe')  # they add up to the total


class _Group(NamedTuple):
    """What makes a row of the table."""

    strategy: str
    n: int
    budget: tuple[tuple[str, int], ...]
    pool: str


def compute(
    records: Sequence[Record],
    pools: Sequence[Pool] = (),
    labels: Sequence[str] = (),
    step_delimiter: str = '\n\n',
    probes: Mapping[str, Any] | None = None,
) -> Metrics:
    """Summarises a run.

    Args:
        records: of any number of strategies, n, budgets and seeds.
        pools: the candidates behind them, for pass@k and finish reasons.
        labels: strategies in the order to show, the baseline to compare with first; others follow by name. Empty for no
            comparison.
        step_delimiter: what ended a step, for `analysis.health`.
        probes: content of `verifier_probes.json`; None where there is none.

    Returns:
        JSON values: `num_questions`, `num_seeds`, `baseline`, `rows`, `pools`, `verifiers` (`analysis.health`); accuracies in
        [0, 1], FLOPs and tokens per question.

    Raises:
        ValueError: there are no records, none of the baseline, or one that holds no answer.
    """
    if not records:
        raise ValueError('metrics: expected at least one record, got none.')
    groups: dict[_Group, list[Record]] = collections.defaultdict(list)
    for record in records:
        if not record.blocks:
            raise ValueError(f'metrics: the record of {record.question_id!r} under {record.strategy!r} holds no block.')
        groups[_Group(record.strategy, record.n, tuple(sorted(record.budget.items())), record.pool)].append(record)
    known = sorted({group.strategy for group in groups})
    baseline = labels[0] if labels else None
    if baseline is not None and baseline not in known:
        raise ValueError(f'metrics: the baseline {baseline!r} has no records; strategies: {", ".join(known)}.')
    order = {label: index for index, label in enumerate(dict.fromkeys((*labels, *known)))}
    by_pool: dict[str, list[Pool]] = collections.defaultdict(list)
    for pool in pools:
        by_pool[pool.pool].append(pool)
    return {
        'num_questions': len({record.question_id for record in records}),
        'num_seeds': len({record.seed for record in records}),
        'baseline': baseline,
        'rows': [_row(group, groups, baseline) for group in sorted(groups, key=lambda group: (order[group.strategy], group))],
        'pools': [_pool(name, by_pool[name]) for name in sorted(by_pool)],
        'verifiers': verifier_health(pools, step_delimiter, probes),
    }


def metrics_of(run: Run) -> Metrics:
    """Summarises a run that was read from its folder."""
    return compute(run.records, run.pools, run.labels, run.step_delimiter, run.probes)


def write_metrics(folder: Path) -> Metrics:
    """Computes the metrics of a run folder and writes them there as `metrics.json`.

    Raises:
        RunError: the records cannot be read, or the file cannot be written.
    """
    metrics = metrics_of(read_run(folder))
    write_whole(folder / 'metrics.json', to_text(metrics))
    return metrics


def to_text(metrics: Metrics) -> str:
    """The text of `metrics.json`: the same bytes for the same numbers."""
    return json.dumps(metrics, sort_keys=True, indent=1, allow_nan=False) + '\n'


def _row(group: _Group, groups: Mapping[_Group, Sequence[Record]], baseline: str | None) -> Metrics:
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
        'accuracy': interval(bootstrap_mean(_table(_accuracies(records)))),
        'accuracy_first_block': interval(bootstrap_mean(_table(_accuracies(records, first=True)))),
        'gain': _gain(group, groups, baseline),
        'tokens': _mean_cost(records, {'prompt': 'prompt_tokens', 'new': 'new_tokens', 'scored': 'scored_tokens'}),
        'flops': _mean_cost(records, {'total': 'flops'} | {name: name for name in (*PHASES, 'lookahead', 'discarded')}),
        'answers': {verdict.value: verdicts[verdict.value] for verdict in Verdict},
        'no_answer': sum(block.answer is None for block in blocks),
    }


def _gain(group: _Group, groups: Mapping[_Group, Sequence[Record]], baseline: str | None) -> Metrics | None:
    """The paired difference to the baseline at the same n and budget; None where there is nothing to compare."""
    if baseline is None or group.strategy == baseline:
        return None
    twins = [other for other in groups if (other.strategy, other.n, other.budget) == (baseline, group.n, group.budget)]
    if not twins:
        return None
    # Where the baseline has several pools, the pool that both share is the fair one.
    twin = min(twins, key=lambda other: (other.pool != group.pool, other.pool))
    ours, theirs = _accuracies(groups[group]), _accuracies(groups[twin])
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    estimate = paired_difference(
        _table({question: ours[question] for question in shared}), _table({question: theirs[question] for question in shared})
    )
    return {'baseline': baseline, 'num_questions': estimate.num_questions, **interval(estimate)}


def _accuracies(records: Iterable[Record], first: bool = False) -> dict[str, dict[int, float]]:
    """Share of correct blocks (or whether the first is) by question and seed."""
    values: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for record in records:
        blocks = record.blocks[:1] if first else record.blocks
        values[record.question_id][record.seed] = _share_correct(blocks)
    return values


def _share_correct(blocks: Sequence[Block]) -> float:
    return sum(block.verdict == Verdict.CORRECT for block in blocks) / len(blocks)


def _table(values: Mapping[str, Mapping[int, float]]) -> np.ndarray:
    """`[questions, seeds]`, questions sorted; NaN where a question lacks a seed."""
    seeds = sorted({seed for by_seed in values.values() for seed in by_seed})
    return np.array([[values[question].get(seed, math.nan) for seed in seeds] for question in sorted(values)])


def _mean_cost(records: Sequence[Record], names: Mapping[str, str]) -> Metrics:
    """Mean over questions (of seeds, of blocks) of some fields of the cost."""
    by_question: dict[str, list[list[float]]] = collections.defaultdict(list)
    for record in records:
        spent: Cost = total(cost_from(block.cost) for block in record.blocks)
        by_question[record.question_id].append([getattr(spent, name) / len(record.blocks) for name in names.values()])
    means = np.mean([np.mean(by_question[question], axis=0) for question in sorted(by_question)], axis=0)
    return {name: rounded(mean) for name, mean in zip(names, means, strict=True)}


def _pool(name: str, pools: Sequence[Pool]) -> Metrics:
    candidates = [candidate for pool in pools for candidate in pool.candidates]
    num_candidates = min(len(pool.candidates) for pool in pools)
    # Where samples depend on each other, subsets of them mean nothing: only whether any is correct does.
    ks = _ks(num_candidates) if all(pool.chosen is None for pool in pools) else []
    prompt = _mean(cost_from(pool.cost).flops for pool in pools)
    each = _mean(cost_from(candidate.cost).decode + cost_from(candidate.cost).prefill for candidate in candidates)
    finishes = collections.Counter(candidate.finish for candidate in candidates)
    verdicts = collections.Counter(candidate.verdict for candidate in candidates)
    return {
        'pool': name,
        'num_questions': len({pool.question_id for pool in pools}),
        'num_seeds': len({pool.seed for pool in pools}),
        'num_candidates': num_candidates,
        'any_correct': _coverage(pools, lambda drawn, correct: float(correct > 0)),
        'pass_at': [
            {'k': k, 'flops': rounded(prompt + k * each), **_coverage(pools, functools.partial(pass_at_k, k=k))} for k in ks
        ],
        'finish': dict(sorted(finishes.items())),
        'candidates': {verdict.value: verdicts[verdict.value] for verdict in Verdict},
        'unscored': _unscored(candidates),
        'tokens_per_candidate': rounded(_mean(len(candidate.tokens) for candidate in candidates)),
    }


def _unscored(candidates: Sequence[PoolCandidate]) -> dict[str, dict[str, int]]:
    """Candidates without scores, by verifier that was asked and by reason."""
    names = sorted({name for candidate in candidates for name in candidate.scores})
    reasons = {name: collections.Counter(c.unscored[name] for c in candidates if name in c.unscored) for name in names}
    return {name: dict(sorted(counts.items())) for name, counts in reasons.items()}


def _ks(num_candidates: int) -> list[int]:
    """1, 2, 4, ... and the size of the pool itself."""
    return sorted({*(2**power for power in range(num_candidates.bit_length())), num_candidates} - {0})


def _coverage(pools: Sequence[Pool], share: Callable[[int, int], Any]) -> Metrics:
    """The mean over questions of `share(candidates, correct ones)`."""
    values: dict[str, dict[int, float]] = collections.defaultdict(dict)
    for pool in pools:
        num_correct = sum(candidate.verdict == Verdict.CORRECT for candidate in pool.candidates)
        values[pool.question_id][pool.seed] = float(share(len(pool.candidates), num_correct))
    return interval(bootstrap_mean(_table(values)))


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of none."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
