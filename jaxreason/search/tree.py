"""The tree of one search: who was forked from whom, what each branch has paid, what has ended and what was left.

A search over steps moves *leaves*, prefixes that may go on: it lets them grow by a step, has them scored, and decides how many
ways each goes on. The strategy decides; the tree asks the driver for it and keeps the books. Leaves are numbered: those that
begin with the prompt by their draw, forks in the order in which they appear; the first way on from a leaf keeps its number.
"""

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.aggregation import AGGREGATE, Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.requests import Extend, Request, Score, Start, Take, Until
from jaxreason.core.types import Branch, Candidate, Finish, Outcome, Question, Row
from jaxreason.search.select import Vote, choose
from jaxreason.search.strategy import candidate, unscored_by_row

Grown = Generator[Request, Any, 'list[Leaf]']


class Leaf(NamedTuple):
    """A prefix that may go on, and the scores of its steps; none where the verifier could not score it."""

    row: Row
    scores: tuple[float, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.row.finish is not Finish.OPEN

    def value(self, aggregation: Aggregation) -> float:
        """Its steps' scores as one number; 0 without scores."""
        return AGGREGATE[aggregation](self.scores) if self.scores else 0.0


@dataclasses.dataclass
class _Books:
    """What is known of a branch beside its row."""

    number: int
    parent: int | None = None
    forked_at: int = 0  # steps
    shared: int = 0  # FLOPs that its parent had spent when it was forked off
    paid: Cost = FREE  # for the verifier
    unscored: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Tree:
    """One search under way. Its methods that yield are called with `yield from`."""

    def __init__(self, question: Question, budget: Budget, verifier: str | None):
        """Begins.

        Args:
            question: as asked.
            budget: of the whole search.
            verifier: name of the one that scores.
        """
        self.question = question
        self.budget = budget
        self.verifier = verifier
        self.round = 0
        self.spent = FREE
        self._books: dict[int, _Books] = {}  # by handle
        self._candidates: list[Candidate] = []
        self._pruned: list[Branch] = []

    def start(self, n: int) -> Grown:
        """`n` leaves that hold the prompt and nothing else."""
        rows, self.spent = yield Start(self.question, copies=n)
        self._books = {row.handle: _Books(row.sample) for row in rows}
        return [Leaf(row) for row in rows]

    def grow(self, leaves: Sequence[Leaf], until: Until = Until.STEP) -> Grown:
        """The leaves a round later: each has a further step, or has ended, and is scored."""
        self.round += 1
        rows, cost = yield Extend(
            tuple(leaf.row for leaf in leaves), until=until, budget=self.budget - self.spent, scored_by=(self.verifier,)
        )
        self.spent += cost
        scores, verified, reasons = yield Score(rows, self.verifier)
        self.spent += total(verified)
        unscored = unscored_by_row({self.verifier: reasons}, len(rows))
        for row, price, reason in zip(rows, verified, unscored, strict=True):
            books = self._books[row.handle]
            books.paid, books.unscored = books.paid + price, reason
        return [Leaf(row, tuple(each)) for row, each in zip(rows, scores, strict=True)]

    def values(self, leaves: Sequence[Leaf], lookahead: int, aggregation: Aggregation) -> Generator[Request, Any, list[float]]:
        """What each leaf is worth: by its own scores, or by those at the end of a greedy rollout.

        The rollouts are thrown away. A leaf that has ended is worth what it is; so is one whose rollout could not be scored.

        Args:
            leaves: scored.
            lookahead: most steps of a rollout; 0 for none.
            aggregation: how the scores of steps become one number.
        """
        if not lookahead:
            return [leaf.value(aggregation) for leaf in leaves]
        going = [leaf.row for leaf in leaves if not leaf.has_ended]
        rows, cost = yield Take(tuple(going), tuple(index for index in range(len(going)) for _ in range(2)))
        rollouts = rows[1::2]
        for _ in range(lookahead):
            rollouts, more = yield Extend(
                rollouts, until=Until.STEP, budget=self.budget - (self.spent + cost), greedy=True, scored_by=(self.verifier,)
            )
            cost += more
        scores, verified, _ = yield Score(rollouts, self.verifier)
        cost += total(verified)
        self.spent += cost._replace(lookahead=cost.flops)
        yield Take(rollouts, ())
        ahead = {row.handle: Leaf(row, tuple(each)) for row, each in zip(going, scores, strict=True) if each}
        return [ahead.get(leaf.row.handle, leaf).value(aggregation) for leaf in leaves]

    def harvest(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        """Keeps the leaves that have ended as solutions; returns the others."""
        for leaf in leaves:
            if leaf.has_ended:
                self.end(leaf)
        return [leaf for leaf in leaves if not leaf.has_ended]

    def end(self, leaf: Leaf) -> None:
        """Keeps a leaf as a solution."""
        books = self._books[leaf.row.handle]
        found = candidate(leaf.row, leaf.scores, books.paid, books.unscored)
        found = dataclasses.replace(found, sample=books.number, parent=books.parent, forked_at=books.forked_at)
        self._candidates.append(found)

    def prune(self, leaf: Leaf) -> None:
        """Leaves a leaf behind."""
        books, row = self._books[leaf.row.handle], leaf.row
        begin = row.step_ends[books.forked_at - 1] if books.forked_at else 0
        self._pruned.append(
            Branch(
                sample=books.number,
                parent=books.parent,
                forked_at=books.forked_at,
                pruned_at=self.round,
                tokens=row.tokens[begin:],
                steps=row.steps[books.forked_at :],
                scores=leaf.scores[books.forked_at :],
                cost=row.cost + books.paid,
            )
        )

    def fork(self, leaves: Sequence[Leaf], ways: Sequence[int]) -> Grown:
        """Every leaf as many times as it has ways on, copies beside each other; those without any are pruned.

        Args:
            leaves: none of them ended.
            ways: one number a leaf.
        """
        for leaf, count in zip(leaves, ways, strict=True):
            if not count:
                self.prune(leaf)
        if not leaves:
            return []
        indices = tuple(index for index, count in enumerate(ways) for _ in range(count))
        rows, _ = yield Take(tuple(leaf.row for leaf in leaves), indices)
        for index, row in zip(indices, rows, strict=True):
            parent = leaves[index].row
            if row.handle not in self._books:
                books = self._books[parent.handle]
                shared = (parent.cost + books.paid).flops
                self._books[row.handle] = _Books(len(self._books), books.number, len(parent.steps), shared)
        return [Leaf(row, leaves[index].scores) for index, row in zip(indices, rows, strict=True)]

    def outcome(self, vote: Vote, aggregation: Aggregation) -> Outcome:
        """What came of it."""
        candidates = sorted(self._candidates, key=lambda c: c.sample)
        pruned = self._discarded()
        choice = choose(candidates, vote, aggregation)
        return Outcome(
            question=self.question,
            answer=choice.answer,
            candidates=tuple(candidates),
            votes=choice.votes,
            cost=self.spent._replace(discarded=self.spent.discarded + sum(branch.cost.discarded for branch in pruned)),
            pruned=tuple(pruned),
        )

    def _discarded(self) -> list[Branch]:
        """Pruned branches; what of each is discarded leaves out the beginning that a solution goes on from."""
        used: dict[int, int] = {c.sample: c.cost.flops for c in self._candidates}  # by number; those in no solution are absent
        for books in reversed(self._books.values()):  # children come after their parents
            if books.number in used and books.parent is not None:
                used[books.parent] = max(used.get(books.parent, 0), books.shared)
        return [
            dataclasses.replace(branch, cost=branch.cost._replace(discarded=branch.cost.flops - used.get(branch.sample, 0)))
            for branch in sorted(self._pruned, key=lambda branch: branch.sample)
        ]


def prefixes(generations: int, lookahead: int) -> int:
    """Prefixes at a time of a search that begins so many solutions.

    Args:
        generations: the prefixes and their rollouts, a step of which costs as much as a solution.
        lookahead: steps of a rollout.

    Raises:
        ValueError: they do not come out even; a phrase says so.
    """
    n, rest = divmod(generations, lookahead + 1)
    if rest:
        raise ValueError(f'with a lookahead of {lookahead} every prefix is {lookahead + 1} generations')
    return n


def shared_out(kept: Sequence[int], num_leaves: int) -> list[int]:
    """As many ways on as there are leaves, given out evenly to those that are kept, the first ones getting what is over.

    Args:
        kept: indices of the leaves that get some; none only where there are no leaves.
        num_leaves: in all.

    Returns:
        Ways on, one number a leaf.
    """
    ways = [0] * num_leaves
    for place in range(num_leaves):
        ways[sorted(kept)[place % len(kept)]] += 1
    return ways
