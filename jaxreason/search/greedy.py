"""Greedy decoding: the most likely token at every position. The baseline that every search has to beat."""

import dataclasses

from jaxreason.core.budget import Budget
from jaxreason.core.requests import Extend, Search, Start
from jaxreason.core.types import Outcome, Question
from jaxreason.search.select import Vote, choose
from jaxreason.search.strategy import Strategy, candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Greedy(Strategy):
    """One solution at temperature 0."""

    @property
    def generations(self) -> int:
        return 1

    def search(self, question: Question, budget: Budget) -> Search:
        rows, cost = yield Start(question)
        rows, spent = yield Extend(rows, budget=budget - cost, greedy=True)
        candidates = tuple(map(candidate, rows))  # none where the budget was spent on looking at the question
        choice = choose(candidates, Vote.MAJORITY)
        return Outcome(question=question, answer=choice.answer, candidates=candidates, votes=choice.votes, cost=cost + spent)
