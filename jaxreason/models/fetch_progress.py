"""How a long transfer is shown: a bar on a terminal, a line per stage elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

Progress = Callable[[str, int, int], None]
"""Told the stage ('download', 'unpack', ...), the bytes done and the bytes in all (0 where unknown)."""


@contextlib.contextmanager
def shown(label: str, stream: TextIO | None = None, *, bars: bool = True) -> Iterator[Progress]:
    """Shows progress until the block ends.

    Args:
        label: what is being transferred.
        stream: where to; standard error where None.
        bars: draw bars on a terminal; False where what does the transfer draws its own.

    Yields:
        The function to report to.
    """
    stream = stream or sys.stderr
    if bars and stream.isatty():
        with _bar(label, stream) as report:
            yield report
    else:
        yield _lines(label, stream)


@contextlib.contextmanager
def _bar(label: str, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=stream)) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f'{label}: {stage}', total=total or None)
            bars.update(tasks[stage], completed=done)

        yield report


def _lines(label: str, stream: TextIO) -> Progress:
    begun = set()

    def report(stage: str, done: int, total: int) -> None:
        if stage not in begun:
            begun.add(stage)
            print(f'{label}: {stage}' + (f', {total / 1e6:.0f} MB' if total else ''), file=stream, flush=True)

    return report
