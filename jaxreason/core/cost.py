"""What a question cost: exact integers that add.

Costs come back with every reply and are summed, never accumulated on a shared object. Padding, recomputation and idle rows
are not a question's cost: they are reported as timing.
"""

import operator
from collections.abc import Iterable
from typing import NamedTuple


class Cost(NamedTuple):
    """Algorithmic work spent on one question."""

    prefill: int = 0  # FLOPs, the prompt, once per Start whatever the copies
    decode: int = 0  # FLOPs, generated tokens fed back to the policy, and words put between them
    verify: int = 0  # FLOPs of the verifier
    probe: int = 0  # FLOPs, difficulty estimation
    prompt_tokens: int = 0  # also words put into a solution
    new_tokens: int = 0  # generated, kept or not
    scored_tokens: int = 0
    lookahead: int = 0  # FLOPs, of which: rollouts that only served a score
    discarded: int = 0  # FLOPs, of which: pruned work, tokens dropped from a solution

    def __add__(self, other: 'Cost') -> 'Cost':  # type: ignore[override]
        return Cost._make(map(operator.add, self, other))

    @property
    def flops(self) -> int:
        """All FLOPs spent; `lookahead` and `discarded` are parts of them."""
        return self.prefill + self.decode + self.verify + self.probe


FREE = Cost()


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of many costs; of none, `FREE`."""
    return Cost._make(map(sum, zip(FREE, *costs, strict=True)))
