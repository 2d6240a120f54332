"""Writes a model as a Hugging Face folder that other programs load (Llama family).

The folder appears complete or not at all: it is written beside its place under a temporary name and then renamed.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, WeightsError
from jaxreason.models.safetensors_file import write_safetensors

MAX_SHARD_BYTES = 5_000_000_000


def write_folder(
    path: str | Path,
    config: ModelConfig,
    parameters: Mapping[str, object],
    *,
    tokenizer_json: str | None = None,
    chat_template: str | None = None,
    eos_ids: Sequence[int] = (),
    bos_id: int | None = None,
    generation: Mapping[str, object] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Path:
    """Writes a model that `read_checkpoint` and Hugging Face libraries read back equal.

    Args:
        path: folder to make; must not exist, or be empty.
        config: of the Llama family.
        parameters: the tree, stacked or not; written in the dtype that it has.
        tokenizer_json: contents of `tokenizer.json`.
        chat_template: Jinja source.
        eos_ids: tokens that end an answer.
        bos_id: token that begins a text.
        generation: sampling defaults to recommend.
        max_shard_bytes: weights beyond this are split over several files, each at most so large unless one tensor is larger.

    Returns:
        The folder.

    Raises:
        WeightsError: the model is not of the Llama family, the folder exists, or it cannot be written.
    """
    from jaxreason.models.hugging_face import from_parameters

    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f'{path}: exists already; give a new folder or remove it.')
    try:
        mapping = config.to_hugging_face()
    except ConfigError as error:
        raise WeightsError(f'{path}: {error}') from error
    ends = list(eos_ids) if len(eos_ids) > 1 else next(iter(eos_ids), None)
    tokens = {name: value for name, value in (('bos_token_id', bos_id), ('eos_token_id', ends)) if value is not None}
    texts = {
        'config.json': _json({**mapping, **tokens}),
        'generation_config.json': _json({**(generation or {}), **tokens}),
    }
    if tokenizer_json is not None:
        texts['tokenizer.json'] = tokenizer_json
        try:
            settings = tokenizer_config(tokenizer_json, chat_template, eos_ids, bos_id)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise WeightsError(f'{path}: the tokenizer.json to write is damaged; use the one of the original model.') from error
        texts['tokenizer_config.json'] = _json(settings)
    elif chat_template is not None:
        texts['chat_template.jinja'] = chat_template
    tensors = from_parameters(config, parameters)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.parent / f'.{path.name}~{secrets.token_hex(4)}'
        scratch.mkdir()
        try:
            _write_texts(scratch, texts)
            _write_tensors(scratch, tensors, max_shard_bytes)
            os.replace(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise WeightsError(f'{path}: cannot be written: {error.strerror or error}.') from error
    return path


def tokenizer_config(
    tokenizer_json: str, chat_template: str | None, eos_ids: Sequence[int], bos_id: int | None
) -> dict[str, object]:
    """What Hugging Face's tokenizer class needs beside `tokenizer.json`."""
    pieces = {entry['id']: entry['content'] for entry in json.loads(tokenizer_json).get('added_tokens', [])}
    named = {'eos_token': next(iter(eos_ids), None), 'bos_token': bos_id}
    special = {name: pieces[index] for name, index in named.items() if index is not None and index in pieces}
    template = {} if chat_template is None else {'chat_template': chat_template}
    return {'tokenizer_class': 'PreTrainedTokenizerFast', 'clean_up_tokenization_spaces': False, **special, **template}


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        with (folder / name).open('w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _write_tensors(folder: Path, tensors: Mapping[str, np.ndarray], max_shard_bytes: int) -> None:
    shards = list(_shards(tensors, max_shard_bytes))
    if len(shards) == 1:
        write_safetensors(folder / 'model.safetensors', shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f'model-{number:05d}-of-{len(shards):05d}.safetensors'
        write_safetensors(folder / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(values.nbytes for values in tensors.values())
    index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
    _write_texts(folder, {'model.safetensors.index.json': _json(index)})


def _shards(tensors: Mapping[str, np.ndarray], max_shard_bytes: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    taken = 0
    for name, values in tensors.items():
        if shard and taken + values.nbytes > max_shard_bytes:
            yield shard
            shard, taken = {}, 0
        shard[name] = values
        taken += values.nbytes
    yield shard


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + '\n'
