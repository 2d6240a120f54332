"""Hugging Face folders: written, read back, and read when something is wrong with them."""

import json
import os
import stat

import jax
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig, RopeScaling
from jaxreason.core.errors import WeightsError
from jaxreason.models import folder_writer
from jaxreason.models.folder import open_weights, read_checkpoint
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.hugging_face import from_parameters
from jaxreason.models.safetensors_file import write_safetensors
from jaxreason.models.transformer import init_parameters, unstack_layers

CONFIG = ModelConfig(
    vocab_size=48,
    num_layers=3,
    width=16,
    mlp_width=24,
    num_heads=4,
    num_kv_heads=2,
    head_width=4,
    max_positions=128,
    rope_scaling=RopeScaling(kind='llama3', factor=8.0, original_max_positions=64),
)
TOKENIZER = json.dumps(
    {'added_tokens': [{'id': 0, 'content': '<end>'}, {'id': 2, 'content': '<start>'}], 'model': {'type': 'BPE'}}
)
INDEX = 'model.safetensors.index.json'


def parameters(config=CONFIG, seed=0):
    shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return unstack_layers(jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes))


def same(left, right) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), left, right))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / 'model', CONFIG, parameters(), tokenizer_json=TOKENIZER, eos_ids=(0, 7), bos_id=2)


@pytest.fixture
def sharded(tmp_path):
    return write_folder(tmp_path / 'sharded', CONFIG, parameters(), max_shard_bytes=4000)


def change_json(path, **changes):
    value = json.loads(path.read_text())
    path.write_text(json.dumps({key: item for key, item in (value | changes).items() if item is not None}))


def refused(path, hint):
    with pytest.raises(WeightsError, match=hint) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and '\n' not in message


def test_a_written_model_is_read_back_equal(folder):
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == CONFIG
    assert same(checkpoint.parameters, parameters())
    assert (checkpoint.eos_ids, checkpoint.bos_id, checkpoint.name) == ((0, 7), 2, 'model')
    assert checkpoint.tokenizer_source == folder
    assert checkpoint.chat_template is None
    assert [path.name for path in folder.parent.iterdir()] == ['model']


def test_files_may_be_read_by_others(folder):
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask


@pytest.mark.parametrize('tied', [True, False])
def test_shards_are_read_back_equal_and_kept_to_their_size(tmp_path, tied):
    config = ModelConfig(**{**vars(CONFIG), 'tied_head': tied, 'windows': ()})
    write_folder(tmp_path / 'model', config, parameters(config), max_shard_bytes=4000)
    shards = sorted(tmp_path.glob('model/*.safetensors'))
    assert len(shards) > 3 and all(path.stat().st_size < 6000 for path in shards)
    checkpoint = read_checkpoint(tmp_path / 'model')
    assert checkpoint.config == config and same(checkpoint.parameters, parameters(config))
    assert checkpoint.tokenizer_source is None and checkpoint.eos_ids == () and checkpoint.bos_id is None


def test_bfloat16_is_written_and_read_without_a_detour(tmp_path):
    config = ModelConfig(**{**vars(CONFIG), 'parameter_dtype': 'bfloat16', 'matmul_dtype': 'bfloat16'})
    brain = jax.tree.map(lambda x: np.asarray(x, jax.numpy.bfloat16), parameters())
    write_folder(tmp_path / 'model', config, brain)
    assert set(open_weights(tmp_path / 'model').kinds.values()) == {'BF16'}
    checkpoint = read_checkpoint(tmp_path / 'model', 'bfloat16')
    assert checkpoint.config == config and same(checkpoint.parameters, brain)
    full = read_checkpoint(tmp_path / 'model')
    assert full.config == CONFIG
    assert same(full.parameters, jax.tree.map(lambda x: x.astype(np.float32), brain))


def test_the_digest_follows_weights_and_configuration_only(tmp_path, folder):
    digest = read_checkpoint(folder).digest
    assert digest == open_weights(folder).digest() and len(digest) == 64
    (folder / 'README.md').write_text('other')
    assert open_weights(folder).digest() == digest
    other, same_again = (
        write_folder(tmp_path / name, CONFIG, parameters(seed=seed), tokenizer_json=TOKENIZER, eos_ids=(0, 7), bos_id=2)
        for name, seed in (('other', 1), ('again', 0))
    )
    assert open_weights(other).digest() != digest
    assert open_weights(same_again).digest() == digest
    change_json(folder / 'config.json', rope_theta=20_000.0)
    assert open_weights(folder).digest() != digest


@pytest.mark.parametrize(
    'name, text',
    [
        ('generation_config.json', '{"eos_token_id": 7}'),
        ('tokenizer.json', '{}'),
        ('tokenizer_config.json', '{"add_bos_token": true}'),
        ('chat_template.jinja', '{{ a }}'),
        ('chat_template.json', '{"chat_template": "{{ a }}"}'),
    ],
)
def test_the_digest_follows_what_decides_ids_prompts_and_ends(folder, name, text):
    before = open_weights(folder).digest()
    (folder / name).write_text(text)
    assert open_weights(folder).digest() != before


