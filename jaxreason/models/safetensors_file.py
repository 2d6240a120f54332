"""Safetensors weights files: read behind guards, written whole.

A safetensors file is an 8-byte length, a JSON header that gives every tensor's dtype, shape and byte range, and the bytes. The
library checks most of it, but lets through duplicate names, names made like paths and hundreds of thousands of tensors; so the
header is checked here, all of it, and a tensor is then a mapping of its bytes: who needs a slice reads that slice. Names are
data: they are never used as paths. Pickled checkpoints (`.bin`, `.pt`) are never opened: loading one may run code.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jaxreason.core.errors import WeightsError

MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 65_536
MAX_DIMENSIONS = 8
MAX_NAME_LENGTH = 512

_ITEM_BYTES = {
    **dict.fromkeys(('F64', 'I64', 'U64'), 8),
    **dict.fromkeys(('F32', 'I32', 'U32'), 4),
    **dict.fromkeys(('F16', 'BF16', 'I16', 'U16'), 2),
    **dict.fromkeys(('I8', 'U8', 'BOOL', 'F8_E4M3', 'F8_E5M2'), 1),
}
_READABLE = {'F64': 'float64', 'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16'}


@dataclasses.dataclass(frozen=True)
class SafetensorsTensor:
    """How a tensor is stored: dtype as the format names it (`BF16`), shape, first byte in the file, and bytes taken."""

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    num_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class SafetensorsFile:
    """A safetensors file whose header was checked; tensors are mapped one at a time.

    Attributes:
        path: the file.
        tensors: name -> description, in the order of their bytes.
    """

    path: Path
    tensors: Mapping[str, SafetensorsTensor]

    @classmethod
    def open(cls, path: str | Path) -> 'SafetensorsFile':
        """Reads and checks the header.

        Args:
            path: a safetensors file.

        Raises:
            WeightsError: the file is missing, is of another format, or its header does not describe its bytes exactly.
        """
        path = Path(path)
        try:
            with path.open('rb') as file:
                size = os.fstat(file.fileno()).st_size
                header = _read_header(path, file.read(8), file, size)
        except OSError as error:
            raise WeightsError(f'{path}: expected a readable safetensors file: {error.strerror or error}.') from error
        return cls(path, MappingProxyType(header))

    def tensor(self, name: str) -> np.ndarray:
        """Maps one tensor in the dtype that it is stored in.

        Args:
            name: one of `tensors`.

        Returns:
            A float64, float32, float16 or bfloat16 (`ml_dtypes`) array, read-only; its bytes are read from the file as they
            are used, and the mapping ends with the array.

        Raises:
            WeightsError: there is no such tensor, it is not of a floating-point type, or the file changed since it was opened.
        """
        import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy

        info = self.tensors.get(name)
        if info is None:
            raise WeightsError(f'{self.path}: expected a tensor {name!r}, the file has none of that name.')
        if info.kind not in _READABLE:
            wanted = ', '.join(_READABLE)
            raise WeightsError(
                f'{self.path}: tensor {name!r} is stored as {info.kind}, supported are {wanted}; convert it to bfloat16.'
            )
        dtype = np.dtype(_READABLE[info.kind])
        if not info.num_bytes:
            return np.empty(info.shape, dtype)  # nothing cannot be mapped
        try:
            return np.asarray(np.memmap(self.path, dtype, 'r', info.offset, info.shape))
        except (OSError, ValueError) as error:
            raise WeightsError(
                f'{self.path}: tensor {name!r} cannot be read: {_one_line(error)}; fetch the file again.'
            ) from error


def write_safetensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors to a new file and waits until the disk has it.

    Args:
        path: of the file; replaced if it exists.
        tensors: name -> float64, float32, float16 or bfloat16 values.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({name: np.asarray(values, order='C') for name, values in tensors.items()}, path, metadata={'format': 'pt'})
        os.chmod(path, 0o644)  # the library makes it readable by its owner only
        with open(path, 'rb+') as file:
            os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise WeightsError(f'{path}: cannot be written: {_one_line(error)}.') from error


def _read_header(path: Path, prefix: bytes, file, size: int) -> dict[str, SafetensorsTensor]:
    length = int.from_bytes(prefix, 'little')
    if len(prefix) < 8 or length > size - 8:
        # A good file may begin with these bytes too, if its header has just that length: so it is asked only here.
        if prefix.startswith((b'PK\x03\x04', b'\x80')):
            raise WeightsError(f'{path}: expected safetensors, found a pickle, which may run code; convert it to safetensors.')
        raise _damaged(path, f'its header claims {length} bytes, the file has {size}')
    if length > MAX_HEADER_BYTES:
        raise _damaged(path, f'its header claims {length} bytes, expected at most {MAX_HEADER_BYTES}')
    content = file.read(length)
    _check_number(path, content.count(b'"dtype"'))  # each has one: so many would take seconds to parse
    try:
        header = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f'its header is not JSON with unique names ({_one_line(error)})') from error
    if not isinstance(header, dict):
        raise _damaged(path, f'its header is a JSON {type(header).__name__}, expected an object')
    metadata = header.pop('__metadata__', {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, 'its __metadata__ is not an object of texts')
    _check_number(path, len(header))  # the word may be written otherwise
    return _described(path, header, 8 + length, size)


def _check_number(path: Path, claimed: int) -> None:
    if claimed > MAX_TENSORS:
        raise _damaged(path, f'it claims {claimed} tensors, expected at most {MAX_TENSORS}')


def _described(path: Path, header: Mapping[str, object], start: int, size: int) -> dict[str, SafetensorsTensor]:
    """The header's tensors, whose byte ranges must tile the data, bytes `start` to `size`, exactly."""
    tensors = [_tensor(path, name, entry, start) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.num_bytes))
    at = start
    for tensor in tensors:
        if tensor.offset != at:
            hole = tensor.offset - at
            what = 'overlaps the tensor before it' if hole < 0 else f'leaves a hole of {hole} bytes before it'
            raise _damaged(path, f'tensor {_shown(tensor.name)} {what}')
        at += tensor.num_bytes
    if at != size:
        raise _damaged(
            path, f'its tensors take {at - start} bytes, the file has {size - start} for them; it was cut short or added to'
        )
    return {tensor.name: tensor for tensor in tensors}


