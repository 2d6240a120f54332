import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.engine.sampling import Rule, draw, top_confidence

VOCABULARY = 700  # not a multiple of a block


def logits_of(seed, rows=1, scale=2.0):
    return scale * jax.random.normal(jax.random.key(seed), (rows, VOCABULARY))


def draw_many(logits_v, rule, count=20_000, seed=0):
    uniform = jax.random.uniform(jax.random.key(seed), (count,))
    logits_bv = jnp.broadcast_to(logits_v[None], (count, logits_v.shape[0]))
    return draw(logits_bv, uniform, jnp.zeros(count, bool), rule)


def expected_weights(logits_v, rule):
    """The distribution by sorting, in NumPy and float64."""
    weights = np.exp((np.float64(logits_v) - np.max(np.float64(logits_v))) / rule.temperature)
    if rule.top_k:
        weights[weights < np.sort(weights)[-rule.top_k]] = 0
    if rule.top_p < 1:
        order = np.argsort(-weights)
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= rule.top_p * weights.sum()]] = 0
    weights[weights < rule.min_p] = 0
    return weights / weights.sum()


RULES = [
    Rule(),
    Rule(temperature=0.7),
    Rule(top_k=5),
    Rule(top_p=0.6),
    Rule(min_p=0.2),
    Rule(temperature=1.3, top_k=50, top_p=0.9, min_p=0.01),
]


@pytest.mark.parametrize('rule', RULES, ids=str)
def test_draws_follow_the_distribution(rule):
    logits_v = logits_of(1)[0]
    tokens = np.asarray(draw_many(logits_v, rule).token)
    expected = expected_weights(logits_v, rule)
    found = np.bincount(tokens, minlength=VOCABULARY) / len(tokens)
    assert np.all(found[expected == 0] == 0)
    # 20,000 draws: a probability is met within 5 standard errors; 5 counts more where few are expected (Poisson).
    assert np.all(np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / len(tokens)) + 5 / len(tokens))


@pytest.mark.parametrize('rule', RULES, ids=str)
def test_log_probabilities_are_those_of_both_distributions(rule):
    logits_v = logits_of(2)[0]
    drawn = draw_many(logits_v, rule, count=200)
    tokens = np.asarray(drawn.token)
    np.testing.assert_allclose(drawn.logprob, jax.nn.log_softmax(logits_v)[tokens], atol=1e-5)
    np.testing.assert_allclose(drawn.sampled_logprob, np.log(expected_weights(logits_v, rule)[tokens]), atol=1e-5)


