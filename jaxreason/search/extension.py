"""Growing the rows of one question under its budget.

The budget is split evenly over the rows that still grow; what a row that ended early leaves over is split again in a further
round. So every cap depends on the question's own rows alone, never on which row was faster or what ran beside it.
"""

import dataclasses
import functools
from collections.abc import Callable

from jaxreason.core.budget import Budget, most_tokens
from jaxreason.core.cost import Cost, total
from jaxreason.core.protocols import Job, Session
from jaxreason.core.requests import Extend, Until
from jaxreason.core.types import Finish, Row


class Extension:
    """One `Extend` under way: which rows are out, which have paused or ended, what is left to spend."""

    def __init__(self, request: Extend, budget: Budget, price: Callable[[Row, int], int]):
        """Begins.

        Args:
            request: what to grow, and until where.
            budget: what may be spent on all rows together, later scoring included.
            price: FLOPs of growing a row by so many tokens and of scoring it then, as far as it will be scored.
        """
        self.request = request
        self.budget = budget
        self.price = price
        self.before = {row.handle: row for row in request.rows}
        self.rows = dict(self.before)
        self.growing = [row.handle for row in request.rows if row.finish is Finish.OPEN]
        self.submitted: set[int] = set()

    def submit(self, session: Session) -> None:
        """Sends out a round; sends nothing once all rows have paused or ended, or nothing is left to spend."""
        caps = self._caps(session)
        for handle in [h for h in self.growing if caps[h] > 0]:
            row = self.rows[handle]
            session.submit(Job(row, self.request.until is Until.STEP, caps[handle], self.request.greedy))
            self.submitted.add(handle)
        if not self.submitted:
            for handle in self.growing:
                self.rows[handle] = dataclasses.replace(self.rows[handle], finish=Finish.BUDGET)
            self.growing = []

    def receive(self, row: Row) -> None:
        """Takes a row back from the device."""
        self.submitted.discard(row.handle)
        self.rows[row.handle] = row
        new = len(row.tokens) - len(self.before[row.handle].tokens)
        if row.finish is not Finish.OPEN or row.at_boundary or new == self.request.max_tokens:
            self.growing.remove(row.handle)

    def reply(self) -> tuple[tuple[Row, ...], Cost]:
        """The rows in the order of the request, and what growing them cost."""
        return tuple(self.rows[row.handle] for row in self.request.rows), self._cost()

    def _cost(self) -> Cost:
        after = total(row.cost for row in self.rows.values())
        before = total(row.cost for row in self.before.values())
        return Cost(*(a - b for a, b in zip(after, before, strict=True)))

    def _caps(self, session: Session) -> dict[int, int]:
        """Tokens that each growing row may still add in this round."""
        caps = {handle: self._own_cap(session, handle) for handle in self.growing}
        left = self.budget - self._cost()
        if left.tokens is not None:
            for handle, share in zip(self.growing, _even(left.tokens, len(self.growing)), strict=True):
                caps[handle] = min(caps[handle], share)
        if left.flops is not None:
            # Scoring what is there already comes first: a long row would else find its share too small for that. Of a row
            # that grows the lesser counts, what it takes now or a token later: the latter decides whether it may grow.
            reserved = {handle: self.price(row, 0) for handle, row in self.rows.items()}
            reserved |= {handle: min(reserved[handle], self.price(self.rows[handle], 1)) for handle in self.growing}
            free = max(0, left.flops - sum(reserved.values()))
            for handle, share in zip(self.growing, _even(free, len(self.growing)), strict=True):
                price = functools.partial(self.price, self.rows[handle])
                caps[handle] = most_tokens(price, share + reserved[handle], caps[handle] if share else 0)
        return caps

    def _own_cap(self, session: Session, handle: int) -> int:
        row = self.rows[handle]
        cap = session.most_tokens(row)
        if self.request.max_tokens is not None:
            cap = min(cap, self.request.max_tokens - len(row.tokens) + len(self.before[handle].tokens))
        return cap


def _even(amount: int, parts: int) -> list[int]:
    """`amount` in `parts` whole shares that differ by one at most, the larger ones first."""
    if not parts:
        return []
    share, extra = divmod(amount, parts)
    return [share + (index < extra) for index in range(parts)]
