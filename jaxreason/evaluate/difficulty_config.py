"""What `difficulty` is asked to do: how many samples of which questions, and which estimates to make of them."""

import dataclasses

from jaxreason.allocation.bins_file import ORACLE
from jaxreason.allocation.difficulty import NUM_BINS
from jaxreason.allocation.estimators import FirstSamples, FirstScores, Known, Probe
from jaxreason.allocation.table import NamedEstimator
from jaxreason.core.model_spec import ModelSpec
from jaxreason.core.verifier_spec import ProbeChoice
from jaxreason.data.datasets import DataSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.evaluate.config import EvaluateConfig, NamedVerifier
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.majority import Majority
from jaxreason.search.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class DifficultyConfig:
    """Samples of every question, and what they say of its difficulty.

    Attributes:
        seeds: of the samples; they must not be those of runs that are binned by them.
        model: the policy.
        data: the problems.
        prompt: how a problem becomes a prompt.
        sampler: how solutions are sampled.
        samples: of every question under every seed; the paper has 2,048.
        verifiers: those that estimates ask for, by name.
        estimates: by name. `cuts` are absolute where they are given; else bins are of equal size.
        oracle_cuts: pass rates where the oracle's bins are cut, ascending; empty for bins of equal size.
        bins: of equal size, where there are no cuts.
        grading_workers: processes that compare answers which the exact rules leave open.
    """

    seeds: tuple[int, ...] = (1,)
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    prompt: PromptSpec = PromptSpec()
    sampler: SamplerSettings = SamplerSettings()
    samples: int = 256
    verifiers: dict[str, NamedVerifier] = dataclasses.field(default_factory=dict)
    estimates: dict[str, NamedEstimator] = dataclasses.field(default_factory=dict)
    oracle_cuts: tuple[float, ...] = ()
    bins: int = NUM_BINS
    grading_workers: int = 1

    def __post_init__(self):
        if self.samples < 1:
            raise ValueError(f'samples must be at least 1 a question, got {self.samples}.')
        if self.bins < 1:
            raise ValueError(f'bins must be at least 1, got {self.bins}.')
        if list(self.oracle_cuts) != sorted(self.oracle_cuts) or not all(0 <= cut <= 1 for cut in self.oracle_cuts):
            raise ValueError(f'oracle_cuts must be pass rates that ascend, got {list(self.oracle_cuts)}.')
        for name, estimate in self.estimates.items():
            if name == ORACLE or isinstance(estimate, Known):
                raise ValueError(f'estimates.{name}: what is known already is no estimate: leave it out.')
            if isinstance(estimate, FirstSamples) and estimate.n > self.samples:
                raise ValueError(f'estimates.{name}: looks at {estimate.n} samples, there are {self.samples}: raise samples.')
            if isinstance(estimate, Probe) and not isinstance(self.verifiers.get(estimate.verifier), ProbeChoice):
                raise ValueError(
                    f'estimates.{name}: asks {estimate.verifier} about bare questions: name a verifier of kind probe so.'
                )
        _ = self.run  # refuses what a run of it would refuse

    @property
    def run(self) -> EvaluateConfig:
        """The run that draws the samples: of every verifier that is asked the scores."""
        strategies: dict[str, Strategy] = {'majority': Majority(n=self.samples)}
        scored = {each.verifier for each in self.estimates.values() if isinstance(each, FirstScores)}
        strategies |= {f'best of {name}': BestOfN(n=self.samples, verifier=name) for name in sorted(scored, key=str)}
        return EvaluateConfig(
            seeds=self.seeds,
            model=self.model,
            data=self.data,
            prompt=self.prompt,
            sampler=self.sampler,
            verifiers={name: choice for name, choice in self.verifiers.items() if name in scored},
            strategies=strategies,
            n=(self.samples,),
            grading_workers=self.grading_workers,
        )
