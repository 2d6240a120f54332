"""A stage on disk: where it runs, whether it is finished, and how a finished one is marked."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from jaxreason.core import yaml_text
from jaxreason.core.files import write_whole
from jaxreason.core.run_files import object_of
from jaxreason.pipeline.digest import digests
from jaxreason.pipeline.recipe import Recipe, Stage, resolved

_MARK = 'stage.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage runs.

    Attributes:
        name: of the stage.
        stage: what it does.
        digest: of all that its results depend on.
        folder: its run folder, which bears the beginning of the digest.
        config: its configuration, other stages' folders in it.
    """

    name: str
    stage: Stage
    digest: str
    folder: Path
    config: Mapping

    @property
    def config_file(self) -> Path:
        """Where its configuration is written for the verb to read."""
        return self.folder.with_name(f'{self.folder.name}.yaml')

    @property
    def log(self) -> Path:
        """Where what it prints is kept."""
        return self.folder.with_name(f'{self.folder.name}.log')

    @property
    def is_finished(self) -> bool:
        """Whether it has run to its end, with these words.

        Raises:
            RunError: its mark cannot be read.
        """
        mark = object_of(self.folder / _MARK)
        return mark is not None and mark.get('digest') == self.digest

    @property
    def seconds(self) -> float | None:
        """How long its last session took; None where it is not finished."""
        mark = object_of(self.folder / _MARK) or {}
        seconds = mark.get('seconds')
        return float(seconds) if mark.get('digest') == self.digest and isinstance(seconds, int | float) else None

    def prepare(self) -> None:
        """Writes its configuration.

        Raises:
            RunError: it cannot be written.
        """
        write_whole(self.config_file, f'# jaxreason {self.stage.verb} {self.config_file}\n{yaml_text.write(self.config)}')

    def mark_finished(self, seconds: float) -> None:
        """Notes that it is done.

        Raises:
            RunError: that cannot be written.
        """
        mark = {'stage': self.name, 'verb': self.stage.verb, 'digest': self.digest, 'seconds': round(seconds, 1)}
        write_whole(self.folder / _MARK, json.dumps(mark, indent=2) + '\n')


def places_of(recipe: Recipe, out: Path) -> dict[str, Place]:
    """Where every stage of a recipe runs, each after what it needs.

    Args:
        recipe: what to run.
        out: folder of all of it.

    Raises:
        DataError: a file of problems cannot be read.
    """
    found = digests(recipe)
    folders = {name: out / 'stages' / f'{name}-{found[name][:8]}' for name in recipe.order}
    words = {name: _spelled(folder) for name, folder in folders.items()}
    return {
        name: Place(
            name=name,
            stage=recipe.stages[name],
            digest=found[name],
            folder=folders[name],
            config=resolved(recipe.stages[name].config, words),
        )
        for name in recipe.order
    }


def _spelled(folder: Path) -> str:
    """The one way a folder is written in configurations, however it was given: what has begun knows its own again."""
    whole, here = folder.resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)
