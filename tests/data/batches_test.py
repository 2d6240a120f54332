"""Packed rows hold every example once; the stream of batches goes on where it was."""

import numpy as np
import pytest

from jaxreason.core.errors import DataError
from jaxreason.data.batches import Batches, Example, in_batches, pack


def examples(count=50, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Example(
            tuple(map(int, rng.integers(3, 99, rng.integers(1, 9)))), tuple(map(int, rng.integers(3, 99, rng.integers(1, 9))))
        )
        for _ in range(count)
    ]


def unpacked(row):
    """The examples in a row, read back from its arrays."""
    found = []
    for segment in range(row['segments'].max() + 1):
        here = row['segments'] == segment
        tokens, targets = row['tokens'][here], row['targets'][here]
        assert list(row['positions'][here]) == list(range(len(tokens)))
        prompt = int(np.argmax(targets >= 0)) + 1
        assert list(tokens[prompt:]) == list(targets[prompt - 1 : -1])  # what is predicted is what comes next
        found.append(Example(tuple(map(int, tokens[:prompt])), tuple(map(int, targets[prompt - 1 :]))))
    return found


def test_every_example_is_in_one_row_and_what_is_left_is_padding():
    given = examples()
    rows, too_long = pack(given, 32)
    found = [example for row in rows for example in unpacked(row)]
    assert sorted(found, key=repr) == sorted(given, key=repr) and too_long == 0
    assert sum(int((row['positions'] >= 0).sum()) for row in rows) == rows.num_tokens == sum(rows.lengths())
    assert sum(int((row['targets'] >= 0).sum()) for row in rows) == rows.num_targets
    assert all(((row['positions'] < 0) == (row['segments'] < 0)).all() for row in rows)
    assert rows.fill > 0.9


def test_examples_that_are_too_long_are_counted():
    given = [Example((3,) * 4, (4,) * 4), Example((3,) * 8, (4,) * 2), Example((3,) * 4, (4,) * 5)]
    rows, too_long = pack(given, 8)
    assert too_long == 1 and rows.num_examples == 2
    with pytest.raises(DataError, match='none fits into rows of 6 tokens .the shortest has 7'):
        pack(given, 6)
    with pytest.raises(DataError, match='at least one token each'):
        pack([Example((), (3,))], 8)


@pytest.mark.parametrize('taken', [0, 1, 5, 17])
def test_a_fresh_stream_goes_on_where_another_was(taken):
    rows, _ = pack(examples(), 24)
    stream = Batches(rows, batch=3, seed=5)
    for _ in range(taken):
        next(stream)
    state = stream.state()
    rest = [next(stream) for _ in range(20)]
    other = Batches(rows, batch=3, seed=5)
    other.restore(state)
    for batch, again in zip(rest, (next(other) for _ in range(20)), strict=True):
        assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_every_pass_is_whole_and_in_another_order():
    rows, _ = pack(examples(), 24)
    stream = Batches(rows, batch=1, seed=5)
    passes = [[next(stream)['tokens'].tobytes() for _ in range(len(rows))] for _ in range(3)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(passes[2])
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != [next(Batches(rows, batch=1, seed=6))['tokens'].tobytes() for _ in range(len(rows))]


def test_processes_share_the_rows_of_every_pass():
    rows, _ = pack(examples(60), 24)
    share = len(rows) // 3
    streams = [Batches(rows, batch=1, seed=5, process_index=index, process_count=3) for index in range(3)]
    first = [[next(stream)['tokens'].tobytes() for _ in range(share)] for stream in streams]
    assert len({row for each in first for row in each}) == 3 * share
    with pytest.raises(DataError, match='too few for 99 processes'):
        Batches(rows, batch=1, seed=5, process_count=99)


def test_a_state_of_something_else_is_refused():
    rows, _ = pack(examples(), 24)
    with pytest.raises(DataError, match='data iterator'):
        Batches(rows, batch=1, seed=5).restore({'shard': 1})


def test_held_out_batches_are_filled_up_with_nothing():
    rows, _ = pack(examples(), 24)
    batches = list(in_batches(rows, 4))
    assert all(batch['tokens'].shape == (4, 24) for batch in batches)
    assert sum(int((batch['targets'] >= 0).sum()) for batch in batches) == rows.num_targets


def test_the_digest_is_of_what_is_learnt():
    first, again, other = (pack(examples(seed=seed), 24)[0].digest() for seed in (0, 0, 1))
    assert first == again != other and pack(examples(), 25)[0].digest() != first
