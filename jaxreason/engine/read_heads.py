"""Heads on the policy itself, read inside the decode loop.

When a token is drawn, the loop holds the state before it, which is all that a head read before a marker needs: no token is fed
a second time. What a head says is a statistic of the token, kept beside its log-probability.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import struct

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.verifier_spec import HeadKind
from jaxreason.engine.mesh import replicate
from jaxreason.models.transformer import Parameters
from jaxreason.models.value_heads import embedded, log_odds, penalties, state_value

if TYPE_CHECKING:
    from jax.sharding import Mesh


@struct.dataclass
class ReadHead:
    """A head as the decode loop takes it."""

    params: Any  # float32, as of `models.value_heads`
    kind: HeadKind = struct.field(pytree_node=False)

    @classmethod
    def placed(cls, kind: HeadKind, params: Any, mesh: 'Mesh | None') -> 'ReadHead':
        """The head on the policy's devices, whole on each."""
        return cls(replicate(jax.tree.map(lambda x: np.asarray(x, np.float32), params), mesh), kind)


def penalty_of(name: str) -> str:
    """The statistic that holds the penalty of each token under the head of this name."""
    return f'{name}.penalty'


def stats_of(name: str, kind: HeadKind) -> frozenset[str]:
    """The statistics that a head of this name gives."""
    return frozenset({name, penalty_of(name)} if kind == 'action_value' else {name})


def read_heads(
    config: ModelConfig, params: Parameters, heads: Mapping[str, ReadHead], hidden_b1d: jax.Array, token_b: jax.Array
) -> dict[str, jax.Array]:
    """What heads say of a draw.

    Args:
        config: the policy.
        params: its parameters, packed or not.
        heads: by name.
        hidden_b1d: the state before each token.
        token_b: the tokens drawn.

    Returns:
        By statistic, float32 [b]: under the head's name the log-odds that the solution before the token is right, and for an
        `action_value` head the value without penalties, and beside it the token's own penalty.
    """
    found = {}
    for name, head in heads.items():
        if head.kind == 'action_value':
            found[name] = state_value(head.params, hidden_b1d)[:, 0]
            found[penalty_of(name)] = penalties(head.params, hidden_b1d, embedded(params, token_b[:, None]))[:, 0]
        else:
            found[name] = log_odds(head.kind, config, head.params, hidden_b1d)[:, 0]
    return found
