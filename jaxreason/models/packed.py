"""The decoder's blocks by kernels of the CPU: parameters laid out for them, and a block written with them.

What a kernel does not do (biases, norms of heads, other activations) is done beside it; `models.transformer.Block` says the
same for every platform, and tests hold the two together. Sums run in one order whatever the rows, so tokens drawn on a CPU do
not depend on how many rows there are.
"""

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.attention import Frame, LayerCache, attend_new
from jaxreason.models.layers import activate, rotate

_LANES, _COLUMNS = 16, 32  # of the kernels


def can_pack(config: ModelConfig) -> bool:
    """Whether kernels take the architecture, and there is a compiler for them."""
    return (
        importlib.util.find_spec('numba') is not None
        and config.attention_softcap is None
        and config.head_width % _LANES == config.width % _LANES == config.mlp_width % _LANES == 0
    )


@functools.partial(jax.jit, static_argnums=0)
def pack_head(config: ModelConfig, table_vd: jax.Array) -> Any:
    """The head, laid out for `kernels.products.multiply`."""
    from jaxreason.kernels.products import pack

    return pack(jnp.transpose(table_vd).astype(config.matmul_dtype))


@functools.partial(jax.jit, static_argnums=0)
def pack_layer(config: ModelConfig, layer: Mapping[str, Any]) -> dict[str, Any]:
    """A block's parameters, laid out for `packed_block`."""
    from jaxreason.kernels.products import pack, pack_pair

    attention, mlp = layer['attention'], layer['mlp']

    def weights(linear: Mapping[str, Any], depth: int) -> jax.Array:
        return linear['kernel'].reshape(depth, -1).astype(config.matmul_dtype)

    d, f, heads = config.width, config.mlp_width, config.num_heads * config.head_width
    gate, up = weights(mlp['gate'], d), weights(mlp['up'], d)
    packed: dict[str, Any] = {
        'qkv': pack(jnp.concatenate([weights(attention[name], d) for name in 'qkv'], axis=1)),
        'o': pack(weights(attention['o'], heads)),
    }
    down = weights(mlp['down'], f)
    if _is_gated_by_kernel(config):
        packed['gate_up'] = pack_pair(gate, up)
        down = jnp.pad(down, ((0, -f % _COLUMNS), (0, 0)))  # for the zeros that fill up the last columns of the gate
    else:
        packed['gate'], packed['up'] = pack(gate), pack(up)
    packed['down'] = pack(down)
    for name, norm in layer.items():
        if name.endswith('_norm'):
            packed[name] = norm_scale(config, norm)
    for name in ('q_norm', 'k_norm'):
        if name in attention:
            packed[name] = norm_scale(config, attention[name])
    if config.qkv_bias:
        packed['qkv_bias'] = jnp.concatenate([attention[name]['bias'].reshape(-1) for name in 'qkv']).astype(jnp.float32)
    for name, linear in (('o', attention['o']), ('gate', mlp['gate']), ('up', mlp['up']), ('down', mlp['down'])):
        if 'bias' in linear:
            packed[f'{name}_bias'] = linear['bias'].astype(jnp.float32)
    return packed


def _is_gated_by_kernel(config: ModelConfig) -> bool:
    return config.activation == 'silu' and not config.mlp_bias


def norm_scale(config: ModelConfig, norm: Mapping[str, Any]) -> jax.Array:
    """What a norm multiplies each channel with, float32."""
    scale = norm['scale'].astype(jnp.float32)
    return 1.0 + scale if config.unit_offset_norms else scale


def packed_norm(config: ModelConfig, scale: jax.Array, x: jax.Array) -> jax.Array:
    """The norm over the last dimension, float32."""
    from jaxreason.kernels.norms import rms_norm

    return rms_norm(x.reshape(-1, x.shape[-1]), scale, config.norm_epsilon, 'float32').reshape(x.shape)


