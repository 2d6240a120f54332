"""What a run consists of: units of search, each one question under one seed, finished and journalled whole.

A *pooled* unit samples as many solutions as the largest pooled strategy wants and has every verifier score them; what each
strategy makes of them at each n is computed afterwards (`records_of`), so one pool gives every n. Any other unit is one
strategy searching by itself, under a budget or because its samples depend on each other; `sweep.py` says at which n.
"""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost, total
from jaxreason.core.records import Block, Pool, PoolBranch, PoolCandidate, Record, cost_fields, cost_from
from jaxreason.core.requests import Extend, Request, Score, Start
from jaxreason.core.types import Candidate, Finish, Outcome, Problem, Question, Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.search.drive import Task
from jaxreason.search.strategy import Divisible, Strategy, candidate, unscored_by_row

POOLED = 'samples'
_PLAIN = re.compile('[a-z0-9][a-z0-9_-]{0,59}')  # one case only: some file systems take A for a


@dataclasses.dataclass(frozen=True)
class Unit:
    """One question under one seed: sampled for the pool (no strategy), or searched by one strategy under one budget."""

    problem: Problem
    seed: int
    label: str | None  # of the strategy; None for the pool
    budget: Budget
    n: int  # solutions that it begins

    @property
    def pool(self) -> str:
        """Name of the pool that its candidates go to: a file name, and another for every label, n and budget."""
        if self.label is None:
            return POOLED
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
    searches: list[tuple[str | None, Budget, int]] = []
    if config.pooled and any(not budget.limits for budget in config.budgets):
        searches.append((None, Budget(), max(strategy.n for strategy in config.pooled.values())))
    for label in config.strategies:
        for budget in config.budgets:
            if budget.limits or label not in config.pooled:
                searches += [(label, budget, n) for n in config.sweep(label, budget).reads]
    return [Unit(problem, seed, *search) for problem in problems for seed in config.seeds for search in searches]


def task_of(config: EvaluateConfig, unit: Unit) -> Task:
    """The search of a unit."""
    question = unit.problem.question
    if unit.label is not None:
        search = config.strategies[unit.label].at(unit.n).search(question, unit.budget)
    else:
        judges = dict.fromkeys(str(name) for strategy in config.pooled.values() for name in strategy.judges)
        search = _sample(question, unit.n, tuple(judges))
    return Task(question, search, unit.budget, unit.seed, unit.n)


def copies_of(units: Sequence[Unit]) -> list[int]:
    """Rows that each question may have at once: every unit of it may be searched at the same time."""
    copies: dict[str, int] = {}
    for unit in units:
        copies[unit.problem.id] = copies.get(unit.problem.id, 0) + unit.n
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
        judges = strategy.judges if strategy else ()
        scores = {str(name): tuple(c.scores for c in result.candidates) for name in judges}
        verified = {}  # already in the candidates' own cost
        pruned = tuple(PoolBranch(**{**vars(branch), 'cost': cost_fields(branch.cost)}) for branch in result.pruned)
        # What no candidate and no branch is charged with by itself: the prompt, rollouts that only served a score.
        own = total([*(c.cost for c in result.candidates), *(b.cost for b in result.pruned)])
        prompt = Cost(*(a - b for a, b in zip(result.cost, own, strict=True)))
        chosen = {'answer': result.answer, 'votes': [list(vote) for vote in result.votes]}
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


