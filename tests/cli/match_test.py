"""`jaxreason match`: from two runs to tables, files and a page, or one line."""

import json

import pytest

from tests.analysis.duel_runs import write_duel


@pytest.fixture
def duel(tmp_path):
    return write_duel(tmp_path / 'wörld')


def test_a_match_is_printed_and_written(command, duel, tmp_path):
    code, out, err = command('match', duel, '--out', tmp_path / 'runs/duel', 'large_samples=[1]')
    assert (code, err) == (0, '')
    for part in ('relative gain, %', '257.75', '+18.8 [', '+21.6', 'break-even R', 'any [', 'upper bound', 'runs/duel'):
        assert part in out.replace('\n', ' '), part
    folder = tmp_path / 'runs/duel'
    assert {path.name for path in folder.iterdir()} == {'config.yaml', 'match.csv', 'match.json', 'figures', 'report.html'}
    cell = json.loads((folder / 'match.json').read_text())['duel']['arxiv']['0.16']['easy']
    assert set(cell) == {'gain', 'gain_low', 'gain_high', 'points', 'low', 'high', 'small', 'large', 'k', 'n'}
    before = (folder / 'match.json').read_bytes()
    assert (
        command('match', duel, '--out', folder, 'large_samples=[1]')[0] == 0 and (folder / 'match.json').read_bytes() == before
    )
    assert command('report', folder, '--out', tmp_path / 'page.html')[0] == 0
    assert 'Relative gain at equal FLOPs' in (tmp_path / 'page.html').read_text(encoding='utf-8')


def test_a_dry_run_writes_nothing(command, duel, tmp_path):
    code, out, _ = command('match', duel, '--dry-run')
    assert code == 0 and 'size_ratio: 14.0' in out and not (tmp_path / 'runs').exists()


def test_what_cannot_be_matched_is_refused_in_one_line(refused, duel, tmp_path):
    assert refused('match') == 'match needs a configuration, for example configs/search/duel.yaml.'
    assert 'unknown key' in refused('match', duel, 'small.runs=x')
    assert 'size_ratio must be at least 1' in refused('match', duel, 'size_ratio=0.5')
    assert 'must be above 0, got -1' in refused('match', duel, 'ratios=[-1]')
    assert 'nowhere/environment.json: cannot be read' in refused('match', duel, f'large.run={tmp_path}/nowhere')
    small = duel.parent / 'runs/small'
    before = (small / 'config.yaml').read_bytes()
    assert 'holds a run of another verb' in refused('match', duel, '--out', small)
    assert (small / 'config.yaml').read_bytes() == before
    path = duel.parent / 'runs/large/environment.json'
    path.write_text(path.read_text().replace('t' * 64, 'x' * 64))
    assert 'another tokenizer' in refused('match', duel)
    assert not (tmp_path / 'runs').exists()
