"""Problem sets by name and path: formats, ids, order, and rows that lack something."""

import dataclasses
import json
from pathlib import Path

import pytest

from jaxreason.core import config
from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.types import Problem
from jaxreason.data.datasets import DataSpec, load_problems

SHARED = Path(__file__).parents[3] / 'shared' / 'data'
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason='needs ../shared/data')


def write(folder: Path, name: str, *rows: dict) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
    return path


GSM8K: dict = {
    'question': 'How many?',
    'answer': 'He has 1,000*2=<<1000*2=2000>>2,000 now.\n\nThen he has 2,000-1=$<<2000-1=1999>>1,999.\n#### 1,999',
}
MATH: dict = {
    'problem': 'Find $x$.',
    'solution': 'Not $\\boxed{1}$.\nIt is $\\boxed{\\frac{1}{2}}$.',
    'level': 'Level 3',
    'type': 'Algebra',
    'idx': 7,
}


def test_a_gsm8k_row(tmp_path):
    write(tmp_path, 'gsm8k_test.jsonl', GSM8K, GSM8K)
    first, second = load_problems('gsm8k', manual_dir=str(tmp_path))
    assert first == Problem(
        id='gsm8k-test-00000',
        text='How many?',
        answer='1999',
        steps=('He has 1,000*2=2,000 now.', 'Then he has 2,000-1=$1,999.'),
    )
    assert second.id == 'gsm8k-test-00001'


def test_a_math_row(tmp_path):
    path = write(
        tmp_path, 'rows.jsonl', MATH, MATH | {'idx': 8, 'answer': '0.5', 'unique_id': 'test/a/1.json', 'subject': 'Geometry'}
    )
    first, second = load_problems(str(path))
    assert first == Problem(
        id='7',
        text='Find $x$.',
        answer='\\frac{1}{2}',
        steps=('Not $\\boxed{1}$.', 'It is $\\boxed{\\frac{1}{2}}$.'),
        level='3',
        subject='Algebra',
    )
    assert (second.id, second.answer, second.subject) == ('test/a/1.json', '0.5', 'Geometry')


def test_fields_of_other_names(tmp_path):
    path = write(tmp_path, 'mine.jsonl', {'q': 'Q?', 'a': 5, 'key': 'x/../y', 'work': 'one\ntwo', 'topic': 't', 'grade': 2})
    names = {'question': 'q', 'answer': 'a', 'id': 'key', 'solution': 'work', 'subject': 'topic', 'level': 'grade'}
    assert load_problems(str(path), fields=names) == [
        Problem(id='x/../y', text='Q?', answer='5', steps=('one', 'two'), subject='t', level='2')
    ]
    plain = load_problems(str(path), fields={'question': 'q', 'answer': 'a'})
    assert plain == [Problem(id='mine-00000', text='Q?', answer='5')]


def test_fields_of_our_names_need_not_be_told(tmp_path):
    path = write(tmp_path, 'mine.jsonl', {'question': 'Q?', 'answer': '5', 'id': 'a'})
    assert load_problems(str(path)) == [Problem(id='a', text='Q?', answer='5')]


def test_files_are_found_by_split(tmp_path):
    write(tmp_path, 'gsm8k_train.jsonl', GSM8K)
    write(tmp_path, 'math/test.jsonl', MATH)
    write(tmp_path, 'math500.jsonl', MATH)
    assert load_problems('gsm8k', split='train', manual_dir=str(tmp_path))[0].id == 'gsm8k-train-00000'
    assert load_problems('math', manual_dir=str(tmp_path))[0].answer == '\\frac{1}{2}'
    assert load_problems('math500', manual_dir=str(tmp_path))
    with pytest.raises(DataError, match='gsm8k_test.jsonl or gsm8k/test.jsonl'):
        load_problems('gsm8k', manual_dir=str(tmp_path))
    with pytest.raises(DataError, match='manual_dir'):
        load_problems('gsm8k')


def test_order_limit_and_offset():
    everything = load_problems('basic')
    assert load_problems('basic', offset=5, limit=3) == everything[5:8]
    shuffled = load_problems('basic', shuffle=True, seed=1)
    assert shuffled != everything and sorted(shuffled, key=lambda problem: problem.id) == everything
    assert shuffled == load_problems(DataSpec(shuffle=True, seed=1)) != load_problems('basic', shuffle=True, seed=2)
    assert load_problems('basic', shuffle=True, seed=1, offset=100) == shuffled[100:]
    with pytest.raises(DataError, match='offset is 1000'):
        load_problems('basic', offset=1000)


