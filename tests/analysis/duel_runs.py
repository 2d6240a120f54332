"""Folders of a duel whose every number is known: what each side gets right is decided by the level of a question."""

import dataclasses
import json
from pathlib import Path

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.records import Block, Record, to_line
from tests.analysis.metrics_test import pool

QUESTIONS = 50  # ten a level, ids in the order of their hardness
SEEDS = (0, 1, 2)
STRATEGIES = {
    'majority': '{kind: majority, n: 16}',
    'greedy': '{kind: greedy}',
    'vote': '{kind: best_of_n, n: 64, verifier: prm}',
    'tree': '{kind: beam_search, n: 16, beam_width: 4, verifier: prm}',
}
# Of ten questions of a level, how many each gets right: levels 1 to 5.
SMALL = {
    ('greedy', 1): (6, 3, 2, 1, 0),
    ('majority', 1): (6, 3, 2, 1, 0),
    ('majority', 4): (8, 4, 3, 1, 0),
    ('majority', 16): (9, 5, 3, 1, 0),
    ('vote', 1): (6, 3, 2, 1, 0),
    ('vote', 4): (9, 6, 3, 1, 0),
    ('vote', 16): (10, 8, 4, 2, 0),
    ('vote', 64): (10, 9, 5, 2, 0),
    ('tree', 4): (7, 5, 5, 3, 1),
    ('tree', 16): (8, 7, 6, 4, 2),
}
LARGE = {
    ('greedy', 1): (9, 7, 5, 5, 4),
    ('majority', 1): (8, 6, 4, 4, 3),
    ('majority', 4): (9, 7, 5, 5, 4),
    ('majority', 16): (9, 8, 6, 6, 5),
}
FLOPS, VERIFY, LARGE_FLOPS = 1_000, 1_000, 14_000  # a solution
ENVIRONMENT = {
    'commit': 'c' * 40,
    'tokenizer': 't' * 64,
    'data': 'd' * 64,
    'prompt': 'p' * 64,
    'weights': 's' * 64,
    'verifiers': {},
    'seeds': list(SEEDS),
}


def question(index):
    return f'q{index:03d}'


def records(right, seeds, price):
    """Within a level the first questions are right, turned by three from seed to seed."""
    return [
        Record(
            question_id=question(index),
            strategy=label,
            n=n,
            budget={},
            seed=seed,
            pool='samples',
            blocks=(
                Block(
                    answer='1',
                    verdict='correct' if (index + 3 * seed * (label != 'greedy')) % 10 < counts[index // 10] else 'wrong',
                    cost={
                        'decode': price * n,
                        'verify': 0 if label in ('greedy', 'majority') else VERIFY * n,
                        'new_tokens': 5 * n,
                    },
                ),
            ),
            votes=(('1', 1.0),),
        )
        for index in range(QUESTIONS)
        for seed in seeds
        for (label, n), counts in right.items()
    ]


def write_run(folder, source, found, environment, strategies):
    folder.mkdir(parents=True)
    (folder / 'records.jsonl').write_text(''.join(f'{to_line(record)}\n' for record in found))
    named = ''.join(f'  {label}: {fields}\n' for label, fields in strategies.items())
    (folder / 'config.yaml').write_text(f'model: {{source: {source}}}\nstrategies:\n{named}')
    (folder / 'environment.json').write_text(json.dumps(environment))


def write_bins(folder, seed=1000):
    """Nine samples a question, so many of them right that ten questions share a level."""
    (folder / 'pools').mkdir(parents=True)
    pools = [
        pool(question(index), ['correct'] * (9 - index // 5) + ['wrong'] * (index // 5), seed=seed)
        for index in range(QUESTIONS)
    ]
    (folder / 'pools' / 'samples.jsonl').write_text(''.join(f'{to_line(each)}\n' for each in pools))
    (folder / 'config.yaml').write_text('model: {source: runs/sft_small}\n')
    (folder / 'environment.json').write_text(json.dumps(ENVIRONMENT))


def architecture(width):
    return ModelConfig(
        family='llama', vocab_size=24, num_layers=2, width=width, mlp_width=3 * width, num_heads=4, num_kv_heads=4,
        head_width=width // 4, max_positions=64,
    )  # fmt: skip


def write_training(folder, width, steps=10, source=None, **settings):
    """Of so many steps of 100 tokens in examples of 20."""
    (folder / 'checkpoints' / '10').mkdir(parents=True)
    model = architecture(width)
    (folder / 'checkpoints' / '10' / 'model.json').write_text(json.dumps({'architecture': dataclasses.asdict(model)}))
    (folder / 'metrics.jsonl').write_text(
        ''.join(json.dumps({'step': step, 'loss': 1.0, 'tokens': 100}) + '\n' for step in range(1, steps + 1))
    )
    began = 'init: {}' if source is None else f'source: {source}'
    (folder / 'config.yaml').write_text(f'model: {{{began}}}\n' + ''.join(f'{key}: {it}\n' for key, it in settings.items()))
    rows = {'number': 10, 'examples': 50, 'tokens': 1000, 'targets': 400, 'fill': 0.9}
    (folder / 'environment.json').write_text(json.dumps({'parameters': model.num_parameters, 'rows': rows, 'commit': 'c'}))


def write_labels(folder):
    folder.mkdir(parents=True)
    (folder / 'summary.json').write_text('{"flops": 12345}')
    (folder / 'config.yaml').write_text('model: {source: runs/sft_small}\n')


def write_duel(base: Path) -> Path:
    """Writes all folders of a duel; returns the path of the configuration that matches them."""
    runs = base / 'runs'
    write_run(runs / 'small', 'runs/sft_small', records(SMALL, SEEDS, FLOPS), ENVIRONMENT, STRATEGIES)
    large = {label: fields for label, fields in STRATEGIES.items() if label in ('greedy', 'majority')}
    write_run(runs / 'large', 'runs/sft_large', records(LARGE, (0,), LARGE_FLOPS), {**ENVIRONMENT, 'weights': 'l' * 64}, large)
    write_bins(runs / 'bins')
    write_training(runs / 'sft_small', 16)
    write_training(runs / 'sft_large', 64)
    write_training(runs / 'prm', 16, source='runs/sft_small')
    write_labels(runs / 'labels')
    path = base / 'duel.yaml'
    path.write_text(
        f'small: {{run: {runs}/small, difficulty: {runs}/bins, strategies: [vote, tree],\n'
        f'  training: [{runs}/sft_small, {runs}/labels, {runs}/prm]}}\n'
        f'large: {{run: {runs}/large, training: [{runs}/sft_large]}}\n'
        'size_ratio: 14\nresamples: 200\nseed: 1\n'
    )
    return path
