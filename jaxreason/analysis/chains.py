"""Chains of attempts as they were grown: what the next attempt gains, what it loses, and whether verifiers can tell.

Position 1 is the control: a first attempt is an independent sample of the very model that revises, so a chain that rises above
it gained by revising, and not by the training alone. Every position averages over the chains that were asked to be that long;
one that ended early, since another attempt had no room or no budget, counts with its last attempt.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.1, figures 6 and 18, appendices M and N.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.analysis.verifiers_on_chains import Told, verifiers_on_chains
from jaxreason.core.records import Pool, PoolCandidate
from jaxreason.core.stats import bootstrap, bootstrap_mean, counted_interval, interval, ratio
from jaxreason.core.types import Verdict
from jaxreason.data.normalise import answer_key
from jaxreason.evaluate.sweep import Chains
from jaxreason.search.chains import chains_of

NUM_RESAMPLES = 2_000  # of every position of a chain

Grown = list[list[PoolCandidate]]


class _Family(NamedTuple):
    """The chains of one pool, by question (ascending) and seed."""

    name: str
    questions: tuple[str, ...]
    parts: Mapping[str, Mapping[int, Grown]]
    context: int | None  # attempts that a revision is shown at most
    lengths: tuple[int, ...]  # what each chain was to be, the longest first


class _Counts(NamedTuple):
    """What happened, each `[questions, positions]`; what a revision does stands at its own position."""

    right: np.ndarray  # share of right attempts, a chain that ended early with its last one
    of_right: np.ndarray  # revisions of a right attempt
    lost: np.ndarray  # of these, wrong ones
    of_wrong: np.ndarray
    won: np.ndarray
    revisions: np.ndarray
    repeated: np.ndarray  # revisions that name the answer of the attempt before them
    ended: np.ndarray  # chains that should have gone on up to here


def along_chains(
    pools: Iterable[Pool], plans: Mapping[str, Chains], levels: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Summarises every pool of chains.

    Args:
        pools: of a run; those without any revision are left out.
        plans: what the chains were to be, by pool. Without a plan a chain was to be as long as it, or a later one, is anywhere.
        levels: difficulty of every question, 1 the easiest; None where it is not known.

    Returns:
        A dict of JSON values a pool, with its `pool`, `context` (None where it is not known), `num_questions`, `num_seeds`,
        `num_chains` (of a question and seed), `length` (of the longest) and:

        - `positions`: from 1 on `position`, `num_chains` (that were to be so long), `num_ended` (of all questions and seeds,
          that were shorter), `beyond_context` (whether earlier attempts are no longer all shown), `pass_at_1`, `over_first`
          (paired difference to position 1; None there), and `lost`, `won`, `repeated` of the revisions at this position.
        - `lost`, `won`, `repeated`, of all revisions: the share of right attempts whose revision is not right, of other
          attempts whose revision is right, and of revisions with the answer of the attempt before; None where there is none.
        - `control`: the same three if each first attempt were followed by another first attempt of its question: what a model
          does that does not read what it is shown.
        - `past_context`: paired difference of the last position to the last one that is shown all attempts before it; None
          where that is the last.
        - `by_difficulty`: of every level with questions `level`, `num_questions`, and the same but for `past_context`.
        - `verifiers`: see `verifiers_on_chains`.
    """
    return [_summary(family, levels) for family in _families(pools, plans)]


def _families(pools: Iterable[Pool], plans: Mapping[str, Chains]) -> list[_Family]:
    """The pools that hold chains, by name."""
    found: dict[str, dict[str, dict[int, Grown]]] = collections.defaultdict(lambda: collections.defaultdict(dict))
    for pool in pools:
        found[pool.pool][pool.question_id][pool.seed] = chains_of(pool.candidates)
    made = []
    for name in sorted(found):
        parts = {question: found[name][question] for question in sorted(found[name])}
        lengths = _reached(chains for by_seed in parts.values() for chains in by_seed.values())
        context = None
        if name in plans:
            context, lengths = plans[name]
        if lengths and lengths[0] > 1:
            made.append(_Family(name, tuple(parts), parts, context, lengths))
    return made


def _reached(parts: Iterable[Grown]) -> tuple[int, ...]:
    """How long each chain is anywhere; no later chain was to be longer, and of many questions some have room for all of it."""
    lengths: list[int] = []
    for chains in parts:
        lengths += [0] * (len(chains) - len(lengths))
        for place, chain in enumerate(chains):
            lengths[place] = max(lengths[place], len(chain))
    for place in range(len(lengths) - 1, 0, -1):
        lengths[place - 1] = max(lengths[place - 1], lengths[place])
    return tuple(lengths)


def _summary(family: _Family, levels: Mapping[str, int] | None) -> dict[str, Any]:
    counts, control = _count(family), _count_first_attempts(family)
    within: dict[int, list[int]] = collections.defaultdict(list)
    for place, question in enumerate(family.questions):
        if levels is not None:
            within[levels[question]].append(place)
    return {
        'pool': family.name,
        'context': family.context,
        'num_seeds': len({seed for by_seed in family.parts.values() for seed in by_seed}),
        'num_chains': len(family.lengths),
        'length': family.lengths[0],
        'past_context': _past_context(family, counts),
        **_within(family, counts, control, range(len(family.questions))),
        'by_difficulty': [
            {'level': level, **_within(family, counts, control, places)} for level, places in sorted(within.items())
        ],
        'verifiers': verifiers_on_chains(_told(family)),
    }


