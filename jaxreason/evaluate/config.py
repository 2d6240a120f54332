"""What `evaluate` is asked to do: model, data, prompt, sampling, strategies, budgets, seeds."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from jaxreason.allocation.catalog import STRATEGIES
from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.config import Kinds
from jaxreason.core.keys import check_seed
from jaxreason.core.model_spec import ModelSpec
from jaxreason.core.protocols import Verifier
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.data.datasets import DataSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.backbone_verifier import BackboneVerifier
from jaxreason.engine.confidence import Confidence
from jaxreason.engine.language_model import LanguageModel, load
from jaxreason.engine.reward_model import RewardModel
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.engine.verifier import VERIFIERS
from jaxreason.engine.verifier_loading import load_verifier, open_verifier
from jaxreason.evaluate.sweep import Chains, Sweep, chains_of_sweep, sweep_of
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.drive import MOST_COPIES
from jaxreason.search.revision import Revision
from jaxreason.search.strategy import Parallel, Strategy

NamedStrategy = Annotated[Strategy, Kinds(lambda: STRATEGIES)]
NamedVerifier = Annotated[
    VerifierChoice | Confidence, Kinds(lambda: {'trained': VerifierChoice, 'confidence': Confidence}, default='trained')
]


def load_policy(spec: ModelSpec) -> LanguageModel:
    """Loads the policy that a configuration names; errors as of `load`."""
    return load(spec.source, dtype=spec.dtype, mesh=spec.mesh, max_context=spec.max_context)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Problems x strategies x budgets x seeds.

    Attributes:
        seeds: of the draws, each in [0, 2^32).
        model: the policy.
        data: the problems.
        prompt: how a problem becomes a prompt.
        sampler: how solutions are sampled; the statistics that verifiers read are added to its own.
        verifiers: by the name that a strategy asks for: trained ones, and confidence over windows of another length.
        strategies: by label, the baseline first. Those that sample independently share one pool of candidates.
        n: numbers of solutions at which strategies are reported, as far as each one's own; a strategy of which no search can be
            read at a smaller number searches at each by itself. Empty for powers of two where that is free, else its own.
        budgets: limits for each question; a strategy under a limit searches by itself, at its own number.
        grading_workers: processes that compare answers which the exact rules leave open.
    """

    seeds: tuple[int, ...] = (0,)
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    prompt: PromptSpec = PromptSpec()
    sampler: SamplerSettings = SamplerSettings()
    verifiers: dict[str, NamedVerifier] = dataclasses.field(default_factory=dict)
    strategies: dict[str, NamedStrategy]
    n: tuple[int, ...] = ()
    budgets: tuple[Budget, ...] = (UNLIMITED,)
    grading_workers: int = 1

    def __post_init__(self):
        for name in ('seeds', 'strategies', 'budgets'):
            if not getattr(self, name):
                raise ValueError(f'{name} must name at least one, got none.')
        for name in ('seeds', 'n', 'budgets'):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f'{name} must not repeat a value, got {list(getattr(self, name))}.')
        for seed in self.seeds:
            check_seed(seed)
        if any(n < 1 for n in self.n):
            raise ValueError(f'n must be at least 1 solution per answer, got {list(self.n)}.')
        if self.n and all(budget.limits for budget in self.budgets):
            raise ValueError('n: under a limit a strategy runs at its own n alone: leave n out, or add {} to budgets.')
        for label, pooled in self.pooled.items():
            if self.n and min(self.n) > pooled.n:
                raise ValueError(f'n: strategies.{label} samples {pooled.n} solutions, n must name a number up to that.')
        if not 1 <= self.grading_workers <= 64:
            raise ValueError(f'grading_workers must be in [1, 64], got {self.grading_workers}.')
        _check_verifiers(self.verifiers, self.strategies.values())
        object.__setattr__(self, 'sampler', _with_stats(self.sampler, self.verifiers, self.strategies.values()))
        for label, strategy in self.strategies.items():
            for budget in self.budgets:
                _check_strategy(f'strategies.{label}', strategy, self.verifiers, self.sampler, budget)

    @property
    def pooled(self) -> Mapping[str, Parallel]:
        """The strategies that choose from independent samples, by label."""
        return {label: strategy for label, strategy in self.strategies.items() if isinstance(strategy, Parallel)}

    @property
    def chained(self) -> Mapping[str, Revision]:
        """The strategies that choose from chains of attempts, by label."""
        return {label: strategy for label, strategy in self.strategies.items() if isinstance(strategy, Revision)}

    @property
    def chains(self) -> list[Chains]:
        """The pools of chains, one for every context."""
        found: dict[int, list[Revision]] = {}
        for label, revision in self.chained.items():
            numbers = self.sweep(label).reads[revision.generations]
            found.setdefault(revision.context, []).extend(revision.at(n) for n in numbers)
        return [chains_of_sweep(context, readings) for context, readings in sorted(found.items())]

    def read_from(self, chains: Chains) -> Mapping[str, Revision]:
        """The strategies that are read from a pool of chains, by label."""
        return {label: each for label, each in self.chained.items() if each.context == chains.context}

    @property
    def num_attempts(self) -> int:
        """Earlier attempts that prompts show at most."""
        return max(strategy.num_attempts for strategy in self.strategies.values())

    def sweep(self, label: str, budget: Budget = UNLIMITED) -> Sweep:
        """What is searched and read for a strategy."""
        return sweep_of(self.strategies[label], self.n, budget)

    @property
    def exceptions(self) -> list[str]:
        """A line for the numbers of `n` at which a strategy cannot run, and for one that runs at its own instead."""
        lines = []
        for label, strategy in self.strategies.items():
            sweep = self.sweep(label)
            reasons: dict[str, list[int]] = {}
            for n, why in sweep.left_out.items():
                reasons.setdefault(why, []).append(n)
            lines += [f'{label}: not at n = {", ".join(map(str, numbers))}: {why}' for why, numbers in reasons.items()]
            own = strategy.generations
            if self.n and own in sweep.reads.get(own, ()) and own not in self.n:
                lines.append(f'{label}: at its own n = {own}, since it runs at none of n')
        return lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolveConfig:
    """How `solve` answers questions.

    Attributes:
        seed: of the draws, in [0, 2^32).
        model: the policy.
        prompt: how a question becomes a prompt; the default is what the small default model follows best.
        sampler: how solutions are sampled; the statistics that the verifier reads are added to its own.
        verifiers: by the name that the strategy asks for: trained ones, and confidence over windows of another length.
        strategy: how the budget is spent.
        budget: limits for each question.
    """

    seed: int = 0
    model: ModelSpec = ModelSpec()
    prompt: PromptSpec = PromptSpec(few_shot=1, answer_format='plain', step_delimiter='\n')
    sampler: SamplerSettings = SamplerSettings(temperature=0.3, max_tokens=256)
    verifiers: dict[str, NamedVerifier] = dataclasses.field(default_factory=dict)
    strategy: NamedStrategy = BestOfN(n=16, verifier='self_certainty')
    budget: Budget = UNLIMITED

    def __post_init__(self):
        check_seed(self.seed)
        _check_verifiers(self.verifiers, [self.strategy])
        object.__setattr__(self, 'sampler', _with_stats(self.sampler, self.verifiers, [self.strategy]))
        _check_strategy('strategy', self.strategy, self.verifiers, self.sampler, self.budget)


