"""Time on a chip, against numbers worked out by hand."""

import dataclasses

import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.published import published
from jaxreason.scale.chips import Chip
from jaxreason.scale.roofline import compute_seconds, decode_seconds, decode_step, kv_bytes

# Two layers of width 4, one head of 4: 4 x 16 + 3 x 4 x 8 = 160 weights a layer, and a head of 4 x 10.
TINY = ModelConfig(
    vocab_size=10,
    num_layers=2,
    width=4,
    mlp_width=8,
    num_heads=1,
    num_kv_heads=1,
    head_width=4,
    max_positions=64,
    parameter_dtype='bfloat16',
    matmul_dtype='bfloat16',
)
CHIP = Chip('toy', 'Toy', flops=1000.0, memory=1e6, bandwidth=100.0)


def test_arithmetic_at_its_share_of_the_peak():
    assert compute_seconds(4000, CHIP) == pytest.approx(10.0)  # 4000 / (1000 x 0.4)
    assert compute_seconds(4000, CHIP, chips=5) == pytest.approx(2.0)


def test_keys_and_values():
    assert kv_bytes(TINY, 7) == 2 * 2 * 7 * 4 * 2  # both, layers, tokens, width, bytes
    windowed = dataclasses.replace(TINY, windows=(0, 3))
    assert kv_bytes(windowed, 7) == 2 * (7 + 3) * 4 * 2
    llama = dataclasses.replace(published('meta-llama/Llama-3.1-8B'), matmul_dtype='bfloat16')
    assert kv_bytes(llama, 1) == 131_072  # known of this model: 131 kB a token


def test_a_decode_step_takes_what_the_slower_of_its_limits_takes():
    step = decode_step(TINY, rows=3, context=9, chip=CHIP)
    weights = 2 * 160 + 40
    # A token after 9 others meets 10 keys in each layer: 4 FLOPs for each of 4 numbers of each key.
    multiplied = 3 * (2 * weights + 4 * 2 * 10 * 4)
    assert step.memory_seconds == pytest.approx((2 * weights + 3 * 2 * 2 * 10 * 4 * 2) / 60)
    assert step.compute_seconds == pytest.approx(multiplied / 400)
    assert step.seconds == max(step) and step.bound == 'bandwidth'
    many = decode_step(TINY, rows=100, context=0, chip=CHIP)
    assert many.bound == 'compute' and many.seconds == many.compute_seconds


def test_rows_share_the_weights_and_chips_the_work():
    one = decode_seconds(TINY, 1200, 1, 0, CHIP)
    assert one == pytest.approx(1200 * decode_step(TINY, 1, 0, CHIP).seconds)
    assert decode_seconds(TINY, 1200, 4, 0, CHIP) < one / 3
    assert decode_seconds(TINY, 1200, 1, 0, CHIP, chips=2) == pytest.approx(one / 2)
