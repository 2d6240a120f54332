"""Grouped-query attention: among the tokens given, or over a cache of keys and values.

With a cache the keys come in two parts, a prompt shared by all rows of a slot and what each row wrote since. The shared part
is one product for all rows of the slot, so its keys are read once however many rows there are; both parts meet in a single
softmax. Heads are never expanded: the query heads of a key/value head are extra query rows of the same product.

Keys lie transposed, time last, values with time before the head's channels: so both products take their operands as they
lie (on two CPU cores 108 against 161 microseconds a layer for 16 rows of 128 keys).

References:
    Ainslie et al., GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints, 2023.
    Juravsky et al., Hydragen: High-Throughput LLM Inference with Shared Prefixes, 2024 (the split at the shared prompt).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.layers import Linear, RMSNorm, rotate, soft_cap

# Finite, so that a row without any visible key stays free of NaN.
_MASKED = -1e30

# Most keys of one product of scores; a CPU rounds otherwise when there are more.
_MOST_KEYS = 512

# Keys summed at once; rooms of a cache are multiples of it.
_BLOCK = 64


class Frame(NamedTuple):
    """What the layers of one kind (window, rotary base) share in a call; depends on positions only."""

    cos: jax.Array  # [b, c, r] float32
    sin: jax.Array  # [b, c, r] float32
    visible: jax.Array  # [b, c, t] bool, keys of the row itself
    prompt_visible: jax.Array | None = None  # [b, c, s] bool, keys of the row's slot
    write_at: jax.Array | None = None  # [b, c] int32, where a new token's key goes; beyond the room: nowhere
    spans: jax.Array | None = None  # [b, c, 5] int32, the same for `kernels.attention`, where it is used
    live: jax.Array | None = None  # [] int32, tokens of the call up to the last that is not padding


class LayerCache(NamedTuple):
    """One layer's part of a `Cache`."""

    prompt_k: jax.Array  # [q, g, h, s]
    prompt_v: jax.Array  # [q, g, s, h]
    k: jax.Array  # [b, g, h, t]
    v: jax.Array  # [b, g, t, h]


