"""The decoder: one forward pass for sampling, scoring, verifying and training.

`forward(config, params, tokens, positions, cache) -> (hidden, cache)` is the single entry, so that the log-probabilities of
sampling and of training cannot drift apart. Parameters are a plain nested dict whose `layers` are either *stacked* (one
array [l, ...] per weight; the layers run in a scan: short to compile, made for training and prefill) or *unstacked* (a tuple
with one dict per layer; a Python loop: made for decoding, where a scan copies the cache at every step).
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.attention import Attention, Frame, LayerCache
from jaxreason.models.cache import Cache
from jaxreason.models.layers import GatedMLP, RMSNorm, once, rotary_angles
from jaxreason.models.packed import can_pack, norm_scale, pack_head, pack_layer, packed_block, packed_norm

Parameters = Mapping[str, Any]


class Dropout(NamedTuple):
    """Noise of training: of what attention and MLP add to the residual stream, a share is left out and the rest scaled up.

    Attributes:
        key: decides what is left out; one for each layer where it is given to one.
        rate: the share, in [0, 1).
    """

    key: jax.Array
    rate: float

    def layers(self, count: int) -> jax.Array:
        """The keys of so many layers."""
        return jax.random.split(self.key, count)

    def leave_out(self, x_bcd: jax.Array, place: int) -> jax.Array:
        """Leaves a share of the numbers out, others at every place of a layer."""
        is_kept_bcd = jax.random.bernoulli(jax.random.fold_in(self.key, place), 1.0 - self.rate, x_bcd.shape)
        return jnp.where(is_kept_bcd, x_bcd / (1.0 - self.rate), 0.0)


class Block(nn.Module):
    """Attention, then the MLP, each normed and added to the residual stream."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_bcd: jax.Array, frame: Frame, cache: LayerCache | None, dropout: Dropout | None = None):
        config = self.config

        def norm(name: str, x: jax.Array) -> jax.Array:
            return RMSNorm(config, config.width, name=name)(x)

        y_bcd, cache = Attention(config, name='attention')(norm('attention_norm', x_bcd), frame, cache)
        y_bcd = norm('attention_post_norm', y_bcd) if config.post_norms else y_bcd
        x_bcd = x_bcd + (y_bcd if dropout is None else dropout.leave_out(y_bcd, 0))
        y_bcd = GatedMLP(config, name='mlp')(norm('mlp_norm', x_bcd))
        y_bcd = norm('mlp_post_norm', y_bcd) if config.post_norms else y_bcd
        return x_bcd + (y_bcd if dropout is None else dropout.leave_out(y_bcd, 1)), cache


@functools.partial(jax.jit, static_argnums=0)
def init_parameters(config: ModelConfig, key: jax.Array) -> dict[str, Any]:
    """Draws parameters, stacked over layers.

    Args:
        config: the architecture; weights are in its `parameter_dtype`.
        key: of `jax.random.key`.

    Returns:
        `embedding` [v, d], `layers` (every weight [l, ...]), `final_norm`, and `head` [v, d] unless it is tied.
    """
    embedding_key, layers_key, norm_key, head_key = jax.random.split(key, 4)
    x_bcd = jnp.zeros((1, 1, config.width), jnp.float32)
    frame = _frames(config, jnp.zeros((1, 1), jnp.int32), None)[0]

    def init_layer(layer_key: jax.Array):
        return Block(config).init(layer_key, x_bcd, frame, None)['params']

    def init_table(table_key: jax.Array) -> jax.Array:
        # The embedding is scaled up where the config says so; either way a token starts near unit norm per channel.
        table = jax.random.normal(table_key, (config.vocab_size, config.width), jnp.float32) * config.width**-0.5
        return table.astype(config.parameter_dtype)

    params = {
        'embedding': init_table(embedding_key),
        'layers': jax.vmap(init_layer)(jax.random.split(layers_key, config.num_layers)),
        'final_norm': RMSNorm(config, config.width).init(norm_key, x_bcd)['params'],
    }
    if not config.tied_head:
        params['head'] = init_table(head_key)
    return params


