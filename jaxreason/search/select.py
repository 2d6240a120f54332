"""From candidates to one answer: how solutions vote.

Answers that are exactly equal vote together (`data.answers.answer_key`), under the wording of the earliest candidate. Ties go
to the answer whose earliest candidate has the smallest sample index; candidates that name no answer do not vote. The score of
a solution is the last, the least, the product or the mean of its steps' scores (`core.aggregation`), 0 where it has none.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.1 and appendix G (aggregation over steps, weighted
    best-of-N); Li et al., Making Language Models Better Reasoners with Step-Aware Verifier, 2023 (weighted vote).
"""

import enum
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.types import Candidate
from jaxreason.data.normalise import answer_key


class Vote(enum.StrEnum):
    """How solution scores become an answer."""

    NAIVE = 'naive'  # the answer of the single best solution
    WEIGHTED = 'weighted'  # the answer with the largest sum of scores
    MAJORITY = 'majority'  # the answer with the most solutions


class Choice(NamedTuple):
    """The chosen answer, and the weight of every distinct answer, largest first."""

    answer: str | None
    votes: tuple[tuple[str, float], ...]


def solution_score(candidate: Candidate, aggregation: Aggregation) -> float:
    """The score of a whole solution; a solution without steps scores 0."""
    return AGGREGATE[aggregation](candidate.scores) if candidate.scores else 0.0


def choose(candidates: Sequence[Candidate], vote: Vote, aggregation: Aggregation = Aggregation.LAST) -> Choice:
    """Picks an answer.

    Args:
        candidates: with answers extracted, and scores unless the vote is `MAJORITY`.
        vote: how solutions become an answer.
        aggregation: how steps become a solution's score; not used by `MAJORITY`.

    Returns:
        The choice; its answer is None where no candidate names one.
    """
    return elect(candidates, [1.0 if vote == Vote.MAJORITY else solution_score(c, aggregation) for c in candidates], vote)


def elect(candidates: Sequence[Candidate], scores: Sequence[float], vote: Vote = Vote.WEIGHTED) -> Choice:
    """Picks an answer, the scores given.

    Args:
        candidates: with answers extracted, in any order.
        scores: one a candidate; not used by `MAJORITY`.
        vote: how solutions become an answer.

    Returns:
        The choice; its answer is None where no candidate names one.
    """
    voters = [(c.sample, c.answer, score) for c, score in zip(candidates, scores, strict=True) if c.answer is not None]
    voters.sort(key=operator.itemgetter(0))
    keys = [answer_key(answer) for _, answer, _ in voters]
    weights = tally(keys, [score for _, _, score in voters], vote)
    wording = {key: answer for key, (_, answer, _) in zip(reversed(keys), reversed(voters), strict=True)}  # the first stays
    # Python's sort is stable and dicts keep insertion order, so equal weights stay in sample order.
    ranked = sorted(weights, key=weights.__getitem__, reverse=True)
    votes = tuple((wording[key], weights[key]) for key in ranked)
    return Choice(votes[0][0] if votes else None, votes)


def tally(keys: Sequence[str | None], scores: Sequence[float], vote: Vote) -> dict[str, float]:
    """Weighs every distinct answer.

    Args:
        keys: the answer of each solution, in sample order; None where it names none.
        scores: of each solution; not used by `MAJORITY`.
        vote: how solutions become an answer.

    Returns:
        The weights, in the order in which the answers appear.
    """
    is_best, is_count = vote == Vote.NAIVE, vote == Vote.MAJORITY  # asked once: reports weigh answers a million times
    weights: dict[str, float] = {}
    for key, score in zip(keys, scores, strict=True):
        if key is None:
            continue
        if is_best:
            weights[key] = max(weights.get(key, -math.inf), score)
        else:
            weights[key] = weights.get(key, 0.0) + (1.0 if is_count else score)
    return weights
