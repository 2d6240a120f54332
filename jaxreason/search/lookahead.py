"""Lookahead search: beam search that asks the verifier not about a step, but about where it leads.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 5.2.
"""

import dataclasses

from jaxreason.search.beam_search import BeamSearch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lookahead(BeamSearch):
    """Beam search with greedy rollouts of `lookahead` steps; 0 steps are beam search. The rest is as there."""

    lookahead: int = 3
