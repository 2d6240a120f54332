"""Answers of a run by question, and any weighted sum of accuracies over the same questions, with its interval.

A difference, the change of a difference with n, the mean of differences: each is a sum of accuracies with weights. It is formed
question by question before anything is resampled, so that all of its terms are paired.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.analysis.rows import accuracies, grouped, table
from jaxreason.core.records import Record
from jaxreason.core.stats import bootstrap_mean, interval

NUM_RESAMPLES = 2_000

Value = dict[str, Any]  # `point`, `low`, `high`


class Cell(NamedTuple):
    """A strategy, by its label, at one n."""

    strategy: str
    n: int


class Term(NamedTuple):
    """An accuracy with the weight that it has in a sum."""

    weight: float
    cell: Cell


class Answers:
    """How accurate every cell of a run is, question by question."""

    def __init__(self, records: Iterable[Record]):
        """Reads records; those under a budget of their own are left out."""
        groups = grouped(record for record in records if not record.budget)
        self._values: dict[Cell, dict[str, dict[int, float]]] = {}
        for group, members in groups.items():
            self._values.setdefault(Cell(group.strategy, group.n), accuracies(members))

    @property
    def labels(self) -> list[str]:
        """Of the strategies, ascending."""
        return sorted({cell.strategy for cell in self._values})

    def ns(self, *strategies: str) -> list[int]:
        """The n at which all of some strategies have answers, ascending."""
        found = [{cell.n for cell in self._values if cell.strategy == label} for label in strategies]
        return sorted(set.intersection(*found)) if found else []

    def accuracy(self, cell: Cell, questions: Collection[str] | None = None) -> Value | None:
        """Accuracy of a cell on some questions, all if none are named; None where it has none of them."""
        return self.total([Term(1, cell)], questions)

    def difference(self, cell: Cell, other: Cell, questions: Collection[str] | None = None) -> Value | None:
        """How much more accurate a cell is than another one, paired."""
        return self.total([Term(1, cell), Term(-1, other)], questions)

    def total(self, terms: Sequence[Term], questions: Collection[str] | None = None) -> Value | None:
        """A weighted sum of accuracies on the questions that all of its cells have.

        Args:
            terms: at least one.
            questions: those to count; all if None.

        Returns:
            `point`, `low` and `high`, the ends None where all questions are alike; None where no question is left.
        """
        found = [self._values.get(term.cell, {}) for term in terms]
        shared = sorted(set.intersection(*(set(values) for values in found)))
        if questions is not None:
            wanted = set(questions)
            shared = [question for question in shared if question in wanted]
        if not shared:
            return None
        means = [np.nanmean(table({question: values[question] for question in shared}), axis=1) for values in found]
        summed = sum(term.weight * mean for term, mean in zip(terms, means, strict=True))
        return interval(bootstrap_mean(np.asarray(summed), NUM_RESAMPLES))


def change(answers: Answers, strategy: str, other: str, first: int, last: int) -> Value | None:
    """How a strategy's lead over another one changes from one n to another."""
    terms = [(1, strategy, last), (-1, other, last), (-1, strategy, first), (1, other, first)]
    return answers.total([Term(weight, Cell(label, n)) for weight, label, n in terms])
