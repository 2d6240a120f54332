"""The loss of supervised fine-tuning: how unexpected each token of a solution is after what stands before it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.heads import lm_logits
from jaxreason.models.transformer import Dropout, forward, unstack_layers
from jaxreason.train.state import Objective, Sums

# Most logits at once. Beyond, positions are cut into groups whose logits are computed, and once more in the backward pass.
MAX_LOGITS = 1 << 24


def next_token_objective(
    config: ModelConfig, *, unrolled: bool, dropout: float = 0.0, max_logits: int = MAX_LOGITS
) -> Objective:
    """Cross-entropy of the next token, in nats, over the positions that have a target.

    Args:
        config: the architecture.
        unrolled: run the layers one by one rather than in a scan.
        dropout: as of `Dropout`.
        max_logits: the most that are in memory at once.

    Returns:
        The objective, of stacked parameters and batches as `data.batches` makes them; besides `weight` it sums `accuracy`,
        targets that have the largest logit.
    """

    def objective(params: Any, batch: Mapping[str, jax.Array], key: jax.Array | None) -> tuple[jax.Array, Sums]:
        params = unstack_layers(params) if unrolled else params
        noise = None if key is None or not dropout else Dropout(key, dropout)
        hidden_btd, _ = forward(
            config, params, batch['tokens'], batch['positions'], segments_bc=batch['segments'], dropout=noise
        )
        total, correct = _over_groups(config, params, hidden_btd, batch['targets'], max_logits)
        return total, {'weight': jnp.sum(batch['targets'] >= 0).astype(jnp.float32), 'accuracy': correct}

    return objective


def _over_groups(
    config: ModelConfig, params: Any, hidden_btd: jax.Array, targets_bt: jax.Array, max_logits: int
) -> tuple[jax.Array, jax.Array]:
    """Losses and right guesses, summed; groups are of times, so that rows stay where a mesh has them."""
    b, t, d = hidden_btd.shape
    most = max(1, max_logits // (b * config.vocab_size))
    size = next(size for size in range(min(most, t), 0, -1) if t % size == 0)
    if size == t:
        return _group(config, params, hidden_btd, targets_bt)
    groups = (
        jnp.moveaxis(hidden_btd.reshape(b, t // size, size, d), 1, 0),
        jnp.moveaxis(targets_bt.reshape(b, t // size, size), 1, 0),
    )

    @jax.checkpoint
    def one(group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _group(config, params, *group)

    totals, corrects = jax.lax.map(one, groups)
    return jnp.sum(totals), jnp.sum(corrects)


def _group(config: ModelConfig, params: Any, hidden_btd: jax.Array, targets_bt: jax.Array) -> tuple[jax.Array, jax.Array]:
    is_target_bt = targets_bt >= 0
    # What lies at positions without a target is meaningless, and may be anything: it must not reach the gradient.
    hidden_btd = jnp.where(is_target_bt[:, :, None], hidden_btd, 0.0)
    logits_btv = lm_logits(config, params, hidden_btd)
    tokens_11v = jnp.arange(config.vocab_size, dtype=jnp.int32)[None, None]
    # A selection, not a gather: its gradient is a selection too, and it may be split over the vocabulary.
    chosen_bt = jnp.sum(jnp.where(tokens_11v == targets_bt[:, :, None], logits_btv, 0.0), axis=-1)
    losses_bt = jnp.where(is_target_bt, jax.nn.logsumexp(logits_btv, axis=-1) - chosen_bt, 0.0)
    correct_bt = is_target_bt & (jnp.argmax(logits_btv, axis=-1) == targets_bt)
    return jnp.sum(losses_bt), jnp.sum(correct_bt).astype(jnp.float32)
