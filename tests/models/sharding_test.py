import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.sharding import SERVING, TRAINING, cache_shardings, parameter_shardings, product_axes, sharding
from jaxreason.models.transformer import forward, init_parameters, unstack_layers

CONFIG = ModelConfig(
    vocab_size=64,
    num_layers=2,
    width=16,
    mlp_width=32,
    num_heads=8,
    num_kv_heads=4,
    head_width=8,
    max_positions=64,
    qk_norm=True,
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    post_norms=True,
)


def mesh_of(data: int, model: int):
    if len(jax.devices()) < data * model:
        pytest.skip('needs eight devices: XLA_FLAGS=--xla_force_host_platform_device_count=8')
    return jax.make_mesh((data, model), ('data', 'model'), (AxisType.Auto, AxisType.Auto))


@pytest.fixture(scope='module')
def params():
    return init_parameters(CONFIG, jax.random.key(0))


@pytest.mark.parametrize(('rules', 'layout'), [(SERVING, 'unstacked'), (TRAINING, 'stacked')])
def test_sharded_logits_equal_unsharded(params, rules, layout):
    mesh = mesh_of(2, 4)
    params = params if layout == 'stacked' else unstack_layers(params)
    tokens = jax.random.randint(jax.random.key(1), (4, 8), 0, CONFIG.vocab_size)
    positions = jnp.broadcast_to(jnp.arange(8), tokens.shape)

    @jax.jit
    def logits(params, tokens, positions):
        return lm_logits(CONFIG, params, forward(CONFIG, params, tokens, positions)[0])

    whole = logits(params, tokens, positions)
    placed = jax.device_put(params, parameter_shardings(CONFIG, params, mesh, rules))
    rows = jax.device_put((tokens, positions), sharding('tokens', ('rows', 'time'), tokens.shape, mesh, rules))
    split = logits(placed, *rows)
    assert len(split.sharding.device_set) == 8
    assert placed['embedding'].addressable_shards[0].data.shape == (16, 16 if rules is SERVING else 8)
    np.testing.assert_allclose(split, whole, atol=1e-4)


def test_sharded_decode_equals_unsharded(params):
    mesh = mesh_of(2, 4)
    cache = Cache.empty(CONFIG, 2, 2, 64, 64)
    cache = dataclasses.replace(
        cache,
        prompt_k=tuple(jax.random.normal(jax.random.key(index), x.shape) for index, x in enumerate(cache.prompt_k)),
        prompt_v=tuple(jax.random.normal(jax.random.key(9 + index), x.shape) for index, x in enumerate(cache.prompt_v)),
        prompt_length=jnp.array([5, 9]),
    )
    tokens = jnp.array([[3], [4], [5], [6]])
    step = jax.jit(lambda params, cache: forward(CONFIG, params, tokens, cache.next_position()[:, None], cache))
    whole, grown = step(params, cache)
    placed = jax.device_put(params, parameter_shardings(CONFIG, params, mesh))
    split, split_cache = step(placed, jax.device_put(cache, cache_shardings(cache, mesh)))
    np.testing.assert_allclose(split, whole, atol=1e-4)
    np.testing.assert_allclose(split_cache.k[1], grown.k[1], atol=1e-4)


def test_the_axes_of_a_product_are_those_of_its_activations(params):
    def axes(path, leaf):
        return product_axes(tuple(str(getattr(key, 'key', key)) for key in path), leaf.ndim)

    stacked = {jax.tree_util.keystr(path[-2:]): axes(path, leaf) for path, leaf in jax.tree.leaves_with_path(params)}
    assert stacked["['q']['kernel']"] == ((1,), (2, 3)) and stacked["['o']['kernel']"] == ((1, 2), (3,))
    assert stacked["['down']['kernel']"] == ((1,), (2,))
    assert sum(each is not None for each in stacked.values()) == 7
    layers = unstack_layers(params)['layers']
    single = {axes(('layers', *path), leaf) for path, leaf in jax.tree.leaves_with_path(layers)}
    assert single == {None, ((0,), (1,)), ((0,), (1, 2)), ((0, 1), (2,))}


def test_the_table_covers_heads_mlp_and_vocabulary(params):
    specs = jax.tree.map(lambda x: x.spec, parameter_shardings(CONFIG, params, mesh_of(2, 4)))
    assert specs['embedding'] == PartitionSpec('model', None)
    attention = specs['layers']['attention']
    assert attention['q']['kernel'] == PartitionSpec(None, None, 'model', None)
    assert attention['o']['kernel'] == PartitionSpec(None, 'model', None, None)
    assert attention['o']['bias'] == PartitionSpec(None, None)
    assert attention['k']['bias'] == PartitionSpec(None, 'model', None)
    assert specs['layers']['mlp']['down']['kernel'] == PartitionSpec(None, 'model', None)


def test_two_dimensions_on_one_mesh_axis_are_named(params):
    with pytest.raises(ConfigError, match='vocab and width both land on mesh axis model'):
        parameter_shardings(CONFIG, params, mesh_of(2, 4), {**SERVING, 'width': 'model'})


def test_a_mesh_that_does_not_divide_is_impossible(params):
    with pytest.raises(ConfigError, match='impossible mesh: model = 8 does not divide kv_heads = 4 .* may take 1 or 2 or 4,'):
        parameter_shardings(CONFIG, params, mesh_of(1, 8))


def test_the_sizes_that_are_offered_do_for_all_dimensions():
    """SmolLM2-135M: 3 divides its 9 heads, its 3 key/value heads, and the rest; 9 would divide the first only."""
    config = dataclasses.replace(
        CONFIG, num_heads=9, num_kv_heads=3, width=576, head_width=64, mlp_width=1536, vocab_size=49152
    )
    shapes = jax.eval_shape(lambda: init_parameters(config, jax.random.key(0)))
    devices = jax.sharding.AbstractMesh((1, 18), ('data', 'model'))
    with pytest.raises(
        ConfigError, match=r'model = 18 does not divide heads = 9 \(llama model\); of 18 devices model may take 1 or 3,'
    ):
        parameter_shardings(config, shapes, devices)
    for model in (1, 3):
        parameter_shardings(config, shapes, jax.sharding.AbstractMesh((18 // model, model), ('data', 'model')))


def test_a_mesh_without_the_axis_is_refused(params):
    mesh = jax.make_mesh((1,), ('data',), (AxisType.Auto,))
    with pytest.raises(ConfigError, match='split over model, but the mesh has only data'):
        parameter_shardings(CONFIG, params, mesh)
