"""GGUF reading: values of every quantisation, and files that lie."""

import struct
import time
import tracemalloc

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import WeightsError
from jaxreason.models.gguf_file import MAX_ELEMENTS, GgufFile

STRING, ARRAY, UINT32, UINT8 = 8, 9, 4, 0
F32, Q4_0 = 0, 2


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack('<Q', len(value) if length is None else length) + value


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack('<I', kind) + value


def array(kind: int, length: int, items: bytes = b'') -> bytes:
    return struct.pack('<IQ', kind, length) + items


def tensor(name: bytes = b'a', dims=(4,), kind: int = F32, offset: int = 0, num_dims: int | None = None) -> bytes:
    dims = tuple(dims)
    return text(name) + struct.pack(f'<I{len(dims)}QIQ', len(dims) if num_dims is None else num_dims, *dims, kind, offset)


def file_bytes(entries=(), tensors=(), data=b'', *, version=3, num_keys=None, num_tensors=None, alignment=32) -> bytes:
    head = b'GGUF' + struct.pack('<I', version)
    head += struct.pack(
        '<QQ', len(tensors) if num_tensors is None else num_tensors, len(entries) if num_keys is None else num_keys
    )
    head += b''.join(entries) + b''.join(tensors)
    return head + b'\0' * (-len(head) % alignment) + data


ALIGNMENT = b'general.alignment'
GOOD = file_bytes([entry(b'k', UINT32, struct.pack('<I', 7))], [tensor()], np.arange(4, dtype='<f4').tobytes())
PRIME_PRODUCT = (4194305, 4194305, 211106198978564)  # its product wraps around 2^64

MALFORMED = {
    'empty file': b'',
    'magic only': b'GGUF',
    'other format': b'PK\x03\x04' + b'\0' * 60,
    'version 0': file_bytes(version=0),
    'version 1': file_bytes(version=1),
    'version 99': file_bytes(version=99),
    'byte-swapped version': file_bytes(version=0x03000000),
    'other byte-swapped version': file_bytes(version=0x63000000),
    'array length 2^63': file_bytes([entry(b'k', ARRAY, array(UINT8, 1 << 63))]),
    'string array length 2^63': file_bytes([entry(b'k', ARRAY, array(STRING, 1 << 63))]),
    'array longer than the file': file_bytes([entry(b'k', ARRAY, array(UINT32, 1000, b'\0' * 40))]),
    'string length 2^63': file_bytes([entry(b'k', STRING, text(b'x', 1 << 63))]),
    'string of 1 GiB': file_bytes([entry(b'k', STRING, text(b'x', 1 << 30))]),
    'key length 2^63': file_bytes([text(b'k', 1 << 63)]),
    'nested array': file_bytes([entry(b'k', ARRAY, array(ARRAY, 1, array(UINT8, 1, b'\1')))]),
    'arrays nested 2000 deep': file_bytes([entry(b'k', ARRAY, array(ARRAY, 1) * 2000 + array(UINT8, 1, b'\1'))]),
    'duplicate key': file_bytes([entry(b'k', UINT8, b'\1'), entry(b'k', UINT8, b'\2')]),
    'empty key': file_bytes([entry(b'', UINT8, b'\1')]),
    'key that is not UTF-8': file_bytes([entry(b'\xff', UINT8, b'\1')]),
    'value that is not UTF-8': file_bytes([entry(b'k', STRING, text(b'\xff'))]),
    'value type 999': file_bytes([entry(b'k', 999, b'\1')]),
    'element type 999': file_bytes([entry(b'k', ARRAY, array(999, 1, b'\1'))]),
    'more keys than there are': file_bytes([entry(b'k', UINT8, b'\1')], num_keys=3),
    'key count 2^63': file_bytes(num_keys=1 << 63),
    'tensor count 2^63': file_bytes(num_tensors=1 << 63),
    'n_dims 10^6': file_bytes(tensors=[tensor(num_dims=10**6)], data=b'\0' * 64),
    'n_dims 0': file_bytes(tensors=[tensor(dims=())], data=b'\0' * 64),
    'dims whose product overflows': file_bytes(tensors=[tensor(dims=PRIME_PRODUCT)], data=b'\0' * 64),
    'zero dim': file_bytes(tensors=[tensor(dims=(0, 4))], data=b'\0' * 64),
    'dims 2^63': file_bytes(tensors=[tensor(dims=(1 << 63, 2))], data=b'\0' * 64),
    'offset past the end': file_bytes(tensors=[tensor(offset=1 << 40)], data=b'\0' * 64),
    'offset 2^64 - 32': file_bytes(tensors=[tensor(offset=(1 << 64) - 32)], data=b'\0' * 64),
    'offset not aligned': file_bytes(tensors=[tensor(offset=4)], data=b'\0' * 64),
    'tensor cut short': file_bytes(tensors=[tensor()], data=b'\0' * 15),
    'unknown storage type': file_bytes(tensors=[tensor(kind=12345)], data=b'\0' * 64),
    'known storage type without support': file_bytes(tensors=[tensor(dims=(256,), kind=16)], data=b'\0' * 256),
    'integer tensor': file_bytes(tensors=[tensor(kind=int(gguf.GGMLQuantizationType.I32))], data=b'\0' * 64),
    'alignment 0': file_bytes([entry(ALIGNMENT, UINT32, struct.pack('<I', 0))], [tensor()], b'\0' * 64),
    'alignment 3': file_bytes([entry(ALIGNMENT, UINT32, struct.pack('<I', 3))], [tensor()], b'\0' * 64),
    'alignment 2^30': file_bytes([entry(ALIGNMENT, UINT32, struct.pack('<I', 1 << 30))], [tensor()], b'\0' * 64),
    'alignment of another type': file_bytes([entry(ALIGNMENT, UINT8, b'\x20')], [tensor()], b'\0' * 64),
    'duplicate tensor': file_bytes(tensors=[tensor(), tensor(offset=32)], data=b'\0' * 64),
    'overlapping tensors': file_bytes(tensors=[tensor(dims=(16,)), tensor(b'b', offset=32)], data=b'\0' * 64),
    'empty tensor name': file_bytes(tensors=[tensor(b'')], data=b'\0' * 64),
    'row not a multiple of the block': file_bytes(tensors=[tensor(dims=(48,), kind=Q4_0)], data=b'\0' * 64),
}


