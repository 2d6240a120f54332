"""Checkpoints: a Hugging Face folder, a GGUF file or a training run, as a configuration and a parameter tree.

A folder holds `config.json`, one or more safetensors files (with an index if there are several) and, where it is complete,
`tokenizer.json` and `generation_config.json`. Nothing in it is executed: pickled weights and `auto_map` are refused, names of
shards are plain file names of the folder itself. `open_weights` reads the small files and the headers only; its result reads
the tensors, one at a time, and gives a digest of the bytes that all of it came from.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxreason.core.architecture import DType, ModelConfig
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.verifier_spec import HeadKind
from jaxreason.data.folder_tokenizer import read_chat_template
from jaxreason.models.manifest import is_run, is_step
from jaxreason.models.safetensors_file import SafetensorsFile

if TYPE_CHECKING:
    from jaxreason.models.hugging_face import Weight

MAX_JSON_BYTES = 64 << 20

_INDEX = 'model.safetensors.index.json'
_SHARD_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors')
# Beside configuration and weights, what decides a result: ids of a text, the prompt, the tokens that end an answer.
_DECIDING = (
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'chat_template.jinja',
    'chat_template.json',
)
_PICKLES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')
_GGUF_SAMPLING = {'temp': 'temperature', 'top_p': 'top_p', 'top_k': 'top_k', 'min_p': 'min_p'}

_UNREAD = ('tensors', 'kinds', 'files', 'architecture')  # of `Weights`, what a checkpoint in memory has no more use for

Reader = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Weights:
    """A checkpoint that was opened but whose tensors were not read.

    Attributes:
        path: the folder or the GGUF file.
        name: of the model, for people.
        config: the architecture, with the dtype that was asked for.
        tensors: Hugging Face tensor name -> reader of its values; what it returns may be mapped from the file.
        kinds: Hugging Face tensor name -> how it is stored (`BF16`, `Q4_1`, ...).
        files: whose bytes make up the digest: the GGUF file, or the folder's configuration, weights, tokenizer, chat template
            and generation settings, as far as they are there.
        eos_ids: tokens that end an answer; empty where the checkpoint names none.
        bos_id: token that begins a text, or None.
        tokenizer_source: the folder, the GGUF file's metadata, or None where there is no tokenizer.
        chat_template: as text (a Jinja template: untrusted), or None.
        generation: sampling defaults that the checkpoint recommends; carried for export, never applied.
        architecture: class that its `config.json` names (data: only ever compared); empty where it names none.
    """

    path: Path
    name: str
    config: ModelConfig
    tensors: Mapping[str, Reader]
    kinds: Mapping[str, str]
    files: tuple[Path, ...]
    eos_ids: tuple[int, ...]
    bos_id: int | None
    tokenizer_source: Path | Mapping[str, object] | None
    chat_template: str | None
    generation: Mapping[str, object]
    architecture: str = ''

    def parameters(self, place: 'Callable[[Weight], Any] | None' = None) -> dict[str, Any]:
        """Reads the tensors, one at a time.

        Args:
            place: makes the array of a weight, as `placement` of `models.sharding` does; None for NumPy arrays.

        Returns:
            Unstacked parameters as `forward` takes them.

        Raises:
            WeightsError: a tensor is damaged or does not belong to this architecture; the message names file and tensor.
        """
        from jaxreason.models.hugging_face import Weight, to_parameters

        try:
            return to_parameters(self.config, self.tensors, place or Weight.read)
        except WeightsError as error:
            raise _at(self.path, error) from error

    def split_head(self, kind: HeadKind) -> 'tuple[dict[str, Any], Weights]':
        """A verifier's head, and the decoder below it, without a language head that nobody reads.

        Args:
            kind: of the head; not `label`, which is made of the decoder's own rows.

        Raises:
            WeightsError: there is no such head, or it is damaged.
        """
        from jaxreason.models.value_heads import split_head

        head, tensors = split_head(kind, self.tensors)
        headless = dataclasses.replace(self.config, tied_head=True)
        return head, dataclasses.replace(self, config=headless, tensors=tensors)

    def digest(self) -> str:
        """Computes a SHA-256 (hexadecimal): of the one file, or of the names and SHA-256 of several; reads all of them."""
        sums = {}
        for path in self.files:
            try:
                with path.open('rb') as file:
                    sums[path.name] = hashlib.file_digest(file, 'sha256').hexdigest()
            except OSError as error:
                raise WeightsError(f'{path}: cannot be read: {error.strerror or error}.') from error
        if len(sums) == 1:
            return next(iter(sums.values()))
        return hashlib.sha256(''.join(f'{name} {each}\n' for name, each in sums.items()).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """A checkpoint in memory; the attributes not described here are those of `Weights`.

    Attributes:
        parameters: nested dicts of NumPy arrays, unstacked.
        digest: SHA-256 over `Weights.files`.
    """

    path: Path
    name: str
    config: ModelConfig
    parameters: dict
    eos_ids: tuple[int, ...]
    bos_id: int | None
    tokenizer_source: Path | Mapping[str, object] | None
    chat_template: str | None
    generation: Mapping[str, object]
    digest: str


def read_checkpoint(path: str | Path, dtype: DType = 'float32', max_context: int | None = None) -> Checkpoint:
    """Reads a model into host memory; arguments and errors as of `open_weights`."""
    weights = open_weights(path, dtype, max_context)
    shared = {field.name: getattr(weights, field.name) for field in dataclasses.fields(Weights) if field.name not in _UNREAD}
    return Checkpoint(**shared, parameters=weights.parameters(), digest=weights.digest())


def open_weights(path: str | Path, dtype: DType = 'float32', max_context: int | None = None) -> Weights:
    """Reads everything of a checkpoint but its tensors' values: the architecture, what a tokenizer and a sampler need to know.

    Args:
        path: a Hugging Face folder, a `.gguf` file, a training run (its newest whole checkpoint) or one checkpoint of it.
        dtype: of the parameters and of matrix products.
        max_context: longest context that will be used, tokens; longrope models switch to their long factors when it exceeds
            their original one. None keeps the short factors.

    Raises:
        WeightsError: something is missing, damaged, refused or not supported; the message names the file.
    """
    weights = _open(Path(path))
    config = dataclasses.replace(weights.config, parameter_dtype=dtype, matmul_dtype=dtype)
    return dataclasses.replace(weights, config=config if max_context is None else config.for_context(max_context))


def _open(path: Path) -> Weights:
    if path.is_dir():
        if is_run(path) or is_step(path):
            from jaxreason.models.checkpoint import open_checkpoint

            return open_checkpoint(path)
        if (path / 'config.yaml').is_file() and not (path / 'config.json').exists():
            raise WeightsError(f'{path}: the folder of a run that has no checkpoint (yet); let its training go on.')
        return _open_folder(path)
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(f'{path}: pickled weights may run code and are refused; convert them to safetensors.')
    if path.suffix.lower() != '.gguf':
        problem = 'expected a Hugging Face folder or a .gguf file' if path.exists() else 'no such folder or file'
        raise WeightsError(f'{path}: {problem}; `jaxreason weights fetch NAME` gets a model.')
    return _open_gguf(path)


def _open_gguf(path: Path) -> Weights:
    from jaxreason.models.gguf_config import hugging_face_config
    from jaxreason.models.gguf_file import GgufFile
    from jaxreason.models.gguf_names import hugging_face_names, hugging_face_tensors

    file = GgufFile.open(path)
    config = _model_config(path, hugging_face_config(file))
    named = {kind: file.value(f'tokenizer.ggml.{kind}_token_id', int) for kind in ('eos', 'eot', 'bos')}
    ids = {kind: None if found in (-1, 0xFFFFFFFF) else found for kind, found in named.items()}  # converters' ways to say none
    template = file.value('tokenizer.chat_template', str)
    name = file.value('general.name', str, path.stem)
    sampling = {ours: file.value(f'general.sampling.{theirs}', (int, float)) for theirs, ours in _GGUF_SAMPLING.items()}
    return Weights(
        path=path,
        name=str(name),
        config=config,
        tensors=hugging_face_tensors(file),
        kinds={target: file.tensors[source].kind for target, source in hugging_face_names(file).items()},
        files=(path,),
        eos_ids=_token_ids(path, 'eos_token_id', [ids['eos'], ids['eot']], config),
        bos_id=_token_id(path, 'bos_token_id', ids['bos'], config),
        tokenizer_source=file.metadata if 'tokenizer.ggml.tokens' in file.metadata else None,
        chat_template=template if isinstance(template, str) else None,
        generation=MappingProxyType({name: value for name, value in sampling.items() if value is not None}),
    )


def _open_folder(path: Path) -> Weights:
    mapping = _read_object(path / 'config.json')
    if mapping.get('quantization_config'):
        raise WeightsError(
            f'{path / "config.json"}: quantised safetensors are not supported; use the unquantised model or a GGUF file.'
        )
    config = _model_config(path / 'config.json', mapping)
    generation_path = path / 'generation_config.json'
    generation = _read_object(generation_path) if generation_path.exists() else {}
    shards = _shards(path)
    tensors: dict[str, Reader] = {}
    kinds: dict[str, str] = {}
    for shard, names in shards.items():
        for name in names:
            tensors[name] = functools.partial(shard.tensor, name)
            kinds[name] = shard.tensors[name].kind
    named = [source for source in (generation, mapping) if source.get('eos_token_id') is not None]
    first = [source['bos_token_id'] for source in (generation, mapping) if source.get('bos_token_id') is not None]
    return Weights(
        path=path,
        name=path.resolve().name,
        config=config,
        tensors=tensors,
        kinds=kinds,
        files=(
            path / 'config.json',
            *(shard.path for shard in shards),
            *(path / name for name in _DECIDING if (path / name).is_file()),
        ),
        eos_ids=_token_ids(path, 'eos_token_id', named[0]['eos_token_id'] if named else [], config),
        bos_id=_token_id(path, 'bos_token_id', first[0] if first else None, config),
        tokenizer_source=path if (path / 'tokenizer.json').exists() else None,
        chat_template=_chat_template(path),
        generation=MappingProxyType(generation),
        architecture=_architecture(mapping),
    )


def _architecture(mapping: Mapping[str, object]) -> str:
    named = mapping.get('architectures')
    return named[0] if isinstance(named, list) and len(named) == 1 and isinstance(named[0], str) else ''


def _shards(path: Path) -> dict[SafetensorsFile, list[str]]:
    """The folder's safetensors files and the names of the tensors in each."""
    index = path / _INDEX
    if not index.exists():
        file = SafetensorsFile.open(_only_weights_file(path))
        return {file: list(file.tensors)}
    weight_map = _read_object(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f'{index}: expected an object weight_map of tensor names to files; fetch the folder again.')
    names = sorted(set(map(str, weight_map.values())))
    odd = next((name for name in names if not _SHARD_NAME.fullmatch(name)), None)
    if odd is not None:
        raise WeightsError(f'{index}: expected plain names of safetensors files, got {odd[:64]!r}; fetch the folder again.')
    shards: dict[SafetensorsFile, list[str]] = {}
    for name in names:
        if not (path / name).exists():
            raise WeightsError(f'{path / name}: missing, the index names it; fetch the folder again.')
        file = SafetensorsFile.open(path / name)
        listed = {tensor for tensor, shard in weight_map.items() if shard == name}
        if listed != set(file.tensors):
            odd = min(listed ^ set(file.tensors))
            raise WeightsError(
                f'{path / name}: the index and the file disagree about tensor {odd[:64]!r}; fetch the folder again.'
            )
        shards[file] = list(file.tensors)
    return shards


