"""Several processes on one run: how a command line says so, how it joins the others, and how it leaves them.

Said by `--processes N --process-id I --coordinator HOST:PORT`, or by the variables `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID` and
`JAX_COORDINATOR_ADDRESS` (of which JAX reads the last by itself), or found by JAX where a launcher it knows has started the
process (a TPU pod, SLURM, Open MPI). `--processes 1` runs alone whatever the launcher.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jaxreason.cli.interrupt import Interrupt, leave_at_once
from jaxreason.core.errors import ConfigError
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from jaxreason.engine.peers import Peers
    from jaxreason.engine.processes import Group

FLAGS = ('processes', 'process-id', 'coordinator')
LOST = 3  # exit code: another process died or failed
_MOST = 1 << 16
_is_joining = False


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares how a run is divided among processes."""
    flags = parser.add_argument_group(
        'several processes',
        'Started with the same words everywhere, but for --process-id. On a TPU pod, under SLURM and under Open MPI none of '
        'these is needed. Or by JAX_NUM_PROCESSES, JAX_PROCESS_ID, JAX_COORDINATOR_ADDRESS.',
    )
    flags.add_argument('--processes', metavar='N', help='processes in all; 1 runs alone, whatever launcher is found')
    flags.add_argument('--process-id', metavar='I', help='this process, from 0')
    flags.add_argument('--coordinator', metavar='HOST:PORT', help='address of process 0, with a port that is free there')


def group_from(args: argparse.Namespace, environment: Mapping[str, str]) -> 'Group | None':
    """The processes that flags or variables speak of, or that a launcher has started; None to run alone.

    Raises:
        ConfigError: a part is missing or impossible.
        ProcessError: a launcher is there, but what it says cannot be used.
    """
    count = args.processes or environment.get('JAX_NUM_PROCESSES')
    index = args.process_id or environment.get('JAX_PROCESS_ID')
    coordinator = args.coordinator or environment.get('JAX_COORDINATOR_ADDRESS')
    if not any((count, index, coordinator)):
        from jaxreason.engine.processes import find_cluster

        return find_cluster()
    if count is not None and _number('--processes', count, 1, _MOST) == 1:
        return None
    given = {'--processes': count, '--process-id': index, '--coordinator': coordinator}
    missing = [name for name, value in given.items() if not value]
    if count is None or index is None or coordinator is None:
        raise ConfigError(f'several processes need --processes, --process-id and --coordinator: {missing[0]} is missing.')
    from jaxreason.engine.processes import Group

    processes = _number('--processes', count, 1, _MOST)
    host, colon, port = coordinator.rpartition(':')
    if not colon or not host.strip('[]') or any(c.isspace() or not c.isprintable() for c in coordinator):
        raise ConfigError(f'--coordinator must be HOST:PORT of process 0, got {coordinator[:80]!r}.')
    _number('--coordinator HOST:PORT', port, 1, 65535)
    return Group(coordinator, processes, _number('--process-id', index, 0, processes - 1))


def _number(name: str, text: str, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
    if not least <= value <= most:
        raise ConfigError(f'{name} must be a whole number in [{least}, {most}], got {text[:80]!r}.')
    return value


@contextlib.contextmanager
def together(group: 'Group | None') -> Iterator[tuple['Peers', Interrupt]]:
    """Joins the others, if there are any, for the time of the block; a signal or an error in it is told to them.

    JAX must not have looked for devices before, and must have in the block.

    Yields:
        The processes, and what asks for a stop.
    """
    from jaxreason.engine.peers import Ears, Peers

    global _is_joining
    interrupt = Interrupt(before_leaving=lambda: peers.give_notice('stop', 'interrupted'))
    peers = Peers()
    with interrupt:
        if group is not None:
            from jaxreason.engine.processes import join

            _is_joining = True
            board = join(group)
            ears = Ears(on_stop=lambda line: interrupt.stop_with(printable(line)), on_lost=_lost)
            peers = Peers(board, group.index, group.count, ears)
        try:
            yield peers, interrupt
            _part(peers, interrupt)
        except KeyboardInterrupt:
            peers.give_notice('stop', 'interrupted')
            raise
        except BaseException as error:
            peers.give_notice('failed', str(error).partition('\n')[0][:500] or type(error).__name__)
            raise


def _part(peers: 'Peers', interrupt: Interrupt) -> None:
    """Leaves the others in good order: all are through."""
    global _is_joining
    if peers.count > 1:
        import jax

        peers.exchange('parting', '', interrupt.check)
        peers.leave()
        jax.distributed.shutdown()
        _is_joining = False


def _lost(line: str) -> None:
    leave_at_once(f'error: {printable(line)}', LOST)


def end(code: int) -> None:
    """Ends a process that has joined others and not left them in good order: JAX would wait for them, then abort."""
    if _is_joining:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def describe(peers: Any) -> str:
    """What the last line of a run says of its processes."""
    return f', {peers.count} processes' if peers.count > 1 else ''
