import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.attention import append
from jaxreason.models.cache import Cache, _copy_at_once, _copy_in_turn
from jaxreason.models.transformer import forward, init_parameters, unstack_layers

# Head width and grouping of SmolLM2: the products have the shapes whose bits matter.
BITS = ModelConfig(
    vocab_size=97,
    num_layers=2,
    width=96,
    mlp_width=128,
    num_heads=9,
    num_kv_heads=3,
    head_width=64,
    max_positions=4096,
)


@pytest.fixture(scope='module')
def bits_params():
    return unstack_layers(init_parameters(BITS, jax.random.key(0)))


def filled(config, q, r, s, t, prompt=40, suffix=9, seed=0):
    """A cache with random prompts and suffixes that do not depend on its rooms; slots and rows differ in length."""
    keys = iter(jax.random.split(jax.random.key(seed), 4 * config.num_layers))
    cache = Cache.empty(config, q, r, s, t)

    def fill(x, length, time_axis):
        shape = (*x.shape[:time_axis], length, *x.shape[time_axis + 1 :])
        values = jax.random.normal(next(keys), shape).astype(x.dtype)
        return x.at[:, :, :, :length].set(values) if time_axis == 3 else x.at[:, :, :length].set(values)

    return dataclasses.replace(
        cache,
        prompt_k=tuple(fill(x, prompt, 3) for x in cache.prompt_k),
        prompt_v=tuple(fill(x, prompt, 2) for x in cache.prompt_v),
        prompt_length=prompt - jnp.arange(q, dtype=jnp.int32) % 5,
        k=tuple(fill(x, suffix, 3) for x in cache.k),
        v=tuple(fill(x, suffix, 2) for x in cache.v),
        length=suffix - jnp.arange(q * r, dtype=jnp.int32) % 4,
    )


@jax.jit(static_argnums=0)
def step(config, params, cache, tokens_b):
    return forward(config, params, tokens_b[:, None], cache.next_position()[:, None], cache)


def equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_masked_keys_and_neighbours_do_not_matter(bits_params):
    tokens = jnp.arange(4) + 5
    cache = filled(BITS, 2, 2, 64, 64)

    def spoil(x, length, time_axis):
        beyond = jnp.arange(x.shape[time_axis])[None, :] >= length[:, None]
        return jnp.where(jnp.expand_dims(beyond, (1, 2) if time_axis == 3 else (1, 3)), 1e4, x)

    spoilt = dataclasses.replace(
        cache,
        prompt_k=tuple(spoil(x, cache.prompt_length, 3) for x in cache.prompt_k),
        prompt_v=tuple(spoil(x, cache.prompt_length, 2) for x in cache.prompt_v),
        k=tuple(spoil(x, cache.length, 3) for x in cache.k),
        v=tuple(spoil(x, cache.length, 2) for x in cache.v),
    )
    clean = step(BITS, bits_params, cache, tokens)[0]
    np.testing.assert_array_equal(step(BITS, bits_params, spoilt, tokens)[0], clean)
    # Another token and another past in row 1, another prompt in slot 1: row 0 stays, the others move.
    other = filled(BITS, 2, 2, 64, 64, seed=1)
    mixed = dataclasses.replace(
        cache,
        prompt_k=tuple(x.at[1].set(y[1]) for x, y in zip(cache.prompt_k, other.prompt_k, strict=True)),
        k=tuple(x.at[1].set(y[1]) for x, y in zip(cache.k, other.k, strict=True)),
        length=cache.length.at[1].set(3),
    )
    moved = step(BITS, bits_params, mixed, tokens.at[1].set(77))[0]
    np.testing.assert_array_equal(moved[0], clean[0])
    assert all((moved[row] != clean[row]).any() for row in (1, 2, 3))


def test_an_idle_row_writes_nothing_and_is_free_of_nan(bits_params):
    cache = filled(BITS, 2, 2, 64, 64)
    positions = cache.next_position()[:, None].at[2].set(-1)
    run = jax.jit(forward, static_argnums=0)
    hidden, grown = run(BITS, bits_params, jnp.ones((4, 1), jnp.int32), positions, cache)
    assert np.isfinite(hidden).all()
    assert (grown.length - cache.length).tolist() == [1, 1, 0, 1]
    for before, after in zip(cache.k + cache.v, grown.k + grown.v, strict=True):
        np.testing.assert_array_equal(before[2], after[2])
        assert (before[1] != after[1]).any()
    empty = Cache.empty(BITS, 1, 2, 0, 64)
    hidden, _ = run(BITS, bits_params, jnp.ones((2, 3), jnp.int32), jnp.full((2, 3), -1), empty)
    assert np.isfinite(hidden).all()


@settings(deadline=None, max_examples=25)
@given(
    at=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    valid=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    time=st.sampled_from([1, 3]),
    dtype=st.sampled_from(['float32', 'bfloat16']),
    time_axis=st.sampled_from([2, 3]),
)
def test_append_writes_each_row_at_its_own_time(at, valid, time, dtype, time_axis):
    room = 8
    before = np.arange(3 * 2 * room * 2, dtype=np.float32).reshape(3, 2, room, 2) % 128
    new = -np.arange(1, 3 * time * 2 * 2 + 1, dtype=np.float32).reshape(3, time, 2, 2)
    places = np.full((3, time), room)
    expected = before.copy()
    for row in range(3):
        for index in range(min(valid[row], time)):
            places[row, index] = at[row] + index
            if at[row] + index < room:
                expected[row, :, at[row] + index] = new[row, index]
    buffer = jnp.moveaxis(jnp.asarray(before, dtype), 2, time_axis)
    result = append(buffer, jnp.asarray(new), jnp.asarray(places), time_axis)
    np.testing.assert_array_equal(jnp.moveaxis(result, time_axis, 2).astype(jnp.float32), expected)


