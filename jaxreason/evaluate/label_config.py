"""What `label` is asked to do: model, data, prompt, sampling, and how many samples and rollouts."""

import dataclasses
from typing import NamedTuple, TypeVar

from jaxreason.core.keys import check_seed
from jaxreason.core.types import Problem
from jaxreason.data.datasets import DataSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.evaluate.config import EvaluateConfig, ModelSpec
from jaxreason.evaluate.units import Unit
from jaxreason.train.labels import StepLabels


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Problems -> solutions whose steps are labelled.

    Attributes:
        seed: of the draws, in [0, 2^32).
        model: the policy that samples and rolls out.
        data: the problems.
        prompt: how a problem becomes a prompt, and where a step ends.
        sampler: how solutions and rollouts are sampled; labels need no statistics of tokens.
        labels: how many of them.
    """

    seed: int = 0
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    prompt: PromptSpec = PromptSpec()
    sampler: SamplerSettings = SamplerSettings(stats=())
    labels: StepLabels = StepLabels()

    def __post_init__(self):
        check_seed(self.seed)
        if self.sampler.stats:
            raise ValueError(f'sampler.stats must be left empty: labels use none, got {list(self.sampler.stats)}.')
        if self.sampler.temperature == 0:
            raise ValueError('sampler.temperature must be above 0: all rollouts of a step would be the same, got 0.')

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that prompts show at most."""
        return 0

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed, as runs of several have them."""
        return (self.seed,)


class LabelUnit(NamedTuple):
    """One question: its samples and their rollouts are finished and journalled together."""

    problem: Problem

    @property
    def key(self) -> str:
        """Names the unit in the journal."""
        return f'labels/{self.problem.id}'


Config = TypeVar('Config', EvaluateConfig, LabelConfig)  # a run of either
AnyUnit = TypeVar('AnyUnit', Unit, LabelUnit)
