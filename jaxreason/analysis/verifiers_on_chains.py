"""Whether verifiers tell right attempts from wrong ones, on first attempts and on revisions.

A verifier that was trained on independent solutions meets another kind of text in a revision; one that was trained on
revisions, with the earlier attempts before it, does not. Both read the same attempts here.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, appendix N, figure 18.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.ranking import auc
from jaxreason.core.records import PoolCandidate
from jaxreason.core.stats import bootstrap_mean, counted_interval
from jaxreason.core.types import Verdict

NUM_RESAMPLES = 2_000

_By = Mapping[int, float]  # by question


class Told(NamedTuple):
    """An attempt: the number of its question, its place in its chain from 0, and what was written down of it."""

    question: int
    turn: int
    attempt: PoolCandidate


def verifiers_on_chains(told: Sequence[Told]) -> dict[str, dict[str, Any]]:
    """Measures every verifier that scored attempts.

    Returns:
        By verifier JSON values: `num_attempts`, `num_unscored` (left out), and `auc`: a row an aggregation of
        `core.aggregation`, with `first` and `revisions` (AUC of right against wrong attempts within a question, mean over the
        questions that have both) and `against` (on revisions the paired difference to every other verifier, on the questions
        that both have).
    """
    names = sorted({name for one in told for name in one.attempt.scores})
    by_kind = {
        kind: {
            name: [_aucs([one for one in told if bool(one.turn) is later], name, kind) for later in (False, True)]
            for name in names
        }
        for kind in Aggregation
    }
    return {
        name: {
            'num_attempts': sum(name in one.attempt.scores for one in told),
            'num_unscored': sum(name in one.attempt.scores and _steps(one, name) is None for one in told),
            'auc': [
                {
                    'aggregation': kind.value,
                    'first': _mean(by_kind[kind][name][0]),
                    'revisions': _mean(by_kind[kind][name][1]),
                    'against': {
                        other: _difference(by_kind[kind][name][1], by_kind[kind][other][1]) for other in names if other != name
                    },
                }
                for kind in Aggregation
            ],
        }
        for name in names
    }


def _aucs(told: Sequence[Told], name: str, kind: Aggregation) -> _By:
    """AUC of right against wrong attempts, by question; not of questions that lack one of both."""
    scores, right = collections.defaultdict[int, list[float]](list), collections.defaultdict[int, list[bool]](list)
    for one in told:
        steps = _steps(one, name)
        if steps is not None:
            scores[one.question].append(AGGREGATE[kind](steps))
            right[one.question].append(one.attempt.verdict == Verdict.CORRECT)
    found = {question: auc(scores[question], right[question]) for question in sorted(scores)}
    return {question: value for question, value in found.items() if value is not None}


def _steps(one: Told, name: str) -> tuple[float, ...] | None:
    """The scores of an attempt; None where it has none that can be used."""
    steps = one.attempt.scores.get(name, ())
    return steps if steps and all(map(math.isfinite, steps)) else None


def _mean(values: _By) -> dict[str, Any] | None:
    return counted_interval(bootstrap_mean(list(values.values()), NUM_RESAMPLES)) if values else None


def _difference(ours: _By, theirs: _By) -> dict[str, Any] | None:
    return _mean({question: ours[question] - theirs[question] for question in ours if question in theirs})
