"""The configuration of a GGUF file, in Hugging Face's words.

Most of it is metadata under other names. Llama 3's and Phi-3's rotary scaling lies in tensors, and two things are not in the
file at all: the scale of Gemma's queries, and the parameters behind Llama 3's rotary factors.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from jaxreason.core.errors import WeightsError
from jaxreason.models.gguf_architecture import Architecture, Metadata, architecture_of, shortest
from jaxreason.models.gguf_file import GgufFile

# Llama 3.1's rotary scaling; every released Llama 3.x uses these three and its own factor.
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192

_GEMMA_27B_LAYERS = {'gemma2': 46, 'gemma3': 62}


def hugging_face_config(file: GgufFile) -> dict[str, object]:
    """Translates a GGUF file's metadata into the mapping that a `config.json` would hold.

    Args:
        file: of a supported architecture.

    Returns:
        Hugging Face's keys and values, for `ModelConfig.from_hugging_face`.

    Raises:
        WeightsError: the architecture or a feature of it is not supported, or a key is missing or of the wrong type.
    """
    name, architecture = architecture_of(file)
    read = Metadata(file, name)
    embedding = file.tensors.get('token_embd.weight')
    if embedding is None or len(embedding.shape) != 2:
        raise WeightsError(f'{file.path}: expected a matrix token_embd.weight, the file has none; fetch or convert it again.')
    heads = read.count('attention.head_count')
    width = read.count('embedding_length')
    config: dict[str, object] = {
        'model_type': architecture.model_type,
        'vocab_size': embedding.shape[0],
        'hidden_size': width,
        'intermediate_size': read.count('feed_forward_length'),
        'num_hidden_layers': read.count('block_count'),
        'num_attention_heads': heads,
        'num_key_value_heads': read.count('attention.head_count_kv', heads),
        'head_dim': _head_width(read, architecture, width, heads),
        'max_position_embeddings': read.count('context_length'),
        'rms_norm_eps': read.real('attention.layer_norm_rms_epsilon'),
        'rope_theta': read.real('rope.freq_base', 10000.0),
        'tie_word_embeddings': 'output.weight' not in file.tensors,
        'hidden_act': architecture.activation,
    }
    config |= _rotary(read, config)
    config |= _OWN_KEYS[name](read, config)
    return config


def _head_width(read: Metadata, architecture: Architecture, width: int, heads: int) -> int:
    keys = read.count('attention.key_length', width // heads)
    values = read.count('attention.value_length', keys)
    if keys != values:
        raise WeightsError(
            f'{read.file.path}: keys of width {keys} and values of width {values} are not supported, expected one width.'
        )
    rotated = read.count('rope.dimension_count', keys)
    if rotated != keys and architecture.model_type != 'phi3':
        raise WeightsError(f'{read.file.path}: {rotated} of {keys} head dimensions rotate, expected all for {read.prefix}.')
    return keys


def _rotary(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    """The `rope_scaling` entry, from metadata or from the tensors that llama.cpp keeps it in."""
    if 'rope_freqs.weight' in read.file.tensors:
        return {'rope_scaling': _llama3_scaling(read.file, config)}
    if 'rope_factors_long.weight' in read.file.tensors:
        return _long_scaling(read)
    kind = read.text('rope.scaling.type', 'none')
    if kind == 'none' and read.has('rope.scale_linear'):
        return {'rope_scaling': {'rope_type': 'linear', 'factor': read.real('rope.scale_linear')}}
    if kind == 'none':
        return {}
    if kind != 'linear':
        raise WeightsError(
            f'{read.file.path}: rotary scaling {kind[:32]!r} is not supported in GGUF files, supported are none, linear.'
        )
    return {'rope_scaling': {'rope_type': 'linear', 'factor': read.real('rope.scaling.factor')}}


def _llama3_scaling(file: GgufFile, config: Mapping[str, object]) -> dict[str, object]:
    """The parameters of Llama 3's scaling whose divisors are the file's `rope_freqs.weight`."""
    theta, head_width = config['rope_theta'], config['head_dim']
    assert isinstance(theta, float) and isinstance(head_width, int)
    found = file.tensor('rope_freqs.weight').reshape(-1)
    factor = shortest(float(found.max()))
    expected = _llama3_divisors(theta, head_width, factor)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
        raise WeightsError(
            f'{file.path}: rope_freqs.weight is not the rotary scaling of Llama 3, the only one that is supported.'
        )
    return {
        'rope_type': 'llama3',
        'factor': factor,
        'low_freq_factor': _LLAMA3_LOW,
        'high_freq_factor': _LLAMA3_HIGH,
        'original_max_position_embeddings': _LLAMA3_CONTEXT,
    }


def _llama3_divisors(theta: float, head_width: int, factor: float) -> np.ndarray:
    """What each rotary frequency is divided by: 1 for short waves, `factor` for long ones, smooth between."""
    with np.errstate(all='ignore'):  # a damaged base gives NaN, which equals no factor of the file
        wavelengths = 2 * math.pi * theta ** (np.arange(0, head_width, 2) / head_width)
        smooth = (_LLAMA3_CONTEXT / wavelengths - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW)
        smooth = np.clip(smooth, 0.0, 1.0)
        return 1 / ((1 - smooth) / factor + smooth)


def _long_scaling(read: Metadata) -> dict[str, object]:
    """Phi-3's scaling: a divisor of every frequency for short and for long sequences."""
    factors = {}
    for key, tensor in (('long_factor', 'rope_factors_long.weight'), ('short_factor', 'rope_factors_short.weight')):
        factors[key] = [shortest(float(value)) for value in read.file.tensor(tensor).reshape(-1)]
    scaling: dict[str, object] = {'rope_type': 'longrope', **factors}
    if read.has('rope.scaling.attn_factor'):
        scaling['attention_factor'] = read.real('rope.scaling.attn_factor')
    return {'rope_scaling': scaling}


