"""What is read off the hidden states: logits over the vocabulary."""

import jax
import jax.numpy as jnp

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.layers import soft_cap
from jaxreason.models.transformer import Parameters


def lm_logits(config: ModelConfig, params: Parameters, hidden_btd: jax.Array) -> jax.Array:
    """Scores every token of the vocabulary as the next one.

    Args:
        config: the architecture.
        params: as of `forward`.
        hidden_btd: as `forward` returns them, or a part of them.

    Returns:
        Unnormalised log-probabilities, float32 [b, t, v].
    """
    table_vd = params['embedding'] if config.tied_head else params['head']
    dtype = config.matmul_dtype
    logits_btv = jnp.einsum('btd,vd->btv', hidden_btd.astype(dtype), table_vd.astype(dtype), preferred_element_type=jnp.float32)
    return soft_cap(logits_btv, config.final_softcap)
