"""Which checkpoints of a training run are whole.

A run folder holds `checkpoints/<step>/`, each with

    manifest.json   size and SHA-256 of every other file; written last, so what has none is not a checkpoint
    model.json      architecture, end tokens
    tokenizer/      files of a Hugging Face tokenizer, if the model has one
    arrays/params/  the parameters, float32, layers stacked, as Orbax writes them; of a verifier also its head
    verifier.yaml   of a verifier: what it is
    arrays/...      what only training needs
    data.json       where the run stood in its data

Where training keeps the best checkpoint and not the last, `best.json` beside them names it, and it is the one to load.

Orbax alone restores damaged numbers without a word and takes an empty folder for the newest step. Here every byte is compared
with the manifest before anything is used; what is not whole is passed over with a warning, or refused if it was asked for.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from jaxreason.core.errors import WeightsError
from jaxreason.core.files import write_whole

FORMAT = 'jaxreason checkpoint 1'
STEPS, MANIFEST, MODEL, TOKENIZER, ARRAYS, PARAMS, DATA = (
    'checkpoints',
    'manifest.json',
    'model.json',
    'tokenizer',
    'arrays',
    'params',
    'data.json',
)
BEST = 'best.json'
MAX_MANIFEST_BYTES = 64 << 20
HEAD = 'verifier_head'  # where a verifier's head is among the parameters
SCRATCH = '~'  # ends the names of folders that are being written or removed


class CheckpointWarning(UserWarning):
    """A checkpoint was passed over."""


def warn(line: str) -> None:
    """Says so where nobody else is listening."""
    warnings.warn(line, CheckpointWarning, stacklevel=3)


def is_run(path: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (path / STEPS).is_dir() and not (path / 'config.json').exists()


def is_step(path: Path) -> bool:
    """Whether a folder is, or should be, one checkpoint of a training run."""
    return (path / MANIFEST).is_file() or (path.parent.name == STEPS and not (path / 'config.json').exists())


def steps_of(run: Path, say: Callable[[str], None] = warn) -> list[tuple[int, Path]]:
    """The folders in a run that are named as checkpoints, newest first; nothing in them was read.

    Args:
        run: folder of the run.
        say: told of what is something else.
    """
    found = []
    for path in sorted((run / STEPS).iterdir()) if (run / STEPS).is_dir() else []:
        if path.name.isascii() and path.name.isdigit() and path.is_dir() and not path.is_symlink():
            found.append((int(path.name), path))
        elif not path.name.endswith(SCRATCH):
            say(f'{path}: passed over: not a checkpoint.')
    return sorted(found, reverse=True)


def newest_step(run: Path, say: Callable[[str], None] = warn) -> Path | None:
    """The newest checkpoint that is whole, every byte of it compared.

    Args:
        run: folder of the run.
        say: told of those that were passed over, and why.
    """
    for number, path in steps_of(run, say):
        try:
            if verify_step(path) != number:
                raise WeightsError(f'{path}: is the checkpoint of another step.')
        except WeightsError as error:
            say(f'passed over: {error}')
            continue
        return path
    return None


def best_step(run: Path) -> int | None:
    """The step that `best.json` names; None where there is no such file, or a damaged one."""
    try:
        step = json.loads((run / BEST).read_bytes())['step']
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int else None


def chosen_step(run: Path, say: Callable[[str], None] = warn) -> Path | None:
    """The checkpoint to load: the best, where the run has named one that is whole, else the newest that is whole.

    Args:
        run: folder of the run.
        say: told of those that were passed over, and why.
    """
    best = best_step(run)
    if best is not None:
        path = run / STEPS / str(best)
        try:
            if verify_step(path) != best:
                raise WeightsError(f'{path}: is the checkpoint of another step.')
            return path
        except WeightsError as error:
            say(f'passed over, though the best: {error}')
    return newest_step(run, say)


def verify_step(path: Path) -> int:
    """Compares every byte of a checkpoint with its manifest.

    Returns:
        Its step.

    Raises:
        WeightsError: a file is missing, damaged or not of it; the message names it.
    """
    step, expected = read_manifest(path)
    found = files_of(path)
    odd = min(set(expected) ^ set(found), default=None)
    if odd is not None:
        problem = 'missing' if odd in expected else 'not part of this checkpoint'
        raise WeightsError(f'{path / odd}: {problem}; {_REMEDY}')
    for name, (size, digest) in expected.items():
        try:
            if found[name].stat().st_size != size:
                raise WeightsError(f'{found[name]}: expected {size:,} bytes, found {found[name].stat().st_size:,}; {_REMEDY}')
            if _digest(found[name]) != digest:
                raise WeightsError(f'{found[name]}: damaged, its SHA-256 is not the one of the manifest; {_REMEDY}')
        except OSError as error:
            raise WeightsError(f'{found[name]}: cannot be read: {error.strerror or error}; {_REMEDY}') from error
    return step


_REMEDY = 'use another step of the run.'


def read_manifest(path: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    """Reads the manifest of a checkpoint: its step, and size and SHA-256 of every file.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    source = path / MANIFEST
    if not source.is_file():
        raise WeightsError(f'{path}: no checkpoint, or not wholly written: it has no {MANIFEST}; {_REMEDY}')
    try:
        if source.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError('too large')
        content = json.loads(source.read_bytes())
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in content['files'].items()}
        kind, step = content['format'], content['step']
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f'{source}: damaged ({" ".join(str(error).split())[:80]}); {_REMEDY}') from error
    if kind != FORMAT or type(step) is not int or step < 0:
        raise WeightsError(f'{source}: expected {FORMAT!r} and a step, got {str(kind)[:40]!r}, {str(step)[:20]}; {_REMEDY}')
    return step, files


def write_manifest(path: Path, step: int) -> None:
    """Writes the manifest of a checkpoint whose files are all there, and has everything reach the disk.

    Raises:
        OSError: a file cannot be read.
        RunError: the manifest cannot be written.
    """
    files = {}
    for name, file in sorted(files_of(path).items()):
        files[name] = (file.stat().st_size, _digest(file))
        sync(file)
    text = json.dumps({'format': FORMAT, 'step': step, 'files': files}, indent=1, sort_keys=True) + '\n'
    write_whole(path / MANIFEST, text)
    for folder in {file.parent for file in files_of(path).values()} | {path}:
        sync(folder)


def sync(path: Path) -> None:
    """Has a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files_of(path: Path) -> dict[str, Path]:
    """Every file below a checkpoint but its manifest, by its name relative to it. Links are followed nowhere."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            found[file.relative_to(path).as_posix()] = file
    found.pop(MANIFEST, None)
    return found


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
