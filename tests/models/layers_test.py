import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig, RopeScaling
from jaxreason.models.layers import product, rotary_angles, rotary_frequencies, rotate, soft_cap

CONFIG = ModelConfig(
    vocab_size=8, num_layers=1, width=8, mlp_width=8, num_heads=1, num_kv_heads=1, head_width=64, max_positions=64
)


def scaled(**fields) -> ModelConfig:
    return dataclasses.replace(CONFIG, rope_scaling=RopeScaling(**fields))


def test_frequencies_fall_from_one_by_powers_of_the_base():
    frequencies, amplitude = rotary_frequencies(CONFIG, False)
    assert frequencies.dtype == np.float32
    assert (frequencies[0], amplitude) == (1.0, 1.0)
    np.testing.assert_allclose(frequencies[1:] / frequencies[:-1], 10_000 ** (-1 / 32), rtol=1e-5)


def test_llama3_stretches_slow_frequencies_only():
    plain, _ = rotary_frequencies(CONFIG, False)
    config = scaled(kind='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=1024)
    stretched, _ = rotary_frequencies(config, False)
    turns = 1024 * plain / (2 * math.pi)
    np.testing.assert_allclose(stretched[turns > 4], plain[turns > 4])
    np.testing.assert_allclose(stretched[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert ((stretched < plain) & (stretched > plain / 8))[between].all()


def test_longrope_takes_the_list_that_the_config_says():
    fields = {'kind': 'longrope', 'factor': 32.0, 'original_max_positions': 4096}
    fields |= {'short_factor': (1.0,) * 32, 'long_factor': (4.0,) * 32}
    plain, _ = rotary_frequencies(CONFIG, False)
    short, amplitude = rotary_frequencies(scaled(**fields), False)
    long, _ = rotary_frequencies(scaled(**fields, long_context=True), False)
    np.testing.assert_allclose(short, plain)
    np.testing.assert_allclose(long, plain / 4)
    assert amplitude == pytest.approx(math.sqrt(1 + math.log(32) / math.log(4096)))
    assert rotary_frequencies(scaled(**fields, attention_factor=1.5), False)[1] == 1.5


def test_the_local_base_is_never_stretched():
    config = dataclasses.replace(scaled(kind='linear', factor=8.0), local_rope_theta=100.0)
    np.testing.assert_allclose(rotary_frequencies(config, True)[0][16], 0.1, rtol=1e-6)
    np.testing.assert_allclose(rotary_frequencies(config, False)[0][0], 1 / 8)


def test_rotated_products_depend_on_distance_only():
    config = dataclasses.replace(CONFIG, rotary_fraction=0.5)
    q, k = jax.random.normal(jax.random.key(0), (2, 64))

    def score(first: int, second: int) -> float:
        rotated = [
            rotate(x[None, None, None], *rotary_angles(config, jnp.array([[position]]), False))[0, 0, 0]
            for x, position in ((q, first), (k, second))
        ]
        np.testing.assert_array_equal(rotated[0][32:], q[32:])
        return float(rotated[0] @ rotated[1])

    assert score(13, 7) == pytest.approx(score(6, 0), abs=1e-4)
    assert score(13, 7) != pytest.approx(score(7, 0), abs=1e-2)


def test_products_accumulate_in_float32():
    """4097 ones: bfloat16 could not tell the sum from 4096."""
    config = dataclasses.replace(CONFIG, matmul_dtype='bfloat16')
    result = product(jnp.ones((1, 4097)), jnp.ones((4097, 1)), 1, config)
    assert result.dtype == jnp.float32
    assert result.item() == 4097


@pytest.mark.parametrize(
    ('x', 'w', 'axes', 'last'),
    [((2, 3, 8), (8, 4, 5), 1, False), ((2, 3, 4, 5), (4, 5, 8), 2, False), ((2, 3, 8), (24, 8), 1, True)],
    ids=['heads', 'from heads', 'logits'],
)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_gradient_of_a_product_is_that_of_einsum(x, w, axes, last, dtype):
    random = np.random.default_rng(0)
    x, w = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in (x, w))
    config = dataclasses.replace(CONFIG, matmul_dtype=dtype)
    dimensions = (tuple(range(x.ndim - axes, x.ndim)), tuple(range(w.ndim - axes, w.ndim) if last else range(axes)))
    expected, back = jax.vjp(lambda x, w: jnp.tensordot(x, w, dimensions, precision='highest'), x, w)
    y, own_back = jax.vjp(lambda x, w: product(x, w, axes, config, last), x, w)
    dy = jnp.asarray(random.normal(size=y.shape), jnp.float32)
    tolerance = 1e-5 if dtype == 'float32' else 0.1  # operands of eight bits, some twenty terms
    for own, exact in zip((y, *own_back(dy)), (expected, *back(dy)), strict=True):
        assert own.dtype == jnp.float32 and np.any(own != own.astype(jnp.bfloat16)), 'not rounded to the operands'
        np.testing.assert_allclose(own, exact, atol=tolerance)


def test_soft_cap_bounds_and_keeps_small_values():
    capped = soft_cap(jnp.array([0.1, -1000.0]), 30.0)
    np.testing.assert_allclose(capped, [0.1, -30.0], rtol=1e-4)
    assert soft_cap(jnp.array([1e9]), None).item() == 1e9
