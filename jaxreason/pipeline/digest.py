"""What a stage's results depend on, as one digest: its words, its file of problems, the digests of the stages that it reads.

A stage runs in a folder that bears its digest. So a stage that is finished is never run again, one that was changed begins in a
folder of its own, with all that depends on it, and what was there before stays.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.core.errors import DataError
from jaxreason.data.datasets import FILES, find_file
from jaxreason.pipeline.recipe import Recipe, resolved

_FORMAT = 2


def digests(recipe: Recipe) -> Mapping[str, str]:
    """SHA-256 (64 hex digits) of every stage, by name.

    Of a stage its verb, its configuration, the contents of the files that its `data` and `solutions` name, the recipe's
    environment and the package's version count; neither its name nor how it is divided, which change no result. Models and
    other folders from outside the recipe count by their names alone.

    Raises:
        DataError: a file of problems is there and cannot be read.
    """
    found: dict[str, str] = {}
    version = importlib.metadata.version('jaxreason')
    for name in recipe.order:
        stage = recipe.stages[name]
        words = [_FORMAT, version, recipe.environment, stage.verb, resolved(stage.config, found)]
        contents = (_contents(stage.config.get(key)) for key in ('data', 'solutions'))
        words += [each for each in contents if each is not None]
        text = json.dumps(words, sort_keys=True, separators=(',', ':'))
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _contents(data: Any) -> str | None:
    """Of the file of problems or solutions that a configuration names; None where it names none, or it is not there yet."""
    source = data.get('source') if isinstance(data, dict) else None
    if not isinstance(source, str):
        return None
    try:
        file = _file(source, data.get('split', 'test'), data.get('manual_dir'))
        if file is None:
            return None
        with file.open('rb') as opened:
            return hashlib.file_digest(opened, 'sha256').hexdigest()
    except OSError as error:
        raise DataError(f'{source[:200]}: its file cannot be read ({error.strerror}); mend that, or name another.') from None


def _file(source: str, split: Any, folder: Any) -> Path | None:
    if source in FILES:
        return find_file(source, split, Path(folder)) if isinstance(folder, str) and isinstance(split, str) else None
    return Path(source) if source.endswith('.jsonl') and Path(source).is_file() else None
