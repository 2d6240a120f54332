"""What is read off the hidden states: logits over the vocabulary."""

import jax

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.layers import product, soft_cap
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
    if 'packed_head' in params:
        from jaxreason.kernels.products import multiply

        *outer, d = hidden_btd.shape
        logits_btv = multiply(hidden_btd.reshape(-1, d), params['packed_head']).reshape(*outer, -1)
    else:
        table_vd = params['embedding'] if config.tied_head else params['head']
        logits_btv = product(hidden_btd, table_vd, 1, config, last=True)
    return soft_cap(logits_btv, config.final_softcap)
