"""What a GGUF file says, in Hugging Face's words: the configuration and the tensors.

GGUF files are made by llama.cpp's converter, which renames metadata and tensors and changes some values: for the `llama`
architecture it reorders the rows of query and key projections (its rotary embedding pairs neighbours, Hugging Face's pairs
halves), for Gemma it stores norms as 1 + w, for Llama 3 and Phi-3 it moves the rotary scaling into tensors. All of it is undone
here, so that one loader of Hugging Face names serves both kinds of file.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from jaxreason.core.errors import WeightsError
from jaxreason.models.gguf_file import GgufFile

_SHARED_BLOCK = {
    'attn_norm': 'input_layernorm',
    'attn_q': 'self_attn.q_proj',
    'attn_k': 'self_attn.k_proj',
    'attn_v': 'self_attn.v_proj',
    'attn_output': 'self_attn.o_proj',
    'ffn_norm': 'post_attention_layernorm',
    'ffn_gate': 'mlp.gate_proj',
    'ffn_up': 'mlp.up_proj',
    'ffn_down': 'mlp.down_proj',
}
_HEAD_NORMS = {'attn_q_norm': 'self_attn.q_norm', 'attn_k_norm': 'self_attn.k_norm'}
_SANDWICH_NORMS = {
    'post_attention_norm': 'post_attention_layernorm',
    'ffn_norm': 'pre_feedforward_layernorm',
    'post_ffw_norm': 'post_feedforward_layernorm',
}
_FUSED = {'attn_qkv': 'self_attn.qkv_proj', 'ffn_up': 'mlp.gate_up_proj'}
_TOP = {'token_embd': 'model.embed_tokens', 'output_norm': 'model.norm', 'output': 'lm_head'}
_ROTARY_TENSORS = ('rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight')

# Llama 3.1's rotary scaling; every released Llama 3.x uses these three and its own factor.
_LLAMA3_LOW, _LLAMA3_HIGH, _LLAMA3_CONTEXT = 1.0, 4.0, 8192

_GEMMA_27B_LAYERS = {'gemma2': 46, 'gemma3': 62}


@dataclasses.dataclass(frozen=True)
class _Architecture:
    """How one llama.cpp architecture differs.

    Attributes:
        model_type: Hugging Face's name of it.
        block: llama.cpp's name of a layer's weight -> Hugging Face's.
        activation: of the feed-forward layer.
        rows_permuted: query and key rows are in llama.cpp's rotary order.
        norms_plus_one: norm weights are stored as 1 + w.
    """

    model_type: str
    block: Mapping[str, str]
    activation: str = 'silu'
    rows_permuted: bool = False
    norms_plus_one: bool = False


ARCHITECTURES: Mapping[str, _Architecture] = {
    'llama': _Architecture('llama', _SHARED_BLOCK, rows_permuted=True),
    'qwen2': _Architecture('qwen2', _SHARED_BLOCK),
    'qwen3': _Architecture('qwen3', _SHARED_BLOCK | _HEAD_NORMS),
    'gemma2': _Architecture('gemma2', _SHARED_BLOCK | _SANDWICH_NORMS, 'gelu_pytorch_tanh', norms_plus_one=True),
    'gemma3': _Architecture(
        'gemma3_text', _SHARED_BLOCK | _HEAD_NORMS | _SANDWICH_NORMS, 'gelu_pytorch_tanh', norms_plus_one=True
    ),
    'phi3': _Architecture('phi3', _SHARED_BLOCK | _FUSED),
}


def hugging_face_config(file: GgufFile) -> dict[str, object]:
    """Translates a GGUF file's metadata into the mapping that a `config.json` would hold.

    Args:
        file: of a supported architecture.

    Returns:
        Hugging Face's keys and values, for `ModelConfig.from_hugging_face`.

    Raises:
        WeightsError: the architecture or a feature of it is not supported, or a key is missing or of the wrong type.
    """
    name, architecture = _architecture(file)
    read = _Metadata(file, name)
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
        'bos_token_id': file.value('tokenizer.ggml.bos_token_id', int),
        'eos_token_id': file.value('tokenizer.ggml.eos_token_id', int),
    }
    config |= _rotary(read, config)
    config |= _OWN_KEYS[name](read, config)
    return config


def hugging_face_names(file: GgufFile) -> dict[str, str]:
    """Names a GGUF file's weights as Hugging Face does.

    Args:
        file: of a supported architecture.

    Returns:
        Hugging Face tensor name -> the file's own; rotary factors are not among them, they belong to the configuration.

    Raises:
        WeightsError: the architecture is not supported, or it has no tensor of some name in the file.
    """
    _, architecture = _architecture(file)
    return {_target_name(file, architecture, source): source for source in file.tensors if source not in _ROTARY_TENSORS}


def hugging_face_tensors(file: GgufFile) -> dict[str, Callable[[], np.ndarray]]:
    """Gives readers of a GGUF file's weights that undo what the converter did to their values.

    Args:
        file: of a supported architecture.

    Returns:
        Hugging Face tensor name -> a reader that returns the float32 values.

    Raises:
        WeightsError: as `hugging_face_names`.
    """
    name, architecture = _architecture(file)
    read = _Metadata(file, name)
    heads = read.count('attention.head_count')
    key_heads = read.count('attention.head_count_kv', heads)
    readers = {}
    for target, source in hugging_face_names(file).items():
        rows_of = {'attn_q': heads, 'attn_k': key_heads}.get(source.split('.')[-2]) if architecture.rows_permuted else None
        readers[target] = _reader(file, source, rows_of, architecture.norms_plus_one and target.endswith('norm.weight'))
    return readers


def split_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Reorders the rows of a query or key projection from llama.cpp's rotary pairs to Hugging Face's.

    In every head, llama.cpp keeps the two rows of a rotated pair side by side (0, h/2, 1, h/2 + 1, ...), Hugging Face keeps all
    first rows before all second rows.

    Args:
        rows: [heads * head width, ...] weight or bias.
        heads: that share the rows.

    Returns:
        The same rows in Hugging Face's order.

    Raises:
        ValueError: the rows do not divide into heads of even width.
    """
    count = rows.shape[0]
    if count % (2 * heads):
        raise ValueError(f'{count} rows do not divide into {heads} heads of even width.')
    return rows.reshape(heads, count // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


class _Metadata:
    """Typed look-ups of `<architecture>.<key>`."""

    def __init__(self, file: GgufFile, architecture: str):
        self.file = file
        self.prefix = architecture

    def count(self, key: str, default: int | None = None) -> int:
        found = self._value(key, int, default)
        assert isinstance(found, int)
        return found

    def real(self, key: str, default: float | None = None) -> float:
        found = self._value(key, (int, float), default)
        assert isinstance(found, int | float)
        return _shortest(found)

    def text(self, key: str, default: str) -> str:
        return str(self._value(key, str, default))

    def has(self, key: str) -> bool:
        return f'{self.prefix}.{key}' in self.file.metadata

    def _value(self, key: str, kind: type | tuple[type, ...], default: object) -> object:
        found = self.file.value(f'{self.prefix}.{key}', kind, default)
        if found is None:
            raise WeightsError(
                f'{self.file.path}: expected a metadata key {self.prefix}.{key}, found none; convert the model again.'
            )
        return found


def _architecture(file: GgufFile) -> tuple[str, _Architecture]:
    name = file.value('general.architecture', str)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        wanted = ', '.join(ARCHITECTURES)
        found = 'none' if name is None else repr(str(name)[:64])
        raise WeightsError(f'{file.path}: architecture {found} is not supported, supported are {wanted}.')
    pieces = file.value('split.count', int, 1)
    if isinstance(pieces, int) and pieces > 1:
        raise WeightsError(
            f'{file.path}: is one of {pieces} pieces, expected a whole model; join them with llama-gguf-split --merge.'
        )
    experts = file.value(f'{name}.expert_count', int, 0)
    if experts:
        raise WeightsError(f'{file.path}: {name} with {experts} experts is not supported, expected a dense model.')
    return name, ARCHITECTURES[name]


def _head_width(read: _Metadata, architecture: _Architecture, width: int, heads: int) -> int:
    keys = read.count('attention.key_length', width // heads if heads else 0)
    values = read.count('attention.value_length', keys)
    if keys != values:
        raise WeightsError(
            f'{read.file.path}: keys of width {keys} and values of width {values} are not supported, expected one width.'
        )
    rotated = read.count('rope.dimension_count', keys)
    if rotated != keys and architecture.model_type != 'phi3':
        raise WeightsError(f'{read.file.path}: {rotated} of {keys} head dimensions rotate, expected all for {read.prefix}.')
    return keys


def _rotary(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
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
    factor = _shortest(float(found.max()))
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
    wavelengths = 2 * math.pi * theta ** (np.arange(0, head_width, 2) / head_width)
    smooth = (_LLAMA3_CONTEXT / wavelengths - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW)
    smooth = np.clip(smooth, 0.0, 1.0)
    return 1 / ((1 - smooth) / factor + smooth)


def _long_scaling(read: _Metadata) -> dict[str, object]:
    """Phi-3's scaling: a divisor of every frequency for short and for long sequences."""
    factors = {}
    for key, tensor in (('long_factor', 'rope_factors_long.weight'), ('short_factor', 'rope_factors_short.weight')):
        factors[key] = [_shortest(float(value)) for value in read.file.tensor(tensor).reshape(-1)]
    scaling: dict[str, object] = {'rope_type': 'longrope', **factors}
    if read.has('rope.scaling.attn_factor'):
        scaling['attention_factor'] = read.real('rope.scaling.attn_factor')
    return {'rope_scaling': scaling}


def _llama_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    if read.has('attention.sliding_window'):  # Mistral 7B v0.1; the architecture is Llama's otherwise
        return {'model_type': 'mistral', 'sliding_window': read.count('attention.sliding_window')}
    return {
        'attention_bias': 'blk.0.attn_q.bias' in read.file.tensors,
        'mlp_bias': 'blk.0.ffn_up.bias' in read.file.tensors,
    }


def _qwen2_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return {'use_sliding_window': False}


def _qwen3_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return {'use_sliding_window': False, 'attention_bias': 'blk.0.attn_q.bias' in read.file.tensors}


def _gemma_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    width, heads, head_width = (config[key] for key in ('hidden_size', 'num_attention_heads', 'head_dim'))
    assert isinstance(width, int) and isinstance(heads, int) and isinstance(head_width, int)
    # The file does not store the scale of the queries; llama.cpp tells the one odd size, 27B, by its number of layers.
    is_27b = config['num_hidden_layers'] == _GEMMA_27B_LAYERS[read.prefix]
    return {
        'hidden_activation': config['hidden_act'],
        'query_pre_attn_scalar': width // heads if is_27b else head_width,
        'sliding_window': read.count('attention.sliding_window'),
    }


def _gemma2_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return _gemma_keys(read, config) | {
        'attn_logit_softcapping': read.real('attn_logit_softcapping', 50.0),
        'final_logit_softcapping': read.real('final_logit_softcapping', 30.0),
    }


def _gemma3_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    return _gemma_keys(read, config) | {
        'sliding_window_pattern': read.count('attention.sliding_window_pattern', 6),
        'rope_local_base_freq': read.real('rope.freq_base_swa', 10000.0),
    }


def _phi3_keys(read: _Metadata, config: Mapping[str, object]) -> dict[str, object]:
    head_width, context = config['head_dim'], config['max_position_embeddings']
    assert isinstance(head_width, int) and isinstance(context, int)
    window = read.count('attention.sliding_window', 0)
    return {
        'partial_rotary_factor': read.count('rope.dimension_count', head_width) / head_width,
        'original_max_position_embeddings': read.count('rope.scaling.original_context_length', context),
        'sliding_window': window or None,
    }


_OWN_KEYS: Mapping[str, Callable[[_Metadata, Mapping[str, object]], dict[str, object]]] = {
    'llama': _llama_keys,
    'qwen2': _qwen2_keys,
    'qwen3': _qwen3_keys,
    'gemma2': _gemma2_keys,
    'gemma3': _gemma3_keys,
    'phi3': _phi3_keys,
}


def _target_name(file: GgufFile, architecture: _Architecture, source: str) -> str:
    stem, _, kind = source.rpartition('.')
    parts = stem.split('.')
    if kind in ('weight', 'bias'):
        if stem in _TOP:
            return f'{_TOP[stem]}.{kind}'
        if len(parts) == 3 and parts[0] == 'blk' and _is_index(parts[1]) and parts[2] in architecture.block:
            return f'model.layers.{parts[1]}.{architecture.block[parts[2]]}.{kind}'
    raise WeightsError(
        f'{file.path}: tensor {source[:64]!r} is not part of a {architecture.model_type} model; convert the model again.'
    )


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text[:9])) == text


def _reader(file: GgufFile, source: str, heads: int | None, plus_one: bool) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        values = file.tensor(source)
        if heads is not None:
            try:
                values = split_halves(values, heads)
            except ValueError as error:
                raise WeightsError(f'{file.path}: tensor {source}: {error}') from error
        return values - np.float32(1) if plus_one else values

    return read


def _shortest(value: float) -> float:
    """The shortest decimal that is the same float32: the file keeps 1e-5 as 9.999999747378752e-06."""
    return float(str(np.float32(value)))
