"""The weights of a GGUF file, under Hugging Face's names and with Hugging Face's values.

GGUF files are made by llama.cpp's converter, which renames tensors and changes some values: for the `llama` architecture it
reorders the rows of query and key projections (its rotary embedding pairs neighbours, Hugging Face's pairs halves), for Gemma
it stores norms as 1 + w. Both are undone here, so that one loader of Hugging Face names serves both kinds of file.
"""

from collections.abc import Callable

import numpy as np

from jaxreason.core.errors import WeightsError
from jaxreason.models.gguf_architecture import Architecture, Metadata, architecture_of
from jaxreason.models.gguf_file import GgufFile

_TOP = {'token_embd': 'model.embed_tokens', 'output_norm': 'model.norm', 'output': 'lm_head'}
# Part of the configuration.
_ROTARY_TENSORS = ('rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight')


def hugging_face_names(file: GgufFile) -> dict[str, str]:
    """Names a GGUF file's weights as Hugging Face does.

    Args:
        file: of a supported architecture.

    Returns:
        Hugging Face tensor name -> the file's own; rotary factors are not among them, they belong to the configuration.

    Raises:
        WeightsError: the architecture is not supported, or it has no tensor of some name in the file.
    """
    _, architecture = architecture_of(file)
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
    name, architecture = architecture_of(file)
    read = Metadata(file, name)
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


def _target_name(file: GgufFile, architecture: Architecture, source: str) -> str:
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
