"""Problem sets as TensorFlow Datasets, without TensorFlow: array_record files with random access, for large sets and grain.

Builders read the same JSON Lines files as `datasets.py`, from a manual directory, and give every problem the same id. Names
begin with `jaxreason_`, since builder names are global. Row order in the store is by hash; the ids carry the identity.
"""

import os
import re
from pathlib import Path

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.types import Problem
from jaxreason.data.datasets import find_file, read_problems

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise DataError(f'TFDS sets need tensorflow-datasets and importlib_resources ({error}); install both.') from error

SPLITS = ('train', 'validation', 'test')


class _Problems(tfds.core.GeneratorBasedBuilder):
    """One example a problem; every field is text."""

    VERSION = tfds.core.Version('1.0.0')
    url_infos: dict = {}  # nothing is downloaded; looking for checksum files would need the package to lie in a folder
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'Put the JSON Lines files of the set into the manual directory.'

    def _info(self):
        text = {name: tfds.features.Text() for name in ('id', 'text', 'answer', 'level', 'subject')}
        steps = tfds.features.Sequence(tfds.features.Text())
        features = tfds.features.FeaturesDict({**text, 'steps': steps})
        return tfds.core.DatasetInfo(builder=self, features=features, description=self.__doc__)

    def _split_generators(self, dl_manager):
        folder = Path(dl_manager.manual_dir)
        files = self._files(folder)
        if not files:
            raise DataError(f'{self.name}: found no file of the set in {folder}; put the JSON Lines files there.')
        return {split: self._generate_examples(*file) for split, file in files.items()}

    def _generate_examples(self, path: Path, prefix: str):
        for problem in read_problems(path, prefix, self._fields()):
            yield problem.id, vars(problem) | {'steps': list(problem.steps)}

    def _files(self, folder: Path) -> dict[str, tuple[Path, str]]:
        """For each split its file and the prefix of its ids."""
        name = self.name.removeprefix('jaxreason_')
        found = {split: (find_file(name, split, folder), f'{name}-{split}') for split in SPLITS}
        return {split: (path, prefix) for split, (path, prefix) in found.items() if path is not None}

    def _fields(self) -> dict[str, str] | None:
        return None


class JaxreasonGsm8k(_Problems):
    """GSM8K: grade-school word problems with worked solutions."""


class JaxreasonMath(_Problems):
    """MATH: competition problems with worked solutions."""


class JaxreasonJsonl(_Problems):
    """Any JSON Lines file, one split for each file in the manual directory, named as the file is."""

    def __init__(self, *, fields: dict[str, str] | None = None, **options):
        self._field_names = fields
        super().__init__(**options)

    def _files(self, folder: Path) -> dict[str, tuple[Path, str]]:
        files = sorted(folder.glob('*.jsonl'))
        return {re.sub(r'\W', '_', path.stem): (path, path.stem) for path in files}

    def _fields(self) -> dict[str, str] | None:
        return self._field_names


BUILDERS = {'gsm8k': JaxreasonGsm8k, 'math': JaxreasonMath, 'jsonl': JaxreasonJsonl}


def prepare(name: str, *, manual_dir: str | Path, data_dir: str | Path, fields: dict[str, str] | None = None) -> list[str]:
    """Writes a problem set to `data_dir` as array_record; does nothing if it is there.

    Args:
        name: `gsm8k`, `math` or `jsonl`.
        manual_dir: folder with the JSON Lines files.
        data_dir: where prepared sets are kept.
        fields: for `jsonl`, our field names to the files'.

    Returns:
        Names of the splits.

    Raises:
        ConfigError: unknown name, or `fields` for a set that has its own.
        DataError: a file is missing or damaged.
    """
    builder = _builder(name, data_dir, fields)
    config = tfds.download.DownloadConfig(manual_dir=os.fspath(manual_dir))
    builder.download_and_prepare(download_config=config)
    return sorted(builder.info.splits)


def read_prepared(name: str, split: str, data_dir: str | Path | None) -> list[Problem]:
    """Reads a set that `prepare` has written, sorted by id.

    Args:
        name: `gsm8k`, `math` or `jsonl`.
        split: a split, or a part of one such as `test[:10%]`.
        data_dir: where it was written.

    Raises:
        ConfigError: no `data_dir`, an unknown name or split.
        DataError: the set was not prepared.
    """
    if data_dir is None:
        raise ConfigError('data_dir must name the folder of prepared sets for a tfds: source, got none.')
    builder = _builder(name, data_dir, None)
    if not builder.is_prepared():
        raise DataError(f'tfds:{name}: not prepared in {data_dir}; call prepare({name!r}, manual_dir=..., data_dir=...) first.')
    if split.split('[')[0] not in builder.info.splits:
        raise ConfigError(f'split must be one of {", ".join(sorted(builder.info.splits))}, got {split!r}.')
    source = builder.as_data_source(split=split)
    return sorted((_problem(source[index]) for index in range(len(source))), key=lambda problem: problem.id)


def _builder(name: str, data_dir: str | Path, fields: dict[str, str] | None):
    if name not in BUILDERS:
        raise ConfigError(f'TFDS set must be one of {", ".join(BUILDERS)}, got {name!r}.')
    if fields is not None and name != 'jsonl':
        raise ConfigError(f'fields must be left out for {name}, whose format is known.')
    options = {'fields': fields} if name == 'jsonl' else {}
    return BUILDERS[name](data_dir=os.fspath(data_dir), file_format='array_record', **options)


def _problem(row: dict) -> Problem:
    texts = {key: row[key].decode() for key in ('id', 'text', 'answer', 'level', 'subject')}
    return Problem(**texts, steps=tuple(step.decode() for step in row['steps']))
