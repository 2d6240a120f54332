"""How much memory the rows may take, where nobody says."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from jaxreason.engine.rows import GIB, Place

if TYPE_CHECKING:
    from jax.sharding import Mesh

HOST_SHARE = 0.5  # of a host: the compiler, the tokenizer, grading and everybody else live there too
DEVICE_SHARE = 0.9  # of an accelerator: the rest is for what the compiler adds
_CONTAINER = Path('/sys/fs/cgroup/memory.max')


def place_of(memory_limit: float | None, mesh: 'Mesh | None', beside: int = 0) -> Place:
    """Where rows will lie, and how much of it they may take.

    Args:
        memory_limit: GiB of one device; None for nine tenths of what an accelerator reports. CPUs report nothing: there it is
            half of the host's memory, shared among the processes and, of a mesh, the devices.
        mesh: that the model lies on; None for one device.
        beside: bytes of a device that verifiers take. They are taken off what nobody has limited.
    """
    is_cpu = jax.default_backend() == 'cpu'
    sizes: Mapping[str, int] = {} if mesh is None else mesh.shape
    if memory_limit is not None:
        return Place(memory_limit * GIB, is_cpu, sizes)
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'bytes_limit' in stats:
        return Place(DEVICE_SHARE * stats['bytes_limit'] - beside, is_cpu, sizes, beside)
    devices = 1 if mesh is None else max(1, sum(d.process_index == jax.process_index() for d in mesh.devices.flat))
    return Place(HOST_SHARE * host_memory() / (devices * jax.process_count()) - beside, is_cpu, sizes, beside)


def place_on_cpu(memory_limit: float | None, mesh: Mapping[str, int] | None, beside: int = 0) -> Place:
    """The place of a process alone on a CPU, found without asking for devices.

    Args:
        memory_limit: GiB of one device; None for the default of a CPU.
        mesh: sizes of its axes; one that takes the rest counts as 1.
        beside: as of `place_of`.
    """
    sizes = {axis: max(1, size) for axis, size in (mesh or {}).items()}
    devices = sizes.get('data', 1) * sizes.get('model', 1)
    if memory_limit is not None:
        return Place(memory_limit * GIB, True, sizes)
    return Place(HOST_SHARE * host_memory() / devices - beside, True, sizes, beside)


def host_memory() -> int:
    """Bytes of memory of the host, or of the container if that has fewer. What is free just now is not asked: the rows of two
    runs on one machine should be equal."""
    whole = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        return min(whole, int(_CONTAINER.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return whole
