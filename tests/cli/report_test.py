"""`jaxreason report`: a page from run folders, or one line."""

import json
import re
import shutil

import pytest

from tests.evaluate.tiny_world import read_config


@pytest.fixture(scope='module')
def finished(world, tmp_path_factory):
    from jaxreason.evaluate.runner import evaluate

    out = tmp_path_factory.mktemp('runs') / 'one'
    evaluate(read_config(world, 'data.limit=2', 'seeds=[0]'), out)
    return out


def test_the_page_is_written_beside_the_first_run(finished, command, tmp_path):
    shutil.copytree(finished, tmp_path / 'one')
    shutil.copytree(finished, tmp_path / 'two')
    code, out, err = command('report', 'one', 'two')
    assert (code, out, err) == (0, 'one/report.html\n', '')
    page = (tmp_path / 'one/report.html').read_text()
    assert '<h2>one</h2>' in page and '<h2>two</h2>' in page
    assert (tmp_path / 'two/metrics.json').read_bytes() == (tmp_path / 'one/metrics.json').read_bytes()


def test_out_is_where_it_goes(finished, command, tmp_path):
    code, out, _ = command('report', finished, '--out', 'new folder/page ü.html')
    assert code == 0 and out == 'new folder/page ü.html\n' and (tmp_path / 'new folder/page ü.html').stat().st_size > 1000


def test_what_is_no_finished_run(finished, refused, tmp_path):
    assert 'no records.jsonl' in refused('report', tmp_path)
    assert 'no records.jsonl' in refused('report', 'nowhere')
    assert 'RUN' in refused('report')
    shutil.copytree(finished, tmp_path / 'torn')
    records = tmp_path / 'torn/records.jsonl'
    records.write_text(records.read_text()[:-20])
    assert 'records.jsonl:' in refused('report', 'torn')
    (tmp_path / 'file').write_text('')
    assert 'cannot be written' in refused('report', finished, '--out', 'file/page.html')


def test_bins_come_from_other_samples(finished, world, command, refused, tmp_path):
    from jaxreason.evaluate.runner import evaluate

    shutil.copytree(finished, tmp_path / 'one')
    assert command('report', 'one')[0] == 0
    plain = (tmp_path / 'one/metrics.json').read_bytes()
    assert 'seed' in refused('report', 'one', '--difficulty', 'one')
    assert 'independent samples' in refused('report', 'one', '--difficulty', 'nowhere')
    evaluate(read_config(world, 'data.limit=1', 'seeds=[1000]'), tmp_path / 'few')
    assert '1 are missing' in refused('report', 'one', '--difficulty', 'few')
    evaluate(read_config(world, 'data.limit=2', 'seeds=[1000]'), tmp_path / 'bins')
    (tmp_path / 'training/checkpoints').mkdir(parents=True)
    (tmp_path / 'training/metrics.jsonl').write_text('')
    assert 'needs a run of jaxreason evaluate' in refused('report', 'training', '--difficulty', 'bins')
    assert command('report', 'one', '--difficulty', 'bins') == (0, 'one/report.html\n', '')
    assert 'Accuracy by difficulty' in (tmp_path / 'one/report.html').read_text()
    assert 'by_difficulty' in json.loads((tmp_path / 'one/metrics.json').read_text())
    assert command('report', 'one')[0] == 0
    assert (tmp_path / 'one/metrics.json').read_bytes() == plain


def test_a_fit_and_a_run_make_one_page(finished, command, refused, tmp_path):
    from tests.analysis.fit_example import write_synthetic_fit

    shutil.copytree(finished, tmp_path / 'one')
    write_synthetic_fit(tmp_path / 'fit_one')
    assert command('report', 'fit_one', 'one')[:2] == (0, 'fit_one/report.html\n')
    page = (tmp_path / 'fit_one/report.html').read_text()
    assert '<h2>fit_one</h2>' in page and '<h2>one</h2>' in page
    assert (tmp_path / 'fit_one/figures/chosen_by_difficulty.csv').is_file()
    (tmp_path / 'fit_one/fit.json').write_text('{}')
    assert 'not a whole fit' in refused('report', 'fit_one')


def test_a_configuration_makes_the_page_about_the_paper(command, refused, tmp_path):
    from tests.analysis.paper_runs import write_searches

    (tmp_path / 'paper.yaml').write_text(write_searches(tmp_path))
    code, out, err = command('report', 'paper.yaml', 'labels.lookahead=none', '--out', 'page')
    assert (code, err) == (0, '') and out.endswith('page/: report.html, metrics.json, figures\n')
    assert re.search(r'agrees +search: beam search is ahead of best-of-N at small budgets; here \+14.0 \[', out)
    assert "the run has no strategy 'none'" in out
    names = {path.name for path in (tmp_path / 'page').iterdir()}
    assert names == {'config.yaml', 'metrics.json', 'report.html', 'figures'}
    assert 'nothing beside it' in refused('report', 'paper.yaml', 'sweep')
    assert 'nothing beside it' in refused('report', 'paper.yaml', '--difficulty', 'bins')
    assert 'unknown key' in refused('report', 'paper.yaml', 'serch=x')
    assert 'records.jsonl' in refused('report', 'paper.yaml', 'search=nowhere')
    assert 'another verb' in refused('report', 'paper.yaml', '--out', 'sweep')
