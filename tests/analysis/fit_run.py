"""Folders to fit on: best-of-n is better for easy questions and beam search for hard ones, by numbers that are known."""

import hashlib
import json

from jaxreason.allocation.fit_config import FitConfig
from jaxreason.core import config as config_files
from jaxreason.core.records import Pool, PoolCandidate, to_line

CONFIG = """\
model: {source: nano}
seeds: [0, 1]
sampler: {temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, max_tokens: 28, stop: []}
strategies:
  majority: {kind: majority, n: 4}
  best of n: {kind: best_of_n, n: 4, verifier: prm}
  beam: {kind: beam_search, n: 4, beam_width: 2, verifier: prm}
"""
ENVIRONMENT = {
    'weights': 'w' * 64, 'tokenizer': 't' * 64, 'prompt': 'p' * 64, 'data': 'd' * 64, 'seeds': [0, 1],
    'verifiers': {'prm': 'v' * 64}, 'commit': 'c' * 40,
}  # fmt: skip
# Of 100 questions alike so many are right: easy, hard.
CHANCE = {
    ('majority', 1): (60, 5), ('majority', 4): (70, 5), ('best of n', 1): (60, 5), ('best of n', 4): (90, 10),
    ('beam', 4): (60, 50),
}  # fmt: skip
PRICE = {'majority': 100, 'best of n': 110, 'beam': 150}  # FLOPs a solution, beside the prompt
PROMPT = 10
FIT = """\
runs: [%s]
difficulty: %s
budgets: [1, 4]
reference: best of n
reference_n: 4
bins: 2
resamples: 100
estimates:
  votes: {kind: votes, n: 1, cuts: [0.5]}
  known: {kind: known, source: %s, estimate: four}
predicted: four
"""


def is_easy(question):
    return question % 2 == 0


def is_right(cell, question, seed, num_questions):
    """Of the easy, and of the hard questions, exactly the share that is planted; which of them depends on cell and seed.

    One sample is the same sample, whoever votes.
    """
    alike = [other for other in range(num_questions) if is_easy(other) == is_easy(question)]
    order = sorted(alike, key=lambda other: hashlib.sha256(f'{cell[cell[1] == 1 :]}/{other}/{seed}'.encode()).digest())
    return order.index(question) < CHANCE[cell][not is_easy(question)] * len(alike) / 100


def make_records(num_questions, seeds=(0, 1), cells=tuple(CHANCE)):
    return [
        {
            'question_id': f'q{question:03d}', 'strategy': strategy, 'n': n, 'seed': seed, 'budget': {}, 'pool': 'samples',
            'votes': [],
            'blocks': [{
                'answer': '1',
                'verdict': 'correct' if is_right((strategy, n), question, seed, num_questions) else 'wrong',
                'cost': {'prefill': PROMPT, 'decode': PRICE[strategy] * n},
            }],
        }
        for question in range(num_questions) for strategy, n in cells for seed in seeds
    ]  # fmt: skip


def make_pool(question, seed):
    """Samples of which the first names an answer for easy questions only, so that one vote tells the bins apart."""
    answer = '1' if is_easy(question) else None
    candidates = tuple(
        PoolCandidate(
            sample=sample, text='', tokens=(1,), step_ends=(1,), finish='stop', answer=answer,
            verdict='correct' if answer else 'wrong', scores={'prm': (0.9 if answer else 0.2,)}, cost={'decode': 100},
            verified={'prm': {'verify': 10}},
        )
        for sample in range(4)
    )  # fmt: skip
    texts = {'question': '?', 'gold': '1', 'level': '', 'subject': ''}
    return Pool(
        pool='samples', question_id=f'q{question:03d}', seed=seed, cost={'prefill': PROMPT}, candidates=candidates, **texts
    )


def write_run(folder, num_questions=80, seeds=(0, 1), **environment):
    """A finished run of `evaluate`."""
    (folder / 'pools').mkdir(parents=True)
    (folder / 'config.yaml').write_text(CONFIG)
    (folder / 'environment.json').write_text(json.dumps({**ENVIRONMENT, 'seeds': list(seeds), **environment}))
    (folder / 'records.jsonl').write_text(''.join(to_line(each) + '\n' for each in make_records(num_questions, seeds)))
    pools = [make_pool(question, seed) for question in range(num_questions) for seed in seeds]
    (folder / 'pools' / 'samples.jsonl').write_text(''.join(to_line(pool) + '\n' for pool in pools))
    return folder


def write_difficulty(folder, num_questions=80, **environment):
    """A finished run of `difficulty`, under another seed: its oracle knows, and so does what cost 40 FLOPs a question."""
    folder.mkdir(parents=True)
    (folder / 'environment.json').write_text(json.dumps({**ENVIRONMENT, 'seeds': [101], **environment}))
    rows = []
    for question in range(num_questions):
        easy = float(is_easy(question))
        rows.append({
            'question_id': f'q{question:03d}', 'values': {'oracle': easy, 'four': 0.3 + easy}, 'flops': {'oracle': 0, 'four': 40}
        })  # fmt: skip
    (folder / 'difficulty.jsonl').write_text(''.join(to_line(row) + '\n' for row in rows))
    (folder / 'difficulty.json').write_text('{}\n')
    return folder


def write_fit(folder, runs=None, difficulty=None):
    """The configuration of a fit, its runs beside it; returns its path."""
    runs = runs or [write_run(folder / 'run')]
    difficulty = difficulty or write_difficulty(folder / 'bins')
    path = folder / 'fit.yaml'
    names = ', '.join(json.dumps(str(run)) for run in runs)
    path.write_text(FIT % (names, json.dumps(str(difficulty)), json.dumps(str(difficulty))))
    return path


def read_config(path, *overrides) -> FitConfig:
    return config_files.load(FitConfig, path, overrides)
