"""The job of `difficulty`: questions -> samples -> what every estimate says of them, what it costs, how far it agrees.

The samples are those of a run of `evaluate`, resumable like any other; what is made of them is derived anew every time, so
that another estimate costs no further sample. Agreement is with the pass rate of samples that the estimate did not look at,
where there are any.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from jaxreason.allocation.agreement import spearman
from jaxreason.allocation.bins_file import FILE, ORACLE, SUMMARY, KnownValue
from jaxreason.allocation.difficulty import cut_points, level_of, pass_rates
from jaxreason.allocation.estimators import FirstSamples, Probe, bare, probed
from jaxreason.allocation.looking import cost_in, value_in
from jaxreason.core.files import write_whole
from jaxreason.core.records import Pool, pool_from, to_line
from jaxreason.core.stats import rounded
from jaxreason.core.types import Question
from jaxreason.engine.peers import Peers
from jaxreason.engine.question_probe import QuestionProbe
from jaxreason.evaluate.config import load_policy, load_verifiers
from jaxreason.evaluate.difficulty_config import DifficultyConfig
from jaxreason.evaluate.runner import Progress, evaluate
from jaxreason.evaluate.units import POOLED


def find_difficulty(
    config: DifficultyConfig,
    out: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    peers: Peers | None = None,
) -> None:
    """Draws what samples are missing; process 0 writes what they say.

    Args:
        config: what to do.
        out: the run folder; the processes may share it, or have one each.
        report: told of progress; what it raises stops the run between two chunks, with everything finished kept.
        say: told in a line what takes time before the first question.
        peers: the processes of the run, all of which call this; None for a process alone.

    Raises:
        JaxreasonError: the configuration, data, weights or folder cannot be used, or the processes disagree.
    """
    peers = peers or Peers()
    evaluate(config.run, out, report, say, peers)
    if not peers.is_first:
        return
    lines = (out / 'pools' / f'{POOLED}.jsonl').read_text(encoding='utf-8').splitlines()
    pools = [pool_from(json.loads(line)) for line in lines]
    probes = _probes(config)
    found = _values(config, pools, probes)
    questions = sorted(found[ORACLE])
    rows = [
        {
            'question_id': question,
            'values': {name: values[question].value for name, values in found.items()},
            'flops': {name: values[question].flops for name, values in found.items()},
        }
        for question in questions
    ]
    summary = {
        'samples': config.samples,
        'seeds': list(config.seeds),
        'num_questions': len(questions),
        'probes': {name: probe.digest for name, probe in probes.items()},
        'estimates': {name: _summary(config, name, found, pools) for name in found},
    }
    write_whole(out / FILE, ''.join(to_line(row) + '\n' for row in rows))
    write_whole(out / SUMMARY, json.dumps(summary, indent=2, sort_keys=True) + '\n')


def _probes(config: DifficultyConfig) -> dict[str, QuestionProbe]:
    """The probes that estimates ask, by the name of the verifier, loaded."""
    asked = [each.verifier for each in config.estimates.values() if isinstance(each, Probe)]
    if not asked:
        return {}
    loaded = load_verifiers({name: config.verifiers[name] for name in asked}, load_policy(config.model), config.prompt)
    return {name: cast(QuestionProbe, loaded[name]) for name in asked}  # the configuration allows no other


def _values(
    config: DifficultyConfig, pools: Sequence[Pool], probes: Mapping[str, QuestionProbe]
) -> dict[str, dict[str, KnownValue]]:
    """By estimate and question; several seeds are averaged."""
    found = {ORACLE: {question: KnownValue(rate, 0) for question, rate in pass_rates(pools).items()}}
    for name, estimate in config.estimates.items():
        if isinstance(estimate, FirstSamples):
            found[name] = _looked_at(estimate, pools)
        elif isinstance(estimate, Probe):
            found[name] = _read(probes[estimate.verifier], pools)
    return found


def _looked_at(estimate: FirstSamples, pools: Sequence[Pool]) -> dict[str, KnownValue]:
    by_question: dict[str, list[KnownValue]] = {}
    for pool in pools:
        known = KnownValue(value_in(estimate, pool), cost_in(estimate, pool).flops)
        by_question.setdefault(pool.question_id, []).append(known)
    return {
        question: KnownValue(float(np.mean([each.value for each in knowns])), sum(each.flops for each in knowns) // len(knowns))
        for question, knowns in by_question.items()
    }


def _read(probe: QuestionProbe, pools: Sequence[Pool]) -> dict[str, KnownValue]:
    """What a probe says of the bare questions."""
    questions = list(dict.fromkeys(Question(pool.question_id, pool.question) for pool in pools))
    scored = probe.score([bare(question) for question in questions], None)
    said = zip(questions, scored.scores, scored.costs, strict=True)
    return {question.id: KnownValue(probed([scores]), cost.flops) for question, scores, cost in said}


def _summary(
    config: DifficultyConfig, name: str, found: Mapping[str, Mapping[str, KnownValue]], pools: Sequence[Pool]
) -> dict[str, Any]:
    """Cuts, sizes of the bins, cost, and agreement with the oracle."""
    values = {question: known.value for question, known in found[name].items()}
    estimate = config.estimates.get(name)
    absolute = config.oracle_cuts if estimate is None else estimate.cuts
    cuts = absolute or cut_points(values.values(), config.bins)
    levels = {question: level_of(value, cuts) for question, value in values.items()}
    looked = estimate.n if isinstance(estimate, FirstSamples) else 0
    summary: dict[str, Any] = {
        'cuts': [None if np.isinf(cut) else rounded(cut) for cut in cuts],
        'are_absolute': bool(absolute),
        'sizes': [sum(level == each for level in levels.values()) for each in range(1, len(cuts) + 2)],
        'samples': config.samples * len(config.seeds) if estimate is None else looked,
        'flops': rounded(statistics.fmean(known.flops for known in found[name].values())),
    }
    return summary if estimate is None else {**summary, **_agreement(config, values, levels, _others(pools, looked), len(cuts))}


def _others(pools: Sequence[Pool], looked: int) -> tuple[dict[str, float], bool]:
    """The pass rates of the samples that were not looked at, and whether there are any; else of all."""
    rest = [dataclasses.replace(pool, candidates=pool.candidates[looked:]) for pool in pools]
    are_others = all(pool.candidates for pool in rest)
    return pass_rates(rest if are_others else pools), are_others


def _agreement(
    config: DifficultyConfig,
    values: Mapping[str, float],
    levels: Mapping[str, int],
    oracle: tuple[Mapping[str, float], bool],
    num_cuts: int,
) -> dict[str, Any]:
    """With the oracle: rank correlation of the values; where both have equal numbers of bins, how often these are the same."""
    rates, are_others = oracle
    questions = sorted(values)
    ours, theirs = (np.array([table[question] for question in questions]) for table in (values, rates))
    found: dict[str, Any] = {'spearman': spearman(ours, theirs), 'oracle_from_other_samples': are_others}
    cuts = config.oracle_cuts or cut_points(rates.values(), config.bins)
    if len(cuts) == num_cuts:
        apart = [abs(levels[question] - level_of(rates[question], cuts)) for question in questions]
        found['same_bin'] = rounded(statistics.fmean(each == 0 for each in apart))
        found['within_one'] = rounded(statistics.fmean(each <= 1 for each in apart))
    return found
