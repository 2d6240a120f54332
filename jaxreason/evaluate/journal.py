"""What is finished stays finished: an append-only file, one line a finished unit, on disk before the unit counts as done.

A line is `{"crc": ..., "entry": {...}, "key": ...}` with the CRC-32 of the key and the entry's text. A kill can only tear the
last line: that line is dropped and its unit is done again. Damage anywhere else, or one key with two contents, stops the run:
somebody else wrote there.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line


class Journal:
    """Finished units by key, and the file that they are appended to."""

    def __init__(self, path: Path):
        """Reads the file if there is one, and drops a torn last line.

        Raises:
            RunError: the file cannot be used, a line other than the last is damaged, or two lines of one key disagree.
        """
        self.path = path
        self._entries: dict[str, Any] = {}
        try:
            # Unbuffered: what could not be written must not be tried again behind our back when the file is closed.
            self._file: BinaryIO = path.open('a+b', buffering=0)
            self._file.seek(0)
            data = self._file.read()
            whole = data.rfind(b'\n') + 1
            if whole < len(data):
                self._file.truncate(whole)
                os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(f'{path}: cannot be opened ({error.strerror}); use another --out.') from error
        try:
            self._entries = _entries(path, data[:whole])
        except RunError:
            self._file.close()
            raise

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
            RunError: the file cannot be written, or the entry holds a number that is not finite.
        """
        try:
            text = to_line(entry)
        except ValueError as error:
            raise RunError(
                f'{self.path}: {key}: a score or cost is not a finite number; the model or its verifier is damaged.'
            ) from error
        line = f'{{"crc":{_checksum(key, text)},"entry":{text},"key":{to_line(key)}}}\n'
        rest = memoryview(line.encode())
        try:
            while rest:  # a nearly full disk takes a part
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(
                f'{self.path}: cannot append ({error.strerror}); nothing finished is lost: free space, rerun.'
            ) from error
        self._entries[key] = json.loads(text)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_entries(path: Path) -> dict[str, Any]:
    """Finished units by key of a journal that another process writes, or has written; a line that is not whole yet is left out.

    Raises:
        RunError: the file cannot be read, or a line of it is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f'{path}: cannot be read ({error.strerror}); restore it or start in a new folder.') from error
    return _entries(path, data[: data.rfind(b'\n') + 1])


def merge(entries: dict[str, Any], more: Mapping[str, Any], where: str) -> None:
    """Adds units to those that are known.

    Args:
        entries: what is added to.
        more: what is added.
        where: it comes from, for the message.

    Raises:
        RunError: one key has two contents.
    """
    for key, entry in more.items():
        if entries.setdefault(key, entry) != entry:
            first, second = to_line(entries[key]), to_line(entry)
            at = max(0, len(os.path.commonprefix([first, second])) - 20)
            contents = f'...{first[at : at + 80]}... and ...{second[at : at + 80]}...'
            raise RunError(f'{where}: {key!r} has two contents, {contents}; two runs wrote here: start in a new folder.')


def _entries(path: Path, data: bytes) -> dict[str, Any]:
    """Units of whole lines, by key."""
    entries: dict[str, Any] = {}
    for number, line in enumerate(data.split(b'\n')[:-1], 1):
        try:
            fields = json.loads(line)
            key, entry = fields['key'], fields['entry']
            is_whole = isinstance(key, str) and _checksum(key, to_line(entry)) == fields['crc']
        except (ValueError, KeyError, TypeError, RecursionError):
            is_whole = False
        if not is_whole:
            raise RunError(f'{path}:{number}: the line is damaged; restore the file or start in a new folder.')
        merge(entries, {key: entry}, f'{path}:{number}')
    return entries


def _checksum(key: str, text: str) -> int:
    return zlib.crc32(f'{key}\n{text}'.encode())
