"""The loss of a verifier: binary cross-entropy of the score at the end of each step against its label.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.1 and appendix F (soft Monte-Carlo labels); Cobbe et
    al., Training Verifiers to Solve Math Word Problems, 2021 (outcomes).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.verifier_spec import HeadKind
from jaxreason.models.manifest import HEAD
from jaxreason.models.transformer import Dropout, forward, unstack_layers
from jaxreason.models.value_heads import action_log_odds, embedded, label_head, log_odds
from jaxreason.train.state import Objective, Sums

HIDDEN = 'hidden'  # of a batch: what the decoder makes of it, where that is known


def hidden_of(
    config: ModelConfig, *, unrolled: bool, remat: bool = False
) -> Callable[[Any, Mapping[str, jax.Array], Dropout | None], jax.Array]:
    """What a decoder makes of packed rows; arguments as of `log_odds_of`.

    Returns:
        A function of stacked parameters, of a batch, and of noise; float32 [b, t, d], 0 at padding.
    """

    def hidden(params: Any, batch: Mapping[str, jax.Array], dropout: Dropout | None) -> jax.Array:
        run = unstack_layers(params) if unrolled else params
        tokens_bt, positions_bt = batch['tokens'], batch['positions']
        hidden_btd, _ = forward(
            config, run, tokens_bt, positions_bt, segments_bc=batch['segments'], dropout=dropout, remat=remat
        )
        # What lies at padding is meaningless, and may be anything: it must not reach the gradient.
        return jnp.where(positions_bt[:, :, None] >= 0, hidden_btd, 0.0)

    return hidden


def log_odds_of(
    config: ModelConfig,
    kind: HeadKind,
    *,
    unrolled: bool,
    remat: bool = False,
    labels: tuple[int, ...] = (),
    is_frozen: bool = False,
) -> Callable[[Any, Mapping[str, jax.Array], Dropout | None], jax.Array]:
    """The log-odds at every position of packed rows.

    Args:
        config: architecture of the decoder.
        kind: of the head.
        unrolled: run the layers one by one rather than in a scan.
        remat: as of `forward`.
        labels: tokens of a right and of a wrong step, for kind `label`.
        is_frozen: no gradient goes into the decoder.

    Returns:
        A function of stacked parameters with the head under `manifest.HEAD`, of a batch, and of noise; float32 [b, t]. Where
        the batch has `HIDDEN` (`hidden_of`) the decoder is not run.
    """
    read = hidden_of(config, unrolled=unrolled, remat=remat)

    def odds(params: Any, batch: Mapping[str, jax.Array], dropout: Dropout | None) -> jax.Array:
        decoder = {name: part for name, part in params.items() if name != HEAD}
        decoder = jax.lax.stop_gradient(decoder) if is_frozen else decoder
        tokens_bt, positions_bt = batch['tokens'], batch['positions']
        hidden_btd = batch[HIDDEN] if HIDDEN in batch else read(decoder, batch, dropout)
        if kind == 'action_value':
            places_1t = jnp.arange(tokens_bt.shape[1], dtype=jnp.int32)[None, :]
            begins_bt = places_1t - jnp.maximum(positions_bt, 0)
            embedded_btd = embedded(decoder, tokens_bt)
            return action_log_odds(params[HEAD], hidden_btd, embedded_btd, batch['is_solution'], begins_bt)
        head = label_head(config, decoder, *labels) if kind == 'label' else params[HEAD]
        return log_odds(kind, config, head, hidden_btd)

    return odds


def step_score_objective(odds: Callable[..., jax.Array], dropout: float = 0.0) -> Objective:
    """Binary cross-entropy, in nats, over the positions that have a target.

    Args:
        odds: as of `log_odds_of`.
        dropout: as of `Dropout`.

    Returns:
        The objective, of batches of `JudgedExample`; besides `weight` it sums `accuracy`: scores on the same side of 1/2 as
        their target.
    """

    def objective(params: Any, batch: Mapping[str, jax.Array], key: jax.Array | None) -> tuple[jax.Array, Sums]:
        noise = None if key is None or not dropout else Dropout(key, dropout)
        odds_bt, targets_bt = odds(params, batch, noise), batch['targets']
        is_target_bt = targets_bt >= 0
        losses_bt = jnp.where(is_target_bt, jax.nn.softplus(odds_bt) - targets_bt * odds_bt, 0.0)
        is_right_bt = is_target_bt & ((odds_bt >= 0) == (targets_bt >= 0.5))
        weight = jnp.sum(is_target_bt).astype(jnp.float32)
        return jnp.sum(losses_bt), {'weight': weight, 'accuracy': jnp.sum(is_right_bt).astype(jnp.float32)}

    return objective
