"""The architecture of a decoder-only language model, as one frozen value.

`ModelConfig` says everything that the forward pass, the FLOP account and the memory plan need to know about a model. One
decoder covers the supported families (Llama, SmolLM2, Mistral, Qwen 2 and 3, Gemma 2 and 3 text, Phi-3 and Phi-4): they
differ in biases, extra norms, windows, rotary frequencies and soft caps, each of which is a field. Pure Python: no array
library is imported, and values are checked when the config is made, before anything is allocated or traced.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from jaxreason.core.errors import ConfigError

DType = Literal['float32', 'bfloat16']

ACTIVATIONS = ('silu', 'gelu', 'gelu_tanh')
DTYPES = ('float32', 'bfloat16')
ROPE_SCALINGS = ('linear', 'llama3', 'longrope')

# Far above every published model: a damaged or hostile file must fail here and not in an allocation.
_LIMITS = {
    'vocab_size': 2**22,
    'num_layers': 1024,
    'width': 2**17,
    'mlp_width': 2**20,
    'num_heads': 1024,
    'num_kv_heads': 1024,
    'head_width': 4096,
    'max_positions': 2**27,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How the rotary frequencies are stretched to reach contexts longer than the model was trained on.

    Attributes:
        kind: `linear` divides every frequency by `factor`; `llama3` only the slow ones, with a smooth border; `longrope`
            divides each by its own factor, from the short list or the long one.
        factor: linear and llama3; what frequencies are divided by, above 0. longrope; longest context over
            `original_max_positions`, which decides the amplitude alone.
        low_freq_factor: llama3; wavelengths above `original_max_positions / low_freq_factor` are stretched whole.
        high_freq_factor: llama3; wavelengths below `original_max_positions / high_freq_factor` are left alone.
        original_max_positions: llama3 and longrope; context length before stretching, tokens; above 1 for longrope.
        short_factor: longrope; divisor of every frequency for contexts within `original_max_positions`.
        long_factor: longrope; divisor of every frequency for longer contexts.
        attention_factor: longrope; multiplies sine and cosine. None means sqrt(1 + ln(factor) / ln(original_max_positions)),
            and 1 where `factor` is at most 1.
        long_context: longrope; use `long_factor`. One choice for all positions of all rows, made before anything is
            cached: choosing by the longest row would let neighbours, and later tokens, change a row's keys.

    References:
        Chen et al., Extending Context Window of Large Language Models via Positional Interpolation, 2023 (linear).
        Grattafiori et al., The Llama 3 Herd of Models, 2024 (llama3). Ding et al., LongRoPE, 2024.
    """

    kind: Literal['linear', 'llama3', 'longrope']
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 0
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    attention_factor: float | None = None
    long_context: bool = False

    def __post_init__(self):
        _one_of('rope_scaling.kind', self.kind, ROPE_SCALINGS)
        _positive('rope_scaling.factor', self.factor)
        if self.kind == 'llama3':
            _positive('rope_scaling.low_freq_factor', self.low_freq_factor)
            _positive('rope_scaling.high_freq_factor', self.high_freq_factor)
            if self.high_freq_factor <= self.low_freq_factor:
                raise ConfigError(
                    f'rope_scaling.high_freq_factor must be above low_freq_factor ({self.low_freq_factor}), '
                    f'got {self.high_freq_factor}.'
                )
        if self.kind != 'linear':
            _count('rope_scaling.original_max_positions', self.original_max_positions, _LIMITS['max_positions'])
        if self.kind == 'longrope' and self.original_max_positions == 1:
            raise ConfigError('rope_scaling.original_max_positions must be above 1 for longrope, got 1.')
        for name in ('short_factor', 'long_factor'):
            for value in getattr(self, name):
                _positive(f'rope_scaling.{name}', value)
        if self.attention_factor is not None:
            _positive('rope_scaling.attention_factor', self.attention_factor)

    @property
    def amplitude(self) -> float:
        """What sine and cosine are multiplied by."""
        if self.kind != 'longrope':
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor <= 1.0:
            return 1.0
        return math.sqrt(1.0 + math.log(self.factor) / math.log(self.original_max_positions))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that tells one decoder-only model from another.

    Attributes:
        family: model type as Hugging Face names it; decides names of tensors in files, nothing in the forward pass.
        vocab_size: tokens known to embedding and head.
        num_layers: decoder blocks.
        width: of the residual stream.
        mlp_width: hidden width of the gated MLP.
        num_heads: query heads.
        num_kv_heads: key and value heads; divides `num_heads`.
        head_width: of one head; need not be `width / num_heads`.
        max_positions: longest context that the model was made for, tokens.
        activation: of the gate.
        norm_epsilon: added to the mean square in every RMS norm.
        unit_offset_norms: norms scale by 1 + w instead of w (Gemma).
        post_norms: a second norm after attention and after the MLP, before each is added (Gemma 2, 3).
        qk_norm: an RMS norm on every query and key head, before rotation (Qwen 3, Gemma 3).
        qkv_bias: biases on query, key and value projections.
        output_bias: bias on the attention's output projection.
        mlp_bias: biases on the MLP's three projections.
        tied_head: the head is the embedding, transposed.
        windows: for each layer the number of latest positions attended to, own included; 0 is all. Empty means all zeros.
        rope_theta: rotary base.
        local_rope_theta: rotary base of the layers that have a window, unscaled (Gemma 3); None means as the others.
        rope_scaling: stretch of the rotary frequencies, or None.
        rotary_fraction: share of each head that is rotated, from its start.
        query_scale: multiplies attention scores; None means head_width ** -0.5.
        attention_softcap: scores are capped smoothly within plus or minus this; None is no cap.
        final_softcap: the same for logits.
        embedding_scale: multiplies embedded tokens.
        parameter_dtype: of stored weights.
        matmul_dtype: of matrix operands; sums, norms, softmax, rotation and logits are float32 always.

    Raises:
        ConfigError: a value is impossible; the message names the field.
    """

    family: str = 'llama'
    vocab_size: int
    num_layers: int
    width: int
    mlp_width: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    max_positions: int
    activation: Literal['silu', 'gelu', 'gelu_tanh'] = 'silu'
    norm_epsilon: float = 1e-5
    unit_offset_norms: bool = False
    post_norms: bool = False
    qk_norm: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    tied_head: bool = False
    windows: tuple[int, ...] = ()
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    rope_scaling: RopeScaling | None = None
    rotary_fraction: float = 1.0
    query_scale: float | None = None
    attention_softcap: float | None = None
    final_softcap: float | None = None
    embedding_scale: float = 1.0
    parameter_dtype: DType = 'float32'
    matmul_dtype: DType = 'float32'

    def __post_init__(self):
        for name, limit in _LIMITS.items():
            _count(name, getattr(self, name), limit)
        for name in ('norm_epsilon', 'rope_theta', 'rotary_fraction', 'embedding_scale'):
            _positive(name, getattr(self, name))
        for name in ('local_rope_theta', 'query_scale', 'attention_softcap', 'final_softcap'):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        _one_of('activation', self.activation, ACTIVATIONS)
        _one_of('parameter_dtype', self.parameter_dtype, DTYPES)
        _one_of('matmul_dtype', self.matmul_dtype, DTYPES)
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(f'num_kv_heads must divide num_heads ({self.num_heads}), got {self.num_kv_heads}.')
        self._check_rotary()
        windows = tuple(self.windows) or (0,) * self.num_layers
        object.__setattr__(self, 'windows', windows)
        if len(windows) != self.num_layers:
            raise ConfigError(f'windows must have one entry a layer ({self.num_layers}), got {len(windows)}.')
        for window in windows:
            if isinstance(window, bool) or not isinstance(window, int) or window < 0:
                raise ConfigError(f'windows must be positions attended to (0 for all), got {window!r}.')

    def _check_rotary(self) -> None:
        if self.rotary_fraction > 1.0 or self.rotary_width < 2 or self.rotary_width % 2:
            raise ConfigError(
                f'rotary_fraction times head_width must be an even number in [2, {self.head_width}], '
                f'got {self.rotary_fraction} x {self.head_width}.'
            )
        if self.rope_scaling is not None and self.rope_scaling.kind == 'longrope':
            for name in ('short_factor', 'long_factor'):
                found = len(getattr(self.rope_scaling, name))
                if found != self.rotary_width // 2:
                    raise ConfigError(f'rope_scaling.{name} must have {self.rotary_width // 2} numbers, got {found}.')

    @classmethod
    def from_hugging_face(cls, config: Mapping[str, Any]) -> 'ModelConfig':
        """Reads the contents of a Hugging Face `config.json`.

        Args:
            config: the parsed JSON object; old (`rope_theta`, `rope_scaling`) and new (`rope_parameters`) spellings.

        Returns:
            The same model; dtypes are left at float32.

        Raises:
            WeightsError: the model type or a setting is not supported, a field is missing, or a value is impossible.
        """
        from jaxreason.core.hugging_face_config import parse

        return parse(config)

    def to_hugging_face(self) -> dict[str, Any]:
        """Writes the contents of a `config.json` that Hugging Face libraries load as the same model.

        Raises:
            ConfigError: the family is not `llama`, or a setting has no place in its file; the message names the field.
        """
        from jaxreason.core.hugging_face_config import render

        return render(self)

    @property
    def rotary_width(self) -> int:
        """Leading channels of each head that are rotated."""
        return int(self.head_width * self.rotary_fraction)

    @property
    def score_scale(self) -> float:
        """What attention scores are multiplied by."""
        return self.head_width**-0.5 if self.query_scale is None else self.query_scale

    @property
    def max_context(self) -> int:
        """Longest context that the config as it stands may be run at, tokens; `longrope` needs `long_context` to go on."""
        scaling = self.rope_scaling
        if scaling is not None and scaling.kind == 'longrope' and not scaling.long_context:
            return min(self.max_positions, scaling.original_max_positions)
        return self.max_positions

    def for_context(self, length: int) -> 'ModelConfig':
        """The config for contexts up to `length` tokens: `longrope` takes its long factors if they pass its original length."""
        scaling = self.rope_scaling
        if scaling is None or scaling.kind != 'longrope':
            return self
        long = length > scaling.original_max_positions
        return dataclasses.replace(self, rope_scaling=dataclasses.replace(scaling, long_context=long))

    @property
    def layer_kinds(self) -> tuple[tuple[int, bool], ...]:
        """The distinct pairs (window, has the local rotary base), in order of first use."""
        return tuple(dict.fromkeys(self._kind_of_layers()))

    @property
    def kind_of_layer(self) -> tuple[int, ...]:
        """For each layer, the index of its pair in `layer_kinds`."""
        kinds = self.layer_kinds
        return tuple(kinds.index(kind) for kind in self._kind_of_layers())

    def _kind_of_layers(self) -> list[tuple[int, bool]]:
        return [(window, window > 0 and self.local_rope_theta is not None) for window in self.windows]

    @property
    def layer_matmul_parameters(self) -> int:
        """Weights of the layers that every token is multiplied by."""
        attention = 2 * self.width * self.head_width * (self.num_heads + self.num_kv_heads)
        return self.num_layers * (attention + 3 * self.width * self.mlp_width)

    @property
    def matmul_parameters(self) -> int:
        """Weights that every token is multiplied by, head included: the N of 2 N FLOPs a token. Embedding lookup is free."""
        return self.layer_matmul_parameters + self.width * self.vocab_size

    @property
    def num_parameters(self) -> int:
        """All weights stored, a tied head counted once."""
        qkv = self.head_width * (self.num_heads + 2 * self.num_kv_heads)
        vectors = self.width * (4 if self.post_norms else 2)
        vectors += 2 * self.head_width * self.qk_norm + qkv * self.qkv_bias + self.width * self.output_bias
        vectors += (2 * self.mlp_width + self.width) * self.mlp_bias
        embedding = 0 if self.tied_head else self.width * self.vocab_size
        return self.matmul_parameters + embedding + self.num_layers * vectors + self.width


def _count(name: str, value: Any, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ConfigError(f'{name} must be a whole number in [1, {limit}], got {value!r}.')


def _positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigError(f'{name} must be a finite number above 0, got {value!r}.')


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f'{name} must be one of {", ".join(choices)}, got {value!r}.')