def test_a_shuffled_subset_keeps_its_order(tmp_path):
    rows = [{'question': f'{n}?', 'answer': n, 'id': f'id{n}'} for n in range(30)]
    whole = load_problems(str(write(tmp_path, 'a.jsonl', *rows)), shuffle=True, seed=3)
    half = load_problems(str(write(tmp_path, 'b.jsonl', *rows[::2])), shuffle=True, seed=3)
    assert half == [problem for problem in whole if int(problem.answer) % 2 == 0]


DAMAGED: dict[str, tuple[dict, str]] = {
    'no question': ({'answer': '#### 1'}, 'cannot tell question and answer among answer'),
    'strange names': ({'x': 1, 'y': 2}, 'among x, y; name them with fields='),
    'question is empty': (GSM8K | {'question': ' '}, 'question is'),
    'question is a list': (GSM8K | {'question': ['a']}, 'question is'),
    'question is true': (GSM8K | {'question': True}, "question is 'True'"),
    'no answer after hashes': (GSM8K | {'answer': 'text\n####  '}, 'has no "#### N"'),
    'no box': (MATH | {'solution': 'So it is 5.'}, 'neither an answer nor'),
    'open box': (MATH | {'solution': 'So \\boxed{5'}, 'neither an answer nor'),
    'id is a list': (MATH | {'idx': [1]}, 'idx is'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_row_that_lacks_something_is_named(tmp_path, name):
    row, message = DAMAGED[name]
    path = write(tmp_path, 'rows.jsonl', row)
    with pytest.raises(DataError, match=message) as caught:
        load_problems(str(path))
    assert f'{path}, line 1' in str(caught.value) and '\n' not in str(caught.value)


def test_a_later_row_of_another_kind_is_named(tmp_path):
    path = write(tmp_path, 'rows.jsonl', GSM8K, MATH)
    with pytest.raises(DataError, match='line 2: answer is missing'):
        load_problems(str(path))


def test_ids_must_differ(tmp_path):
    path = write(tmp_path, 'rows.jsonl', MATH, MATH | {'idx': 8}, MATH)
    with pytest.raises(DataError, match="line 3: id '7' is that of line 1"):
        load_problems(str(path))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'source': 'gms8k'}, 'source must be basic'),
        ({'source': 'procedural:word:2'}, 'limit must be set'),
        ({'source': 'procedural:words:2', 'limit': 1}, 'kind is'),
        ({'source': 'procedural:word', 'limit': 1}, 'KIND:DIFFICULTY'),
        ({'source': 'procedural:word:3-2', 'limit': 1}, 'KIND:DIFFICULTY'),
        ({'source': 'procedural:word:0', 'limit': 1}, 'difficulty is 0'),
        ({'offset': -1}, 'offset must'),
        ({'limit': 0}, 'limit must'),
        ({'fields': {'question': 'q', 'answer': 'a'}}, 'fields must be left out'),
        ({'source': 'a.jsonl', 'fields': {'question': 'q'}}, 'fields must name question, answer'),
        ({'source': 'a.jsonl', 'fields': {'question': 'q', 'answer': 'a', 'hint': 'h'}}, 'fields must name'),
        ({'source': 'tfds:gsm8k'}, 'data_dir must name'),
        ({'source': 'math500', 'split': 'train'}, "split must be test for math500, which has no other, got 'train'"),
        ({'split': 'train'}, "split must be left out: basic does not use it, got 'train'"),
        ({'manual_dir': 'sets'}, 'manual_dir must be left out: basic'),
        ({'data_dir': 'sets'}, 'data_dir must be left out: basic'),
        ({'source': 'a.jsonl', 'split': 'train'}, 'split must be left out: a.jsonl'),
        ({'source': 'a.jsonl', 'manual_dir': 'sets'}, 'manual_dir must be left out: a.jsonl'),
        ({'source': 'a.jsonl', 'data_dir': 'sets'}, 'data_dir must be left out: a.jsonl'),
        ({'source': 'gsm8k', 'data_dir': 'sets'}, 'data_dir must be left out: gsm8k'),
        ({'source': 'math500', 'data_dir': 'sets'}, 'data_dir must be left out: math500'),
        ({'source': 'procedural:word:1', 'limit': 1, 'manual_dir': 'sets'}, 'manual_dir must be left out: procedural'),
        ({'source': 'procedural:word:1', 'limit': 1, 'data_dir': 'sets'}, 'data_dir must be left out: procedural'),
        ({'source': 'tfds:gsm8k', 'data_dir': 'sets', 'manual_dir': 'sets'}, 'manual_dir must be left out: tfds:gsm8k'),
    ],
)
def test_impossible_requests_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        load_problems(DataSpec(**options))


