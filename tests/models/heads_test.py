import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.heads import lm_logits


@pytest.mark.parametrize('tied', [True, False])
def test_logits_are_products_with_the_right_table(llama, tied):
    config = dataclasses.replace(llama.config, tied_head=tied)
    params = {**llama.params, 'head': 2 * llama.params['embedding'][::-1]}
    hidden = jax.random.normal(jax.random.key(0), (2, 3, config.width))
    table = params['embedding'] if tied else params['head']
    np.testing.assert_allclose(lm_logits(config, params, hidden), hidden @ table.T, atol=1e-5)


def test_the_final_cap_bounds_logits_and_bfloat16_gives_float32(llama):
    config = dataclasses.replace(llama.config, final_softcap=3.0, matmul_dtype='bfloat16')
    logits = lm_logits(config, llama.params, 100 * jnp.ones((1, 1, config.width)))
    assert logits.dtype == jnp.float32
    assert 2.9 < float(jnp.max(jnp.abs(logits))) <= 3.0
