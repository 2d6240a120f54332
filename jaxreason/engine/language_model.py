"""A policy in memory: configuration, parameters, tokenizer, mesh; and how it is loaded."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import TokenizerError
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.mesh import make_mesh, to_host, use_mesh
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import open_weights
from jaxreason.models.heads import lm_logits
from jaxreason.models.sharding import placement
from jaxreason.models.transformer import for_decoding, forward

if TYPE_CHECKING:
    from jax.sharding import Mesh


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LanguageModel:
    """A policy ready to run.

    Attributes:
        name: as it was asked for.
        config: its architecture and dtypes.
        params: its parameters, one tree a layer, on the devices.
        tokenizer: None where the source has none; token ids still work.
        eos_ids: tokens that end a text.
        mesh: devices that it lies on; None for one device.
        digest: SHA-256 of what it was read from.
    """

    name: str
    config: ModelConfig
    params: Any = dataclasses.field(repr=False)
    tokenizer: Tokenizer | None
    eos_ids: tuple[int, ...]
    mesh: 'Mesh | None'
    digest: str

    def logits(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """Teacher-forced logits.

        Args:
            tokens: token ids, rows of any length.

        Returns:
            float32 [batch, time, vocab]; past the end of a shorter row they mean nothing.

        Raises:
            ValueError: no tokens, or an id outside the vocabulary.
        """
        longest = max((len(row) for row in tokens), default=0)
        if not longest or min(len(row) for row in tokens) == 0:
            raise ValueError(f'logits needs at least one token in every row, got rows of {[len(row) for row in tokens]}.')
        tokens_bt = np.zeros((len(tokens), longest), np.int32)
        positions_bt = np.full_like(tokens_bt, -1)
        for index, row in enumerate(tokens):
            tokens_bt[index, : len(row)] = row
            positions_bt[index, : len(row)] = np.arange(len(row))
        if tokens_bt.min() < 0 or tokens_bt.max() >= self.config.vocab_size:
            bad = tokens_bt.min() if tokens_bt.min() < 0 else tokens_bt.max()
            raise ValueError(f'token ids must be in [0, {self.config.vocab_size}), got {bad}.')
        with use_mesh(self.mesh):
            return to_host(_logits(self.config, self.params, tokens_bt, positions_bt), self.mesh)

    @functools.cached_property
    def params_for_decoding(self) -> Any:
        """The parameters as the decode loop takes them; sessions share them."""
        return for_decoding(self.config, self.params)

    def need_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            TokenizerError: there is none.
        """
        if self.tokenizer is None:
            raise TokenizerError(f'{self.name} has no tokenizer: text needs one; put tokenizer.json into its folder.')
        return self.tokenizer


@functools.partial(jax.jit, static_argnames='config')
def _logits(config: ModelConfig, params: Any, tokens_bt: jax.Array, positions_bt: jax.Array) -> jax.Array:
    hidden_btd, _ = forward(config, params, tokens_bt, positions_bt)
    return lm_logits(config, params, hidden_btd)


def load(
    source: str | Path,
    *,
    dtype: Literal['float32', 'bfloat16'] = 'float32',
    mesh: 'Mesh | Mapping[str, int] | None' = None,
    max_context: int | None = None,
) -> LanguageModel:
    """Loads a policy, weight by weight: host memory holds a few tensors at a time, never the model.

    Args:
        source: a preset (fetched if it is not in the cache), a Hugging Face folder, a GGUF file, the folder of a training run
            (its newest whole checkpoint), or one checkpoint in it.
        dtype: of parameters and matrix operands; sums, norms and probabilities are float32 always.
        mesh: devices to spread it over, or sizes of the axes `data` and `model`; None for one device.
        max_context: longest prompt plus solution that will be run, tokens. Only models whose rotary factors depend on it
            (Phi-3 long) need to be told; None is the context that they were first trained at.

    Raises:
        WeightsError: the weights are missing, damaged, or of an unknown architecture.
        TokenizerError: the tokenizer is damaged or does not fit the embedding.
        ConfigError: the mesh does not fit the devices or the model.
    """
    mesh = make_mesh(mesh) if isinstance(mesh, Mapping) else mesh
    weights = open_weights(resolve(str(source)), dtype, max_context)
    tokenizer = Tokenizer.from_source(weights.tokenizer_source)
    if tokenizer is not None:
        tokenizer.check_fits(weights.config.vocab_size)
    return LanguageModel(
        name=str(source),
        config=weights.config,
        params=weights.parameters(placement(weights.config, mesh)),
        tokenizer=tokenizer,
        eos_ids=tuple(dict.fromkeys((*weights.eos_ids, *(tokenizer.eos_ids if tokenizer else ())))),
        mesh=mesh,
        digest=weights.digest(),
    )
