"""What the samples of a run say of the verifiers that scored them: do they know what is right, or only what looks right?

All numbers come from independent samples that were scored and graded: no model runs here. A solution that a verifier could not
score is left out and counted, except where strategies choose: there it has no weight, as in a search. A verdict that could not
be given counts as not correct.

References:
    Gao et al., Scaling Laws for Reward Model Overoptimization, 2023 (proxy against gold on the same samples).
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.calibration import calibration
from jaxreason.core.errors import DataError
from jaxreason.core.judgement import JudgedSolution, summarise
from jaxreason.core.ranking import auc, pooled_spearman, spearman, within_question
from jaxreason.core.records import Pool, PoolCandidate
from jaxreason.core.stats import bootstrap_mean, counted_interval, interval, paired_difference
from jaxreason.core.types import Verdict
from jaxreason.data.boundaries import split_steps
from jaxreason.data.normalise import answer_key
from jaxreason.data.step_check import check_nano_steps
from jaxreason.search.select import Vote, tally

Health = dict[str, Any]

NUM_RESAMPLES = 2_000
COMPARED = (4, 16)  # numbers of samples at which aggregations are compared, besides all of them
_GRAM = 4  # tokens; a solution repeats itself by the share of its 4-grams that it has written before


class _Sample(NamedTuple):
    """One solution, whoever scored it."""

    candidate: PoolCandidate
    key: str | None  # of its answer
    is_correct: bool
    repetition: float


class _Pool(NamedTuple):
    """The samples of one question under one seed."""

    pool: Pool
    question: int
    samples: tuple[_Sample, ...]


class _Asked(NamedTuple):
    """The samples of one question under one seed, as one verifier scored them."""

    pool: Pool
    question: int
    samples: tuple[_Sample, ...]
    keys: tuple[str | None, ...]  # of the answers
    steps: tuple[tuple[float, ...], ...]  # scores of each sample; () where it has none
    scores: Mapping[Aggregation, tuple[float, ...]]  # of each sample; 0 where it has none, as in a search


class _Columns(NamedTuple):
    """The scored solutions of one verifier, one a row; questions are numbered without gaps."""

    question: np.ndarray  # [solutions]
    is_correct: np.ndarray  # [solutions], booleans
    scores: Mapping[Aggregation, np.ndarray]  # [solutions] each
    features: Mapping[str, np.ndarray]  # what a score should not depend on, [solutions] each
    is_chance: bool  # every step score is in [0, 1]


def verifier_health(
    pools: Sequence[Pool], step_delimiter: str = '\n\n', probes: Mapping[str, Any] | None = None
) -> dict[str, Health]:
    """Measures the verifiers of a run on its samples.

    Args:
        pools: of a run; those of strategies that searched by themselves are not used, their samples depend on the scores, nor
            are revisions: of chains the first attempts count. Where several pools hold samples that a verifier scored, the
            largest is used: the draws are the same.
        step_delimiter: what ended a step, for the exact check of nano questions.
        probes: content of `verifier_probes.json`; None where there is none.

    Returns:
        For each verifier with scores JSON values: `num_questions`, `num_solutions` (scored), `num_unscored` and `unscored` (by
        reason); `best_of_n` (a row an n: `chosen_score` and `accepted` of the chosen solution, accuracy by `naive`, `weighted`
        and `majority`); `aggregations` (accuracy and gain over the majority, by n, aggregation and vote);
        `within_question_auc` (by aggregation, against the verdict); `calibration` (of the last score, None where scores are no
        chances); `correlation` (Spearman with `length` in tokens and `repetition`, `pooled` and `within` questions); `steps`
        (`summarise` against the exact checker, None where there is none); `probes`; `against` (gain over every other verifier
        that scored the same questions, at the largest n, by aggregation and vote, paired by question).
    """
    shared = _shared([_independent(pool) for pool in pools if pool.chosen is None])
    names = sorted({name for part in shared for sample in part.samples for name in sample.candidate.scores})
    asked = {name: _asked_of(name, shared) for name in names}
    return {name: {**_health(name, asked[name], step_delimiter, probes), 'against': _against(name, asked)} for name in names}


def _independent(pool: Pool) -> Pool:
    return dataclasses.replace(pool, candidates=tuple(c for c in pool.candidates if c.revises is None))


def _shared(pools: Sequence[Pool]) -> list[_Pool]:
    """What is the same for all verifiers."""
    place = {name: index for index, name in enumerate(sorted({pool.question_id for pool in pools}))}
    return [_Pool(pool, place[pool.question_id], tuple(map(_sample, pool.candidates))) for pool in pools]


def _sample(candidate: PoolCandidate) -> _Sample:
    key = None if candidate.answer is None else answer_key(candidate.answer)
    return _Sample(candidate, key, candidate.verdict == Verdict.CORRECT, repetition(candidate.tokens))


def repetition(tokens: Sequence[int]) -> float:
    """Share of a solution's 4-grams of tokens that it has written before; 0 of fewer than four tokens."""
    grams = [tuple(tokens[index : index + _GRAM]) for index in range(len(tokens) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _asked_of(name: str, shared: Sequence[_Pool]) -> list[_Asked]:
    """Of every question and seed the most samples that were scored."""
    largest: dict[tuple[int, int], _Pool] = {}
    for part in shared:
        if any(name in sample.candidate.scores for sample in part.samples):
            rival = largest.setdefault((part.question, part.pool.seed), part)
            if len(part.samples) > len(rival.samples):
                largest[part.question, part.pool.seed] = part
    return [_asked(name, part) for part in largest.values()]


def _health(name: str, asked: Sequence[_Asked], step_delimiter: str, probes: Mapping[str, Any] | None) -> Health:
    columns = _columns(asked)
    last = columns.scores[Aggregation.LAST]
    reasons = collections.Counter(
        str(sample.candidate.unscored.get(name, 'unknown'))
        for part in asked
        for sample, steps in zip(part.samples, part.steps, strict=True)
        if not steps
    )
    return {
        'num_questions': len(set(columns.question.tolist())),
        'num_solutions': len(last),
        'num_unscored': reasons.total(),
        'unscored': dict(sorted(reasons.items())),
        'best_of_n': _best_of_n(asked, columns.is_chance),
        'aggregations': _aggregations(asked),
        'within_question_auc': {
            kind.value: counted_interval(within_question(auc, scores, columns.is_correct, columns.question))
            for kind, scores in columns.scores.items()
        },
        'calibration': calibration(last, columns.is_correct, columns.question) if columns.is_chance else None,
        'correlation': {
            feature: {
                'pooled': counted_interval(pooled_spearman(last, values, columns.question)),
                'within': counted_interval(within_question(spearman, last, values, columns.question)),
            }
            for feature, values in columns.features.items()
        },
        'steps': _steps(asked, step_delimiter) if columns.is_chance else None,
        'probes': _probes(name, asked, probes),
    }


def _asked(name: str, part: _Pool) -> _Asked:
    given = [tuple(sample.candidate.scores.get(name, ())) for sample in part.samples]
    steps = tuple(scores if all(map(math.isfinite, scores)) else () for scores in given)
    scores = {kind: tuple(join(each) if each else 0.0 for each in steps) for kind, join in AGGREGATE.items()}
    return _Asked(part.pool, part.question, part.samples, tuple(sample.key for sample in part.samples), steps, scores)


def _columns(asked: Sequence[_Asked]) -> _Columns:
    rows = [
        (part, place, sample)
        for part in asked
        for place, (sample, steps) in enumerate(zip(part.samples, part.steps, strict=True))
        if steps
    ]
    _, question = np.unique(np.array([part.question for part, _, _ in rows], np.int64), return_inverse=True)
    return _Columns(
        question=question,
        is_correct=np.array([sample.is_correct for _, _, sample in rows], bool),
        scores={kind: np.array([part.scores[kind][place] for part, place, _ in rows]) for kind in Aggregation},
        features={
            'length': np.array([len(sample.candidate.tokens) for _, _, sample in rows], np.float64),
            'repetition': np.array([sample.repetition for _, _, sample in rows], np.float64),
        },
        is_chance=all(0 <= score <= 1 for part, place, _ in rows for score in part.steps[place]),
    )


def _best_of_n(asked: Sequence[_Asked], is_chance: bool) -> list[Health]:
    """By proxy and by gold on the same samples, at every n: what the verifier thinks it gains, and what is gained."""
    size = min(len(part.samples) for part in asked)
    rows = []
    for n in sorted({*(2**power for power in range(size.bit_length())), size} - {0}):
        chosen = _chosen(asked, n, Aggregation.LAST, Vote.NAIVE)
        accepted = {question: [score >= 0.5 for score in scores] for question, scores in chosen.scores.items()}
        others = {vote: _chosen(asked, n, Aggregation.LAST, vote) for vote in (Vote.WEIGHTED, Vote.MAJORITY)}
        votes = {vote.value: _accuracy(found) for vote, found in {Vote.NAIVE: chosen, **others}.items()}
        rows.append(
            {
                'n': n,
                'num_blocks': max(len(part.samples) // n for part in asked),
                'chosen_score': _mean_interval(chosen.scores),
                'accepted': _mean_interval(accepted) if is_chance else None,
                **{vote: interval(bootstrap_mean(values, NUM_RESAMPLES)) for vote, values in votes.items()},
            }
        )
    return rows


def _aggregations(asked: Sequence[_Asked]) -> list[Health]:
    """Every aggregation with both votes, at some n, beside the majority on the same samples."""
    size = min(len(part.samples) for part in asked)
    rows = []
    for n in sorted({n for n in COMPARED if n < size} | {size} - {0, 1}):
        majority = _accuracy(_chosen(asked, n, Aggregation.LAST, Vote.MAJORITY))
        for kind in Aggregation:
            for vote in (Vote.NAIVE, Vote.WEIGHTED):
                ours = _accuracy(_chosen(asked, n, kind, vote))
                accuracy = interval(bootstrap_mean(ours, NUM_RESAMPLES))
                gain = interval(paired_difference(ours, majority, NUM_RESAMPLES))
                rows.append({'n': n, 'aggregation': kind.value, 'vote': vote.value, 'accuracy': accuracy, 'gain': gain})
    return rows


def _against(name: str, asked: Mapping[str, Sequence[_Asked]]) -> list[Health]:
    """Best-of-n with this verifier against best-of-n with each other one, on the same samples."""
    size = min(len(part.samples) for part in asked[name])
    ours_are = [(part.pool.pool, part.question) for part in asked[name]]
    rows = []
    for other in asked:
        if other == name or [(part.pool.pool, part.question) for part in asked[other]] != ours_are:
            continue
        for kind in (Aggregation.LAST, Aggregation.PROD):
            for vote in (Vote.NAIVE, Vote.WEIGHTED):
                ours, theirs = (_accuracy(_chosen(asked[each], size, kind, vote)) for each in (name, other))
                gain = interval(paired_difference(ours, theirs, NUM_RESAMPLES))
                rows.append({'verifier': other, 'n': size, 'aggregation': kind.value, 'vote': vote.value, 'gain': gain})
    return rows


class _Chosen(NamedTuple):
    """By question what is chosen from each block of n: whether it is right, and its weight where it has one."""

    is_correct: Mapping[int, list[bool]]
    scores: Mapping[int, list[float]]


def _chosen(asked: Sequence[_Asked], n: int, kind: Aggregation, vote: Vote) -> _Chosen:
    """Chooses from all disjoint blocks of n samples, as `search.select.choose` does."""
    right: dict[int, list[bool]] = collections.defaultdict(list)
    weights: dict[int, list[float]] = collections.defaultdict(list)
    for part in asked:
        keys, scores = part.keys, part.scores[kind]
        for first in range(0, len(keys) - n + 1, n):
            block = slice(first, first + n)
            votes = tally(keys[block], scores[block], vote)
            # Of equal ones the first: answers are in the order of their earliest sample, whose verdict is the answer's.
            best = max(votes, key=votes.__getitem__) if votes else None
            right[part.question].append(best is not None and part.samples[keys.index(best, first)].is_correct)
            if best is not None and any(part.steps[block]):
                weights[part.question].append(votes[best])
    return _Chosen(right, weights)


def _accuracy(chosen: _Chosen) -> np.ndarray:
    """Share of right choices, `[questions]`."""
    return np.array([np.mean(chosen.is_correct[question]) for question in sorted(chosen.is_correct)])


def _mean_interval(values: Mapping[int, Sequence[float]]) -> Health | None:
    """The mean over questions of their means; None where no question has a value."""
    means = [float(np.mean(values[question])) for question in sorted(values) if len(values[question])]
    return counted_interval(bootstrap_mean(means, NUM_RESAMPLES)) if means else None


def _steps(asked: Sequence[_Asked], step_delimiter: str) -> Health | None:
    """The scores of the steps against the exact checker; None where a question has none."""
    solutions = []
    for part in asked:
        for sample, scores in zip(part.samples, part.steps, strict=True):
            if (targets := _targets(part.pool.question, sample.candidate.text, step_delimiter)) is None:
                return None
            # Other steps than were scored are not compared: the solution counts as one without scores.
            kept = scores if len(scores) == len(targets) else ()
            solutions.append(JudgedSolution(part.pool.question_id, kept, targets, sample.is_correct))
    return summarise(solutions) if solutions else None


@functools.lru_cache(maxsize=2**16)  # verifiers are judged on the same samples, and samples repeat each other
def _targets(question: str, text: str, step_delimiter: str) -> tuple[float, ...] | None:
    """1.0 for every step that is right by the exact checker, else 0.0; None where it does not know the question."""
    try:
        checks = check_nano_steps(question, split_steps(text, (step_delimiter,)))
    except DataError:
        return None
    return tuple(float(check.is_right) for check in checks)


def _probes(name: str, asked: Sequence[_Asked], probes: Mapping[str, Any] | None) -> Health | None:
    """How answers that say nothing are scored, beside the real ones of the same questions."""
    if probes is None or not (found := probes['verifiers'].get(name)):
        return None
    real: dict[str, list[float]] = collections.defaultdict(list)
    for part in asked:
        real[part.pool.question_id] += [scores[-1] for scores in part.steps if scores]
    rows = {}
    for probe, told in found.items():
        pairs = [(s, real[q]) for q, s in zip(probes['questions'], told['scores'], strict=True) if s is not None and real[q]]
        above = {index: [(s > r) + (s == r) / 2 for r in others] for index, (s, others) in enumerate(pairs)}
        rows[probe] = {
            'score': _mean_interval({index: [score] for index, (score, _) in enumerate(pairs)}),
            'real': _mean_interval({index: others for index, (_, others) in enumerate(pairs)}),
            'above_real': _mean_interval(above),
            'unscored': dict(sorted(told['unscored'].items())),
        }
    return rows