class Attention(nn.Module):
    """Projections, head norms and rotation around `attend` or `attend_cached`."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_bcd: jax.Array, frame: Frame, cache: LayerCache | None):
        config = self.config
        d, n, g, h = config.width, config.num_heads, config.num_kv_heads, config.head_width
        q_bcnh = Linear(config, (d, n, h), use_bias=config.qkv_bias, name='q')(x_bcd)
        k_bcgh = Linear(config, (d, g, h), use_bias=config.qkv_bias, name='k')(x_bcd)
        v_bcgh = Linear(config, (d, g, h), use_bias=config.qkv_bias, name='v')(x_bcd)
        if config.qk_norm:
            q_bcnh = RMSNorm(config, h, name='q_norm')(q_bcnh)
            k_bcgh = RMSNorm(config, h, name='k_norm')(k_bcgh)
        q_bcnh = rotate(q_bcnh, frame.cos, frame.sin) * config.score_scale
        k_bcgh = rotate(k_bcgh, frame.cos, frame.sin)
        out_bcnh, cache = attend_new(config, q_bcnh, k_bcgh, v_bcgh, frame, cache)
        return Linear(config, (n, h, d), axes=2, use_bias=config.output_bias, name='o')(out_bcnh), cache


def attend_new(
    config: ModelConfig, q_bcnh: jax.Array, k_bcgh: jax.Array, v_bcgh: jax.Array, frame: Frame, cache: LayerCache | None
) -> tuple[jax.Array, LayerCache | None]:
    """Attention of new tokens, rotated and scaled: among themselves, or over a cache once they are appended to it.

    Returns:
        float32 [b, c, n, h], and the cache with their keys and values.
    """
    b, c, n, h = q_bcnh.shape
    g = k_bcgh.shape[2]
    q_bgcmh = jnp.moveaxis(q_bcnh.reshape(b, c, g, n // g, h), 2, 1)
    if cache is None:
        k_bght = jnp.moveaxis(k_bcgh, 1, 3).astype(config.matmul_dtype)
        v_bgth = jnp.moveaxis(v_bcgh, 2, 1).astype(config.matmul_dtype)
        out_bgcmh = attend(config, q_bgcmh, k_bght, v_bgth, frame)
    else:
        assert frame.write_at is not None
        cache = cache._replace(k=append(cache.k, k_bcgh, frame.write_at, 3), v=append(cache.v, v_bcgh, frame.write_at, 2))
        out_bgcmh = attend_cached(config, q_bgcmh, cache, frame)
    return jnp.moveaxis(out_bgcmh, 1, 2).reshape(b, c, n, h), cache


def append(buffer: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array, time_axis: int) -> jax.Array:
    """Writes new keys or values at their row's own time; a time beyond the room is dropped.

    Microseconds for one token a row into a donated buffer of [16 | 64] rows, 3 heads, 64 channels and 128 times in a loop, on
    2 CPU cores: values by scatter 0.4 | 2, keys 9 | 38. In bfloat16 the CPU backend turns the whole buffer into float32 and
    back (79 | 793), but not for a selection: 25 | 106.

    Args:
        buffer: [b, g, h, t] or [b, g, t, h].
        new_bcgh: what to write, in any float dtype.
        at_bc: where, int32.
        time_axis: dimension of `buffer` that is time, 3 or 2.

    Returns:
        The buffer with the new entries.
    """
    new_bcgh = new_bcgh.astype(buffer.dtype)
    on_cpu = _append_by_selection if buffer.dtype == jnp.bfloat16 and new_bcgh.shape[1] == 1 else _append_by_row
    return jax.lax.platform_dependent(
        buffer,
        new_bcgh,
        at_bc,
        cpu=functools.partial(on_cpu, time_axis=time_axis),
        default=functools.partial(_append_by_row_and_head, time_axis=time_axis),
    )


def _append_by_row(buffer: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array, time_axis: int) -> jax.Array:
    # Mapped over rows, so that a CPU mesh that splits them sees that no row writes into another's.
    def one(x, new_cgh, at_c):
        place = x.at[:, :, at_c] if time_axis == 3 else x.at[:, at_c]
        return place.set(jnp.moveaxis(new_cgh, 0, time_axis - 1), mode='drop')

    return jax.vmap(one)(buffer, new_bcgh, at_bc)


def _append_by_row_and_head(buffer: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array, time_axis: int) -> jax.Array:
    # What is written at once is one head of a value: writing all heads of a row, a TPU lays the buffer out with time before
    # heads, and copies the whole cache on entering and on leaving the loop. For keys any scatter does that.
    if time_axis == 3 and new_bcgh.shape[1] == 1:
        return jax.vmap(_put_key)(buffer, new_bcgh[:, 0], at_bc[:, 0])
    b, g = buffer.shape[:2]
    rows_b11, heads_1g1, at_b1c = jnp.arange(b)[:, None, None], jnp.arange(g)[None, :, None], at_bc[:, None]
    place = buffer.at[rows_b11, heads_1g1, :, at_b1c] if time_axis == 3 else buffer.at[rows_b11, heads_1g1, at_b1c]
    return place.set(jnp.moveaxis(new_bcgh, 2, 1), mode='drop')


def _put_key(keys_ght: jax.Array, key_gh: jax.Array, at: jax.Array) -> jax.Array:
    """One row's key at its time; what is to be dropped overwrites the last time with what it holds."""
    last = keys_ght.shape[2] - 1
    place = (0, 0, jnp.minimum(at, last))
    held_gh1 = jax.lax.dynamic_slice(keys_ght, place, (*key_gh.shape, 1))
    return jax.lax.dynamic_update_slice(keys_ght, jnp.where(at > last, held_gh1, key_gh[..., None]), place)


def _append_by_selection(buffer: jax.Array, new_b1gh: jax.Array, at_b1: jax.Array, time_axis: int) -> jax.Array:
    is_here_bt = jnp.arange(buffer.shape[time_axis])[None, :] == at_b1
    shape = (buffer.shape[0], 1, 1, -1) if time_axis == 3 else (buffer.shape[0], 1, -1, 1)
    return jnp.where(is_here_bt.reshape(shape), jnp.moveaxis(new_b1gh, 1, time_axis), buffer)


