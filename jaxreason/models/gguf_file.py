"""GGUF weights files: metadata and quantised tensors, read behind guards.

A GGUF file is counts, key-value metadata, tensor descriptions, then the tensors' bytes. All lengths in it are claims of the
file: the header is scanned here first, and every claim is compared with the bytes that are really there before anything is
allocated (a reader that trusts them loops for ever on a 49-byte file). Only then does the `gguf` package turn quantised blocks
into numbers. Format: the GGUF specification in the ggml repository, versions 2 and 3, little-endian.
"""

import dataclasses
import functools
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np

from jaxreason.core.errors import WeightsError

MAX_HEADER_BYTES = 64 << 20  # the largest vocabularies (256k tokens with merges) take about 12 MB
MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_ELEMENTS = 1 << 22  # of all arrays together: each becomes a Python object
MAX_NAME_BYTES = 1_024
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 65_536

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: 'B',
    1: 'b',
    2: 'H',
    3: 'h',
    4: 'I',
    5: 'i',
    6: 'f',
    7: '?',
    10: 'Q',
    11: 'q',
    12: 'd',
}  # value type -> struct code
_UINT32 = 4
_VALUE_TYPES = {**_SCALARS, _STRING: 'string', _ARRAY: 'array'}

_SUPPORTED = ('F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K')


