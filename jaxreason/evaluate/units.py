"""What a run consists of: units of search, each one question under one seed, finished and journalled whole.

A *pooled* unit samples as many solutions as the largest strategy of independent samples wants and has every verifier score
them; another grows as many chains, each as long, as the revisions of a run want. What each strategy makes of them at each n is
computed afterwards (`reading.py`), so one pool gives every n. Any other unit is one strategy searching by itself, under a
budget or because its samples depend on each other; `sweep.py` says at which n.
"""

import dataclasses
import hashlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost, total
from jaxreason.core.records import Pool, PoolBranch, PoolCandidate, cost_fields
from jaxreason.core.requests import Extend, Request, Score, Start
from jaxreason.core.types import Candidate, Outcome, Problem, Question, Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.sweep import Chains
from jaxreason.search.chains import grow_chains
from jaxreason.search.drive import Task
from jaxreason.search.strategy import Strategy, candidate, unscored_by_row

POOLED = 'samples'
_PLAIN = re.compile('[a-z0-9][a-z0-9_-]{0,59}')  # one case only: some file systems take A for a


@dataclasses.dataclass(frozen=True)
class Unit:
    """One question under one seed: sampled for a pool (no strategy), or searched by one strategy under one budget.

    Attributes:
        problem: the question.
        seed: of the draws.
        label: of the strategy; None for a pool.
        budget: its limits.
        n: solutions that it begins.
        chains: what a pool of chains is made of; None for any other.
    """

    problem: Problem
    seed: int
    label: str | None
    budget: Budget
    n: int
    chains: Chains | None = None

    @property
    def pool(self) -> str:
        """Name of the pool that its candidates go to: a file name, and another for every label, n and budget."""
        if self.label is None:
            return POOLED if self.chains is None else f'chains{self.chains.context}'
        limits = {'n': self.n, **self.budget.limits}
        return '.'.join([_file_name(self.label), *(f'{name}{value}' for name, value in limits.items())])

    @property
    def key(self) -> str:
        """Names the unit in the journal."""
        return f'{self.pool}/{self.seed}/{self.problem.id}'


def _file_name(label: str) -> str:
    """A label as part of a file name: itself where it is plain, else its letters and a digest that tells it from others."""
    if _PLAIN.fullmatch(label) and label != POOLED:
        return label
    letters = re.sub('[^a-z0-9]+', '-', label.lower())[:40].strip('-')
    return f'{letters}.{hashlib.sha256(label.encode()).hexdigest()[:12]}'


