"""Between a Hugging Face `config.json` and a `ModelConfig`.

Both spellings of rotary settings are read: `rope_theta` beside `rope_scaling`, and the later `rope_parameters` (one object,
or one for each kind of layer). A setting that would change the numbers and is not supported is an error, never ignored.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxreason.core.architecture import ModelConfig, RopeScaling
from jaxreason.core.errors import ConfigError, WeightsError

FAMILIES = ('llama', 'mistral', 'qwen2', 'qwen3', 'gemma2', 'gemma3_text', 'phi3')

# Decoders with a head of their own, which `models.value_heads` has: what `auto_map` names beside them is never run, nor needed.
REWARD_ARCHITECTURES = ('Qwen2ForProcessRewardModel', 'Qwen2ForRewardModel')

_ACTIVATIONS = {'silu': 'silu', 'swish': 'silu', 'gelu': 'gelu', 'gelu_pytorch_tanh': 'gelu_tanh', 'gelu_new': 'gelu_tanh'}

# Published Gemma 3 files leave out whatever equals the family's default.
_GEMMA3 = {
    'vocab_size': 262_208,
    'num_attention_heads': 8,
    'num_key_value_heads': 4,
    'head_dim': 256,
    'max_position_embeddings': 131_072,
    'rms_norm_eps': 1e-6,
    'query_pre_attn_scalar': 256,
    'sliding_window': 4096,
    'rope_theta': 1_000_000.0,
    'rope_local_base_freq': 10_000.0,
}
# Above any field of a real model; keeps arithmetic on what a file says within range.
_LARGEST = 2**31
_MOST_LAYERS = 4096
_DEFAULT_EPSILON = {'phi3': 1e-5}
_DEFAULT_WINDOW = {'mistral': 4096, 'gemma2': 4096, 'qwen2': 4096, 'qwen3': 4096}


def parse(config: Mapping[str, Any]) -> ModelConfig:
    """Reads a Hugging Face config; see `ModelConfig.from_hugging_face`."""
    try:
        return _parse(config)
    except ConfigError as error:
        raise WeightsError(f'config.json: {error}') from error


def _parse(config: Mapping[str, Any]) -> ModelConfig:
    if 'auto_map' in config and config.get('architectures') not in [[name] for name in REWARD_ARCHITECTURES]:
        raise WeightsError(
            'config.json: auto_map asks to run code that came with the weights, which is refused; '
            'delete the entry if the model is a plain one of its model_type.'
        )
    family = config.get('model_type')
    if family == 'gemma3':  # vision and language in one file: the language half
        text = config.get('text_config')
        if not isinstance(text, Mapping):
            raise WeightsError(f'config.json: gemma3 needs an object text_config, got {text!r}.')
        config, family = {**text, 'model_type': 'gemma3_text'}, 'gemma3_text'
    if family not in FAMILIES:
        raise WeightsError(f'config.json: model_type must be one of {", ".join(FAMILIES)}, got {family!r}.')
    if family == 'gemma3_text':
        config = {**_GEMMA3, **{name: value for name, value in config.items() if value is not None}}
    gemma = family in ('gemma2', 'gemma3_text')
    width, num_heads = _required(config, 'hidden_size'), _required(config, 'num_attention_heads')
    num_layers = _required(config, 'num_hidden_layers')
    return ModelConfig(
        family=family,
        vocab_size=_required(config, 'vocab_size'),
        num_layers=num_layers,
        width=width,
        mlp_width=_required(config, 'intermediate_size'),
        num_heads=num_heads,
        num_kv_heads=_or(config.get('num_key_value_heads'), num_heads),
        head_width=_head_width(config, family, width, num_heads),
        max_positions=_required(config, 'max_position_embeddings'),
        activation=_activation(config, gemma),
        norm_epsilon=_or(config.get('rms_norm_eps'), _DEFAULT_EPSILON.get(family, 1e-6)),
        unit_offset_norms=gemma,
        post_norms=gemma,
        qk_norm=family in ('qwen3', 'gemma3_text'),
        qkv_bias=family == 'qwen2' or _flag(config, 'attention_bias'),
        output_bias=family != 'qwen2' and _flag(config, 'attention_bias'),
        mlp_bias=_flag(config, 'mlp_bias'),
        tied_head=_flag(config, 'tie_word_embeddings', gemma),
        windows=_windows(config, family, num_layers),
        **_rotary(config, family),
        query_scale=_query_scale(config) if gemma else None,
        attention_softcap=config.get('attn_logit_softcapping', 50.0 if family == 'gemma2' else None) if gemma else None,
        final_softcap=config.get('final_logit_softcapping', 30.0 if family == 'gemma2' else None) if gemma else None,
        embedding_scale=width**0.5 if gemma else 1.0,
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _required(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if value is None:
        raise WeightsError(f'config.json: {name} is missing; add it from the original model.')
    return _whole(config, name, value)


def _whole(config: Mapping[str, Any], name: str, default: int) -> int:
    value = _or(config.get(name), default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise WeightsError(f'config.json: {name} must be a whole number in [1, {_LARGEST}], got {value!r}.')
    return value


def _flag(config: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = _or(config.get(name), default)
    if not isinstance(value, bool):
        raise WeightsError(f'config.json: {name} must be true or false, got {value!r}.')
    return value


def _head_width(config: Mapping[str, Any], family: str, width: int, num_heads: int) -> Any:
    given = config.get('head_dim')
    if given is not None:
        return given
    if family == 'gemma2':
        return 256
    if family == 'qwen3':
        return 128
    if width % num_heads:
        raise WeightsError(
            f'config.json: num_attention_heads must divide hidden_size ({width}) where head_dim is not given, got {num_heads}.'
        )
    return width // num_heads


def _activation(config: Mapping[str, Any], gemma: bool) -> Any:
    # Gemma's files carry both names; its authors trained with the tanh form, which the second name holds.
    name = config.get('hidden_activation', 'gelu_pytorch_tanh') if gemma else config.get('hidden_act', 'silu')
    name = 'gelu_pytorch_tanh' if gemma and name is None else name
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise WeightsError(f'config.json: activation must be one of {", ".join(_ACTIVATIONS)}, got {name!r}.')
    return _ACTIVATIONS[name]


def _query_scale(config: Mapping[str, Any]) -> float:
    scalar = _or(config.get('query_pre_attn_scalar'), 256)
    if isinstance(scalar, bool) or not isinstance(scalar, int | float) or not 0 < scalar <= _LARGEST:
        raise WeightsError(f'config.json: query_pre_attn_scalar must be a number above 0, got {scalar!r}.')
    return scalar**-0.5


def _windows(config: Mapping[str, Any], family: str, num_layers: int) -> tuple[int, ...]:
    """The window of every layer; the families switch windows on in different ways."""
    if _flag(config, 'use_bidirectional_attention'):
        raise WeightsError('config.json: use_bidirectional_attention is not supported; only causal models are.')
    window = config.get('sliding_window', _DEFAULT_WINDOW.get(family))
    if family.startswith('qwen') and not _flag(config, 'use_sliding_window'):
        window = None
    if family == 'llama' or window is None or num_layers > _MOST_LAYERS:  # too many layers: said by the config's own check
        return ()
    kinds = config.get('layer_types')
    if family in ('mistral', 'phi3'):
        kinds = ['sliding_attention'] * num_layers
    elif kinds is None and family.startswith('qwen'):
        first = _whole(config, 'max_window_layers', 28)
        kinds = ['sliding_attention' if layer >= first else 'full_attention' for layer in range(num_layers)]
    elif kinds is None:
        every = 2 if family == 'gemma2' else _whole(config, 'sliding_window_pattern', 6)
        kinds = ['full_attention' if (layer + 1) % every == 0 else 'sliding_attention' for layer in range(num_layers)]
    if not isinstance(kinds, list):
        raise WeightsError(f'config.json: layer_types must be a list, got {kinds!r}.')
    for kind in kinds:
        if kind not in ('sliding_attention', 'full_attention'):
            raise WeightsError(f'config.json: layer_types must be sliding_attention or full_attention, got {kind!r}.')
    return tuple(window if kind == 'sliding_attention' else 0 for kind in kinds)


def _rotary(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Rotary base, local base, share and stretch, from either spelling."""
    new = _object(config, 'rope_parameters')
    local = None
    if family == 'gemma3_text':
        sliding = _object(new, 'sliding_attention')
        if sliding.get('rope_type', 'default') != 'default':
            raise WeightsError(f'config.json: rope type {sliding["rope_type"]!r} is not supported on sliding layers.')
        local = _or(sliding.get('rope_theta'), config['rope_local_base_freq'])
        new = _object(new, 'full_attention')
    theta = _or(new.get('rope_theta'), _or(config.get('rope_theta'), 10_000.0))
    share = _or(new.get('partial_rotary_factor'), _or(config.get('partial_rotary_factor'), 1.0))
    scaling = _scaling(config, _object(config, 'rope_scaling') or new, family)
    return {'rope_theta': theta, 'local_rope_theta': local, 'rotary_fraction': share, 'rope_scaling': scaling}


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WeightsError(f'config.json: {name} must be an object, got {value!r}.')
    return value