def test_install_replaces_a_slot_and_empties_its_rows():
    cache = filled(BITS, 3, 2, 128, 64)
    prompts = dataclasses.replace(filled(BITS, 1, 1, 0, 64, suffix=30, seed=2), length=jnp.array([30], jnp.int32))
    result = jax.jit(Cache.install)(cache, jnp.array([1]), prompts)
    assert result.prompt_length.tolist() == [40, 30, 38]
    assert result.length.tolist() == [9, 8, 0, 0, 9, 8]
    for layer in range(BITS.num_layers):
        np.testing.assert_array_equal(result.prompt_k[layer][1, :, :, :64], prompts.k[layer][0])
        assert (result.prompt_v[layer][1, :, 64:] == 0).all()
        equal(
            (result.prompt_k[layer][::2], result.k[layer], result.v[layer]),
            (cache.prompt_k[layer][::2], cache.k[layer], cache.v[layer]),
        )
    assert result.prompt_room == 128


def test_install_crops_room_that_the_prompt_does_not_need():
    prompts = filled(BITS, 1, 1, 0, 128, suffix=50)
    result = Cache.empty(BITS, 1, 2, 64, 64).install(jnp.array([0]), prompts)
    np.testing.assert_array_equal(result.prompt_v[1][0], prompts.v[1][0, :, :64])


WAYS = {'in turn': _copy_in_turn, 'at once': _copy_at_once}  # of a CPU, of other devices


@pytest.mark.parametrize('way', WAYS)
def test_copies_within_a_cache_fork_rows(bits_params, way):
    """Two copies of a row that go on alike are alike; what a copy was made from may be overwritten."""
    cache = filled(BITS, 2, 2, 64, 64)
    k, v = jax.jit(WAYS[way])((cache.k, cache.v), None, jnp.array([1, 2, 0]), jnp.array([0, 3, 2]), jnp.int32(2))
    forked = dataclasses.replace(cache, k=k, v=v, length=jnp.array([8, 8, 7, 7]))
    hidden, _ = step(BITS, bits_params, forked, jnp.array([7, 7, 7, 7]))
    before, _ = step(BITS, bits_params, cache, jnp.array([7, 7, 7, 7]))
    np.testing.assert_array_equal(hidden[1:3], before[1:3])
    np.testing.assert_array_equal(hidden[3], before[2])
    np.testing.assert_allclose(hidden[0], hidden[1], atol=1e-5)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_rows_are_copied_between_caches_bit_for_bit(dtype, way):
    config = dataclasses.replace(BITS, matmul_dtype=dtype)
    source, copy = filled(config, 2, 2, 64, 128), jax.jit(WAYS[way])
    for room in (64, 128, 192):
        target, same = filled(config, 2, 2, 64, room, seed=5), min(room, 128)
        k, v = copy((target.k, target.v), (source.k, source.v), jnp.array([3, 0, 0, 0]), jnp.array([1, 2, 0, 0]), jnp.int32(2))
        for found, had, source_rows in zip(k, target.k, source.k, strict=True):
            np.testing.assert_array_equal(found[jnp.array([1, 2]), ..., :same], given[jnp.array([3, 0]), ..., :same])
            np.testing.assert_array_equal(found[jnp.array([0, 3])], had[jnp.array([0, 3])])
        for found, had, source_rows in zip(v, target.v, source.v, strict=True):
            np.testing.assert_array_equal(found[jnp.array([1, 2]), :, :same], given[jnp.array([3, 0]), :, :same])
            np.testing.assert_array_equal(found[jnp.array([0, 3])], had[jnp.array([0, 3])])


def test_rooms_are_those_asked_for_and_dtype_is_the_operands():
    cache = Cache.empty(dataclasses.replace(BITS, matmul_dtype='bfloat16'), 2, 3, 65, 1)
    assert (cache.num_slots, cache.rows_per_slot, cache.num_rows) == (2, 3, 6)
    assert (cache.prompt_room, cache.row_room) == (65, 1)
    assert cache.k[0].shape == (6, 3, 64, 1) and cache.prompt_v[0].shape == (2, 3, 65, 64)
    assert cache.v[1].dtype == jnp.bfloat16
    assert Cache.empty(BITS, 1, 1, 0, 8, 'bfloat16').k[0].dtype == jnp.bfloat16
    with pytest.raises(AssertionError):
        cache.install(jnp.array([0]), cache)


def test_decode_in_a_device_loop_updates_the_cache_in_place(bits_params):
    """The compiled loop must not hold a second cache; of bfloat16 neither, where a scatter would be done in float32."""
    for dtype in ('float32', 'bfloat16'):
        config = dataclasses.replace(BITS, matmul_dtype=dtype)
        cache = Cache.empty(config, 2, 8, 64, 512)

        def loop(params, cache, config=config):
            def body(index, cache):
                tokens = jnp.full((cache.num_rows, 1), index % 97)
                return forward(config, params, tokens, cache.next_position()[:, None], cache)[1]

            return jax.lax.fori_loop(0, 5, body, cache)

        compiled = jax.jit(loop, donate_argnums=1).lower(bits_params, cache).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
        assert memory.alias_size_in_bytes >= size
        assert memory.temp_size_in_bytes < 0.5 * size
