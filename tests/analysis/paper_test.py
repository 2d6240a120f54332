"""The page about the paper from folders of a planted world: numbers, verdicts on both sides, figures, and what is left out."""

import csv
import dataclasses
import json
import random
import re
import shutil

import pytest

from jaxreason.analysis import paper_figures, paper_page
from jaxreason.analysis.paper import write_paper
from jaxreason.analysis.paper_config import PaperConfig
from jaxreason.analysis.paper_inputs import read_paper
from jaxreason.analysis.run_folder import read_run
from jaxreason.core import config as config_files
from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line
from tests.analysis.conftest import make_pool
from tests.analysis.duel_runs import write_duel
from tests.analysis.paper_runs import PAPER, QUESTIONS, question, write_revisions, write_search, write_searches
from tests.analysis.report_test import Reader

SECTIONS = (
    'search',
    'bins',
    'compute-optimal',
    'chain',
    'ratios',
    'compute-optimal-revisions',
    'duel',
    'verifiers',
    'aggregations',
)


def load(path, text):
    path.write_text(text)
    return config_files.load(PaperConfig, path)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Folders of all parts; returns their parent and the lines of the configuration."""
    from jaxreason.analysis.match_inputs import read_inputs
    from jaxreason.analysis.matching import match, to_text
    from jaxreason.evaluate.match_config import MatchConfig

    base = tmp_path_factory.mktemp('wörld')
    lines = write_searches(base), write_revisions(base)
    (base / 'duel').mkdir()
    config = config_files.load(MatchConfig, write_duel(base / 'duel'))
    (base / 'match').mkdir()
    (base / 'match' / 'match.json').write_text(to_text(match(config, read_inputs(config))))
    (base / 'match' / 'config.yaml').write_text(config_files.dump(config))
    return base, (*lines, f'duel: {base}/match\n')


@pytest.fixture(scope='module')
def written(world, tmp_path_factory):
    """The page about all of it."""
    base, lines = world
    out = tmp_path_factory.mktemp('out') / 'paper'
    return out, write_paper(load(base / 'all.yaml', ''.join(lines)), out)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose words are tested need no pictures, which take most of the time."""
    monkeypatch.setattr('jaxreason.analysis.drawing.png', lambda *_, **__: b'png')


def findings_of(config):
    return [finding for section in paper_page.sections_of(read_paper(config)) for finding in section.findings]


def verdicts(findings, section):
    return [finding.verdict.value for finding in findings if finding.section == section]


def test_a_world_as_the_paper_says_agrees(written):
    _, findings = written
    assert tuple(dict.fromkeys(finding.section for finding in findings)) == SECTIONS
    assert verdicts(findings, 'search') == ['agrees'] * 3
    # In level 5 nothing is ever right: without any difference there is no interval, so nothing is claimed of it.
    assert verdicts(findings, 'bins') == ['agrees', 'agrees', 'not told apart']
    assert verdicts(findings, 'verifiers') == verdicts(findings, 'aggregations') == ['agrees', 'agrees']
    assert verdicts(findings, 'duel') == ['not told apart', 'agrees']


def test_a_world_as_it_does_not_say_disagrees(world, tmp_path):
    _, lines = world
    swapped = dict(PAPER)
    for n in (4, 16):  # beam search as best-of-N was, and the other way round
        swapped['beam', n], swapped['best-of-n', n] = PAPER['best-of-n', n], PAPER['beam', n]
    swapped['lookahead', 16] = (20, 20, 20, 20, 19)
    swapped['best-of-n, orm', 16] = (20, 18, 17, 16, 0)
    swapped['best-of-n, single', 16] = swapped['best-of-n, min', 16] = (20, 18, 17, 16, 0)
    write_search(tmp_path / 'sweep', swapped)
    config = load(tmp_path / 'paper.yaml', re.sub(r'search: .*', f'search: {tmp_path}/sweep', lines[0]))
    findings = findings_of(config)
    assert verdicts(findings, 'search') == ['disagrees'] * 3
    assert verdicts(findings, 'bins')[:2] == ['disagrees'] * 2
    assert verdicts(findings, 'verifiers') == verdicts(findings, 'aggregations') == ['disagrees'] * 2


def test_a_difference_is_that_of_the_planted_numbers(written):
    out, findings = written
    gain = sum(PAPER['beam', 4]) - sum(PAPER['best-of-n', 4])
    assert findings[0].ours.startswith('at n = 4 beam 51.0 [') and f'a difference of {gain:+.1f} [' in findings[0].ours
    assert 'greedy 28.0 [' in findings[0].ours and 'best fixed (beam, n = 4)' in findings[0].ours
    metrics = json.loads((out / 'metrics.json').read_text())
    for (label, n), counts in PAPER.items():
        assert metrics['accuracy'][label][str(n)]['point'] == pytest.approx(sum(counts) / QUESTIONS)
        levels = [cell['point'] for cell in metrics['bins']['oracle']['accuracy'][label][str(n)]]
        assert levels == pytest.approx([count / 20 for count in counts])