def attend(config: ModelConfig, q_bgcmh: jax.Array, k_bght: jax.Array, v_bgth: jax.Array, frame: Frame) -> jax.Array:
    """Attention of new tokens among themselves.

    Args:
        config: gives the soft cap.
        q_bgcmh: queries, scaled.
        k_bght: keys; their dtype is that of the products' operands.
        v_bgth: values.
        frame: which keys each query sees; a query that sees none gets zeros.

    Returns:
        float32 [b, g, c, m, h].
    """
    return _attend(config, q_bgcmh, k_bght, v_bgth, frame.visible)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(config: ModelConfig, q_bgcmh: jax.Array, k_bght: jax.Array, v_bgth: jax.Array, visible_bct: jax.Array) -> jax.Array:
    return _attend_forward(config, q_bgcmh, k_bght, v_bgth, visible_bct)[0]


def _attend_forward(config: ModelConfig, q_bgcmh, k_bght, v_bgth, visible_bct):
    scores = _scores(config, q_bgcmh, k_bght, visible_bct)
    weights, total = _weights(scores, _peak(scores))
    total = _nonzero(total)
    out_bgcmh = _mix(weights, v_bgth) / total
    capped = scores if config.attention_softcap is not None else None
    return out_bgcmh, (q_bgcmh, k_bght, v_bgth, visible_bct, out_bgcmh, weights, total, capped)


def _attend_backward(config: ModelConfig, kept, dout_bgcmh: jax.Array):
    """Gradients of queries, keys and values.

    Written out, because automatic differentiation follows the peak too, whose gradient is zero, and has the CPU backend turn
    arrays of [queries, keys]: one pass over such an array is left besides the products.
    """
    q_bgcmh, k_bght, v_bgth, _, out_bgcmh, weights, total, capped = kept
    dtype = k_bght.dtype
    dout_bgcmh = dout_bgcmh / total
    # What the normalisation takes off: the same for all keys of a query.
    shift_bgcm1 = jnp.sum(dout_bgcmh * out_bgcmh, axis=-1, keepdims=True)
    dout_bgcmh = dout_bgcmh.astype(dtype)
    dweights = jnp.einsum('bgcmh,bgth->bgcmt', dout_bgcmh, v_bgth, preferred_element_type=jnp.float32)
    dscores = weights * (dweights - shift_bgcm1)  # where nothing is visible weights are 0, and so is this
    if capped is not None:
        # Masked scores lie far outside; clipped, their slope is 0.
        dscores = dscores * (1.0 - jnp.square(jnp.clip(capped / config.attention_softcap, -1.0, 1.0)))
    dscores = dscores.astype(dtype)
    dq = jnp.einsum('bgcmt,bght->bgcmh', dscores, k_bght, preferred_element_type=jnp.float32)
    dk = jnp.einsum('bgcmh,bgcmt->bght', q_bgcmh.astype(dtype), dscores, preferred_element_type=jnp.float32)
    dv = jnp.einsum('bgcmt,bgcmh->bgth', weights.astype(dtype), dout_bgcmh, preferred_element_type=jnp.float32)
    return dq.astype(q_bgcmh.dtype), dk.astype(dtype), dv.astype(dtype), None


_attend.defvjp(_attend_forward, _attend_backward)


