"""What a unit of search begins at most: prompts, solutions, and how many of them each verifier judges.

An adaptive strategy does one of several things, each after looking at the question: the most is that of one of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.estimators import Estimator, Known, Probe
from jaxreason.core.types import Question
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.units import Unit, judges_of
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Parallel, Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What is begun.

    Attributes:
        prompts: that are read.
        solutions: that are begun.
        judged: of them, by name of the verifier.
        probes: names of the verifiers that read the bare question.
        known: FLOPs that finding out beforehand took.
    """

    prompts: int = 0
    solutions: int = 0
    judged: Mapping[str, int] = dataclasses.field(default_factory=dict)
    probes: Sequence[str] = ()
    known: int = 0


def works_of(config: EvaluateConfig, unit: Unit) -> list[Work]:
    """All that a unit may turn out to be; of most units one thing."""
    if unit.label is None:
        prompts = 1 if unit.chains is None else 1 + unit.n - len(unit.chains.lengths)
        return [Work(prompts=prompts, solutions=unit.n, judged=dict.fromkeys(judges_of(config, unit), unit.n))]
    strategy = config.strategies[unit.label].at(unit.n)
    if not isinstance(strategy, ComputeOptimal):
        return [_searched(strategy)]
    if not strategy.is_looking:
        return [_searched(strategy.row.bins[0])]
    look = _looked(strategy.table.difficulty, unit.problem.question)
    return [_after(look, each) for each in dict.fromkeys(strategy.row.bins)]


def _searched(strategy: Strategy) -> Work:
    n = strategy.generations
    later = n - strategy.chains if isinstance(strategy, Revision) else 0  # every revision has a prompt of its own
    return Work(prompts=1 + later, solutions=n, judged=dict.fromkeys(map(str, strategy.judges), n))


def _looked(estimator: Estimator, question: Question) -> Work:
    if isinstance(estimator, Known):
        return Work(known=estimator.flops(question))
    names = tuple(map(str, estimator.judges))
    if isinstance(estimator, Probe):
        return Work(probes=names)
    return Work(prompts=1, solutions=estimator.num_samples, judged=dict.fromkeys(names, estimator.num_samples))


def _after(look: Work, strategy: Strategy) -> Work:
    """A strategy after a look: one of independent samples goes on with those that are drawn, any other begins anew."""
    own = _searched(strategy)
    both = max if isinstance(strategy, Parallel) else _added
    names = dict.fromkeys((*look.judged, *own.judged))
    return dataclasses.replace(
        look,
        prompts=both(look.prompts, own.prompts),
        solutions=both(look.solutions, own.solutions),
        judged={name: both(look.judged.get(name, 0), own.judged.get(name, 0)) for name in names},
    )


def _added(first: int, second: int) -> int:
    return first + second
