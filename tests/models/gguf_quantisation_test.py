"""Quantised values as the format defines them, for every storage type that is read."""

import struct

import gguf
import numpy as np
import pytest

from jaxreason.models.gguf_file import GgufFile


def write(path, kind: str, shape: tuple[int, int], data: bytes) -> None:
    """A file with one matrix `a`."""
    dims = struct.pack('<IQQIQ', 2, *reversed(shape), gguf.GGMLQuantizationType[kind], 0)
    head = b'GGUF' + struct.pack('<IQQ', 3, 1, 0) + struct.pack('<Q', 1) + b'a' + dims
    path.write_bytes(head + b'\0' * (-len(head) % 32) + data)


# Dequantisation of one block, written from the format's description: one value at a time, no shared code.


def half(raw: bytes) -> np.float32:
    return np.float32(np.frombuffer(raw, '<f2')[0])


def nibbles(packed: bytes) -> list[int]:
    """Low halves of all bytes, then high halves."""
    return [byte & 15 for byte in packed] + [byte >> 4 for byte in packed]


def q4_0(raw: bytes) -> list[np.float32]:
    return [half(raw[:2]) * (q - 8) for q in nibbles(raw[2:])]


def q4_1(raw: bytes) -> list[np.float32]:
    return [half(raw[:2]) * q + half(raw[2:4]) for q in nibbles(raw[4:])]


def q5_0(raw: bytes) -> list[np.float32]:
    high = int.from_bytes(raw[2:6], 'little')
    return [half(raw[:2]) * ((q | (high >> i & 1) << 4) - 16) for i, q in enumerate(nibbles(raw[6:]))]


def q5_1(raw: bytes) -> list[np.float32]:
    high = int.from_bytes(raw[4:8], 'little')
    return [half(raw[:2]) * (q | (high >> i & 1) << 4) + half(raw[2:4]) for i, q in enumerate(nibbles(raw[8:]))]


def q8_0(raw: bytes) -> list[np.float32]:
    return [half(raw[:2]) * q for q in struct.unpack('32b', raw[2:])]


