"""A synthetic run: questions of known hardness, a pool each, three strategies at every n."""

import collections
import random

import pytest

from jaxreason.core.records import Block, Pool, PoolCandidate, Record, to_line

PROMPT, DECODE, VERIFY = 80_000_000, 270_000_000, 90_000_000  # FLOPs: prompt, a token, verifying a token
CONFIG = """\
model: {source: nano}
seeds: [0, 1]
strategies:
  majority: {kind: majority, n: 16}
  best_of_n: {kind: best_of_n, n: 16}  # <script>
"""


def make_pool(question: int, seed: int, num_candidates: int, rng: random.Random) -> Pool:
    gold, chance = str(17 * question % 101), (question % 10 + 0.5) / 10
    candidates = []
    for sample in range(num_candidates):
        is_correct = rng.random() < chance
        answer = gold if is_correct else rng.choice([None, '7', '12', '12', '-3'])
        length = rng.randint(20, 60)
        first, last = rng.uniform(0.2, 0.9), min(1.0, max(0.0, rng.gauss(0.7 if is_correct else 0.4, 0.2)))
        text = f'First we add.\n\nThen <b>{question}</b> & so on.\n\nThe answer is {answer}.'
        candidates.append(
            PoolCandidate(
                sample=sample,
                text=text,
                tokens=tuple(range(length)),
                step_ends=(length // 2, length),
                finish='stop' if answer is not None else 'length',
                answer=answer,
                verdict='correct' if is_correct else 'unjudged' if question == 3 and answer is not None else 'wrong',
                scores={'prm': (round(first, 4), round(last, 4))},
                cost={'decode': DECODE * length, 'verify': VERIFY * length, 'new_tokens': length, 'scored_tokens': length},
                verified={},
            )
        )
    return Pool(
        pool='samples',
        question_id=f'q{question:03d}',
        seed=seed,
        question=f'What is {question} + {question}?',
        gold=gold,
        level=str(question % 5 + 1),
        subject='arithmetic',
        cost={'prefill': PROMPT, 'prompt_tokens': 12},
        candidates=tuple(candidates),
    )


def choose(pool: Pool, candidates: tuple[PoolCandidate, ...], strategy: str) -> tuple[Block, list[tuple[str, float]]]:
    votes: dict[str, float] = collections.defaultdict(float)
    for candidate in candidates:
        if candidate.answer is not None:
            votes[candidate.answer] += 1.0 if strategy == 'majority' else candidate.scores['prm'][-1] ** 2
    ranked = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))
    answer = ranked[0][0] if ranked else None
    cost = collections.Counter(pool.cost)
    for candidate in candidates:
        cost.update(
            {
                name: value
                for name, value in candidate.cost.items()
                if strategy != 'majority' or 'new' in name or name == 'decode'
            }
        )
    verdict = next((candidate.verdict for candidate in candidates if candidate.answer == answer), 'wrong')
    return Block(answer=answer, verdict=verdict, cost=dict(cost)), ranked


def make_run(num_questions: int = 40, num_seeds: int = 2, num_candidates: int = 16) -> tuple[list[Record], list[Pool]]:
    rng = random.Random(0)
    records, pools = [], []
    for question in range(num_questions):
        for seed in range(num_seeds):
            pool = make_pool(question, seed, num_candidates, rng)
            pools.append(pool)
            for strategy in ('majority', 'best_of_n'):
                for n in (1, 2, 4, 8, 16):
                    cuts = [choose(pool, pool.candidates[i : i + n], strategy) for i in range(0, num_candidates, n)]
                    records.append(
                        Record(
                            question_id=pool.question_id,
                            strategy=strategy,
                            n=n,
                            budget={},
                            seed=seed,
                            pool='samples',
                            blocks=tuple(block for block, _ in cuts),
                            votes=tuple(cuts[0][1]),
                        )
                    )
    return records, pools


@pytest.fixture(scope='session')
def run():
    """Records and pools of the synthetic run."""
    return make_run()


@pytest.fixture(scope='session')
def run_folder(tmp_path_factory, run):
    """The synthetic run as a folder."""
    folder = tmp_path_factory.mktemp('runs') / 'synthetic'
    write_run(folder, *run)
    return folder


@pytest.fixture(scope='session')
def fit_folder(tmp_path_factory):
    """The folder of a synthetic fit."""
    from tests.analysis.fit_example import write_synthetic_fit

    folder = tmp_path_factory.mktemp('fits') / 'fit_one'
    write_synthetic_fit(folder)
    return folder


def write_run(folder, records, pools):
    (folder / 'pools').mkdir(parents=True)
    (folder / 'records.jsonl').write_text(''.join(f'{to_line(record)}\n' for record in records))
    (folder / 'pools' / 'samples.jsonl').write_text(''.join(f'{to_line(pool)}\n' for pool in pools))
    (folder / 'config.yaml').write_text(CONFIG)
    (folder / 'environment.json').write_text(
        '{"commit": "a7c86be0123456789a7c86be0123456789abcdef+", "device": "cpu", "packages": {"jax": "0.10.2"}}'
    )