def packed_block(
    config: ModelConfig, layer: Mapping[str, Any], x_bcd: jax.Array, frame: Frame, cache: LayerCache | None
) -> tuple[jax.Array, LayerCache | None]:
    """As `transformer.Block`, with parameters of `pack_layer`."""
    from jaxreason.kernels.norms import rms_norm
    from jaxreason.kernels.products import multiply, multiply_gated

    x = x_bcd.reshape(-1, config.width)

    def norm(name: str, x: jax.Array, dtype: str) -> jax.Array:
        return rms_norm(x, layer[name], config.norm_epsilon, dtype)

    def linear(name: str, x: jax.Array) -> jax.Array:
        bias = layer.get(f'{name}_bias')
        y = multiply(x, layer[name], live=frame.live)
        return y if bias is None else y + bias[None, :]

    def add(name: str, x: jax.Array, y: jax.Array) -> jax.Array:
        """x + y W, with the norm after it where there is one."""
        if config.post_norms:
            return x + norm(f'{"attention" if name == "o" else "mlp"}_post_norm', linear(name, y), 'float32')
        bias = layer.get(f'{name}_bias')
        return multiply(y, layer[name], onto=x if bias is None else x + bias[None, :], live=frame.live)

    qkv = linear('qkv', norm('attention_norm', x, config.matmul_dtype))
    out, cache = _attention(config, layer, qkv.reshape(*x_bcd.shape[:2], -1), frame, cache)
    x = add('o', x, out)
    y = norm('mlp_norm', x, config.matmul_dtype)
    if _is_gated_by_kernel(config):
        y = multiply_gated(y, layer['gate_up'], live=frame.live)
    else:
        y = activate(linear('gate', y), config) * linear('up', y)
    return add('down', x, y).reshape(x_bcd.shape), cache


def _attention(
    config: ModelConfig, layer: Mapping[str, Any], qkv_bcx: jax.Array, frame: Frame, cache: LayerCache | None
) -> tuple[jax.Array, LayerCache | None]:
    """What the heads give, [b c, n h], before it is projected."""
    from jaxreason.kernels.attention import attend
    from jaxreason.kernels.storing import append

    n, g, h = config.num_heads, config.num_kv_heads, config.head_width
    b, c = qkv_bcx.shape[:2]

    def heads() -> list[jax.Array]:
        """Queries, keys and values, [b, c, heads, h]."""
        parts = [x.reshape(b, c, -1, h) for x in jnp.split(qkv_bcx, [n * h, (n + g) * h], axis=2)]
        if config.qk_norm:
            parts[:2] = [packed_norm(config, layer[name], x) for name, x in zip(('q_norm', 'k_norm'), parts, strict=False)]
        return parts

    if cache is None or frame.spans is None:
        q_bcnh, k_bcgh, v_bcgh = heads()
        q_bcnh = rotate(q_bcnh, frame.cos, frame.sin) * config.score_scale
        out_bcnh, cache = attend_new(config, q_bcnh, rotate(k_bcgh, frame.cos, frame.sin), v_bcgh, frame, cache)
        return out_bcnh.reshape(b * c, n * h), cache

    if config.qk_norm:
        qkv_bcx = jnp.concatenate([x.reshape(b, c, -1) for x in heads()], axis=2)
    assert frame.write_at is not None
    own, shared = (cache.k, cache.v), (cache.prompt_k, cache.prompt_v)
    has_prompt = cache.prompt_k.shape[3] > 0
    if not has_prompt:
        # Keys of a row are to its tokens what a slot's prompt is to its rows, and tokens have none of their own.
        shared = append(qkv_bcx, frame.cos, frame.sin, *own, frame.write_at)
        own = jnp.zeros((b * c, g, h, 0), cache.k.dtype), jnp.zeros((b * c, g, 0, h), cache.k.dtype)
    qkv, cos, sin, spans = (x.reshape(b * c, -1) for x in (qkv_bcx, frame.cos, frame.sin, frame.spans))
    out, *grown = attend(qkv, cos, sin, config.score_scale, *own, *shared, spans)
    k, v = grown if has_prompt else shared
    return out, cache._replace(k=k, v=v)
