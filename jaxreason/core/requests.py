"""What a strategy may ask for, and what it is sent back.

A strategy is a generator: it yields requests and is sent replies, and knows no model, no device and no other question.

| request | reply |
| --- | --- |
| `Start` | rows that hold the prompt and nothing else, or none; cost of the prompt (once, whatever the copies) |
| `Extend` | the same rows in the same order, grown, and what that cost |
| `Append` | the same rows in the same order, with words put into them, and what that cost |
| `Take` | rows in a new order, no cost; the rows that went in are gone |
| `Score` | for every row its step scores, and for every row what scoring it cost |
| `Charge` | nothing |
"""

import enum
from collections.abc import Generator
from typing import Any, NamedTuple

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import Cost
from jaxreason.core.types import Outcome, Question, Row


class Until(enum.StrEnum):
    """Where an extension pauses, if the row does not end before."""

    STEP = 'step'  # with the token that completes a step delimiter
    END = 'end'


class Start(NamedTuple):
    """New rows on a question; copy `i` draws as sample `first + i` of that question.

    Of the question's attempts the rows show the last ones, as many as there is room for (`Row.question` says which). There are
    no rows at all where there is room for none of them, or where the budget pays no prompt after the search's first.
    """

    question: Question
    copies: int = 1
    first: int = 0


class Extend(NamedTuple):
    """More tokens for rows; a row that has ended comes back as it is.

    Attributes:
        rows: what to extend.
        until: where to pause.
        budget: what may be spent on it, all rows together; a row cut by it ends with `Finish.BUDGET`.
        max_tokens: pause after this many tokens a row; None for no such pause.
        greedy: take the most likely token instead of drawing.
        scored_by: verifiers that will score the rows afterwards; what that costs is kept back from the budget.
    """

    rows: tuple[Row, ...]
    until: Until = Until.END
    budget: Budget = UNLIMITED
    max_tokens: int | None = None
    greedy: bool = False
    scored_by: tuple[str | None, ...] = ()


class Append(NamedTuple):
    """Words put into rows: a row goes on behind them as if it had drawn them itself; one that had ended is open again.

    What ended a row, an end token or a stop string, is dropped first. Where the budget does not pay for the words and one more
    token, or the row has no room for them or has failed, a row that has ended comes back as it is, and an open one as ended,
    with `Finish.BUDGET` or `Finish.LENGTH`. The words are charged as tokens that are fed, and counted as `prompt_tokens`.

    Attributes:
        rows: what to put words into.
        texts: the words for each row, the policy's special pieces among them; None leaves a row as it is.
        cut: what a row said from the first of these on is dropped before, with the tokens that wrote it; '' drops nothing more.
        budget: what may be spent on it, all rows together.
        scored_by: verifiers that will score the rows afterwards; what that costs is kept back from the budget.
    """

    rows: tuple[Row, ...]
    texts: tuple[str | None, ...]
    cut: str = ''
    budget: Budget = UNLIMITED
    scored_by: tuple[str | None, ...] = ()


class Take(NamedTuple):
    """Rows by index, an index as often as wanted: that is how a beam forks and prunes.

    The first copy of a row keeps its address, so it goes on as the row itself would have; later copies draw anew.
    """

    rows: tuple[Row, ...]
    indices: tuple[int, ...]


class Score(NamedTuple):
    """Step scores of rows, by the verifier of that name (None: the one given to `solve`).

    The reply: for every row its scores, what they cost, and why there are none (`Unscored`), or None.
    """

    rows: tuple[Row, ...]
    verifier: str | None = None


class Charge(NamedTuple):
    """What was spent on the question elsewhere and counts here; the search ends where the budget does not pay it."""

    cost: Cost


Request = Start | Extend | Append | Take | Score | Charge
Search = Generator[Request, Any, Outcome]
