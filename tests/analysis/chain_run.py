"""A synthetic run of revisions, read as `evaluate` reads one: only the sampling is invented."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.core import config as configs
from jaxreason.core.records import Pool, PoolCandidate, to_line
from jaxreason.core.types import Problem
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.units import units_of
from jaxreason.search.chains import sample_of

LOST = 0.2  # chance that a revision spoils a right attempt
WON = 0.25  # chance that it mends a wrong one, of the easiest question


def grid(most: int, vote: str, **about: Any) -> dict[str, dict[str, Any]]:
    """Every ratio of powers of two at `most` attempts, the most parallel first."""
    lengths = [2**power for power in range(most.bit_length())]
    return {
        f'{vote} {length} x {most // length}': {
            'kind': 'revision', 'chains': most // length, 'length': length, 'vote': vote, **about
        }
        for length in lengths
    }  # fmt: skip


def attempt(
    number: int, turn: int, verdict: str, answer: str | None, scores: Mapping[str, float] | None = None
) -> PoolCandidate:
    """Attempt `turn` of chain `number`, both from 0."""
    return PoolCandidate(
        sample=sample_of(number, turn),
        text=f'Attempt.\n\nThe answer is {answer}.',
        tokens=(1, 2, 3, 4),
        step_ends=(2, 4),
        finish='stop',
        answer=answer,
        verdict=verdict,
        scores={name: (0.5, score) for name, score in (scores or {}).items()},
        cost={'prefill': 50 * (turn > 0), 'decode': 100, 'new_tokens': 4} if turn else {'decode': 100, 'new_tokens': 4},
        verified={name: {'verify': 10} for name in scores or {}},
        revises=sample_of(number, turn - 1) if turn else None,
    )


def pool_of(question: str, chains: Sequence[Sequence[PoolCandidate]], seed: int = 0, name: str = 'chains4') -> Pool:
    """A pool of chains, its candidates in sample order."""
    candidates = sorted((one for chain in chains for one in chain), key=lambda one: one.sample)
    return Pool(
        pool=name,
        question_id=question,
        seed=seed,
        question=f'What is {question}?',
        gold='1',
        level='',
        subject='',
        cost={'prefill': 40, 'prompt_tokens': 4},
        candidates=tuple(candidates),
    )


def write_chain_run(
    folder: Path, strategies: Mapping[str, Any], n: Sequence[int], num_questions: int = 30, seeds: Sequence[int] = (0,)
) -> list[Pool]:
    """Writes the folder of a run whose questions are harder the later they come; returns its pools."""
    settings = {
        'strategies': strategies,
        'n': list(n),
        'seeds': list(seeds),
        'verifiers': {
            name: {'source': f'runs/{name}'} for name in {s['verifier'] for s in strategies.values() if 'verifier' in s}
        },
        'model': {'source': 'nano'},
    }
    config = configs.build(EvaluateConfig, settings)
    problems = [Problem(id=f'q{index:04d}', text=f'What is q{index:04d}?', answer='1') for index in range(num_questions)]
    rng = random.Random(0)
    pools, records = [], []
    for unit in units_of(config, problems):
        chance = 1 - (int(unit.problem.id[1:]) + 0.5) / num_questions
        lengths = unit.chains.lengths if unit.chains else (1,) * unit.n
        chains = [_grow(rng, number, length, chance, list(config.verifiers)) for number, length in enumerate(lengths)]
        pools.append(pool_of(unit.problem.id, chains, unit.seed, unit.pool))
        records += list(records_of(config, unit, pools[-1]))
    (folder / 'pools').mkdir(parents=True)
    (folder / 'records.jsonl').write_text(''.join(f'{to_line(record)}\n' for record in records))
    for name in {pool.pool for pool in pools}:
        lines = ''.join(f'{to_line(pool)}\n' for pool in pools if pool.pool == name)
        (folder / 'pools' / f'{name}.jsonl').write_text(lines)
    (folder / 'config.yaml').write_text(configs.dump(config))
    (folder / 'environment.json').write_text('{"commit": "a7c86be", "device": "cpu"}')
    return pools


def _grow(rng: random.Random, number: int, length: int, chance: float, verifiers: Sequence[str]) -> list[PoolCandidate]:
    chain: list[PoolCandidate] = []
    is_right = rng.random() < chance
    for turn in range(length):
        if turn:
            is_right = rng.random() > LOST if is_right else rng.random() < WON * chance
        answer = '1' if is_right else rng.choice(['2', '3', None])
        scores = {name: round(min(1.0, max(0.0, rng.gauss(0.7 if is_right else 0.4, 0.25))), 4) for name in verifiers}
        chain.append(attempt(number, turn, 'correct' if is_right else 'wrong', answer, scores))
    return chain
