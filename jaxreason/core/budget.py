"""What a question may spend, in generations, tokens or FLOPs: a contract, not a hint.

A strategy passes on what it has left (`budget - cost`) with every `Extend`; the driver turns that into a cap of tokens for
every row, with the sampler's and the verifier's prices, and reserves the cost of scoring first.
"""

import dataclasses
from collections.abc import Callable

from jaxreason.core.cost import Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits for one question, or for what is left of it; None is no limit.

    Attributes:
        generations: solutions begun; the same for the whole of a search, so `left` keeps it.
        tokens: tokens generated, kept or not; the prompt is not counted.
        flops: everything charged: prompt, generation, verification, difficulty estimation.
    """

    generations: int | None = None
    tokens: int | None = None
    flops: int | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and value < 0:
                raise ValueError(f'budget.{name} must be at least 0 or absent, got {value}.')

    def left(self, cost: Cost) -> 'Budget':
        """What remains after `cost`, never below 0."""
        return dataclasses.replace(
            self,
            tokens=None if self.tokens is None else max(0, self.tokens - cost.new_tokens),
            flops=None if self.flops is None else max(0, self.flops - cost.flops),
        )

    __sub__ = left

    def share(self, parts: int) -> 'Budget':
        """One of so many even parts of what is left, rounded up."""
        return dataclasses.replace(
            self,
            tokens=None if self.tokens is None else -(-self.tokens // parts),
            flops=None if self.flops is None else -(-self.flops // parts),
        )

    def tightest(self, other: 'Budget') -> 'Budget':
        """The smaller of two budgets, limit by limit."""
        return Budget(
            generations=_least(self.generations, other.generations),
            tokens=_least(self.tokens, other.tokens),
            flops=_least(self.flops, other.flops),
        )

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


UNLIMITED = Budget()


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def most_tokens(price: Callable[[int], int], flops: int, most: int) -> int:
    """Largest number of tokens up to `most` whose price fits.

    Args:
        price: FLOPs of that many further tokens, nondecreasing.
        flops: what may be spent.
        most: no more than this.

    Returns:
        The number of tokens; 0 where even one is too dear.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if price(middle) <= flops:
            low = middle
        else:
            high = middle - 1
    return low
