import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.kernels.products import multiply, multiply_gated, pack, pack_pair

# Sums of float32 over at most 130 terms, against the sum of their sizes.
ROUNDING = 1e-5
HALF = 2.0**-8  # bfloat16 rounds by at most this, relatively
DTYPES = ['float32', 'bfloat16']
ROWS = [1, 2, 11, 12, 13, 25]
FEWER_ROWS = [1, 13]


def compiled(function):
    return jax.jit(function, compiler_options={'xla_backend_optimization_level': 0})


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rounded(x, dtype):
    """float64 of what the dtype keeps."""
    return np.asarray(jnp.asarray(x).astype(dtype)).astype(np.float64)


def bits(x):
    return np.asarray(x).view(np.uint32 if x.dtype == np.float32 else np.uint16)


@compiled
def plain_onto_live(x, w, onto, live):
    packed = pack(w)
    assert packed is not None
    return multiply(x, packed), multiply(x, packed, onto=onto), multiply(x, packed, live=live)


@compiled
def gated(x, gate, up, live):
    packed = pack_pair(gate, up)
    assert packed is not None
    return multiply_gated(x, packed), multiply_gated(x, packed, live=live)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('depth, columns, many_rows', [(2, 33, FEWER_ROWS), (64, 160, ROWS), (130, 7, FEWER_ROWS)])
def test_products_equal_numpy(dtype, depth, columns, many_rows):
    w = drawn(0, depth, columns)
    exact_w = rounded(w, dtype)
    for num_rows in many_rows:
        x, onto, live = drawn(num_rows, num_rows, depth), drawn(1, num_rows, columns), 1 + num_rows // 2
        x[live:] *= 1e3  # of another size than the rows that matter
        plain, added, part = plain_onto_live(x, jnp.asarray(w, dtype), onto, jnp.int32(live))
        exact_x = rounded(x, dtype)
        exact, size = exact_x @ exact_w, np.abs(exact_x) @ np.abs(exact_w)
        assert plain.shape == exact.shape and {y.dtype for y in (plain, added, part)} == {np.dtype('float32')}
        assert (np.abs(plain - exact) <= ROUNDING * size).all()
        assert (np.abs(added - (onto + exact)) <= ROUNDING * (size + np.abs(onto))).all()
        np.testing.assert_array_equal(bits(part)[:live], bits(plain)[:live])


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('depth, columns, many_rows', [(2, 32, FEWER_ROWS), (64, 176, ROWS), (130, 7, FEWER_ROWS)])
def test_gated_products_equal_numpy(dtype, depth, columns, many_rows):
    gate, up = drawn(0, depth, columns), drawn(1, depth, columns)
    exact_gate, exact_up = rounded(gate, dtype), rounded(up, dtype)
    for num_rows in many_rows:
        x, live = drawn(num_rows, num_rows, depth), 1 + num_rows // 2
        whole, part = gated(x, jnp.asarray(gate, dtype), jnp.asarray(up, dtype), jnp.int32(live))
        exact_x = rounded(x, dtype)
        gates, values = exact_x @ exact_gate, exact_x @ exact_up
        size = np.abs(exact_x) @ np.abs(exact_gate) * np.abs(values) + np.abs(gates) * (np.abs(exact_x) @ np.abs(exact_up))
        exact = gates / (1 + np.exp(-gates)) * values
        rounding = HALF * np.abs(exact) if dtype == 'bfloat16' else 0.0
        found = np.asarray(whole).astype(np.float64)
        assert whole.dtype == jnp.dtype(dtype) and found.shape == (num_rows, columns + -columns % 32)
        assert (np.abs(found[:, :columns] - exact) <= ROUNDING * size + rounding + 1e-30).all()
        assert (found[:, columns:] == 0).all()
        np.testing.assert_array_equal(bits(part)[:live], bits(whole)[:live])


@pytest.mark.parametrize('dtype', DTYPES)
def test_bits_of_a_row_do_not_depend_on_other_rows(dtype):
    w, gate, up = (jnp.asarray(drawn(seed, 130, 70), dtype) for seed in range(3))
    x, onto = drawn(3, 25, 130), drawn(4, 25, 70)
    _, added, _ = plain_onto_live(x, w, onto, jnp.int32(25))
    whole, _ = gated(x, gate, up, jnp.int32(25))
    for num_rows in ROWS:
        for live in {1, num_rows}:
            first, last = x[:num_rows].copy(), x[25 - num_rows :].copy()
            first[live:] = np.nan
            plain, more, part = plain_onto_live(first, w, onto[:num_rows], jnp.int32(live))
            np.testing.assert_array_equal(bits(more)[:live], bits(added)[:live])
            np.testing.assert_array_equal(bits(part)[:live], bits(plain)[:live])
            assert np.isnan(plain[live:]).all()
            np.testing.assert_array_equal(bits(gated(first, gate, up, jnp.int32(live))[1])[:live], bits(whole)[:live])
        # The same rows at another place among others.
        moved = plain_onto_live(last, w, onto[25 - num_rows :], jnp.int32(num_rows))[1]
        np.testing.assert_array_equal(bits(moved), bits(added)[25 - num_rows :])


@pytest.mark.parametrize('dtype', DTYPES)
def test_no_live_row_is_no_work(dtype):
    x, w = drawn(0, 3, 64), jnp.asarray(drawn(1, 64, 33), dtype)
    onto = jnp.asarray(drawn(2, 3, 33))
    multiplied = compiled(functools.partial(multiply, w=pack(w)))(x, onto=onto, live=jnp.int32(0))
    assert multiplied.shape == (3, 33)


def test_operands_of_another_dtype_are_rounded_to_that_of_the_weights():
    x, w = drawn(0, 3, 64), drawn(1, 64, 32)
    low = jnp.asarray(x, jnp.bfloat16)
    packed = pack(jnp.asarray(w, jnp.bfloat16))
    np.testing.assert_array_equal(multiply(jnp.asarray(x), packed), multiply(low, packed))
    np.testing.assert_array_equal(multiply(low, pack(jnp.asarray(w))), multiply(low.astype(jnp.float32), pack(jnp.asarray(w))))


@pytest.mark.parametrize('dtype, depth', [('float16', 64), ('bfloat16', 65), ('int32', 64)])
def test_pack_refuses_what_no_kernel_takes(dtype, depth):
    w = jnp.zeros((depth, 32), dtype)
    assert pack(w) is None
    assert pack_pair(w, w) is None


def test_pack_takes_an_odd_depth_in_float32():
    x, w = drawn(0, 3, 65), drawn(1, 65, 32)
    np.testing.assert_allclose(multiply(jnp.asarray(x), pack(jnp.asarray(w))), x @ w, atol=1e-4)


def test_a_large_gate_saturates_without_nan():
    """Gates far below and above what exp can take."""
    x = jnp.asarray([[-1e4, 0.0], [1e4, 0.0], [-95.0, 0.0], [0.0, 0.0]], jnp.float32)
    gate, up = (jnp.asarray(w, jnp.float32) for w in ([[1.0], [0.0]], [[1e-4], [0.0]]))
    out = np.asarray(multiply_gated(x, pack_pair(gate, up)))[:, 0]
    np.testing.assert_allclose(out, [0.0, 1e4, 0.0, 0.0], atol=1e-6, rtol=1e-5)
