"""The model in a checkpoint of a training run, opened as any other weights are."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.data.folder_tokenizer import read_chat_template
from jaxreason.models.folder import Weights
from jaxreason.models.manifest import ARRAYS, MODEL, PARAMS, TOKENIZER, is_run, newest_step, verify_step

if TYPE_CHECKING:
    from jaxreason.models.hugging_face import Weight


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StepWeights(Weights):
    """A checkpoint of a training run, verified, its arrays not read; attributes and errors as of `Weights`.

    Its digest is of the model, not of the files: equal parameters have equal ones, however often a run was stopped.
    """

    def parameters(self, place: 'Callable[[Weight], Any] | None' = None) -> dict[str, Any]:
        """Reads the arrays, all of them into host memory, then places them; arguments and result as of `Weights`."""
        import jax

        from jaxreason.models.hugging_face import Weight
        from jaxreason.models.transformer import unstack_layers

        dtype = np.dtype(jax.numpy.dtype(self.config.parameter_dtype))
        make = place or Weight.read

        def leaf(path: tuple[Any, ...], values: np.ndarray) -> Any:
            words: tuple[str | int, ...] = tuple(getattr(entry, 'key', getattr(entry, 'idx', '')) for entry in path)
            return make(Weight('/'.join(map(str, words)), words, values, dtype))

        arrays = self._known.pop('arrays', None) or self._read()
        if 'digest' not in self._known:
            self._known['digest'] = self._hash(arrays)
        return jax.tree.map_with_path(leaf, unstack_layers(arrays))

    def digest(self) -> str:
        """Computes a SHA-256 (hexadecimal) of `model.json`, the tokenizer's files and every parameter; reads all of them."""
        if 'digest' not in self._known:
            arrays = self._read()
            self._known.update(digest=self._hash(arrays), arrays=arrays)
        return self._known['digest']

    @functools.cached_property
    def _known(self) -> dict[str, Any]:
        """`digest`, once it is known, and `arrays` from then until they are used: so they are read once for both."""
        return {}

    def _hash(self, arrays: Any) -> str:
        import jax

        digest = hashlib.sha256()
        for path in self.files:
            if self.path / ARRAYS in path.parents:  # how a library lays arrays out in files says nothing of the model
                continue
            digest.update(f'{path.name}\n'.encode() + path.read_bytes())
        for place, values in jax.tree.leaves_with_path(arrays):
            digest.update(f'{jax.tree_util.keystr(place)} {values.shape} {values.dtype}\n'.encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _read(self) -> Any:
        """Stacked parameters as NumPy arrays."""
        import jax
        import orbax.checkpoint as ocp

        from jaxreason.models.transformer import init_parameters

        config = dataclasses.replace(self.config, parameter_dtype='float32')
        shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
                arrays = orbax.restore(
                    (self.path / ARRAYS / PARAMS).resolve(), args=ocp.args.PyTreeRestore(item=shapes, restore_args=how)
                )
        except (ValueError, KeyError, OSError) as error:
            problem = ' '.join(str(error).split())[:200]
            raise WeightsError(f'{self.path}: the parameters cannot be read ({problem}); use another step.') from error
        for (path, shape), values in zip(jax.tree.leaves_with_path(shapes), jax.tree.leaves(arrays), strict=True):
            if shape.shape != values.shape:
                raise WeightsError(
                    f'{self.path}: {jax.tree_util.keystr(path)} is {list(values.shape)}, '
                    f'model.json implies {list(shape.shape)}; use another step.'
                )
        return arrays


def open_checkpoint(path: Path) -> StepWeights:
    """Opens a checkpoint of a training run, every byte of it verified.

    Args:
        path: of one checkpoint, or of a run, whose newest whole checkpoint is taken.

    Raises:
        WeightsError: the checkpoint is damaged or not wholly written, or the run has none that is whole.
    """
    if is_run(path):
        newest = newest_step(path)
        if newest is None:
            raise WeightsError(f'{path}: no whole checkpoint in this training run; run it on, or use another.')
        name, path = path.resolve().name, newest
    else:
        name = f'{path.resolve().parent.parent.name} {path.name}'
        verify_step(path)
    model = _model(path / MODEL)
    tokenizer = path / TOKENIZER
    has_tokenizer = (tokenizer / 'tokenizer.json').is_file()
    try:
        template = read_chat_template(tokenizer)
    except TokenizerError as error:
        raise WeightsError(str(error)) from error
    own = sorted(file for file in tokenizer.iterdir() if file.is_file()) if tokenizer.is_dir() else []
    return StepWeights(
        path=path,
        name=name,
        config=model.config,
        tensors={},
        kinds={PARAMS: 'F32'},
        files=(path / MODEL, *own, *sorted(file for file in (path / ARRAYS / PARAMS).rglob('*') if file.is_file())),
        eos_ids=model.eos_ids,
        bos_id=model.bos_id,
        tokenizer_source=tokenizer if has_tokenizer else None,
        chat_template=template,
        generation={},
    )


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """What `model.json` says."""

    config: ModelConfig
    eos_ids: tuple[int, ...]
    bos_id: int | None

    def to_json(self) -> str:
        """The contents of the file; the dtype of products is not part of a model, nor is that of its parameters."""
        config = dataclasses.replace(self.config, parameter_dtype='float32', matmul_dtype='float32')
        content = {'architecture': dataclasses.asdict(config), 'eos_ids': list(self.eos_ids), 'bos_id': self.bos_id}
        return json.dumps(content, indent=1, sort_keys=True) + '\n'


def _model(path: Path) -> ModelFile:
    try:
        content = json.loads(path.read_bytes())
        config = config_files.build(ModelConfig, content['architecture'])
        eos_ids, bos_id = tuple(content['eos_ids']), content['bos_id']
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = str(error) if isinstance(error, ConfigError) else type(error).__name__
        raise WeightsError(f'{path}: damaged ({problem[:200]}); use another step of the run.') from error
    named = [*eos_ids, *([] if bos_id is None else [bos_id])]
    if any(type(index) is not int or not 0 <= index < config.vocab_size for index in named):
        raise WeightsError(f'{path}: names a token outside the vocabulary; use another step of the run.')
    return ModelFile(config, eos_ids, bos_id)
