"""What the page about the paper reads: finished runs of search, of difficulty, of a fit, of a match; all of the same model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.allocation.bins_file import ORACLE, read_known
from jaxreason.allocation.difficulty import cut_points, level_of
from jaxreason.analysis.contrasts import Answers, Cell
from jaxreason.analysis.fit_folder import FitRun, read_fit
from jaxreason.analysis.matching_page import MatchRun, read_match
from jaxreason.analysis.metrics import metrics_of
from jaxreason.analysis.paper_config import PaperConfig, SearchLabels
from jaxreason.analysis.revisions import revisions
from jaxreason.analysis.rows import group_of, grouped
from jaxreason.analysis.run_folder import Run, read_run
from jaxreason.analysis.run_inputs import environment_in, strategies_in
from jaxreason.core import yaml_text
from jaxreason.core.errors import RunError
from jaxreason.core.run_files import object_of
from jaxreason.core.stats import rounded
from jaxreason.search.greedy import Greedy
from jaxreason.search.strategy import Strategy

MODE = 'per_question'  # the paper's meaning of a budget: solutions that a question gets
PREDICTED = 'predicted'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bins:
    """The questions of a run by one estimate of difficulty.

    Attributes:
        values: of the estimate by question, larger the easier: pass@1 of other samples, or the verifier's mean score.
        cuts: least value of every bin but the hardest, of the second hardest first; None where no question reaches it.
        levels: 1, the easiest, to 5, by question.
    """

    values: Mapping[str, float]
    cuts: tuple[float | None, ...]
    levels: Mapping[str, int]

    def questions(self, *levels: int) -> list[str]:
        """Those of some levels."""
        return [question for question, level in self.levels.items() if level in levels]

    def mean(self, level: int) -> float | None:
        """Of the values of a level; None where it has no questions."""
        values = [self.values[question] for question in self.questions(level)]
        return rounded(sum(values) / len(values)) if values else None

    @property
    def num_levels(self) -> int:
        """Levels, some of which may be empty."""
        return len(self.cuts) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A run of `evaluate` with all that was found out of it.

    Attributes:
        run: as it was written.
        metrics: of its metrics.json.
        answers: of all its strategies.
        strategies: by label.
        bins: by the name of the estimate: `oracle`, and `predicted` where the fit has one.
        fit: what `fit` found.
        parameters: of the policy; None where its folder is not at hand.
    """

    run: Run
    metrics: Mapping[str, Any]
    answers: Answers
    strategies: Mapping[str, Strategy]
    bins: Mapping[str, Bins]
    fit: FitRun
    parameters: int | None

    @property
    def oracle(self) -> Bins:
        """Questions by the pass rate of other samples."""
        return self.bins[ORACLE]

    @property
    def greedy(self) -> Cell | None:
        """The first strategy that decodes greedily; None where there is none."""
        label = next((label for label, each in self.strategies.items() if type(each) is Greedy), None)
        return None if label is None else Cell(label, self.answers.ns(label)[0])

    @property
    def mode(self) -> Mapping[str, Any]:
        """What the fit found under the paper's meaning of a budget."""
        return self.fit.metrics['modes'][MODE]

    def generations(self, cell: Cell) -> int:
        """Solutions that a cell begins at most for a question, lookahead counted as the paper does."""
        return self.strategies[cell.strategy].at(cell.n).most_generations

    def best_fixed(self, budget: int) -> Cell | None:
        """The cell of the fit's grid that is most accurate over all questions within so many solutions, the least of equals."""
        grid = set(self.fit.metrics['grid'])
        paid = [row for row in self.fit.metrics['baselines'] if row['strategy'] in grid and row['generations'] <= budget]
        best = max(paid, key=lambda row: (row['accuracy']['point'], -row['flops']), default=None)
        return None if best is None else Cell(best['strategy'], best['n'])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperInputs:
    """All that the page tells of.

    Attributes:
        labels: of the strategies in `search`.
        search: searches by a process reward model.
        revisions: chains of revisions; None where left out.
        revised: of `analysis.revisions` on it, by the oracle's levels; None where left out.
        duel: against a larger model; None where left out.
    """

    labels: SearchLabels
    search: Part
    revisions: Part | None = None
    revised: Mapping[str, Any] | None = None
    duel: MatchRun | None = None


