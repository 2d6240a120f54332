"""What `match` is asked to do: the runs of a small model and of a larger one, and under which terms they meet."""

import dataclasses
from typing import Literal

from jaxreason.allocation.estimators import FirstSamples
from jaxreason.allocation.table import NamedEstimator
from jaxreason.evaluate.matched import Convention


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallSide:
    """The small model, which searches.

    Attributes:
        run: folder of `jaxreason evaluate`.
        difficulty: run folder whose independent samples, of other seeds, cut the questions into bins.
        strategies: labels that may be chosen for a bin; empty for all that the run has.
        estimates: of difficulty from first samples, by name: the best on the fitting folds is used and charged, beside the
            oracle's bins; empty for these alone.
        training: folders of all that was trained or labelled for it: first the run that made the policy, then those of its
            verifiers and their labels.
    """

    run: str
    difficulty: str
    strategies: tuple[str, ...] = ()
    estimates: dict[str, NamedEstimator] = dataclasses.field(default_factory=dict)
    training: tuple[str, ...] = ()

    def __post_init__(self):
        for name, estimate in self.estimates.items():
            if not isinstance(estimate, FirstSamples):
                raise ValueError(f'estimates.{name}: expected one that looks at first samples, scores or votes.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LargeSide:
    """The larger model, which answers greedily or by majority.

    Attributes:
        run: folder of `jaxreason evaluate` on the same questions, with a greedy strategy.
        training: as of the small side.
    """

    run: str
    training: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """A FLOPs-matched comparison.

    Attributes:
        small: the small model.
        large: the larger one.
        size_ratio: M, parameters of the larger model / those of the small one; `auto` takes them from what made the policies.
        ratios: R, tokens of inference / tokens of pretraining, as arXiv counts; the ICLR convention meets at half of each.
        conventions: ways to count FLOPs.
        large_samples: numbers of samples at which the larger model votes, as far as its run has them.
        folds: of the questions: what is chosen on all but one is scored on that one.
        resamples: bootstrap resamples.
        seed: of folds and resamples.
    """

    small: SmallSide
    large: LargeSide
    size_ratio: float | Literal['auto'] = 'auto'
    ratios: tuple[float, ...] = (0.16, 0.79, 22.0)
    conventions: tuple[Convention, ...] = tuple(Convention)
    large_samples: tuple[int, ...] = (1, 4, 16)
    folds: int = 2
    resamples: int = 1_000
    seed: int = 0

    def __post_init__(self):
        if self.size_ratio != 'auto' and self.size_ratio < 1:
            raise ValueError(f'size_ratio must be at least 1 (parameters, larger model / small one), got {self.size_ratio:g}.')
        for name in ('ratios', 'conventions'):
            if not getattr(self, name):
                raise ValueError(f'{name} must name at least one, got none.')
        for name in ('ratios', 'conventions', 'large_samples'):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f'{name} must not repeat a value, got {", ".join(map(str, getattr(self, name)))}.')
        for ratio in self.ratios:
            if ratio <= 0:
                raise ValueError(f'ratios: R (tokens of inference / tokens of pretraining) must be above 0, got {ratio:g}.')
        if any(samples < 1 for samples in self.large_samples):
            raise ValueError(f'large_samples must be at least 1, got {min(self.large_samples)}.')
        if self.folds < 2:
            raise ValueError(f'folds must be at least 2, so that nothing is chosen on what is scored, got {self.folds}.')
        if not 100 <= self.resamples <= 100_000:
            raise ValueError(f'resamples must be in [100, 100,000], got {self.resamples:,}.')
