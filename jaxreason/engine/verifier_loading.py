"""From a folder to a verifier: what it is, its tokenizer, its decoder, its head."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core import config as config_file
from jaxreason.core.errors import ConfigError, TokenizerError
from jaxreason.core.model_spec import ModelSpec
from jaxreason.core.verifier_spec import SPEC_FILE, VerifierChoice, VerifierSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.verifier_layout import Typesetter, token_id
from jaxreason.engine.mesh import make_mesh, to_host, use_mesh
from jaxreason.engine.reward_model import RewardModel
from jaxreason.engine.verifier_presets import BY_ARCHITECTURE, PRESETS
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import Weights, open_weights
from jaxreason.models.sharding import placement
from jaxreason.models.value_heads import check_head, label_head

if TYPE_CHECKING:
    from jax.sharding import Mesh


def load_verifier(
    source: str | Path,
    *,
    preset: str | None = None,
    spec: VerifierSpec | None = None,
    dtype: Literal['float32', 'bfloat16'] | None = None,
    mesh: 'Mesh | Mapping[str, int] | None' = None,
    max_context: int | None = None,
) -> RewardModel:
    """Loads a verifier.

    Args:
        source: a folder in Hugging Face's format, or what else `load` takes.
        preset: a published one, by a name of `engine.verifier_presets`.
        spec: what it is, in full; its `model.source` gives way to `source`. Without preset and spec the folder says it: by a
            `verifier.yaml`, or by the architecture in its `config.json`.
        dtype: of parameters and matrix operands; None takes the spec's. The head is float32 always.
        mesh: devices to spread it over, or sizes of the axes `data` and `model`; None takes the spec's.
        max_context: longest question plus solution, tokens, for models whose rotary factors depend on it; None takes the
            spec's.

    Raises:
        WeightsError: the weights are missing, damaged, without the head, or of an unknown architecture.
        TokenizerError: there is no tokenizer, or marker or label tokens are absent from it.
        ConfigError: nothing says what the verifier is, the preset is unknown, or the mesh does not fit.
    """
    opened, weights = _open(str(source), preset, spec, dtype, max_context)
    shape = opened.spec.model.mesh if mesh is None else mesh
    devices = make_mesh(shape) if isinstance(shape, Mapping) else shape
    ways = 1 if devices is None else devices.shape['data']
    if opened.spec.num_rows % ways:
        raise ConfigError(f'num_rows must be a multiple of the mesh axis data = {ways}, got {opened.spec.num_rows}.')
    params, head = weights.parameters(placement(weights.config, devices)), opened.head
    if opened.spec.head == 'label':
        tokenizer = Tokenizer.from_source(weights.tokenizer_source)
        assert tokenizer is not None, 'checked when it was opened'
        good, bad = _label_ids(opened.spec, tokenizer)
        with use_mesh(devices):
            head = jax.tree.map(lambda x: to_host(x, devices), label_head(weights.config, params, good, bad))
        params = {name: part for name, part in params.items() if name != 'head'}
    return dataclasses.replace(
        opened, params=params, head=_on_devices(head, devices), mesh=devices, digest=_digest(opened, weights)
    )


def open_verifier(choice: VerifierChoice) -> RewardModel:
    """A verifier that tells prices and memory and cannot score: its decoder's weights are not read, no mesh is made.

    Errors as of `load_verifier`.
    """
    opened = _open(choice.source, choice.preset, None, choice.dtype, choice.max_context)[0]
    model = dataclasses.replace(opened.spec.model, mesh=choice.mesh or opened.spec.model.mesh)
    return dataclasses.replace(opened, spec=dataclasses.replace(opened.spec, model=model))


def _open(
    source: str, preset: str | None, spec: VerifierSpec | None, dtype: Any, max_context: int | None
) -> tuple[RewardModel, Weights]:
    """The verifier without its decoder, and the decoder's weights."""
    path = resolve(source)
    weights = open_weights(path, dtype or 'float32')
    known = _spec_of(path, weights, preset, spec)
    context = known.model.max_context if max_context is None else max_context
    model = dataclasses.replace(known.model, source=source, dtype=dtype or known.model.dtype, max_context=context)
    known = dataclasses.replace(known, model=model)
    weights = open_weights(path, model.dtype, model.max_context)
    tokenizer = Tokenizer.from_source(weights.tokenizer_source)
    if tokenizer is None:
        raise TokenizerError(f'{source} has no tokenizer: a verifier reads text; put tokenizer.json into its folder.')
    tokenizer.check_fits(weights.config.vocab_size)
    typesetter = Typesetter(known.layout, known.boundary, tokenizer)
    # Nobody reads logits of the vocabulary: scoring holds no language head.
    headless = dataclasses.replace(weights.config, tied_head=True)
    if known.head == 'label':
        _label_ids(known, tokenizer)
        head = {'rows': np.zeros((2, headless.width), np.float32)}  # until the decoder is read
    else:
        head, weights = weights.split_head(known.head)
        check_head(known.head, head, headless.width)
    opened = RewardModel(name=source, spec=known, config=headless, params=None, head=head, typesetter=typesetter)
    return opened, weights


def _digest(opened: RewardModel, weights: Weights) -> str:
    """Of the weights' files, and of what else decides a score: head, labels, boundary, layout, batches, rotary factors."""
    spec, scaling = opened.spec, opened.config.rope_scaling
    context = opened.config.max_context if scaling is not None and scaling.kind == 'longrope' else None
    words = config_file.dump(dataclasses.replace(spec, model=ModelSpec(dtype=spec.model.dtype, max_context=context)))
    return hashlib.sha256(f'{weights.digest()}\n{words}'.encode()).hexdigest()


def _label_ids(spec: VerifierSpec, tokenizer: Tokenizer) -> list[int]:
    return [token_id(tokenizer, text, 'label') for text in spec.labels]


def _spec_of(path: Path, weights: Weights, preset: str | None, spec: VerifierSpec | None) -> VerifierSpec:
    if preset is not None and spec is not None:
        raise ConfigError('load_verifier takes a preset or a spec, got both: a spec says all that a preset does.')
    if spec is not None:
        return spec
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f'preset must be one of {", ".join(PRESETS)}, got {preset!r}.')
    if preset is None and weights.path.is_dir() and (weights.path / SPEC_FILE).is_file():
        return config_file.load(VerifierSpec, weights.path / SPEC_FILE)
    name = preset or BY_ARCHITECTURE.get(weights.architecture)
    if name is None:
        raise ConfigError(
            f'{path}: nothing says what this verifier is (architecture {weights.architecture[:64]!r}, no {SPEC_FILE}): '
            f'give preset, one of {", ".join(PRESETS)}, or a spec.'
        )
    return PRESETS[name]


def _on_devices(head: Any, mesh: 'Mesh | None') -> Any:
    if mesh is None:
        return jax.tree.map(jnp.asarray, head)
    return jax.device_put(head, NamedSharding(mesh, PartitionSpec()))
