"""The run folder: one process at a time, one configuration for ever, whole files only.

`config.yaml` and `environment.json` are written first; `journal-<process>.jsonl` grows; `pools/`, `records.jsonl` and
`metrics.json` are written at the end, each through a temporary file and a rename.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.core.records import to_line


class RunFolder:
    """A run folder that this process holds until it closes it or ends."""

    def __init__(self, path: Path, config: str):
        """Opens or creates the folder.

        Args:
            path: the folder.
            config: the resolved configuration as text.

        Raises:
            RunError: the folder is not writable, is held by another process, or belongs to another configuration.
        """
        self.path = path
        try:
            (path / 'pools').mkdir(parents=True, exist_ok=True)
            self._lock = (path / '.lock').open('a+')
        except OSError as error:
            raise RunError(f'{path}: cannot write there ({error.strerror}); choose another folder with --out.') from error
        try:
            # The kernel frees the lock with its process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            raise RunError(
                f'{path}: held by process {self._lock.read().strip() or "?"}; wait for it, or use another --out.'
            ) from error
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(f'{os.getpid()}\n')
        self._lock.flush()
        self._claim(config)

    def _claim(self, config: str) -> None:
        file = self.path / 'config.yaml'
        if not file.exists():
            self.write_text('config.yaml', config)
            return
        before = file.read_text(encoding='utf-8').splitlines()
        differing = [(a, b) for a, b in zip(before, config.splitlines(), strict=False) if a != b]
        if differing or len(before) != len(config.splitlines()):
            was, is_now = differing[0] if differing else ('(another length)', '')
            raise RunError(
                f'{self.path}: made by another configuration ("{was.strip()}", now "{is_now.strip()}"); use another --out.'
            )

    def check_environment(self, environment: Mapping[str, Any], pinned: Iterable[str]) -> None:
        """Writes `environment.json`, or compares what must not change with the one that is there.

        Args:
            environment: versions, device, digests.
            pinned: keys whose values decide the records.

        Raises:
            RunError: a pinned value has changed.
        """
        file = self.path / 'environment.json'
        if file.exists():
            try:
                before = json.loads(file.read_text(encoding='utf-8'))
            except ValueError as error:
                raise RunError(f'{file}: damaged; restore it or start in a new folder.') from error
            for key in pinned:
                if before.get(key) != environment.get(key):
                    raise RunError(
                        f'{self.path}: {key} was {before.get(key)!r} and is {environment.get(key)!r}; '
                        'records of one run must come from one setting: use another --out.'
                    )
            return
        self.write_text('environment.json', json.dumps(environment, indent=2, sort_keys=True) + '\n')

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the folder whole.

        Raises:
            RunError: it cannot be written.
        """
        write_whole(self.path / name, text)

    def write_lines(self, name: str, values: Iterable[Any]) -> None:
        """Writes a JSON Lines file whole.

        Raises:
            RunError: it cannot be written.
        """
        self.write_text(name, ''.join(to_line(value) + '\n' for value in values))

    def append_line(self, name: str, value: Any) -> None:
        """Adds a line to a file that nothing depends on (timing)."""
        with (self.path / name).open('a', encoding='utf-8') as stream:
            stream.write(to_line(value) + '\n')

    def close(self) -> None:
        """Gives the folder back."""
        self._lock.close()

    def __enter__(self) -> 'RunFolder':
        return self

    def __exit__(self, *_) -> None:
        self.close()
