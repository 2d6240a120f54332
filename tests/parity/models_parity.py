"""Every family against transformers, on fresh random weights: python -m pytest tests/parity/models_parity.py -s

Needs the extra `parity`. Prints the largest difference of logits of each family: one pass, with padding on the left, and
prefill followed by single steps.
"""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.hugging_face import from_parameters, to_parameters
from jaxreason.models.transformer import forward, unstack_layers

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

_spec = importlib.util.spec_from_file_location('make_golden', Path(__file__).parents[1] / 'models' / 'make_golden.py')
assert _spec is not None and _spec.loader is not None
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)

TIME, PROMPT, PADDING = 40, 17, 6
LIMIT = 2e-4
TABLE: dict[str, tuple[float, float, float]] = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    print(f'\n{"family":<22}{"one pass":>12}{"left padding":>14}{"prefill+steps":>15}')
    for name, differences in TABLE.items():
        print(f'{name:<22}{differences[0]:>12.1e}{differences[1]:>14.1e}{differences[2]:>15.1e}')


@jax.jit(static_argnums=0)
def run(config, params, tokens, positions, cache=None):
    hidden, cache = forward(config, params, tokens, positions, cache)
    return lm_logits(config, params, hidden), cache


def steps(config, params, tokens):
    """Logits of the tokens after the prompt, one at a time, through a cache with a prompt part."""
    positions = jnp.broadcast_to(jnp.arange(PROMPT), (2, PROMPT))
    first, past = run(config, params, tokens[:, :PROMPT], positions, Cache.empty(config, 2, 1, 0, PROMPT))
    cache = Cache.empty(config, 2, 1, PROMPT, TIME).install(jnp.arange(2), past)
    logits = [first]
    for time in range(PROMPT, TIME):
        step, cache = run(config, params, tokens[:, time : time + 1], cache.next_position()[:, None], cache)
        logits.append(step)
    return np.concatenate(logits, axis=1)


@pytest.mark.parametrize('name', make_golden.CASES)
def test_logits(name):
    case = make_golden.CASES[name]
    case = {**case, 'max_position_embeddings': 128, 'intermediate_size': 72, 'vocab_size': 150}
    if name == 'phi3_short':
        case['original_max_position_embeddings'] = 100
    model = make_golden.build(case, seed=1234)
    config = ModelConfig.from_hugging_face(model.config.to_dict())
    if name == 'phi3_long':
        assert config.rope_scaling is not None
        config = dataclasses.replace(config, rope_scaling=dataclasses.replace(config.rope_scaling, long_context=True))
    tensors = make_golden.tensors_of(model)
    params = unstack_layers(jax.tree.map(jnp.asarray, to_parameters(config, tensors)))
    tokens = np.random.default_rng(7).integers(3, case['vocab_size'], (2, TIME))
    positions = np.broadcast_to(np.arange(TIME), tokens.shape)
    expected = make_golden.logits_of(model, tokens, positions)
    whole, _ = run(config, params, jnp.asarray(tokens), jnp.asarray(positions))

    padded = np.concatenate([np.zeros((2, PADDING), int), tokens], axis=1)
    shifted = np.maximum(np.broadcast_to(np.arange(-PADDING, TIME), padded.shape), -1)
    left, _ = run(config, params, jnp.asarray(padded), jnp.asarray(shifted))
    left_expected = make_golden.logits_of(model, padded, shifted)[:, PADDING:]
    differences = (
        float(np.abs(whole - expected).max()),
        float(np.abs(left[:, PADDING:] - left_expected).max()),
        float(np.abs(steps(config, params, jnp.asarray(tokens)) - expected).max()),
    )
    TABLE[name] = differences
    assert np.abs(expected).max() > 1.0  # the comparison means something
    assert max(differences) <= LIMIT


@pytest.mark.parametrize('name', [name for name, case in make_golden.CASES.items() if case['model_type'] == 'llama'])
def test_a_written_model_loads_in_transformers(name):
    model = make_golden.build(make_golden.CASES[name], seed=5)
    config = ModelConfig.from_hugging_face(make_golden.CASES[name])
    params = to_parameters(config, make_golden.tensors_of(model))
    again = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**config.to_hugging_face(), attn_implementation='eager')
    ).eval()
    state = {key: torch.tensor(value) for key, value in from_parameters(config, params).items()}
    report = again.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) <= {'lm_head.weight'}
    again.tie_weights()
    tokens = np.random.default_rng(3).integers(3, 48, (2, 20))
    positions = np.broadcast_to(np.arange(20), tokens.shape)
    np.testing.assert_allclose(
        make_golden.logits_of(again, tokens, positions), make_golden.logits_of(model, tokens, positions), atol=1e-5
    )
