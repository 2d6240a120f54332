"""The number of rows of a run whose configuration leaves it open: chosen once, written to `config.yaml`, kept for ever.

Products change bits with the number of rows, so a run that is resumed takes the number that it was begun with, whatever memory
there is now, and all processes of a run take the least that any of them can hold.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jaxreason.core import yaml_text
from jaxreason.core.errors import JaxreasonError
from jaxreason.engine.peers import Peers
from jaxreason.engine.rows import RowChoice, slot_rows
from jaxreason.evaluate.folder import is_begun
from jaxreason.evaluate.label_config import Config

REASONS = {
    'memory': 'all that the memory limit holds',
    'demand': 'as many as are wanted at once',
    'most': 'more would not be faster here',
}


def with_rows(config: Config, num_rows: int, rows_per_slot: int) -> Config:
    """The configuration with its rows known."""
    sampler = dataclasses.replace(config.sampler, num_rows=num_rows, rows_per_slot=rows_per_slot)
    return dataclasses.replace(config, sampler=sampler)


def adopt_rows(config: Config, out: Path, copies: Sequence[int], peers: Peers) -> Config:
    """The configuration with the rows that its run was begun with; as it is where they are given, or nothing is begun.

    Args:
        config: of the run, equal on all processes.
        out: the run folder of this process.
        copies: rows that each question may have at once.
        peers: the processes of the run.
    """
    if config.sampler.num_rows != 'auto':
        return config
    found = [json.loads(text) for text in peers.exchange('rows of before', json.dumps(_rows_of(out)))]
    before = next((rows for rows in found if rows is not None), None)
    if before is None:
        return config
    try:
        return with_rows(config, before, slot_rows(config.sampler.rows_per_slot, copies))
    except ValueError:  # not what this configuration chooses: the folder refuses it, showing the line
        return config


def settle_rows(config: Config, mine: RowChoice | None, peers: Peers) -> tuple[Config, str]:
    """The configuration with the least number of rows that a process has chosen.

    Args:
        config: of the run; leaves the rows open.
        mine: choice of this process; None where it has nothing to run.
        peers: the processes of the run, all of which call this.

    Returns:
        The configuration, and a line that says what was chosen and why.
    """
    choices = [RowChoice(*found) for text in peers.exchange('rows', json.dumps(mine)) if (found := json.loads(text))]
    least = min(choices, key=lambda choice: choice.num_rows)
    line = f'{least.num_rows} rows in slots of {least.rows_per_slot}: {REASONS[least.why]}'
    return with_rows(config, least.num_rows, least.rows_per_slot), line


def _rows_of(out: Path) -> int | None:
    """Rows in the configuration of a run that has begun; None where there are none, or the file is damaged."""
    try:
        if not is_begun(out):
            return None
        sampler = yaml_text.read(out / 'config.yaml')[0].get('sampler')
    except (OSError, JaxreasonError):
        return None
    rows = sampler.get('num_rows') if isinstance(sampler, dict) else None
    return rows if type(rows) is int else None
