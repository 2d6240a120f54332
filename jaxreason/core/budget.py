"""What a question may spend, in generations, tokens or FLOPs: a contract, not a hint.

A strategy passes on what it has left (`budget - cost`) with every `Extend`; the driver turns that into a cap of tokens for
every row, with the sampler's and the verifier's prices, and reserves the cost of scoring first.
"""

import dataclasses
from collections.abc import Callable

from jaxreason.core.cost import Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits for one question; None is no limit.

    Attributes:
        generations: solutions begun.
        tokens: tokens generated, kept or not; the prompt is not counted.
        flops: everything charged: prompt, generation, verification, difficulty estimation.
    """

    generations: int | None = None
    tokens: int | None = None
    flops: int | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and value < 1:
                raise ValueError(f'budget.{name} must be at least 1 or absent, got {value}.')

    def left(self, cost: Cost) -> 'Allowance':
        """What remains after `cost`."""
        return Allowance(
            tokens=None if self.tokens is None else max(0, self.tokens - cost.new_tokens),
            flops=None if self.flops is None else max(0, self.flops - cost.flops),
        )

    __sub__ = left


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowance:
    """The rest of a budget: tokens and FLOPs still to be spent, None without limit."""

    tokens: int | None = None
    flops: int | None = None

    def left(self, cost: Cost) -> 'Allowance':
        """What remains after `cost`."""
        return Allowance(
            tokens=None if self.tokens is None else max(0, self.tokens - cost.new_tokens),
            flops=None if self.flops is None else max(0, self.flops - cost.flops),
        )

    __sub__ = left

    def tightest(self, other: 'Allowance') -> 'Allowance':
        """The smaller of two allowances, limit by limit."""
        return Allowance(tokens=_least(self.tokens, other.tokens), flops=_least(self.flops, other.flops))


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
