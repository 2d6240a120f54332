"""A recipe: stages of work, each a verb and its configuration, that name each other's results.

    stages:
      policy: {verb: train sft, minutes: 3, config: {...}}
      labels: {verb: label, minutes: 1, config: {model: {source: "stage:policy"}, ...}}

`stage:NAME` in a value of a configuration stands for the run folder of that stage, `stage:NAME/file` for something in it. From
these words follow what a stage waits for, and its digest.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from jaxreason.core import config as config_files
from jaxreason.core.config import Plain
from jaxreason.core.errors import ConfigError
from jaxreason.pipeline.verbs import REPORTING, SHAREABLE, VERBS

PRESETS = ('nano', 'nano-full')
_NAME = re.compile(r'[A-Za-z][\w.-]{0,63}')
_VARIABLE = re.compile(r'(JAX|XLA)_[A-Z0-9_]{1,64}')
_REFERENCE = re.compile(r'stage:([^/]*)(/.*)?', re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A piece of work.

    Attributes:
        verb: what to run, as on the command line.
        config: its configuration; `stage:NAME` in it is the run folder of another stage.
        minutes: expected, where the recipe was measured; the first forecast of the time left rests on it.
        shared: all workers do it together, each its part of the questions; else one worker does it.
    """

    verb: str
    config: Annotated[dict[str, Any], Plain()]
    minutes: float = 1.0
    shared: bool = False

    def __post_init__(self):
        if self.verb not in VERBS:
            raise ValueError(f'verb must be one of {", ".join(VERBS)}, got {self.verb[:80]!r}.')
        if self.shared and self.verb not in SHAREABLE:
            raise ValueError(f'shared: {self.verb} runs as one process; only {", ".join(SHAREABLE)} can be shared.')
        if not self.minutes > 0:
            raise ValueError(f'minutes must be above 0, got {self.minutes}.')

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stages whose results it reads."""
        return tuple(dict.fromkeys(match[1] for match in _references(self.config)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Stages, and how many of them run side by side.

    Attributes:
        workers: processes that run stages at the same time, each on its part of the machine's cores; 1 where all devices
            serve one stage.
        stages: by name.
        report: name of the stage whose report.html and metrics.json are the result of all.
        environment: variables of JAX and XLA that the processes of the stages begin with, unless the user has set them.
    """

    workers: int = 1
    stages: dict[str, Stage]
    report: str
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 1 <= self.workers <= 64:
            raise ValueError(f'workers must be in [1, 64], got {self.workers}.')
        for name, value in self.environment.items():
            if not _VARIABLE.fullmatch(name) or '\0' in value:
                raise ValueError(
                    f'environment: only variables of JAX and XLA (JAX_..., XLA_...) can be set, got {name[:80]!r}.'
                )
        for name in self.stages:
            if not _NAME.fullmatch(name):
                raise ValueError(f'stages: a name is made of letters, digits, _, . and -, got {name[:80]!r}.')
        for name, stage in self.stages.items():
            for other in stage.needs:
                if other not in self.stages:
                    raise ValueError(f'stages.{name}: there is no stage {other[:80]!r}; stages are {", ".join(self.stages)}.')
        if self.report not in self.stages:
            raise ValueError(f'report must name a stage, got {self.report[:80]!r}; stages are {", ".join(self.stages)}.')
        if self.stages[self.report].verb not in REPORTING:
            raise ValueError(
                f'report must name a stage that writes report.html and metrics.json ({", ".join(REPORTING)}), '
                f'got {self.report!r}: {self.stages[self.report].verb}.'
            )
        self.order  # noqa: B018 - refuses circles

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the stages, each after what it needs.

        Raises:
            ValueError: stages wait for each other in a circle.
        """
        done: dict[str, None] = {}
        left = dict(self.stages)
        while left:
            ready = [name for name, stage in left.items() if all(other in done for other in stage.needs)]
            if not ready:
                raise ValueError(f'stages: {", ".join(left)} wait for each other.')
            for name in ready:
                done[name] = None
                del left[name]
        return tuple(done)


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe; errors as of `core.config.load`."""
    return config_files.load(Recipe, path, overrides)


def preset(name: str) -> Path:
    """The file of a recipe that comes with the package.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f'there is no preset {name[:80]!r}; presets are {", ".join(PRESETS)}, or give a CONFIG.yaml.')
    return Path(__file__).parent / 'presets' / f'{name}.yaml'


def resolved(value: Any, places: Mapping[str, str]) -> Any:
    """A configuration with `stage:NAME` replaced.

    Args:
        value: plain values.
        places: what stands for each stage.
    """
    if isinstance(value, dict):
        return {key: resolved(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, places) for item in value]
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else places[match[1]] + (match[2] or '')


def _references(value: Any) -> Iterator[re.Match[str]]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)
    elif isinstance(value, str) and (match := _REFERENCE.fullmatch(value)):
        yield match
