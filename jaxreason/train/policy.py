"""The policy that is trained: made from nothing, or taken from weights; placed, and described for its checkpoints."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.keys import fold
from jaxreason.data.procedural import NANO_CHARACTERS
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.mesh import check_axes, make_mesh
from jaxreason.models.checkpoint import ModelFile
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import Weights, open_weights
from jaxreason.models.manifest import MODEL, TOKENIZER
from jaxreason.models.sharding import TRAINING, parameter_shardings, placement
from jaxreason.models.tokenizer_writer import character_files, folder_files
from jaxreason.models.transformer import init_parameters, stack_layers

if TYPE_CHECKING:
    from jax.sharding import Mesh

CHARACTERS = 'characters'


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Which model is trained. Parameters and the optimiser's state are float32 always.

    Attributes:
        init: architecture of a model to make from nothing; None where there is a `source`.
        source: weights to begin with: a preset, a Hugging Face folder, a GGUF file, a training run.
        tokenizer: of a model made from nothing: `characters`, or a folder with a `tokenizer.json`.
        characters: what a character tokenizer can write; the default is all that `procedural:nano` needs.
        dtype: of matrix operands.
        mesh: sizes of the axes `data` (rows, and slices of every matrix) and `model`; None for one device.
        layers: `unrolled`, one after the other, or `scanned`: compiled once for all, which takes less time for deep models.
        remat: what the backward pass computes once more rather than keeps: `none`, or all that is inside `layers`, which is a
            third more work and far less memory for deep models.
    """

    init: ModelConfig | None = None
    source: str | None = None
    tokenizer: str = CHARACTERS
    characters: str = NANO_CHARACTERS
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    mesh: dict[str, int] | None = None
    layers: Literal['unrolled', 'scanned'] = 'unrolled'
    remat: Literal['none', 'layers'] = 'none'

    def __post_init__(self):
        if (self.init is None) == (self.source is None):
            raise ConfigError('model: give either init (an architecture) or source (weights to begin with).')
        if self.source is not None and (self.tokenizer, self.characters) != (CHARACTERS, NANO_CHARACTERS):
            raise ConfigError(f'tokenizer and characters must be left out: {self.source} has a tokenizer of its own.')
        if self.mesh is not None:
            check_axes(self.mesh)


# It runs once: the CPU compiler takes a quarter of the time if told not to try hard, and comes to the same numbers.
_init_once = jax.jit(init_parameters, static_argnums=0, compiler_options={'xla_backend_optimization_level': 1})


@dataclasses.dataclass(frozen=True, eq=False)
class Beginning:
    """What is known of a policy before its parameters are made.

    Attributes:
        spec: that it was asked for with.
        config: its architecture; parameters float32, products in the dtype that was asked for.
        tokenizer: its own.
        eos_ids: tokens that end a text.
        files: what its checkpoints hold besides arrays, by name.
        weights: what it begins with; None where it is made from nothing.
    """

    spec: TrainedModel
    config: ModelConfig
    tokenizer: Tokenizer
    eos_ids: tuple[int, ...]
    files: Mapping[str, str]
    weights: Weights | None

    def digest(self, seed: int) -> str:
        """What the parameters are made from: the SHA-256 of the weights, or the seed."""
        return f'seed {seed}' if self.weights is None else self.weights.digest()

    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer's files."""
        return hashlib.sha256(''.join(f'{name}\n{text}' for name, text in sorted(self.files.items())).encode()).hexdigest()

    def parameters(self, seed: int, mesh: 'Mesh | None') -> Any:
        """Makes or reads the parameters, stacked over layers, where training wants them.

        Args:
            seed: of those made from nothing.
            mesh: devices; None for one.
        """
        if self.weights is not None:
            params = stack_layers(self.weights.parameters(placement(self.config, mesh, TRAINING)))
        else:
            params = _init_once(self.config, fold(jax.random.key(seed, impl='threefry2x32'), 'parameters'))
        if mesh is None:
            # On a device by name, as a restored checkpoint is: both then run the same program.
            return jax.device_put(params, jax.local_devices()[0])
        return jax.device_put(params, parameter_shardings(self.config, params, mesh, TRAINING))


def open_policy(spec: TrainedModel) -> Beginning:
    """Finds out what a policy is; reads no tensor.

    Raises:
        WeightsError: the weights are missing or damaged.
        TokenizerError: the tokenizer is missing or damaged, or does not fit the model.
    """
    weights = None if spec.source is None else open_weights(resolve(spec.source))
    if weights is None:
        assert spec.init is not None
        config = spec.init
        files = character_files(spec.characters) if spec.tokenizer == CHARACTERS else folder_files(Path(spec.tokenizer))
        characters = spec.tokenizer == CHARACTERS
        tokenizer = Tokenizer.from_characters(spec.characters) if characters else Tokenizer.from_folder(spec.tokenizer)
        eos_ids, bos_id = tokenizer.eos_ids, tokenizer.bos_id
    else:
        config = weights.config
        found = Tokenizer.from_source(weights.tokenizer_source)
        if found is None:
            raise TokenizerError(
                f'{spec.source}: has no tokenizer, and training reads text; put tokenizer.json into its folder.'
            )
        tokenizer, bos_id = found, weights.bos_id
        files = folder_files(weights.tokenizer_source, weights.chat_template, weights.eos_ids, bos_id)
        eos_ids = tuple(dict.fromkeys((*weights.eos_ids, *tokenizer.eos_ids)))
    tokenizer.check_fits(config.vocab_size)
    config = dataclasses.replace(config, parameter_dtype='float32', matmul_dtype=spec.dtype)
    described = {MODEL: ModelFile(config, eos_ids, bos_id).to_json()}
    described |= {f'{TOKENIZER}/{name}': text for name, text in files.items()}
    return Beginning(spec, config, tokenizer, eos_ids, described, weights)


def training_mesh(spec: TrainedModel) -> 'Mesh | None':
    """The mesh that a model asks for; errors as of `make_mesh`."""
    return None if spec.mesh is None else make_mesh(spec.mesh)
