"""Records and pools to the numbers of `metrics.json`: accuracy, gain, pass@k, tokens, FLOPs, and what could not be judged.

A row is one strategy at one n and budget (`rows.py`). Floats are rounded, so that the same records give the same bytes.
"""

import collections
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.analysis.by_difficulty import by_difficulty
from jaxreason.analysis.difficulty_bins import Bins
from jaxreason.analysis.health import verifier_health
from jaxreason.analysis.revisions import revisions
from jaxreason.analysis.rows import grouped, row_of, table
from jaxreason.analysis.run_folder import Run, read_run
from jaxreason.core.files import write_whole
from jaxreason.core.records import Pool, PoolCandidate, Record, cost_from
from jaxreason.core.stats import bootstrap_mean, interval, pass_at_k, rounded
from jaxreason.core.types import Verdict

Metrics = dict[str, Any]


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
    groups = grouped(records)
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
        'rows': [row_of(group, groups, baseline) for group in sorted(groups, key=lambda group: (order[group.strategy], group))],
        'pools': [_pool(name, by_pool[name]) for name in sorted(by_pool)],
        'verifiers': verifier_health(pools, step_delimiter, probes),
    }


def metrics_of(run: Run, bins: Bins | None = None) -> Metrics:
    """Summarises a run that was read from its folder.

    Args:
        run: the run.
        bins: the difficulty of its questions, for the key `by_difficulty`; None for no such key.

    Returns:
        What `compute` does, with `by_difficulty`, and with `revisions` (`analysis.revisions`) where a strategy revised.

    Raises:
        RunError: the bins do not fit the run.
    """
    metrics = compute(run.records, run.pools, run.labels, run.step_delimiter, run.probes)
    if bins is not None:
        metrics['by_difficulty'] = by_difficulty(run, metrics['rows'], bins)
    if (found := revisions(run, metrics['rows'], None if bins is None else bins.levels)) is not None:
        metrics['revisions'] = found
    return metrics


class Summary(NamedTuple):
    """A run as it was read, and its metrics."""

    run: Run
    metrics: Metrics


def write_metrics(folder: Path, bins: Bins | None = None) -> Summary:
    """Computes the metrics of a run folder and writes them there as `metrics.json`.

    Args:
        folder: of a finished run.
        bins: as of `metrics_of`.

    Returns:
        The metrics, and the run that they were computed from: a page about it need not read it again.

    Raises:
        RunError: the records cannot be read, the bins do not fit them, or the file cannot be written.
    """
    run = read_run(folder)
    metrics = metrics_of(run, bins)
    write_whole(folder / 'metrics.json', to_text(metrics))
    return Summary(run, metrics)


def to_text(metrics: Metrics) -> str:
    """The text of `metrics.json`: the same bytes for the same numbers."""
    return json.dumps(metrics, sort_keys=True, indent=1, allow_nan=False) + '\n'


def _pool(name: str, pools: Sequence[Pool]) -> Metrics:
    candidates = [candidate for pool in pools for candidate in pool.candidates]
    num_candidates = min(len(pool.candidates) for pool in pools)
    # Where samples depend on each other, subsets of them mean nothing: only whether any is correct does.
    is_independent = all(pool.chosen is None for pool in pools) and all(c.revises is None for c in candidates)
    ks = _ks(num_candidates) if is_independent else []
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
    return interval(bootstrap_mean(table(values)))


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of none."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
