"""Majority vote (self-consistency): the most frequent answer among independent samples.

References:
    Wang et al., Self-Consistency Improves Chain of Thought Reasoning in Language Models, 2023.
"""

import dataclasses
from collections.abc import Sequence

from jaxreason.core.types import Candidate
from jaxreason.search.select import Choice, Vote, choose
from jaxreason.search.strategy import Parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Majority(Parallel):
    """Samples `n` solutions and answers with the most frequent answer; needs no verifier."""

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        return choose(candidates, Vote.MAJORITY)
