"""Golden models (see make_golden.py), with ways to run them."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.hugging_face import to_parameters
from jaxreason.models.transformer import forward, stack_layers

GOLDEN = Path(__file__).parent / 'golden'
NAMES = sorted(path.stem for path in GOLDEN.glob('*.npz'))


# Compiling is most of the time of these tests, and the models are tiny.
@functools.partial(jax.jit, static_argnums=0, compiler_options={'xla_backend_optimization_level': 0})
def _run(config, params, tokens, positions, cache):
    hidden, cache = forward(config, params, tokens, positions, cache)
    return lm_logits(config, params, hidden), cache


_install = jax.jit(Cache.install)


@dataclasses.dataclass(frozen=True)
class Golden:
    """A tiny model, tokens, and the logits that transformers computes for them."""

    config: ModelConfig
    params: Any
    tensors: dict[str, np.ndarray]  # float16, under Hugging Face names
    tokens: np.ndarray  # [b, t]
    logits: np.ndarray  # [b, t, v]
    left_padded_logits: np.ndarray  # [1, t, v], row 0 with padding on its left

    @classmethod
    def load(cls, name: str) -> 'Golden':
        with np.load(GOLDEN / f'{name}.npz') as file:
            arrays = dict(file)
        config = ModelConfig.from_hugging_face(json.loads(str(arrays['config'])))
        if name.endswith('_long'):
            assert config.rope_scaling is not None
            config = dataclasses.replace(config, rope_scaling=dataclasses.replace(config.rope_scaling, long_context=True))
        tensors = {key.removeprefix('weight:'): value for key, value in arrays.items() if key.startswith('weight:')}
        params = stack_layers(jax.tree.map(jnp.asarray, to_parameters(config, tensors)))
        return cls(config, params, tensors, arrays['tokens'], arrays['logits'], arrays['left_padded_logits'])

    def run(self, tokens, positions=None, cache=None) -> tuple[np.ndarray, Any]:
        """Logits and cache, compiled; positions count from 0 unless given."""
        if positions is None:
            positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
        logits, cache = _run(self.config, self.params, jnp.asarray(tokens), jnp.asarray(positions), cache)
        return np.asarray(logits), cache

    def prefill(self, tokens, lengths, rows_per_slot: int = 1, prompt_room: int = 64, row_room: int = 64):
        """Logits of right-padded prompts, and a cache with `rows_per_slot` empty rows on each prompt."""
        prompts, time = tokens.shape
        positions = np.where(np.arange(time) < np.asarray(lengths)[:, None], np.arange(time), -1)
        logits, past = self.run(tokens, positions, Cache.empty(self.config, prompts, 1, 0, time))
        cache = Cache.empty(self.config, prompts, rows_per_slot, prompt_room, row_room)
        return logits, _install(cache, jnp.arange(prompts), past)

    def decode(self, cache, tokens) -> tuple[np.ndarray, Any]:
        """Logits of given continuations, one token at a time, and the cache that results."""
        steps = []
        for step in range(tokens.shape[1]):
            logits, cache = self.run(tokens[:, step : step + 1], cache.next_position()[:, None], cache)
            steps.append(logits)
        return np.concatenate(steps, axis=1), cache


@pytest.fixture(params=NAMES)
def golden(request) -> Golden:
    """Each golden model in turn."""
    return Golden.load(request.param)


@pytest.fixture(params=['smollm2', 'gemma3'])
def plain_or_windowed(request) -> Golden:
    """A model whose layers are all alike, and one with local and global layers, norms and soft caps."""
    return Golden.load(request.param)


@pytest.fixture
def llama() -> Golden:
    return Golden.load('smollm2')


@pytest.fixture
def windowed() -> Golden:
    return Golden.load('gemma3')
