import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.attention import Frame, LayerCache, attend, attend_cached
from jaxreason.models.layers import soft_cap

CONFIG = ModelConfig(
    vocab_size=8,
    num_layers=1,
    width=8,
    mlp_width=8,
    num_heads=4,
    num_kv_heads=2,
    head_width=8,
    max_positions=64,
    attention_softcap=2.0,
)
ANGLES = jnp.zeros((6, 3, 4)), jnp.zeros((6, 3, 4))


def by_hand(queries, keys, values, visible):
    """One head, one row, in float64: [c, h], [t, h], [t, h], [c, t]."""
    scores = 2.0 * np.tanh(queries.astype(np.float64) @ keys.T.astype(np.float64) / 2.0)
    weights = np.where(visible, np.exp(scores), 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return weights @ values / np.where(total == 0, 1.0, total)


@pytest.fixture
def arrays():
    """Two slots of three rows: queries, prompt and own keys (time last) and values, and what each query sees of both."""
    shapes = {
        'q': (6, 2, 3, 2, 8),
        'prompt_k': (2, 2, 8, 128),
        'prompt_v': (2, 2, 128, 8),
        'k': (6, 2, 8, 64),
        'v': (6, 2, 64, 8),
    }
    random = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    made['visible'] = random.random((6, 3, 64)) < 0.2
    made['prompt_visible'] = random.random((6, 3, 128)) < 0.2
    made['visible'][4, 1] = made['prompt_visible'][4, 1] = False  # this query sees nothing
    return made


def test_prompt_and_own_keys_share_one_softmax(arrays):
    cache = LayerCache(*(jnp.asarray(arrays[name]) for name in LayerCache._fields))
    frame = Frame(*ANGLES, jnp.asarray(arrays['visible']), jnp.asarray(arrays['prompt_visible']))
    result = attend_cached(CONFIG, jnp.asarray(arrays['q']), cache, frame)
    for row in range(6):
        for head in range(2):
            keys = np.concatenate([arrays['prompt_k'][row // 3, head], arrays['k'][row, head]], axis=1).T
            values = np.concatenate([arrays['prompt_v'][row // 3, head], arrays['v'][row, head]])
            visible = np.concatenate([arrays['prompt_visible'][row], arrays['visible'][row]], axis=1)
            for query in range(2):
                expected = by_hand(arrays['q'][row, head, :, query], keys, values, visible)
                np.testing.assert_allclose(result[row, head, :, query], expected, atol=1e-5)
    assert (result[4, :, 1] == 0).all()


def test_without_a_prompt_part_only_own_keys_count(arrays):
    cache = LayerCache(jnp.zeros((2, 2, 8, 0)), jnp.zeros((2, 2, 0, 8)), jnp.asarray(arrays['k']), jnp.asarray(arrays['v']))
    frame = Frame(*ANGLES, jnp.asarray(arrays['visible']))
    result = attend_cached(CONFIG, jnp.asarray(arrays['q']), cache, frame)
    direct = attend(CONFIG, jnp.asarray(arrays['q']), cache.k, cache.v, frame)
    np.testing.assert_allclose(result, direct, atol=1e-5)
    expected = by_hand(arrays['q'][5, 1, :, 0], arrays['k'][5, 1].T, arrays['v'][5, 1], arrays['visible'][5])
    np.testing.assert_allclose(direct[5, 1, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize('cap', [None, 2.0])
def test_the_gradient_is_that_of_the_formula(arrays, cap):
    """What is written out, against automatic differentiation of a softmax without a peak."""
    config = dataclasses.replace(CONFIG, attention_softcap=cap)
    q, k, v = (jnp.asarray(arrays[name]) for name in ('q', 'k', 'v'))
    visible = jnp.asarray(arrays['visible'])
    mixed = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)

    def formula(q, k, v):
        scores = soft_cap(jnp.einsum('bgcmh,bght->bgcmt', q, k), cap)
        weights = jnp.where(visible[:, None, :, None, :], jnp.exp(scores), 0.0)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        return jnp.einsum('bgcmt,bgth->bgcmh', weights, v) / jnp.where(total == 0, 1.0, total)

    def gradients(function):
        return jax.jit(jax.grad(lambda *inputs: jnp.sum(mixed * function(*inputs)), (0, 1, 2)))(q, k, v)

    found = gradients(lambda q, k, v: attend(config, q, k, v, Frame(*ANGLES, visible)))
    for own, expected in zip(found, gradients(formula), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5, rtol=1e-4)
        assert np.abs(expected).max() > 0.1


def test_huge_scores_do_not_overflow(arrays):
    config = ModelConfig(
        vocab_size=8, num_layers=1, width=8, mlp_width=8, num_heads=4, num_kv_heads=2, head_width=8, max_positions=64
    )
    frame = Frame(*ANGLES, jnp.asarray(arrays['visible']))
    q = jnp.asarray(arrays['q']) * 1e4

    def total(q):
        return jnp.sum(attend(config, q, jnp.asarray(arrays['k']), jnp.asarray(arrays['v']), frame))

    value, slope = jax.value_and_grad(total)(q)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
