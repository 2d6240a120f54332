"""Draws by kernel against those of every platform."""

import jax
import numpy as np
import pytest

from jaxreason.engine.sampling import Rule, draw

FIELDS = 'logprob', 'sampled_logprob', 'self_certainty'


def drawn(logits, uniform, greedy, rule, by_kernel):
    run = jax.jit(draw, static_argnames=('rule', 'by_kernel'))
    return jax.tree.map(np.asarray, run(logits, uniform, greedy, rule, by_kernel=by_kernel))


@pytest.mark.parametrize('temperature', [1.0, 0.6, 2.0])
@pytest.mark.parametrize('v', [1, 18, 256, 272, 1000, 5003])
def test_draws_equal_those_of_every_platform(v, temperature):
    random = np.random.default_rng(v)
    b, rule = 400, Rule(temperature=temperature)
    logits = (4 * random.normal(size=(b, v))).astype(np.float32)
    uniform, greedy = random.random(b, dtype=np.float32), random.random(b) < 0.2
    ours, theirs = (drawn(logits, uniform, greedy, rule, by_kernel) for by_kernel in (True, False))
    same = ours.token == theirs.token
    assert same.mean() > 0.98 and same[greedy].all(), 'a draw at the edge of a token may fall to either side'
    assert ours.finite.all()
    for field in FIELDS:
        np.testing.assert_allclose(getattr(ours, field)[same], getattr(theirs, field)[same], rtol=1e-5, atol=2e-5)
    cumulative = np.cumsum(np.exp(logits.astype(np.float64) / temperature), axis=1)
    share = cumulative / cumulative[:, -1:]
    above = share[np.arange(b), ours.token]
    below = np.where(ours.token > 0, share[np.arange(b), np.maximum(ours.token - 1, 0)], 0.0)
    held = (below - 1e-5 <= uniform) & (uniform <= above + 1e-5)
    assert held[~greedy].all()


def test_a_token_of_weight_0_is_never_drawn():
    logits = np.full((64, 600), -np.inf, np.float32)
    logits[:, [3, 300, 597]] = 0.0
    uniform = np.linspace(0, np.nextafter(np.float32(1), np.float32(0)), 64, dtype=np.float32)
    found = drawn(logits, uniform, np.zeros(64, bool), Rule(), True)
    assert set(found.token.tolist()) == {3, 300, 597} and found.token[0] == 3 and found.token[-1] == 597
    np.testing.assert_allclose(found.logprob, -np.log(3), rtol=1e-6)


def test_greedy_rows_take_the_lowest_of_equals():
    logits = np.zeros((2, 40), np.float32)
    logits[:, [7, 8, 39]] = 2.0
    found = drawn(logits, np.array([0.9, 0.9], np.float32), np.array([True, False]), Rule(), True)
    assert found.token[0] == 7 and found.token[1] > 7 and found.sampled_logprob[0] == 0


@pytest.mark.parametrize('v', [18, 512])
@pytest.mark.parametrize('spoilt', [np.nan, np.inf])
def test_logits_that_are_no_distribution_are_told_apart(spoilt, v):
    logits = np.zeros((4, v), np.float32)
    logits[1, 5], logits[2, v - 1] = spoilt, spoilt
    logits[3] = -np.inf
    found = drawn(logits, np.full(4, 0.5, np.float32), np.zeros(4, bool), Rule(), True)
    assert found.finite.tolist() == [True, False, False, False]
    assert ((found.token >= 0) & (found.token < v)).all()
