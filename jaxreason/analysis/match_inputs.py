"""What `match` reads: two runs on the same questions, their bins, their training; refuses what does not belong together."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.allocation.cells import Cells, read_cells
from jaxreason.analysis.difficulty_bins import Bins, read_bins
from jaxreason.analysis.run_inputs import environment_in, records_in, strategies_in
from jaxreason.analysis.training_cost import TrainingCost, training_cost
from jaxreason.core import yaml_text
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.evaluate.match_config import MatchConfig
from jaxreason.evaluate.matched import Convention
from jaxreason.search.greedy import Greedy
from jaxreason.search.strategy import Strategy

_ALIKE = {  # of both environments, and what it means if they differ
    'tokenizer': 'another tokenizer: tokens cannot be compared, so neither can what they cost',
    'data': 'other questions',
    'prompt': 'another prompt',
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One model's run.

    Attributes:
        name: of its folder.
        cells: what its strategies made of every question.
        strategies: by label.
        tokens: drawn for a greedy answer, the mean over questions; NaN without one.
        training: what was trained and labelled for it, the policy first.
        commit: that it was made with.
        model: the policy, as its configuration names it.
    """

    name: str
    cells: Cells
    strategies: Mapping[str, Strategy]
    tokens: float
    training: Sequence[TrainingCost]
    commit: str
    model: str

    def of_kind(self, kind: type[Strategy]) -> str | None:
        """The first strategy of a kind, by its label."""
        return next((label for label in self.cells.strategies if type(self.strategies.get(label)) is kind), None)

    @property
    def training_flops(self) -> int:
        """FLOPs of everything that was trained and labelled for it."""
        return sum(cost.flops for cost in self.training)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Both sides, and how hard their questions are for the small one.

    Attributes:
        small: the small model.
        large: the larger one, its seeds made those of the small one.
        size_ratio: M.
        bins: of the questions.
        levels: `[questions]` 1, the easiest, to 5.
        rates: `[questions]` pass rate that the level comes from.
    """

    small: Side
    large: Side
    size_ratio: float
    bins: Bins
    levels: np.ndarray
    rates: np.ndarray


def read_inputs(config: MatchConfig) -> Inputs:
    """Reads the folders of a match.

    Raises:
        RunError: a folder lacks something, or the two sides do not belong together.
        ConfigError: a strategy is named that a run does not have, or the training that a convention needs is not.
    """
    small_folder, large_folder = Path(config.small.run), Path(config.large.run)
    environments = [environment_in(small_folder), environment_in(large_folder)]
    for name, words in _ALIKE.items():
        ours, theirs = (str(environment.get(name)) for environment in environments)
        if ours != theirs:
            raise RunError(
                f'{large_folder}: has {words} ({theirs[:12]}, {small_folder} has {ours[:12]}): '
                'give runs of both models on the same problems, prompts and tokenizer.'
            )
    small = _side(small_folder, environments[0], config.small.training)
    large = _side(large_folder, environments[1], config.large.training)
    if large.of_kind(Greedy) is None:
        raise RunError(
            f'{large_folder}: expected greedy answers of the larger model, its strategies are '
            f'{", ".join(large.cells.strategies)}: add one of kind greedy to its configuration and run it again.'
        )
    bins = read_bins(Path(config.small.difficulty))
    bins.check_asked(small.name, small.cells.questions, small.cells.seeds)
    _check_same_data(Path(config.small.difficulty), environments[0], small_folder)
    _check_training(config, small, large)
    questions = small.cells.questions
    if large.cells.questions != questions:
        raise RunError(
            f'{large_folder}: has records of {len(large.cells.questions):,} questions, {small_folder} of {len(questions):,}: '
            'let both runs finish.'
        )
    return Inputs(
        small=small,
        large=dataclasses.replace(large, cells=_with_seeds(large, small.cells.seeds)),
        size_ratio=_size_ratio(config, small, large),
        bins=bins,
        levels=np.array([bins.levels[question] for question in questions]),
        rates=np.array([bins.rates[question] for question in questions]),
    )


def _side(folder: Path, environment: Mapping[str, Any], training: Sequence[str]) -> Side:
    tree = yaml_text.read(folder / 'config.yaml')[0]
    strategies = strategies_in(tree)
    greedy = {label for label, strategy in strategies.items() if type(strategy) is Greedy}
    drawn: dict[str, int] = {}  # tokens of greedy answers, noted while records pass by

    def passing() -> Iterator[Mapping[str, Any]]:
        for record in records_in(folder):
            if record['strategy'] in greedy and not record['budget']:
                drawn[record['question_id']] = record['blocks'][0]['cost'].get('new_tokens', 0)
            yield record

    try:
        cells = read_cells(passing(), tuple(strategies))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise RunError(f'{folder}: {error}') from error
    model = tree.get('model')
    return Side(
        name=folder.resolve().name,
        cells=cells,
        strategies=strategies,
        tokens=float(np.mean(list(drawn.values()))) if drawn else float('nan'),
        training=tuple(training_cost(Path(path)) for path in training),
        commit=str(environment.get('commit', 'unknown')),
        model=str(model.get('source', '')) if isinstance(model, dict) else '',
    )


def _check_training(config: MatchConfig, small: Side, large: Side) -> None:
    """The training named is that of these policies, from nothing on."""
    for word, side in (('small', small), ('large', large)):
        if not side.training:
            if Convention.SPENT in config.conventions or config.size_ratio == 'auto':
                raise ConfigError(
                    f'{word}.training must name the run folders of what was trained for it, the policy first: the convention '
                    'spent and size_ratio auto need them. Or leave spent out and give size_ratio as a number.'
                )
            continue
        policy, known = side.training[0], {cost.name for cost in side.training}
        if policy.name != Path(side.model).name or not policy.parameters:
            raise ConfigError(
                f'{word}.training must begin with the run that made the policy of {side.name} ({side.model}), '
                f'got {policy.name}.'
            )
        unknown = [cost for cost in side.training if cost.began_as and cost.began_as not in known]
        if unknown and Convention.SPENT in config.conventions:
            raise ConfigError(
                f'{word}.training: {unknown[0].name} began as {unknown[0].began_as}, of whose training nothing is known: '
                'name that run folder too, or leave the convention spent out.'
            )


def _size_ratio(config: MatchConfig, small: Side, large: Side) -> float:
    if config.size_ratio != 'auto':
        return config.size_ratio
    ratio = large.training[0].parameters / small.training[0].parameters
    if ratio < 1:
        raise ConfigError(
            f'size_ratio must be at least 1, {large.name} has {large.training[0].parameters:,} parameters and '
            f'{small.name} {small.training[0].parameters:,}: name the smaller model under small.'
        )
    return ratio


def _with_seeds(large: Side, seeds: Sequence[int]) -> Cells:
    """The cells of the larger model under the seeds of the small one: a single seed stands for each of them."""
    cells = large.cells
    if cells.seeds == tuple(seeds):
        return cells
    if len(cells.seeds) > 1:
        raise RunError(
            f'{large.name}: has seeds {", ".join(map(str, cells.seeds))}, the small model has {", ".join(map(str, seeds))}: '
            'run it with the same seeds or with a single one.'
        )
    arrays: dict[str, Any] = {
        name: np.repeat(getattr(cells, name), len(seeds), axis=1) for name in ('correct', 'first', 'flops', 'first_flops')
    }
    return dataclasses.replace(cells, seeds=tuple(seeds), **arrays)


def _check_same_data(folder: Path, environment: Mapping[str, Any], run: Path) -> None:
    theirs = environment_in(folder)
    for name, words in (('weights', 'samples of another policy'), ('data', 'other questions'), ('prompt', 'another prompt')):
        if theirs.get(name) != environment.get(name):
            raise RunError(
                f'{folder}: has {words} ({str(theirs.get(name))[:12]}, {run} has {str(environment.get(name))[:12]}): '
                'sample the small model on the same problems there.'
            )
