"""Grouped-query attention: among the tokens given, or over a cache of keys and values.

With a cache the keys come in two parts, a prompt shared by all rows of a slot and what each row wrote since. The shared part
is one product for all rows of the slot, so its keys are read once however many rows there are; both parts meet in a single
softmax. Heads are never expanded: the query heads of a key/value head are extra query rows of the same product.

Suffixes beyond the legend: `k` blocks of keys, `j` keys of a block.

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

# Keys a block. A cache's rooms are multiples of it.
BLOCK = 64


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
        b, c = x_bcd.shape[:2]
        q_bgcmh = jnp.moveaxis(q_bcnh.reshape(b, c, g, n // g, h), 2, 1)
        if cache is None:
            k_bgth, v_bgth = (jnp.moveaxis(x, 2, 1).astype(config.matmul_dtype) for x in (k_bcgh, v_bcgh))
            out_bgcmh = attend(config, q_bgcmh, k_bgth, v_bgth, frame)
        else:
            assert frame.write_at is not None
            cache = cache._replace(k=append(cache.k, k_bcgh, frame.write_at), v=append(cache.v, v_bcgh, frame.write_at))
            out_bgcmh = attend_cached(config, q_bgcmh, cache, frame)
        out_bcnh = jnp.moveaxis(out_bgcmh, 1, 2).reshape(b, c, n, h)
        return Linear(config, (n, h, d), axes=2, use_bias=config.output_bias, name='o')(out_bcnh), cache


def append(buffer_bgth: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array) -> jax.Array:
    """Writes new keys or values at their row's own time; a time beyond the room is dropped.

    Microseconds for one token a row into a donated [16 | 64, 3, 256, 64] buffer in a loop, on 2 CPU cores: float32 scatter
    1.2 | 4, vmapped dynamic_update_slice the same, a loop over rows 3 | 13, rewriting with a selection 195 | 1189. In
    bfloat16 the CPU backend turns the whole buffer into float32 and back for each of these (scatter 197 | 913, loop
    274 | 4057), but not for the selection: 20 | 136.
    """
    new_bcgh = new_bcgh.astype(buffer_bgth.dtype)
    if buffer_bgth.dtype == jnp.bfloat16 and new_bcgh.shape[1] == 1:
        return jax.lax.platform_dependent(buffer_bgth, new_bcgh, at_bc, cpu=_append_by_selection, default=_append_by_scatter)
    return _append_by_scatter(buffer_bgth, new_bcgh, at_bc)


def _append_by_scatter(buffer_bgth: jax.Array, new_bcgh: jax.Array, at_bc: jax.Array) -> jax.Array:
    rows_b1 = jnp.arange(buffer_bgth.shape[0])[:, None]
    return buffer_bgth.at[rows_b1, :, at_bc].set(new_bcgh, mode='drop')


def _append_by_selection(buffer_bgth: jax.Array, new_b1gh: jax.Array, at_b1: jax.Array) -> jax.Array:
    is_here_bt = jnp.arange(buffer_bgth.shape[2])[None, :] == at_b1
    return jnp.where(is_here_bt[:, None, :, None], jnp.moveaxis(new_b1gh, 2, 1), buffer_bgth)


def attend(config: ModelConfig, q_bgcmh: jax.Array, k_bgth: jax.Array, v_bgth: jax.Array, frame: Frame) -> jax.Array:
    """Attention of new tokens among themselves.

    Args:
        config: gives the soft cap.
        q_bgcmh: queries, scaled.
        k_bgth: keys; their dtype is that of the products' operands.
        v_bgth: values.
        frame: which keys each query sees; a query that sees none gets zeros.

    Returns:
        float32 [b, g, c, m, h].
    """
    # One block: nothing here has room beyond what is given.
    k_bg1th, v_bg1th = k_bgth[:, :, None], v_bgth[:, :, None]
    scores = _scores(config, q_bgcmh, k_bg1th, frame.visible[:, None])
    weights, total = _weights(scores, _peak(scores))
    return _mix(weights, v_bg1th) / _nonzero(total)


def attend_cached(config: ModelConfig, q_bgcmh: jax.Array, cache: LayerCache, frame: Frame) -> jax.Array:
    """Attention over a slot's prompt and a row's own keys, in one softmax; arguments and result as in `attend`.

    Keys are taken in blocks of `BLOCK`, whose products have the same shape however much room a cache has, and whose results
    are added in order. So empty room adds exact zeros: bits do not depend on it. (One product over all keys changes bits
    between rooms of 512 and 1024, and below 64; on a CPU the blocks cost between -9 and +8 percent of attention.)
    """
    own_k, own_v = _in_blocks(cache.k), _in_blocks(cache.v)
    own = _scores(config, q_bgcmh, own_k, _visible_in_blocks(frame.visible))
    if frame.prompt_visible is None:
        weights, total = _weights(own, _peak(own))
        return _mix(weights, own_v) / _nonzero(total)
    b, _, c = q_bgcmh.shape[:3]
    q = cache.prompt_k.shape[0]
    r = b // q
    # [b, g, c, m, ...] <-> [q, g, r c, m, ...]: all queries of a slot become rows of one product.
    visible = _visible_in_blocks(frame.prompt_visible.reshape(q, r * c, -1))
    shared = _scores(config, _by_slot(q_bgcmh, q), _in_blocks(cache.prompt_k), visible)
    peak = jnp.maximum(_by_row(_peak(shared), r), _peak(own))
    own_weights, own_total = _weights(own, peak)
    shared_weights, shared_total = _weights(shared, _by_slot(peak, q))
    mixed = _mix(own_weights, own_v) + _by_row(_mix(shared_weights, _in_blocks(cache.prompt_v)), r)
    return mixed / _nonzero(own_total + _by_row(shared_total, r))


def _in_blocks(x_bgth: jax.Array) -> jax.Array:
    """[b, g, k j, h] to [b, g, k, j, h]."""
    b, g, t, h = x_bgth.shape
    return x_bgth.reshape(b, g, t // BLOCK, BLOCK, h)


def _visible_in_blocks(visible_bct: jax.Array) -> jax.Array:
    """[b, c, k j] to [b, k, c, j]."""
    b, c, t = visible_bct.shape
    return jnp.moveaxis(visible_bct.reshape(b, c, t // BLOCK, BLOCK), 2, 1)


def _by_slot(x_bgcm: jax.Array, q: int) -> jax.Array:
    """[q r, g, c, m, ...] to [q, g, r c, m, ...]."""
    b, g, c, *rest = x_bgcm.shape
    return jnp.moveaxis(x_bgcm.reshape(q, b // q, g, c, *rest), 2, 1).reshape(q, g, (b // q) * c, *rest)


def _by_row(x_qgxm: jax.Array, r: int) -> jax.Array:
    """[q, g, r c, m, ...] to [q r, g, c, m, ...]."""
    q, g, x, *rest = x_qgxm.shape
    return jnp.moveaxis(x_qgxm.reshape(q, g, r, x // r, *rest), 1, 2).reshape(q * r, g, x // r, *rest)


def _scores(config: ModelConfig, q_bgcmh: jax.Array, k_bgkjh: jax.Array, visible_bkcj: jax.Array) -> jax.Array:
    """Capped and masked scores, float32 [b, g, k, c, m, j]."""
    q_bgcmh = q_bgcmh.astype(k_bgkjh.dtype)
    scores = jnp.einsum('bgcmh,bgkjh->bgkcmj', q_bgcmh, k_bgkjh, preferred_element_type=jnp.float32)
    return jnp.where(visible_bkcj[:, None, :, :, None, :], soft_cap(scores, config.attention_softcap), _MASKED)


def _peak(scores_bgkcmj: jax.Array) -> jax.Array:
    """Each query's largest score, [b, g, c, m, 1]."""
    # Not below half the mask's value: a query that sees nothing then has weights 0, not 1 everywhere.
    return jnp.maximum(jnp.max(scores_bgkcmj, axis=(2, 5))[..., None], 0.5 * _MASKED)


def _weights(scores_bgkcmj: jax.Array, peak_bgcm1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights before normalisation, [b, g, k, c, m, j], and their sum, [b, g, c, m, 1]."""
    weights = jnp.exp(scores_bgkcmj - peak_bgcm1[:, :, None])
    return weights, jnp.sum(jnp.sum(weights, axis=-1, keepdims=True), axis=2)


def _mix(weights_bgkcmj: jax.Array, v_bgkjh: jax.Array) -> jax.Array:
    """Weighted sums of values, float32 [b, g, c, m, h]."""
    weights = weights_bgkcmj.astype(v_bgkjh.dtype)
    mixed = jnp.einsum('bgkcmj,bgkjh->bgkcmh', weights, v_bgkjh, preferred_element_type=jnp.float32)
    return jnp.sum(mixed, axis=2)


def _nonzero(total: jax.Array) -> jax.Array:
    return jnp.where(total == 0.0, 1.0, total)