def test_generation_settings_are_read_and_win_over_the_configuration(folder):
    change_json(folder / 'generation_config.json', temperature=0.6, top_p=0.9, eos_token_id=[5, 0, 5], bos_token_id=None)
    weights = open_weights(folder)
    assert weights.eos_ids == (5, 0) and weights.bos_id == 2
    assert (weights.generation['temperature'], weights.generation['top_p']) == (0.6, 0.9)
    (folder / 'generation_config.json').unlink()
    assert open_weights(folder).eos_ids == (0, 7) and dict(open_weights(folder).generation) == {}


@pytest.mark.parametrize('value', [-1, 48, 'x', 1.5, True, [0, 99]])
def test_end_tokens_outside_the_vocabulary_are_an_error(folder, value):
    change_json(folder / 'generation_config.json', eos_token_id=value)
    refused(folder, 'eos_token_id must be a token of the vocabulary, 0 to 47')


def test_the_chat_template_is_found_wherever_it_is(folder):
    change_json(folder / 'tokenizer_config.json', chat_template='{{ a }}')
    assert open_weights(folder).chat_template == '{{ a }}'
    several = [{'name': 'rag', 'template': 'no'}, {'name': 'default', 'template': 'yes'}]
    change_json(folder / 'tokenizer_config.json', chat_template=several)
    assert open_weights(folder).chat_template == 'yes'
    (folder / 'chat_template.jinja').write_text('own')
    assert open_weights(folder).chat_template == 'own'
    (folder / 'chat_template.jinja').unlink()
    change_json(folder / 'tokenizer_config.json', chat_template=3)
    refused(folder, 'chat_template must be text, got int')
    change_json(folder / 'tokenizer_config.json', chat_template=None)
    (folder / 'chat_template.json').write_text('{"chat_template": "apart"}')
    assert open_weights(folder).chat_template == 'apart'


PHI3 = {
    'model_type': 'phi3',
    'rope_scaling': {'type': 'longrope', 'short_factor': [1.0, 1.0], 'long_factor': [2.0, 3.0]},
    'original_max_position_embeddings': 64,
}


def fused(tensors):
    """The same weights under Phi-3's names, which hold several projections in one tensor."""
    for layer in range(CONFIG.num_layers):
        for part, names, whole in (('self_attn', 'qkv', 'qkv'), ('mlp', ('gate', 'up'), 'gate_up')):
            path = f'model.layers.{layer}.{part}'
            tensors[f'{path}.{whole}_proj.weight'] = np.concatenate([tensors.pop(f'{path}.{n}_proj.weight') for n in names])
    return tensors


@pytest.mark.parametrize('max_context, long', [(None, False), (64, False), (65, True)])
def test_longrope_takes_its_long_factors_where_the_context_will_need_them(tmp_path, max_context, long):
    folder = write_folder(tmp_path / 'phi3', CONFIG, parameters())
    change_json(folder / 'config.json', **PHI3)
    phi3 = ModelConfig.from_hugging_face(json.loads((folder / 'config.json').read_text()))
    write_safetensors(folder / 'model.safetensors', fused(from_parameters(CONFIG, parameters())))
    checkpoint = read_checkpoint(folder, max_context=max_context)
    assert checkpoint.config.rope_scaling is not None and checkpoint.config.rope_scaling.long_context is long
    assert checkpoint.config == phi3.for_context(max_context or 1)
    assert checkpoint.config.max_context == (128 if long else 64)
    assert same(checkpoint.parameters, parameters())


def test_the_tokenizer_configuration_names_special_tokens(tmp_path):
    path = write_folder(
        tmp_path / 'm', CONFIG, parameters(), tokenizer_json=TOKENIZER, eos_ids=(0,), bos_id=2, chat_template='{{ a }}'
    )
    settings = json.loads((path / 'tokenizer_config.json').read_text())
    assert (settings['eos_token'], settings['bos_token'], settings['chat_template']) == ('<end>', '<start>', '{{ a }}')
    assert (path / 'tokenizer.json').read_text() == TOKENIZER
    assert open_weights(path).chat_template == '{{ a }}'


def test_a_shard_under_any_single_name_is_enough(folder):
    (folder / 'model.safetensors').rename(folder / 'weights.safetensors')
    assert same(read_checkpoint(folder).parameters, parameters())
    (folder / 'second.safetensors').write_bytes(b'')
    refused(folder, '2 safetensors files without model.safetensors.index.json')


def test_missing_weights_are_named(folder, sharded):
    (folder / 'model.safetensors').unlink()
    refused(folder, 'found no weights')
    shard = sorted(sharded.glob('*.safetensors'))[1]
    shard.unlink()
    refused(sharded, f'{shard.name}: missing')


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'model.pt', 'model.pth', 'model.ckpt'])
def test_pickled_weights_are_refused_and_not_opened(folder, name):
    (folder / 'model.safetensors').rename(folder / name)
    refused(folder, 'pickled weights may run code and are refused')
    with pytest.raises(WeightsError, match='refused; convert them to safetensors'):
        read_checkpoint(folder / name)


