"""The parts of a decoder block that are not attention: matrix products, RMS norm, gated MLP, rotary positions.

Flax Linen modules, used through `init` and `apply` only. Matrix operands are in `ModelConfig.matmul_dtype` and every product
accumulates and returns float32; the residual stream, norms and rotations are float32. (A product that returns bfloat16 is
also several times slower on a CPU.)

Shape suffixes, everywhere in `models`: `b` rows, `t` tokens of a row, `c` new tokens of this call, `s` cached prompt tokens,
`q` questions (slots), `d` width, `n` query heads, `g` key/value heads, `m` query heads a key/value head, `h` head width,
`f` MLP width, `v` vocabulary, `l` layers, `1` singleton. `r` is rows a slot, and in rotary tables half the rotated width.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxreason.core.architecture import ModelConfig


def product(x: jax.Array, w: jax.Array, axes: int, config: ModelConfig, last: bool = False) -> jax.Array:
    """Contracts the last `axes` dimensions of `x` with the first of `w`, accumulating in float32.

    Args:
        x: activations, any float dtype.
        w: weights, any float dtype.
        axes: number of dimensions contracted.
        config: gives the dtype of the operands.
        last: contract the last dimensions of `w` instead.

    Returns:
        float32, the remaining dimensions of `x`, then those of `w`.
    """
    return _product(x, w, axes, last, _Dtypes(jnp.dtype(config.matmul_dtype), x.dtype, w.dtype))


class _Dtypes(NamedTuple):
    """Of operands, and of what comes in: gradients go back in it, not rounded to the operands' on the way."""

    operands: jnp.dtype
    x: jnp.dtype
    w: jnp.dtype


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _product(x: jax.Array, w: jax.Array, axes: int, last: bool, dtypes: _Dtypes) -> jax.Array:
    return _product_forward(x, w, axes, last, dtypes)[0]


