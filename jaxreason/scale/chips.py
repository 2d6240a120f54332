"""Accelerators by name, as their vendors describe them: what plans and dry runs are made for.

Dense bfloat16 arithmetic without sparsity, and memory in powers of ten. TPU v4 to v6e: Google Cloud's pages of system
architecture. A100, H100 and H200 are the SXM modules of NVIDIA's data sheets.
"""

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from jaxreason.core.errors import ConfigError


class Chip(NamedTuple):
    """One accelerator.

    Attributes:
        name: what the user types.
        about: its name in full.
        flops: peak FLOP/s, bfloat16, dense.
        memory: bytes of its high-bandwidth memory.
        bandwidth: of that memory, bytes a second.
    """

    name: str
    about: str
    flops: float
    memory: float
    bandwidth: float


CHIPS: Mapping[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip('v4', 'TPU v4', 275e12, 32e9, 1_228e9),
        Chip('v5e', 'TPU v5e', 197e12, 16e9, 819e9),
        Chip('v5p', 'TPU v5p', 459e12, 95e9, 2_765e9),
        Chip('v6e', 'TPU v6e', 918e12, 32e9, 1_638e9),
        Chip('a100-40', 'A100 40 GB', 312e12, 40e9, 1_555e9),
        Chip('a100-80', 'A100 80 GB', 312e12, 80e9, 2_039e9),
        Chip('h100', 'H100', 989e12, 80e9, 3_350e9),
        Chip('h200', 'H200', 989e12, 141e9, 4_800e9),
    )
}


def chip_named(name: str) -> Chip:
    """Finds a chip; letters may be of either case.

    Raises:
        ConfigError: there is none of that name; names the nearest and lists all.
    """
    if name.lower() in CHIPS:
        return CHIPS[name.lower()]
    begun = [known for known in CHIPS if name and known.startswith(name.lower())]
    near = begun or difflib.get_close_matches(name.lower()[:60], list(CHIPS), n=1, cutoff=0.3)
    hint = f', did you mean {" or ".join(near)}?' if near else '.'
    raise ConfigError(f'there is no chip {name[:60]!r}{hint} Chips are {", ".join(CHIPS)}.')