def test_truncated_weights_are_named(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, 'model.safetensors: .*cut short')


def test_a_flipped_bit_changes_the_digest(folder):
    before = read_checkpoint(folder).digest
    path = folder / 'model.safetensors'
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    assert read_checkpoint(folder).digest != before


@pytest.mark.parametrize(
    'name', ['../other.safetensors', '/etc/passwd', 'a/b.safetensors', '..', 'x.bin', '.hidden.safetensors', '']
)
def test_an_index_may_name_plain_files_of_the_folder_only(sharded, name):
    index = sharded / INDEX
    weight_map = json.loads(index.read_text())['weight_map']
    change_json(index, weight_map=weight_map | {'model.norm.weight': name})
    refused(sharded, 'expected plain names of safetensors files')


def test_an_index_that_disagrees_with_its_shards_is_an_error(sharded):
    index = sharded / INDEX
    weight_map = json.loads(index.read_text())['weight_map']
    first = min(weight_map.values())
    change_json(index, weight_map=weight_map | {'model.other.weight': first})
    refused(sharded, "disagree about tensor 'model.other.weight'")
    change_json(index, weight_map={name: shard for name, shard in weight_map.items() if name != 'model.norm.weight'})
    refused(sharded, "disagree about tensor 'model.norm.weight'")
    values: tuple[object, ...] = ({}, [], 'x', None)
    for value in values:
        change_json(index, weight_map=value)
        refused(sharded, 'expected an object weight_map')


@pytest.mark.parametrize('content', [b'', b'[]', b'{', b'\xff\xfe', b'{"a": ' * 100_000, b'null'])
def test_a_damaged_configuration_is_named(folder, content):
    (folder / 'config.json').write_bytes(content)
    refused(folder, 'config.json: expected')


@pytest.mark.parametrize(
    ('changes', 'hint'),
    [
        ({'auto_map': {'AutoModel': 'evil.Model'}}, 'config.json: auto_map'),
        ({'quantization_config': {'quant_method': 'gptq'}}, 'quantised safetensors are not supported'),
        ({'model_type': 'mamba'}, 'model_type must be one of'),
        ({'num_attention_heads': 0}, 'num_attention_heads'),
        ({'num_hidden_layers': 4}, 'is missing'),
        ({'num_hidden_layers': 2}, 'is not part of'),
        ({'tie_word_embeddings': True}, 'lm_head.weight differs'),
        ({'hidden_size': None}, 'hidden_size is missing'),
    ],
)
def test_a_configuration_that_does_not_fit_is_an_error(folder, changes, hint):
    change_json(folder / 'config.json', **changes)
    refused(folder, hint)


def test_a_transposed_tensor_and_a_nan_are_named(tmp_path, folder):
    tensors = {name: reader().copy() for name, reader in open_weights(folder).tensors.items()}  # the file is written over
    name = 'model.layers.1.mlp.up_proj.weight'
    for values, hint in ((tensors[name].T, 'transposed'), (np.full_like(tensors[name], np.nan), 'NaN')):
        write_safetensors(folder / 'model.safetensors', tensors | {name: values})
        refused(folder, f'{name}: .*{hint}')


def test_paths_that_are_no_model_are_errors(tmp_path):
    (tmp_path / 'file.txt').write_text('x')
    for name, hint in (
        ('absent', 'no such folder or file'),
        ('file.txt', 'expected a Hugging Face folder'),
        ('', 'config.json'),
    ):
        refused(tmp_path / name, hint)


def test_writing_never_replaces_what_is_there(tmp_path, folder):
    before = open_weights(folder).digest()
    for path in (folder, folder / 'config.json'):
        with pytest.raises(WeightsError, match='exists already'):
            write_folder(path, CONFIG, parameters(seed=1))
    assert open_weights(folder).digest() == before
    (tmp_path / 'empty').mkdir()
    write_folder(tmp_path / 'empty', CONFIG, parameters())


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, tensors):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_writer, 'write_safetensors', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / 'model', CONFIG, parameters())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_an_error(tmp_path):
    family = ModelConfig(**{**vars(CONFIG), 'family': 'qwen2', 'windows': ()})
    with pytest.raises(WeightsError, match='llama family'):
        write_folder(tmp_path / 'a', family, parameters(family))
    with pytest.raises(WeightsError, match='tokenizer.json to write is damaged'):
        write_folder(tmp_path / 'b', CONFIG, parameters(), tokenizer_json='{')
    (tmp_path / 'file').write_text('')
    with pytest.raises(WeightsError, match='cannot be written'):
        write_folder(tmp_path / 'file' / 'c', CONFIG, parameters())
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_run_without_a_checkpoint_says_so(tmp_path):
    (tmp_path / 'config.yaml').write_text('seed: 0\n')
    with pytest.raises(WeightsError, match=r'a run that has no checkpoint \(yet\)'):
        open_weights(tmp_path)


def test_a_missing_configuration_is_named_once(tmp_path):
    with pytest.raises(WeightsError) as raised:
        open_weights(tmp_path)
    assert str(raised.value).count('config.json') == 1 and str(raised.value).count('fetch the folder') == 1
