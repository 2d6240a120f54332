"""The folder of a training run: one process at a time, one configuration for ever.

`config.yaml` and `environment.json` are written first; `metrics.jsonl`, `timing.jsonl` and `checkpoints/` grow beside them.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core import yaml_text
from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.core.lock import FolderLock
from jaxreason.models.manifest import steps_of

# What must be as it was when a run goes on; the rest of the environment is for the reader.
PINNED = ('data', 'held_out', 'tokenizer', 'weights', 'packages', 'device')


class TrainingFolder:
    """A run folder that this process holds until it closes it or ends.

    A folder without a checkpoint takes another configuration: whoever mistyped one mends it and runs the same command again.
    One with a checkpoint takes a higher `loop.steps`, if the learning rate is constant. What is trained at one go has no
    checkpoints: there the file that is written last says that it is done.
    """

    def __init__(self, path: Path, config: str, steps: int | None = None, product: str | None = None):
        """Opens or creates the folder.

        Args:
            path: the folder.
            config: the resolved configuration as text.
            steps: what it says of `loop.steps`, where a run that has begun may be made longer.
            product: name of the file that is written last, of what has no checkpoints.

        Raises:
            RunError: it is not writable, held by another process, or belongs to another configuration or to another verb.
        """
        self.path = path
        self._product = product
        self._lock = FolderLock(path)
        try:
            self._claim(config, steps)
        except BaseException:
            self._lock.close()
            raise

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint, whole or not, or all there will be."""
        is_done = self._product is not None and (self.path / self._product).exists()
        return is_done or bool(steps_of(self.path, lambda _: None))

    def _claim(self, config: str, steps: int | None) -> None:
        others = (name for name in ('pools', 'records.jsonl', 'config.json', 'probe.json') if name != self._product)
        foreign = next((name for name in others if (self.path / name).exists()), None)
        if foreign is not None:
            raise RunError(f'{self.path}: holds {foreign}, it is not the folder of a training run; use another --out.')
        if not self.is_begun:
            write_whole(self.path / 'config.yaml', config)
            return
        before = self._read('config.yaml')
        if before != config and steps is not None and self._is_made_longer(config, steps):
            write_whole(self.path / 'config.yaml', config)
            return
        for was, now in itertools.zip_longest(before.splitlines(), config.splitlines(), fillvalue=''):
            if was != now:
                raise RunError(
                    f'{self.path}: made by another configuration ("{was.strip()}", now "{now.strip()}"); use another --out.'
                )

    def _is_made_longer(self, config: str, steps: int) -> bool:
        """Whether all that differs is that there are more steps, and the steps before are those that a longer run takes.

        Raises:
            RunError: the steps before would have had other learning rates.
        """
        tree, _ = yaml_text.read(self.path / 'config.yaml')
        loop, optimiser = tree.get('loop'), tree.get('optimiser')
        if not isinstance(loop, dict) or not isinstance(optimiser, dict) or not isinstance(loop.get('steps'), int):
            return False
        before, loop['steps'] = loop['steps'], steps
        if yaml_text.write(tree) != config or steps < before:
            return False
        schedule, warmup = optimiser.get('schedule'), optimiser.get('warmup_steps')
        if schedule != 'constant' or not isinstance(warmup, int) or warmup > before:
            why = f'schedule {schedule}' if schedule != 'constant' else f'a warm-up of {warmup} steps'
            raise RunError(
                f'{self.path}: loop.steps was {before} and is {steps}; with {why} a longer run has other learning rates '
                'from the start (only schedule constant can be made longer): use another --out, with this run as model.source.'
            )
        return True

    def check_environment(self, environment: Mapping[str, Any]) -> None:
        """Writes `environment.json`, or compares what must not change with the one that is there.

        Raises:
            RunError: a pinned value has changed, or the file is damaged or cannot be written.
        """
        if not self.is_begun:
            write_whole(self.path / 'environment.json', json.dumps(environment, indent=2, sort_keys=True) + '\n')
            return
        try:
            before = json.loads(self._read('environment.json'))
            changed = next((key for key in PINNED if before.get(key) != environment.get(key)), None)
        except (ValueError, AttributeError) as error:
            raise RunError(f'{self.path / "environment.json"}: damaged; restore it or start in a new folder.') from error
        if changed is not None:
            raise RunError(
                f'{self.path}: {changed} was {before.get(changed)!r} and is {environment.get(changed)!r}; '
                'a run must go on as it was begun: use another --out.'
            )

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f'{self.path / name}: missing or damaged; restore it or start in a new folder.') from error

    def close(self) -> None:
        """Gives the folder back."""
        self._lock.close()

    def __enter__(self) -> 'TrainingFolder':
        return self

    def __exit__(self, *_) -> None:
        self.close()
