import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Question
from jaxreason.engine.mesh import make_mesh
from jaxreason.models.sharding import parameter_shardings
from jaxreason.models.transformer import init_parameters, unstack_layers
from jaxreason.search.majority import Majority

QUESTIONS = [Question(f'q{i}', f'what is {i}+{i * 7}?') for i in range(6)]


@pytest.fixture(scope='module')
def wide(lm):
    """As `lm`, with heads for eight devices."""
    config = dataclasses.replace(
        lm.config, num_heads=16, num_kv_heads=8, head_width=4, vocab_size=lm.config.vocab_size // 8 * 8
    )
    return dataclasses.replace(lm, config=config, params=unstack_layers(init_parameters(config, jax.random.key(7))))


def spread_over(lm, shape):
    mesh = make_mesh(shape)
    return dataclasses.replace(lm, mesh=mesh, params=jax.device_put(lm.params, parameter_shardings(lm.config, lm.params, mesh)))


@pytest.mark.parametrize('data, model', [(8, 1), (4, 2), (2, 4), (1, 8)])
def test_a_mesh_draws_what_one_device_draws(wide, make_sampler, data, model):
    """Eight virtual devices: the same draws; float32 sums over the split width may flip a near-tie, here none does."""
    spread = spread_over(wide, {'data': data, 'model': model})
    sampler = dataclasses.replace(make_sampler(num_rows=16, rows_per_slot=2), lm=wide)
    expected = Majority(n=3).solve(QUESTIONS, sampler, seed=4)
    found = Majority(n=3).solve(QUESTIONS, dataclasses.replace(sampler, lm=spread), seed=4)
    assert [[c.tokens for c in o.candidates] for o in found] == [[c.tokens for c in o.candidates] for o in expected]
    np.testing.assert_allclose(spread.logits([[3, 4, 5]]), wide.logits([[3, 4, 5]]), atol=1e-4)


def test_one_axis_may_take_the_rest():
    assert dict(make_mesh({'model': 2, 'data': -1}).shape) == {'data': 4, 'model': 2}


@pytest.mark.parametrize(
    'shape, match',
    [({'data': 3}, 'needs 3 devices, this process sees 8'), ({'tp': 8}, 'mesh axes are data and model'),
     ({'data': 0}, 'must be at least 1'), ({'data': -1, 'model': -1}, 'one may be -1')],
)  # fmt: skip
def test_an_impossible_mesh_is_refused(shape, match):
    with pytest.raises(ConfigError, match=match):
        make_mesh(shape)


def test_slots_that_a_mesh_does_not_divide_are_refused(lm, make_sampler):
    spread = spread_over(lm, {'data': 8})
    with pytest.raises(ConfigError, match='impossible mesh: data = 8 does not divide slots = 2 .* data may take 1 or 2,'):
        Majority(n=1).solve(QUESTIONS[:1], dataclasses.replace(make_sampler(num_rows=8, rows_per_slot=4), lm=spread))
