"""The journals of a run: every process appends to its own, all of a folder count, and process 0 gathers what it does not see.

Whether processes share a folder is not guessed: process 0 reads its folder again when all are through, and asks the others for
the units that it still lacks. In a shared folder that is none; on machines with disks of their own it is what they finished,
which travels over the board and lands in process 0's own journal: its folder then holds everything.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line
from jaxreason.engine.peers import Peers
from jaxreason.evaluate.journal import Journal, merge, read_entries

_NAME = re.compile(r'journal-[0-9]{1,6}\.jsonl')


class Journals:
    """All finished units of a folder, and this process's own journal."""

    def __init__(self, folder: Path, index: int):
        """Opens the journal of a process and reads those of the others.

        Args:
            folder: of the run.
            index: of the process.

        Raises:
            RunError: a journal cannot be used, or two of them disagree.
        """
        self._folder = folder
        self.own = Journal(folder / f'journal-{index}.jsonl')
        self._entries: dict[str, Any] = {}
        try:
            self.read_again()
        except RunError:
            self.own.close()
            raise

    @property
    def entries(self) -> Mapping[str, Any]:
        """Finished units by key, as of the last reading and with all that was appended since."""
        return self._entries

    def read_again(self) -> None:
        """Reads what the other processes have added.

        Raises:
            RunError: a journal is damaged, or two of them disagree.
        """
        self._entries = dict(self.own.entries)
        for path in sorted(self._folder.glob('journal-*.jsonl')):
            if _NAME.fullmatch(path.name) and path != self.own.path:
                merge(self._entries, read_entries(path), str(path))

    def append(self, key: str, entry: Any) -> None:
        """Adds a unit to the own journal; errors as of `Journal.append`."""
        self.own.append(key, entry)
        self._entries[key] = self.own.entries[key]

    def gather(self, peers: Peers, wanted: Collection[str], tick: Callable[[], None]) -> None:
        """Brings all units to process 0, once every process is through; all must call it.

        Args:
            peers: the processes.
            wanted: keys of all units of the run.
            tick: called while others are waited for.

        Raises:
            RunError: a process says that it has finished a unit, and does not hold it; or two processes disagree on one.
        """
        if peers.is_first:
            self.read_again()
        for index in range(1, peers.count):
            missing = [key for key in wanted if key not in self._entries] if peers.is_first else []
            asked = json.loads(peers.exchange(f'missing/{index}', json.dumps(missing), tick)[0])
            if peers.index == index:
                held = [key for key in asked if key in self._entries]
                peers.send((to_line({'key': key, 'entry': self._entries[key]}) for key in held), tick)
            elif peers.is_first:
                for line in peers.receive(index, tick):
                    unit = json.loads(line)
                    self.append(unit['key'], unit['entry'])
        absent = [key for key in wanted if key not in self._entries] if peers.is_first else []
        if absent:
            raise RunError(
                f'{self._folder}: {len(absent)} units are in no journal, {absent[0]!r} is one: rerun to do them again.'
            )

    def close(self) -> None:
        """Closes the own journal."""
        self.own.close()