def _only_weights_file(path: Path) -> Path:
    single = path / 'model.safetensors'
    if single.exists():
        return single
    found = sorted(path.glob('*.safetensors'))
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f'{path}: {len(found)} safetensors files without {_INDEX}; fetch the index too.')
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise WeightsError(f'{path / pickles[0]}: pickled weights may run code and are refused; convert them to safetensors.')
    raise WeightsError(f'{path}: expected model.safetensors, found no weights; fetch the folder again.')


def _chat_template(path: Path) -> str | None:
    try:
        return read_chat_template(path)
    except TokenizerError as error:
        raise WeightsError(str(error)) from error


def _model_config(path: Path, mapping: Mapping[str, object]) -> ModelConfig:
    try:
        return ModelConfig.from_hugging_face(mapping)
    except (WeightsError, ConfigError) as error:
        raise WeightsError(f'{path}: {str(error).removeprefix("config.json: ")}') from error


def _token_ids(path: Path, name: str, found: object, config: ModelConfig) -> tuple[int, ...]:
    several = found if isinstance(found, list) else [found]
    checked = [_token_id(path, name, each, config) for each in several]
    return tuple(dict.fromkeys(each for each in checked if each is not None))


def _token_id(path: Path, name: str, found: object, config: ModelConfig) -> int | None:
    if found is None:
        return None
    if type(found) is not int or not 0 <= found < config.vocab_size:
        raise WeightsError(
            f'{path}: {name} must be a token of the vocabulary, 0 to {config.vocab_size - 1}, got {str(found)[:64]!r}.'
        )
    return found


def _read_object(path: Path) -> dict:
    text = _read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = ' '.join(str(error).split())[:120]
        raise WeightsError(f'{path}: expected JSON ({problem}); fetch the folder again.') from error
    if not isinstance(value, dict):
        raise WeightsError(f'{path}: expected a JSON object, got {type(value).__name__}; fetch the folder again.')
    return value


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise WeightsError(f'{path}: expected at most {MAX_JSON_BYTES} bytes, found {size}; fetch the folder again.')
        return path.read_bytes().decode()
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}; fetch the folder again.') from error
    except UnicodeDecodeError as error:
        raise WeightsError(f'{path}: expected UTF-8 text; fetch the folder again.') from error


def _at(path: Path, error: WeightsError) -> WeightsError:
    """The same error, with the checkpoint's path where the message does not name it."""
    return error if str(path) in str(error) else WeightsError(f'{path}: {error}')