def trained(choices: Mapping[str, NamedVerifier]) -> dict[str, VerifierChoice]:
    """The verifiers of a configuration that have weights, by name."""
    return {name: choice for name, choice in choices.items() if isinstance(choice, VerifierChoice)}


def untrained(choices: Mapping[str, NamedVerifier]) -> dict[str, Verifier]:
    """The verifiers that strategies may name and that need no training: the usual ones, and the configuration's own."""
    return {**VERIFIERS, **{name: choice for name, choice in choices.items() if isinstance(choice, Confidence)}}


def load_verifiers(choices: Mapping[str, NamedVerifier], lm: LanguageModel | None) -> dict[str, Verifier]:
    """The verifiers that strategies may name: those that need no training, and the configuration's trained ones, loaded.

    Args:
        choices: the configuration's own, by name.
        lm: the policy; None where none of them is a head on it.
    """
    found = untrained(choices)
    for name, choice in trained(choices).items():
        if choice.on == 'policy':
            assert lm is not None, 'a head on the policy is loaded with it'
            found[name] = dataclasses.replace(load_verifier(**choice.on_policy, policy=lm), name=name)
        else:
            found[name] = load_verifier(**choice.alone)
    return found


def open_verifiers(choices: Mapping[str, NamedVerifier]) -> dict[str, RewardModel | BackboneVerifier]:
    """The configuration's trained verifiers, by name, without the values of their weights: they tell prices and memory."""
    found = {name: (choice, open_verifier(choice)) for name, choice in trained(choices).items()}
    return {name: BackboneVerifier.of(each) if choice.on == 'policy' else each for name, (choice, each) in found.items()}


def _check_verifiers(choices: Mapping[str, NamedVerifier], strategies: Iterable[Strategy]) -> None:
    asked = {name for strategy in strategies for name in strategy.judges}
    for name in choices:
        if name in VERIFIERS:
            raise ValueError(f'verifiers.{name}: the name of one that needs no training; choose another.')
        if name not in asked:
            raise ValueError(f"verifiers.{name}: no strategy asks for it; name it as a strategy's verifier or leave it out.")


def _with_stats(
    sampler: SamplerSettings, choices: Mapping[str, NamedVerifier], strategies: Iterable[Strategy]
) -> SamplerSettings:
    """The sampler with the statistics that untrained verifiers read; a head on the policy brings its own when it is loaded."""
    verifiers = untrained(choices)
    asked = [verifiers[name] for strategy in strategies for name in strategy.judges if name in verifiers]
    stats = sorted({stat for verifier in asked for stat in verifier.stats} - set(sampler.stats))
    return dataclasses.replace(sampler, stats=(*sampler.stats, *stats)) if stats else sampler


class _Unloaded:
    """Stands for a trained verifier while a configuration is checked: no statistics need be asked for by hand."""

    stats: frozenset[str] = frozenset()


def _check_strategy(
    where: str, strategy: Strategy, choices: Mapping[str, NamedVerifier], sampler: SamplerSettings, budget: Budget
) -> None:
    """Refuses a strategy that could not run, or whose rows no memory would hold."""
    if strategy.generations > MOST_COPIES:
        raise ValueError(f'{where}: n must be at most {MOST_COPIES:,} solutions per question, got {strategy.generations:,}.')
    verifiers: dict[Any, Any] = {**dict.fromkeys(choices, _Unloaded()), **untrained(choices)}
    try:
        strategy.check(verifiers, sampler.stats, budget)
    except ValueError as error:
        raise ValueError(f'{where}: {error} Verifiers by name: {", ".join([*VERIFIERS, *choices])}.') from error
