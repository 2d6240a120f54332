"""A policy learns to improve its own answers: fine-tuned on right answers that stand after wrong attempts.

The attempts are part of the prompt; only the tokens of the right answer are learnt (`jaxreason train revision`). What it learns
of decides what it becomes: trajectories that were put together from parallel samples give the paper's revision model, chains
that the model has sampled itself give its ReST-EM variant, which the paper found to make revisions worse.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.1 and appendices L, M and P.
"""

import dataclasses
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.labels import LabelledSolution
from jaxreason.data.batches import Example
from jaxreason.data.examples import encode_worked
from jaxreason.data.label_examples import LabelSpec, load_labels
from jaxreason.data.revision_examples import balanced, read_revisions
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.train.loop import LoopConfig
from jaxreason.train.optimiser import OptimiserConfig
from jaxreason.train.sft import Examples, FineTuningConfig, describe, train

__all__ = ['RevisionConfig', 'RevisionLoop', 'RevisionOptimiser', 'describe', 'train']


@dataclasses.dataclass(frozen=True, kw_only=True)
class RevisionOptimiser(OptimiserConfig):
    """The optimiser as the paper's revision model was trained with; the attributes are those of `OptimiserConfig`.

    The paper gives the learning rate and both betas. It names no schedule, warm-up or decay: here there are none.
    """

    learning_rate: float = 1e-5
    schedule: Literal['constant', 'cosine', 'linear'] = 'constant'
    warmup_steps: int = 0
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RevisionLoop(LoopConfig):
    """How long and in what portions; the attributes are those of `LoopConfig`.

    The paper takes a checkpoint slightly after the held-out loss has begun to rise: set `after_lowest`. Its batch is 128
    examples, here it is 128 rows, and short examples share one: lower `batch` where they are much shorter than `length`.
    """

    batch: int = 128
    evaluate_every: int = 100
    patience: int | None = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RevisionConfig(FineTuningConfig):
    """A policy learns to improve its answers; the attributes are those of `FineTuningConfig`, and:

    Attributes:
        labels: labelled solutions with the attempts before them. Those are learnt that are right and stand after wrong ones.
        most_attempts: attempts before an answer at most, the last ones; 0 shows none: the same answers without what was wrong,
            a control that says what fine-tuning alone does.
        balance: every number of attempts before an answer equally often, where there are answers after so many; the rarer ones
            are repeated.
    """

    labels: LabelSpec
    most_attempts: int = 4
    balance: bool = False
    optimiser: RevisionOptimiser = RevisionOptimiser()
    loop: RevisionLoop

    def __post_init__(self):
        super().__post_init__()
        if self.most_attempts < 0:
            raise ConfigError(f'most_attempts must be at least 0, got {self.most_attempts}.')
        if self.balance and not self.most_attempts:
            raise ConfigError('balance must be left out where most_attempts is 0: there is one number of attempts only.')
        self.check_patience(self.labels.held_out, 'labels.held_out')

    def examples(self, tokenizer: Tokenizer, say: Callable[[str], None]) -> Examples:
        split = load_labels(self.labels)
        train = self._part(split.train, '', tokenizer, say)
        self._check(train, split.train)
        held_out = self._part(split.held_out, 'held-out ', tokenizer, say)
        self._check_held_out(held_out, split.held_out)
        noted = {'train': train.noted(), 'held_out': held_out.noted()}
        return Examples(train.examples, held_out.examples, {'revisions': noted})

    def _part(
        self, solutions: Sequence[LabelledSolution], name: str, tokenizer: Tokenizer, say: Callable[[str], None]
    ) -> '_Part':
        """Encodes what can be learnt; says what cannot, and how many attempts stand before the rest."""
        learnt, unlearnt = read_revisions(solutions, self.most_attempts)
        for reason, count in sorted(unlearnt.items()):
            say(f'{count:,} of {len(solutions):,} {name}solutions are left out: {reason.value}')
        encoded = zip(encode_worked(learnt, self.prompt, tokenizer), learnt, strict=True)
        sized = [_Sized(example, len(worked.attempts)) for example, worked in encoded]
        fitting = [each for each in sized if each.example.num_inputs <= self.loop.length]
        by_attempts = Counter(each.num_attempts for each in fitting)
        if fitting:
            shown = ', '.join(f'{count:,} after {number}' for number, count in sorted(by_attempts.items()))
            often = f'; each number {max(by_attempts.values()):,} times' if self.balance else ''
            say(f'{name}examples by earlier attempts: {shown}{often}')
        too_long = [each for each in sized if each.example.num_inputs > self.loop.length]  # who packs them counts them
        mixed = balanced(fitting, operator.attrgetter('num_attempts')) if self.balance else fitting
        left_out = {reason.value: count for reason, count in unlearnt.items()} | {'too_long': len(too_long)}
        return _Part([each.example for each in (*mixed, *too_long)], by_attempts, left_out)

    def _check(self, train: '_Part', solutions: Sequence[LabelledSolution]) -> None:
        where = ', '.join(self.labels.source)
        if not train.examples:
            raise DataError(
                f'{where}: none of {len(solutions):,} solutions can be learnt{_because(train)}; '
                'expected right answers after wrong attempts: label more questions, or with a better policy.'
            )
        if self.most_attempts and train.by_attempts and not any(train.by_attempts):
            raise DataError(
                f'{where}: no right answer in rows of {self.loop.length} tokens stands after a wrong attempt{_because(train)}: '
                'nothing is learnt about revising; label trajectories or chains, or set most_attempts: 0.'
            )

    def _check_held_out(self, part: '_Part', solutions: Sequence[LabelledSolution]) -> None:
        if not part.examples and self.loop.patience is not None:
            raise DataError(
                f'{", ".join(self.labels.source)}: loop.patience needs held-out examples, and none of {len(solutions):,} '
                f'held-out solutions is one{_because(part)}; raise labels.held_out, or set patience: null.'
            )


class _Sized(NamedTuple):
    example: Example
    num_attempts: int  # before it


class _Part(NamedTuple):
    examples: list[Example]
    by_attempts: Mapping[int, int]  # of those that fit into a row, how many there are by number of attempts before them
    left_out: Mapping[str, int]  # solutions, by reason

    def noted(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {str(number): count for number, count in sorted(self.by_attempts.items())}
        return {'by_attempts': counts, 'left_out': {reason: count for reason, count in self.left_out.items() if count}}


def _because(part: _Part) -> str:
    reasons = ', '.join(f'{count:,} {reason}' for reason, count in sorted(part.left_out.items()) if count)
    return f' ({reasons})' if reasons else ''
