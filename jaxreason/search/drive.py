"""The one scheduler: it runs many searches at once and merges their requests into device batches.

Each question has a generator (`core.requests`). The driver sends it replies, keeps its books, and enforces its budget: what is
left becomes a cap of tokens for every row. Between two chunks of the device finished questions leave and others enter. Nothing
here reads a clock, and nothing that one question is sent depends on another: the same question gets the same tokens alone.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost, total
from jaxreason.core.protocols import Remembering, Scored, Session, Verifier
from jaxreason.core.requests import Append, Charge, Extend, Score, Search, Start, Take
from jaxreason.core.types import Outcome, Question, Row
from jaxreason.core.verifier_spec import Unscored
from jaxreason.search.appending import append_words
from jaxreason.search.extension import Extension

MOST_COPIES = 2**16  # of one question: far more would fill the host's memory before the device saw any


class Task(NamedTuple):
    """One search on one question.

    Attributes:
        question: as asked.
        search: its generator.
        budget: its limits.
        seed: of its draws.
        copies: rows that it may have at once; None where nobody knows.
        num_attempts: earlier attempts that its prompts show at most.
    """

    question: Question
    search: Search
    budget: Budget
    seed: int
    copies: int | None = None
    num_attempts: int = 0


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
    _prepare(tasks, session)
    carries: dict[str | None, Any] = {}
    waiting = deque(_Live(index, task, session, verifiers, carries) for index, task in enumerate(tasks))
    live: list[_Live] = []
    try:
        while waiting or live:
            while waiting and (not live or session.room() > 0):
                live.append(waiting.popleft())
                live[-1].advance(None)
            while scoring := [one for one in live if one.scoring is not None]:
                _score(scoring, verifiers, carries)
            finished = [(one, one.outcome) for one in live if one.outcome is not None]
            for one, _ in finished:  # rows are freed before the caller sees the outcome, so that others enter at once
                one.leave(one.rows)
                session.release(one.rows)
            _forget([handle for one in live for handle in one.left()], verifiers, carries)
            live = [one for one in live if one.outcome is None]
            yield from ((one.index, outcome) for one, outcome in finished)
            if on_tick:
                on_tick()
            if live and not finished:
                _deliver(live, session.pump())
    finally:
        for one in (*live, *waiting):
            one.task.search.close()
            session.release(one.rows)


def _forget(gone: Sequence[int], verifiers: Mapping[str | None, Verifier], carries: dict[str | None, Any]) -> None:
    """Lets verifiers forget rows: what they hold of a search would else pile up."""
    for name, carry in carries.items():
        verifier = verifiers[name]
        if gone and isinstance(verifier, Remembering):
            carries[name] = verifier.forget(carry, gone)


def _prepare(tasks: Sequence[Task], session: Session) -> None:
    """Has the session choose its shapes; rows of one question count together, since they share its prompt."""
    copies: dict[Question, int] = {}
    for task in tasks:
        copies[task.question] = copies.get(task.question, 0) + (task.copies or 0)
    is_known = all(task.copies is not None for task in tasks)
    num_attempts = max((task.num_attempts for task in tasks), default=0)
    session.prepare(list(copies), list(copies.values()) if is_known else None, num_attempts)


def _deliver(live: 'list[_Live]', grown: Sequence[Row]) -> None:
    """Hands each grown row to the extension that waits for it."""
    owner = {handle: one.extension for one in live if one.extension for handle in one.extension.submitted}
    for row in grown:
        owner[row.handle].receive(row)
    for one in live:
        if one.extension and not one.extension.submitted:
            one.extend(one.extension)


def _score(scoring: 'list[_Live]', verifiers: Mapping[str | None, Verifier], carries: dict[str | None, Any]) -> None:
    """Answers all pending `Score` requests, one call a verifier."""
    requests = [(one, one.scoring) for one in scoring if one.scoring is not None]
    for name in dict.fromkeys(request.verifier for _, request in requests):
        group = [(one, request) for one, request in requests if request.verifier == name]
        rows = [row for _, request in group for row in request.rows]
        scored = verifiers[name].score(rows, carries.get(name))
        carries[name] = scored.carry
        replies = list(_replies(rows, scored))
        first = 0
        for one, request in group:
            last = first + len(request.rows)
            one.spent += total(cost for _, cost, _ in replies[first:last])
            one.advance(_reply(replies[first:last], one.unpaid))
            first = last


def _replies(rows: Sequence[Row], scored: Scored) -> Iterator[tuple[tuple[float, ...], Cost, Unscored | None]]:
    """Scores, cost and reason of every row: scores that are no finite numbers are none, and a row without any has a reason."""
    for index, (row, scores, cost) in enumerate(zip(rows, scored.scores, scored.costs, strict=True)):
        reason = scored.unscored.get(index)
        if not all(map(math.isfinite, scores)):
            scores, reason = (), Unscored.NAN  # what is no number can be neither compared nor written down
        elif not scores and reason is None:
            reason = Unscored.STEPS if row.steps else Unscored.NO_STEPS
        yield scores, cost, reason


def _reply(scored: Sequence[tuple[tuple[float, ...], Cost, Unscored | None]], unpaid: int) -> tuple[Sequence[Any], ...]:
    """What a `Score` is sent back: what was scored, and nothing for as many rows as the budget did not pay for."""
    rows = [*scored, *[((), Cost(), Unscored.BUDGET)] * unpaid]
    return tuple(zip(*rows, strict=True)) or ((), (), ())


class _Live:
    """A question under search: its generator, what it waits for, what it has spent."""

    def __init__(
        self,
        index: int,
        task: Task,
        session: Session,
        verifiers: Mapping[str | None, Verifier],
        carries: Mapping[str | None, Any],
    ):
        self.index = index
        self.task = task
        self.session = session
        self.verifiers = verifiers
        self.carries = carries  # what the verifiers wanted back, as it is now
        self.spent = Cost()
        self.has_started = False
        self.begun: set[int] = set()  # handles of the solutions that it let grow
        self.rows: tuple[Row, ...] = ()  # what it holds on the device
        self.scoring: Score | None = None  # waits for a verifier
        self._left: list[int] = []  # handles of rows that are gone since somebody asked
        self.unpaid = 0  # rows behind those that wait, which the budget does not pay for
        self.extension: Extension | None = None  # waits for the device
        self.outcome: Outcome | None = None

    def advance(self, reply: Any) -> None:
        """Sends replies until the generator waits for the device or the verifier, or is done."""
        self.scoring = None
        while True:
            try:
                request = self.task.search.send(reply)
            except StopIteration as stop:
                self.outcome = stop.value
                return
            match request:
                case Start():
                    question = self.session.fitting(request.question)
                    is_paid = self._affords(self.session.start_price(question))
                    if not is_paid and not self.has_started:
                        self._end_unaffordable()
                        return
                    has_room = bool(question.attempts) or not request.question.attempts
                    reply = self._start(request._replace(question=question)) if is_paid and has_room else ((), Cost())
                case Take(rows, indices):
                    gone = {row.handle for row in rows}
                    kept = tuple(row for row in self.rows if row.handle not in gone)
                    taken = self.session.take(rows, indices)
                    self.rows = kept + taken
                    on = {row.handle for row in taken}
                    self.leave([row for row in rows if row.handle not in on])
                    reply = (taken, Cost())
                case Extend():
                    self._begin(request.rows)
                    left = request.budget.tightest(self.task.budget - self.spent)
                    self.extend(Extension(request, left, self._price(request.scored_by)))
                    return
                case Append():
                    left = request.budget.tightest(self.task.budget - self.spent)
                    reply = append_words(request, left, self._price(request.scored_by), self.session)
                    self._book(*reply)
                case Score(rows, name):
                    paid = self._num_affordable(rows, name)
                    self.unpaid = len(rows) - paid
                    if paid:
                        self.scoring = Score(rows[:paid], name)
                        return
                    reply = _reply((), self.unpaid)
                case Charge(cost):
                    if not self._affords(cost.flops):
                        self._end_unaffordable()
                        return
                    self.spent += cost
                    reply = None

    def leave(self, rows: Sequence[Row]) -> None:
        """Notes rows that are gone."""
        self._left += [row.handle for row in rows]

    def left(self) -> list[int]:
        """Handles of the rows that are gone since the last time."""
        gone, self._left = self._left, []
        return gone

    def extend(self, extension: Extension) -> None:
        """Sends out a round of an extension; when there is nothing left to send, replies to its request."""
        extension.submit(self.session)
        self.extension = extension if extension.submitted else None
        if self.extension is None:
            reply = extension.reply()
            self._book(*reply)
            self.advance(reply)

    def _book(self, rows: Sequence[Row], cost: Cost) -> None:
        """Takes rows as they are now, and what that cost."""
        self.spent += cost
        changed = {row.handle: row for row in rows}
        self.rows = tuple(changed.get(row.handle, row) for row in self.rows)

    def _start(self, request: Start) -> tuple[tuple[Row, ...], Cost]:
        if not 1 <= request.copies <= MOST_COPIES:
            raise ValueError(f'a search starts 1 to {MOST_COPIES:,} rows of a question, got {request.copies:,}: change its n.')
        rows, cost = self.session.start(request.question, request.copies, request.first, self.task.seed)
        self.has_started = True
        self.rows += rows
        self.spent += cost
        return rows, cost

    def _begin(self, rows: Sequence[Row]) -> None:
        """Counts the solutions that are about to draw their first token: what a budget in generations limits."""
        self.begun |= {row.handle for row in rows if not row.tokens}
        allowed = self.task.budget.generations
        if allowed is not None and len(self.begun) > allowed:
            raise ValueError(f'search began {len(self.begun)} solutions, the budget allows {allowed}.')

    def _price(self, scored_by: Sequence[str | None]) -> Callable[[Row, int], int]:
        """FLOPs of growing a row by so many tokens and of scoring it then."""
        judges = [(self.verifiers[name].price, self.carries.get(name)) for name in scored_by]
        return lambda row, m: self.session.decode_price(row, m) + sum(price(row, m, carry) for price, carry in judges)

    def _affords(self, flops: int) -> bool:
        left = (self.task.budget - self.spent).flops
        return left is None or flops <= left

    def _num_affordable(self, rows: Sequence[Row], name: str | None) -> int:
        """How many rows, from the first on, the budget pays a verifier to score."""
        if self.task.budget.flops is None:
            return len(rows)
        price, carry = self.verifiers[name].price, self.carries.get(name)
        prices = itertools.accumulate(price(row, 0, carry) for row in rows)
        return sum(map(self._affords, prices))

    def _end_unaffordable(self) -> None:
        """The budget does not pay what comes before the first sample: an outcome, not an error."""
        self.task.search.close()
        self.outcome = Outcome(question=self.task.question, answer=None, candidates=(), votes=(), cost=self.spent)