def forward(
    config: ModelConfig,
    params: Parameters,
    tokens_bc: jax.Array,
    positions_bc: jax.Array,
    cache: Cache | None = None,
    segments_bc: jax.Array | None = None,
    dropout: Dropout | None = None,
) -> tuple[jax.Array, Cache | None]:
    """Runs the decoder.

    Args:
        config: the architecture.
        params: stacked or unstacked.
        tokens_bc: token ids; one outside the vocabulary makes its row NaN.
        positions_bc: position of each token in its sequence, int32; negative marks padding, which is never attended to and
            whose output is meaningless. Without a cache padding may be anywhere; with one, valid tokens come first in a
            row, and their positions go on from `cache.next_position()`.
        cache: attended to, and appended to: each row's valid tokens at its own length. The caller sees to the room.
        segments_bc: where a row holds several sequences, which one each token is of, int32; tokens attend to their own only.
            Without a cache.
        dropout: for training, not with packed parameters; None leaves nothing out.

    Returns:
        Hidden states after the final norm, float32 [b, c, d], and the cache with the new tokens, or None.
    """
    is_token_bc = positions_bc >= 0
    x_bcd = _embed(config, params['embedding'], params.get('embedding_bits'), tokens_bc, is_token_bc)
    assert cache is None or segments_bc is None
    frames = _frames(config, positions_bc, cache, segments_bc)
    run: Callable[..., Any]
    if 'packed_layers' in params:
        assert dropout is None
        run, layers = _run_packed, params['packed_layers']
        if cache is not None:  # without one, weights of 0 meet the values of padding: all must be computed
            live = 1 + jnp.max(jnp.where(is_token_bc.reshape(-1), jnp.arange(is_token_bc.size, dtype=jnp.int32), -1))
            frames = tuple(
                frame._replace(live=live, spans=_spans(window, positions_bc, cache, frame))
                for frame, (window, _) in zip(frames, config.layer_kinds, strict=True)
            )
    else:
        layers = params['layers']
        run = functools.partial(_run_unstacked if isinstance(layers, tuple | list) else _run_scanned, dropout=dropout)
    past = None if cache is None else tuple(map(LayerCache, cache.prompt_k, cache.prompt_v, cache.k, cache.v))
    x_bcd, past = run(config, layers, x_bcd, frames, past)
    if 'packed_layers' in params:
        hidden_bcd = packed_norm(config, params['packed_final_norm'], x_bcd)
    else:
        hidden_bcd = _apply(RMSNorm(config, config.width), params['final_norm'], x_bcd)
    if cache is None:
        return hidden_bcd, None
    cache = dataclasses.replace(
        cache,
        k=tuple(layer.k for layer in past),
        v=tuple(layer.v for layer in past),
        length=cache.length + jnp.sum(is_token_bc, axis=1, dtype=jnp.int32),
    )
    return hidden_bcd, cache


def _apply(module: nn.Module, params: Any, *inputs: Any) -> Any:
    return module.apply({'params': params}, *inputs)


def _embed(
    config: ModelConfig, table_vd: jax.Array, bits_vd: jax.Array | None, tokens_bc: jax.Array, is_token_bc: jax.Array
) -> jax.Array:
    x_bcd = _rows_of(table_vd, tokens_bc) if bits_vd is None else _rows_of_bits(bits_vd, table_vd.dtype, tokens_bc)
    # Gemma was trained with the scale rounded to the dtype of its weights.
    scale = jnp.asarray(config.embedding_scale, table_vd.dtype).astype(jnp.float32)
    return jnp.where(is_token_bc[:, :, None], x_bcd.astype(jnp.float32) * scale, 0.0)


def _rows_of(table_vd: jax.Array, tokens_bc: jax.Array) -> jax.Array:
    """Rows of the table, [b, c, d]; NaN for a token outside it."""
    return table_vd.at[tokens_bc].get(mode='fill', fill_value=jnp.nan, wrap_negative_indices=False)


def _rows_of_bits(bits_vd: jax.Array, dtype: jnp.dtype, tokens_bc: jax.Array) -> jax.Array:
    """As `_rows_of`, from the table's bytes."""
    missing = int.from_bytes(np.array(np.nan, dtype).tobytes(), sys.byteorder)
    bits_bcd = bits_vd.at[tokens_bc].get(mode='fill', fill_value=missing, wrap_negative_indices=False)
    return jax.lax.bitcast_convert_type(bits_bcd, dtype)


