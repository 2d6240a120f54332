"""`jaxreason evaluate` with a configuration that names solutions: from its words to its files, and what it refuses."""

import json
from pathlib import Path

import pytest

from jaxreason.cli.progress import JudgementDisplay
from jaxreason.core.judged_steps import JudgedSteps
from jaxreason.evaluate.runner import Progress

PRM = Path(__file__).parents[1] / 'engine' / 'golden' / 'math-shepherd'


@pytest.fixture
def path(tmp_path):
    """Path of a configuration: two solutions of the same question in CHAMP's format."""
    texts = [('One and one.\n\nThat is 3.', 14), ('One and one.\n\nThat is 2.', None)]
    rows = [
        {'id': str(i), 'problem': '1+1?', 'solution': text, 'first_wrong_start': start, 'first_wrong_end': start and len(text)}
        for i, (text, start) in enumerate(texts)
    ]
    (tmp_path / 'solutions.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    tree = {
        'solutions': {'source': str(tmp_path / 'solutions.jsonl'), 'format': 'champ'},
        'verifier': {'source': str(PRM), 'preset': 'math-shepherd'},
    }
    (tmp_path / 'tiny judgement.yaml').write_text(json.dumps(tree))
    return tmp_path / 'tiny judgement.yaml'


def test_a_run_leaves_its_files_and_prints_rows_and_tables(path, command, tmp_path):
    code, text, err = command('evaluate', path)
    assert (code, err) == (0, '')
    out = tmp_path / 'runs' / 'tiny judgement'
    for name in ('config.yaml', 'environment.json', 'judgements.jsonl', 'metrics.json', 'report.html', 'timing.jsonl'):
        assert (out / name).stat().st_size > 0, name
    assert '2 of 2 solutions to judge' in text and '   2/2' in text and 'wrong from  2' in text and 'none wrong' in text
    assert 'first-error F1' in text and 'constant only' in text and '2 solutions of 1 questions, 4 steps' in text
    before = {name: (out / name).read_bytes() for name in ('judgements.jsonl', 'metrics.json', 'report.html')}
    code, text, err = command('evaluate', path, '--quiet')
    assert (code, err) == (0, '') and 'to judge' not in text and 'compiled' not in text and 'first-error F1' in text
    assert command('report', out)[0] == 0
    assert before == {name: (out / name).read_bytes() for name in before}


def test_a_dry_run_writes_nothing(path, command, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, text, err = command('evaluate', path, '--dry-run', 'solutions.limit=1')
    assert (code, err) == (0, '')
    assert 'limit: 1' in text and '1 of 1 questions, 2 steps' in text and 'FLOPs' in text and 'head label' in text
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('model.source=x', 'model: unknown key'),
        ('solutions.format=processbench', 'must have steps, label'),
        ('solutions.source=nowhere.jsonl', 'cannot be read'),
        ('verifier.source=nowhere', 'nowhere'),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(path, refused, word, message):
    assert message in refused('evaluate', path, word)


def test_an_unscored_solution_is_shown_as_such(capsys):
    judged = JudgedSteps(
        id='a\x1b[2J', question_id='q', group='', num_steps=3, first_wrong=1, scores=(), unscored='too_long', cost={}
    )
    with JudgementDisplay(quiet=False) as display:
        display.show(Progress(1, 2, 0, 0.5, judged))
    text = capsys.readouterr().out
    assert '1/2' in text and 'unscored: too_long' in text and 'wrong from  2' in text and '\x1b' not in text
