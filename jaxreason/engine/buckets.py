"""Shapes come from a short list, so that compilation is bounded.

A row's bucket depends on its own length only, never on its neighbours: a matrix product's bits may change with its shape.
"""

from jaxreason.core.architecture import DType, ModelConfig
from jaxreason.core.errors import ConfigError

SMALLEST = 64  # also what a cache's room is a multiple of


def bucket(length: int) -> int:
    """The smallest of 64, 128, 192, 256, 384, 512, 768, 1024, ... that holds `length`: powers of two and their midpoints."""
    size = SMALLEST
    while size < length:
        middle = size + size // 2
        if middle % SMALLEST == 0 and length <= middle:
            return middle
        size *= 2
    return size


def cache_bytes(config: ModelConfig, num_slots: int, num_rows: int, prompt_room: int, row_room: int, dtype: DType) -> int:
    """Bytes of the keys and values of all slots and rows, held in `dtype`."""
    width = {'float32': 4, 'bfloat16': 2}[dtype]
    positions = num_slots * prompt_room + num_rows * row_room
    return 2 * config.num_layers * config.num_kv_heads * config.head_width * positions * width


def check_context(config: ModelConfig, question_id: str, prompt_tokens: int, max_tokens: int) -> None:
    """Refuses a prompt that leaves no room for a whole solution.

    Raises:
        ConfigError: prompt and solution together exceed the context; names the question.
    """
    if prompt_tokens + max_tokens > config.max_context:
        raise ConfigError(
            f'question {question_id!r}: its prompt of {prompt_tokens} tokens and max_tokens={max_tokens} '
            f'exceed the context of {config.max_context} tokens: lower max_tokens or leave the question out.'
        )
