"""What a run says of revisions: its chains (`chains.py`) and its ratios of sequential to parallel attempts (`ratios.py`)."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.analysis.chains import along_chains
from jaxreason.analysis.ratios import by_ratio, compare_verifiers, revisions_of
from jaxreason.analysis.rows import Row
from jaxreason.analysis.run_folder import Run
from jaxreason.evaluate.sweep import Chains, chains_of_sweep
from jaxreason.search.revision import Revision


def revisions(run: Run, rows: Sequence[Row], levels: Mapping[str, int] | None = None) -> dict[str, Any] | None:
    """Summarises the revisions of a run.

    Args:
        run: the run.
        rows: the rows of its table.
        levels: difficulty of its questions, 1 the easiest; None where it is not known.

    Returns:
        JSON values: `chains` (`along_chains`), `ratios` (`by_ratio`) and `verifiers` (`compare_verifiers`); None where nothing
        was revised.

    Raises:
        ConfigError: the configuration tells of a revision that this version does not know.
    """
    known = revisions_of(run.strategies)
    chains = along_chains(run.pools, _plans(run, known), levels)
    ratios = by_ratio(run.records, rows, run.strategies, levels)
    if not chains and not ratios:
        return None
    return {'chains': chains, 'ratios': ratios, 'verifiers': compare_verifiers(run.records, run.strategies)}


def _plans(run: Run, known: Mapping[str, Revision]) -> dict[str, Chains]:
    """What the chains of every pool were to be: the least that holds all that was read from it."""
    read = {(record.pool, record.strategy, record.n) for record in run.records if record.strategy in known}
    readings: dict[str, list[Revision]] = collections.defaultdict(list)
    for pool, label, n in sorted(read):
        readings[pool].append(known[label].at(n))
    return {pool: chains_of_sweep(found[0].context, found) for pool, found in readings.items()}
