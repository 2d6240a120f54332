"""The decoder by kernels of the CPU against the decoder of every platform."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.packed import can_pack
from jaxreason.models.transformer import for_decoding, forward, init_parameters, unstack_layers

# Float32 sums in another order, over logits and keys of size 1 to 10.
PARITY = 1e-4
LLAMA = ModelConfig(
    vocab_size=67,
    num_layers=2,
    width=48,
    mlp_width=176,
    num_heads=6,
    num_kv_heads=2,
    head_width=16,
    max_positions=256,
)
CONFIGS = {
    'llama': LLAMA,
    'qwen2': dataclasses.replace(LLAMA, qkv_bias=True, tied_head=True, num_heads=4, num_kv_heads=4, mlp_width=96),
    'qwen3': dataclasses.replace(LLAMA, qk_norm=True, head_width=48, windows=(5, 0), num_heads=8, num_kv_heads=1),
    'gemma3': dataclasses.replace(
        LLAMA,
        activation='gelu_tanh',
        unit_offset_norms=True,
        post_norms=True,
        qk_norm=True,
        head_width=32,
        windows=(5, 0),
        local_rope_theta=1000.0,
        query_scale=0.2,
        final_softcap=30.0,
        embedding_scale=48**0.5,
        tied_head=True,
    ),
    'biases': dataclasses.replace(LLAMA, output_bias=True, mlp_bias=True, qkv_bias=True),
}


# Compiling is most of the time of these tests.
@jax.jit(static_argnums=0, compiler_options={'xla_backend_optimization_level': 0})
def run(config, params, tokens, positions, cache):
    hidden, cache = forward(config, params, tokens, positions, cache)
    return lm_logits(config, params, hidden), cache


install = jax.jit(Cache.install)


def drawn_parameters(config):
    """Parameters whose norms and biases are drawn too; by NumPy, which compiles nothing."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        scale = {'kernel': leaf.shape[1] ** -0.5 if leaf.ndim > 1 else 1.0, 'scale': 0.2, 'bias': 0.2}
        values = random.normal(size=leaf.shape) * scale.get(path[-1].key, config.width**-0.5)
        if path[-1].key == 'scale' and not config.unit_offset_norms:
            values += 1.0
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.map_with_path(draw, jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0)))


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model, plain and packed."""

    config: ModelConfig
    plain: dict
    packed: dict

    def check(self, tokens, positions, cache=None):
        """Runs both on the same cache; compares what matters of the logits and all of the caches, and gives the plain one's."""
        tokens, positions = jnp.asarray(tokens), jnp.asarray(positions)
        logits, grown = run(self.config, self.plain, tokens, positions, cache)
        found, packed_grown = run(self.config, self.packed, tokens, positions, cache)
        valid = np.asarray(positions) >= 0
        assert np.abs(np.asarray(logits)[valid]).max() > 0.5
        np.testing.assert_allclose(np.asarray(found)[valid], np.asarray(logits)[valid], atol=PARITY)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=PARITY), packed_grown, grown)
        return grown

    def calls_attention(self, tokens, positions, cache):
        """Whether the packed model attends by a kernel."""
        lowered = run.lower(self.config, self.packed, jnp.asarray(tokens), jnp.asarray(positions), cache)
        return 'jaxreason_attend' in lowered.as_text()


@pytest.fixture(scope='module', params=CONFIGS)
def pair(request):
    config = CONFIGS[request.param]
    params = drawn_parameters(config)
    packed = for_decoding(config, params)
    assert 'layers' not in packed and 'head' not in packed and len(packed['packed_layers']) == config.num_layers
    return Pair(config, unstack_layers(params), packed)


def tokens_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 67, shape)


def test_packed_equals_plain_without_a_cache(pair):
    """Padding on the right of a row, on the left of another, and a row of nothing else."""
    places = np.arange(11)
    positions = np.stack([np.where(places < 8, places, -1), np.maximum(places - 3, -1), np.full(11, -1)])
    pair.check(tokens_of(3, 11), positions)


def prefilled(pair):
    """Prompts of 9 and 10 tokens, in two calls of one shape."""
    past = Cache.empty(pair.config, 2, 1, 0, 32)
    assert pair.calls_attention(tokens_of(2, 8), np.tile(np.arange(8), (2, 1)), past)
    for seed, lengths in enumerate([(5, 8), (4, 2)]):
        places = np.where(np.arange(8) < np.asarray(lengths)[:, None], np.arange(8), -1)
        positions = np.where(places < 0, -1, places + np.asarray(past.next_position())[:, None])
        past = pair.check(tokens_of(2, 8, seed=seed), positions, past)
    assert past.length.tolist() == [9, 10]
    return past


