"""Putting words into the rows of one question under its budget."""

import dataclasses
from collections.abc import Callable

from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost
from jaxreason.core.protocols import Session
from jaxreason.core.requests import Append
from jaxreason.core.types import Finish, Row


def append_words(
    request: Append, budget: Budget, price: Callable[[Row, int], int], session: Session
) -> tuple[tuple[Row, ...], Cost]:
    """Answers an `Append`.

    Args:
        request: rows and words.
        budget: what may be spent on all rows together, later scoring included.
        price: FLOPs of growing a row by so many tokens and of scoring it then, as far as it will be scored.
        session: where the rows are.

    Returns:
        The rows in the order of the request, and what the words cost.
    """
    rows, cost = list(request.rows), Cost()
    reserved = [price(row, 0) for row in rows]  # for scoring; of a row with words also for one more token
    for index, (row, text) in enumerate(zip(request.rows, request.texts, strict=True)):
        if text is None:
            continue
        longer = session.append(row, text, request.cut)
        if longer is row:
            rows[index] = _ended(row, Finish.LENGTH)
            continue
        more = Cost(*(a - b for a, b in zip(longer.cost, row.cost, strict=True)))
        claim = price(longer, 1)
        others = sum(reserved) - reserved[index]
        if budget.tokens == 0 or (budget.flops is not None and (cost + more).flops + claim + others > budget.flops):
            rows[index] = _ended(row, Finish.BUDGET)
            continue
        rows[index], reserved[index], cost = session.feed(longer), claim, cost + more
    return tuple(rows), cost


def _ended(row: Row, finish: Finish) -> Row:
    """A row that no words are put into: it ends with `finish` unless it has ended before."""
    return dataclasses.replace(row, finish=finish) if row.finish is Finish.OPEN else row
