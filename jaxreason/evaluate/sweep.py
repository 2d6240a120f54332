"""At which numbers of solutions a strategy is reported, and from which of its searches each is read.

One search of N solutions gives every n <= N where the method allows it:

| strategy | read from one search of N |
| --- | --- |
| independent samples (`Parallel`) | every n; strategies share the samples |
| budget_forcing | every n: chains do not see each other |
| revision | every n that keeps the ratio of length to chains; strategies share the chains (`Chains`) |
| dvts | every multiple of `beam_width`: subtrees do not compete. With lookahead only N: rollouts are charged to the whole |
| other trees | only N: what is kept depends on all prefixes, so every n is a search of its own |

Several disjoint blocks of n in one search are several answers. Under a limit a search is what the limit made of its own n, and
is read at that alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxreason.core.budget import Budget
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Divisible, Strategy


class Sweep(NamedTuple):
    """What is searched and read for one strategy under one budget.

    Attributes:
        reads: by the solutions that a search begins the numbers that are read from it, both ascending.
        left_out: numbers that were asked for and at which the strategy cannot run, and why.
    """

    reads: Mapping[int, tuple[int, ...]]
    left_out: Mapping[int, str]


class Chains(NamedTuple):
    """What a pool of chains is made of: the least that holds every reading of some revisions.

    A search of few long chains and one of many short ones share their beginnings: the pool is a staircase.

    Attributes:
        context: attempts that a revision is shown at most.
        lengths: attempts of each chain, none longer than the one before it.
    """

    context: int
    lengths: tuple[int, ...]

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that prompts show at most."""
        return min(self.context, self.lengths[0] - 1)


def chains_of_sweep(context: int, readings: Iterable[Revision]) -> Chains:
    """The chains that hold all of these searches, which show as many attempts."""
    lengths: list[int] = []
    for one in readings:
        lengths += [0] * (one.chains - len(lengths))
        lengths[: one.chains] = [max(length, one.length) for length in lengths[: one.chains]]
    return Chains(context, tuple(lengths))


def sweep_of(strategy: Strategy, asked: Sequence[int], budget: Budget) -> Sweep:
    """The searches of a strategy.

    Args:
        strategy: at its own, largest n.
        asked: numbers of solutions; those above the strategy's own do not concern it. Empty for powers of two where they cost
            no further search, else for its own.
        budget: of each search.

    Returns:
        Searches and readings; its own n alone under a limit, and where it can run at nothing that was asked for.
    """
    own = strategy.generations
    if budget.limits:
        return Sweep({own: (own,)}, {})
    is_divisible = isinstance(strategy, Revision) or (isinstance(strategy, Divisible) and strategy.block is not None)
    default = (*(2**power for power in range(20)), own) if is_divisible else (own,)
    left_out: dict[int, str] = {}
    possible: list[int] = []
    for n in sorted({n for n in asked or default if n <= own}):
        try:
            strategy.at(n)
            possible.append(n)
        except ValueError as error:
            left_out[n] = str(error)
    numbers = tuple(possible or [own])
    return Sweep({own: numbers} if is_divisible else {n: (n,) for n in numbers}, left_out if asked else {})
