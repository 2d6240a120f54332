"""Runs a recipe: what is not finished, on as many workers as there are, the most urgent first.

Each stage is the verb that a person would type, in a process of its own. It can be killed at any moment, as can this one: the
same command goes on, since every verb does, and comes to the same results.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.files import write_whole
from jaxreason.core.lock import FolderLock
from jaxreason.core.run_files import text_of
from jaxreason.pipeline.forecast import seconds_left, startable, urgency
from jaxreason.pipeline.recipe import Recipe
from jaxreason.pipeline.stage import Place, places_of
from jaxreason.pipeline.verbs import config_class
from jaxreason.pipeline.worker import Running, Slot, Status

RESULTS = ('report.html', 'metrics.json')
_PAUSE = 0.2  # seconds between two looks at the processes
_BETWEEN = 1.0  # seconds between two reports while nothing begins or ends: a forecast takes milliseconds
_PATIENCE = 30.0  # seconds that an interrupted stage has to stop by itself


class Progress(NamedTuple):
    """Where a recipe stands.

    Attributes:
        finished: stages that are done, by name, and how long they took in seconds.
        running: stages at work: seconds since they began, and how far they are.
        waiting: stages that have not begun.
        seconds_left: expected until all are done.
        event: name of the stage that has just begun or ended; None where nothing changed.
    """

    finished: Mapping[str, float]
    running: Mapping[str, tuple[float, Status]]
    waiting: Sequence[str]
    seconds_left: float
    event: str | None = None


def check(recipe: Recipe, out: Path) -> dict[str, Place]:
    """Where the stages of a recipe run; all of their configurations are read first.

    Raises:
        ConfigError: a stage's configuration cannot be used; names it.
        DataError: a file of problems cannot be read.
    """
    places = places_of(recipe, out)
    for name, place in places.items():
        if any(recipe.stages[other].verb == 'fit' for other in place.stage.needs) and place.stage.verb == 'evaluate':
            continue  # what it deploys is not there yet; its verb checks it when it starts
        try:
            config_files.build(config_class(place.stage.verb), place.config)
        except ConfigError as error:
            raise ConfigError(f'stages.{name}.config: {error}') from error
    return places


def run(
    recipe: Recipe,
    out: Path,
    command: Sequence[str],
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Place]:
    """Runs what is not finished.

    Args:
        recipe: what to run.
        out: folder of all of it; `report.html` and `metrics.json` of the last stage are put there.
        command: as of `Running`.
        report: told every second, and when a stage begins or ends; what it raises stops the stages, which keep what they have.

    Returns:
        Where the stages have run.

    Raises:
        ConfigError: a stage's configuration cannot be used; nothing has run.
        DataError: a file of problems cannot be read; nothing has run.
        RunError: a stage failed, or the folder cannot be used.
    """
    places = check(recipe, out)
    lock = FolderLock(out)
    try:
        write_whole(out / 'recipe.yaml', config_files.dump(recipe))
        _Run(recipe, places, command, report).run()
        for name in RESULTS:
            write_whole(out / name, text_of(places[recipe.report].folder / name))
    finally:
        lock.close()
    return places


class _Run:
    def __init__(self, recipe: Recipe, places: Mapping[str, Place], command: Sequence[str], report: Callable[[Progress], None]):
        self.recipe = recipe
        self.places = places
        self.command = command
        self.report = report
        self.slots = slots_of(recipe.workers)
        # Several processes cannot share an accelerator; the recipes that ask for several are made for processor cores.
        self.environment = {**({'JAX_PLATFORMS': 'cpu'} if recipe.workers > 1 else {}), **recipe.environment}
        self.first = urgency(recipe)
        self.finished = {name: place.seconds or 0.0 for name, place in places.items() if place.is_finished}
        self.waiting = [name for name in recipe.order if name not in self.finished]
        self.running: dict[str, Running] = {}
        self.told = 0.0

    def run(self) -> None:
        try:
            self._tell(None)
            while self.waiting or self.running:
                for name in startable(self.recipe, len(self.slots), self.first, set(self.waiting), set(self.running)):
                    self._start(name)
                time.sleep(_PAUSE)
                for name in list(self.running):
                    self._look(name)
                if time.monotonic() - self.told > _BETWEEN:
                    self._tell(None)
        except BaseException:
            self._stop()
            raise

    def _start(self, name: str) -> None:
        place = self.places[name]
        place.prepare()
        taken = [slot for running in self.running.values() for slot in running.slots]
        free = [slot for slot in self.slots if slot not in taken]
        slots = free if place.stage.shared else free[:1]
        self.running[name] = Running(place, slots, self.command, self.environment)
        self.waiting.remove(name)
        self._tell(name)

    def _look(self, name: str) -> None:
        running = self.running[name]
        code = running.poll()
        if code is None:
            return
        if code:
            raise RunError(
                f'stage {name}: {running.explain(code).rstrip(".")}; the same command goes on where it stopped (log: '
                f'{running.place.log}).'
            )
        running.place.mark_finished(running.seconds)
        self.finished[name] = running.seconds
        del self.running[name]
        self._tell(name)

    def _tell(self, event: str | None) -> None:
        self.told = time.monotonic()
        running = {name: (each.seconds, each.status) for name, each in self.running.items()}
        self.report(Progress(self.finished, running, self.waiting, self._seconds_left(), event))

    def _seconds_left(self) -> float:
        """By the recipe's own minutes, corrected by how long the stages took that are done."""
        stages = self.recipe.stages
        expected = sum(60 * stages[name].minutes for name, seconds in self.finished.items() if seconds)
        scale = sum(self.finished.values()) / expected if expected else 1.0
        waiting = {name: 60 * stages[name].minutes * scale for name in self.waiting}
        running = {}
        for name, each in self.running.items():
            left = each.status.left
            guess = max(5.0, 60 * stages[name].minutes * scale - each.seconds)
            running[name] = guess if left is None else max(1.0, left)
        return seconds_left(self.recipe, len(self.slots), waiting, running)

    def _stop(self) -> None:
        """Has the running stages keep what they have, then end."""
        for each in self.running.values():
            each.interrupt()
        deadline = time.monotonic() + _PATIENCE
        while any(each.poll() is None for each in self.running.values()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        for each in self.running.values():
            each.kill()


def slots_of(workers: int) -> list[Slot]:
    """The cores that this process may use, divided among workers; fewer workers where there are fewer cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else list(range(os.cpu_count() or 1))
    count = min(workers, len(cores))
    shares = [tuple(cores[index * len(cores) // count : (index + 1) * len(cores) // count]) for index in range(count)]
    return [Slot(index, share) for index, share in enumerate(shares)]
