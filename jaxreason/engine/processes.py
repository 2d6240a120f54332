"""Several processes as one JAX run: who takes part, how they are joined, and the board on which they leave word.

The runtime is JAX's own (`jax.distributed`). What is added: a limit on how long the others are waited for, told in a line, and
a connection that survives process 0 for long enough to say that it died (`relay.py`). A process alone calls nothing of this.
"""

import contextlib
import dataclasses
import math
import socket
import threading
import time
from typing import Any, Protocol

import jax

from jaxreason.core.errors import ProcessError
from jaxreason.engine.relay import Relay

JOIN_SECONDS = 120.0
# JAX aborts the process when these have passed; `peers.py` has found out and said so long before.
_JAX_PATIENCE = 600
_CLUSTERS = ('slurm', 'ompi', 'gcetpu', 'gketpu')  # these need no further package to be asked


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is.

    Attributes:
        coordinator: `HOST:PORT` of process 0.
        count: processes in all.
        index: this process, in [0, count).
        local_device_ids: devices of this process, where they are not all of its machine.
    """

    coordinator: str
    count: int
    index: int
    local_device_ids: tuple[int, ...] | None = None


class Board(Protocol):
    """Values by name that every process sees. Names are paths; calls from several threads are safe."""

    def put(self, name: str, value: bytes) -> None:
        """Sets a value, whether or not there is one."""

    def get(self, name: str, seconds: float = 0.0) -> bytes | None:
        """A value, or None if it is still missing after so many seconds."""

    def folder(self, name: str) -> dict[str, bytes]:
        """All values below a name, by what follows it."""

    def delete(self, name: str) -> None:
        """Forgets a value."""

    @property
    def is_lost(self) -> bool:
        """Whether the process that holds the board has closed its connection."""


def find_cluster() -> Group | None:
    """The processes that a launcher known to JAX has started this one among; None if there is none, or it started only one.

    Raises:
        ProcessError: the launcher is there, but what it says cannot be used.
    """
    from jax._src.clusters import ClusterEnv  # JAX has no public way to ask before joining

    for kind in ClusterEnv._cluster_types:
        if kind.name not in _CLUSTERS or not kind.is_env_present():
            continue
        try:
            if kind.get_process_count() < 2:
                return None
            address, count, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
                None, None, None, None, kind.name, int(JOIN_SECONDS)
            )
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise ProcessError(
                f'{kind.name} started this process, but does not say how to reach the others ({error}); '
                'give --processes, --process-id and --coordinator, or --processes 1 to run alone.'
            ) from error
        assert address is not None and count is not None and index is not None, 'a cluster that is present knows all three'
        return Group(address, count, index, None if devices is None else tuple(devices))
    return None


def join(group: Group, seconds: float = JOIN_SECONDS) -> Board:
    """Joins the other processes; must come before anything else is asked of JAX.

    Args:
        group: all processes, and which this is.
        seconds: how long the others are waited for.

    Raises:
        ProcessError: they did not all come in time. The process should then end by `os._exit`: JAX still waits.
    """
    if group.index == 0:
        _check_port(group.coordinator)
    # JAX's preemption service would take SIGTERM away from the command line.
    jax.config.update('jax_enable_preemption_service', False)
    relay = Relay(group.coordinator) if group.index else None
    failures: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                relay.address if relay else group.coordinator,
                group.count,
                group.index,
                local_device_ids=group.local_device_ids,
                cluster_detection_method='deactivate',
                # JAX's own limit ends in an abort: never reached.
                initialization_timeout=math.ceil(seconds) + 60,
                heartbeat_timeout_seconds=_JAX_PATIENCE,
                shutdown_timeout_seconds=_JAX_PATIENCE,
            )
        except Exception as error:
            failures.append(error)

    # In a thread of its own, so that the time-out and Ctrl-C are heard while JAX waits.
    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.1)
    if failures:
        raise ProcessError(
            f'process {group.index} of {group.count} cannot join at {group.coordinator} ({_first_line(failures[0])}); '
            'give every process the address of process 0 with --coordinator.'
        ) from failures[0]
    if thread.is_alive():
        raise ProcessError(_nobody_came(group, relay, seconds))
    return _Board(relay)


def _check_port(address: str) -> None:
    """Refuses a port at which something else listens: JAX would wait there for ever."""
    port = int(address.rpartition(':')[2])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(('', port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise ProcessError(
            f'process 0 cannot listen at {address} ({error.strerror}); choose another port with --coordinator.'
        ) from error


def _nobody_came(group: Group, relay: Relay | None, seconds: float) -> str:
    others = ', '.join(str(index) for index in range(group.count) if index != group.index)
    who = f'process {group.index} of {group.count} waited {seconds:.0f} s'
    if relay is not None and not relay.is_reached:
        return f'{who}: nobody listens at {group.coordinator}; start process 0 there, with the same --coordinator.'
    return (
        f'{who} at {group.coordinator} for {others}, and not all have come; '
        'start every one with the same --processes and --coordinator, and a --process-id of its own.'
    )


class _Board:
    """The key-value store of JAX's coordinator, which lives in process 0."""

    def __init__(self, relay: Relay | None):
        # JAX has no public name for it, though its own checkpointing library uses this one.
        from jax._src.distributed import global_state

        self._client: Any = global_state.client
        self._relay = relay

    @property
    def is_lost(self) -> bool:
        return self._relay is not None and self._relay.is_lost

    def put(self, name: str, value: bytes) -> None:
        self._client.key_value_set_bytes(name, value, allow_overwrite=True)

    def get(self, name: str, seconds: float = 0.0) -> bytes | None:
        try:
            if seconds:
                return self._client.blocking_key_value_get_bytes(name, math.ceil(seconds * 1000))
            return self._client.key_value_try_get_bytes(name)
        except jax.errors.JaxRuntimeError as error:
            if 'NOT_FOUND' in str(error) or 'DEADLINE_EXCEEDED' in str(error):
                return None
            raise

    def folder(self, name: str) -> dict[str, bytes]:
        return {key.removeprefix(f'{name}/'): value for key, value in self._client.key_value_dir_get_bytes(name)}

    def delete(self, name: str) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._client.key_value_delete(name)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip('.')[:300]