def read_paper(config: PaperConfig) -> PaperInputs:
    """Reads the folders of a page.

    Raises:
        RunError: a folder lacks something, or folders do not belong together.
    """
    search = _part(config.search, config.difficulty, config.fit, with_pools=False)
    if not search.answers.ns(config.labels.best_of_n):
        raise RunError(
            f'{config.search}: expected the baseline {config.labels.best_of_n!r}, its strategies are '
            f'{", ".join(search.answers.labels)}: name it as labels.best_of_n.'
        )
    chains = config.revisions
    part = None if chains is None else _part(chains.run, chains.difficulty, chains.fit, with_pools=True)
    revised = None if part is None else revisions(part.run, part.metrics['rows'], part.oracle.levels)
    if part is not None and (revised is None or not revised['chains'] or not revised['ratios']):
        raise RunError(f'{part.run.name}: expected chains of revisions, found none: name a run with strategies of that kind.')
    duel = None if config.duel is None else read_match(Path(config.duel))
    return PaperInputs(labels=config.labels, search=search, revisions=part, revised=revised, duel=duel)


def _part(folder: str, difficulty: str, fit: str, with_pools: bool) -> Part:
    run, fitted = read_run(Path(folder), with_pools), read_fit(Path(fit))
    _check_alike(run, difficulty, environment_in(Path(difficulty)), is_other=True)
    _check_alike(run, fit, fitted.environment, is_other=False)
    if MODE not in fitted.metrics['modes']:
        raise RunError(f'{fit}: says nothing of the budget {MODE}; run jaxreason fit again.')
    names = {ORACLE: ORACLE}
    if 'predicted' in fitted.metrics:
        names[PREDICTED] = fitted.metrics['predicted']['name']
    asked = sorted({record.question_id for record in run.records})
    return Part(
        run=run,
        metrics=_metrics(Path(folder), run),
        answers=Answers(run.records),
        strategies=strategies_in(yaml_text.read(Path(folder) / 'config.yaml')[0]),
        bins={name: _bins(difficulty, estimate, run.name, asked) for name, estimate in names.items()},
        fit=fitted,
        parameters=_parameters(Path(folder), run),
    )


def _check_alike(run: Run, folder: str, theirs: Mapping[str, Any], is_other: bool) -> None:
    """The folder is of the same policy and questions; samples that set bins are others than those that are scored."""
    for name, words in (('weights', 'policy'), ('data', 'set of questions'), ('prompt', 'prompt')):
        if theirs.get(name) != run.environment.get(name):
            raise RunError(f'{folder}: its {words} is not that of {run.name}: give folders that belong together.')
    shared = set(theirs.get('seeds', ())) & {record.seed for record in run.records}
    if is_other and shared:
        raise RunError(
            f'{folder}: its samples have seed {min(shared)}, which {run.name} has too: samples that set a bin must not be '
            'those that are scored; sample the bins under other seeds.'
        )


def _metrics(folder: Path, run: Run) -> Mapping[str, Any]:
    """What `evaluate` wrote, where it is of these very records."""
    found = object_of(folder / 'metrics.json') or {}
    if found.keys() >= {'rows', 'verifiers'} and {group_of(row) for row in found['rows']} == set(grouped(run.records)):
        return found
    return metrics_of(read_run(folder))


def _bins(difficulty: str, estimate: str, run: str, asked: list[str]) -> Bins:
    """Cuts all questions of a difficulty run, so that bins are the same whichever of them were asked."""
    known = {question: each.value for question, each in read_known(difficulty, estimate).items()}
    missing = [question for question in asked if question not in known]
    if missing:
        raise RunError(
            f'{difficulty}: says nothing of {len(missing):,} of the {len(asked):,} questions of {run} ({missing[0][:60]}): '
            'run jaxreason difficulty on the same problems.'
        )
    cuts = cut_points(known.values())
    return Bins(
        values={question: known[question] for question in asked},
        cuts=tuple(rounded(cut) if cut <= max(known.values()) else None for cut in cuts),
        levels={question: level_of(known[question], cuts) for question in asked},
    )


def _parameters(folder: Path, run: Run) -> int | None:
    """Of the policy, where the folder that trained it is at hand: as the run names it, or beside the run."""
    if not run.model:
        return None
    for place in (Path(run.model), folder.parent / Path(run.model).name):
        path = place / 'environment.json'
        number = (object_of(path) or {}).get('parameters') if path.is_file() else None
        if isinstance(number, int):
            return number
    return None
