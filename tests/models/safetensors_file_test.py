"""Safetensors reading: values of every dtype, and files that lie."""

import json
import pickle
import time
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.errors import WeightsError
from jaxreason.models.safetensors_file import MAX_TENSORS, SafetensorsFile, write_safetensors


def with_header(header: bytes, data: bytes = b'', length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, 'little') + header + data


def table(tensors: dict, data: bytes = b'\0' * 16) -> bytes:
    return with_header(json.dumps(tensors).encode(), data)


def described(data: bytes = b'\0' * 16, **tensors: object) -> bytes:
    return table(tensors, data)


def entry(begin: int, end: int, shape=None, dtype: object = 'F32') -> dict:
    return {'dtype': dtype, 'shape': [(end - begin) // 4] if shape is None else shape, 'data_offsets': [begin, end]}


GOOD = described(a=entry(0, 8), b=entry(8, 16))
DUPLICATE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
MANY = {f't{i}': entry(0, 0) for i in range(200_000)}

MALFORMED = {
    'empty file': b'',
    'seven bytes': b'\x01\0\0\0\0\0\0',
    'header 2^63': with_header(b'{}', length=1 << 63),
    'header 10^9': with_header(b'{}', length=10**9),
    'header past the end': with_header(b'{}', length=3),
    'header over the limit': with_header(b'{' + b' ' * (33 << 20) + b'}'),
    'not JSON': with_header(b'hello'),
    'array root': with_header(b'[]'),
    'number root': with_header(b'1'),
    'NUL padded': with_header(json.dumps({'a': entry(0, 8)}).encode() + b'\0\0\0', b'\0' * 8),
    'not UTF-8': with_header(b'{"\xff": 1}'),
    'overlap': described(a=entry(0, 8), b=entry(4, 12), data=b'\0' * 12),
    'hole': described(a=entry(0, 4), b=entry(8, 16)),
    'reversed offsets': described(a=entry(8, 0, [2])),
    'shape against bytes': described(a=entry(0, 16, [5])),
    'transposed offsets': described(a=entry(0, 16, [2, 3])),
    'shape product overflow': described(a=entry(0, 0, [1 << 62, 1 << 62, 4]), data=b''),
    'shape of 2^64': described(a=entry(0, 0, [1 << 64, 0]), data=b''),
    'negative shape': described(a=entry(0, 16, [-2, -2])),
    'boolean shape': described(a=entry(0, 4, [True]), data=b'\0' * 4),
    'fractional shape': described(a=entry(0, 16, [4.0])),
    'nine dimensions': described(a=entry(0, 4, [1] * 9), data=b'\0' * 4),
    'negative offset': described(a={'dtype': 'F32', 'shape': [2], 'data_offsets': [-8, 0]}),
    'three offsets': described(a={'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16, 16]}),
    'unknown dtype': described(a=entry(0, 16, dtype='F33')),
    'dtype that is a list': described(a=entry(0, 16, dtype=['F32'])),
    'missing field': described(a={'dtype': 'F32', 'data_offsets': [0, 16]}),
    'further field': described(a=entry(0, 16) | {'path': '/etc/passwd'}),
    'entry that is a number': described(a=3),
    'duplicate name': with_header(DUPLICATE, b'\0' * 8),
    'duplicate field': with_header(b'{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}', b'\0' * 8),
    'trailing bytes': described(a=entry(0, 8)),
    'cut short': GOOD[:-1],
    'metadata 100,000 deep': with_header(b'{"__metadata__":' + b'{"a":' * 100_000 + b'1' + b'}' * 100_001),
    'metadata of numbers': described(__metadata__={'a': 1}, a=entry(0, 16)),
    'metadata that is text': described(__metadata__='x', a=entry(0, 16)),
    '200,000 tensors': table(MANY, b''),
    'name like a path': table({'../../etc/passwd': entry(0, 16)}),
    'absolute name': table({'/etc/passwd': entry(0, 16)}),
    'name with a backslash': table({'a\\b': entry(0, 16)}),
    'name with a line break': table({'a\nb': entry(0, 16)}),
    'empty name': table({'': entry(0, 16)}),
    'very long name': table({'a' * 10_000: entry(0, 16)}),
    'pickle': pickle.dumps({'a': np.zeros(4)}, protocol=4),
    'NaN constant': with_header(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', b'\0' * 8),
    'number of 10,000 digits': with_header(b'{"a":{"dtype":"F32","shape":[' + b'9' * 10_000 + b'],"data_offsets":[0,8]}}'),
}


@pytest.mark.parametrize('content', MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_one_short_error_in_bounded_time_and_memory(tmp_path, content):
    path = tmp_path / 'bad.safetensors'
    path.write_bytes(content)
    begun = time.process_time()
    with pytest.raises(WeightsError) as caught:
        SafetensorsFile.open(path)
    assert time.process_time() - begun < 3.0
    message = str(caught.value)
    assert message.startswith(str(path)) and '\n' not in message and len(message) < len(str(path)) + 300


def test_a_huge_header_is_not_read(tmp_path):
    path = tmp_path / 'bad.safetensors'
    path.write_bytes(MALFORMED['header over the limit'])
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match='at most'):
            SafetensorsFile.open(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('overlap', "'b' overlaps"),
        ('hole', 'hole of 4 bytes'),
        ('duplicate name', "'a' appears twice"),
        ('trailing bytes', 'take 8 bytes, the file has 16'),
        ('cut short', 'cut short'),
        ('200,000 tensors', f'at most {MAX_TENSORS}'),
        ('name like a path', 'made like a path'),
        ('pickle', 'found a pickle'),
    ],
)
def test_an_error_names_what_is_wrong(tmp_path, name, hint):
    (tmp_path / 'bad.safetensors').write_bytes(MALFORMED[name])
    with pytest.raises(WeightsError, match=hint):
        SafetensorsFile.open(tmp_path / 'bad.safetensors')


def test_a_zip_of_pickles_under_this_name_is_refused_and_not_run(tmp_path):
    path = tmp_path / 'model.safetensors'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('data.pkl', pickle.dumps(1))
    with pytest.raises(WeightsError, match='found a pickle'):
        SafetensorsFile.open(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    for path in (tmp_path / 'absent.safetensors', tmp_path):
        with pytest.raises(WeightsError, match=str(path)):
            SafetensorsFile.open(path)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_give_a_file_or_a_weights_error(tmp_path_factory, changes):
    damaged = bytearray(GOOD)
    for at, value in changes:
        damaged[at] = value
    path = tmp_path_factory.mktemp('safetensors') / 'damaged.safetensors'
    path.write_bytes(damaged)
    try:
        file = SafetensorsFile.open(path)
        for name, info in file.tensors.items():
            assert file.tensor(name).shape == info.shape
    except WeightsError:
        return


@pytest.mark.parametrize('length', [0x80, 0x280, 0x10080])
def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path, length):
    header = json.dumps({'a': entry(0, 16)}).encode().ljust(length)
    (tmp_path / 'good.safetensors').write_bytes(with_header(header, b'\0' * 16))
    assert SafetensorsFile.open(tmp_path / 'good.safetensors').tensor('a').shape == (4,)


def test_what_is_written_is_read_back_in_its_dtype(tmp_path):
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {
        'full': rng.normal(size=(3, 4)).astype(np.float32),
        'half': rng.normal(size=(5,)).astype(np.float16),
        'brain': rng.normal(size=(2, 2, 2)).astype(ml_dtypes.bfloat16),
        'turned': rng.normal(size=(3, 4)).astype(np.float32).T,
        'scalar': np.array(2.5, np.float32),
        'none': np.zeros((0, 4), np.float32),
    }
    path = tmp_path / 'good.safetensors'
    write_safetensors(path, tensors)
    file = SafetensorsFile.open(path)
    assert set(file.tensors) == set(tensors)
    assert file.tensors['brain'].kind == 'BF16' and file.tensors['brain'].num_bytes == 16
    for name, values in tensors.items():
        found = file.tensor(name)
        assert found.dtype == values.dtype and found.shape == values.shape
        np.testing.assert_array_equal(found, values)
    with pytest.raises(WeightsError, match='none of that name'):
        file.tensor('absent')


@pytest.mark.parametrize('dtype', ['I64', 'F8_E4M3'])
def test_tensors_that_are_not_plain_floating_point_are_described_but_not_read(tmp_path, dtype):
    size = {'I64': 8, 'F8_E4M3': 1}[dtype]
    (tmp_path / 'i.safetensors').write_bytes(described(a=entry(0, 4 * size, [4], dtype), data=b'\0' * 4 * size))
    file = SafetensorsFile.open(tmp_path / 'i.safetensors')
    assert file.tensors['a'].kind == dtype
    with pytest.raises(WeightsError, match=f'stored as {dtype}'):
        file.tensor('a')


def test_writing_where_it_is_impossible_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match='cannot be written'):
        write_safetensors(tmp_path / 'absent' / 'x.safetensors', {'a': np.zeros(3, np.float32)})
