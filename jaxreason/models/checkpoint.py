"""The model in a checkpoint of a training run, opened as any other weights are."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.verifier_spec import HeadKind
from jaxreason.data.folder_tokenizer import read_chat_template
from jaxreason.models.folder import Weights
from jaxreason.models.manifest import ARRAYS, HEAD, MODEL, PARAMS, TOKENIZER, chosen_step, is_run, verify_step

if TYPE_CHECKING:
    from jaxreason.models.hugging_face import Weight


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StepWeights(Weights):
    """A checkpoint of a training run, verified, its arrays not read; attributes and errors as of `Weights`.

    Its digest is of the model, not of the files: equal parameters have equal ones, however often a run was stopped.
    """

    is_verifier: bool = False  # the decoder of a verifier, its head taken out

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

        arrays = self._arrays()
        if not self.is_verifier and HEAD in arrays:
            raise WeightsError(f'{self.path}: a verifier, not a policy: it gives scores; load it with load_verifier.')
        decoder = {name: part for name, part in arrays.items() if name in self._shapes()}
        return jax.tree.map_with_path(leaf, unstack_layers(decoder))

    def split_head(self, kind: HeadKind) -> tuple[dict[str, Any], 'StepWeights']:
        """As of `Weights`."""
        head = self._arrays().get(HEAD)
        if head is None:
            raise WeightsError(f'{self.path}: has no head of kind {kind}: it is a policy; train a verifier from it.')
        headless = dataclasses.replace(self.config, tied_head=True)
        return head, dataclasses.replace(self, config=headless, is_verifier=True)

    def digest(self) -> str:
        """Computes a SHA-256 (hexadecimal) of `model.json`, the tokenizer's files and every parameter; reads all of them."""
        import jax

        digest = hashlib.sha256()
        for path in self.files:
            if self.path / ARRAYS in path.parents:  # how a library lays arrays out in files says nothing of the model
                continue
            digest.update(f'{path.name}\n'.encode() + path.read_bytes())
        for place, values in jax.tree.leaves_with_path(self._arrays()):
            digest.update(f'{jax.tree_util.keystr(place)} {values.shape} {values.dtype}\n'.encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _shapes(self) -> dict[str, Any]:
        """What `model.json` implies, stacked."""
        import jax

        from jaxreason.models.transformer import init_parameters

        config = dataclasses.replace(self.config, parameter_dtype='float32')
        return jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))

    def _arrays(self) -> dict[str, Any]:
        """Stacked parameters, and what else was trained with them, as NumPy arrays."""
        import jax
        import orbax.checkpoint as ocp

        folder = (self.path / ARRAYS / PARAMS).resolve()
        try:
            handler = ocp.PyTreeCheckpointHandler()
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(folder).tree)
            with ocp.Checkpointer(handler) as orbax:
                arrays = orbax.restore(folder, args=ocp.args.PyTreeRestore(restore_args=how))
        except (ValueError, KeyError, OSError, AttributeError) as error:
            problem = ' '.join(str(error).split())[:200]
            raise WeightsError(f'{self.path}: the parameters cannot be read ({problem}); use another step.') from error
        found = {path: values.shape for path, values in jax.tree.leaves_with_path(arrays)}
        for path, shape in jax.tree.leaves_with_path(self._shapes()):
            if found.get(path) != shape.shape:
                raise WeightsError(
                    f'{self.path}: {jax.tree_util.keystr(path)} is {list(found.get(path, ()))}, '
                    f'model.json implies {list(shape.shape)}; use another step.'
                )
        return arrays


def open_checkpoint(path: Path) -> StepWeights:
    """Opens a checkpoint of a training run, every byte of it verified.

    Args:
        path: of one checkpoint, or of a run: its best checkpoint if it keeps one, else its newest whole one.

    Raises:
        WeightsError: the checkpoint is damaged or not wholly written, or the run has none that is whole.
    """
    if is_run(path):
        chosen = chosen_step(path)
        if chosen is None:
            raise WeightsError(f'{path}: no whole checkpoint in this training run; run it on, or use another.')
        name, path = path.resolve().name, chosen
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
