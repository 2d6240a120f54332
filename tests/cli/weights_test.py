"""`jaxreason weights`, from its words to what it prints and writes."""

import argparse
import json
import subprocess
import sys

import gguf
import jax
import numpy as np
import pytest

from jaxreason.cli import weights
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models import fetch as fetching
from jaxreason.models.folder import read_checkpoint
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.transformer import init_parameters

CONFIG = ModelConfig(
    vocab_size=6, num_layers=2, width=8, mlp_width=12, num_heads=2, num_kv_heads=1, head_width=4, max_positions=64
)
PIECES = ['<s>', '<end>', 'a', 'b', 'ab', 'c']


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog='jaxreason')
    weights.add_parser(parser.add_subparsers(dest='verb'))
    return weights.run(parser, ['weights', *words])


@pytest.fixture
def parameters():
    shapes = jax.eval_shape(lambda key: init_parameters(CONFIG, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture
def folder(tmp_path, parameters):
    return write_folder(tmp_path / 'model', CONFIG, parameters, eos_ids=(1,), chat_template='{{ messages }}')


@pytest.fixture
def gguf_file(tmp_path, folder):
    """The folder's model as a GGUF file with a tokenizer, and a name that a terminal would obey."""
    from safetensors.numpy import load_file

    path = tmp_path / 'model.gguf'
    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_name('Tiny\x1b[31m model')
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(2)
    writer.add_feed_forward_length(12)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('smollm')
    writer.add_token_list(PIECES)
    writer.add_token_types([3, 3, 1, 1, 1, 1])
    writer.add_token_merges(['a b'])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template('{{ messages }}')
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for name, values in load_file(folder / 'model.safetensors').items():
        for part, heads in (('q_proj', 2), ('k_proj', 1)):
            if part in name:
                values = values.reshape(heads, 2, 2, 8).swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, ('.weight',)) or '', values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_inspect_prints_what_a_folder_is(folder, capsys):
    assert run('inspect', str(folder)) == 0
    printed = capsys.readouterr().out
    for words in (
        'architecture', 'llama', '2 query, 1 key/value, width 4', '8 model, 12 feed-forward', f'{CONFIG.num_parameters:,}',
        'F32 x 21', 'context length', '64', 'present, 14 characters', read_checkpoint(folder).digest,
    ):  # fmt: skip
        assert words in printed, words
    assert [line.split()[1] for line in printed.splitlines() if line.split()[0] == 'tokenizer'] == ['none']


def test_inspect_prints_what_a_gguf_file_is_and_no_control_characters(gguf_file, capsys):
    assert run('inspect', str(gguf_file)) == 0
    printed = capsys.readouterr().out
    assert r'Tiny\x1b[31m model' in printed and '\x1b' not in printed
    assert [line.split()[1] for line in printed.splitlines() if line.split()[0] == 'tokenizer'] == ['present']


@pytest.mark.parametrize(('dtype', 'kind'), [('float32', 'F32'), ('bfloat16', 'BF16')])
def test_export_writes_a_folder_that_reads_back_equal(folder, gguf_file, tmp_path, capsys, dtype, kind):
    out = tmp_path / 'out'
    assert run('export', str(gguf_file), str(out), '--dtype', dtype) == 0
    assert capsys.readouterr().out.strip() == str(out)
    ours, theirs = read_checkpoint(out, dtype), read_checkpoint(folder, dtype)
    assert ours.config == theirs.config and ours.eos_ids == (1,) and ours.bos_id == 0
    assert ours.chat_template == '{{ messages }}'
    assert jax.tree.all(jax.tree.map(np.array_equal, ours.parameters, theirs.parameters))
    added = json.loads((out / 'tokenizer.json').read_text())['added_tokens']
    assert [(entry['id'], entry['content']) for entry in added] == [(0, '<s>'), (1, '<end>')]
    assert json.loads((out / 'tokenizer_config.json').read_text())['eos_token'] == '<end>'
    with pytest.raises(WeightsError, match='exists already'):
        run('export', str(folder), str(out))


def test_export_of_a_folder_copies_its_tokenizer(folder, gguf_file, tmp_path):
    run('export', str(gguf_file), str(tmp_path / 'first'))
    run('export', str(tmp_path / 'first'), str(tmp_path / 'second'))
    first, second = ((tmp_path / name / 'tokenizer.json').read_text() for name in ('first', 'second'))
    assert first == second
    run('export', str(folder), str(tmp_path / 'third'))
    assert not (tmp_path / 'third' / 'tokenizer.json').exists()


def test_fetch_prints_the_path(monkeypatch, tmp_path, capsys):
    asked = []

    def fetch(*words):
        asked.append(words)
        return tmp_path / 'x.gguf'

    monkeypatch.setattr(fetching, 'fetch', fetch)
    assert run('fetch', 'smollm2-135m', '--cache-dir', str(tmp_path)) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / 'x.gguf')
    assert asked == [('smollm2-135m', tmp_path)]


def test_an_unknown_source_is_a_weights_error(tmp_path):
    for words in (('inspect', 'smolm2'), ('export', 'smolm2', str(tmp_path / 'out')), ('fetch', 'smolm2')):
        with pytest.raises(WeightsError, match='did you mean smollm2-135m'):
            run(*words)


def test_help_names_the_presets_and_loads_nothing_heavy(capsys):
    with pytest.raises(SystemExit):
        run('fetch', '--help')
    assert 'smollm2-135m' in capsys.readouterr().out
    program = (
        'import argparse, sys\n'
        'from jaxreason.cli import weights\n'
        'weights.add_parser(argparse.ArgumentParser().add_subparsers())\n'
        'heavy = {"jax", "numpy", "flax", "gguf", "rich", "tokenizers", "safetensors"} & set(sys.modules)\n'
        'sys.exit(f"loaded {heavy}" if heavy else 0)\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)


def test_words_that_are_missing_end_with_a_usage_message(capsys):
    for words in ((), ('inspect',), ('export', 'x'), ('export', 'x', 'y', '--dtype', 'int8')):
        with pytest.raises(SystemExit):
            run(*words)
    assert 'usage: jaxreason weights' in capsys.readouterr().err
