"""The difficulty of a run's questions, from the independent samples of another run: who is in which bin, and may it be used."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from jaxreason.allocation.difficulty import NUM_BINS, levels, pass_rates
from jaxreason.analysis.run_folder import Run
from jaxreason.core.errors import RunError
from jaxreason.core.records import Pool
from jaxreason.core.run_files import Samples, read_samples

_NAMED = 3  # questions, in an error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bins:
    """Questions by oracle difficulty.

    Attributes:
        samples: where the bins come from.
        rates: share of right samples, by question.
        levels: 1 (easiest) to `num_bins`, by question.
        num_bins: bins, some of which may be empty.
    """

    samples: Samples
    rates: Mapping[str, float]
    levels: Mapping[str, int]
    num_bins: int = NUM_BINS

    @property
    def seeds(self) -> list[int]:
        """Of the samples, ascending."""
        return sorted({pool.seed for pool in self.samples.pools})

    @property
    def num_samples(self) -> int:
        """Samples a question, all seeds together; the fewest, where questions differ."""
        drawn = dict.fromkeys(self.rates, 0)
        for pool in self.samples.pools:
            drawn[pool.question_id] += len(pool.candidates)
        return min(drawn.values())

    def check(self, run: Run) -> None:
        """Refuses bins that do not fit a run.

        Raises:
            RunError: questions of the run have no bin or read otherwise there, or samples that set a bin may be those scored.
        """
        asked = {record.question_id for record in run.records}
        self.check_asked(run.name, asked, {record.seed for record in run.records})
        name = self.samples.name
        ours, theirs = _content(run.pools), _content(self.samples.pools)
        changed = sorted(question for question in ours if ours[question] != theirs[question])
        if changed:
            raise RunError(
                f'{name}: {len(changed):,} of the questions of {run.name} have another text or answer there '
                f'({_listed(changed)}); sample the same problems there.'
            )

    def check_asked(self, run: str, questions: Collection[str], seeds: Collection[int]) -> None:
        """Refuses bins that do not fit what a run asked.

        Args:
            run: its name.
            questions: ids.
            seeds: of its draws.

        Raises:
            RunError: questions have no bin, or samples that set a bin may be those scored.
        """
        name, shared = self.samples.name, sorted(set(seeds) & set(self.seeds))
        if shared:
            raise RunError(
                f'{name}: its samples have seed {shared[0]}, which {run} has too: samples that set a bin must not be those '
                'that are scored; sample the bins under other seeds.'
            )
        missing = sorted(set(questions) - self.levels.keys())
        if missing:
            raise RunError(
                f'{name}: has samples of {len(questions) - len(missing):,} of the {len(questions):,} questions of {run}, '
                f'{len(missing):,} are missing ({_listed(missing)}); sample the same problems there.'
            )


def read_bins(folder: Path) -> Bins:
    """Cuts the questions of a run folder into bins by the pass rate of its independent samples.

    The bins are those of all its questions, so that they are the same whichever of them another run asks.

    Raises:
        RunError: the folder has no such samples, or a file is damaged.
    """
    samples = read_samples(folder)
    try:
        rates = pass_rates(samples.pools)
    except ValueError as error:
        raise RunError(f'{folder}: {error}') from error
    return Bins(samples=samples, rates=rates, levels=levels(rates))


def _content(pools: Iterable[Pool]) -> dict[str, tuple[str, str]]:
    return {pool.question_id: (pool.question, pool.gold) for pool in pools}


def _listed(questions: list[str]) -> str:
    return ', '.join(question[:40] for question in questions[:_NAMED]) + (', ...' if len(questions) > _NAMED else '')
