import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.kernels.norms import rms_norm

EPSILON = 1e-5


def drawn(num_rows, width):
    random = np.random.default_rng(width)
    sizes = 10.0 ** random.integers(-4, 4, (num_rows, 1))
    return (sizes * random.normal(size=(num_rows, width))).astype(np.float32), random.normal(size=width).astype(np.float32)


@pytest.mark.parametrize('dtype, rounding', [('float32', 1e-6), ('bfloat16', 2.0**-8 + 1e-6)])
@pytest.mark.parametrize('num_rows, width', [(1, 16), (3, 48), (33, 576)])
def test_norm_equals_numpy(dtype, rounding, num_rows, width):
    x, scale = drawn(num_rows, width)
    x[0] = 0.0
    out = rms_norm(jnp.asarray(x), jnp.asarray(scale), EPSILON, dtype)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt(np.mean(wide**2, axis=1, keepdims=True) + np.float64(np.float32(EPSILON))) * scale
    assert out.dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(np.asarray(out).astype(np.float64), exact, rtol=rounding, atol=1e-30)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_nan_stays_in_its_row(dtype):
    x, scale = drawn(33, 48)
    spoilt = x.copy()
    spoilt[7, 3] = np.nan
    clean, found = (np.asarray(rms_norm(jnp.asarray(rows), jnp.asarray(scale), EPSILON, dtype)) for rows in (x, spoilt))
    assert np.isnan(found[7].astype(np.float32)).all() and not np.isnan(clean.astype(np.float32)).any()
    others = np.arange(33) != 7
    assert clean[others].tobytes() == found[others].tobytes()


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_bits_of_a_row_do_not_depend_on_the_number_of_rows(dtype):
    x, scale = drawn(33, 48)
    whole, part = (np.asarray(rms_norm(jnp.asarray(rows), jnp.asarray(scale), EPSILON, dtype)) for rows in (x, x[16:19]))
    assert whole[16:19].tobytes() == part.tobytes()
