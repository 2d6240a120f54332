"""Grouped-query attention: among the tokens given, or over a cache of keys and values.

With a cache the keys come in two parts, a prompt shared by all rows of a slot and what each row wrote since. The shared part
is one product for all rows of the slot, so its keys are read once however many rows there are; both parts meet in a single
softmax. Heads are never expanded: the query heads of a key/value head are extra query rows of the same product.

References:
    Ainslie et al., GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints, 2023.
    Juravsky et al., Hydragen: High-Throughput LLM Inference with Shared Prefixes, 2024 (the split at the shared prompt).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.layers import Linear, RMSNorm, rotate, soft_cap

# Finite, so that a row without any visible key stays free of NaN.
_MASKED = -1e30


class Frame(NamedTuple):
    """What the layers of one kind (window, rotary base) share in a call; depends on positions only."""

    cos: jax.Array  # [b, c, r] float32
    sin: jax.Array  # [b, c, r] float32
    visible: jax.Array  # [b, c, t] bool, keys of the row itself
    prompt_visible: jax.Array | None = None  # [b, c, s] bool, keys of the row's slot
    write_at: jax.Array | None = None  # [b, c] int32, where a new token's key goes; beyond the room: nowhere


class LayerCache(NamedTuple):
    """One layer's part of a `Cache`."""

    prompt_k: jax.Array  # [q, g, s, h]
    prompt_v: jax.Array  # [q, g, s, h]
    k: jax.Array  # [b, g, t, h]
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
        k_bcgh, v_bcgh = rounded(k_bcgh, config), rounded(v_bcgh, config)
        b, c = x_bcd.shape[:2]
        q_bgcmh = jnp.moveaxis(q_bcnh.reshape(b, c, g, n // g, h), 2, 1)
        if cache is None:
            k_bgth, v_bgth = (jnp.moveaxis(x, 2, 1).astype(config.matmul_dtype) for x in (k_bcgh, v_bcgh))
            out_bgcmh = attend(config, q_bgcmh, k_bgth, v_bgth, frame)
        else:
            cache = cache._replace(k=append(cache.k, k_bcgh, frame.write_at), v=append(cache.v, v_bcgh, frame.write_at))
            out_bgcmh = attend_cached(config, q_bgcmh, cache, frame)
        out_bcnh = jnp.moveaxis(out_bgcmh, 1, 2).reshape(b, c, n, h)
        return Linear(config, (n, h, d), axes=2, use_bias=config.output_bias, name='o')(out_bcnh), cache


def rounded(x: jax.Array, config: ModelConfig) -> jax.Array:
    """`x` in its own dtype, with the precision of matrix operands.

    So a cache may hold float32 (what a CPU writes fast, see `Cache.empty`) and give what a bfloat16 one gives. An explicit
    reduction: the compiler may drop a cast down and up again.
    """
    return jax.lax.reduce_precision(x, 8, 7) if config.matmul_dtype == 'bfloat16' else x


def append(buffer_bgth: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array) -> jax.Array:
    """Writes new keys or values at their row's own time; a time beyond the room is dropped."""
    rows_b1 = jnp.arange(buffer_bgth.shape[0])[:, None]
    new_bcgh = new_bcgh.astype(buffer_bgth.dtype)
    return buffer_bgth.at[rows_b1, :, at_bc].set(new_bcgh, mode='drop', unique_indices=True)


def attend(config: ModelConfig, q_bgcmh: jax.Array, k_bgth: jax.Array, v_bgth: jax.Array, frame: Frame) -> jax.Array:
    """Attention of new tokens among themselves.

    Args:
        config: gives the soft cap and the dtype of operands.
        q_bgcmh: queries, scaled.
        k_bgth: keys.
        v_bgth: values.
        frame: which keys each query sees; a query that sees none gets zeros.

    Returns:
        float32 [b, g, c, m, h].
    """
    scores = _scores(config, q_bgcmh, k_bgth, frame.visible[:, None, :, None, :])
    weights, total = _weights(scores, _peak(scores))
    return _mix(config, weights, v_bgth) / _nonzero(total)


def attend_cached(config: ModelConfig, q_bgcmh: jax.Array, cache: LayerCache, frame: Frame) -> jax.Array:
    """Attention over a slot's prompt and a row's own keys, in one softmax; arguments and result as in `attend`."""
    own = _scores(config, q_bgcmh, cache.k, frame.visible[:, None, :, None, :])
    if frame.prompt_visible is None:
        weights, total = _weights(own, _peak(own))
        return _mix(config, weights, cache.v) / _nonzero(total)
    b, g, c, m, h = q_bgcmh.shape
    q, s = cache.prompt_k.shape[0], cache.prompt_k.shape[2]
    r = b // q
    # [b, g, c, m] <-> [q, g, r c, m]: all queries of a slot become rows of one product.
    shared_q = _by_slot(q_bgcmh, q)
    visible = frame.prompt_visible.reshape(q, 1, r * c, 1, s)
    shared = _scores(config, shared_q, cache.prompt_k, visible)
    peak = jnp.maximum(_by_row(_peak(shared), r), _peak(own))
    own_weights, own_total = _weights(own, peak)
    shared_weights, shared_total = _weights(shared, _by_slot(peak, q))
    total = own_total + _by_row(shared_total, r)
    mixed = _mix(config, own_weights, cache.v) + _by_row(_mix(config, shared_weights, cache.prompt_v), r)
    return mixed / _nonzero(total)


def _by_slot(x_bgcm: jax.Array, q: int) -> jax.Array:
    """[q r, g, c, m, ...] to [q, g, r c, m, ...]."""
    b, g, c, *rest = x_bgcm.shape
    return jnp.moveaxis(x_bgcm.reshape(q, b // q, g, c, *rest), 2, 1).reshape(q, g, (b // q) * c, *rest)


def _by_row(x_qgxm: jax.Array, r: int) -> jax.Array:
    """[q, g, r c, m, ...] to [q r, g, c, m, ...]."""
    q, g, x, *rest = x_qgxm.shape
    return jnp.moveaxis(x_qgxm.reshape(q, g, r, x // r, *rest), 1, 2).reshape(q * r, g, x // r, *rest)


def _scores(config: ModelConfig, q: jax.Array, k: jax.Array, visible: jax.Array) -> jax.Array:
    """Capped and masked scores, float32 [b, g, c, m, t]."""
    scores = jnp.einsum('bgcmh,bgth->bgcmt', rounded(q, config).astype(k.dtype), k, preferred_element_type=jnp.float32)
    return jnp.where(visible, soft_cap(scores, config.attention_softcap), _MASKED)


def _peak(scores: jax.Array) -> jax.Array:
    # Not below half the mask's value: a query that sees nothing then has weights 0, not 1 everywhere.
    return jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), 0.5 * _MASKED)


def _weights(scores: jax.Array, peak: jax.Array) -> tuple[jax.Array, jax.Array]:
    weights = jnp.exp(scores - peak)
    return weights, jnp.sum(weights, axis=-1, keepdims=True)


def _mix(config: ModelConfig, weights: jax.Array, v: jax.Array) -> jax.Array:
    weights = rounded(weights, config).astype(v.dtype)
    return jnp.einsum('bgcmt,bgth->bgcmh', weights, v, preferred_element_type=jnp.float32)


def _nonzero(total: jax.Array) -> jax.Array:
    return jnp.where(total == 0.0, 1.0, total)
