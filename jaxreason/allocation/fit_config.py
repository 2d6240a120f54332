"""What `fit` is asked to do: which records, which bins, which budgets, compared with what."""

import dataclasses

from jaxreason.allocation.difficulty import NUM_BINS
from jaxreason.allocation.estimators import Known
from jaxreason.allocation.fit import Mode
from jaxreason.allocation.table import NamedEstimator


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Records and bins to a strategy per bin and budget.

    Attributes:
        runs: finished run folders of `evaluate` on the same questions, of the same model and seeds, without limits.
        difficulty: finished run folder of `difficulty` on these questions, under other seeds.
        strategies: labels to choose from; empty for all.
        budgets: n, ascending: solutions a question, or on average what the reference spends for so many.
        mode: what a budget limits in the allocation that is written; the other is reported beside it.
        estimates: of difficulty, by name, of which the best on the fitting folds is used and charged: first samples of the
            run's own, or `known` values of the difficulty run, charged what they cost there.
        predicted: name of an estimate of the difficulty run that is reported uncharged, as the paper's; empty for none.
        reference: strategy to save against, weighted best-of-N.
        reference_n: N at which it is to be equalled, fixed beforehand.
        baselines: labels that are reported beside it; empty for all.
        bins: of equal size, where an estimate has no cuts of its own.
        oracle_cuts: pass rates where the oracle's bins are cut; empty for bins of equal size.
        folds: of questions.
        resamples: of the bootstrap, in each of which everything is chosen again.
        seed: of folds and resamples.
    """

    runs: tuple[str, ...]
    difficulty: str
    strategies: tuple[str, ...] = ()
    budgets: tuple[int, ...]
    mode: Mode = Mode.PER_QUESTION
    estimates: dict[str, NamedEstimator]
    predicted: str = ''
    reference: str
    reference_n: int = 64
    baselines: tuple[str, ...] = ()
    bins: int = NUM_BINS
    oracle_cuts: tuple[float, ...] = ()
    folds: int = 2
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not self.runs:
            raise ValueError('runs must name at least one run folder of jaxreason evaluate, got none.')
        if not self.budgets or list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError(f'budgets must be numbers that ascend, got {list(self.budgets)}.')
        if self.budgets[0] < 1:
            raise ValueError(f'budgets must be at least one solution a question, got {self.budgets[0]}.')
        if not self.estimates:
            raise ValueError('estimates must name at least one way to find the bin of a question, got none.')
        if self.bins < 1:
            raise ValueError(f'bins must be at least 1, got {self.bins}.')
        if self.resamples < 100:
            raise ValueError(f'resamples must be at least 100 for an interval, got {self.resamples}.')
        for name, estimate in self.estimates.items():
            if isinstance(estimate, Known) and estimate.source != self.difficulty:
                raise ValueError(
                    f'estimates.{name}: known values must be those of difficulty ({self.difficulty}), got {estimate.source}.'
                )
