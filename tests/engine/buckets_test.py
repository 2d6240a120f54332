import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.errors import ConfigError
from jaxreason.engine.buckets import BUCKETS, bucket, check_buckets, check_context


def test_the_list():
    assert sorted({bucket(n) for n in range(1, 1100)}) == [64, 128, 192, 256, 384, 512, 768, 1024, 1536]
    check_buckets(BUCKETS)
    assert BUCKETS[-1] == 2**20


@given(st.integers(1, 100_000))
def test_a_bucket_holds_its_length_and_wastes_less_than_half(length):
    assert length <= bucket(length) <= max(64, 2 * length) and bucket(length) % 64 == 0
    assert bucket(bucket(length)) == bucket(length)


def test_lengths_from_a_configuration():
    assert [bucket(n, (64, 320)) for n in (1, 64, 65, 320)] == [64, 64, 320, 320]


@pytest.mark.parametrize(
    ('buckets', 'message'),
    [((), 'at least one'), ((64, 100), 'multiples of 64.*got 100'), ((0,), 'got 0'), ((2**21,), 'got 2097152'),
     ((128, 64), 'ascend'), ((64, 64), 'ascend')],
)  # fmt: skip
def test_lists_that_rooms_cannot_be_taken_from(buckets, message):
    with pytest.raises(ValueError, match=message):
        check_buckets(buckets)


def test_a_prompt_beyond_the_largest_bucket_is_refused_by_name(lm):
    check_context(lm.config, 'q', 128, 24, (64, 128))
    with pytest.raises(ConfigError, match=r"question 'q': its prompt of 129 tokens exceeds 128.*sampler\.buckets"):
        check_context(lm.config, 'q', 129, 24, (64, 128))
