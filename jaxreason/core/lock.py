"""A folder that one run holds: an advisory lock on a file in it, signed by its owner; the kernel frees it with the process."""

import fcntl
import os
import time
from pathlib import Path

from jaxreason.core.errors import RunError


class FolderLock:
    """The lock of a run folder, held by this process, alone or with the others of its run, until it is closed or ends."""

    def __init__(self, folder: Path, run: str | None = None):
        """Takes the lock; makes the folder where it is missing.

        Args:
            folder: to hold.
            run: what the processes of one run call it, the same for all and for no other run; None for a process alone.

        Raises:
            RunError: the folder is not writable, or is held by another run.
        """
        self._folder = folder
        self._run = run
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / '.lock').open('a+')
        except OSError as error:
            raise RunError(f'{folder}: cannot write there ({error.strerror}); choose another folder with --out.') from error
        try:
            self._take()
        except BaseException:
            self._file.close()
            raise

    def _take(self) -> None:
        """Takes the lock and signs it; a run of several processes then shares it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(0)
            signed = f'process {os.getpid()} since {time.strftime("%Y-%m-%d %H:%M:%S %z")}'
            self._file.write(signed + (f'\n{self._run}\n' if self._run else '\n'))
            self._file.flush()
            if self._run:
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not self._is_ours():
                raise RunError(f'{self._folder}: held by {self._owner()[0]}; wait for it, or use another --out.') from error
        except OSError as error:
            raise RunError(f'{self._folder}: cannot be locked ({error.strerror}); choose a folder on another disk.') from error

    def _is_ours(self) -> bool:
        """Whether the lock is shared by the processes of this run, and now by this one too."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return self._run is not None and self._owner()[1:] == [self._run]

    def _owner(self) -> list[str]:
        """Who holds the lock, and the name of the run if it has several processes."""
        self._file.seek(0)
        return self._file.read(200).splitlines() or ['another process']

    def close(self) -> None:
        """Gives the folder back."""
        self._file.close()
