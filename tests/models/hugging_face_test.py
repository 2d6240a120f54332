import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.errors import WeightsError
from jaxreason.models.hugging_face import EMBEDDING, HEAD, from_parameters, to_parameters
from jaxreason.models.transformer import init_parameters, unstack_layers

QUERY = 'model.layers.1.self_attn.q_proj.weight'


def assert_equal(found, stacked):
    jax.tree.map(np.testing.assert_array_equal, found, unstack_layers(stacked))


def test_tensors_survive_the_round_trip(golden):
    if golden.config.family == 'phi3':
        with pytest.raises(WeightsError, match='phi3'):
            from_parameters(golden.config, golden.params)
        return
    for params in (golden.params, unstack_layers(golden.params)):
        back = from_parameters(golden.config, params)
        assert set(back) == set(golden.tensors)
        for name, tensor in golden.tensors.items():
            np.testing.assert_array_equal(back[name], tensor.astype(np.float32), err_msg=name)


def test_the_tree_is_that_of_init_parameters(golden):
    drawn = jax.eval_shape(lambda key: init_parameters(golden.config, key), jax.random.key(0))
    assert jax.tree.map(jnp.shape, golden.params) == jax.tree.map(lambda x: x.shape, drawn)


def test_lazy_tensors_are_read_once(llama):
    reads: list[str] = []

    def lazily(name):
        def read():
            reads.append(name)
            return llama.tensors[name]

        return read

    config = dataclasses.replace(llama.config, parameter_dtype='bfloat16')
    params = to_parameters(config, {name: lazily(name) for name in llama.tensors})
    assert sorted(reads) == sorted(llama.tensors)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('bfloat16')}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(params))


def without(name):
    return lambda tensors: tensors.pop(name)


def replaced(name, change):
    def edit(tensors):
        tensors[name] = change(tensors[name])

    return edit


def with_nan(value):
    def change(tensor):
        tensor = tensor.copy()
        tensor.flat[5] = value
        return tensor

    return change


FAULTS = {
    'missing': (without(QUERY), f'tensor {QUERY} is missing'),
    'unexpected': (replaced('model.layers.1.self_attn.q_proj.bias', lambda _: np.zeros(3)), 'q_proj.bias.* is not part of'),
    'extra layer': (replaced('model.layers.2.mlp.up_proj.weight', lambda _: np.zeros(3)), 'layers.2.* is not part of'),
    'transposed': (
        replaced('model.layers.0.mlp.up_proj.weight', np.transpose),
        r'\[32, 36\], found \[36, 32\] \(it is transposed\)',
    ),
    'cropped': (replaced(EMBEDDING, lambda x: x[:-1]), r'embed_tokens.weight: expected shape \[48, 36\], found \[47, 36\]'),
    'nan': (replaced(QUERY, with_nan(np.nan)), f'{QUERY}: expected finite numbers .* found 1 NaN'),
    'infinite': (replaced('model.norm.weight', with_nan(np.inf)), 'model.norm.weight: expected finite'),
    'integers': (replaced(QUERY, lambda x: x.astype(np.int8)), 'expected floating-point numbers .* found int8'),
    'own head': (replaced(HEAD, lambda _: np.ones((48, 36))), 'differs from .* although config.json says tie_word_embeddings'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_damaged_tensors_are_refused(llama, fault):
    edit, message = FAULTS[fault]

    class Edited(dict):
        def __missing__(self, name):
            return None

    tensors = Edited(llama.tensors)
    edit(tensors)
    with pytest.raises(WeightsError, match=message):
        to_parameters(llama.config, tensors)


def test_an_overflow_in_the_cast_is_not_silent(llama):
    tensors = {**llama.tensors, QUERY: llama.tensors[QUERY].astype(np.float64) + 1e300}
    with pytest.raises(WeightsError, match='NaN or infinite'):
        to_parameters(llama.config, tensors)


def test_an_absent_head_is_refused_unless_tied(llama):
    untied = dataclasses.replace(llama.config, tied_head=False)
    with pytest.raises(WeightsError, match='lm_head.weight is missing although config.json does not say tie_word_embeddings'):
        to_parameters(untied, llama.tensors)


def test_a_copy_of_the_tied_head_and_old_rotary_tables_are_fine(llama):
    tensors = {
        **llama.tensors,
        HEAD: llama.tensors[EMBEDDING],
        'model.layers.0.self_attn.rotary_emb.inv_freq': np.ones(2, np.float32),
    }
    assert_equal(to_parameters(llama.config, tensors), llama.params)


@pytest.mark.parametrize('prefix', ['language_model.', 'model.language_model.'])
def test_the_language_half_of_an_image_model_is_found(windowed, prefix):
    bare = 'model.' if prefix.startswith('model.') else ''
    tensors = {prefix + name.removeprefix(bare): tensor for name, tensor in windowed.tensors.items()}
    tensors['vision_tower.encoder.weight'] = np.ones(3)
    assert_equal(to_parameters(windowed.config, tensors), windowed.params)


def test_nothing_is_dropped_from_a_model_without_images(llama):
    with pytest.raises(WeightsError, match='vision_tower.x.* is not part'):
        to_parameters(llama.config, {**llama.tensors, 'vision_tower.x': np.ones(3)})
