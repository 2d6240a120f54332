"""What training shows while it runs: step, loss, tokens per second, time left; live on a terminal, else a line now and then."""

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jaxreason.cli import status
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

if TYPE_CHECKING:
    from jaxreason.train.loop import Progress

_SECONDS = 10.0  # between lines where there is no terminal


class TrainDisplay:
    """Enter it for the time of a run."""

    def __init__(self, quiet: bool):
        """Shows nothing of the steps where `quiet`."""
        self._quiet = quiet
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, refresh_per_second=4) if sys.stdout.isatty() and not quiet else None
        self._said = time.monotonic()

    def __enter__(self) -> 'TrainDisplay':
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(Text(printable(line)))

    def show(self, progress: 'Progress') -> None:
        """Moves the live line; prints one after an evaluation, at the end, and from time to time."""
        status.tell(progress.step, progress.steps, progress.tokens_per_second, progress.seconds_left)
        if self._quiet:
            return
        line = line_of(progress)
        if self._live:
            self._live.update(Text(line))
        is_time = not self._live and time.monotonic() - self._said > _SECONDS
        if progress.held_out or progress.step == progress.steps or is_time:
            self._said = time.monotonic()
            self._console.print(Text(line))


def line_of(progress: 'Progress') -> str:
    """One line about a step."""
    parts = [f'step {progress.step:,} of {progress.steps:,}']
    if progress.loss == progress.loss:  # known, and a number
        parts.append(f'loss {progress.loss:.4f}')
    parts += [f'held-out {name} {value:.4f}' for name, value in (progress.held_out or {}).items()]
    if progress.tokens_per_second:
        parts.append(quantity(progress.tokens_per_second, 'tokens/s'))
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f'{minutes // 60}:{minutes % 60:02}:{seconds:02} left')
    return ', '.join(parts)
