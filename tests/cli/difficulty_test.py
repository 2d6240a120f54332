"""`jaxreason difficulty`: from its words to its files, and what it refuses."""

import json

import pytest

from tests.evaluate.difficulty_runner_test import write_config


@pytest.fixture(scope='module')
def path(world, tmp_path_factory):
    return write_config(world, tmp_path_factory.mktemp('difficulty'))


def test_a_run_leaves_its_files_and_a_row_an_estimate(path, command, tmp_path):
    code, out, err = command('difficulty', path, '--out', tmp_path / 'bins', '--quiet')
    assert code == 0 and err == ''
    assert len((tmp_path / 'bins' / 'difficulty.jsonl').read_text().splitlines()) == 6
    assert json.loads((tmp_path / 'bins' / 'difficulty.json').read_text())['num_questions'] == 6
    rows = {line.split('  ')[0].strip(): line for line in out.splitlines()}
    assert 'agreement with the oracle' in rows['estimate']
    assert set(rows) >= {'oracle', '2 scores', 'all scores', '3 votes'}
    assert '(same samples)' in rows['all scores'] and '(same samples)' not in rows['3 votes']
    assert 'pools, difficulty.jsonl, difficulty.json' in out
    again, more, _ = command('difficulty', path, '--out', tmp_path / 'bins', '--quiet')
    assert again == 0 and 'compiled' not in more, 'nothing is drawn again'


def test_a_dry_run_says_what_would_be_done_and_does_nothing(path, command, tmp_path):
    code, out, _ = command('difficulty', path, '--dry-run', 'samples=8')
    assert code == 0 and 'samples: 8' in out and 'FLOPs' in out and not (tmp_path / 'runs').exists()


def test_what_cannot_be_is_refused_in_a_line(path, refused):
    assert 'needs a configuration' in refused('difficulty')
    assert 'samples must be at least 1' in refused('difficulty', path, 'samples=0', 'estimates={}')
    assert 'looks at 3 samples, there are 2' in refused('difficulty', path, 'samples=2', 'estimates={v: {kind: votes, n: 3}}')
    assert 'what is known already is no estimate' in refused('difficulty', path, 'estimates.oracle={kind: votes, n: 1}')
    assert 'pass rates that ascend' in refused('difficulty', path, 'oracle_cuts=[0.5, 0.2]')
    assert "'prm'" in refused('difficulty', path, 'estimates.x={kind: scores, n: 1, verifier: prm}')
