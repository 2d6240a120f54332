"""Keys and values of many tokens written into a cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.kernels.storing import append
from jaxreason.models.layers import rotate

B, C, N, G, ROOM = 3, 7, 4, 2, 32


@jax.jit
def appended(projections, cos, sin, k, v, at):
    return append(projections, cos, sin, k, v, at)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('h, half', [(16, 8), (64, 32), (48, 12), (32, 0)])
def test_keys_and_values_lie_where_they_belong_and_nothing_else_changes(h, half, dtype):
    random = np.random.default_rng(h)
    projections = random.normal(size=(B, C, (N + 2 * G) * h)).astype(np.float32)
    angles = 9 * random.normal(size=(B, C, half)).astype(np.float32)
    k, v = (jnp.asarray(random.normal(size=shape), dtype) for shape in ((B, G, h, ROOM), (B, G, ROOM, h)))
    # Rows begin at different times, one token of each is padding, and one would lie beyond the room.
    at = np.arange(C)[None] + np.array([[0], [9], [ROOM - C + 1]])
    at[:, 2] = ROOM
    heads = projections.reshape(B, C, -1, h)
    keys = np.asarray(rotate(heads[:, :, N : N + G], np.cos(angles), np.sin(angles)))
    exact_k, exact_v = np.array(k, np.float32), np.array(v, np.float32)
    for row in range(B):
        for token in range(C):
            if at[row, token] < ROOM:
                exact_k[row, :, :, at[row, token]] = keys[row, token]
                exact_v[row, :, at[row, token]] = heads[row, token, N + G :]
    new_k, new_v = appended(projections, np.cos(angles), np.sin(angles), k, v, at.astype(np.int32))
    assert new_v.dtype == jnp.dtype(dtype) and np.asarray(new_v).tobytes() == exact_v.astype(dtype).tobytes()
    rounding = 2.0**-8 if dtype == 'bfloat16' else 1e-6
    np.testing.assert_allclose(
        np.asarray(new_k, np.float32), exact_k.astype(new_k.dtype).astype(np.float32), rtol=rounding, atol=1e-6
    )
