"""The run folder: one run at a time, one configuration for ever, whole files only.

`config.yaml` and `environment.json` are written first, and hold whatever the run has chosen before anything is finished;
`journal-<process>.jsonl` grows; `pools/`, `records.jsonl` and `metrics.json` are written at the end, each through a temporary
file and a rename.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.files import write_whole
from jaxreason.core.lock import FolderLock
from jaxreason.core.records import to_line


def is_begun(path: Path) -> bool:
    """Whether a unit of the run in this folder is finished, or may be."""
    return any(journal.stat().st_size for journal in path.glob('journal-*.jsonl'))


class RunFolder:
    """A run folder that this process holds, alone or with the others of its run, until it closes it or ends.

    A folder in which nothing is finished yet takes another configuration: whoever mistyped the name of a model mends it and
    runs the same command again.
    """

    def __init__(self, path: Path, config: str, run: str | None = None):
        """Opens or creates the folder.

        Args:
            path: the folder.
            config: the resolved configuration as text.
            run: what the processes of one run call it, the same for all and for no other run; None for a process alone.

        Raises:
            RunError: the folder is not writable, is held by another run, or belongs to another configuration.
        """
        self.path = path
        self._lock = FolderLock(path, run)
        try:
            (path / 'pools').mkdir(exist_ok=True)
            self._claim(config)
        except OSError as error:
            self._lock.close()
            raise RunError(f'{path}: cannot write there ({error.strerror}); choose another folder with --out.') from error
        except BaseException:
            self._lock.close()
            raise

    @property
    def _is_begun(self) -> bool:
        return is_begun(self.path)

    def _claim(self, config: str) -> None:
        if not self._is_begun:
            self._write_if_new('config.yaml', config)
            return
        before, now = self._read('config.yaml').splitlines(), config.splitlines()
        for was, is_now in itertools.zip_longest(before, now, fillvalue=''):
            if was != is_now:
                raise RunError(
                    f'{self.path}: made by another configuration ("{was.strip()}", now "{is_now.strip()}"); use another --out.'
                )

    def settle_config(self, config: str) -> None:
        """Writes the configuration again, now that what it left open is chosen; a run that has begun keeps its own.

        Raises:
            RunError: it cannot be written.
        """
        if not self._is_begun:
            self._write_if_new('config.yaml', config)

    def check_environment(self, environment: Mapping[str, Any], pinned: Iterable[str]) -> None:
        """Writes `environment.json`, or compares what must not change with the one that is there.

        Args:
            environment: versions, device, digests; of a run that has begun, perhaps a part of them.
            pinned: keys whose values decide the records; those that `environment` lacks are not compared.

        Raises:
            RunError: a pinned value has changed.
        """
        if not self._is_begun:
            self._write_if_new('environment.json', json.dumps(environment, indent=2, sort_keys=True) + '\n')
            return
        try:
            before = json.loads(self._read('environment.json'))
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise RunError(f'{self.path / "environment.json"}: damaged; restore it or start in a new folder.')
        for key in pinned:
            if key in environment and before.get(key) != environment[key]:
                raise RunError(
                    f'{self.path}: {key} was {before.get(key)!r} and is {environment[key]!r}; '
                    'records of one run must come from one setting: use another --out.'
                )

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Compares what is known before the model is loaded with a run that has begun.

        Args:
            inputs: a part of the environment, all of it pinned.

        Raises:
            RunError: a value has changed.
        """
        if self._is_begun:
            self.check_environment(inputs, inputs)

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f'{self.path / name}: missing or damaged; restore it or start in a new folder.') from error

    def _write_if_new(self, name: str, text: str) -> None:
        """Writes a file unless it stands there: where processes share the folder, process 0 has been before the others."""
        path = self.path / name
        if not path.is_file() or path.read_bytes() != text.encode():
            self.write_text(name, text)

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
        """Adds a line to a file that nothing depends on (timing).

        Raises:
            RunError: it cannot be written.
        """
        try:
            with (self.path / name).open('a', encoding='utf-8') as stream:
                stream.write(to_line(value) + '\n')
        except OSError as error:
            raise RunError(f'{self.path / name}: cannot be written ({error.strerror}); free space, rerun.') from error

    def close(self) -> None:
        """Gives the folder back."""
        self._lock.close()

    def __enter__(self) -> 'RunFolder':
        return self

    def __exit__(self, *_) -> None:
        self.close()