def test_self_certainty_is_the_divergence_from_uniform():
    uniform = draw(jnp.zeros((1, VOCABULARY)), jnp.zeros(1), jnp.zeros(1, bool), Rule())
    assert abs(float(uniform.self_certainty[0])) < 1e-6
    logits_bv = logits_of(3, rows=4)
    logprobs = np.asarray(jax.nn.log_softmax(logits_bv), np.float64)
    expected = -np.log(VOCABULARY) - logprobs.mean(axis=-1)
    found = draw(logits_bv, jnp.full(4, 0.5), jnp.zeros(4, bool), Rule(temperature=0.3)).self_certainty
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('v', [1, 7, 20, 700])
def test_the_confidence_of_a_uniform_distribution_is_the_logarithm_of_its_tokens(v):
    found = top_confidence(jnp.full((3, v), 2.5), 20)
    np.testing.assert_allclose(found, np.full(3, np.log(v)), rtol=1e-6, atol=1e-7)
    if v > 20:  # as many tokens as are looked at are all that can be
        logits_bv = jnp.full((1, v), -1e9).at[0, 3 : v - 1 : (v - 4) // 19].set(0.0)
        np.testing.assert_allclose(top_confidence(logits_bv, 20), [np.log(20)], rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    v=st.sampled_from([5, 6000]),
    top_k=st.sampled_from([1, 20, 400]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]),
    is_rounded=st.booleans(),
)
def test_confidence_is_that_of_the_sorted_log_probabilities(seed, v, top_k, scale, is_rounded):
    logits = np.random.default_rng(seed).normal(size=(3, v)) * scale
    logits = np.float32(np.round(logits) if is_rounded else logits)  # rounded ones are full of ties
    shifted = np.float64(logits) - logits.max(axis=-1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    expected = -np.sort(logprobs, axis=-1)[:, ::-1][:, :top_k].mean(axis=-1)
    found = np.asarray(jax.jit(top_confidence, static_argnames='top_k')(logits, top_k))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    assert np.all(found >= 0)


def test_the_most_likely_tokens_may_all_lie_in_one_block_or_none_with_another():
    logits = np.zeros((2, 256 * 40), np.float32)
    logits[0, 512 : 512 + 20] = np.arange(1, 21)
    logits[1, 256 * np.arange(20) + np.arange(20)] = np.arange(1, 21)
    np.testing.assert_allclose(*top_confidence(logits, 20), rtol=1e-6)
    total = np.log(np.exp(np.arange(1.0, 21)).sum() + 256 * 40 - 20)
    np.testing.assert_allclose(top_confidence(logits, 20), [total - 10.5] * 2, rtol=1e-6)


def test_greedy_rows_and_temperature_0_take_the_most_likely_token():
    logits_bv = logits_of(4, rows=6)
    best = np.argmax(np.asarray(logits_bv), axis=-1)
    uniform = jnp.linspace(0.1, 0.9, 6)
    cold = draw(logits_bv, uniform, jnp.zeros(6, bool), Rule(temperature=0))
    np.testing.assert_array_equal(cold.token, best)
    mixed = draw(logits_bv, uniform, jnp.arange(6) < 3, Rule())
    np.testing.assert_array_equal(mixed.token[:3], best[:3])
    np.testing.assert_array_equal(mixed.token[3:], draw(logits_bv, uniform, jnp.zeros(6, bool), Rule()).token[3:])
    np.testing.assert_array_equal(mixed.sampled_logprob[:3], 0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), uniform=st.sampled_from([0.0, 1e-7, 0.5, 1 - 2**-24]), kept=st.integers(1, 3))
def test_a_token_of_weight_0_is_never_drawn(seed, uniform, kept):
    """Also at both ends of the uniform number, where rounding might step past the last token that may be drawn."""
    order = jax.random.permutation(jax.random.key(seed), VOCABULARY)
    logits_bv = jnp.full((1, VOCABULARY), -jnp.inf).at[0, order[:kept]].set(jnp.arange(kept, dtype=jnp.float32))
    drawn = draw(logits_bv, jnp.full(1, uniform, jnp.float32), jnp.zeros(1, bool), Rule())
    assert int(drawn.token[0]) in order[:kept].tolist()


def test_a_nan_row_is_reported_and_leaves_the_others_alone():
    logits_bv = logits_of(5, rows=3)
    uniform = jnp.full(3, 0.4)
    clean = draw(logits_bv, uniform, jnp.zeros(3, bool), Rule(top_p=0.9))
    broken = draw(logits_bv.at[1, 17].set(jnp.nan), uniform, jnp.zeros(3, bool), Rule(top_p=0.9))
    assert clean.finite.tolist() == [True] * 3 and broken.finite.tolist() == [True, False, True]
    for row in (0, 2):
        assert int(clean.token[row]) == int(broken.token[row])


@pytest.mark.parametrize(
    'field, value',
    [('temperature', -0.1), ('temperature', float('nan')), ('temperature', float('inf')), ('top_p', 0.0), ('top_p', 1.5),
     ('top_k', -1), ('min_p', 1.1), ('min_p', -0.1)],
)  # fmt: skip
def test_impossible_rules_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f'{field} must be'):
        Rule(**{field: value})
