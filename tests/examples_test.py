"""The examples run as they stand, do what they claim, are short, and are what their README shows."""

import dataclasses
import json
import re
import runpy
import string
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxreason as jr
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.types import Row
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.hugging_face import from_parameters, to_parameters
from jaxreason.models.safetensors_file import write_safetensors
from jaxreason.models.tokenizer_writer import character_files
from jaxreason.models.transformer import init_parameters

EXAMPLES = Path(__file__).parents[1] / 'examples'
NAMES = ('add_strategy', 'add_prm', 'add_model')
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + ' \n'
TEMPLATE = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:'
CONFIG = ModelConfig(
    vocab_size=3 + len(CHARACTERS),
    num_layers=2,
    width=32,
    mlp_width=48,
    num_heads=4,
    num_kv_heads=2,
    head_width=8,
    max_positions=1024,
)
MULTIPLIERS = {'embedding_multiplier': 12.0, 'attention_multiplier': 0.02, 'residual_multiplier': 0.22, 'logits_scaling': 8.0}


def random_parameters(config, scale=1.0):
    shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda leaf: (scale * rng.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5).astype(np.float32)  # noqa: E731
    return jax.tree.map(draw, shapes)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A random policy that can be chatted with."""
    folder = tmp_path_factory.mktemp('examples') / 'model'
    tokenizer = character_files(CHARACTERS)['tokenizer.json']
    parts = {'tokenizer_json': tokenizer, 'chat_template': TEMPLATE, 'eos_ids': (2,), 'bos_id': 1}
    return write_folder(folder, CONFIG, random_parameters(CONFIG), **parts)


@pytest.fixture
def run(monkeypatch):
    """Runs an example with arguments, as a command would; returns what it defines."""

    def example(name, *words):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        return runpy.run_path(str(EXAMPLES / f'{name}.py'), run_name='__main__')

    return example


@pytest.mark.parametrize('name', NAMES)
def test_an_example_is_thirty_lines_and_its_readme_shows_it(name):
    text = (EXAMPLES / f'{name}.py').read_text()
    assert len(text.splitlines()) <= 30
    shown = re.findall(r'```python\n(.*?)```\n', (EXAMPLES / 'README.md').read_text(), re.DOTALL)
    assert text in shown and len(shown) == len(NAMES)


def test_a_strategy_stops_where_the_first_agree(run, model, capsys):
    defined = run('add_strategy', model)
    assert re.match(r'.* of \d solutions, ', capsys.readouterr().out)
    early, sampler, question = defined['EarlyMajority'], defined['sampler'], 'What is 2 + 3?'
    (alone,) = early(k=1, generations=4).solve([question], sampler)
    (whole,) = jr.Majority(n=4).solve([question], sampler)
    assert [c.tokens for c in alone.candidates] == [whole.candidates[0].tokens]
    assert alone.cost.flops < whole.cost.flops
    # With answers that differ from draw to draw, it goes on with the draws that a vote of all would have made.
    saying = dataclasses.replace(sampler, prompt=dataclasses.replace(sampler.prompt, answer_format='last_line'))
    (both,) = early(k=2, generations=4).solve([question], saying)
    (all_four,) = jr.Majority(n=4).solve([question], saying)
    answers = [candidate.answer for candidate in all_four.candidates]
    expected = 2 if answers[0] == answers[1] else 4
    assert [c.tokens for c in both.candidates] == [c.tokens for c in all_four.candidates[:expected]]
    assert expected == 4 and (both.answer, both.votes) == (all_four.answer, all_four.votes)


def test_a_verifier_counts_wrong_equations(run, model, capsys):
    defined = run('add_prm', model)
    assert '(1.0' in capsys.readouterr().out
    verifier = defined['Arithmetic']()
    steps = ('5 + 3 = 8.\n', '8 * 2 = 15\n', 'So 15 - 20 = -5, and 12.5 + 1 = 2.\n')
    row = Row(handle=0, question=jr.Question('q', 'x'), sample=0, steps=steps)
    assert verifier.score([row], None).scores == [(1.0, 0.1, 0.1)]
    assert verifier.score([dataclasses.replace(row, steps=())], None).scores == [()]


def test_a_model_with_multipliers_becomes_a_llama(run, tmp_path):
    """Against our own decoder, which has two of the multipliers; with the others, `examples_parity` asks transformers."""
    source = granite(tmp_path / 'granite', {**MULTIPLIERS, 'residual_multiplier': 1.0})
    defined = run('add_model', source, tmp_path / 'llama')
    tied = dataclasses.replace(CONFIG, tied_head=True, embedding_scale=12.0, query_scale=0.02)
    tensors = {name: file.tensor(name) for file in defined['files'] for name in file.tensors}
    lm = jr.load(tmp_path / 'llama')
    expected = dataclasses.replace(lm, config=tied, params=to_parameters(tied, tensors)).logits([[1, 5, 9]]) / 8.0
    found = lm.logits([[1, 5, 9]])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert lm.need_tokenizer().encode('a1') and lm.eos_ids == (2,)


def granite(folder, multipliers):
    """A random model as IBM publishes its own."""
    config = dataclasses.replace(CONFIG, tied_head=True)
    folder.mkdir()
    told = {**config.to_hugging_face(), **multipliers, 'model_type': 'granite', 'eos_token_id': 2}
    (folder / 'config.json').write_text(json.dumps(told))
    for name, text in character_files(CHARACTERS).items():
        (folder / name).write_text(text)
    write_safetensors(folder / 'model.safetensors', from_parameters(config, random_parameters(config, scale=3.0)))
    return folder
