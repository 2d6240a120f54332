import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.heads import lm_logits
from jaxreason.models.transformer import forward, init_parameters, stack_layers, unstack_layers

# Float32 sums in another order, over logits of size 1 to 10.
PARITY = 2e-4


def unstacked(model):
    return dataclasses.replace(model, params=unstack_layers(model.params))


def test_logits_equal_the_reference(golden):
    """Rows padded on the right, and the first row once more, padded on the left."""
    padding = 3
    right = np.pad(golden.tokens, ((0, 0), (0, padding)), constant_values=9)
    left = np.pad(golden.tokens[:1], ((0, 0), (padding, 0)), constant_values=9)
    time = golden.tokens.shape[1]
    positions = np.pad(np.arange(time), (0, padding), constant_values=-1), np.maximum(np.arange(-padding, time), -1)
    logits, _ = golden.run(np.concatenate([right, left]), np.stack([positions[0], positions[0], positions[1]]))
    np.testing.assert_allclose(logits[:2, :time], golden.logits, atol=PARITY)
    np.testing.assert_allclose(logits[2:, padding:], golden.left_padded_logits, atol=PARITY)


def test_scanned_and_unrolled_layers_agree(plain_or_windowed):
    model = plain_or_windowed
    np.testing.assert_allclose(model.run(model.tokens)[0], unstacked(model).run(model.tokens)[0], atol=1e-4)


def test_padding_in_the_middle_and_on_the_right_changes_nothing(windowed):
    time = windowed.tokens.shape[1]
    tokens, positions = np.zeros((1, time + 7), np.int32), np.full((1, time + 7), -1, np.int32)
    places = np.r_[0:6, 9:14, 15 : time + 4]
    tokens[:, places], positions[:, places] = windowed.tokens[:1], np.arange(time)
    np.testing.assert_allclose(windowed.run(tokens, positions)[0][:, places], windowed.logits[:1], atol=PARITY)


def test_prefill_and_decode_equal_the_reference(golden):
    _check_prefill_and_decode(unstacked(golden))


def test_stacked_prefill_and_decode_equal_the_reference(plain_or_windowed):
    _check_prefill_and_decode(plain_or_windowed)


def _check_prefill_and_decode(model):
    """Prompts of two lengths, two rows on each, past the window and across the prompt's end."""
    tokens, logits = model.tokens, model.logits
    first, cache = model.prefill(tokens[:, :11], [11, 7], rows_per_slot=2)
    np.testing.assert_allclose(first[0], logits[0, :11], atol=PARITY)
    np.testing.assert_allclose(first[1, :7], logits[1, :7], atol=PARITY)
    rest, _ = model.decode(cache, np.stack([tokens[0, 11:], tokens[0, 11:], tokens[1, 7:16], tokens[1, 7:16]]))
    for row, reference in enumerate([logits[0, 11:], logits[0, 11:], logits[1, 7:16], logits[1, 7:16]]):
        np.testing.assert_allclose(rest[row], reference, atol=PARITY)


def test_several_tokens_at_once_equal_one_at_a_time(plain_or_windowed):
    """A verifier scores a whole step at once; short rows are padded on their right."""
    model = plain_or_windowed
    tokens = model.tokens
    _, cache = model.prefill(tokens[:, :4], [4, 4])
    positions = np.array([np.arange(4, 12), [4, 5, 6, -1, -1, -1, -1, -1]])
    first, cache = model.run(tokens[:, 4:12], positions, cache)
    assert cache.length.tolist() == [8, 3]
    second, _ = model.run(
        np.stack([tokens[0, 12:20], tokens[1, 7:15]]), cache.next_position()[:, None] + np.arange(8)[None], cache
    )
    np.testing.assert_allclose(np.concatenate([first[0], second[0]]), model.logits[0, 4:20], atol=PARITY)
    np.testing.assert_allclose(np.concatenate([first[1, :3], second[1]]), model.logits[1, 4:15], atol=PARITY)


def test_no_gradient_from_the_future(plain_or_windowed):
    model = plain_or_windowed
    config, params = model.config, model.params
    tokens = jnp.arange(8)[None] + 3  # distinct, so that a row of the embedding is one position

    @jax.jit
    @jax.grad
    def slope(table):
        hidden, _ = forward(config, {**params, 'embedding': table}, tokens, jnp.arange(8)[None])
        return jnp.sum(jnp.square(hidden[:, 4]))

    by_token = np.abs(slope(params['embedding'])).sum(axis=1)[3:11]
    assert (by_token[5:] == 0).all()
    assert (by_token[:5] > 0).all()


