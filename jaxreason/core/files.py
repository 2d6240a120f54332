"""Files are written whole: what stood there stays until the new content is on disk."""

import os
from pathlib import Path

from jaxreason.core.errors import RunError


def write_whole(path: Path, text: str) -> None:
    """Writes `text` to `path` through a temporary file and a rename.

    Raises:
        RunError: it cannot be written.
    """
    temporary = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open('w', encoding='utf-8', newline='\n') as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(f'{path}: cannot be written ({error.strerror}); free space or choose another folder.') from error
