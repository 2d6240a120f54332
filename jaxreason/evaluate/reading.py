"""What every strategy made of a finished unit, at every n: pools to records.

A pool is read as often as there are strategies and n, and as disjoint blocks, each of which is a search of its own: the first
is what a user would have got, the others lower the variance of the mean.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.cost import Cost, total
from jaxreason.core.records import Block, Pool, PoolBranch, PoolCandidate, Record, candidate_of, cost_fields, cost_from
from jaxreason.core.types import Candidate, Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.sweep import Chains
from jaxreason.evaluate.units import Unit
from jaxreason.search.chains import chains_of
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Divisible


def records_of(config: EvaluateConfig, unit: Unit, pool: Pool, only_whole: bool = False) -> Iterator[Record]:
    """What every strategy made of a unit, at every n.

    Args:
        config: of the run.
        unit: that was finished.
        pool: what came of it.
        only_whole: at the largest n of each alone, which takes a small part of the time.
    """
    begin = -1 if only_whole else 0
    common: dict[str, Any] = {
        'question_id': unit.problem.id,
        'seed': unit.seed,
        'pool': unit.pool,
        'budget': unit.budget.limits,
    }
    opened = _Opened(pool)
    if unit.chains is not None:
        for label, revision in config.read_from(unit.chains).items():
            for n in config.sweep(label).reads[revision.generations][begin:]:
                yield _read_chains(label, revision.at(n), unit.chains, opened, common)
        return
    if unit.label is None:
        for label, pooled in config.pooled.items():
            for n in config.sweep(label).reads[pooled.n][begin:]:
                yield _read(label, pooled, pooled.n, n, opened, common)
        return
    strategy = config.strategies[unit.label]
    for n in config.sweep(unit.label, unit.budget).reads[unit.n][begin:]:
        if n < unit.n:
            assert isinstance(strategy, Divisible), 'read at less than its whole'
            yield _read(unit.label, strategy, unit.n, n, opened, common)
            continue
        assert pool.chosen is not None, 'a strategy that searched by itself wrote down its choice'
        cost = total(map(cost_from, (pool.cost, *(branch.cost for branch in _branches(pool)))))
        block = _block(pool.chosen['answer'], pool.candidates, cost_fields(cost))
        chosen = tuple((answer, weight) for answer, weight in pool.chosen['votes'])
        yield Record(strategy=unit.label, n=n, blocks=(block,), votes=chosen, **common)


class _Opened:
    """A pool that is read many times: what every reading needs of a candidate or a part is made once."""

    def __init__(self, pool: Pool):
        self.pool = pool
        self.cost = cost_from(pool.cost)
        self._candidates: dict[tuple[tuple[str | None, ...], int], tuple[Candidate, Cost]] = {}
        self._blocks: dict[int, Mapping[int, _Part]] = {}

    def see(self, part: '_Part', judges: tuple[str | None, ...]) -> '_Seen':
        """A part as a strategy that asks these verifiers sees it, and what it cost that one."""
        if judges not in part.seen:
            seen = [self._see(stored, judges) for stored in part.candidates]
            paid = [*(cost for _, cost in seen), *(cost_from(branch.cost) for branch in part.pruned)]
            part.seen[judges] = _Seen([candidate for candidate, _ in seen], cost_fields(total([self.cost, *paid])))
        return part.seen[judges]

    def _see(self, stored: PoolCandidate, judges: tuple[str | None, ...]) -> tuple[Candidate, Cost]:
        key = judges, stored.sample
        if key not in self._candidates:
            self._candidates[key] = candidate_of(stored, judges), _paid(stored, judges)
        return self._candidates[key]

    def blocks(self, n: int) -> 'Mapping[int, _Part]':
        """Its candidates by blocks of `n` draws."""
        if n not in self._blocks:
            self._blocks[n] = _blocks(self.pool, n)
        return self._blocks[n]

    @functools.cached_property
    def chains(self) -> Sequence[Sequence[PoolCandidate]]:
        """Its candidates by chain."""
        return chains_of(self.pool.candidates)


def _read(label: str, strategy: Divisible, largest: int, n: int, opened: _Opened, common: Mapping[str, Any]) -> Record:
    """What a strategy made of the disjoint blocks of `n` among the `largest` first draws of a pool."""
    parts = opened.blocks(n)
    return _record(label, strategy, n, [parts[index] for index in range(largest // n)], opened, common)


def _read_chains(label: str, revision: Revision, chains: Chains, opened: _Opened, common: Mapping[str, Any]) -> Record:
    """What revisions made of the disjoint groups of chains that were to be long enough, each cut to its length."""
    grown, most, length = opened.chains, revision.chains, revision.length
    enough = sum(planned >= length for planned in chains.lengths)  # the first ones: later chains are never longer
    groups = [grown[first : first + most] for first in range(0, enough - most + 1, most)]
    parts = [_Part(sorted((c for chain in group for c in chain[:length]), key=lambda c: c.sample)) for group in groups]
    return _record(label, revision, revision.generations, parts, opened, common)


def _record(
    label: str,
    strategy: Divisible | Revision,
    n: int,
    parts: 'Sequence[_Part]',
    opened: _Opened,
    common: Mapping[str, Any],
) -> Record:
    """What a strategy made of parts of a pool, each as if the others were not there."""
    blocks: list[Block] = []
    votes: tuple[tuple[str, float], ...] = ()
    for index, part in enumerate(parts):
        seen = opened.see(part, strategy.judges)
        choice = strategy.choose(seen.candidates)
        blocks.append(_block(choice.answer, part.candidates, seen.cost))
        votes = votes if index else choice.votes
    return Record(strategy=label, n=n, blocks=tuple(blocks), votes=votes, **common)


def _branches(pool: Pool) -> list[PoolCandidate | PoolBranch]:
    """The whole tree."""
    return [*pool.candidates, *pool.pruned]


class _Seen(NamedTuple):
    """A part as some strategies see it."""

    candidates: list[Candidate]
    cost: Mapping[str, int]


@dataclasses.dataclass
class _Part:
    """What came of some draws of a pool, and how it was seen by the strategies that asked these verifiers."""

    candidates: list[PoolCandidate] = dataclasses.field(default_factory=list)
    pruned: list[PoolBranch] = dataclasses.field(default_factory=list)
    seen: dict[tuple[str | None, ...], _Seen] = dataclasses.field(default_factory=dict)


def _blocks(pool: Pool, n: int) -> Mapping[int, _Part]:
    """Candidates and branches of every `n` draws in a row: a fork belongs to the draw that it goes back to."""
    parent = {branch.sample: branch.parent for branch in _branches(pool)}
    parts: dict[int, _Part] = collections.defaultdict(_Part)
    for stored in pool.candidates:
        parts[_root(stored.sample, parent) // n].candidates.append(stored)
    for branch in pool.pruned:
        parts[_root(branch.sample, parent) // n].pruned.append(branch)
    return parts


def _root(sample: int, parent: Mapping[int, int | None]) -> int:
    """The draw that a branch goes back to."""
    while (above := parent[sample]) is not None:
        sample = above
    return sample


def _block(answer: str | None, candidates: Sequence[PoolCandidate], cost: Mapping[str, int]) -> Block:
    """The verdict on an answer is that of the earliest candidate that gave it in these words."""
    verdict = next((c.verdict for c in candidates if answer is not None and c.answer == answer), Verdict.WRONG.value)
    return Block(answer=answer, verdict=verdict, cost=cost)


def _paid(stored: PoolCandidate, judges: Sequence[str | None]) -> Cost:
    """What a candidate cost a strategy that asks these verifiers; what a search by itself paid is in its own cost."""
    return total([cost_from(stored.cost), *(cost_from(stored.verified[str(name)]) for name in judges if stored.verified)])