def records_of(config: EvaluateConfig, unit: Unit, pool: Pool) -> Iterator[Record]:
    """What every strategy made of a unit, at every n."""
    common: dict[str, Any] = {
        'question_id': unit.problem.id,
        'seed': unit.seed,
        'pool': unit.pool,
        'budget': unit.budget.limits,
    }
    if unit.label is None:
        for label, pooled in config.pooled.items():
            for n in config.sweep(label).reads[pooled.n]:
                yield _read(label, pooled, pooled.n, n, pool, common)
        return
    strategy = config.strategies[unit.label]
    for n in config.sweep(unit.label, unit.budget).reads[unit.n]:
        if n < unit.n:
            assert isinstance(strategy, Divisible), 'read at less than its whole'
            yield _read(unit.label, strategy, unit.n, n, pool, common)
            continue
        assert pool.chosen is not None, 'a strategy that searched by itself wrote down its choice'
        cost = total(map(cost_from, (pool.cost, *(branch.cost for branch in _branches(pool)))))
        block = _block(pool.chosen['answer'], pool.candidates, cost)
        chosen = tuple((answer, weight) for answer, weight in pool.chosen['votes'])
        yield Record(strategy=unit.label, n=n, blocks=(block,), votes=chosen, **common)


def _read(label: str, strategy: Divisible, largest: int, n: int, pool: Pool, common: Mapping[str, Any]) -> Record:
    """What a strategy made of the disjoint blocks of `n` among the `largest` first draws of a pool."""
    blocks: list[Block] = []
    votes: tuple[tuple[str, float], ...] = ()
    parts = _blocks(pool, n)
    for index in range(largest // n):
        part = parts[index]
        choice = strategy.choose([_candidate(c, strategy.judges) for c in part.candidates])
        paid = [*(_paid(c, strategy.judges) for c in part.candidates), *(cost_from(branch.cost) for branch in part.pruned)]
        blocks.append(_block(choice.answer, part.candidates, total([cost_from(pool.cost), *paid])))
        votes = votes if index else choice.votes
    return Record(strategy=label, n=n, blocks=tuple(blocks), votes=votes, **common)


def _branches(pool: Pool) -> list[PoolCandidate | PoolBranch]:
    """The whole tree."""
    return [*pool.candidates, *pool.pruned]


class _Part(NamedTuple):
    """What came of some draws of a pool."""

    candidates: list[PoolCandidate]
    pruned: list[PoolBranch]


def _blocks(pool: Pool, n: int) -> Mapping[int, _Part]:
    """Candidates and branches of every `n` draws in a row: a fork belongs to the draw that it goes back to."""
    parent = {branch.sample: branch.parent for branch in _branches(pool)}
    parts: dict[int, _Part] = collections.defaultdict(lambda: _Part([], []))
    for stored in pool.candidates:
        parts[_root(stored.sample, parent) // n].candidates.append(stored)
    for branch in pool.pruned:
        parts[_root(branch.sample, parent) // n].pruned.append(branch)
    return parts


def _root(sample: int, parent: Mapping[int, int | None]) -> int:
    """The draw that a branch goes back to."""
    while (above := parent[sample]) is not None:
        sample = above
    return sample


def _block(answer: str | None, candidates: Sequence[PoolCandidate], cost: Cost) -> Block:
    """The verdict on an answer is that of the earliest candidate that gave it in these words."""
    verdict = next((c.verdict for c in candidates if answer is not None and c.answer == answer), Verdict.WRONG.value)
    return Block(answer=answer, verdict=verdict, cost=cost_fields(cost))


def _paid(stored: PoolCandidate, judges: Sequence[str | None]) -> Cost:
    """What a candidate cost a strategy that asks these verifiers; what a search by itself paid is in its own cost."""
    return total([cost_from(stored.cost), *(cost_from(stored.verified[str(name)]) for name in judges if stored.verified)])


def _candidate(stored: PoolCandidate, judges: Sequence[str | None]) -> Candidate:
    """A stored candidate as strategies see it, with the scores of the verifier that its strategy asks."""
    scores = tuple(stored.scores[str(judges[0])]) if judges else ()
    return Candidate(
        sample=stored.sample,
        text=stored.text,
        tokens=stored.tokens,
        steps=(),
        step_ends=stored.step_ends,
        finish=Finish(stored.finish),
        answer=stored.answer,
        scores=scores,
        unscored=stored.unscored,
        cost=cost_from(stored.cost),
    )
