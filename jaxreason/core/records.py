"""What a run writes down: one line of JSON a value, the same bytes for the same content.

A run folder holds `pools/<pool>.jsonl` (every sampled pool once), `records.jsonl` (what each strategy made of a pool at each
n, sorted) and `timing.jsonl` (the only file with clock times). Analysis reads these and nothing else.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.core.cost import Cost
from jaxreason.core.types import Candidate, Finish


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolCandidate:
    """One sampled solution, graded.

    Attributes:
        sample: index in its pool.
        text: what the tokens say.
        tokens: generated token ids.
        step_ends: tokens at the end of each step.
        finish: `Finish` as text.
        answer: as extracted; None where the text names none.
        verdict: `Verdict` as text.
        scores: by verifier, one a step; none where it could not score.
        unscored: why not (`Unscored` as text), by verifier.
        cost: generating this candidate alone, as the fields of `Cost` that are not 0.
        verified: what scoring it cost, by verifier: a strategy pays for the verifiers that it asks.
        parent: sample that it was forked from; None for one that began with the prompt.
        forked_at: leading steps that it shares with its parent.
        revises: sample of the attempt before it in its chain; None for a first attempt.
    """

    sample: int
    text: str
    tokens: tuple[int, ...]
    step_ends: tuple[int, ...]
    finish: str
    answer: str | None
    verdict: str
    scores: Mapping[str, tuple[float, ...]]
    cost: Mapping[str, int]
    verified: Mapping[str, Mapping[str, int]]
    unscored: Mapping[str, str] = dataclasses.field(default_factory=dict)  # not in pools of older versions, nor what follows
    parent: int | None = None
    forked_at: int = 0
    revises: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolBranch:
    """A prefix that a search left: `core.types.Branch`, its scores those of the strategy's verifier."""

    sample: int
    parent: int | None
    forked_at: int
    pruned_at: int
    tokens: tuple[int, ...]
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    cost: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """All candidates of one question under one seed, and what the prompt cost."""

    pool: str  # name of the pool: candidates of one name were sampled alike
    question_id: str
    seed: int
    question: str
    gold: str
    level: str
    subject: str
    cost: Mapping[str, int]  # what no candidate and no branch is charged with by itself: the prompt, rollouts for a score
    candidates: tuple[PoolCandidate, ...]
    chosen: Mapping[str, Any] | None = None  # answer and votes of a strategy that searched by itself
    pruned: tuple[PoolBranch, ...] = ()  # what a tree search left


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """What a strategy made of one disjoint block of n candidates."""

    answer: str | None
    verdict: str
    cost: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One question under one strategy, n, budget and seed.

    Attributes:
        question_id: which question.
        strategy: its label in the configuration.
        n: solutions per answer.
        budget: the limits given, {} for none.
        seed: of the draws.
        pool: name of the pool it refers to.
        blocks: block 0 is what a user would get; where one pool holds several disjoint blocks of n, the others lower the
            variance of the mean.
        votes: of block 0, weight of every distinct answer, largest first.
    """

    question_id: str
    strategy: str
    n: int
    budget: Mapping[str, int]
    seed: int
    pool: str
    blocks: tuple[Block, ...]
    votes: tuple[tuple[str, float], ...]


def to_line(value: Any) -> str:
    """A dataclass or JSON value as one line without a newline: sorted keys, no NaN, ASCII, shortest floats."""
    return json.dumps(value, sort_keys=True, separators=(',', ':'), allow_nan=False, ensure_ascii=True, default=_fields_of)


def _fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, not copied: `dataclasses.asdict` takes twice as long as the writing itself."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f'Object of type {type(value).__name__} is not JSON serializable')
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def pool_from(fields: Mapping[str, Any]) -> Pool:
    """The inverse of `to_line` for a `Pool`, given the parsed JSON object."""
    candidates = tuple(
        PoolCandidate(
            **{
                **c,
                'tokens': tuple(c['tokens']),
                'step_ends': tuple(c['step_ends']),
                'scores': {name: tuple(scores) for name, scores in c['scores'].items()},
            }
        )
        for c in fields['candidates']
    )
    pruned = tuple(
        PoolBranch(**{**b, **{name: tuple(b[name]) for name in ('tokens', 'steps', 'scores')}})
        for b in fields.get('pruned', ())
    )
    return Pool(**{**fields, 'candidates': candidates, 'pruned': pruned})


def candidate_of(stored: PoolCandidate, judges: Sequence[str | None]) -> Candidate:
    """A stored candidate as strategies see it, with the scores of the verifier that is asked first; its steps are not told."""
    return Candidate(
        sample=stored.sample,
        text=stored.text,
        tokens=stored.tokens,
        steps=(),
        step_ends=stored.step_ends,
        finish=Finish(stored.finish),
        answer=stored.answer,
        scores=tuple(stored.scores[str(judges[0])]) if judges else (),
        unscored=stored.unscored,
        cost=cost_from(stored.cost),
        revises=stored.revises,
    )


def record_from(fields: Mapping[str, Any]) -> Record:
    """The inverse of `to_line` for a `Record`, given the parsed JSON object."""
    blocks = tuple(Block(**block) for block in fields['blocks'])
    votes = tuple((answer, weight) for answer, weight in fields['votes'])
    return Record(**{**fields, 'blocks': blocks, 'votes': votes})


def cost_fields(cost: Cost) -> dict[str, int]:
    """The fields of a cost that are not 0."""
    return {name: value for name, value in cost._asdict().items() if value}


def cost_from(fields: Mapping[str, int]) -> Cost:
    """The inverse of `cost_fields`."""
    return Cost(**fields)
