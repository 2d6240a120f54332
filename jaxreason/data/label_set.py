"""Labelled solutions as a TensorFlow data set, without TensorFlow: array_record files with random access, for training.

A set is one folder that is there whole or not at all, and says itself what is in it: `tfds.builder_from_directory(folder)`
reads it without this package, `read_labels` with it. Row order in the store is by hash; question id and sample carry the
identity.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.core.errors import DataError, RunError
from jaxreason.core.labels import LabelledSolution, solution_from

try:
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2
except ImportError as error:
    raise DataError(f'TFDS sets need tensorflow-datasets and importlib_resources ({error}); install both.') from error

SPLIT = 'train'  # the only one: who trains holds questions out
_TEXTS = ('question_id', 'question', 'gold', 'finish', 'answer', 'verdict')
_NUMBERS = ('seed', 'sample', 'own_flops')
_LISTS = ('tokens', 'step_ends', 'correct', 'rollouts', 'flops', 'new_tokens')
_TEXT_LISTS = ('steps', 'attempts')


class JaxreasonLabels(tfds.core.GeneratorBasedBuilder):
    """Sampled solutions, graded, with the earlier attempts that they were to improve, if any.

    Where a solution's steps are labelled, each has the share of its rollouts that ended with the right answer.
    """

    VERSION = tfds.core.Version('1.1.0')  # 1.0.0 had no attempts
    url_infos: dict = {}  # nothing is downloaded; looking for checksum files would need the package to lie in a folder

    def __init__(self, *, solutions: Sequence[LabelledSolution], **options: Any):
        self._solutions = solutions
        super().__init__(**options)

    def _info(self):
        features = {
            **{name: tfds.features.Text() for name in _TEXTS},
            **{name: np.int64 for name in _NUMBERS},
            **{name: tfds.features.Sequence(np.int64) for name in _LISTS},
            **{name: tfds.features.Sequence(tfds.features.Text()) for name in _TEXT_LISTS},
            'soft': tfds.features.Sequence(np.float32),
            'hard': tfds.features.Sequence(np.bool_),
            'is_correct': np.bool_,
            'attempts_correct': tfds.features.Sequence(np.bool_),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), description=self.__doc__)

    def _split_generators(self, dl_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for solution in self._solutions:
            row = {name: getattr(solution, name) for name in (*_TEXTS, *_NUMBERS, 'is_correct')}
            lists = (*_LISTS, *_TEXT_LISTS, 'soft', 'hard', 'attempts_correct')
            row |= {name: list(getattr(solution, name)) for name in lists}
            yield f'{solution.seed}/{solution.sample}/{solution.question_id}', row


def write_labels(folder: Path, solutions: Sequence[LabelledSolution]) -> None:
    """Writes a set, in place of one that stands there; the folder is there whole or, after a kill, not at all.

    Args:
        folder: becomes the set.
        solutions: at least one.

    Raises:
        DataError: there is no solution.
        RunError: it cannot be written.
    """
    if not solutions:
        raise DataError('no labelled solution is left to write: every sample was dropped; summary.json says for what reasons.')
    part = folder.with_name(f'.{folder.name}.part')
    try:
        shutil.rmtree(part, ignore_errors=True)
        builder = JaxreasonLabels(solutions=solutions, data_dir=os.fspath(part), file_format='array_record')
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):  # it would talk of downloads
            builder.download_and_prepare()
        made = Path(builder.data_dir)
        for path in made.glob('*.array_record-*'):
            _order_fields(path)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
        shutil.rmtree(part)
    except (OSError, RuntimeError) as error:  # the latter is how array_record says that it cannot write
        raise RunError(f'{folder}: cannot be written ({str(error)[:200]}); free space, rerun.') from error


def _order_fields(path: Path) -> None:
    """Writes the records of a file again, the fields of each in one order: as TFDS writes them it differs between processes."""
    reader = ArrayRecordReader(os.fspath(path))
    records = reader.read_all()
    reader.close()
    writer = ArrayRecordWriter(os.fspath(path), 'group_size:1')  # as TFDS does, for random access
    for record in records:
        writer.write(tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True))
    writer.close()


def read_labels(folder: str | Path) -> list[LabelledSolution]:
    """Reads a set, sorted by question id and sample.

    Args:
        folder: of the set, `labels/` in the run folder of `jaxreason label`.

    Raises:
        DataError: there is no such set, or it is damaged.
    """
    path = Path(folder)
    if not (path / 'dataset_info.json').is_file():
        raise DataError(f'{path}: no set of labels; name the folder labels/ that jaxreason label has written.')
    try:
        source = tfds.builder_from_directory(os.fspath(path)).as_data_source(split=SPLIT)
        found = [_solution(source[index]) for index in range(len(source))]
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise DataError(f'{path}: not a set of labels, or damaged ({str(error)[:200]}); make it again.') from error
    return sorted(found, key=lambda solution: (solution.question_id, solution.seed, solution.sample))


def _solution(row: dict[str, Any]) -> LabelledSolution:
    fields: dict[str, Any] = {name: row[name].decode() for name in _TEXTS}
    fields |= {name: int(row[name]) for name in _NUMBERS}
    fields |= {name: [int(number) for number in row[name]] for name in _LISTS}
    fields |= {name: [text.decode() for text in row.get(name, ())] for name in _TEXT_LISTS}
    fields['attempts_correct'] = [bool(value) for value in row.get('attempts_correct', ())]  # older sets have no attempts
    return solution_from(fields)
