"""Architectures of published models, so that a plan needs no weights: the part of their `config.json` that decides them.

The names are those of the Hub, or of a preset. A model that was tuned from one of these has its architecture: `-Instruct`
is the same.
"""

from collections.abc import Mapping
from typing import Any

from jaxreason.core.architecture import ModelConfig

_LLAMA_ROPE = {
    'rope_type': 'llama3',
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
}


def _llama(width: int, mlp: int, layers: int, heads: int, factor: float, tied: bool) -> Mapping[str, Any]:
    return {
        'model_type': 'llama',
        'vocab_size': 128_256,
        'hidden_size': width,
        'intermediate_size': mlp,
        'num_hidden_layers': layers,
        'num_attention_heads': heads,
        'num_key_value_heads': 8,
        'max_position_embeddings': 131_072,
        'rms_norm_eps': 1e-5,
        'rope_theta': 500_000.0,
        'rope_scaling': {**_LLAMA_ROPE, 'factor': factor},
        'tie_word_embeddings': tied,
    }


def _qwen(width: int, mlp: int, layers: int, heads: int, kv_heads: int, vocab: int, tied: bool) -> Mapping[str, Any]:
    return {
        'model_type': 'qwen2',
        'vocab_size': vocab,
        'hidden_size': width,
        'intermediate_size': mlp,
        'num_hidden_layers': layers,
        'num_attention_heads': heads,
        'num_key_value_heads': kv_heads,
        'max_position_embeddings': 32_768,
        'rms_norm_eps': 1e-6,
        'rope_theta': 1_000_000.0,
        'use_sliding_window': False,
        'tie_word_embeddings': tied,
    }


PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    'smollm2-135m': {
        'model_type': 'llama',
        'vocab_size': 49_152,
        'hidden_size': 576,
        'intermediate_size': 1536,
        'num_hidden_layers': 30,
        'num_attention_heads': 9,
        'num_key_value_heads': 3,
        'max_position_embeddings': 8192,
        'rms_norm_eps': 1e-5,
        'rope_theta': 100_000.0,
        'tie_word_embeddings': True,
    },
    'meta-llama/Llama-3.2-1B': _llama(2048, 8192, 16, 32, 32.0, True),
    'meta-llama/Llama-3.2-3B': _llama(3072, 8192, 28, 24, 32.0, True),
    'meta-llama/Llama-3.1-8B': _llama(4096, 14_336, 32, 32, 8.0, False),
    'Qwen/Qwen2.5-0.5B': _qwen(896, 4864, 24, 14, 2, 151_936, True),
    'Qwen/Qwen2.5-1.5B': _qwen(1536, 8960, 28, 12, 2, 151_936, True),
    'Qwen/Qwen2.5-3B': _qwen(2048, 11_008, 36, 16, 2, 151_936, True),
    'Qwen/Qwen2.5-7B': _qwen(3584, 18_944, 28, 28, 4, 152_064, False),
    'Qwen/Qwen2.5-14B': _qwen(5120, 13_824, 48, 40, 8, 152_064, False),
}


def published(name: str) -> ModelConfig | None:
    """The architecture of a published model, or None where it is not in the table; dtypes are left at float32.

    Args:
        name: OWNER/NAME on the Hub, or a preset.
    """
    config = PUBLISHED.get(name.removesuffix('-Instruct'))
    return None if config is None else ModelConfig.from_hugging_face(config)
