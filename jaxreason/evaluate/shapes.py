"""The shapes of a run's device programs: rows, slots, room for prompts and for solutions.

They follow from the configuration and the longest prompt of *all* problems, never of those that are left to do: a run that is
resumed runs the same programs. They are written to `environment.json` and pinned there.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.types import Question
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.buckets import bucket
from jaxreason.engine.prompt_room import longest_prompt
from jaxreason.engine.sampler import SamplerSettings
from jaxreason.evaluate.label_config import Config


class Shapes(NamedTuple):
    """What the device programs are compiled for."""

    num_rows: int
    num_slots: int  # questions held at once
    prompt_room: int  # tokens of a prompt, in each slot
    row_room: int  # tokens of a solution, in each row


def prompt_lengths(config: Config, questions: Sequence[Question], tokenizer: Tokenizer, model: ModelConfig) -> list[int]:
    """Tokens that prompts of each question may have, earlier attempts included; errors as of `longest_prompt`."""
    sampler = config.sampler
    return [
        longest_prompt(
            config.prompt,
            tokenizer,
            model,
            question,
            num_attempts=config.num_attempts,
            max_tokens=sampler.max_tokens,
            buckets=sampler.buckets,
        )
        for question in questions
    ]


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