class Judged(NamedTuple):
    """Candidates with the scores of several verifiers."""

    candidates: tuple[Candidate, ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    verified: Mapping[str, tuple[Cost, ...]]
    prompt: Cost  # paid once, whatever the candidates


def units_of(config: EvaluateConfig, problems: Sequence[Problem]) -> list[Unit]:
    """All units of a run: by question, so that a short run has whole questions."""
    searches: list[tuple[str | None, Budget, int, Chains | None]] = []
    if any(not budget.limits for budget in config.budgets):
        if config.pooled:
            searches.append((None, Budget(), max(strategy.n for strategy in config.pooled.values()), None))
        searches += [(None, Budget(), sum(chains.lengths), chains) for chains in config.chains]
    for label in config.strategies:
        for budget in config.budgets:
            if budget.limits or (label not in config.pooled and label not in config.chained):
                searches += [(label, budget, n, None) for n in config.sweep(label, budget).reads]
    return [Unit(problem, seed, *search) for problem in problems for seed in config.seeds for search in searches]


def task_of(config: EvaluateConfig, unit: Unit) -> Task:
    """The search of a unit."""
    question = unit.problem.question
    if unit.label is not None:
        strategy = config.strategies[unit.label].at(unit.n)
        search = strategy.search(question, unit.budget)
        return Task(question, search, unit.budget, unit.seed, strategy.most_rows, strategy.num_attempts)
    if unit.chains is None:
        search = _sample(question, unit.n, judges_of(config, unit))
        return Task(question, search, unit.budget, unit.seed, unit.n)
    search = _grow(question, unit.chains, judges_of(config, unit))
    return Task(question, search, unit.budget, unit.seed, len(unit.chains.lengths), unit.chains.num_attempts)


def judges_of(config: EvaluateConfig, unit: Unit) -> tuple[str, ...]:
    """Verifiers that a unit asks, each once."""
    strategies: Iterable[Strategy] = config.pooled.values()
    if unit.label is not None:
        strategies = [config.strategies[unit.label]]
    elif unit.chains is not None:
        strategies = config.read_from(unit.chains).values()
    return tuple(dict.fromkeys(str(name) for strategy in strategies for name in strategy.judges))


def copies_of(config: EvaluateConfig, units: Sequence[Unit]) -> list[int]:
    """Rows that each question may have at once: every unit of it may be searched at the same time."""
    copies: dict[str, int] = {}
    for unit in units:
        rows = unit.n if unit.chains is None else len(unit.chains.lengths)
        if unit.label is not None:
            rows = config.strategies[unit.label].at(unit.n).most_rows
        copies[unit.problem.id] = copies.get(unit.problem.id, 0) + rows
    return list(copies.values())


def _sample(question: Question, copies: int, judges: Sequence[str]) -> Generator[Request, Any, Any]:
    """Samples a pool and has every verifier score it."""
    rows, prompt = yield Start(question, copies=copies)
    rows, _ = yield Extend(rows)
    scores, verified = {}, {}
    reasons: dict[str | None, Any] = {}
    for name in judges:
        scores[name], verified[name], reasons[name] = yield Score(rows, name)
    unscored = unscored_by_row(reasons, len(rows))
    candidates = tuple(candidate(row, unscored=each) for row, each in zip(rows, unscored, strict=True))
    return Judged(candidates, scores, verified, prompt)


def _grow(question: Question, chains: Chains, judges: Sequence[str]) -> Generator[Request, Any, Any]:
    """Grows a pool of chains and has every verifier score their attempts."""
    grown = yield from grow_chains(question, chains.lengths, chains.context, judges)
    return Judged(
        candidates=tuple(attempt.candidate() for attempt in grown.attempts),
        scores={name: tuple(attempt.scores[name] for attempt in grown.attempts) for name in judges},
        verified={name: tuple(attempt.verified[name] for attempt in grown.attempts) for name in judges},
        prompt=grown.prompt,
    )


def pool_of(unit: Unit, result: Judged | Outcome, verdicts: Sequence[Verdict], strategy: Strategy | None) -> Pool:
    """What a finished unit writes down.

    Args:
        unit: the unit.
        result: what its search returned.
        verdicts: one a candidate.
        strategy: the strategy that searched by itself, None for the pool.
    """
    pruned: tuple[PoolBranch, ...] = ()
    if isinstance(result, Judged):
        scores, verified, prompt, chosen = result.scores, result.verified, result.prompt, None
    else:
        judges = strategy.judges_of(result) if strategy else ()
        scores = {str(name): tuple(c.scores for c in result.candidates) for name in judges}
        verified = {}  # already in the candidates' own cost
        pruned = tuple(PoolBranch(**{**vars(branch), 'cost': cost_fields(branch.cost)}) for branch in result.pruned)
        # What no candidate and no branch is charged with by itself: the prompt, rollouts that only served a score.
        own = total([*(c.cost for c in result.candidates), *(b.cost for b in result.pruned)])
        prompt = Cost(*(a - b for a, b in zip(result.cost, own, strict=True)))
        found = {} if result.level is None else {'level': result.level}
        chosen = {'answer': result.answer, 'votes': [list(vote) for vote in result.votes], **found}
    candidates = tuple(
        PoolCandidate(
            sample=c.sample,
            text=c.text,
            tokens=c.tokens,
            step_ends=c.step_ends,
            finish=c.finish.value,
            answer=c.answer,
            verdict=verdict.value,
            scores={name: each[index] for name, each in scores.items()},
            cost=cost_fields(c.cost),
            verified={name: cost_fields(each[index]) for name, each in verified.items()},
            unscored=c.unscored,
            parent=c.parent,
            forked_at=c.forked_at,
            revises=c.revises,
        )
        for index, (c, verdict) in enumerate(zip(result.candidates, verdicts, strict=True))
    )
    problem = unit.problem
    return Pool(
        pool=unit.pool,
        question_id=problem.id,
        seed=unit.seed,
        question=problem.text,
        gold=problem.answer,
        level=problem.level,
        subject=problem.subject,
        cost=cost_fields(prompt),
        candidates=candidates,
        chosen=chosen,
        pruned=pruned,
    )
