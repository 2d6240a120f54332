"""The one scheduler: it runs many searches at once and merges their requests into device batches.

Each question has a generator (`core.requests`). The driver sends it replies, keeps its books, and enforces its budget: what is
left becomes a cap of tokens for every row. Between two chunks of the device finished questions leave and others enter. Nothing
here reads a clock, and nothing that one question is sent depends on another: the same question gets the same tokens alone.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost, total
from jaxreason.core.protocols import Session, Verifier
from jaxreason.core.requests import Extend, Request, Score, Search, Start, Take
from jaxreason.core.types import Outcome, Question, Row
from jaxreason.search.extension import Extension


class Task(NamedTuple):
    """One search on one question: its generator, its limits, and the seed of its draws."""

    question: Question
    search: Search
    budget: Budget
    seed: int


def drive(
    tasks: Sequence[Task],
    session: Session,
    verifiers: Mapping[str | None, Verifier],
    on_tick: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Runs searches together.

    Args:
        tasks: searches not yet begun; they enter in this order.
        session: rows on a device.
        verifiers: by the name that `Score` uses; None is the default one.
        on_tick: called between two chunks of the device; what it raises ends the drive.

    Yields:
        The index of a task and its outcome, as each is finished.
    """
    session.prepare([task.question for task in tasks])
    waiting = deque(_Live(index, task, session, verifiers) for index, task in enumerate(tasks))
    live: list[_Live] = []
    carries: dict[str | None, Any] = {}
    try:
        while waiting or live:
            while waiting and (not live or session.room() > 0):
                live.append(waiting.popleft())
                live[-1].advance(None)
            while scoring := [one for one in live if isinstance(one.request, Score)]:
                _score(scoring, verifiers, carries)
            finished = [one for one in live if one.outcome is not None]
            for one in finished:  # rows are freed before the caller sees the outcome, so that others enter at once
                live.remove(one)
                session.release(one.rows)
            yield from ((one.index, one.outcome) for one in finished)
            if on_tick:
                on_tick()
            if live and not finished:
                _deliver(live, session.pump())
    finally:
        for one in (*live, *waiting):
            one.task.search.close()
            session.release(one.rows)


def _deliver(live: 'list[_Live]', grown: Sequence[Row]) -> None:
    """Hands each grown row to the extension that waits for it."""
    owner = {handle: one for one in live if one.extension for handle in one.extension.submitted}
    for row in grown:
        one = owner[row.handle]
        one.extension.receive(row)
    for one in live:
        if one.extension and not one.extension.submitted:
            one.resume()


def _score(scoring: 'list[_Live]', verifiers: Mapping[str | None, Verifier], carries: dict[str | None, Any]) -> None:
    """Answers all pending `Score` requests, one call a verifier."""
    for name in dict.fromkeys(one.request.verifier for one in scoring):
        group = [one for one in scoring if one.request.verifier == name]
        rows = [row for one in group for row in one.request.rows]
        scores, costs, carries[name] = verifiers[name].score(rows, carries.get(name))
        first = 0
        for one in group:
            last = first + len(one.request.rows)
            one.spent += total(costs[first:last])
            one.advance((tuple(scores[first:last]), tuple(costs[first:last])))
            first = last


class _Live:
    """A question under search: its generator, what it waits for, what it has spent."""

    def __init__(self, index: int, task: Task, session: Session, verifiers: Mapping[str | None, Verifier]):
        self.index = index
        self.task = task
        self.session = session
        self.verifiers = verifiers
        self.spent = Cost()
        self.generations = 0
        self.rows: tuple[Row, ...] = ()  # what it holds on the device
        self.request: Request | None = None
        self.extension: Extension | None = None
        self.outcome: Outcome | None = None

    def advance(self, reply: Any) -> None:
        """Sends replies until the generator waits for the device or the verifier, or is done."""
        while True:
            try:
                self.request = self.task.search.send(reply)
            except StopIteration as stop:
                self.request, self.outcome = None, stop.value
                return
            match self.request:
                case Start():
                    if not self._affords(self.session.start_price(self.request.question)):
                        self._end_unaffordable()
                        return
                    reply = self._start(self.request)
                case Take(rows, indices):
                    kept = tuple(row for row in self.rows if row.handle not in {r.handle for r in rows})
                    taken = self.session.take(rows, indices)
                    self.rows = kept + taken
                    reply = (taken, Cost())
                case Extend():
                    left = self.request.budget.tightest(self.task.budget - self.spent)
                    self.extension = Extension(self.request, left, self._price(self.request.scored_by))
                    self.extension.submit(self.session)
                    if self.extension.submitted:
                        return
                    reply = self._finish_extension()
                case Score():
                    return

    def resume(self) -> None:
        """Goes on once all submitted rows are back: another round if the budget has something left, else the reply."""
        self.extension.submit(self.session)
        if not self.extension.submitted:
            self.advance(self._finish_extension())

    def _start(self, request: Start) -> tuple[tuple[Row, ...], Cost]:
        self.generations += request.copies
        allowed = self.task.budget.generations
        if allowed is not None and self.generations > allowed:
            raise ValueError(f'search began {self.generations} solutions, the budget allows {allowed}.')
        rows, cost = self.session.start(request.question, request.copies, request.first, self.task.seed)
        self.rows += rows
        self.spent += cost
        return rows, cost

    def _price(self, scored_by: Sequence[str | None]) -> Callable[[Row, int], int]:
        """FLOPs of growing a row by so many tokens and of scoring it then."""
        judges = [self.verifiers[name] for name in scored_by]
        return lambda row, m: self.session.decode_price(row, m) + sum(judge.price(row, m) for judge in judges)

    def _affords(self, flops: int) -> bool:
        left = (self.task.budget - self.spent).flops
        return left is None or flops <= left

    def _end_unaffordable(self) -> None:
        """The budget does not even pay the prompt: that is an outcome without an answer, not an error."""
        self.task.search.close()
        self.request = None
        self.outcome = Outcome(question=self.task.question, answer=None, candidates=(), votes=(), cost=self.spent)

    def _finish_extension(self) -> tuple[tuple[Row, ...], Cost]:
        rows, cost = self.extension.reply()
        self.extension = None
        self.spent += cost
        grown = {row.handle: row for row in rows}
        self.rows = tuple(grown.get(row.handle, row) for row in self.rows)
        return rows, cost
