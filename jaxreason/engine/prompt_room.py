"""How long the prompts of a question may become: known before the first row, since device programs have fixed shapes.

A prompt that shows earlier attempts is longer than the bare one. Its room follows from the question, the longest solution and
the context of the model alone, never from what other questions need: which attempts fit must not depend on what runs beside.
"""

from collections.abc import Sequence

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.types import Question
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.buckets import BUCKETS, check_context


def longest_prompt(
    prompt: PromptSpec,
    tokenizer: Tokenizer,
    config: ModelConfig,
    question: Question,
    *,
    num_attempts: int,
    max_tokens: int,
    buckets: Sequence[int] = BUCKETS,
) -> int:
    """Tokens that prompts of a question may have.

    Args:
        prompt: how a question becomes a prompt.
        tokenizer: of the policy.
        config: of the policy.
        question: its own attempts do not count.
        num_attempts: earlier attempts that a prompt shows at most; as many as the context leaves room for, none is enough.
        max_tokens: of a solution.
        buckets: rooms for prompts.

    Raises:
        ConfigError: not even the bare prompt leaves room for a solution, or no bucket holds it.
        TokenizerError: the question cannot be encoded.
    """
    bare = len(prompt.encode(tokenizer, question.text))
    check_context(config, question.id, bare, max_tokens, buckets)
    if not num_attempts:
        return bare
    wanted = prompt.most_tokens(tokenizer, question.text, num_attempts, max_tokens)
    return max(bare, min(wanted, config.max_context - max_tokens, buckets[-1]))
