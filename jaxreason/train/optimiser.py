"""The optimiser: AdamW or Muon with a warm-up, a schedule, clipping by the global norm, and decay of matrices only."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from jaxreason.core.errors import ConfigError
from jaxreason.core.flops import MUON_ITERATIONS
from jaxreason.models.sharding import product_axes

Rates = Callable[[tuple[str, ...]], float]

# Parameters that decay towards zero: what multiplies activations. Norms and biases are left alone.
_DECAYED = ('kernel', 'embedding', 'head')

_MOMENTUM = 0.95  # of Muon
_ROOT_MEAN_SQUARE = 0.2  # of an update's entries at a rate of 1, near those of Adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW or Muon, and its schedule.

    Muon takes the matrices of the layers: each moves along the orthogonal matrix nearest to its momentum, about as far as AdamW
    would move it. Everything else (embedding, head, norms, biases, the head of a verifier) is left to AdamW.

    Attributes:
        kind: `adamw` or `muon`.
        learning_rate: the highest.
        schedule: how it falls after the warm-up: not at all, along a cosine, or along a line.
        warmup_steps: over which it rises from 0.
        final_fraction: of the highest rate, reached at the last step.
        beta1: decay of AdamW's mean of gradients.
        beta2: decay of its mean of their squares.
        epsilon: added to the root of the latter.
        weight_decay: share of a matrix taken off at a rate of 1.
        clip_norm: longest gradient, all parameters as one vector; None for no limit.

    References:
        Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019.
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
        Liu et al., Muon is Scalable for LLM Training, 2025, section 2.2: how far an update goes.
    """

    kind: Literal['adamw', 'muon'] = 'adamw'
    learning_rate: float = 3e-4
    schedule: Literal['constant', 'cosine', 'linear'] = 'cosine'
    warmup_steps: int = 100
    final_fraction: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float | None = 1.0

    def __post_init__(self):
        for name in ('learning_rate', 'epsilon'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} must be above 0, got {getattr(self, name)}.')
        for name in ('beta1', 'beta2'):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f'{name} must be in [0, 1), got {getattr(self, name)}.')
        if not 0 <= self.final_fraction <= 1:
            raise ConfigError(f'final_fraction must be in [0, 1], got {self.final_fraction}.')
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise ConfigError(f'warmup_steps and weight_decay must be 0 or more, got {self.warmup_steps}, {self.weight_decay}.')
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f'clip_norm must be above 0, or null for no limit, got {self.clip_norm}.')


def rate_schedule(config: OptimiserConfig, steps: int) -> optax.Schedule:
    """The learning rate by update, counted from 0; the first update already has a rate.

    Args:
        config: of the optimiser.
        steps: updates in all.
    """
    warmup = min(config.warmup_steps, steps)
    top, last = config.learning_rate, config.learning_rate * config.final_fraction
    falling = max(1, steps - warmup)
    after = {
        'constant': optax.constant_schedule(top),
        'cosine': optax.cosine_decay_schedule(top, falling, config.final_fraction),
        'linear': optax.linear_schedule(top, last, falling),
    }[config.schedule]
    if not warmup:
        return after
    rising = optax.linear_schedule(top / warmup, top, max(1, warmup - 1))
    return optax.join_schedules([rising, after], [warmup])


def make_optimiser(config: OptimiserConfig, steps: int, rates: Rates | None = None) -> optax.GradientTransformation:
    """Makes the optimiser.

    Args:
        config: as of `rate_schedule`.
        steps: likewise.
        rates: what the learning rate is multiplied by, for each parameter by its path; where that is 0 the parameter stays as
            it is, and the optimiser keeps nothing for it. None for 1 everywhere.
    """
    clip = [] if config.clip_norm is None else [optax.clip_by_global_norm(config.clip_norm)]
    parts = [
        *clip,
        _direction(config),
        optax.add_decayed_weights(config.weight_decay, mask=decayed),
        optax.scale_by_learning_rate(rate_schedule(config, steps)),
    ]
    if rates is None:
        return optax.chain(*parts)

    def scaled(updates: Any, _: Any) -> Any:
        return jax.tree.map_with_path(lambda path, update: update * rates(_words(path)), updates)

    def kinds(params: Any) -> Any:
        return jax.tree.map_with_path(lambda path, _: 'trained' if rates(_words(path)) else 'left', params)

    trained = optax.chain(*parts, optax.stateless(scaled))
    return optax.partition({'trained': trained, 'left': optax.set_to_zero()}, kinds)


def _direction(config: OptimiserConfig) -> optax.GradientTransformation:
    """Where an update goes, at a rate of 1."""
    adam = optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    if config.kind == 'adamw':
        return adam
    muon = optax.chain(
        scale_by_muon(ns_steps=MUON_ITERATIONS, beta=_MOMENTUM, weight_dimension_numbers=_matrices),
        optax.stateless(_as_far_as_adam),
    )

    def kinds(params: Any) -> Any:
        return jax.tree.map(lambda matrix: 'muon' if matrix else 'adam', _matrices(params), is_leaf=_is_matrix)

    return optax.partition({'muon': muon, 'adam': adam}, kinds)


def _matrices(params: Any) -> Any:
    """For each parameter which of its dimensions a product contracts and makes; False for what is no matrix of a layer."""

    def matrix(path: tuple[Any, ...], value: Any) -> MuonDimensionNumbers | bool:
        axes = product_axes(_words(path), value.ndim)
        return False if axes is None else MuonDimensionNumbers(*axes)

    return jax.tree.map_with_path(matrix, params)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, MuonDimensionNumbers)


def _as_far_as_adam(updates: Any, _: Any) -> Any:
    """Scales orthogonal matrices so that their entries have one root mean square, whatever their shape."""

    def scaled(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        axes = product_axes(_words(path), update.ndim)
        assert axes is not None  # only matrices of layers come here
        return update * (_ROOT_MEAN_SQUARE * math.sqrt(max(math.prod(update.shape[axis] for axis in side) for side in axes)))

    return jax.tree.map_with_path(scaled, updates)


def decayed(params: Any) -> Any:
    """Which parameters decay: by name, since norms that are stacked over layers have two dimensions as well."""

    def is_decayed(path: tuple[Any, ...], _: Any) -> bool:
        return _words(path)[-1] in _DECAYED

    return jax.tree.map_with_path(is_decayed, params)


def _words(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(entry, 'key', entry)) for entry in path)
