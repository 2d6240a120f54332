"""The folder of a training run: one process at a time, one configuration for ever.

`config.yaml` and `environment.json` are written first; `metrics.jsonl`, `timing.jsonl` and `checkpoints/` grow beside them.
"""

import fcntl
import itertools
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.models.manifest import steps_of

# What must be as it was when a run goes on; the rest of the environment is for the reader.
PINNED = ('data', 'held_out', 'tokenizer', 'weights', 'packages', 'device')


class TrainingFolder:
    """A run folder that this process holds until it closes it or ends.

    A folder without a checkpoint takes another configuration: whoever mistyped one mends it and runs the same command again.
    """

    def __init__(self, path: Path, config: str):
        """Opens or creates the folder.

        Args:
            path: the folder.
            config: the resolved configuration as text.

        Raises:
            RunError: it is not writable, held by another process, or belongs to another configuration or to another verb.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / '.lock').open('a+')
        except OSError as error:
            raise RunError(f'{path}: cannot write there ({error.strerror}); choose another folder with --out.') from error
        try:
            self._hold()
            self._claim(config)
        except BaseException:
            self._lock.close()
            raise

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint, whole or not."""
        return bool(steps_of(self.path, lambda _: None))

    def _hold(self) -> None:
        """Takes the lock and signs it; the kernel frees it with the process."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read(200).strip() or 'another process'
            raise RunError(f'{self.path}: held by {owner}; wait for it, or use another --out.') from error
        except OSError as error:
            raise RunError(f'{self.path}: cannot be locked ({error.strerror}); choose a folder on another disk.') from error
        self._lock.truncate(0)
        self._lock.write(f'process {os.getpid()} since {time.strftime("%Y-%m-%d %H:%M:%S %z")}\n')
        self._lock.flush()

    def _claim(self, config: str) -> None:
        foreign = next((name for name in ('pools', 'records.jsonl', 'config.json') if (self.path / name).exists()), None)
        if foreign is not None:
            raise RunError(f'{self.path}: holds {foreign}, it is not the folder of a training run; use another --out.')
        if not self.is_begun:
            write_whole(self.path / 'config.yaml', config)
            return
        before = self._read('config.yaml')
        for was, now in itertools.zip_longest(before.splitlines(), config.splitlines(), fillvalue=''):
            if was != now:
                raise RunError(
                    f'{self.path}: made by another configuration ("{was.strip()}", now "{now.strip()}"); use another --out.'
                )

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
