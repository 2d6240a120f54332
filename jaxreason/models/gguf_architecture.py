"""The llama.cpp architectures that are read: how each names its weights and what its converter changes, and typed metadata."""

import dataclasses
from collections.abc import Mapping

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


@dataclasses.dataclass(frozen=True)
class Architecture:
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


ARCHITECTURES: Mapping[str, Architecture] = {
    'llama': Architecture('llama', _SHARED_BLOCK, rows_permuted=True),
    'qwen2': Architecture('qwen2', _SHARED_BLOCK),
    'qwen3': Architecture('qwen3', _SHARED_BLOCK | _HEAD_NORMS),
    'gemma2': Architecture('gemma2', _SHARED_BLOCK | _SANDWICH_NORMS, 'gelu_pytorch_tanh', norms_plus_one=True),
    'gemma3': Architecture(
        'gemma3_text', _SHARED_BLOCK | _HEAD_NORMS | _SANDWICH_NORMS, 'gelu_pytorch_tanh', norms_plus_one=True
    ),
    'phi3': Architecture('phi3', _SHARED_BLOCK | _FUSED),
}


def architecture_of(file: GgufFile) -> tuple[str, Architecture]:
    """Finds out how a file is made.

    Args:
        file: with `general.architecture`.

    Returns:
        llama.cpp's name of the architecture (the prefix of its metadata keys), and its description.

    Raises:
        WeightsError: the architecture is not supported, or the file is a piece of a model or has experts.
    """
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


class Metadata:
    """Typed look-ups of `<architecture>.<key>`; what is missing or of another type is a `WeightsError` that names the key."""

    def __init__(self, file: GgufFile, architecture: str):
        self.file = file
        self.prefix = architecture

    def count(self, key: str, default: int | None = None, least: int = 1) -> int:
        found = self._value(key, int, default)
        assert isinstance(found, int)
        if found < least:
            raise WeightsError(f'{self.file.path}: {self.prefix}.{key} must be at least {least}, got {found}.')
        return found

    def real(self, key: str, default: float | None = None) -> float:
        found = self._value(key, (int, float), default)
        assert isinstance(found, int | float)
        return shortest(found)

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


def shortest(value: float) -> float:
    """The shortest decimal that is the same float32: the file keeps 1e-5 as 9.999999747378752e-06."""
    return float(str(np.float32(value)))
