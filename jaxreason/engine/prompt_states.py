"""What a policy's last layer holds after it has read a prompt: the states that a probe of the bare question looks at.

Two vectors a prompt, one behind the other: the state at its last position, which the first token of an answer is drawn from,
and the mean over all positions. Prompts run in batches of a fixed number of rows at a length bucket that depends on the prompt
alone, so that what else is read beside it changes no bit.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core.architecture import ModelConfig
from jaxreason.engine.buckets import bucket
from jaxreason.engine.mesh import to_host, use_mesh
from jaxreason.models.cache import Cache
from jaxreason.models.transformer import forward

if TYPE_CHECKING:
    from jaxreason.engine.language_model import LanguageModel

NUM_ROWS = 8  # of a batch; shorter ones are filled up
VECTORS = ('last', 'mean')


def state_size(config: ModelConfig) -> int:
    """Numbers that are read of a prompt."""
    return len(VECTORS) * config.width


class Read(NamedTuple):
    """A batch that was read: which prompts, and their states, `[prompts, 2 d]` float64."""

    prompts: list[int]
    states: np.ndarray


def prompt_states(lm: 'LanguageModel', prompts: Sequence[Sequence[int]]) -> Iterator[Read]:
    """Reads prompts, those of one shape together.

    Args:
        lm: the policy.
        prompts: token ids of each, at least one; none longer than the policy's context.

    Yields:
        Batches; every prompt is in one of them.
    """
    groups: dict[int, list[int]] = {}
    for index, ids in enumerate(prompts):
        groups.setdefault(bucket(len(ids)), []).append(index)
    rows = math.lcm(NUM_ROWS, 1 if lm.mesh is None else lm.mesh.shape['data'])
    for room, members in sorted(groups.items()):
        for first in range(0, len(members), rows):
            batch = members[first : first + rows]
            yield Read(batch, _read(lm, [prompts[index] for index in batch], rows, room))


def _read(lm: 'LanguageModel', prompts: Sequence[Sequence[int]], rows: int, room: int) -> np.ndarray:
    tokens_bt = np.zeros((rows, room), np.int32)
    positions_bt = np.full_like(tokens_bt, -1)
    for place, ids in enumerate(prompts):
        tokens_bt[place, : len(ids)] = ids
        positions_bt[place, : len(ids)] = np.arange(len(ids))
    with use_mesh(lm.mesh):
        inputs: Any = (tokens_bt, positions_bt)
        if lm.mesh is not None:
            inputs = jax.device_put(inputs, NamedSharding(lm.mesh, PartitionSpec('data')))
        params = lm.params_for_decoding if lm.mesh is None else lm.params  # those of the sampler: nothing is held twice
        return to_host(_states(lm.config, params, *inputs), lm.mesh)[: len(prompts)].astype(np.float64)


@functools.partial(jax.jit, static_argnames='config')
def _states(config: ModelConfig, params: Any, tokens_bt: jax.Array, positions_bt: jax.Array) -> jax.Array:
    """Last and mean state of every row, float32 [b, 2 d]."""
    cache = Cache.empty(config, tokens_bt.shape[0], 1, 0, tokens_bt.shape[1])
    hidden_btd, _ = forward(config, params, tokens_bt, positions_bt, cache)
    is_token_bt1 = (positions_bt >= 0)[:, :, None]
    length_b = jnp.maximum(jnp.sum(positions_bt >= 0, axis=1, dtype=jnp.int32), 1)
    last_bd = jnp.take_along_axis(hidden_btd, (length_b - 1)[:, None, None], axis=1)[:, 0]
    mean_bd = jnp.sum(jnp.where(is_token_bt1, hidden_btd, 0.0), axis=1) / length_b[:, None].astype(jnp.float32)
    return jnp.concatenate([last_bd, mean_bd], axis=1)