def attend_cached(config: ModelConfig, q_bgcmh: jax.Array, cache: LayerCache, frame: Frame) -> jax.Array:
    """Attention over a slot's prompt and a row's own keys, in one softmax; arguments and result as in `attend`.

    Empty room changes no bit: its weights are exact zeros, and how a sum over keys is ordered does not depend on how many
    there are (a test holds the sampler to it for all rooms).
    """
    own = _scores(config, q_bgcmh, cache.k, frame.visible)
    if frame.prompt_visible is None:
        weights, total = _weights(own, _peak(own))
        return _mix(weights, cache.v) / _nonzero(total)
    q = cache.prompt_k.shape[0]
    r = q_bgcmh.shape[0] // q
    # [b, g, c, m, ...] <-> [q, g, r c, m, ...]: all queries of a slot become rows of one product.
    visible = frame.prompt_visible.reshape(q, -1, frame.prompt_visible.shape[-1])
    shared = _scores(config, _by_slot(q_bgcmh, q), cache.prompt_k, visible)
    peak = jnp.maximum(_by_row(_peak(shared), r), _peak(own))
    own_weights, own_total = _weights(own, peak)
    shared_weights, shared_total = _weights(shared, _by_slot(peak, q))
    mixed = _mix(own_weights, cache.v) + _by_row(_mix(shared_weights, cache.prompt_v), r)
    return mixed / _nonzero(own_total + _by_row(shared_total, r))


def _by_slot(x_bgcm: jax.Array, q: int) -> jax.Array:
    """[q r, g, c, m, ...] to [q, g, r c, m, ...]."""
    b, g, c, *rest = x_bgcm.shape
    return jnp.moveaxis(x_bgcm.reshape(q, b // q, g, c, *rest), 2, 1).reshape(q, g, (b // q) * c, *rest)


def _by_row(x_qgxm: jax.Array, r: int) -> jax.Array:
    """[q, g, r c, m, ...] to [q r, g, c, m, ...]."""
    q, g, x, *rest = x_qgxm.shape
    return jnp.moveaxis(x_qgxm.reshape(q, g, r, x // r, *rest), 1, 2).reshape(q * r, g, x // r, *rest)


def _scores(config: ModelConfig, q_bgcmh: jax.Array, k_bght: jax.Array, visible_bct: jax.Array) -> jax.Array:
    """Capped and masked scores, float32 [b, g, c, m, t]."""
    q_bgcmh = q_bgcmh.astype(k_bght.dtype)

    def product(k: jax.Array) -> jax.Array:
        return jnp.einsum('bgcmh,bght->bgcmt', q_bgcmh, k, preferred_element_type=jnp.float32)

    t = k_bght.shape[3]
    parts = [product(k_bght[..., first : first + _MOST_KEYS]) for first in range(0, t, _MOST_KEYS)]
    scores = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
    return jnp.where(visible_bct[:, None, :, None, :], soft_cap(scores, config.attention_softcap), _MASKED)


def _peak(scores_bgcmt: jax.Array) -> jax.Array:
    """Each query's largest score, [b, g, c, m, 1]."""
    # Not below half the mask's value: a query that sees nothing then has weights 0, not 1 everywhere.
    return jnp.maximum(jnp.max(scores_bgcmt, axis=-1, keepdims=True), 0.5 * _MASKED)


def _weights(scores_bgcmt: jax.Array, peak_bgcm1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights before normalisation, [b, g, c, m, t], and their sum, [b, g, c, m, 1]."""
    weights = jnp.exp(scores_bgcmt - peak_bgcm1)
    return weights, _total(weights)[..., None]


def _total(weights_bgcmt: jax.Array) -> jax.Array:
    """Sums over keys, [b, g, c, m], in an order that does not depend on how much room there is.

    How the CPU backend orders a reduction depends on sizes; so blocks are added one after the other, then their halves.
    """
    *outer, t = weights_bgcmt.shape
    if t % _BLOCK:
        return jnp.sum(weights_bgcmt, axis=-1)  # only without a cache, where there is no room
    blocks = weights_bgcmt.reshape(*outer, t // _BLOCK, _BLOCK)
    total = functools.reduce(jnp.add, [blocks[..., block, :] for block in range(t // _BLOCK)])
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        total = total[..., :half] + total[..., half:]
    return total[..., 0]


def _mix(weights_bgcmt: jax.Array, v_bgth: jax.Array) -> jax.Array:
    """Weighted sums of values, float32 [b, g, c, m, h]."""
    return jnp.einsum('bgcmt,bgth->bgcmh', weights_bgcmt.astype(v_bgth.dtype), v_bgth, preferred_element_type=jnp.float32)


def _nonzero(total: jax.Array) -> jax.Array:
    return jnp.where(total == 0.0, 1.0, total)