def _llama_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    if read.has('attention.sliding_window'):  # Mistral 7B v0.1; the architecture is Llama's otherwise
        return {'model_type': 'mistral', 'sliding_window': read.count('attention.sliding_window')}
    return {
        'attention_bias': 'blk.0.attn_q.bias' in read.file.tensors,
        'mlp_bias': 'blk.0.ffn_up.bias' in read.file.tensors,
    }


def _qwen2_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return {'use_sliding_window': False}


def _qwen3_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return {'use_sliding_window': False, 'attention_bias': 'blk.0.attn_q.bias' in read.file.tensors}


def _gemma_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    width, heads, head_width = (config[key] for key in ('hidden_size', 'num_attention_heads', 'head_dim'))
    assert isinstance(width, int) and isinstance(heads, int) and isinstance(head_width, int)
    # The file does not store the scale of the queries; llama.cpp tells the one odd size, 27B, by its number of layers.
    is_27b = config['num_hidden_layers'] == _GEMMA_27B_LAYERS[read.prefix]
    return {
        'hidden_activation': config['hidden_act'],
        'query_pre_attn_scalar': width // heads if is_27b else head_width,
        'sliding_window': read.count('attention.sliding_window'),
    }


def _gemma2_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return _gemma_keys(read, config) | {
        'attn_logit_softcapping': read.real('attn_logit_softcapping', 50.0),
        'final_logit_softcapping': read.real('final_logit_softcapping', 30.0),
    }


def _gemma3_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return _gemma_keys(read, config) | {
        'sliding_window_pattern': read.count('attention.sliding_window_pattern', 6),
        'rope_local_base_freq': read.real('rope.freq_base_swa', 10000.0),
    }


def _phi3_keys(read: Metadata, config: Mapping[str, object]) -> dict[str, object]:
    head_width, context = config['head_dim'], config['max_position_embeddings']
    assert isinstance(head_width, int) and isinstance(context, int)
    window = read.count('attention.sliding_window', 0, least=0)
    return {
        'partial_rotary_factor': read.count('rope.dimension_count', head_width) / head_width,
        'original_max_position_embeddings': read.count('rope.scaling.original_context_length', context),
        'sliding_window': window or None,
    }


_OWN_KEYS: Mapping[str, Callable[[Metadata, Mapping[str, object]], dict[str, object]]] = {
    'llama': _llama_keys,
    'qwen2': _qwen2_keys,
    'qwen3': _qwen3_keys,
    'gemma2': _gemma2_keys,
    'gemma3': _gemma3_keys,
    'phi3': _phi3_keys,
}
