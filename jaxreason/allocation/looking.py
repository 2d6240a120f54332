"""What an estimate of difficulty would have said of samples that are written down, and what it would have cost."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.allocation.cells import Cells
from jaxreason.allocation.estimators import FirstSamples
from jaxreason.allocation.fit import Looks
from jaxreason.core.cost import Cost, total
from jaxreason.core.records import Pool, PoolCandidate, candidate_of, cost_from
from jaxreason.search.strategy import Parallel, Strategy

Pools = Mapping[tuple[str, int], Pool]  # by question and seed


def value_in(estimator: FirstSamples, pool: Pool) -> float:
    """The value of a question from the first samples of a pool.

    Raises:
        ValueError: the pool has fewer, or its verifier did not score them.
    """
    return estimator.value([candidate_of(stored, estimator.judges) for stored in _first(estimator, pool)])


def cost_in(estimator: FirstSamples, pool: Pool) -> Cost:
    """What looking at the first samples of a pool cost, the prompt included."""
    spent = [cost_from(pool.cost)]
    for each in _first(estimator, pool):
        spent += [cost_from(each.cost), *(cost_from(each.verified[str(name)]) for name in estimator.judges)]
    return total(spent)


def looks_at_first(name: str, estimator: FirstSamples, cells: Cells, pools: Pools, strategies: Mapping[str, Strategy]) -> Looks:
    """What the first samples of every question say, and what every cell spends and gets right if they are looked at.

    A strategy of independent samples goes on with them; any other begins anew. The answers are those that a user would have
    got, with these very samples.

    Args:
        name: of the estimate.
        estimator: how it looks.
        cells: of the run.
        pools: its independent samples.
        strategies: by label, at any n.

    Raises:
        ValueError: a pool is missing, too small, or not scored by the verifier of the estimate.
    """
    shape = cells.first.shape
    values, alone, extra = np.empty(shape[:2]), np.empty(shape[:2]), np.empty(shape)
    plans = [(strategies[cell.strategy], cell.n) for cell in cells.cells]
    for row, question in enumerate(cells.questions):
        for column, seed in enumerate(cells.seeds):
            pool = pools.get((question, seed))
            if pool is None:
                raise ValueError(
                    f'{name}: expected independent samples of {question[:60]!r} under seed {seed}, there are none.'
                )
            values[row, column] = value_in(estimator, pool)
            spent = _spent(estimator, pool)
            alone[row, column] = spent.alone
            extra[row, column] = [_beside(estimator, spent, strategy, n) for strategy, n in plans]
    return Looks(
        name=name,
        values=values.reshape(-1),
        correct=cells.first.reshape(-1, shape[2]),
        flops=(cells.first_flops + extra).reshape(-1, shape[2]),
        generations=np.array([_begun(estimator, *plan) for plan in plans]),
        cuts=estimator.cuts,
        flops_alone=float(alone.mean()),
    )


def looks_known(
    name: str, known: np.ndarray, flops: np.ndarray, cells: Cells, generations: np.ndarray, cuts: tuple[float, ...] = ()
) -> Looks:
    """What was found out beforehand, or from the question alone: the same under every seed, and the samples are others.

    Args:
        name: of the estimate.
        known: `[questions]` values.
        flops: `[questions]` charged for them.
        cells: of the run.
        generations: `[cells]` solutions of each cell.
        cuts: absolute ones.
    """
    num_seeds, num_cells = cells.correct.shape[1:]
    return Looks(
        name=name,
        values=np.repeat(known, num_seeds),
        correct=cells.correct.reshape(-1, num_cells),
        flops=cells.flops.reshape(-1, num_cells) + np.repeat(flops, num_seeds)[:, None],
        generations=generations,
        cuts=cuts,
        flops_alone=float(flops.mean()),
    )


class _Spent(NamedTuple):
    """FLOPs of looking at one pool: for the prompt, and for each sample what drawing and judging it took."""

    prompt: int
    drawn: list[int]
    judged: list[int]

    @property
    def alone(self) -> int:
        """Spent where nothing of the look is used again."""
        return self.prompt + self.beside(0, is_judged=False)

    def beside(self, n: int, is_judged: bool) -> int:
        """Spent beside a strategy that draws the first n itself, and has them judged by the same verifier or not."""
        return sum(self.drawn[n:]) + sum(self.judged[n if is_judged else 0 :])


def _spent(estimator: FirstSamples, pool: Pool) -> _Spent:
    stored = _first(estimator, pool)
    return _Spent(
        prompt=cost_from(pool.cost).flops,
        drawn=[cost_from(each.cost).flops for each in stored],
        judged=[total(cost_from(each.verified[str(name)]) for name in estimator.judges).flops for each in stored],
    )


def _beside(estimator: FirstSamples, spent: '_Spent', strategy: Strategy, n: int) -> int:
    """FLOPs of looking, beside what a strategy spends at n anyway."""
    if not isinstance(strategy, Parallel):
        return spent.alone
    return spent.beside(n, is_judged=set(estimator.judges) <= set(strategy.judges))


def _begun(estimator: FirstSamples, strategy: Strategy, n: int) -> int:
    """Solutions begun."""
    if isinstance(strategy, Parallel):
        return max(n, estimator.n)
    return strategy.at(n).most_generations + estimator.n


def _first(estimator: FirstSamples, pool: Pool) -> Sequence[PoolCandidate]:
    if len(pool.candidates) < estimator.n:
        raise ValueError(
            f'difficulty: looks at {estimator.n} samples, {pool.question_id[:60]!r} has {len(pool.candidates)} in the pool.'
        )
    stored = pool.candidates[: estimator.n]
    for name in estimator.judges:
        if any(str(name) not in each.scores for each in stored):
            have = ', '.join(stored[0].scores) or 'none'
            raise ValueError(f'difficulty: asks the verifier {name!r}, the samples have scores of {have}.')
    return stored
