"""`jaxreason fit`: from its words to its files, and what it refuses."""

import pytest

from jaxreason.allocation.table import read_allocation
from tests.analysis import fit_run


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return fit_run.write_fit(tmp_path_factory.mktemp('a fit, ü'))


def test_a_fit_leaves_its_files_and_says_what_it_found(path, command, tmp_path):
    code, out, err = command('fit', path, '--out', tmp_path / 'out', 'budgets=[4]')
    assert code == 0 and err == ''
    assert out.startswith('80 questions, 2 seeds, 5 cells; 100 resamples\n')
    for words in ('best of n at n = 4', 'saving', 'over the best fixed', 'warning'):
        assert words in out
    for name in ('fit.json', 'config.yaml', 'allocation.yaml', 'allocation_oracle.yaml'):
        assert (tmp_path / 'out' / name).stat().st_size > 0
    text = (tmp_path / 'out' / 'allocation.yaml').read_text()
    assert text.startswith('# Which strategy') and 'n: 4}' in text.splitlines()[1]
    assert read_allocation(str(tmp_path / 'out' / 'allocation.yaml')).row(4).n == 4


def test_the_folder_is_named_after_the_configuration_and_a_fit_again_gives_the_same_bytes(path, command, tmp_path):
    found = []
    for _ in range(2):
        assert command('fit', path, 'budgets=[4]')[0] == 0
        found.append({p.name: p.read_bytes() for p in (tmp_path / 'runs' / 'fit').iterdir() if p.suffix in ('.yaml', '.json')})
    assert found[0] == found[1] and 'fit.json' in found[0]


def test_a_dry_run_writes_nothing(path, command, tmp_path):
    code, out, _ = command('fit', path, '--dry-run', 'folds=5')
    assert code == 0 and 'folds: 5' in out and not (tmp_path / 'runs').exists()


def test_what_cannot_be_is_refused_in_a_line(path, command, refused, tmp_path):
    assert 'needs a configuration' in refused('fit')
    assert 'one CONFIG.yaml' in refused('fit', path, 'words')
    assert 'resamples' in refused('fit', path, 'resample=100')
    assert 'at least 100' in refused('fit', path, 'resamples=3')
    assert 'budgets' in refused('fit', path, 'budgets=[0]')
    assert 'n = 8, it has n = 1, 4' in refused('fit', path, 'budgets=[8]')
    assert 'name the folder of a finished run' in refused('fit', path, 'runs=[nowhere]')
    (tmp_path / 'file').write_text('')
    assert 'choose another folder with --out' in refused('fit', path, 'budgets=[4]', '--out', tmp_path / 'file' / 'out')