def test_gradients_are_finite_where_a_row_is_all_padding(windowed):
    config, tokens = windowed.config, jnp.asarray(windowed.tokens[:, :6])
    positions = jnp.stack([jnp.arange(6), jnp.full((6,), -1)])

    @jax.jit
    @jax.grad
    def slope(params):
        hidden, _ = forward(config, params, tokens, positions)
        return jnp.sum(jnp.square(lm_logits(config, params, hidden)))

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope(windowed.params)))


def test_rows_do_not_depend_on_their_neighbours(plain_or_windowed):
    model = plain_or_windowed
    tokens = np.repeat(model.tokens[:1], 4, axis=0)
    others = np.concatenate([tokens[:1], np.random.default_rng(0).integers(0, 48, (3, tokens.shape[1]))])
    alone, among = model.run(tokens)[0], model.run(others)[0]
    np.testing.assert_array_equal(alone[0], among[0])
    assert (alone[1] != among[1]).any()


@pytest.mark.parametrize('alien', [48, -1])
def test_a_token_outside_the_vocabulary_spoils_its_own_row_only(llama, alien):
    tokens = llama.tokens.copy()
    tokens[0, 3] = alien
    logits, _ = llama.run(tokens)
    assert np.isnan(logits[0, 3:]).all()
    np.testing.assert_allclose(logits[1], llama.logits[1], atol=PARITY)


def test_bfloat16_runs_and_is_close(plain_or_windowed):
    model = plain_or_windowed
    low = dataclasses.replace(
        model,
        config=dataclasses.replace(model.config, parameter_dtype='bfloat16', matmul_dtype='bfloat16'),
        params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), model.params),
    )
    # bfloat16 keeps 8 bits; a few layers of it leave a few percent of the spread of the logits.
    tolerance = 0.06 * model.logits.std()
    logits, _ = low.run(model.tokens)
    assert logits.dtype == np.float32
    assert np.sqrt(np.mean(np.square(logits - model.logits))) < tolerance
    _, cache = low.prefill(model.tokens[:, :10], [10, 10])
    assert cache.k[0].dtype == jnp.bfloat16
    logits, _ = low.decode(cache, model.tokens[:, 10:14])
    assert np.sqrt(np.mean(np.square(logits - model.logits[:, 10:14]))) < tolerance


def test_stack_and_unstack_are_inverse(llama):
    layers = unstack_layers(llama.params)
    assert len(layers['layers']) == llama.config.num_layers
    for back in (stack_layers(layers), stack_layers(llama.params), stack_layers(unstack_layers(layers))):
        jax.tree.map(np.testing.assert_array_equal, back, llama.params)


@pytest.mark.parametrize('everything', [False, True])
def test_init_parameters_has_the_counted_size(everything):
    config = ModelConfig(
        vocab_size=40,
        num_layers=3,
        width=16,
        mlp_width=24,
        num_heads=4,
        num_kv_heads=2,
        head_width=6,
        max_positions=64,
        qk_norm=everything,
        post_norms=everything,
        qkv_bias=everything,
        output_bias=everything,
        mlp_bias=everything,
        tied_head=everything,
        parameter_dtype='bfloat16',
    )
    params = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == config.num_parameters
    matrices = [leaf.size for path, leaf in jax.tree.leaves_with_path(params['layers']) if path[-1].key == 'kernel']
    assert sum(matrices) + params['embedding'].size == config.matmul_parameters
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('bfloat16')}


def test_every_layer_is_drawn_anew():
    config = ModelConfig(
        vocab_size=400, num_layers=3, width=64, mlp_width=96, num_heads=4, num_kv_heads=2, head_width=16, max_positions=64
    )
    params = init_parameters(config, jax.random.key(0))
    kernels = params['layers']['mlp']['down']['kernel']
    assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).all()
    # Products keep the size of what they are given.
    assert np.std(kernels) == pytest.approx(96**-0.5, rel=0.05)
    assert np.std(params['head']) == pytest.approx(64**-0.5, rel=0.05)
    assert (np.asarray(params['head']) != np.asarray(params['embedding'])).all()