def _product_forward(
    x: jax.Array, w: jax.Array, axes: int, last: bool, dtypes: _Dtypes
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    inputs, _ = _dimensions(w, axes, last)
    x, w = x.astype(dtypes.operands), w.astype(dtypes.operands)
    own = tuple(range(x.ndim - axes, x.ndim))
    if math.prod(x.shape[:-axes]) == 1 and x.dtype == jnp.bfloat16:
        # A CPU multiplies one bfloat16 row nine times slower than two.
        return _contract(jnp.concatenate([x, x], axis=0), w, own, inputs)[:1], (x, w)
    return _contract(x, w, own, inputs), (x, w)


def _product_backward(
    axes: int, last: bool, dtypes: _Dtypes, kept: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both gradients as products that take their operands as they lie.

    Automatic differentiation asks for the weights' gradient the other way round, for which the CPU backend first turns `dy`: a
    sixth of a training step went into such copies.
    """
    x, w = kept
    dy = dy.astype(dtypes.operands)
    _, outputs = _dimensions(w, axes, last)
    rows = tuple(range(x.ndim - axes))
    dx = _contract(dy, w, tuple(range(len(rows), dy.ndim)), outputs)
    dw = _contract(x, dy, rows, rows)
    if last:
        dw = jnp.moveaxis(dw, range(axes), range(-axes, 0))
    return dx.astype(dtypes.x), dw.astype(dtypes.w)


_product.defvjp(_product_forward, _product_backward)


def _dimensions(w: jax.Array, axes: int, last: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions of weights that are contracted, and the others."""
    dimensions = tuple(range(w.ndim))
    return (dimensions[-axes:], dimensions[:-axes]) if last else (dimensions[:axes], dimensions[axes:])


def _contract(x: jax.Array, y: jax.Array, of_x: tuple[int, ...], of_y: tuple[int, ...]) -> jax.Array:
    return jax.lax.dot_general(x, y, ((of_x, of_y), ((), ())), preferred_element_type=jnp.float32)


class Linear(nn.Module):
    """Maps the last dimensions of its input, `shape[:axes]`, to `shape[axes:]`."""

    config: ModelConfig
    shape: tuple[int, ...]
    axes: int = 1
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        dtype = self.config.parameter_dtype
        fan_in = math.prod(self.shape[: self.axes])
        kernel = self.param('kernel', nn.initializers.normal(fan_in**-0.5), self.shape, dtype)
        y = product(x, kernel, self.axes, self.config)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros_init(), self.shape[self.axes :], dtype)
            y = y + jnp.expand_dims(bias.astype(jnp.float32), tuple(range(x.ndim - self.axes)))
        return y


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last dimension, then scales each channel. float32."""

    config: ModelConfig
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        offset = self.config.unit_offset_norms
        initializer = nn.initializers.zeros_init() if offset else nn.initializers.ones_init()
        scale = self.param('scale', initializer, (self.width,), self.config.parameter_dtype).astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        y = x * jax.lax.rsqrt(mean_square + self.config.norm_epsilon)
        return y * jnp.expand_dims(1.0 + scale if offset else scale, tuple(range(x.ndim - 1)))


class GatedMLP(nn.Module):
    """act(x gate) * (x up), projected down."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_btd: jax.Array) -> jax.Array:
        config = self.config
        inward, outward = (config.width, config.mlp_width), (config.mlp_width, config.width)
        gate_btf = Linear(config, inward, use_bias=config.mlp_bias, name='gate')(x_btd)
        up_btf = Linear(config, inward, use_bias=config.mlp_bias, name='up')(x_btd)
        return Linear(config, outward, use_bias=config.mlp_bias, name='down')(activate(gate_btf, config) * up_btf)


def activate(x: jax.Array, config: ModelConfig) -> jax.Array:
    """The MLP's nonlinearity."""
    if config.activation == 'silu':
        return jax.nn.silu(x)
    return jax.nn.gelu(x, approximate=config.activation == 'gelu_tanh')


def soft_cap(x: jax.Array, cap: float | None) -> jax.Array:
    """Squeezes values smoothly into (-cap, cap); None leaves them."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def rotary_frequencies(config: ModelConfig, is_local: bool) -> tuple[np.ndarray, float]:
    """Angular frequencies of the rotated pairs.

    Args:
        config: gives base, rotated width and stretch.
        is_local: for a layer with the local base, which is never stretched.

    Returns:
        Radians a position, float32 [r], and what sine and cosine are multiplied by.

    References:
        Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021.
    """
    exponents = np.arange(0, config.rotary_width, 2, dtype=np.float64) / config.rotary_width
    if is_local and config.local_rope_theta is not None:
        return (config.local_rope_theta**-exponents).astype(np.float32), 1.0
    frequencies = config.rope_theta**-exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies.astype(np.float32), 1.0
    if scaling.kind == 'linear':
        frequencies = frequencies / scaling.factor
    elif scaling.kind == 'longrope':
        frequencies = frequencies / np.asarray(scaling.long_factor if scaling.long_context else scaling.short_factor)
    else:
        # Turns within the original context: few are stretched whole, many not at all, a straight line between.
        turns = scaling.original_max_positions * frequencies / (2 * math.pi)
        kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        kept = np.clip(kept, 0.0, 1.0)
        frequencies = frequencies * (kept + (1.0 - kept) / scaling.factor)
    return frequencies.astype(np.float32), scaling.amplitude


def rotary_angles(config: ModelConfig, positions_bt: jax.Array, is_local: bool) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of every rotated pair at every position, float32 [b, t, r] each."""
    frequencies_r, amplitude = rotary_frequencies(config, is_local)
    angles_btr = positions_bt[:, :, None].astype(jnp.float32) * frequencies_r[None, None, :]
    return jnp.cos(angles_btr) * amplitude, jnp.sin(angles_btr) * amplitude


def rotate(x_btnh: jax.Array, cos_btr: jax.Array, sin_btr: jax.Array) -> jax.Array:
    """Rotates the leading channels of every head: channel i is paired with channel i + r. The rest passes."""
    half = cos_btr.shape[-1]
    cos, sin = cos_btr[:, :, None, :], sin_btr[:, :, None, :]
    first, second, rest = x_btnh[..., :half], x_btnh[..., half : 2 * half], x_btnh[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def once(x: jax.Array) -> jax.Array:
    """`x`, computed once for all that use it.

    The CPU backend else repeats what it takes for cheap inside every user: each cosine in every layer for every head. It
    fuses through optimization barriers, but not through a scatter.
    """

    def through_scatter(x: jax.Array) -> jax.Array:
        return jnp.zeros_like(x).at[jnp.arange(x.shape[0])].set(x)

    return jax.lax.platform_dependent(x, cpu=through_scatter, default=lambda x: x)
