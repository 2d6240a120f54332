"""All strategies by the `kind` of a configuration: those of `search`, and the one that chooses among them."""

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.search import catalog
from jaxreason.search.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {**catalog.STRATEGIES, 'compute_optimal': ComputeOptimal}