def test_metrics_that_are_missing_are_made_from_the_pools(world, tmp_path):
    """The page does without the pools of a search run as long as `evaluate` has said what they show."""
    base, lines = world
    folder = tmp_path / 'sweep'
    shutil.copytree(re.search(r'search: (.*)', lines[0])[1], folder)
    (folder / 'pools').mkdir(exist_ok=True)
    made = [make_pool(index, 0, 16, random.Random(index)) for index in range(QUESTIONS)]
    pools = [dataclasses.replace(pool, pool='best-of-n16', question_id=question(index)) for index, pool in enumerate(made)]
    (folder / 'pools/best-of-n16.jsonl').write_text(''.join(f'{to_line(pool)}\n' for pool in pools))
    config = load(tmp_path / 'paper.yaml', re.sub(r'search: .*', f'search: {folder}', lines[0]))
    assert read_run(folder).pools == tuple(pools) and read_run(folder, with_pools=False).pools == ()
    planted = read_paper(config).search
    assert planted.run.pools == () and set(planted.metrics['verifiers']) == {'prm', 'orm'}
    (folder / 'metrics.json').unlink()
    assert read_paper(config).search.metrics['verifiers']['prm']['num_solutions'] == 16 * QUESTIONS


def test_numbers_have_the_names_that_scripts_rely_on(written):
    out, findings = written
    metrics = json.loads((out / 'metrics.json').read_text())
    ends = {'point', 'low', 'high'}
    for part in (metrics, metrics['revisions']):
        assert set(part['saving']) == {'oracle', 'predicted', 'charged', 'best_fixed'}
        assert all(value.keys() >= ends for value in part['saving'].values())
        assert all(value.keys() == ends for by_n in part['accuracy'].values() for value in by_n.values())
        assert set(part['bins']) == {'oracle', 'predicted'} and set(part['best_fixed']) == {'1', '4', '16'}
    assert metrics['prm']['step_auc'] == {'point': 0.93, 'low': 0.91, 'high': 0.95}
    assert metrics['orm']['step_auc']['point'] == 0.71 and metrics['prm']['within_question_auc'].keys() == ends
    assert metrics['bins']['oracle']['sizes'] == [20] * 5 and len(metrics['bins']['predicted']['cuts']) == 4
    assert metrics['bins']['oracle']['means'] == sorted(metrics['bins']['oracle']['means'], reverse=True)
    cell = metrics['duel']['0.16']['easy']
    assert cell.keys() >= {'gain', 'low', 'high'} and cell['gain'] == pytest.approx(
        100 * (cell['small'] / cell['large'] - 1), 1e-4
    )
    assert set(metrics['duel']) == {'0.16', '0.79', '22'} and set(metrics['duel']['22']) >= {'easy', 'medium', 'hard', '1', '5'}
    revisions = metrics['revisions']
    assert [row['position'] for row in revisions['chain']] == list(range(1, 17))
    assert set(revisions['flips']) == {'lost', 'won', 'repeated'}
    assert set(revisions['ratios'][0]['all']['16']) == {'1:16', '1:4', '1:1', '4:1', '16:1'}
    assert [row['verdict'] for row in metrics['findings']] == [finding.verdict.value for finding in findings]
    assert metrics['findings'][0].keys() >= {'section', 'paper', 'ours', 'verdict', 'rule'}


def test_the_same_folders_give_the_same_numbers_without_their_places(world, written, undrawn, tmp_path):
    base, _ = world
    out, _ = written
    write_paper(config_files.load(PaperConfig, base / 'all.yaml'), tmp_path / 'again')
    assert (tmp_path / 'again/metrics.json').read_bytes() == (out / 'metrics.json').read_bytes()
    assert str(base) not in (out / 'metrics.json').read_text() and str(base) not in (out / 'report.html').read_text()
    assert config_files.load(PaperConfig, out / 'config.yaml') == config_files.load(PaperConfig, base / 'all.yaml')


def test_figures_are_drawn_from_the_numbers_beside_them(written):
    out, _ = written
    pictures = {path.stem for path in (out / 'figures').glob('*.png')}
    assert pictures == {path.stem for path in (out / 'figures').glob('*.csv')} and len(pictures) == 15
    for name in pictures - {'flips_along_the_chain', 'duel_gain', 'duel_arxiv', 'verifier_gap_by_n', 'aggregation_gaps_by_n'}:
        text = (out / 'figures' / f'{name}.csv').read_text()
        assert 'greedy' in text and 'best' in text, name  # beside every accuracy
    with (out / 'figures/search_by_generations.csv').open() as file:
        rows = {(row['curve'], row['n']): row for row in csv.DictReader(file)}
    assert rows['beam', '16']['accuracy'] == '48.0' and rows['lookahead', '16']['generations'] == '16'
    assert rows['best fixed strategy', '4']['drawn'] == 'fixed' and rows['greedy', '1']['drawn'] == 'line'


