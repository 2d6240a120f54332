"""Shapes come from a short list, so that compilation is bounded.

A row's bucket depends on its own length only, never on its neighbours: a matrix product's bits may change with its shape.
"""

from collections.abc import Sequence

from jaxreason.core.architecture import DType, ModelConfig
from jaxreason.core.errors import ConfigError

SMALLEST = 64  # also what a cache's room is a multiple of

# 64, 128, 192, 256, 384, 512, 768, ...: powers of two and their midpoints, beyond any context that a model is made for.
BUCKETS = (64, 128, *(2**power * half // 2 for power in range(7, 20) for half in (3, 4)))


def bucket(length: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest of the ascending `buckets` that holds `length`; the caller has seen to it that one does."""
    return next(size for size in buckets if size >= length)


def check_buckets(buckets: Sequence[int]) -> None:
    """Refuses a list that rooms cannot be taken from.

    Raises:
        ValueError: it is empty, does not ascend, or has a number that is not a multiple of 64 up to 2^20.
    """
    if not buckets:
        raise ValueError('buckets must name at least one length, got none.')
    for size in buckets:
        if size % SMALLEST or not SMALLEST <= size <= BUCKETS[-1]:
            raise ValueError(f'buckets must be multiples of {SMALLEST} in [{SMALLEST}, 2^20], got {size}.')
    if list(buckets) != sorted(set(buckets)):
        raise ValueError(f'buckets must ascend, got {list(buckets)}.')


def cache_bytes(config: ModelConfig, num_slots: int, num_rows: int, prompt_room: int, row_room: int, dtype: DType) -> int:
    """Bytes of the keys and values of all slots and rows, held in `dtype`."""
    width = {'float32': 4, 'bfloat16': 2}[dtype]
    positions = num_slots * prompt_room + num_rows * row_room
    return 2 * config.num_layers * config.num_kv_heads * config.head_width * positions * width


def check_context(
    config: ModelConfig, question_id: str, prompt_tokens: int, max_tokens: int, buckets: Sequence[int] = BUCKETS
) -> None:
    """Refuses a prompt that leaves no room for a whole solution, or that no bucket holds.

    Raises:
        ConfigError: prompt and solution together exceed the context, or the prompt the largest bucket; names the question.
    """
    if prompt_tokens + max_tokens > config.max_context:
        raise ConfigError(
            f'question {question_id!r}: its prompt of {prompt_tokens} tokens and max_tokens={max_tokens} '
            f'exceed the context of {config.max_context} tokens: lower max_tokens or leave the question out.'
        )
    if prompt_tokens > buckets[-1]:
        raise ConfigError(
            f'question {question_id!r}: its prompt of {prompt_tokens} tokens exceeds {buckets[-1]}, the largest of '
            'sampler.buckets: add a larger one or leave the question out.'
        )
