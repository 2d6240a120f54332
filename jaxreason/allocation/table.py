"""The artefact of a fit: which strategy answers a question of which difficulty under which budget, and what that rests on.

`allocation.yaml` is a configuration like any other: written by `jaxreason fit`, or by hand with no more than `difficulty` and
`table`. What was fitted carries digests of what it was fitted for, and is refused elsewhere.

    difficulty: {kind: scores, n: 2, verifier: prm, cuts: [0.2, 0.4, 0.6, 0.8]}
    table:
    - n: 16
      bins:  # easiest first
      - {kind: best_of_n, n: 4, verifier: prm}
      ...
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

from jaxreason.allocation.estimators import ESTIMATORS, Estimator
from jaxreason.core import config as config_files
from jaxreason.core.config import Kinds
from jaxreason.core.errors import ConfigError
from jaxreason.core.setting import Setting
from jaxreason.search.catalog import STRATEGIES
from jaxreason.search.strategy import Strategy

SearchStrategy = Annotated[Strategy, Kinds(lambda: STRATEGIES)]
NamedEstimator = Annotated[Estimator, Kinds(lambda: ESTIMATORS)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with its 95 % interval; no bounds where the questions allow none."""

    point: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Why a bin has its strategy.

    Attributes:
        strategy: label in the records.
        num_questions: in the bin; of an estimate that differs between seeds the mean. 0: nothing was known, so it has what is
            best over all questions.
        accuracy: of the strategy in this bin, on the questions that it was chosen on.
        flops: that it spends on a question of the bin on average; finding the bin comes on top.
    """

    strategy: str
    num_questions: float
    accuracy: Interval
    flops: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budgeted:
    """What to do under one budget.

    Attributes:
        n: the budget. Solutions a question, or on average as many FLOPs as the reference strategy takes for n solutions.
        bins: strategies, the easiest bin first.
        held_out: accuracy on questions that it was not chosen on.
        flops: spent a question on average, difficulty included.
        evidence: of each bin.
    """

    n: int
    bins: tuple[SearchStrategy, ...]
    held_out: Interval | None = None
    flops: float | None = None
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f'n must be at least one solution, got {self.n}.')
        if not self.bins:
            raise ValueError('bins must name a strategy for every bin, the easiest first; got none.')
        if self.evidence and len(self.evidence) != len(self.bins):
            raise ValueError(f'evidence must be that of {len(self.bins)} bins, got {len(self.evidence)}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What an allocation was fitted for and on.

    Attributes:
        mode: `per_question` limits every question, `average` spreads a budget over the bins.
        policy: digest of its weights.
        tokenizer: digest.
        prompt: digest.
        sampler: what decides the draws, as JSON text by field.
        verifiers: digest of each trained verifier, by name.
        data: digest of the questions that it was chosen on.
        num_questions: how many.
        seeds: of their draws.
        grid: strategies that were compared, with their n.
        folds: of the questions, in which its accuracy was estimated.
        runs: names of the run folders.
    """

    mode: str
    policy: str
    tokenizer: str
    prompt: str
    sampler: dict[str, str]
    verifiers: dict[str, str]
    data: str
    num_questions: int
    seeds: tuple[int, ...]
    grid: dict[str, tuple[int, ...]]
    folds: int
    runs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allocation:
    """A strategy per bin of difficulty and budget.

    Attributes:
        difficulty: how the bin of a question is found.
        table: a row a budget, ascending.
        fitted: where it comes from; None for one written by hand, which is checked against nothing.
    """

    difficulty: NamedEstimator
    table: tuple[Budgeted, ...]
    fitted: Fitted | None = None

    def __post_init__(self):
        if not self.table:
            raise ValueError('table must have a row a budget, got none.')
        numbers = [row.n for row in self.table]
        if numbers != sorted(set(numbers)):
            raise ValueError(f'table must have budgets that ascend, got n = {", ".join(map(str, numbers))}.')
        for row in self.table:
            if len(row.bins) != len(self.difficulty.cuts) + 1:
                raise ValueError(
                    f'table: {len(self.difficulty.cuts)} cuts make {len(self.difficulty.cuts) + 1} bins, '
                    f'n = {row.n} has {len(row.bins)}.'
                )

    def row(self, n: int) -> Budgeted:
        """The row of a budget: the largest that it pays.

        Raises:
            ValueError: the budget lies outside the table.
        """
        first, last = self.table[0].n, self.table[-1].n
        if not first <= n <= last:
            raise ValueError(f'the allocation knows budgets from n = {first} to {last}, got {n}: fit it for this one.')
        return max((row for row in self.table if row.n <= n), key=lambda row: row.n)

    def check(self, setting: Setting) -> None:
        """Refuses to be used with anything but what it was fitted for.

        Raises:
            ConfigError: something differs; names it.
        """
        if self.fitted is None:
            return
        for name, words in (('policy', 'another policy'), ('tokenizer', 'another tokenizer'), ('prompt', 'another prompt')):
            fitted, given = getattr(self.fitted, name), getattr(setting, name)
            if fitted != given:
                raise ConfigError(_refusal(words, fitted, given))
        for name, fitted in self.fitted.sampler.items():
            if setting.sampler.get(name) != fitted:
                raise ConfigError(_refusal(f'another sampler.{name}', fitted, str(setting.sampler.get(name))))
        for name, fitted in self.fitted.verifiers.items():
            if name in self.judges and setting.verifiers.get(name) != fitted:
                raise ConfigError(_refusal(f'another verifier {name!r}', fitted, setting.verifiers.get(name, 'none')))

    @property
    def judges(self) -> tuple[str | None, ...]:
        """Verifiers that are asked, each once."""
        asked = [*self.difficulty.judges, *(judge for row in self.table for each in row.bins for judge in each.judges)]
        return tuple(dict.fromkeys(asked))


def read_allocation(path: str) -> Allocation:
    """Reads an allocation; a file that has not changed is read once, since a run makes its strategies many times.

    Raises:
        ConfigError: it cannot be read; one line, with file and line.
    """
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return config_files.load(Allocation, Path(path))  # says what is wrong
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _read(path: str, changed: int, size: int) -> Allocation:
    return config_files.load(Allocation, Path(path))


def _refusal(what: str, fitted: str, given: str) -> str:
    return f'it was fitted for {what} ({fitted[:12]}, here {given[:12]}): fit it again, or use what it was fitted for.'