def q2_k(raw: bytes) -> list[np.float32]:
    scales, quants, scale, least = raw[:16], raw[16:80], half(raw[80:82]), half(raw[82:84])
    values: list[np.float32] = []
    for i in range(256):
        part, rest = divmod(i, 128)
        shift, lane = divmod(rest, 32)
        q = quants[32 * part + lane] >> 2 * shift & 3
        packed = scales[i // 16]
        values.append(scale * np.float32(packed & 15) * q - least * np.float32(packed >> 4))
    return values


def q3_k(raw: bytes) -> list[np.float32]:
    mask, quants, packed, scale = raw[:32], raw[32:96], raw[96:108], half(raw[108:110])
    values: list[np.float32] = []
    for i in range(256):
        part, rest = divmod(i, 128)
        shift, lane = divmod(rest, 32)
        group = i // 16
        low = packed[group] & 15 if group < 8 else packed[group - 8] >> 4
        factor = (low | (packed[8 + group % 4] >> 2 * (group // 4) & 3) << 4) - 32
        q = (quants[32 * part + lane] >> 2 * shift & 3) - (0 if mask[lane] >> (i // 32) & 1 else 4)
        values.append(scale * np.float32(factor) * q)
    return values


def scale_and_least(packed: bytes, group: int) -> tuple[int, int]:
    """The six-bit pairs of Q4_K and Q5_K."""
    if group < 4:
        return packed[group] & 63, packed[group + 4] & 63
    scale = packed[group + 4] & 15 | packed[group - 4] >> 6 << 4
    return scale, packed[group + 4] >> 4 | packed[group] >> 6 << 4


def q4_k(raw: bytes) -> list[np.float32]:
    quants = raw[16:]
    values: list[np.float32] = []
    for i in range(256):
        scale, least = scale_and_least(raw[4:16], i // 32)
        byte = quants[32 * (i // 64) + i % 32]
        q = byte >> 4 if i // 32 % 2 else byte & 15
        values.append(half(raw[:2]) * np.float32(scale) * q - half(raw[2:4]) * np.float32(least))
    return values


def q5_k(raw: bytes) -> list[np.float32]:
    high, quants = raw[16:48], raw[48:]
    values: list[np.float32] = []
    for i in range(256):
        scale, least = scale_and_least(raw[4:16], i // 32)
        byte = quants[32 * (i // 64) + i % 32]
        q = (byte >> 4 if i // 32 % 2 else byte & 15) | (high[i % 32] >> (i // 32) & 1) << 4
        values.append(half(raw[:2]) * np.float32(scale) * q - half(raw[2:4]) * np.float32(least))
    return values


def q6_k(raw: bytes) -> list[np.float32]:
    low, high, scales, scale = raw[:128], raw[128:192], struct.unpack('16b', raw[192:208]), half(raw[208:210])
    values: list[np.float32] = []
    for i in range(256):
        part, rest = divmod(i, 128)
        quarter, lane = divmod(rest, 32)
        byte = low[64 * part + lane + 32 * (quarter % 2)]
        q = (byte >> 4 if quarter >= 2 else byte & 15) | (high[32 * part + lane] >> 2 * quarter & 3) << 4
        values.append(scale * np.float32(scales[i // 16]) * (q - 32))
    return values


# Name -> (values in a block, bytes in a block, where its half-precision scales are, the block's dequantisation).
BLOCKS = {
    'Q4_0': (32, 18, (0,), q4_0),
    'Q4_1': (32, 20, (0, 2), q4_1),
    'Q5_0': (32, 22, (0,), q5_0),
    'Q5_1': (32, 24, (0, 2), q5_1),
    'Q8_0': (32, 34, (0,), q8_0),
    'Q2_K': (256, 84, (80, 82), q2_k),
    'Q3_K': (256, 110, (108,), q3_k),
    'Q4_K': (256, 144, (0, 2), q4_k),
    'Q5_K': (256, 176, (0, 2), q5_k),
    'Q6_K': (256, 210, (208,), q6_k),
}


@pytest.mark.parametrize('kind', BLOCKS)
def test_random_blocks_are_dequantised_as_the_format_says(tmp_path, kind):
    values, num_bytes, halves, dequantise = BLOCKS[kind]
    rng = np.random.default_rng(7)
    rows, blocks = 3, 2
    raw = rng.integers(0, 256, (rows, blocks, num_bytes), dtype=np.uint8)
    for at in halves:
        raw[..., at : at + 2] = rng.uniform(0.01, 2, (rows, blocks, 1)).astype('<f2').view(np.uint8)
    write(tmp_path / 'q.gguf', kind, (rows, values * blocks), raw.tobytes())
    expected = [[value for block in row for value in dequantise(block.tobytes())] for row in raw]
    found = GgufFile.open(tmp_path / 'q.gguf').tensor('a')
    assert found.dtype == np.float32 and found.shape == (rows, values * blocks)
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ('kind', 'step'),
    [
        ('F32', 0),
        ('F16', 2**-10),
        ('BF16', 2**-7),
        ('Q8_0', 1 / 127),
        ('Q5_1', 1 / 15),
        ('Q5_0', 1 / 15),
        ('Q4_1', 1 / 7),
        ('Q4_0', 1 / 7),
    ],
)
def test_quantised_values_come_back_within_a_step(tmp_path, kind, step):
    values = np.random.default_rng(3).uniform(-1, 1, (6, 64)).astype(np.float32)
    quantised = gguf.quantize(values, gguf.GGMLQuantizationType[kind])
    write(tmp_path / 'q.gguf', kind, (6, 64), quantised.tobytes())
    found = GgufFile.open(tmp_path / 'q.gguf').tensor('a')
    np.testing.assert_allclose(found, values, atol=step)
    assert np.corrcoef(found.ravel(), values.ravel())[0, 1] > 0.99