@dataclasses.dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies and how it is stored.

    Attributes:
        name: as in the file (`blk.0.attn_q.weight`).
        shape: slowest dimension first, as NumPy and Hugging Face have it (the file has the reverse).
        kind: storage type, `F32`, `Q4_1`, ...
        offset: of its first byte, from the start of the file.
        num_bytes: that it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    num_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class GgufFile:
    """An opened GGUF file: everything but the tensors' values, which are read one at a time.

    Attributes:
        path: the file.
        metadata: key -> number, bool, text, or list of them.
        tensors: name -> description, in the file's order.
    """

    path: Path
    metadata: Mapping[str, object]
    tensors: Mapping[str, GgufTensor]

    @classmethod
    def open(cls, path: str | Path) -> 'GgufFile':
        """Reads and checks the header.

        Args:
            path: a GGUF file.

        Raises:
            WeightsError: the file is missing, damaged, lies about its lengths, or uses a type that is not supported.
        """
        path = Path(path)
        try:
            with path.open('rb') as file:
                size = file.seek(0, 2)
                if size == 0:
                    raise WeightsError(f'{path}: expected a GGUF file, found an empty file; fetch it again.')
                with mmap.mmap(file.fileno(), min(size, MAX_HEADER_BYTES), access=mmap.ACCESS_READ) as head:
                    metadata, tensors = _Scan(path, head, size).header()
        except OSError as error:
            raise WeightsError(f'{path}: expected a readable GGUF file: {error.strerror or error}.') from error
        return cls(path, MappingProxyType(metadata), MappingProxyType(tensors))

    def tensor(self, name: str) -> np.ndarray:
        """Reads one tensor and dequantises it.

        Args:
            name: one of `tensors`.

        Returns:
            float32 values in the tensor's shape; a fresh array.

        Raises:
            WeightsError: there is no such tensor, or the file shrank since it was opened.
        """
        info = self.tensors.get(name)
        if info is None:
            raise WeightsError(f'{self.path}: expected a tensor {name!r}, the file has none of that name.')
        try:
            raw = np.fromfile(self.path, np.uint8, count=info.num_bytes, offset=info.offset)
        except OSError as error:
            raise WeightsError(f'{self.path}: cannot be read: {error.strerror or error}.') from error
        if raw.size != info.num_bytes:
            raise WeightsError(
                f'{self.path}: expected {info.num_bytes} bytes of {name!r}, found {raw.size}; fetch the file again.'
            )
        kind = gguf.GGMLQuantizationType[info.kind]
        rows = raw.reshape(-1, gguf.quant_shape_to_byte_shape(info.shape[-1:], kind)[0])
        values = gguf.dequantize(rows, kind)
        return np.ascontiguousarray(values, np.float32).reshape(info.shape)

    def value(self, key: str, kind: type | tuple[type, ...], default: object = None) -> object:
        """Looks a metadata value up and checks its type.

        Args:
            key: of the metadata.
            kind: expected Python type or types (`bool` is not taken for an `int`).
            default: returned where the key is absent.

        Raises:
            WeightsError: the value is of another type.
        """
        if key not in self.metadata:
            return default
        found = self.metadata[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            wanted = ' or '.join(each.__name__ for each in kinds)
            raise WeightsError(f'{self.path}: {key} must be {wanted}, got {type(found).__name__}.')
        return found


class _Scan:
    """A cursor over the header that never reads past what the file has."""

    def __init__(self, path: Path, head: mmap.mmap, size: int):
        self.path = path
        self.head = head
        self.size = size  # of the whole file; `head` may be its beginning only
        self.at = 0
        self.elements = 0  # of the arrays so far

    def header(self) -> tuple[dict[str, object], dict[str, GgufTensor]]:
        self._magic()
        num_tensors = self._count('tensors', MAX_TENSORS)
        num_keys = self._count('metadata keys', MAX_KEYS)
        metadata = self._metadata(num_keys)
        described = [self._tensor() for _ in range(num_tensors)]
        alignment = metadata.get(_ALIGNMENT_KEY, 32)
        assert isinstance(alignment, int)
        data_start = self.at + -self.at % alignment
        tensors: dict[str, GgufTensor] = {}
        for info in described:
            if info.name in tensors:
                raise self.error(f'tensor {_shown(info.name)} appears twice')
            if info.offset % alignment:
                raise self.error(f'tensor {_shown(info.name)} starts at {info.offset}, expected a multiple of {alignment}')
            if data_start + info.offset + info.num_bytes > self.size:
                ends = data_start + info.offset + info.num_bytes
                raise self.error(f'tensor {_shown(info.name)} ends at byte {ends}, the file has {self.size}; it was cut short')
            tensors[info.name] = dataclasses.replace(info, offset=data_start + info.offset)
        self._no_overlap(tensors)
        return metadata, tensors

    def error(self, problem: str) -> WeightsError:
        return WeightsError(f'{self.path}: not a usable GGUF file: {problem}; fetch or convert it again.')

    def _magic(self) -> None:
        if self._bytes(4, 'the magic') != b'GGUF':
            raise self.error('it does not start with the letters GGUF')
        (version,) = self._unpack('I', 'the version')
        if version in (2, 3):
            return
        if struct.unpack('>I', struct.pack('<I', version))[0] in (2, 3):
            raise self.error('it is big-endian, only little-endian files are read')
        raise self.error(f'its version is {version}, expected 2 or 3')

    def _metadata(self, num_keys: int) -> dict[str, object]:
        metadata: dict[str, object] = {}
        for _ in range(num_keys):
            key = self._name('a metadata key')
            if key in metadata:
                raise self.error(f'metadata key {_shown(key)} appears twice')
            (kind,) = self._unpack('I', 'a value type')
            metadata[key] = self._value(key, kind)
            if key == _ALIGNMENT_KEY:
                self._check_alignment(kind, metadata[key])
        return metadata

    def _check_alignment(self, kind: int, value: object) -> None:
        if kind != _UINT32 or not isinstance(value, int) or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
            raise self.error(f'{_ALIGNMENT_KEY} must be a power of two up to {MAX_ALIGNMENT} (uint32), got {str(value)[:32]}')

    def _value(self, key: str, kind: int) -> object:
        if kind == _STRING:
            return self._text(f'the value of {_shown(key)}')
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise self.error(f'{_shown(key)} has value type {kind}, expected one of 0 to 12')
        return self._unpack(_SCALARS[kind], f'the value of {_shown(key)}')[0]

    def _array(self, key: str) -> list[object]:
        kind, length = self._unpack('IQ', f'the array {_shown(key)}')
        if kind not in _VALUE_TYPES or kind == _ARRAY:
            what = 'arrays of arrays are not read' if kind == _ARRAY else 'expected one of 0 to 12'
            raise self.error(f'array {_shown(key)} has element type {kind}, {what}')
        smallest = 8 if kind == _STRING else struct.calcsize('<' + _SCALARS[kind])
        self.elements += length
        if self.elements > MAX_ELEMENTS or length * smallest > len(self.head) - self.at:
            raise self.error(
                f'array {_shown(key)} claims {length} elements, more than the file holds or than {MAX_ELEMENTS} in all'
            )
        if kind == _STRING:
            return [self._text(f'array {_shown(key)}') for _ in range(length)]
        return list(self._unpack(f'{length}{_SCALARS[kind]}', f'array {_shown(key)}'))

    def _tensor(self) -> GgufTensor:
        name = self._name('a tensor name')
        (num_dims,) = self._unpack('I', f'tensor {_shown(name)}')
        if not 1 <= num_dims <= MAX_DIMENSIONS:
            raise self.error(f'tensor {_shown(name)} has {num_dims} dimensions, expected 1 to {MAX_DIMENSIONS}')
        *dims, number, offset = self._unpack(f'{num_dims}QIQ', f'tensor {_shown(name)}')
        kind, block, block_bytes = self._storage(name, number)
        elements = math.prod(dims)  # Python integers: no overflow to hide in
        if elements == 0 or elements // block * block_bytes > self.size:
            raise self.error(f'tensor {_shown(name)} of shape {tuple(reversed(dims))} does not fit a file of {self.size} bytes')
        if dims[0] % block:
            raise self.error(f'tensor {_shown(name)} has rows of {dims[0]}, {kind} needs a multiple of {block}')
        return GgufTensor(name, tuple(reversed(dims)), kind, offset, elements // block * block_bytes)

    def _storage(self, name: str, number: int) -> tuple[str, int, int]:
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError:
            raise self.error(f'tensor {_shown(name)} has unknown storage type {number}') from None
        if kind.name not in _SUPPORTED:
            wanted = ', '.join(_SUPPORTED)
            raise WeightsError(
                f'{self.path}: tensor {_shown(name)} is stored as {kind.name}, supported are {wanted}; requantise it.'
            )
        return kind.name, *gguf.GGML_QUANT_SIZES[kind]

    def _no_overlap(self, tensors: Mapping[str, GgufTensor]) -> None:
        end, before = 0, ''
        for info in sorted(tensors.values(), key=lambda info: info.offset):
            if info.offset < end:
                raise self.error(f'tensors {_shown(before)} and {_shown(info.name)} overlap')
            end, before = info.offset + info.num_bytes, info.name

    def _count(self, what: str, limit: int) -> int:
        (count,) = self._unpack('Q', f'the number of {what}')
        if count > limit:
            raise self.error(f'it claims {count} {what}, expected at most {limit}')
        return count

    def _name(self, what: str) -> str:
        name = self._text(what, MAX_NAME_BYTES)
        if not name:
            raise self.error(f'{what} is empty')
        return name

    def _text(self, what: str, limit: int = MAX_HEADER_BYTES) -> str:
        (length,) = self._unpack('Q', what)
        if length > limit:
            raise self.error(f'{what} claims {length} bytes, expected at most {limit}')
        try:
            return self._bytes(length, what).decode()
        except UnicodeDecodeError:
            raise self.error(f'{what} is not UTF-8 text') from None

    def _unpack(self, codes: str, what: str) -> tuple:
        layout = _layout('<' + codes)
        return layout.unpack(self._bytes(layout.size, what))

    def _bytes(self, count: int, what: str) -> bytes:
        end = self.at + count
        if end > len(self.head):
            raise self.error(f'it ends at byte {len(self.head)}, inside {what}')
        piece = self.head[self.at : end]
        self.at = end
        return piece


_ALIGNMENT_KEY = 'general.alignment'
_layout = functools.lru_cache(maxsize=64)(struct.Struct)


def _shown(name: str) -> str:
    """A name from the file as it may be printed: one line, escaped, not long."""
    return repr(name if len(name) <= 64 else name[:61] + '...')
