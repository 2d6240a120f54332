"""What does not change while a head learns on a frozen decoder: the states of every row, computed in one pass over them.

Passes over the rows after the first then cost the head alone.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.data.batches import Batch, Rows
from jaxreason.train.step_scores import HIDDEN

MOST_BYTES = 1 << 31  # of the host's memory


def is_worth_keeping(config: ModelConfig, rows: Rows, num_read: int) -> bool:
    """Whether rows are read more than once, and their states fit.

    Args:
        config: of the decoder.
        rows: that training reads.
        num_read: rows that it reads in all.
    """
    return num_read > len(rows) and 4 * len(rows) * rows.length * config.width <= MOST_BYTES


def with_states(rows: Rows, batches: Iterable[Batch], read: Callable[[Any], jax.Array], place: Callable[[Batch], Any]) -> Rows:
    """Rows that know their states.

    Args:
        rows: to be read.
        batches: all of them in order; what is behind the last row is passed over. Always the same ones, however often a run is
            begun anew: so the states are the same to the bit.
        read: states of a placed batch, [b, t, d].
        place: brings a batch to the devices.
    """
    found = [np.asarray(jax.device_get(read(place(batch)))) for batch in batches]
    return rows.knowing({HIDDEN: np.concatenate(found)[: len(rows)]})
