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

    Of a stage its verb, its configuration, the contents of the file that its `data` names, the recipe's environment and the
    package's version count; neither its name nor how it is divided, which change no result. Models and other folders from
    outside the recipe count by their names alone.

    Raises:
        DataError: a file of problems is there and cannot be read.
    """
    found: dict[str, str] = {}
    version = importlib.metadata.version('jaxreason')
    for name in recipe.order:
        stage = recipe.stages[name]
        words = [_FORMAT, version, recipe.environment, stage.verb, resolved(stage.config, found)]
        file = _file(stage.config.get('data'))
        if file is not None:
            words.append(_contents(file))
        text = json.dumps(words, sort_keys=True, separators=(',', ':'))
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _file(data: Any) -> Path | None:
    """The file of problems or worked examples that a configuration names; None where it names none, or it is not there yet."""
    source = data.get('source') if isinstance(data, dict) else None
    if not isinstance(source, str):
        return None
    if source in FILES:
        folder, split = data.get('manual_dir'), data.get('split', 'test')
        return find_file(source, split, Path(folder)) if isinstance(folder, str) and isinstance(split, str) else None
    return Path(source) if source.endswith('.jsonl') and Path(source).is_file() else None


def _contents(file: Path) -> str:
    try:
        with file.open('rb') as opened:
            return hashlib.file_digest(opened, 'sha256').hexdigest()
    except OSError as error:
        raise DataError(f'{file}: cannot be read ({error.strerror}).') from None