def test_packed_equals_plain_from_prefill_to_decoding(pair):
    cache = install(Cache.empty(pair.config, 2, 3, 32, 32), jnp.arange(2), prefilled(pair))
    assert pair.calls_attention(tokens_of(6, 1), cache.next_position()[:, None], cache)
    # Every row is idle at some time: first in the middle and last, then the others.
    for step, idle in enumerate([(1, 5), (0, 2, 3, 4), (), (4, 5)]):
        positions = np.array(cache.next_position())[:, None]
        positions[list(idle)] = -1
        cache = pair.check(tokens_of(6, 1, seed=step), positions, cache)
    assert cache.length.tolist() == [3, 3, 3, 3, 2, 2]


@pytest.mark.parametrize('pair', ['llama', 'gemma3'], indirect=True)
def test_packed_equals_plain_for_several_tokens_after_a_prompt(pair):
    cache = install(Cache.empty(pair.config, 2, 2, 32, 32), jnp.arange(2), prefilled(pair))
    for seed in range(2):
        positions = np.asarray(cache.next_position())[:, None] + np.arange(4)
        positions[1, 2:], positions[3] = -1, -1
        assert not pair.calls_attention(tokens_of(4, 4), positions, cache)
        cache = pair.check(tokens_of(4, 4, seed=seed), positions, cache)
    assert cache.length.tolist() == [8, 4, 8, 0]


@pytest.mark.parametrize('pair', ['qwen3'], indirect=True)
def test_packed_equals_plain_in_rooms_that_no_kernel_takes(pair):
    cache = install(Cache.empty(pair.config, 2, 2, 10, 32), jnp.arange(2), prefilled(pair))
    assert not pair.calls_attention(tokens_of(4, 1), cache.next_position()[:, None], cache)
    pair.check(tokens_of(4, 1), cache.next_position()[:, None], cache)


@pytest.mark.parametrize(
    'change',
    [{'attention_softcap': 20.0}, {'head_width': 24}, {'width': 40}, {'mlp_width': 100}],
    ids=lambda change: next(iter(change)),
)
def test_what_no_kernel_takes_stays_as_it_is(change):
    config = dataclasses.replace(LLAMA, **change)
    params = drawn_parameters(config)
    kept = for_decoding(config, params)
    assert can_pack(LLAMA) and not can_pack(config)
    assert kept.keys() == params.keys()
    jax.tree.map(np.testing.assert_array_equal, kept, params)


@jax.jit(static_argnums=0)
def run_as_is(config, params, tokens, positions, cache):
    """With the compiler's usual options: bits may depend on them."""
    hidden, cache = forward(config, params, tokens, positions, cache)
    return lm_logits(config, params, hidden), cache


@pytest.mark.parametrize('name, dtype', [('llama', 'float32'), ('llama', 'bfloat16'), ('gemma3', 'bfloat16')])
def test_bits_of_a_row_do_not_depend_on_the_number_of_rows(name, dtype):
    config = dataclasses.replace(CONFIGS[name], parameter_dtype=dtype, matmul_dtype=dtype)
    packed = for_decoding(config, drawn_parameters(config))
    tokens = jnp.asarray(tokens_of(1, 12))
    _, past = run(config, packed, tokens, jnp.arange(12)[None], Cache.empty(config, 1, 1, 0, 32))
    steps = tokens_of(16, 3, seed=1)

    def decode(num_rows, row_room):
        """Logits of row 0 in every step."""
        cache, logits = install(Cache.empty(config, 1, num_rows, 32, row_room), jnp.arange(1), past), []
        for step in range(steps.shape[1]):
            new = jnp.asarray(steps[:num_rows, step : step + 1])
            found, cache = run_as_is(config, packed, new, cache.next_position()[:, None], cache)
            logits.append(np.asarray(found)[0])
        return np.stack(logits)

    alone = decode(1, 32)
    assert np.isfinite(alone).all() and (alone[0] != alone[1]).any()
    for num_rows, row_room in ((3, 32), (16, 96)):
        assert decode(num_rows, row_room).tobytes() == alone.tobytes()