def _run_unstacked(config: ModelConfig, layers, x_bcd, frames, past, dropout: Dropout | None):
    block = Block(config)
    past_layers = past or (None,) * config.num_layers
    keys = (None,) * config.num_layers if dropout is None else dropout.layers(config.num_layers)
    grown = []
    for layer, kind, layer_cache, key in zip(layers, config.kind_of_layer, past_layers, keys, strict=True):
        noise = None if dropout is None else dropout._replace(key=key)
        x_bcd, layer_cache = _apply(block, layer, x_bcd, frames[kind], layer_cache, noise)
        grown.append(layer_cache)
    return x_bcd, tuple(grown)


def _run_packed(config: ModelConfig, layers, x_bcd, frames, past):
    past_layers = past or (None,) * config.num_layers
    grown = []
    for layer, kind, layer_cache in zip(layers, config.kind_of_layer, past_layers, strict=True):
        x_bcd, layer_cache = packed_block(config, layer, x_bcd, frames[kind], layer_cache)
        grown.append(layer_cache)
    return x_bcd, tuple(grown)


def _run_scanned(config: ModelConfig, layers, x_bcd, frames, past, dropout: Dropout | None):
    block = Block(config)
    kind_l = jnp.asarray(config.kind_of_layer, jnp.int32)
    # Layers of several kinds share one body: the frames are stacked and each step picks its own.
    stacked_frames = jax.tree.map(lambda *parts: jnp.stack(parts), *frames)

    def body(x_bcd, scanned):
        layer, kind, layer_cache, key = scanned
        noise = None if dropout is None else dropout._replace(key=key)
        frame = frames[0] if len(frames) == 1 else jax.tree.map(lambda part: part[kind], stacked_frames)
        return _apply(block, layer, x_bcd, frame, layer_cache, noise)

    keys = None if dropout is None else dropout.layers(config.num_layers)
    stacked_past = None if past is None else jax.tree.map(lambda *parts: jnp.stack(parts), *past)
    x_bcd, stacked_past = jax.lax.scan(body, x_bcd, (layers, kind_l, stacked_past, keys))
    if past is None:
        return x_bcd, None
    return x_bcd, _layers(stacked_past, config.num_layers)


def _frames(
    config: ModelConfig, positions_bc: jax.Array, cache: Cache | None, segments_bc: jax.Array | None = None
) -> tuple[Frame, ...]:
    """Angles, visibility and write places for every kind of layer."""
    return tuple(_frame(config, kind, positions_bc, cache, segments_bc) for kind in config.layer_kinds)


def _frame(
    config: ModelConfig, kind: tuple[int, bool], positions_bc: jax.Array, cache: Cache | None, segments_bc: jax.Array | None
) -> Frame:
    window, is_local = kind
    cos_bcr, sin_bcr = map(once, rotary_angles(config, positions_bc, is_local))

    def visible(key_positions_bt: jax.Array, exists_bt: jax.Array) -> jax.Array:
        distance_bct = positions_bc[:, :, None] - key_positions_bt[:, None, :]
        seen_bct = (distance_bct >= 0) & exists_bt[:, None, :] & (positions_bc >= 0)[:, :, None]
        return seen_bct & (distance_bct < window) if window else seen_bct

    if cache is None:
        own_bct = visible(positions_bc, positions_bc >= 0)
        if segments_bc is not None:
            own_bct &= segments_bc[:, :, None] == segments_bc[:, None, :]
        return Frame(cos_bcr, sin_bcr, own_bct)
    is_token_bc = positions_bc >= 0
    new_b = jnp.sum(is_token_bc, axis=1, dtype=jnp.int32)
    prompt_b1 = jnp.repeat(cache.prompt_length, cache.rows_per_slot, total_repeat_length=cache.num_rows)[:, None]
    times_1t = jnp.arange(cache.row_room, dtype=jnp.int32)[None, :]
    own_bct = visible(prompt_b1 + times_1t, times_1t < (cache.length + new_b)[:, None])
    prompt_bcs = None
    if cache.prompt_room:
        places_1s = jnp.arange(cache.prompt_room, dtype=jnp.int32)[None, :]
        prompt_bcs = visible(jnp.broadcast_to(places_1s, (cache.num_rows, cache.prompt_room)), places_1s < prompt_b1)
    write_at_bc = cache.length[:, None] + jnp.arange(positions_bc.shape[1], dtype=jnp.int32)[None, :]
    write_at_bc = jnp.where(is_token_bc, write_at_bc, cache.row_room)
    return Frame(cos_bcr, sin_bcr, own_bct, prompt_bcs, write_at_bc)