def test_a_request_survives_its_configuration_file(tmp_path):
    spec = DataSpec(source='a.jsonl', fields={'question': 'q', 'answer': 'a'}, limit=3, shuffle=True)
    path = tmp_path / 'data.yaml'
    path.write_text(config.dump(spec), encoding='utf-8')
    assert config.load(DataSpec, path) == spec


def test_generated_problems_by_name():
    problems = load_problems('procedural:chain:1-3', limit=7, seed=4)
    assert [problem.level for problem in problems] == ['1', '2', '3', '1', '2', '3', '1']
    assert load_problems('procedural:chain:1-3', limit=2, offset=5, seed=4) == problems[5:]
    train = load_problems('procedural:chain:1-3', limit=7, seed=4, split='train')
    assert {p.id for p in train}.isdisjoint(p.id for p in problems) and [p.text for p in train] != [p.text for p in problems]


@needs_shared
@pytest.mark.parametrize(
    'source, split, count, first',
    [
        ('gsm8k', 'train', 7473, '72'),
        ('gsm8k', 'test', 1319, '18'),
        ('math500', 'test', 500, '\\left( 3, \\frac{\\pi}{2} \\right)'),
    ],
)
def test_the_real_sets(source, split, count, first):
    problems = load_problems(source, split=split, manual_dir=str(SHARED))
    assert len(problems) == len({problem.id for problem in problems}) == count
    assert problems[0].answer == first
    assert all(problem.steps and '<<' not in ''.join(problem.steps) for problem in problems)


@needs_shared
def test_the_boxed_answers_of_math500_are_those_in_its_solutions(tmp_path):
    rows = [json.loads(line) for line in (SHARED / 'math500.jsonl').read_text(encoding='utf-8').splitlines()]
    path = write(tmp_path, 'bare.jsonl', *({key: row[key] for key in row if key != 'answer'} for row in rows))
    given = [problem.answer.replace(' ', '') for problem in load_problems('math500', manual_dir=str(SHARED))]
    assert [problem.answer.replace(' ', '') for problem in load_problems(str(path))] == given


@needs_shared
def test_all_of_math_is_read():
    problems = load_problems(str(SHARED / 'math_minus500.jsonl'))
    assert len(problems) == 4500 and {problem.level for problem in problems} >= {'1', '2', '3', '4', '5'}
    assert dataclasses.replace(problems[0], id='') != dataclasses.replace(problems[1], id='')


def test_short_problems_are_chosen_and_not_changed(tmp_path):
    write(tmp_path, 'gsm8k_test.jsonl', GSM8K | {'question': 'x' * 21}, GSM8K | {'question': 'x' * 20}, GSM8K)
    found = load_problems('gsm8k', manual_dir=str(tmp_path), max_characters=20)
    assert found == load_problems('gsm8k', manual_dir=str(tmp_path))[1:]
    with pytest.raises(DataError, match='0 problems of at most 5 characters'):
        load_problems('gsm8k', manual_dir=str(tmp_path), max_characters=5)
    with pytest.raises(ConfigError, match='max_characters must be at least 1'):
        load_problems('basic', max_characters=0)
    with pytest.raises(ConfigError, match='max_characters must be left out'):
        load_problems('procedural:word:1', max_characters=9, limit=3)


def test_levels_choose_problems_and_change_none():
    every = load_problems('basic')
    easy = load_problems('basic', levels=('1', '2'))
    assert easy == [problem for problem in every if problem.level in ('1', '2')] and 0 < len(easy) < len(every)
    with pytest.raises(DataError, match='0 problems of levels 9'):
        load_problems('basic', levels=('9',))
    with pytest.raises(ConfigError, match='levels must be left out'):
        load_problems('procedural:word:1', levels=('1',), limit=3)
