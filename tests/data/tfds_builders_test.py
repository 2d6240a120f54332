"""Prepared sets hold what the JSON Lines files hold, under the same ids."""

import json
import sys

import pytest

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.data.datasets import load_problems
from jaxreason.data.tfds_builders import prepare, read_prepared


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('manual')
    for split, count in (('train', 12), ('test', 5)):
        rows = [{'question': f'{split} {n} é?', 'answer': f'one\n<<1>>two\n#### {n}'} for n in range(count)]
        (folder / f'gsm8k_{split}.jsonl').write_text('\n'.join(map(json.dumps, rows)), encoding='utf-8')
    row = {'problem': 'p', 'solution': 'so $\\boxed{3}$', 'level': 'Level 2', 'type': 'Algebra'}
    (folder / 'math_test.jsonl').write_text(json.dumps(row), encoding='utf-8')
    return folder


@pytest.mark.parametrize('name, splits', [('gsm8k', ['test', 'train']), ('math', ['test'])])
def test_a_prepared_set_equals_its_files(folder, tmp_path, name, splits):
    assert prepare(name, manual_dir=folder, data_dir=tmp_path) == splits
    for split in splits:
        problems = load_problems(f'tfds:{name}', split=split, data_dir=str(tmp_path))
        assert problems == load_problems(name, split=split, manual_dir=str(folder))
    assert prepare(name, manual_dir=tmp_path / 'absent', data_dir=tmp_path) == splits  # it is there already
    assert 'tensorflow' not in sys.modules


def test_part_of_a_split(folder, tmp_path):
    prepare('gsm8k', manual_dir=folder, data_dir=tmp_path)
    whole = {problem.id for problem in read_prepared('gsm8k', 'train', tmp_path)}
    parts = [{problem.id for problem in read_prepared('gsm8k', part, tmp_path)} for part in ('train[:50%]', 'train[50%:]')]
    assert len(whole) == 12 and parts[0] | parts[1] == whole and not parts[0] & parts[1]


def test_any_file_with_named_fields(tmp_path):
    manual = tmp_path / 'manual'
    manual.mkdir()
    (manual / 'my-set.jsonl').write_text('{"q": "Q?", "a": 5, "key": "x/y"}', encoding='utf-8')
    fields = {'question': 'q', 'answer': 'a', 'id': 'key'}
    assert prepare('jsonl', manual_dir=manual, data_dir=tmp_path, fields=fields) == ['my_set']
    assert read_prepared('jsonl', 'my_set', tmp_path) == load_problems(str(manual / 'my-set.jsonl'), fields=fields)


def test_what_cannot_be_prepared_or_read(folder, tmp_path):
    with pytest.raises(ConfigError, match='must be one of gsm8k'):
        prepare('gsm9k', manual_dir=folder, data_dir=tmp_path)
    with pytest.raises(ConfigError, match='fields must be left out'):
        prepare('math', manual_dir=folder, data_dir=tmp_path, fields={'question': 'q', 'answer': 'a'})
    with pytest.raises(DataError, match='found no file'):
        prepare('math', manual_dir=tmp_path, data_dir=tmp_path)
    with pytest.raises(DataError, match='not prepared'):
        read_prepared('math', 'test', tmp_path)
    prepare('gsm8k', manual_dir=folder, data_dir=tmp_path)
    with pytest.raises(ConfigError, match='split must be one of test, train'):
        read_prepared('gsm8k', 'dev', tmp_path)
    damaged = tmp_path / 'damaged'
    damaged.mkdir()
    (damaged / 'math_test.jsonl').write_text('{"problem": ', encoding='utf-8')
    with pytest.raises(DataError, match='line 1: not a whole'):
        prepare('math', manual_dir=damaged, data_dir=tmp_path)
