"""What an update is: decay, the rate by step, Muon's matrices and AdamW's rest."""

import dataclasses
import math

import jax
import numpy as np
import optax
import pytest

from jaxreason.train.optimiser import OptimiserConfig, decayed, make_optimiser, rate_schedule
from tests.train import world

CONFIG = dataclasses.replace(world.TINY, qkv_bias=True, qk_norm=True, num_kv_heads=1)
# Shape of a layer's matrix as one that maps activations.
MATRICES = {'q': (16, 16), 'k': (16, 8), 'v': (16, 8), 'o': (16, 16), 'gate': (16, 32), 'up': (16, 32), 'down': (32, 16)}


def test_only_matrices_decay():
    params = world.parameters(dataclasses.replace(world.TINY, qkv_bias=True, qk_norm=True))
    flat = {jax.tree_util.keystr(path): mark for path, mark in jax.tree.leaves_with_path(decayed(params))}
    assert {name for name, mark in flat.items() if not mark} == {n for n in flat if 'norm' in n or 'bias' in n}
    assert sum(flat.values()) == 9  # seven products, embedding, head


def test_schedules_rise_then_fall():
    for schedule, last in (('constant', 1.0), ('cosine', 0.1), ('linear', 0.1)):
        rate = rate_schedule(OptimiserConfig(learning_rate=1.0, schedule=schedule, warmup_steps=10), 110)
        rates = [float(rate(step)) for step in range(111)]
        np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10, rtol=1e-5)
        np.testing.assert_allclose([rates[10], rates[110]], [1.0, last], rtol=1e-5)
        assert sorted(rates[10:], reverse=True) == rates[10:]


def config_of(kind):
    return OptimiserConfig(kind=kind, learning_rate=0.01, weight_decay=0.1, warmup_steps=0, clip_norm=None)


def updates_of(kind, gradients, params, rates=None):
    optimiser = make_optimiser(config_of(kind), 10, rates)
    state, found, update = optimiser.init(params), [], jax.jit(optimiser.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        found.append(by_path(updates))
    return found


def by_path(tree):
    return {tuple(key.key for key in path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def matrices(found):
    """Stacked matrices of layers, each flattened to one that maps activations, [l, in, out]."""
    return {path: leaf.reshape(-1, *MATRICES[path[-2]]) for path, leaf in found.items() if path[-1] == 'kernel'}


@pytest.fixture(scope='module')
def params():
    return world.parameters(CONFIG)


@pytest.fixture(scope='module')
def gradients(params):
    rng = np.random.default_rng(1)
    return [jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params) for _ in range(2)]


@pytest.fixture(scope='module')
def muon(params, gradients):
    return updates_of('muon', gradients, params)


def test_muon_moves_matrices_as_optax_does(params, gradients, muon):
    """Flattened by hand and layer by layer, so that a wrong dimension shows."""
    reference = optax.contrib.muon(rate_schedule(config_of('muon'), 10), weight_decay=0.1, consistent_rms=0.2)
    weights = {(path, layer): leaf[layer] for path, leaf in matrices(by_path(params)).items() for layer in range(2)}
    assert len(weights) == 14
    state, update = reference.init(weights), jax.jit(reference.update)
    for gradient, found in zip(gradients, muon, strict=True):
        flat = matrices(by_path(gradient))
        expected, state = update({(path, layer): flat[path][layer] for path, layer in weights}, state, weights)
        for (path, layer), moved in expected.items():
            np.testing.assert_allclose(matrices(found)[path][layer], moved, atol=1e-6, err_msg=f'{path} {layer}')


def test_muon_takes_steps_of_equal_length_in_every_direction(params, muon):
    """Before decay, and whatever the shape of a matrix."""
    weights = matrices(by_path(params))
    for path, stacked in matrices(muon[0]).items():
        for update in stacked / 0.01 + 0.1 * weights[path]:
            sizes = np.linalg.svd(update, compute_uv=False) / (0.2 * math.sqrt(max(update.shape)))
            assert sizes.min() > 0.6 and sizes.max() < 1.25, path
            assert np.sqrt(np.mean(np.square(update))) == pytest.approx(0.2, rel=0.2), path


def test_muon_leaves_the_rest_to_adamw(params, gradients, muon):
    for one, other in zip(muon, updates_of('adamw', gradients, params), strict=True):
        rest = [path for path in one if path[-1] != 'kernel']
        assert {path[-1] for path in rest} == {'embedding', 'head', 'scale', 'bias'}
        for path in rest:
            np.testing.assert_allclose(one[path], other[path], rtol=1e-5, err_msg=str(path))
        for path in set(one) - set(rest):
            assert np.abs(one[path] - other[path]).max() > 1e-5


def test_rates_scale_muon_too_and_a_rate_of_0_leaves_alone(params, gradients, muon):
    def rates(path):
        return {'q': 3.0, 'k': 0.0, 'embedding': 0.0}.get(path[-2] if path[-1] == 'kernel' else path[-1], 1.0)

    scaled = updates_of('muon', gradients, params, rates)[-1]
    for path, update in muon[-1].items():
        np.testing.assert_allclose(scaled[path], rates(path) * update, rtol=1e-6, err_msg=str(path))
