from hypothesis import given
from hypothesis import strategies as st

from jaxreason.engine.buckets import bucket


def test_the_list():
    assert sorted({bucket(n) for n in range(1, 1100)}) == [64, 128, 192, 256, 384, 512, 768, 1024, 1536]


@given(st.integers(1, 100_000))
def test_a_bucket_holds_its_length_and_wastes_less_than_half(length):
    assert length <= bucket(length) <= max(64, 2 * length) and bucket(length) % 64 == 0
    assert bucket(bucket(length)) == bucket(length)
