"""Which row works in which place: slots belong to questions, places of a slot to their rows.

A row that waits takes, of the places where nobody works, first those of its question's slots, then a slot without any work,
then a slot that is emptied by moving its last workers beside the others of their question. What lies in a place that is taken
is parked. So places stay in use though the rows of a question wait for the slowest of their step.
"""

from collections import Counter
from collections.abc import Callable

from jaxreason.core.types import Question
from jaxreason.engine.suffixes import Suffixes


class Seating:
    """Places and slots."""

    def __init__(self, suffixes: Suffixes, rows_per_slot: int, move: Callable[[int, int], None]):
        """Begins with empty slots.

        Args:
            suffixes: what lies in each place.
            rows_per_slot: places of a slot.
            move: moves a worker from one place to another, which is empty.
        """
        self.suffixes = suffixes
        self.rows_per_slot = rows_per_slot
        self.workers: list[int | None] = [None] * len(suffixes.at)  # handle of the row that works there
        self.slots: list[Question | None] = [None] * (len(self.workers) // rows_per_slot)
        self._move = move

    def places(self, slot: int) -> range:
        """The places of a slot."""
        return range(slot * self.rows_per_slot, (slot + 1) * self.rows_per_slot)

    def idle(self, slot: int) -> list[int]:
        """Places where nobody works, empty ones first."""
        found = [place for place in self.places(slot) if self.workers[place] is None]
        return sorted(found, key=lambda place: self.suffixes.at[place] is not None)

    def beside(self, question: Question | None) -> list[int]:
        """Idle places of a question's slots, empty ones first."""
        found = [place for slot, owner in enumerate(self.slots) if owner == question for place in self.idle(slot)]
        return sorted(found, key=lambda place: self.suffixes.at[place] is not None)

    def empty_slot(self) -> int | None:
        """A slot with all its places free, if one can be made so: what rests there is parked."""
        at, idle = self.suffixes.at, [self.idle(slot) for slot in range(len(self.slots))]
        free = [slot for slot, places in enumerate(idle) if len(places) == self.rows_per_slot]
        if free:
            slot = min(free, key=lambda slot: sum(at[place] is not None for place in idle[slot]))
        else:
            found = self._emptiable(idle)
            if found is None:
                return None
            slot = found
            self._spread(slot)
        for place in self.places(slot):
            self.suffixes.park(place)
        return slot

    def _emptiable(self, idle: list[list[int]]) -> int | None:
        """The slot with the fewest workers, of those whose question has as many idle places in its other slots."""
        spare: Counter[Question | None] = Counter()
        for owner, places in zip(self.slots, idle, strict=True):
            spare[owner] += len(places)
        found = [slot for slot, owner in enumerate(self.slots) if spare[owner] >= self.rows_per_slot]
        return max(found, key=lambda slot: len(idle[slot]), default=None)

    def _spread(self, slot: int) -> None:
        """Moves a slot's workers to other slots of its question."""
        free = (place for place in self.beside(self.slots[slot]) if place // self.rows_per_slot != slot)
        for place in self.places(slot):
            if self.workers[place] is not None:
                to = next(free)
                self.suffixes.park(to)
                self._move(place, to)