def _spans(window: int, positions_bc: jax.Array, cache: Cache, frame: Frame) -> jax.Array | None:
    """What `kernels.attention` is told of each token; None where it has no form for the call."""
    is_decoding = positions_bc.shape[1] == 1 and cache.prompt_room > 0
    if (cache.prompt_room > 0) != is_decoding or cache.prompt_room % 32 or cache.row_room % 32:
        return None
    assert frame.write_at is not None
    first_bc = jnp.maximum(positions_bc - window + 1, 0) if window else jnp.zeros_like(positions_bc)
    nowhere_bc, none_bc, end_bc = jnp.full_like(positions_bc, cache.row_room), jnp.zeros_like(positions_bc), frame.write_at + 1
    spans: tuple[jax.Array, ...]
    if is_decoding:
        prompt_b1 = jnp.repeat(cache.prompt_length, cache.rows_per_slot, total_repeat_length=cache.num_rows)[:, None]
        spans = frame.write_at, jnp.maximum(first_bc - prompt_b1, 0), end_bc, first_bc, prompt_b1
    else:
        spans = nowhere_bc, none_bc, none_bc, first_bc, end_bc
    idle = nowhere_bc, none_bc, none_bc, none_bc, none_bc
    return jnp.stack([jnp.where(positions_bc >= 0, *pair) for pair in zip(spans, idle, strict=True)], axis=-1)


def _layers(stacked: Any, count: int) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(stacked)
    return tuple(jax.tree.unflatten(structure, [leaf[index] for leaf in leaves]) for index in range(count))


def unstack_layers(params: Parameters) -> dict[str, Any]:
    """The same parameters with `layers` a tuple of one dict per layer; already unstacked ones are returned as they are."""
    layers = params['layers']
    if isinstance(layers, tuple | list):
        return dict(params)
    count = jax.tree.leaves(layers)[0].shape[0]
    return {**params, 'layers': _layers(layers, count)}


def for_decoding(config: ModelConfig, params: Parameters) -> dict[str, Any]:
    """Parameters with what the CPU backend would else make anew for each call of the decode loop.

    Args:
        config: the architecture.
        params: on one device.

    Returns:
        On a CPU `packed_layers`, `packed_final_norm` and `packed_head` in place of theirs, where kernels take the architecture;
        and for bfloat16 `embedding_bits`, the table's bytes as integers (a gather from bfloat16 turns the whole table into
        float32 first). Elsewhere `params` as they are.
    """
    table_vd = params['embedding']
    if table_vd.devices().pop().platform != 'cpu':
        return dict(params)
    made = dict(params)
    if table_vd.dtype == jnp.bfloat16:
        made['embedding_bits'] = jax.lax.bitcast_convert_type(table_vd, jnp.uint16)
    if can_pack(config):
        made['packed_head'] = pack_head(config, made.pop('head', table_vd))
        made['packed_final_norm'] = norm_scale(config, made.pop('final_norm'))
        made['packed_layers'] = tuple(pack_layer(config, layer) for layer in unstack_layers(params)['layers'])
        del made['layers']
    return made


def stack_layers(params: Parameters) -> dict[str, Any]:
    """The same parameters with every weight of `layers` one array [l, ...]; the inverse of `unstack_layers`."""
    layers = params['layers']
    if not isinstance(layers, tuple | list):
        return dict(params)
    return {**params, 'layers': jax.tree.map(lambda *parts: jnp.stack(parts), *layers)}
