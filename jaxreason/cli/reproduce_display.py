"""What a recipe shows while it runs: a line for every stage that ends, and below it what is at work and how long it will be."""

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable
from jaxreason.pipeline.recipe import Recipe
from jaxreason.pipeline.run import Progress
from jaxreason.pipeline.worker import Status

_SECONDS = 20.0  # between lines where there is no terminal


class ReproduceDisplay:
    """Enter it for the time of a run."""

    def __init__(self, recipe: Recipe, quiet: bool):
        """Shows nothing where `quiet`."""
        self._recipe = recipe
        self._quiet = quiet
        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, refresh_per_second=4) if sys.stdout.isatty() and not quiet else None
        self._said = time.monotonic()
        self._known: set[str] | None = None  # stages that were said to be finished

    def __enter__(self) -> 'ReproduceDisplay':
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.update(Text(''))
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Moves the live lines; prints one of each stage that began or ended, and from time to time where all stand."""
        if self._quiet:
            return
        self._say_finished(progress)
        if self._live:
            self._live.update(Group(*map(Text, self._lines(progress))))
            return
        if progress.event in progress.running:
            self._print(f'        {progress.event}: {self._recipe.stages[str(progress.event)].verb}')
        elif time.monotonic() - self._said > _SECONDS and progress.running:
            self._said = time.monotonic()
            self._print('; '.join(line.strip() for line in self._lines(progress)))

    def _say_finished(self, progress: Progress) -> None:
        total = len(self._recipe.stages)
        if self._known is None:
            self._known = set(progress.finished)
            if self._known:
                self._print(f'{len(self._known)} of {total} stages are finished already')
        for name in [name for name in progress.finished if name not in self._known]:
            self._known.add(name)
            verb = self._recipe.stages[name].verb
            self._print(f'{len(self._known):>3}/{total}  {name}: {verb}, {clock(progress.finished[name])}')

    def _print(self, line: str) -> None:
        self._console.print(Text(printable(line)))

    def _lines(self, progress: Progress) -> list[str]:
        lines = [f'  {name}  {line_of(seconds, status)}' for name, (seconds, status) in progress.running.items()]
        done, total = len(progress.finished), len(self._recipe.stages)
        return [*lines, f'  {done} of {total} stages, about {clock(progress.seconds_left)} left']


def line_of(seconds: float, status: Status) -> str:
    """How far a stage is, in a few words."""
    parts = [clock(seconds)]
    if status.total:
        parts.append(f'{status.done:,} of {status.total:,}')
    if status.rate:
        parts.append(quantity(status.rate, 'tokens/s'))
    if status.left is not None:
        parts.append(f'{clock(status.left)} left')
    return ', '.join(parts)


def clock(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'
