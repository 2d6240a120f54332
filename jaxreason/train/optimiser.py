"""The optimiser: AdamW with a warm-up, a schedule, clipping by the global norm, and decay of matrices only."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import optax

from jaxreason.core.errors import ConfigError

Rates = Callable[[tuple[str, ...]], float]

# Parameters that decay towards zero: what multiplies activations. Norms and biases are left alone.
_DECAYED = ('kernel', 'embedding', 'head')


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW and its schedule.

    Attributes:
        learning_rate: the highest.
        schedule: how it falls after the warm-up: not at all, along a cosine, or along a line.
        warmup_steps: over which it rises from 0.
        final_fraction: of the highest rate, reached at the last step.
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of their squares.
        epsilon: added to the root of the latter.
        weight_decay: share of a matrix taken off at a rate of 1.
        clip_norm: longest gradient, all parameters as one vector; None for no limit.

    References:
        Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019.
    """

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
        optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon),
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


def decayed(params: Any) -> Any:
    """Which parameters decay: by name, since norms that are stacked over layers have two dimensions as well."""

    def is_decayed(path: tuple[Any, ...], _: Any) -> bool:
        return _words(path)[-1] in _DECAYED

    return jax.tree.map_with_path(is_decayed, params)


def _words(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(getattr(entry, 'key', entry)) for entry in path)
