"""What is finished stays finished: an append-only file, one line a finished unit, on disk before the unit counts as done.

A line is `{"crc": ..., "entry": {...}, "key": ...}` with the CRC-32 of the entry's text. A kill can only tear the last line:
that line is dropped and its unit is done again. Damage anywhere else, or one key with two contents, stops the run: somebody
else wrote there.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line


class Journal:
    """Finished units by key, and the file that they are appended to."""

    def __init__(self, path: Path):
        """Reads the file if there is one, and drops a torn last line.

        Raises:
            RunError: a line other than the last is damaged, or two lines of one key disagree.
        """
        self.path = path
        self._entries: dict[str, Mapping[str, Any]] = {}
        data = path.read_bytes() if path.exists() else b''
        whole = data.rfind(b'\n') + 1
        lines = data[:whole].split(b'\n')[:-1]
        for number, line in enumerate(lines, 1):
            self._read(number, line)
        if whole < len(data):
            with path.open('r+b') as file:
                file.truncate(whole)
                os.fsync(file.fileno())
        self._file = path.open('ab')

    @property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Finished units by key."""
        return self._entries

    def append(self, key: str, entry: Any) -> None:
        """Adds a unit; when this returns it is on disk.

        Args:
            key: of the unit, not used before.
            entry: a dataclass or JSON value.

        Raises:
            RunError: the file cannot be written.
        """
        text = to_line(entry)
        line = to_line({'key': key, 'crc': zlib.crc32(text.encode()), 'entry': json.loads(text)})
        try:
            self._file.write(line.encode() + b'\n')
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(
                f'{self.path}: cannot append ({error.strerror}); nothing finished is lost: free space, rerun.'
            ) from error
        self._entries[key] = json.loads(text)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self, number: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            key, entry = fields['key'], fields['entry']
            is_whole = zlib.crc32(to_line(entry).encode()) == fields['crc']
        except (ValueError, KeyError, TypeError, RecursionError):
            is_whole = False
        if not is_whole:
            raise RunError(f'{self.path}: line {number} is damaged; restore the file or start in a new folder.')
        if self._entries.setdefault(key, entry) != entry:
            first, second = to_line(self._entries[key])[:80], to_line(entry)[:80]
            raise RunError(f'{self.path}: line {number} gives {key!r} a second content: {first}... and {second}...')
