"""What every strategy at every n made of every question under every seed, as arrays: what an allocation is fitted on.

A *cell* is one strategy at one number of solutions. Choosing per bin of difficulty, spreading a budget, and comparing with a
larger model are all sums over the same table of cells.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.core.types import Verdict

_NAMED = 3  # cells, in an error
_PHASES = ('prefill', 'decode', 'verify', 'probe')


class Cell(NamedTuple):
    """One strategy at one number of solutions."""

    strategy: str
    n: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """A complete table: no question lacks a cell under any seed.

    Attributes:
        questions: ids, sorted.
        seeds: of the draws, ascending.
        cells: in the order of the strategies, n ascending.
        correct: `[questions, seeds, cells]` share of right answers over the disjoint searches that a pool holds.
        first: `[questions, seeds, cells]` whether the first of these is right: what a user would have got.
        flops: `[questions, seeds, cells]` spent by one search, the mean over them.
        first_flops: `[questions, seeds, cells]` spent by the first.
    """

    questions: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    correct: np.ndarray
    first: np.ndarray
    flops: np.ndarray
    first_flops: np.ndarray

    def index(self, strategy: str, n: int) -> int:
        """Where a cell stands.

        Raises:
            ValueError: there is none; names what there is.
        """
        try:
            return self.cells.index(Cell(strategy, n))
        except ValueError:
            numbers = [cell.n for cell in self.cells if cell.strategy == strategy]
            have = f'it has n = {", ".join(map(str, numbers))}' if numbers else f'there are {", ".join(self.strategies)}'
            raise ValueError(f'expected records of {strategy!r} at n = {n}, {have}.') from None

    @property
    def strategies(self) -> tuple[str, ...]:
        """Labels, each once."""
        return tuple(dict.fromkeys(cell.strategy for cell in self.cells))

    def only(self, strategies: Sequence[str]) -> 'Cells':
        """The table of some strategies, in their order.

        Raises:
            ValueError: one of them has no records.
        """
        missing = [label for label in strategies if label not in self.strategies]
        if missing:
            raise ValueError(f'expected records of {missing[0]!r}, there are {", ".join(self.strategies)}.')
        kept = [index for label in strategies for index, cell in enumerate(self.cells) if cell.strategy == label]
        arrays = {name: getattr(self, name)[:, :, kept] for name in ('correct', 'first', 'flops', 'first_flops')}
        return dataclasses.replace(self, cells=tuple(self.cells[index] for index in kept), **arrays)


def read_cells(records: Iterable[Mapping[str, Any]], labels: Sequence[str] = ()) -> Cells:
    """Puts records into a table; those under a budget of their own are left out.

    Args:
        records: as `core.records.Record`, parsed but plain: there may be many millions of blocks.
        labels: order of the strategies; those not named follow in alphabetical order.

    Raises:
        ValueError: there are no records, one is damaged, or a question lacks a cell that another has.
    """
    found: dict[tuple[str, int, Cell], tuple[float, float, float, float]] = {}
    for record in records:
        if not record['budget']:
            key, value = _read(record)
            if key in found:
                question, seed, cell = key
                raise ValueError(
                    f'the records tell {cell.strategy!r} at n = {cell.n} of {question[:40]!r} under seed {seed} twice: '
                    'give every strategy a label of its own, and no run twice.'
                )
            found[key] = value
    if not found:
        raise ValueError('expected records without a budget of their own, there are none: let the run finish first.')
    order = {label: index for index, label in enumerate(labels)}
    questions = sorted({question for question, _, _ in found})
    seeds = sorted({seed for _, seed, _ in found})
    cells = sorted({cell for _, _, cell in found}, key=lambda cell: (order.get(cell.strategy, len(order)), cell))
    missing = [
        (question, seed, cell)
        for question in questions
        for seed in seeds
        for cell in cells
        if (question, seed, cell) not in found
    ]
    if missing:
        named = '; '.join(f'{cell.strategy} at n = {cell.n}, seed {seed}, {q[:40]}' for q, seed, cell in missing[:_NAMED])
        raise ValueError(
            f'{len(missing):,} of {len(questions) * len(seeds) * len(cells):,} cells are missing ({named}'
            f'{", ..." if len(missing) > _NAMED else ""}): let the run finish, or leave the strategy out.'
        )
    table = np.array([[[found[question, seed, cell] for cell in cells] for seed in seeds] for question in questions])
    correct, first, flops, first_flops = np.moveaxis(table, -1, 0)
    return Cells(
        questions=tuple(questions),
        seeds=tuple(seeds),
        cells=tuple(cells),
        correct=correct,
        first=first,
        flops=flops,
        first_flops=first_flops,
    )


def _read(record: Mapping[str, Any]) -> tuple[tuple[str, int, Cell], tuple[float, float, float, float]]:
    question, seed, cell = record['question_id'], record['seed'], Cell(record['strategy'], record['n'])
    if not (isinstance(question, str) and isinstance(cell.strategy, str) and isinstance(seed, int) and isinstance(cell.n, int)):
        raise ValueError(f'a record is damaged: expected a question, a strategy, n and a seed, got {str(record)[:80]}.')
    try:
        return (question, seed, cell), _summed(record['blocks'])
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f'the record of {cell.strategy!r} at n = {cell.n} of {question[:40]!r} is damaged.') from error


def _summed(blocks: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    """Share of right blocks, whether the first is, FLOPs of a block, FLOPs of the first."""
    right = [block['verdict'] == Verdict.CORRECT for block in blocks]
    flops = [sum(block['cost'].get(phase, 0) for phase in _PHASES) for block in blocks]
    return sum(right) / len(right), float(right[0]), sum(flops) / len(flops), float(flops[0])
