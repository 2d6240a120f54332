"""What `label` is asked to do: model, data, prompt, sampling, and what becomes of the samples."""

import dataclasses
from typing import Annotated, NamedTuple, TypeVar

from jaxreason.core.config import Kinds
from jaxreason.core.keys import check_seed
from jaxreason.core.types import Problem
from jaxreason.data.datasets import DataSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.evaluate.config import EvaluateConfig, ModelSpec
from jaxreason.evaluate.units import Unit
from jaxreason.train.chain_labels import ChainLabels
from jaxreason.train.labelling import Labelling
from jaxreason.train.labels import StepLabels
from jaxreason.train.trajectories import Trajectories

LABELS: dict[str, type[Labelling]] = {'steps': StepLabels, 'trajectories': Trajectories, 'chains': ChainLabels}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Problems -> labelled solutions.

    Attributes:
        seed: of the draws, in [0, 2^32).
        model: the policy that is sampled.
        data: the problems.
        prompt: how a problem becomes a prompt, and where a step ends.
        sampler: how it is sampled; labels need no statistics of tokens.
        labels: of which kind, and how many: `steps` (rollouts from every step), `trajectories` (wrong samples, then a right
            one) or `chains` (every attempt of chains of revisions).
    """

    seed: int = 0
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    prompt: PromptSpec = PromptSpec()
    sampler: SamplerSettings = SamplerSettings(stats=())
    labels: Annotated[Labelling, Kinds(lambda: LABELS, default='steps')] = StepLabels()

    def __post_init__(self):
        check_seed(self.seed)
        if self.sampler.stats:
            raise ValueError(f'sampler.stats must be left empty: labels use none, got {list(self.sampler.stats)}.')
        if self.sampler.temperature == 0:
            raise ValueError('sampler.temperature must be above 0: all samples of a question would be the same, got 0.')

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that prompts show at most."""
        return self.labels.num_attempts

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed, as runs of several have them."""
        return (self.seed,)


class LabelUnit(NamedTuple):
    """One question: all that is drawn for it is finished and journalled together."""

    problem: Problem

    @property
    def key(self) -> str:
        """Names the unit in the journal."""
        return f'labels/{self.problem.id}'


Config = TypeVar('Config', EvaluateConfig, LabelConfig)  # a run of either
AnyUnit = TypeVar('AnyUnit', Unit, LabelUnit)
