"""Solutions with a first wrong step: two formats, steps that give the text back, and rows that contradict themselves."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.errors import ConfigError, DataError
from jaxreason.data.step_labelled import SolutionSpec, cut, load_solutions

CHAMP_FILE = Path(__file__).parents[3] / 'shared' / 'data' / 'champ_first_wrong_step.jsonl'
TEXT = 'Let x = 2.\n\nThen\nx + 1 = 4.\n\nSo 4.'
CHAMP: dict = {
    'id': 'P_1',
    'problem': 'What is x + 1?',
    'model': 'M',
    'setting': 'M|plain',
    'solution': TEXT,
    'first_wrong_start': TEXT.index('x + 1'),
    'first_wrong_end': TEXT.index('So'),
}
BENCH: dict = {'id': 'a-0', 'problem': 'What is x + 1?', 'steps': ['Let x = 2.', 'Then 4.', 'So 4.'], 'label': 1}


def load(folder, rows, **fields):
    path = folder / 'solutions.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
    return load_solutions(SolutionSpec(source=str(path), **fields))


def test_a_champ_row(tmp_path):
    rows = [CHAMP, CHAMP | {'setting': None, 'model': 'N', 'first_wrong_start': None, 'first_wrong_end': None}]
    first, second = load(tmp_path, rows, format='champ')
    assert first.steps == ('Let x = 2.\n\n', 'Then\nx + 1 = 4.\n\n', 'So 4.')
    assert (first.id, first.group, first.first_wrong) == ('P_1/M|plain', 'M|plain', 1)
    assert (second.id, second.group, second.first_wrong) == ('P_1/N', 'N', None)
    assert first.question_id == second.question_id and first.question == 'What is x + 1?'


def test_a_processbench_row(tmp_path):
    rows = [BENCH, BENCH | {'id': 'a-1', 'label': -1, 'generator': 'G', 'final_answer_correct': True, 'problem': 'Another?'}]
    first, second = load(tmp_path, rows, format='processbench')
    assert first.steps == ('Let x = 2.\n\n', 'Then 4.\n\n', 'So 4.')
    assert (first.id, first.group, first.first_wrong) == ('a-0', '', 1)
    assert (second.id, second.group, second.first_wrong) == ('a-1', 'G', None)
    assert first.question_id != second.question_id
    (joined,) = load(tmp_path, [BENCH], format='processbench', delimiter='\n')
    assert ''.join(joined.steps) == 'Let x = 2.\nThen 4.\nSo 4.'


@pytest.mark.parametrize(
    ('text', 'steps'),
    [
        ('one.\ntwo.', ('one.\n', 'two.')),  # no blank line: line by line
        ('one. two.', ('one. two.',)),
        ('one.\n\n\n\ntwo.\n\n', ('one.\n\n\n\n', 'two.\n\n')),
        ('\n\n \n\none.\n\ntwo.', ('\n\n \n\none.\n\n', 'two.')),
        ('one.\n\ntwo.\nthree.', ('one.\n\n', 'two.\nthree.')),
        ('Übung.\n\n√2.', ('Übung.\n\n', '√2.')),
    ],
)
def test_steps(text, steps):
    assert cut(text, '\n\n') == steps


@given(st.text(alphabet='a\n é', max_size=30).filter(str.strip))
def test_joined_steps_are_the_text_and_none_is_blank(text):
    steps = cut(text, '\n\n')
    assert ''.join(steps) == text and all(step.strip() for step in steps)


def test_the_first_wrong_step_is_the_one_that_holds_the_place(tmp_path):
    ends = [TEXT.index('Then'), TEXT.index('So'), len(TEXT)]
    rows = [CHAMP | {'id': str(place), 'first_wrong_start': place, 'first_wrong_end': len(TEXT)} for place in range(len(TEXT))]
    for place, solution in enumerate(load(tmp_path, rows, format='champ')):
        assert solution.first_wrong == sum(end <= place for end in ends)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('processbench', {'label': 3}, r'line 1: label must be the index of one of the 3 steps, or -1 for none, got 3'),
        ('processbench', {'label': -2}, 'got -2; steps and label do not belong together'),
        ('processbench', {'label': True}, 'got True'),
        ('processbench', {'label': None}, 'got None'),
        ('processbench', {'steps': []}, 'steps must be a list of texts, at least one'),
        ('processbench', {'steps': ['a', ' ']}, 'none of them blank'),
        ('processbench', {'steps': 'text'}, 'steps must be a list'),
        ('processbench', {'problem': 7}, 'problem must be text, got 7'),
        ('processbench', {'id': ''}, 'id must be text'),
        ('champ', {'first_wrong_end': 10**6}, 'must mark a passage of the 34 characters of solution, got 17 and 1000000'),
        ('champ', {'first_wrong_start': -1}, 'got -1 and'),
        ('champ', {'first_wrong_start': 30}, 'got 30 and 29'),
        ('champ', {'first_wrong_start': 1.0}, 'got 1.0 and'),
        ('champ', {'first_wrong_start': None}, 'must both be numbers or both be null'),
        ('champ', {'solution': '\n\n'}, 'solution must be text'),
        ('champ', {'setting': 4}, 'setting must be text'),
    ],
)
def test_a_row_that_contradicts_itself_is_named(tmp_path, name, change, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, [{'processbench': BENCH, 'champ': CHAMP}[name] | change], format=name)


def test_the_other_format_is_not_guessed(tmp_path):
    with pytest.raises(DataError, match=r'format processbench must have steps, label, got id, problem.* is the format another'):
        load(tmp_path, [CHAMP], format='processbench')
    with pytest.raises(DataError, match='format champ must have solution'):
        load(tmp_path, [BENCH], format='champ')


def test_ids_must_differ(tmp_path):
    with pytest.raises(DataError, match="line 2: 'a-0' is line 1 too"):
        load(tmp_path, [BENCH, BENCH], format='processbench')


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'format': 'prm800k'}, 'format must be one of processbench, champ'),
        ({'source': 'champ'}, r'path of a \.jsonl file'),
        ({'delimiter': ''}, 'delimiter must be'),
        ({'limit': 0}, 'limit must be at least 1'),
        ({'seed': 3}, 'seed must be left out without a limit'),
    ],
)
def test_impossible_requests_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        SolutionSpec(**{'source': 'a.jsonl', 'format': 'champ'} | fields)


def test_a_limit_takes_whole_questions_in_an_order_of_its_seed(tmp_path):
    rows = [
        CHAMP | {'problem': f'Question {number // 2}?', 'setting': str(number % 2)} | {'id': str(number)}
        for number in range(20)
    ]
    first, other = (load(tmp_path, rows, format='champ', limit=6, seed=seed) for seed in (1, 2))
    assert len({solution.question_id for solution in first}) == 3 and first != other
    assert load(tmp_path, rows[::-1], format='champ', limit=6, seed=1)[0].question_id == first[0].question_id


@pytest.mark.skipif(not CHAMP_FILE.is_file(), reason='needs ../shared/data')
def test_every_champ_solution_is_read():
    solutions = load_solutions(SolutionSpec(source=str(CHAMP_FILE), format='champ'))
    rows = [json.loads(line) for line in CHAMP_FILE.read_text(encoding='utf-8').splitlines()]
    assert len(solutions) == 540 and len({solution.question_id for solution in solutions}) == 270
    assert [''.join(solution.steps) for solution in solutions] == [row['solution'] for row in rows]
    assert sum(solution.first_wrong is not None for solution in solutions) == 444
    assert sum(len(solution.steps) == 1 for solution in solutions) == 4
    assert len({solution.group for solution in solutions}) == 8
    for solution, row in zip(solutions, rows, strict=True):
        if solution.first_wrong is not None:
            marked = row['solution'][row['first_wrong_start'] : row['first_wrong_end']]
            assert marked.splitlines()[0] in solution.steps[solution.first_wrong]