def _scaling(config: Mapping[str, Any], scaling: Mapping[str, Any], family: str) -> RopeScaling | None:
    kind = _or(scaling.get('rope_type'), _or(scaling.get('type'), 'default'))
    if family == 'phi3' and kind in ('su', 'yarn'):  # earlier names of longrope in Phi-3's files
        kind = 'longrope'
    if kind == 'default':
        return None
    original = config.get('original_max_position_embeddings') if family == 'phi3' else None
    original = _or(original, scaling.get('original_max_position_embeddings'))
    original = _or(original, 4096 if family == 'phi3' else config.get('max_position_embeddings'))
    original = _whole({'original_max_position_embeddings': original}, 'original_max_position_embeddings', 0)
    try:
        if kind == 'linear':
            return RopeScaling(kind='linear', factor=scaling['factor'])
        if kind == 'llama3':
            return RopeScaling(
                kind='llama3',
                factor=scaling['factor'],
                low_freq_factor=scaling['low_freq_factor'],
                high_freq_factor=scaling['high_freq_factor'],
                original_max_positions=original,
            )
        if kind == 'longrope':
            return RopeScaling(
                kind='longrope',
                factor=_or(scaling.get('factor'), _required(config, 'max_position_embeddings') / original),
                original_max_positions=original,
                short_factor=_numbers(scaling, 'short_factor'),
                long_factor=_numbers(scaling, 'long_factor'),
                attention_factor=scaling.get('attention_factor'),
            )
    except KeyError as error:
        raise WeightsError(f'config.json: rope scaling {kind} needs {error.args[0]}, which is missing.') from error
    raise WeightsError(f'config.json: rope scaling must be default, linear, llama3 or longrope, got {kind!r}.')


