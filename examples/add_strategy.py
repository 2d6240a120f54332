"""A strategy of one's own: the majority of n solutions, or of the first k where these agree."""

import dataclasses
import sys

import jaxreason as jr
from jaxreason.core.requests import Extend, Start
from jaxreason.data.answers import answer_of
from jaxreason.search.strategy import Strategy, conclude


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyMajority(Strategy):
    k: int = 3
    generations: int = 8

    def search(self, question, budget):
        rows, cost = (), jr.Cost()
        for first, last in (0, self.k), (self.k, self.generations):
            more, prompt = yield Start(question, copies=last - first, first=first)
            more, spent = yield Extend(more, budget=budget - cost - prompt)
            rows, cost = (*rows, *more), cost + prompt + spent
            if len({answer_of(row) for row in rows}) == 1:
                break
        return (yield from conclude(question, rows, cost, (), jr.Majority(n=self.generations).choose))


sampler = jr.Sampler(jr.load(sys.argv[1]), prompt=jr.PromptSpec(few_shot=1, answer_format='plain'), temperature=0.3)
for outcome in EarlyMajority().solve(['Anna has 5 apples. She buys 3 more. How many has she?'], sampler):
    print(outcome.answer, f'of {len(outcome.candidates)} solutions, {outcome.cost.flops:.3g} FLOPs')
