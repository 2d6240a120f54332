"""Examples to batches: several examples a row, rows of one length, in an order that a seed decides.

An example is a prompt and the solution that is to follow it. `pack` puts examples into rows of a fixed number of tokens, as
many as fit; a row says of each token its position in its own example and which example it is of, so that attention and
positions do not cross from one to the next. What each position should predict is there too, for solution tokens only.

Rows are found by index, so where a run stands in its data is one number, which goes into the checkpoint.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.core.errors import DataError

# Rows that are still open to further examples: more fill rows better, and looking through them takes longer.
_OPEN_ROWS = 64
PADDING = -1

Batch = Mapping[str, np.ndarray]


class Example(NamedTuple):
    """A prompt and the solution that is to follow it, as token ids."""

    prompt: tuple[int, ...]
    solution: tuple[int, ...]

    @property
    def num_inputs(self) -> int:
        """Tokens that a model reads of it: all but the last, after which nothing is to be predicted."""
        return len(self.prompt) + len(self.solution) - 1


class Rows:
    """Packed rows, made when they are asked for; what `grain` calls a random access source."""

    def __init__(self, examples: Sequence[Example], members: Sequence[Sequence[int]], length: int):
        """Takes rows as `pack` plans them: for each the indices of its examples."""
        self._examples = examples
        self._members = members
        self.length = length

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Makes a row.

        Returns:
            `tokens`, `positions` in the example, `segments` (which example) and `targets` (the token to be predicted there),
            each int32 [length]; -1 stands for nothing in the latter three.
        """
        return _row([self._examples[member] for member in self._members[index]], self.length)

    def __repr__(self) -> str:
        return f'Rows({len(self)} of {self.length} tokens, {len(self._examples)} examples)'

    @property
    def fill(self) -> float:
        """Share of the places that hold a token."""
        return sum(example.num_inputs for example in self._examples) / (len(self) * self.length)

    @property
    def num_tokens(self) -> int:
        """Tokens that a model reads in a pass over all rows."""
        return sum(example.num_inputs for example in self._examples)

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted in a pass over all rows."""
        return sum(len(example.solution) for example in self._examples)

    @property
    def num_examples(self) -> int:
        """Examples in all rows."""
        return len(self._examples)

    def lengths(self) -> list[int]:
        """Tokens that a model reads of each example."""
        return [example.num_inputs for example in self._examples]

    def digest(self) -> str:
        """SHA-256 of every row in order."""
        digest = hashlib.sha256(f'{self.length}'.encode())
        for members in self._members:
            for member in members:
                example = self._examples[member]
                digest.update(np.asarray([len(example.prompt), *example.prompt, *example.solution], np.int32).tobytes())
            digest.update(b'/')
        return digest.hexdigest()


def pack(examples: Sequence[Example], length: int) -> tuple[Rows, int]:
    """Puts examples into rows, in their order as far as it fits.

    Args:
        examples: each with a prompt and a solution.
        length: tokens of a row.

    Returns:
        The rows, and how many examples are longer than a row and were left out.

    Raises:
        DataError: an example lacks a part, or none fits.
    """
    if any(not example.prompt or not example.solution for example in examples):
        raise DataError('examples: expected a prompt and a solution of at least one token each; remove the empty ones.')
    fitting = [example for example in examples if example.num_inputs <= length]
    if not fitting:
        shortest = (
            f'the shortest has {min(example.num_inputs for example in examples)} tokens' if examples else 'there are none'
        )
        raise DataError(f'examples: none fits into rows of {length} tokens ({shortest}); raise the length of the rows.')
    members: list[list[int]] = []
    room: list[int] = []
    first_open = 0
    for index, example in enumerate(fitting):
        first_open = max(first_open, len(room) - _OPEN_ROWS)
        row = next((row for row in range(first_open, len(room)) if room[row] >= example.num_inputs), None)
        if row is None:
            row = len(room)
            members.append([])
            room.append(length)
        members[row].append(index)
        room[row] -= example.num_inputs
        while first_open < len(room) and room[first_open] == 0:
            first_open += 1
    return Rows(fitting, members, length), len(examples) - len(fitting)


def padding_row(length: int) -> dict[str, np.ndarray]:
    """A row without any example."""
    return _row((), length)


def _row(examples: Sequence[Example], length: int) -> dict[str, np.ndarray]:
    row = {name: np.full(length, PADDING, np.int32) for name in ('positions', 'segments', 'targets')}
    row['tokens'] = np.zeros(length, np.int32)
    start = 0
    for segment, example in enumerate(examples):
        ids = np.asarray(example.prompt + example.solution, np.int32)
        stop = start + len(ids) - 1
        row['tokens'][start:stop] = ids[:-1]
        row['positions'][start:stop] = np.arange(len(ids) - 1)
        row['segments'][start:stop] = segment
        row['targets'][start + len(example.prompt) - 1 : stop] = ids[len(example.prompt) :]
        start = stop
    return row


class Batches:
    """An endless stream of batches whose place can be kept and found again."""

    def __init__(self, rows: Rows, *, batch: int, seed: int, process_index: int = 0, process_count: int = 1):
        """Prepares the stream; rows are shuffled anew for every pass over them.

        Args:
            rows: all of them, the same in every process.
            batch: rows of a batch of this process.
            seed: of the order.
            process_index: which share of the rows is this process's.
            process_count: number of shares.

        Raises:
            DataError: there are fewer rows than processes.
        """
        if len(rows) < process_count:
            raise DataError(f'examples: {len(rows)} rows are too few for {process_count} processes; give more examples.')
        import grain

        dataset: Any = grain.MapDataset.source(rows).seed(seed).shuffle()
        # The stream is endless, so nothing is ever dropped; without the word grain overflows for batches of one.
        dataset = dataset[process_index::process_count].repeat().batch(batch, drop_remainder=True)
        # No threads: a row is cheaper to make than to hand over.
        self._iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch: the arrays of `Rows`, stacked."""
        return next(self._iterator)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values."""
        return dict(self._iterator.get_state())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from where `state` was taken.

        Raises:
            DataError: it is not the state of such a stream.
        """
        if set(state) != set(self.state()):
            raise DataError(f'data iterator: expected a state of {sorted(self.state())}, got {sorted(map(str, state))[:5]}.')
        self._iterator.set_state(dict(state))


def in_batches(rows: Rows, batch: int) -> Iterator[Batch]:
    """All rows once, in order; the last batch is filled up with rows that hold nothing."""
    for first in range(0, len(rows), batch):
        members = [rows[index] for index in range(first, min(first + batch, len(rows)))]
        members += [padding_row(rows.length)] * (batch - len(members))
        yield {name: np.stack([row[name] for row in members]) for name in members[0]}
