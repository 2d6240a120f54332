import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import (
    MUON_ITERATIONS,
    attended_keys,
    decode_flops,
    forward_flops,
    head_flops,
    muon_flops,
    prompt_flops,
    training_flops,
)

CONFIG = ModelConfig(
    vocab_size=512, num_layers=1, width=256, mlp_width=704, num_heads=8, num_kv_heads=2, head_width=32, max_positions=4096
)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 30))
def test_attended_keys_is_the_sum_over_tokens(first, count, window):
    expected = sum(min(p + 1, window) if window else p + 1 for p in range(first, first + count))
    assert attended_keys(first, count, window) == expected


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_pieces_add_up(first, a, b):
    whole = forward_flops(CONFIG, first, a + b, a + b)
    assert whole == forward_flops(CONFIG, first, a, a) + forward_flops(CONFIG, first + a, b, b)


def test_a_prompt_and_a_token_by_hand():
    weights = 256 * 32 * (8 + 2 + 2 + 8) + 3 * 256 * 704
    assert prompt_flops(CONFIG, 10) == 2 * 9 * weights + 4 * 45 * 8 * 32
    assert decode_flops(CONFIG, 10, 0, 1) == 2 * weights + 4 * 10 * 8 * 32 + 2 * 256 * 512
    assert head_flops(CONFIG) == 2 * 256 * 512


@pytest.mark.parametrize('tokens', [64, 256])
def test_the_compiler_counts_the_same_on_one_unrolled_layer(tokens):
    """The compiled program does not skip what is masked, so its attention is the full square; norms and softmax are extra."""
    from jaxreason.models.heads import lm_logits
    from jaxreason.models.transformer import forward, init_parameters, unstack_layers

    params = unstack_layers(init_parameters(CONFIG, jax.random.key(0)))
    positions = jnp.arange(tokens, dtype=jnp.int32)[None]

    def run(params, tokens_bt):
        return lm_logits(CONFIG, params, forward(CONFIG, params, tokens_bt, positions)[0])

    cost = jax.jit(run).lower(params, jnp.zeros((1, tokens), jnp.int32)).compile().cost_analysis()
    causal = 4 * attended_keys(0, tokens, 0) * 8 * 32
    square = 4 * tokens * tokens * 8 * 32
    expected = forward_flops(CONFIG, 0, tokens, tokens) - causal + square
    assert expected <= cost['flops'] <= 1.03 * expected


def test_a_training_step_is_three_forward_passes():
    """Against the compiler's count of loss and gradient, which again has the full square of attention."""
    from jaxreason.models.heads import lm_logits
    from jaxreason.models.transformer import forward, init_parameters, unstack_layers

    tokens = 128
    params = jax.eval_shape(lambda key: unstack_layers(init_parameters(CONFIG, key)), jax.random.key(0))
    positions = jnp.arange(tokens, dtype=jnp.int32)[None]

    def loss(params, tokens_bt):
        hidden_btd, _ = forward(CONFIG, params, tokens_bt, positions)
        return jnp.sum(jnp.square(lm_logits(CONFIG, params, hidden_btd)))

    shape = jax.ShapeDtypeStruct((1, tokens), jnp.int32)
    cost = jax.jit(jax.value_and_grad(loss)).lower(params, shape).compile().cost_analysis()
    masked = 4 * (tokens * tokens - attended_keys(0, tokens, 0)) * 8 * 32
    expected = training_flops(CONFIG, tokens) + 3 * masked
    assert expected <= cost['flops'] <= 1.03 * expected


def test_the_compiler_counts_the_same_for_an_update_by_muon():
    from optax.contrib import MuonDimensionNumbers, scale_by_muon

    shapes = [(256, 256), (256, 64), (256, 64), (256, 256), (256, 704), (256, 704), (704, 256)]
    muon = scale_by_muon(ns_steps=MUON_ITERATIONS, weight_dimension_numbers=[MuonDimensionNumbers()] * 7)
    gradients = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    cost = jax.jit(muon.update).lower(gradients, jax.eval_shape(muon.init, gradients)).compile().cost_analysis()
    assert muon_flops(CONFIG) <= cost['flops'] <= 1.03 * muon_flops(CONFIG)