def _within(family: _Family, counts: _Counts, control: _Counts, places: Sequence[int]) -> dict[str, Any]:
    """What is told of some of the questions."""
    inside, others = (_Counts(*(column[list(places)] for column in each)) for each in (counts, control))
    return {
        'num_questions': len(places),
        'positions': _positions(family, inside),
        **_revisions(_Counts(*(column.sum(axis=1) for column in inside))),
        'control': _revisions(_Counts(*(column.sum(axis=1) for column in others))),
    }


def _count(family: _Family) -> _Counts:
    """Adds up the chains and seeds of every question."""
    counts = _Counts(*(np.zeros((len(family.questions), family.lengths[0])) for _ in _Counts._fields))
    asked = np.array([sum(length > turn for length in family.lengths) for turn in range(family.lengths[0])])
    for place, question in enumerate(family.questions):
        by_seed = family.parts[question]
        for chains in by_seed.values():
            for number, length in enumerate(family.lengths):
                chain = chains[number] if number < len(chains) else []
                _count_chain(chain, length, _Counts(*(column[place] for column in counts)))
        counts.right[place] /= len(by_seed) * asked
    return counts


def _count_chain(chain: Sequence[PoolCandidate], length: int, counts: _Counts) -> None:
    """Adds a chain to the counts of its question, each `[positions]`."""
    is_right = [attempt.verdict == Verdict.CORRECT for attempt in chain]
    counts.right[: len(chain)] += is_right
    counts.right[len(chain) : length] += bool(chain) and is_right[-1]
    counts.ended[len(chain) : length] += 1
    for turn in range(1, len(chain)):
        counts.revisions[turn] += 1
        (counts.of_right if is_right[turn - 1] else counts.of_wrong)[turn] += 1
        counts.lost[turn] += is_right[turn - 1] and not is_right[turn]
        counts.won[turn] += is_right[turn] and not is_right[turn - 1]
        before, now = (None if a.answer is None else answer_key(a.answer) for a in chain[turn - 1 : turn + 1])
        counts.repeated[turn] += now is not None and now == before


def _count_first_attempts(family: _Family) -> _Counts:
    """The same of all pairs of first attempts of a question and seed, as if the second revised the first: `[questions, 1]`."""
    counts = _Counts(*(np.zeros((len(family.questions), 1)) for _ in _Counts._fields))
    for place, question in enumerate(family.questions):
        for chains in family.parts[question].values():
            firsts = [chain[0] for chain in chains]
            num, num_right = len(firsts), sum(first.verdict == Verdict.CORRECT for first in firsts)
            same = collections.Counter(answer_key(first.answer) for first in firsts if first.answer is not None)
            counts.of_right[place] += num_right * (num - 1)
            counts.of_wrong[place] += (num - num_right) * (num - 1)
            counts.lost[place] += num_right * (num - num_right)
            counts.won[place] += num_right * (num - num_right)
            counts.revisions[place] += num * (num - 1)
            counts.repeated[place] += sum(count * (count - 1) for count in same.values())
    return counts


def _positions(family: _Family, counts: _Counts) -> list[dict[str, Any]]:
    first = counts.right[:, 0]
    return [
        {
            'position': turn + 1,
            'num_chains': sum(length > turn for length in family.lengths),
            'num_ended': int(counts.ended[:, turn].sum()),
            'beyond_context': family.context is not None and turn > family.context,
            'pass_at_1': interval(bootstrap_mean(counts.right[:, turn], NUM_RESAMPLES)),
            'over_first': interval(bootstrap_mean(counts.right[:, turn] - first, NUM_RESAMPLES)) if turn else None,
            **_revisions(_Counts(*(column[:, turn] for column in counts))),
        }
        for turn in range(family.lengths[0])
    ]


def _past_context(family: _Family, counts: _Counts) -> dict[str, Any] | None:
    if family.context is None or family.context >= family.lengths[0] - 1:
        return None
    return interval(bootstrap_mean(counts.right[:, -1] - counts.right[:, family.context], NUM_RESAMPLES))


def _revisions(counts: _Counts) -> dict[str, Any]:
    """Shares of the revisions of each question, `[questions]`, with their intervals."""
    return {
        'lost': _share(counts.lost, counts.of_right),
        'won': _share(counts.won, counts.of_wrong),
        'repeated': _share(counts.repeated, counts.revisions),
    }


def _share(above: np.ndarray, below: np.ndarray) -> dict[str, Any] | None:
    """The interval of a ratio of sums over questions, of those in which there is something below."""
    there = below > 0
    return counted_interval(bootstrap(ratio(above[there], below[there]), int(there.sum())))


def _told(family: _Family) -> list[Told]:
    """Every attempt, with its question's number and its place in its chain."""
    return [
        Told(place, turn, attempt)
        for place, question in enumerate(family.questions)
        for _, chains in sorted(family.parts[question].items())
        for chain in chains
        for turn, attempt in enumerate(chain)
    ]
