"""Examples to batches: several examples a row, rows of one length, in an order that a seed decides.

An example says what a model reads and what it is to make of it: a prompt and the solution that is to follow, or a solution and
what each step of it is worth. `pack` puts examples into rows of a fixed number of tokens, as many as fit; a row says of each
token its position in its own example and which example it is of, so that attention and positions do not cross from one to the
next.

Rows are found by index, so where a run stands in its data is one number, which goes into the checkpoint.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from jaxreason.core.errors import DataError

# Rows that are still open to further examples: more fill rows better, and looking through them takes longer.
_OPEN_ROWS = 64
PADDING = -1

Batch = Mapping[str, np.ndarray]


class Packable(Protocol):
    """What rows are made of.

    Attributes:
        fill: the arrays that a row has for such examples, besides `positions` and `segments`, each with what stands where there
            is nothing; its type is that of the array.
    """

    fill: ClassVar[Mapping[str, np.generic]]

    @property
    def num_inputs(self) -> int:
        """Tokens that a model reads of it; 0 where a part of it is missing."""

    @property
    def num_targets(self) -> int:
        """Numbers or tokens that a model is to predict."""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays named by `fill`, each as long as `num_inputs`."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A prompt and the solution that is to follow it, as token ids."""

    prompt: tuple[int, ...]
    solution: tuple[int, ...]

    fill: ClassVar[Mapping[str, np.generic]] = {'tokens': np.int32(0), 'targets': np.int32(PADDING)}

    @property
    def num_inputs(self) -> int:
        """Tokens that a model reads of it: all but the last, after which nothing is to be predicted."""
        return len(self.prompt) + len(self.solution) - 1 if self.prompt and self.solution else 0

    @property
    def num_targets(self) -> int:
        """Tokens to be predicted."""
        return len(self.solution)

    def arrays(self) -> dict[str, np.ndarray]:
        """`tokens`, and `targets`: the token to be predicted there, in the solution only; int32."""
        ids = np.asarray(self.prompt + self.solution, np.int32)
        targets = np.full(len(ids) - 1, PADDING, np.int32)
        targets[len(self.prompt) - 1 :] = ids[len(self.prompt) :]
        return {'tokens': ids[:-1], 'targets': targets}


class Rows:
    """Packed rows, made when they are asked for; what `grain` calls a random access source."""

    def __init__(
        self,
        examples: Sequence[Packable],
        members: Sequence[Sequence[int]],
        length: int,
        known: Mapping[str, np.ndarray] = {},
    ):
        """Takes rows as `pack` plans them: for each the indices of its examples; and what is `known` of each besides."""
        self._examples = examples
        self._members = members
        self._known = known
        self.length = length

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Makes a row.

        Returns:
            `positions` in the example and `segments` (which example), int32 with -1 for nothing, and the arrays of the
            examples, each [length]; and what is known besides.
        """
        row = _row([self._examples[member] for member in self._members[index]], self.length, self._examples[0].fill)
        return {**row, **{name: values[index] for name, values in self._known.items()}}

    def padding(self) -> dict[str, np.ndarray]:
        """A row without any example."""
        row = _row((), self.length, self._examples[0].fill)
        return {**row, **{name: np.zeros_like(values[0]) for name, values in self._known.items()}}

    def knowing(self, known: Mapping[str, np.ndarray]) -> 'Rows':
        """The same rows with further arrays, by name, each [rows, ...]."""
        return Rows(self._examples, self._members, self.length, known)

    def members(self, index: int) -> Sequence[int]:
        """Which examples, by their place in what was packed, a row holds: its segments 0, 1, ..."""
        return self._members[index]

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
        """What is predicted in a pass over all rows."""
        return sum(example.num_targets for example in self._examples)

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
                arrays = self._examples[member].arrays()
                digest.update(f'{self._examples[member].num_inputs}\n'.encode())
                digest.update(b''.join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays)))
            digest.update(b'/')
        return digest.hexdigest()


def pack(examples: Sequence[Packable], length: int) -> tuple[Rows, int]:
    """Puts examples into rows, in their order as far as it fits.

    Args:
        examples: all of one kind.
        length: tokens of a row.

    Returns:
        The rows, and how many examples are longer than a row and were left out.

    Raises:
        DataError: an example lacks a part, or none fits.
    """
    sizes = [example.num_inputs for example in examples]
    if not all(sizes):
        raise DataError('examples: expected a prompt and a solution of at least one token each; remove the empty ones.')
    fitting = [(example, size) for example, size in zip(examples, sizes, strict=True) if size <= length]
    if not fitting:
        shortest = f'the shortest has {min(sizes)} tokens' if examples else 'there are none'
        raise DataError(f'examples: none fits into rows of {length} tokens ({shortest}); raise the length of the rows.')
    members: list[list[int]] = []
    room: list[int] = []
    first_open = 0
    for index, (_, size) in enumerate(fitting):
        first_open = max(first_open, len(room) - _OPEN_ROWS)
        row = next((row for row in range(first_open, len(room)) if room[row] >= size), None)
        if row is None:
            row = len(room)
            members.append([])
            room.append(length)
        members[row].append(index)
        room[row] -= size
        while first_open < len(room) and room[first_open] == 0:
            first_open += 1
    return Rows([example for example, _ in fitting], members, length), len(examples) - len(fitting)


def _row(examples: Sequence[Packable], length: int, fill: Mapping[str, np.generic]) -> dict[str, np.ndarray]:
    row = {name: np.full(length, PADDING, np.int32) for name in ('positions', 'segments')}
    row |= {name: np.full(length, nothing, nothing.dtype) for name, nothing in fill.items()}
    start = 0
    for segment, example in enumerate(examples):
        stop = start + example.num_inputs
        row['positions'][start:stop] = np.arange(example.num_inputs)
        row['segments'][start:stop] = segment
        for name, values in example.arrays().items():
            row[name][start:stop] = values
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
        members += [rows.padding()] * (batch - len(members))
        yield {name: np.stack([row[name] for row in members]) for name in members[0]}
