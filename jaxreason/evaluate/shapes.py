"""The shapes of a run's device programs: rows, slots, room for prompts and for solutions.

They follow from the configuration and the longest prompt of *all* problems, never of those that are left to do: a run that is
resumed runs the same programs. They are written to `environment.json` and pinned there.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.engine.buckets import bucket
from jaxreason.engine.sampler import SamplerSettings


class Shapes(NamedTuple):
    """What the device programs are compiled for."""

    num_rows: int
    num_slots: int  # questions held at once
    prompt_room: int  # tokens of a prompt, in each slot
    row_room: int  # tokens of a solution, in each row


def shapes_of(sampler: SamplerSettings, prompt_tokens: Sequence[int]) -> Shapes:
    """The shapes of a run.

    Args:
        sampler: rows, slots and the longest solution; its number of rows is chosen.
        prompt_tokens: length of every prompt.
    """
    assert sampler.num_rows != 'auto', 'rows are chosen before shapes'
    return Shapes(
        num_rows=sampler.num_rows,
        num_slots=sampler.num_rows // sampler.rows_per_slot,
        prompt_room=bucket(max(prompt_tokens), sampler.buckets),
        row_room=bucket(sampler.max_tokens, sampler.buckets),
    )