def _tensor(path: Path, name: str, entry: object, start: int) -> SafetensorsTensor:
    shown = _shown(name)
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable() or not name.isascii():
        raise _damaged(path, f'tensor name {shown} is not plain text of 1 to {MAX_NAME_LENGTH} characters')
    if '..' in name or '\\' in name or name.startswith('/'):
        raise _damaged(path, f'tensor name {shown} is made like a path')
    if not isinstance(entry, dict) or set(entry) != {'dtype', 'shape', 'data_offsets'}:
        raise _damaged(path, f'tensor {shown} is not described by dtype, shape and data_offsets')
    kind, shape, offsets = entry['dtype'], entry['shape'], entry['data_offsets']
    if not isinstance(kind, str) or kind not in _ITEM_BYTES:
        raise _damaged(path, f'tensor {shown} has unknown dtype {_shown(str(kind))}')
    if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
        raise _damaged(path, f'tensor {shown} has a shape that is not up to {MAX_DIMENSIONS} whole numbers')
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise _damaged(path, f'tensor {shown} has data_offsets that are not two whole numbers')
    begin, end = offsets
    num_bytes = math.prod(shape) * _ITEM_BYTES[kind]  # Python integers: no overflow to hide in
    if end - begin != num_bytes:
        raise _damaged(
            path, f'tensor {shown} of shape {_shown(str(shape))} {kind} needs {num_bytes} bytes, its range is {begin} to {end}'
        )
    return SafetensorsTensor(name, tuple(shape), kind, start + begin, num_bytes)


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f'{_shown(twice)} appears twice')
    return result


def _no_constant(text: str) -> object:
    raise ValueError(f'{text} is not JSON')


def _damaged(path: Path, problem: str) -> WeightsError:
    return WeightsError(f'{path}: not a usable safetensors file: {problem}; fetch or convert it again.')


def _shown(text: str) -> str:
    """Text from the file as it may be printed: one line, escaped, not long."""
    return repr(text if len(text) <= 64 else text[:61] + '...')


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())[:200]
