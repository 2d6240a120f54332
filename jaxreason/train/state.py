"""What training carries from step to step, and the step itself: gradients, their guard, the update.

An objective says what is minimised: for parameters, a batch and a key it gives a *sum* of losses, and sums to divide it by and
to report (`weight` is the number of terms). Sums, so that parts of a batch add up to what the whole batch gives. The key is of
whatever noise training needs, and None where nothing is learnt.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxreason.core.keys import fold

Sums = dict[str, jax.Array]
Objective = Callable[[Any, Mapping[str, jax.Array], jax.Array | None], tuple[jax.Array, Sums]]
Step = Callable[['TrainState', Mapping[str, jax.Array]], tuple['TrainState', Sums]]


@struct.dataclass
class TrainState:
    """Parameters, and what the optimiser and the guard know."""

    params: Any  # float32
    optimiser: Any  # optax's, shaped as params
    step: jax.Array  # [] int32, steps taken, those without an update included
    skipped: jax.Array  # [] int32, steps without an update
    skipped_in_row: jax.Array  # [] int32, of which the latest ones, uninterrupted

    @classmethod
    def begin(cls, params: Any, optimiser: optax.GradientTransformation) -> 'TrainState':
        """The state before the first step."""
        counts = {name: jnp.zeros((), jnp.int32) for name in ('step', 'skipped', 'skipped_in_row')}
        return cls(params=params, optimiser=optimiser.init(params), **counts)


def make_step(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    schedule: optax.Schedule,
    accumulate: int = 1,
    seed: int = 0,
) -> Step:
    """Compiles a step.

    Args:
        objective: what is minimised.
        optimiser: as of `make_optimiser`.
        schedule: its learning rate, to report.
        accumulate: parts that a batch is cut into, one after the other on the device; the update is that of the whole.
        seed: of the noise, addressed by step and part.

    Returns:
        A function of a state, whose memory it takes, and a batch. It returns the next state and float32 scalars: `loss` (mean),
        `gradient_norm` (before clipping), `learning_rate`, `weight`, `skipped` (steps without an update so far) and
        `skipped_in_row`. Where loss or gradient is not finite, parameters and optimiser stay as they are.
    """

    def step(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Sums]:
        key = fold(jax.random.key(seed, impl='threefry2x32'), 'noise', state.step)
        total, weight, gradient = _summed(objective, state.params, batch, key, accumulate)
        share = 1.0 / jnp.maximum(weight, 1.0)
        loss, gradient = total * share, jax.tree.map(lambda g: g * share, gradient)
        norm = optax.global_norm(gradient)
        is_finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, carried = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)

        def unless_skipped(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(is_finite, n, o), new, old)

        bad = jnp.where(is_finite, 0, 1).astype(jnp.int32)
        new = TrainState(
            params=unless_skipped(params, state.params),
            optimiser=unless_skipped(carried, state.optimiser),
            step=state.step + 1,
            skipped=state.skipped + bad,
            skipped_in_row=(state.skipped_in_row + 1) * bad,
        )
        rate = jnp.asarray(schedule(state.step - state.skipped), jnp.float32)
        measured = {'loss': loss, 'gradient_norm': norm, 'learning_rate': rate, 'weight': weight}
        return new, {**measured, 'skipped': new.skipped, 'skipped_in_row': new.skipped_in_row}

    return jax.jit(step, donate_argnums=0)


def _summed(
    objective: Objective, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, accumulate: int
) -> tuple[jax.Array, jax.Array, Any]:
    """Sum of losses, number of terms, gradient of the sum."""

    def with_gradient(part: Mapping[str, jax.Array], index: int | jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        (total, sums), gradient = jax.value_and_grad(objective, has_aux=True)(params, part, fold(key, index))
        return total.astype(jnp.float32), sums['weight'].astype(jnp.float32), gradient

    if accumulate == 1:
        return with_gradient(batch, 0)
    # Every part takes rows from all over the batch, so that each device of a mesh has its share of each part.
    parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), dict(batch))
    shapes = jax.eval_shape(with_gradient, _first(parts), 0)
    zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def add(carry: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, carry, with_gradient(*part)), None

    return jax.lax.scan(add, zero, (parts, jnp.arange(accumulate)))[0]


def _first(parts: Any) -> Any:
    return jax.tree.map(lambda x: x[0], parts)


def make_evaluation(objective: Objective) -> Callable[[Any, Mapping[str, jax.Array]], Sums]:
    """Compiles the objective without a gradient: `total` and all its sums, of one batch."""

    def evaluation(params: Any, batch: Mapping[str, jax.Array]) -> Sums:
        total, sums = objective(params, batch, None)
        return {'total': total, **sums}

    return jax.jit(evaluation)
