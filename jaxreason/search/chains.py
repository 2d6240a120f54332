"""Chains of attempts: every attempt but the first is shown those before it, and is to be better.

A chain grows by new prompts, not by longer rows: its attempts share nothing but the question. An attempt's draws are addressed
by its chain and its place in it alone, so a chain is the same whether others grow beside it and however long it will become:
one search of many chains holds every search of fewer and shorter ones.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.
"""

import dataclasses
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import Cost, total
from jaxreason.core.requests import Extend, Request, Score, Start, Take
from jaxreason.core.types import Candidate, Question, Row
from jaxreason.search.drive import MOST_COPIES
from jaxreason.search.strategy import candidate, unscored_by_row


class Attempt(NamedTuple):
    """An attempt of a chain.

    Attributes:
        row: as it ended; its question holds the attempts that it was shown.
        prompt: what its prompt cost; free of a first attempt, whose prompt all chains share.
        revises: sample of the attempt before it; None of a first attempt.
        scores: of its steps, by verifier.
        verified: what these cost, by verifier.
        unscored: why there are none, by verifier.
    """

    row: Row
    prompt: Cost
    revises: int | None
    scores: dict[str | None, tuple[float, ...]]
    verified: dict[str | None, Cost]
    unscored: dict[str, str]

    def candidate(self, judge: str | None = None) -> Candidate:
        """What a strategy keeps of it: with the scores of a verifier, and what they cost, where that verifier was asked."""
        made = candidate(self.row, self.scores.get(judge, ()), self.verified.get(judge, Cost()), self.unscored)
        return dataclasses.replace(made, cost=made.cost + self.prompt, revises=self.revises)


class Grown(NamedTuple):
    """Attempts of all chains in sample order, and what all of it cost with the first prompt."""

    attempts: tuple[Attempt, ...]
    prompt: Cost
    cost: Cost


def grow_chains(
    question: Question,
    lengths: Sequence[int],
    context: int,
    judges: Sequence[str | None] = (),
    budget: Budget = UNLIMITED,
) -> Generator[Request, Any, Grown]:
    """Grows chains side by side, an attempt of each at a time.

    A chain ends before its length where its last attempt leaves no room for another, or the budget pays no further prompt.

    Args:
        question: as asked.
        lengths: attempts of each chain, at least 1.
        context: attempts that a revision is shown, the last ones; fewer where they leave no room.
        judges: names of the verifiers to ask.
        budget: of all chains; every round gets an even share of what is left.
    """
    rows, prompt = yield Start(question, copies=len(lengths))
    chains: list[list[Attempt]] = [[] for _ in lengths]
    begun = {row.handle: (row.sample, Cost()) for row in rows}
    spent = prompt
    for turn in range(max(lengths)):
        if turn:
            begun, rows = {}, ()
            for number, chain in enumerate(chains):
                if len(chain) == turn < lengths[number]:
                    shown = tuple(attempt.row.text for attempt in chain[-context:])
                    asked = dataclasses.replace(question, attempts=shown)
                    new, cost = yield Start(asked, first=sample_of(number, turn))
                    begun |= {row.handle: (number, cost) for row in new}
                    rows, spent = rows + new, spent + cost
        if not rows:
            break
        share = (budget - spent).share(max(lengths) - turn)
        rows, cost = yield Extend(rows, budget=share, scored_by=tuple(judges))
        spent += cost
        scores: dict[str | None, Sequence[tuple[float, ...]]] = {}
        verified: dict[str | None, Sequence[Cost]] = {}
        reasons: dict[str | None, Any] = {}
        for judge in judges:
            scores[judge], verified[judge], reasons[judge] = yield Score(rows, judge)
            spent += total(verified[judge])
        unscored = unscored_by_row(reasons, len(rows))
        for index, row in enumerate(rows):
            number, paid = begun[row.handle]
            attempt = Attempt(
                row,
                paid,
                revises=chains[number][-1].row.sample if turn else None,
                scores={name: each[index] for name, each in scores.items()},
                verified={name: each[index] for name, each in verified.items()},
                unscored=unscored[index],
            )
            chains[number].append(attempt)
        yield Take(rows, ())  # nothing of them is needed but their text
    attempts = sorted((attempt for chain in chains for attempt in chain), key=lambda attempt: attempt.row.sample)
    return Grown(tuple(attempts), prompt, spent)


def sample_of(chain: int, turn: int) -> int:
    """The sample number of an attempt, from 0 both: first attempts are numbered as independent samples are."""
    return turn * MOST_COPIES + chain


def turn_of(sample: int) -> int:
    """The place of an attempt in its chain, from 0 on; the inverse of `sample_of`."""
    return sample // MOST_COPIES


class Linked(Protocol):
    """An attempt that knows the one before it: a `Candidate`, or what a run has written down of one."""

    @property
    def sample(self) -> int: ...
    @property
    def revises(self) -> int | None: ...


Link = TypeVar('Link', bound=Linked)


def chains_of(attempts: Sequence[Link]) -> list[list[Link]]:
    """Attempts by chain, each from its first on; chains in the order of their first samples."""
    after = {attempt.revises: attempt for attempt in attempts if attempt.revises is not None}
    chains = []
    for first in sorted((a for a in attempts if a.revises is None), key=lambda a: a.sample):
        chain = [first]
        while (following := after.get(chain[-1].sample)) is not None:
            chain.append(following)
        chains.append(chain)
    return chains
