"""A world that is a table: which steps follow a prefix, and what the verifier says of it. It drives a strategy by hand.

A drawn step is the next of the prefix's steps in turn, a greedy one the first of them; one that begins with `The` ends the
solution.
"""

import dataclasses

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.cost import Cost, total
from jaxreason.core.requests import Extend, Score, Start, Take, Until
from jaxreason.core.types import Finish, Question, Row

STEP_PRICE, SCORE_PRICE = 100, 7  # FLOPs a step, and a row scored
QUESTION = Question('q', 'How many?')


class World:
    def __init__(self, steps, scores):
        self.steps, self.scores = steps, scores
        self.scored, self.taken = [], []  # texts, a list a request
        self.num_steps = {'drawn': 0, 'greedy': 0}
        self.turns, self.next_handle = {}, 0

    def run(self, strategy):
        search, reply = strategy.search(QUESTION, UNLIMITED), None
        while True:
            try:
                request = search.send(reply)
            except StopIteration as stop:
                return stop.value
            reply = getattr(self, f'_{type(request).__name__.lower()}')(request)

    def _start(self, request: Start):
        self.next_handle = request.copies
        rows = [Row(handle=i, question=request.question, sample=i) for i in range(request.copies)]
        return tuple(rows), Cost(prefill=1)

    def _extend(self, request: Extend):
        assert request.until is Until.STEP
        rows = tuple(row if row.finish is not Finish.OPEN else self._grow(row, request.greedy) for row in request.rows)
        after, before = total(row.cost for row in rows), total(row.cost for row in request.rows)
        return rows, Cost(*(a - b for a, b in zip(after, before, strict=True)))

    def _grow(self, row, is_greedy):
        choices = self.steps[row.text]
        turn = 0 if is_greedy else self.turns.get(row.text, 0)
        if not is_greedy:
            self.turns[row.text] = turn + 1
        self.num_steps['greedy' if is_greedy else 'drawn'] += 1
        steps = (*row.steps, choices[turn % len(choices)])
        ends = tuple(range(1, len(steps) + 1))
        return dataclasses.replace(
            row, text=''.join(steps), steps=steps, step_ends=ends, tokens=ends, at_boundary=True,
            finish=Finish.STOP if steps[-1].startswith('The') else Finish.OPEN,
            cost=row.cost + Cost(decode=STEP_PRICE, new_tokens=1),
        )  # fmt: skip

    def _score(self, request: Score):
        self.scored.append([row.text for row in request.rows])
        scores = [tuple(self.scores[''.join(r.steps[: i + 1])] for i in range(len(r.steps))) for r in request.rows]
        return scores, (Cost(verify=SCORE_PRICE),) * len(scores), (None,) * len(scores)

    def _take(self, request: Take):
        taken, seen = [], set()
        for index in request.indices:
            row = request.rows[index]
            if index in seen:
                row = dataclasses.replace(row, handle=self.next_handle, cost=Cost(), lineage=(*row.lineage, row.handle))
                self.next_handle += 1
            seen.add(index)
            taken.append(row)
        self.taken.append([row.text for row in taken])
        return tuple(taken), Cost()


def shape(outcome):
    """The tree of an outcome: number -> (parent, steps shared with it, its own steps, round after which it was left)."""
    kept = {c.sample: (c.parent, c.forked_at, c.steps[c.forked_at :], None) for c in outcome.candidates}
    return kept | {b.sample: (b.parent, b.forked_at, b.steps, b.pruned_at) for b in outcome.pruned}