def test_the_page_stands_alone_and_says_what_was_run(written):
    out, findings = written
    page = (out / 'report.html').read_text()
    reader = Reader(page)  # tags are balanced, and nothing is run
    assert "default-src 'none'" in page and 'script' not in reader.tags
    assert all(address.startswith(('data:image/png;base64,', '#')) for address in reader.addresses)
    for section in SECTIONS:
        assert f'href="#{section}"' in page and f'<section id="{section}">' in page
    for words in ('100, 1 seed', 'cccccccccc', 'prm, orm', '14 times', 'device', 'Agrees if', 'prefers-color-scheme: dark'):
        assert words in page, words
    assert page.count('class="badge') == 2 * len(findings)


def test_what_is_left_out_says_so_in_its_place(world, undrawn, tmp_path):
    _, lines = world
    out = tmp_path / 'paper'
    findings = write_paper(load(tmp_path / 'paper.yaml', lines[0]), out)
    assert tuple(dict.fromkeys(finding.section for finding in findings)) == SECTIONS
    assert {verdict for name in ('chain', 'ratios', 'duel') for verdict in verdicts(findings, name)} == {'not run'}
    page = (out / 'report.html').read_text()
    assert page.count('left out of this run: no revisions were trained') == 6  # in the summary and in the section
    assert page.count('left out of this run: no larger model was trained') == 2
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['revisions'] is metrics['duel'] is metrics['duel_terms'] is None


def test_a_strategy_that_was_not_run_is_missed_where_it_belongs(world, undrawn, tmp_path):
    _, lines = world
    kept = {key: counts for key, counts in PAPER.items() if key[0] in ('majority', 'greedy', 'best-of-n')}
    write_search(tmp_path / 'sweep', kept)
    config = load(tmp_path / 'paper.yaml', re.sub(r'search: .*', f'search: {tmp_path}/sweep', lines[0]))
    findings = findings_of(config)
    for section in ('search', 'bins', 'verifiers', 'aggregations'):
        assert set(verdicts(findings, section)) == {'not run'}, section
    assert findings[0].ours == findings[0].short == "the run has no strategy 'beam'"
    write_paper(config, tmp_path / 'paper')
    assert 'the run has no strategy &#x27;beam&#x27;' in (tmp_path / 'paper/report.html').read_text()


def test_labels_are_text(world, undrawn, tmp_path):
    base, lines = world
    shutil.copytree(base / 'sweep', tmp_path / 'sweep')
    for path in (tmp_path / 'sweep').glob('*.*'):
        text = path.read_text()
        path.write_text(re.sub(r'(?<!_)\blookahead"', '<b>$look</b>"', text))
    text = re.sub(r'search: .*', f'search: {tmp_path}/sweep', lines[0]) + 'labels: {lookahead: <b>$look</b>}\n'
    write_paper(load(tmp_path / 'paper.yaml', text), tmp_path / 'paper')
    page = (tmp_path / 'paper/report.html').read_text()
    assert '<b>$look' not in page and '&lt;b&gt;$look' in page


def test_folders_that_do_not_belong_together_are_refused(world, tmp_path):
    base, lines = world
    shutil.copytree(base / 'bins', tmp_path / 'bins')
    told = json.loads((base / 'bins/environment.json').read_text())

    def refused(**environment):
        (tmp_path / 'bins/environment.json').write_text(json.dumps({**told, **environment}))
        with pytest.raises(RunError) as error:
            read_paper(load(tmp_path / 'paper.yaml', lines[0].replace(f'{base}/bins', f'{tmp_path}/bins')))
        return str(error.value)

    assert 'its policy is not that of sweep' in refused(weights='other')
    assert 'seed 0' in refused(seeds=[0])
    (tmp_path / 'bins/difficulty.jsonl').write_text((base / 'bins/difficulty.jsonl').read_text().partition('\n')[0] + '\n')
    assert 'says nothing of 99 of the 100 questions' in refused()
    with pytest.raises(RunError, match="expected the baseline 'best'"):
        read_paper(load(tmp_path / 'paper.yaml', f'{lines[0]}labels: {{best_of_n: best}}\n'))
    run = f'revisions: {{run: {base}/sweep, difficulty: {base}/bins, fit: {base}/fit}}\n'
    with pytest.raises(RunError, match='expected chains of revisions'):
        read_paper(load(tmp_path / 'paper.yaml', lines[0] + run))


def test_a_caption_counts_the_questions_of_revisions_apart_where_they_are_others(world):
    base, lines = world
    inputs = read_paper(load(base / 'again.yaml', ''.join(lines)))
    assert inputs.revisions is not None
    revised = inputs.revisions.metrics['num_questions']
    assert revised != QUESTIONS
    assert paper_page.caption(inputs).startswith(f'{QUESTIONS} questions (revisions: {revised});')
    assert paper_page.caption(dataclasses.replace(inputs, revisions=None)).startswith(f'{QUESTIONS} questions;')


def test_what_is_to_be_equalled_has_a_colour_of_its_own(world):
    base, lines = world
    inputs = read_paper(load(base / 'again.yaml', ''.join(lines)))
    for part in (inputs.search, inputs.revisions):
        [figure] = paper_figures.compute_optimal_figures(part, 'any')
        looks = figure.plot.keywords['styles']
        baseline = looks[part.fit.metrics['reference']['strategy']]
        assert baseline.colour not in {look.colour for name, look in looks.items() if look is not baseline}