@pytest.mark.parametrize('content', MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_one_short_error_in_bounded_time_and_memory(tmp_path, content):
    path = tmp_path / 'bad.gguf'
    path.write_bytes(content)
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(WeightsError) as caught:
            GgufFile.open(path)
        assert time.process_time() - begun < 1.0
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(str(path)) and '\n' not in message and len(message) < len(str(path)) + 300


@pytest.mark.parametrize(
    ('content', 'hint'),
    [
        (MALFORMED['byte-swapped version'], 'big-endian'),
        (MALFORMED['other byte-swapped version'], 'version is 1660944384'),
        (MALFORMED['version 99'], 'version is 99'),
        (MALFORMED['known storage type without support'], 'stored as IQ2_XXS'),
        (MALFORMED['tensor cut short'], 'cut short'),
        (MALFORMED['overlapping tensors'], 'overlap'),
        (MALFORMED['duplicate tensor'], 'twice'),
        (MALFORMED['arrays nested 2000 deep'], 'arrays of arrays'),
    ],
)
def test_an_error_names_what_is_wrong(tmp_path, content, hint):
    (tmp_path / 'bad.gguf').write_bytes(content)
    with pytest.raises(WeightsError, match=hint):
        GgufFile.open(tmp_path / 'bad.gguf')


def test_arrays_beyond_the_limit_are_refused_even_if_the_file_holds_them(tmp_path):
    half = MAX_ELEMENTS // 2
    entries = [entry(f'k{i}'.encode(), ARRAY, array(UINT8, half, b'\0' * half)) for i in range(3)]
    (tmp_path / 'most.gguf').write_bytes(file_bytes(entries[:2]))
    assert len(GgufFile.open(tmp_path / 'most.gguf').metadata) == 2
    (tmp_path / 'more.gguf').write_bytes(file_bytes(entries))
    with pytest.raises(WeightsError, match=f'{MAX_ELEMENTS} in all'):
        GgufFile.open(tmp_path / 'more.gguf')


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    for path in (tmp_path / 'absent.gguf', tmp_path):
        with pytest.raises(WeightsError, match=str(path)):
            GgufFile.open(path)


def test_every_prefix_of_a_file_is_an_error(tmp_path):
    path = tmp_path / 'cut.gguf'
    for length in range(len(GOOD)):
        path.write_bytes(GOOD[:length])
        with pytest.raises(WeightsError):
            GgufFile.open(path)
    path.write_bytes(GOOD)
    np.testing.assert_array_equal(GgufFile.open(path).tensor('a'), [0, 1, 2, 3])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_give_a_file_or_a_weights_error(tmp_path_factory, changes):
    damaged = bytearray(GOOD)
    for at, value in changes:
        damaged[at] = value
    path = tmp_path_factory.mktemp('gguf') / 'damaged.gguf'
    path.write_bytes(damaged)
    try:
        file = GgufFile.open(path)
    except WeightsError:
        return
    for name, info in file.tensors.items():
        assert file.tensor(name).shape == info.shape


def test_metadata_of_every_type_is_read(tmp_path):
    path = tmp_path / 'good.gguf'
    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_uint8('u8', 200)
    writer.add_int8('i8', -100)
    writer.add_uint16('u16', 60_000)
    writer.add_int16('i16', -30_000)
    writer.add_uint32('u32', 4_000_000_000)
    writer.add_int32('i32', -2_000_000_000)
    writer.add_uint64('u64', 1 << 63)
    writer.add_int64('i64', -(1 << 62))
    writer.add_float32('f32', 0.5)
    writer.add_float64('f64', 0.1)
    writer.add_bool('bool', True)
    writer.add_string('text', 'déjà')
    writer.add_array('texts', ['a', 'bé', 'Ġ'])
    writer.add_array('numbers', [1, 2, 3])
    writer.add_array('floats', [0.5, -1.0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = {
        'general.architecture': 'llama',
        'u8': 200,
        'i8': -100,
        'u16': 60_000,
        'i16': -30_000,
        'u32': 4_000_000_000,
        'i32': -2_000_000_000,
        'u64': 1 << 63,
        'i64': -(1 << 62),
        'f32': 0.5,
        'f64': 0.1,
        'bool': True,
        'text': 'déjà',
        'texts': ['a', 'bé', 'Ġ'],
        'numbers': [1, 2, 3],
        'floats': [0.5, -1.0],
    }
    file = GgufFile.open(path)
    assert dict(file.metadata) == expected
    assert file.value('u8', int) == 200
    assert file.value('absent', int, 5) == 5
    for key, kind in (('bool', int), ('text', int), ('u8', str)):
        with pytest.raises(WeightsError, match=key):
            file.value(key, kind)


def test_custom_alignment_and_version_2_are_read(tmp_path):
    content = file_bytes(
        [entry(ALIGNMENT, UINT32, struct.pack('<I', 256))],
        [tensor(dims=(2, 2)), tensor(b'b', (1,), offset=256)],
        np.arange(4, dtype='<f4').tobytes().ljust(256, b'\0') + np.float32(9).tobytes(),
        version=2,
        alignment=256,
    )
    (tmp_path / 'aligned.gguf').write_bytes(content)
    file = GgufFile.open(tmp_path / 'aligned.gguf')
    np.testing.assert_array_equal(file.tensor('a'), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(file.tensor('b'), [9])
    with pytest.raises(WeightsError, match="'c'"):
        file.tensor('c')


def test_a_file_that_shrinks_after_opening_is_an_error(tmp_path):
    path = tmp_path / 'good.gguf'
    path.write_bytes(GOOD)
    file = GgufFile.open(path)
    path.write_bytes(GOOD[:-8])
    with pytest.raises(WeightsError, match='found 8'):
        file.tensor('a')
    path.unlink()
    with pytest.raises(WeightsError, match='cannot be read'):
        file.tensor('a')
