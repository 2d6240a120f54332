"""Rows of a cache copied in place."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.kernels.copying import copy_rows

SHAPE = 6, 3, 4, 64


@functools.partial(jax.jit, donate_argnums=0)
def copied(target, source, from_p, to_p, count):
    return copy_rows(target, source, from_p, to_p, count)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('within', [False, True])
def test_rows_are_copied_and_nothing_else(dtype, within):
    random = np.random.default_rng(0)
    target = jnp.asarray(random.normal(size=SHAPE), dtype)
    source = None if within else jnp.asarray(random.normal(size=(9, *SHAPE[1:])), dtype)
    before, others = np.asarray(target).copy(), np.asarray(target if source is None else source).copy()
    # The last pair is not meant; the third takes the place that the first was read from.
    from_p, to_p = np.array([4, 0, 3, 2], np.int32), np.array([5, 1, 4, 0], np.int32)
    found = np.asarray(copied(target, source, from_p, to_p, np.int32(3)))
    expected = before.copy()
    expected[to_p[:3]] = others[from_p[:3]]
    assert found.tobytes() == expected.tobytes()


def test_no_rows_are_none():
    target = jnp.ones(SHAPE)
    np.testing.assert_array_equal(
        copied(target, None, np.zeros(4, np.int32), np.ones(4, np.int32), np.int32(0)), np.ones(SHAPE)
    )
