"""A set of labels holds what was written, reads without this package's builder, and is the same bytes each time."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxreason.core.errors import DataError
from jaxreason.core.labels import LabelledSolution
from jaxreason.data import label_set
from jaxreason.data.label_set import read_labels, write_labels

ONE = LabelledSolution(
    question_id='a/é',
    question='2 + 2 = ?\n',
    gold='4',
    seed=2**32 - 1,
    sample=0,
    steps=('two and two\n', 'The answer is 4.'),
    tokens=(5, 6, 7, 2),
    step_ends=(2, 4),
    finish='stop',
    answer='4',
    verdict='correct',
    correct=(1, 1),
    rollouts=(3, 1),
    flops=(10**15, 0),
    new_tokens=(12, 0),
    own_flops=10**14,
)
REVISED = dataclasses.replace(  # its steps have no labels, but attempts stand before it
    ONE,
    question_id='revised',
    correct=(),
    rollouts=(),
    flops=(),
    new_tokens=(),
    attempts=('dos y dos\nson 5', '¿qué?'),
    attempts_correct=(False, True),
)
ALL = [dataclasses.replace(ONE, question_id=f'q{n // 4}', sample=n % 4, steps=('s', f'{n}\n')) for n in range(40)] + [
    ONE,
    REVISED,
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('set') / 'labels'
    write_labels(path, ALL)
    return path


def files(folder: Path):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_was_written_comes_back_sorted(folder):
    assert read_labels(folder) == sorted(ALL, key=lambda s: (s.question_id, s.sample))
    assert 'tensorflow' not in sys.modules


def test_others_read_it_without_our_builder(folder):
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(folder).as_data_source()['train']
    rows = {(row['question_id'].decode(), int(row['sample'])): row for row in source}
    assert len(rows) == len(ALL)
    row = rows['a/é', 0]
    assert [type(soft) for soft in row['soft']] == [np.float32] * 2 and row['soft'] == pytest.approx([1 / 3, 1.0])
    assert list(row['hard']) == [True, True] and bool(row['is_correct'])
    assert [step.decode() for step in row['steps']] == list(ONE.steps) and list(row['flops']) == [10**15, 0]


def test_others_find_the_attempts_too(folder):
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(folder).as_data_source()['train']
    row = next(row for row in source if row['question_id'] == b'revised')
    assert [text.decode() for text in row['attempts']] == list(REVISED.attempts)
    assert list(row['attempts_correct']) == [False, True] and len(row['soft']) == len(row['hard']) == 0


class FirstVersion(label_set.JaxreasonLabels):
    """Sets as they were before there were attempts."""

    VERSION = label_set.tfds.core.Version('1.0.0')

    def _info(self):
        now = super()._info()
        kept = {name: feature for name, feature in now.features.items() if not name.startswith('attempts')}
        return type(now)(builder=self, features=type(now.features)(kept), description='')

    def _generate_examples(self):
        for key, row in super()._generate_examples():
            yield key, {name: value for name, value in row.items() if not name.startswith('attempts')}


def test_sets_of_the_first_version_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(label_set, 'JaxreasonLabels', FirstVersion)
    write_labels(tmp_path / 'labels', ALL[:4])
    assert 'attempts' not in (tmp_path / 'labels' / 'features.json').read_text()
    assert '1.0.0' in (tmp_path / 'labels' / 'dataset_info.json').read_text()
    assert read_labels(tmp_path / 'labels') == ALL[:4]


def test_the_same_solutions_are_the_same_bytes_and_replace_what_was_there(folder, tmp_path):
    again = tmp_path / 'labels'
    write_labels(again, ALL[:3])
    write_labels(again, ALL)
    assert files(again) == files(folder) and [path.name for path in tmp_path.iterdir()] == ['labels']


def test_another_process_writes_the_same_bytes(folder, tmp_path):
    code = f"""
from pathlib import Path
from jaxreason.data.label_set import read_labels, write_labels
write_labels(Path({str(tmp_path / 'labels')!r}), read_labels({str(folder)!r}))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert files(tmp_path / 'labels') == files(folder)
    assert done.stdout == ''


def test_what_cannot_be_written_or_read(folder, tmp_path):
    with pytest.raises(DataError, match='every sample was dropped'):
        write_labels(tmp_path / 'labels', [])
    with pytest.raises(DataError, match='no set of labels'):
        read_labels(tmp_path)
    write_labels(tmp_path / 'labels', ALL)
    (data,) = (path for path in (tmp_path / 'labels').iterdir() if 'array_record' in path.name)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(DataError, match='damaged'):
        read_labels(tmp_path / 'labels')