def _numbers(scaling: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = scaling[name]
    if not isinstance(values, list):
        raise WeightsError(f'config.json: rope scaling {name} must be a list of numbers, got {values!r}.')
    return tuple(values)


def render(config: ModelConfig) -> dict[str, Any]:
    """Writes a Hugging Face config; see `ModelConfig.to_hugging_face`."""
    if config.family != 'llama':
        raise ConfigError(f'only models of the llama family can be written as a Hugging Face folder, got {config.family!r}.')
    if config.qkv_bias != config.output_bias:
        raise ConfigError('the llama family has attention biases on all four projections or on none.')
    result: dict[str, Any] = {
        'architectures': ['LlamaForCausalLM'],
        'model_type': 'llama',
        'vocab_size': config.vocab_size,
        'hidden_size': config.width,
        'intermediate_size': config.mlp_width,
        'num_hidden_layers': config.num_layers,
        'num_attention_heads': config.num_heads,
        'num_key_value_heads': config.num_kv_heads,
        'head_dim': config.head_width,
        'max_position_embeddings': config.max_positions,
        'hidden_act': {ours: name for name, ours in reversed(_ACTIVATIONS.items())}[config.activation],
        'rms_norm_eps': config.norm_epsilon,
        'attention_bias': config.qkv_bias,
        'mlp_bias': config.mlp_bias,
        'tie_word_embeddings': config.tied_head,
        'rope_theta': config.rope_theta,
        'rope_scaling': None,
        'torch_dtype': config.parameter_dtype,
    }
    scaling = config.rope_scaling
    if scaling is not None:
        result['rope_scaling'] = {'rope_type': scaling.kind, 'factor': scaling.factor}
        if scaling.kind == 'llama3':
            result['rope_scaling'] |= {
                'low_freq_factor': scaling.low_freq_factor,
                'high_freq_factor': scaling.high_freq_factor,
                'original_max_position_embeddings': scaling.original_max_positions,
            }
        elif scaling.kind == 'longrope':
            raise ConfigError('the llama family is not written with longrope scaling.')
    _check_nothing_is_lost(config, parse(result))
    return result


def _check_nothing_is_lost(config: ModelConfig, written: ModelConfig) -> None:
    """Refuses a config that would be read back as another model. Dtypes are the reader's choice."""
    for field in dataclasses.fields(config):
        given, read = getattr(config, field.name), getattr(written, field.name)
        if given != read and not field.name.endswith('_dtype'):
            raise ConfigError(
                f'{field.name} has no place in a file of the llama family, which means {str(read)[:60]}; got {str(given)[:60]}.'
            )
