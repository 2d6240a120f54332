"""A world small enough to run a whole evaluation in a second: a random policy that often names an answer, and six problems."""

import json
import string
from pathlib import Path

import jax
import numpy as np

from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.transformer import init_parameters

SPECIALS = ('<pad>', '<bos>', '<eos>')
# Whole sentences as single tokens: drawn at random they are answers, and nothing that is typed is encoded with them.
SENTENCES = tuple(f'\nThe answer is {number}.\n' for number in range(2, 8))
VOCABULARY = (*SPECIALS, *string.digits, *string.ascii_letters, *' +-*=?.\n', *SENTENCES)
PROBLEMS = [(f'{a}+{b} = ?', str(a + b)) for a, b in ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (5, 2))]
IDS = ['plain', 'with space', 'a/b', '../up', 'ü', 'x' * 300]
CONFIG = """\
seeds: [0, 1]
model: {source: %s}
data: {source: %s}
prompt: {template: raw, step_delimiter: '.', answer_format: plain}
sampler: {temperature: 1.0, max_tokens: 10, num_rows: 4, rows_per_slot: 2, chunk: 3}
strategies:
  majority: {kind: majority, n: 4}
  best of 4, log-prob: {kind: best_of_n, n: 4, verifier: mean_logprob}
  greedy: {kind: greedy}
"""
# One step a call, so that there is time to be killed in; a tree at two sizes, one that is read at two sizes, and chains.
SLOWLY = (
    'sampler.chunk=1',
    'sampler.max_tokens=40',
    'strategies.majority.n=8',
    'strategies.beam={kind: beam_search, n: 4, beam_width: 2, verifier: mean_logprob}',
    'strategies.subtrees={kind: dvts, n: 4, beam_width: 2, verifier: mean_logprob}',
    'strategies.chain={kind: revision, chains: 2, length: 2, vote: majority}',
    'n=[1, 2, 4]',
    'data.limit=4',
)
SLOW_UNITS = 4 * 2 * 6  # questions, seeds; samples, chains4, beam.n2, beam.n4, subtrees.n4, greedy.n1


def write_model(path: Path) -> Path:
    """A random two-layer Llama with a tokenizer over characters."""
    config = ModelConfig(
        vocab_size=len(VOCABULARY),
        num_layers=2,
        width=32,
        mlp_width=48,
        num_heads=4,
        num_kv_heads=2,
        head_width=8,
        max_positions=256,
    )
    shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    parameters = jax.tree.map(lambda leaf: (rng.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5).astype(np.float32), shapes)
    ids = {piece: index for index, piece in enumerate(VOCABULARY)}
    special = {'special': True, 'normalized': False, 'single_word': False, 'lstrip': False, 'rstrip': False}
    tokenizer = {
        'version': '1.0',
        'added_tokens': [{'id': ids[piece], 'content': piece, **special} for piece in SPECIALS],
        'model': {'type': 'BPE', 'vocab': ids, 'merges': []},
    }
    return write_folder(path, config, parameters, tokenizer_json=json.dumps(tokenizer), eos_ids=(2,), bos_id=1)


def write_world(folder: Path) -> Path:
    """Model, problems and configuration; returns the path of the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    model = write_model(folder / 'model')
    rows = [
        {'id': name, 'question': question, 'answer': answer} for name, (question, answer) in zip(IDS, PROBLEMS, strict=True)
    ]
    problems = folder / 'problems.jsonl'
    problems.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    path = folder / 'tiny.yaml'
    path.write_text(CONFIG % (json.dumps(str(model)), json.dumps(str(problems))))
    return path


def read_config(path: Path, *overrides: str) -> EvaluateConfig:
    """The configuration of a world, with overrides."""
    return config_files.load(EvaluateConfig, path, overrides)


def read_lines(path: Path) -> list:
    """The values of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
