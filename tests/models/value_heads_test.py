import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models.heads import lm_logits
from jaxreason.models.value_heads import (
    action_log_odds,
    check_head,
    embedded,
    head_parameters,
    head_tensors,
    init_head,
    label_head,
    log_odds,
    penalties,
    split_head,
)

CONFIG = ModelConfig(
    vocab_size=20, num_layers=1, width=16, mlp_width=32, num_heads=2, num_kv_heads=2, head_width=8, max_positions=32
)
HIDDEN = jax.random.normal(jax.random.key(3), (2, 5, 16))


def affine(linear, x):
    return x @ np.asarray(linear['kernel'], np.float64) + np.asarray(linear['bias'], np.float64)


@pytest.mark.parametrize('hidden', [None, 16])
@pytest.mark.parametrize(('kind', 'outputs'), [('value', 1), ('two_class', 2)])
def test_plain_and_two_layer_heads(kind, outputs, hidden):
    head = jax.tree.map(lambda x: x + 0.1, init_head(kind, CONFIG, jax.random.key(0), hidden))
    x = np.asarray(HIDDEN, np.float64)
    if hidden:
        x = np.maximum(affine(head['hidden'], x), 0)
    expected = affine(head['out'], x)
    assert expected.shape[-1] == outputs
    expected = expected[..., 0] if outputs == 1 else expected[..., 1] - expected[..., 0]
    found = log_odds(kind, CONFIG, head, HIDDEN)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('cap', [None, 3.0])
def test_token_as_label_reads_two_rows_and_no_more(tied, cap):
    config = ModelConfig(**{**vars(CONFIG), 'tied_head': tied, 'final_softcap': cap})
    tables = jax.random.normal(jax.random.key(1), (2, 20, 16))
    params = {'embedding': tables[0], 'head': tables[1]}
    head = label_head(config, params, good=7, bad=4)
    assert head['rows'].shape == (2, 16) and head['rows'].dtype == jnp.float32
    logits = lm_logits(config, params, HIDDEN)[..., jnp.array([7, 4])]
    expected = jax.nn.softmax(logits, axis=-1)[..., 0]
    np.testing.assert_allclose(jax.nn.sigmoid(log_odds('label', config, head, HIDDEN)), expected, atol=1e-6)
    bf16 = label_head(config, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params), good=7, bad=4)
    assert bf16['rows'].dtype == jnp.float32


def test_an_action_value_is_the_state_value_and_the_penalties_so_far():
    head = jax.tree.map(lambda x: 3 * x + 0.05, init_head('action_value', CONFIG, jax.random.key(0)))
    assert head['penalty']['hidden']['kernel'].shape == (48, 128)
    tokens = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    table = jax.random.normal(jax.random.key(2), (20, 16)).astype(jnp.bfloat16)
    words = embedded({'embedding': table}, tokens)
    assert words.dtype == jnp.float32
    is_counted = jnp.array([[True] * 5, [False, False, False, True, True]])
    found = np.asarray(action_log_odds(head, HIDDEN, words, is_counted))
    for b in range(2):
        penalty = 0.0
        for t in range(5):
            if t > 0 and is_counted[b, t]:
                state_and_action = np.concatenate([HIDDEN[b, t - 1], words[b, t], HIDDEN[b, t - 1] * words[b, t]]).astype(
                    np.float64
                )
                layer = np.maximum(affine(head['penalty']['hidden'], state_and_action), 0)
                penalty -= np.log1p(np.exp(affine(head['penalty']['out'], layer)[0]))
            value = affine(head['value']['out'], np.asarray(HIDDEN[b, t], np.float64))[0]
            assert found[b, t] == pytest.approx(value + penalty, abs=1e-4)
    assert (np.asarray(penalties(head, HIDDEN, words)) < 0).all()


def test_a_new_head_starts_near_one_half():
    for kind in ('value', 'two_class', 'action_value'):
        head = init_head(kind, CONFIG, jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(head)} == {jnp.dtype('float32')}
        words = jax.random.normal(jax.random.key(4), HIDDEN.shape)
        every = jnp.ones(HIDDEN.shape[:2], bool)
        odds = action_log_odds(head, HIDDEN, words, every) if kind == 'action_value' else log_odds(kind, CONFIG, head, HIDDEN)
        assert 0 < float(jnp.max(jnp.abs(odds))) < 0.3
    long, short = (init_head('action_value', CONFIG, jax.random.key(0), num_tokens=count) for count in (400.0, 4.0))
    for head, count in ((long, 400), (short, 4)):
        assert -float(penalties(head, HIDDEN, words).mean()) * count == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match='use label_head'):
        init_head('label', CONFIG, jax.random.key(0))


@pytest.mark.parametrize('kind', ['value', 'two_class', 'action_value'])
def test_heads_survive_files(kind):
    head = init_head(kind, CONFIG, jax.random.key(0), hidden=24)
    named = head_tensors(head)
    back, rest = split_head(kind, {**named, 'model.norm.weight': 1, 'lm_head.weight': 2})
    jax.tree.map(np.testing.assert_array_equal, back, jax.tree.map(np.asarray, head))
    assert rest == {'model.norm.weight': 1}
    check_head(kind, back, 16)
    with pytest.raises(WeightsError, match='does not fit a decoder of width 8'):
        check_head(kind, back, 8)
    assert head_parameters(head) == sum(x.size for x in named.values() if x.ndim == 2)


def test_damaged_heads_are_refused():
    names = {'score.0.weight': (16, 16), 'score.0.bias': (16,), 'score.2.weight': (2, 16), 'score.2.bias': (2,)}
    tensors = {name: np.ones(shape) for name, shape in names.items()}
    check_head('two_class', split_head('two_class', tensors)[0], 16)
    with pytest.raises(WeightsError, match='tensor score.2.bias is missing'):
        split_head('two_class', {name: x for name, x in tensors.items() if name != 'score.2.bias'})
    with pytest.raises(WeightsError, match='score.0.weight: expected finite numbers'):
        split_head('two_class', tensors | {'score.0.weight': np.full((16, 16), np.nan)})
    wide, _ = split_head('two_class', tensors | {'score.2.weight': np.ones((3, 16)), 'score.2.bias': np.ones(3)})
    with pytest.raises(WeightsError, match='does not fit'):
        check_head('two_class', wide, 16)
    with pytest.raises(WeightsError, match='not part of this checkpoint'):
        split_head('action_value', tensors)
