"""How much room a cache has changes no bit: rooms are chosen for all questions of a session, so company would show.

A room is empty beyond what was written: its weights are exact zeros. What may still change bits is the order in which a sum or
a product runs over it, which a CPU chooses by shape. So the shapes matter here: grouped heads and one query head a key head,
few rows and many, one row a slot and four.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.types import Question
from jaxreason.models.attention import Frame, LayerCache, attend_cached
from jaxreason.models.transformer import init_parameters, unstack_layers
from jaxreason.search.majority import Majority

HEADS = [(9, 3, 64), (3, 3, 64), (4, 2, 8)]  # query heads, key heads, head width; the first are those of SmolLM2
LAYOUTS = [(1, 1), (2, 1), (16, 1), (4, 4)]  # slots, rows a slot
ANGLES = jnp.zeros((1, 1, 1))


def one_step(config, slots, rows_per_slot, written, rooms, dtype):
    """What attention returns for one query a row, over caches that hold `written` tokens in `rooms`."""
    random = np.random.default_rng(0)
    b, g, h = slots * rows_per_slot, config.num_kv_heads, config.head_width

    def filled(first, tokens, room, time_axis):
        shape = [first, g, h, h]
        shape[time_axis] = tokens
        padding = [(0, room - tokens if axis == time_axis else 0) for axis in range(4)]
        return jnp.asarray(np.pad(random.normal(size=shape).astype(np.float32), padding), dtype)

    def visible(lengths, room):
        return jnp.asarray(np.arange(room) < lengths[:, None])[:, None]

    q = jnp.asarray(2 * random.normal(size=(b, g, 1, config.num_heads // g, h)).astype(np.float32))
    prompt_length = np.repeat(written[0] - random.integers(0, 8, slots), rows_per_slot)
    length = written[1] - random.integers(0, 8, b)
    (s, t), (prompt, own) = rooms, written
    cache = LayerCache(
        filled(slots, prompt, s, 3), filled(slots, prompt, s, 2), filled(b, own, t, 3), filled(b, own, t, 2)
    )  # fmt: skip
    frame = Frame(ANGLES, ANGLES, visible(length, t), visible(prompt_length, s))
    return np.asarray(jax.jit(attend_cached, static_argnums=0)(config, q, cache, frame))


def architecture(heads):
    n, g, h = heads
    return ModelConfig(
        vocab_size=8, num_layers=1, width=8, mlp_width=8, num_heads=n, num_kv_heads=g, head_width=h, max_positions=4096
    )


@pytest.mark.parametrize('heads', HEADS)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_empty_room_changes_no_bit(heads, layout, dtype):
    small, large = (one_step(architecture(heads), *layout, (40, 30), room, dtype) for room in [(64, 64), (1024, 256)])
    np.testing.assert_array_equal(small, large)


@pytest.mark.parametrize('heads', HEADS[:2])
@pytest.mark.parametrize('written, rooms', [((600, 30), [(768, 64), (1024, 64)]), ((40, 600), [(64, 768), (64, 1536)])])
def test_keys_in_several_pieces_change_no_bit_either(heads, written, rooms):
    """More keys than one product of scores takes."""
    small, large = (one_step(architecture(heads), 4, 4, written, room, 'float32') for room in rooms)
    np.testing.assert_array_equal(small, large)


@pytest.mark.parametrize('num_kv_heads, num_rows, rows_per_slot', [(2, 1, 1), (4, 8, 1)])
def test_a_long_prompt_in_company_changes_nothing(lm, make_sampler, num_kv_heads, num_rows, rows_per_slot):
    """Alone a question runs in a prompt room of 64, beside a long one in 384: tokens and log-probabilities are the same."""
    config = dataclasses.replace(lm.config, num_kv_heads=num_kv_heads)
    params = unstack_layers(init_parameters(config, jax.random.key(7)))
    settings = make_sampler(num_rows=num_rows, rows_per_slot=rows_per_slot)
    sampler = dataclasses.replace(settings, lm=dataclasses.replace(lm, config=config, params=params))
    short, long = Question('short', 'what is 3+9?'), Question('long', '+'.join(['1234'] * 60))
    (alone,) = Majority(n=4).solve([short], sampler, seed=3)
    assert Majority(n=4).solve([long, short], sampler, seed=3)[1] == alone
