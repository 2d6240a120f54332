"""Labelled solutions as what a verifier is trained on: its own text, and what is true at the end of each step."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.labels import LabelledSolution
from jaxreason.core.verifier_spec import Unscored
from jaxreason.data.batches import PADDING
from jaxreason.data.label_set import read_labels
from jaxreason.data.verifier_layout import Laid, Typesetter

NOTHING = np.float32(PADDING)  # the target where none is


@dataclasses.dataclass(frozen=True)
class JudgedExample:
    """A solution in a verifier's layout, and its targets.

    Attributes:
        laid: token ids, where scores are read, where the solution begins.
        targets: in [0, 1] what each of those scores should be; None where the score is left alone.
        solution: that it was made of.
    """

    laid: Laid
    targets: tuple[float | None, ...]
    solution: LabelledSolution

    fill: ClassVar[Mapping[str, np.generic]] = {'tokens': np.int32(0), 'targets': NOTHING, 'is_solution': np.bool_(False)}

    @property
    def num_inputs(self) -> int:
        """Tokens that a model reads of it."""
        return len(self.laid.ids)

    @property
    def num_targets(self) -> int:
        """Scores that have a target."""
        return sum(target is not None for target in self.targets)

    def arrays(self) -> dict[str, np.ndarray]:
        """`tokens` int32, `targets` float32 (-1 where there is none) and `is_solution` bool."""
        targets = np.full(self.num_inputs, NOTHING)
        for read, target in zip(self.laid.reads, self.targets, strict=True):
            targets[read] = NOTHING if target is None else target
        is_solution = np.arange(self.num_inputs) >= self.laid.start
        return {'tokens': np.asarray(self.laid.ids, np.int32), 'targets': targets, 'is_solution': is_solution}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """Which labelled solutions to learn.

    Attributes:
        source: folders `labels/` that `jaxreason label` has written.
        limit: at most so many questions, held-out ones included; None takes all.
        held_out: share of the questions that is kept out of training, to tell when to stop; chosen by the text of the question
            alone, so that no question is on both sides.
    """

    source: tuple[str, ...]
    limit: int | None = None
    held_out: float = 0.1

    def __post_init__(self):
        if not self.source:
            raise ConfigError('source must name at least one folder of labels, got none.')
        if self.limit is not None and self.limit < 2:
            raise ConfigError(f'limit must be at least 2 questions, got {self.limit}.')
        if not 0 <= self.held_out <= 0.9:
            raise ConfigError(f'held_out must be a share of the questions in [0, 0.9], got {self.held_out}.')


class Split(NamedTuple):
    """Solutions to learn from, and held-out ones; no question has solutions in both."""

    train: list[LabelledSolution]
    held_out: list[LabelledSolution]


def load_labels(spec: LabelSpec) -> Split:
    """Reads labelled solutions and divides them by question.

    Raises:
        DataError: a set cannot be read, or too few questions are left to learn from.
    """
    found = [solution for source in spec.source for solution in read_labels(Path(source))]
    # Equal texts are one question, whatever their ids; the order is that of a hash, so it is no order of difficulty.
    texts = sorted({solution.question for solution in found}, key=lambda text: hashlib.sha256(text.encode()).digest())
    texts = texts[: spec.limit]
    count = round(spec.held_out * len(texts)) or (1 if spec.held_out and len(texts) > 1 else 0)
    if len(texts) <= count:
        raise DataError(f'{", ".join(spec.source)}: {len(texts)} labelled questions, too few to learn from; label more.')
    held_out, train = set(texts[:count]), set(texts[count:])
    return Split([s for s in found if s.question in train], [s for s in found if s.question in held_out])


def set_examples(
    solutions: Sequence[LabelledSolution],
    targets: Sequence[Sequence[float | None]],
    typesetter: Typesetter,
    longest: int,
) -> tuple[list[JudgedExample], Counter[Unscored]]:
    """Writes solutions in a verifier's layout, which says how many of the attempts before them it shows.

    Args:
        solutions: labelled ones.
        targets: of each, one a step.
        typesetter: of the verifier.
        longest: most tokens of one.

    Returns:
        The examples, and how many solutions could not be written or are too long, by reason.
    """
    made, lost = [], Counter[Unscored]()
    for solution, wanted in zip(solutions, targets, strict=True):
        laid = typesetter.lay(solution.question, solution.steps, solution.attempts)
        if isinstance(laid, Laid) and len(laid.ids) > longest:
            laid = Unscored.TOO_LONG
        if isinstance(laid, Unscored):
            lost[laid] += 1
        else:
            made.append(JudgedExample(laid, tuple(wanted), solution))
    return made, lost
