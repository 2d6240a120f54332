"""Revisions in the metrics, the figures and the report of a run; nothing of it in a run without."""

import csv
import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxreason.analysis import drawing, metrics, revision_figures, revisions_page
from jaxreason.analysis.difficulty_bins import read_bins
from jaxreason.analysis.report import write_report
from jaxreason.analysis.run_folder import read_run
from jaxreason.analysis.tree_page import folded_tree
from jaxreason.core.run_files import read_samples
from tests.analysis.chain_run import attempt, grid, pool_of, write_chain_run
from tests.analysis.report_test import Reader

STRATEGIES = {
    **grid(4, 'majority', context=2),
    **grid(4, 'weighted', verifier='orm', context=2),
    'base prm': {'kind': 'revision', 'chains': 1, 'length': 4, 'verifier': 'prm', 'context': 2},
}
FIGURES = {
    'pass_at_1_along_the_chain',
    'flips_along_the_chain',
    'pass_at_1_by_difficulty',
    'sequential_against_parallel',
    'ratio_1',
    'ratio_2',
    'ratio_by_difficulty_1',
    'ratio_by_difficulty_2',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs') / 'revised'
    write_chain_run(path, STRATEGIES, (1, 2, 4), num_questions=20, seeds=(0, 1))
    return path


@pytest.fixture(scope='module')
def bins(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs') / 'bins'
    write_chain_run(path, {'majority': {'kind': 'majority', 'n': 16}}, (16,), num_questions=20, seeds=(1000,))
    return read_bins(path)


@pytest.fixture(scope='module')
def found(folder, bins):
    return metrics.write_metrics(folder, bins)


@pytest.fixture(scope='module')
def summary(found):
    return found.metrics


@pytest.fixture(scope='module')
def text(folder, found, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_report([folder], path, {folder: found})
    return Reader(path.read_text(encoding='utf-8')).text


def test_chains_and_ratios_are_in_the_metrics(folder, summary):
    assert json.loads((folder / 'metrics.json').read_text()) == summary
    [chains] = summary['revisions']['chains']
    assert (chains['pool'], chains['context'], chains['length'], chains['num_chains']) == ('chains2', 2, 4, 4)
    assert [row['num_chains'] for row in chains['positions']] == [4, 2, 1, 1]  # 1 x 4, 2 x 2 and 4 x 1 share a staircase
    assert [row['beyond_context'] for row in chains['positions']] == [False, False, False, True]
    assert [(group['vote'], group['verifier']) for group in summary['revisions']['ratios']] == [
        ('majority', None),
        ('weighted', 'orm'),
        ('weighted', 'prm'),
    ]
    told = {(row['n'], row['ratio']) for row in summary['revisions']['ratios'][0]['rows']}
    assert told == {(1, '1:1'), (2, '1:2'), (2, '2:1'), (4, '1:4'), (4, '1:1'), (4, '4:1')}


def test_one_attempt_is_the_control_of_its_chain(summary):
    [chains] = summary['revisions']['chains']
    [single] = [row for row in summary['revisions']['ratios'][0]['rows'] if row['n'] == 1]
    assert single['accuracy']['point'] == pytest.approx(chains['positions'][0]['pass_at_1']['point'])


def test_levels_weighed_by_their_questions_give_the_whole(summary):
    [chains] = summary['revisions']['chains']
    sizes = [part['num_questions'] for part in chains['by_difficulty']]
    assert sum(sizes) == 20
    for place, row in enumerate(chains['positions']):
        parts = [part['positions'][place]['pass_at_1']['point'] for part in chains['by_difficulty']]
        assert np.average(parts, weights=sizes) == pytest.approx(row['pass_at_1']['point'], abs=1e-5)
    group = summary['revisions']['ratios'][1]
    for row in group['rows']:
        same = [r for part in group['by_difficulty'] for r in part['rows'] if (r['n'], r['ratio']) == (row['n'], row['ratio'])]
        parts = [each['accuracy']['point'] for each in same]
        assert np.average(parts, weights=sizes) == pytest.approx(row['accuracy']['point'], abs=1e-5)


def test_frames_hold_the_numbers_of_the_metrics(summary):
    [chains] = summary['revisions']['chains']
    frames = {name: frame for name, _, frame in revision_figures.revision_figures(summary)}
    assert set(frames) == FIGURES
    assert frames['pass_at_1_along_the_chain'][3] == {
        'chains': 'chains2: shown up to 2 attempts',
        'position': 4,
        'beyond_context': True,
        'num_chains': 1,
        'accuracy': round(100 * chains['positions'][3]['pass_at_1']['point'], 4),
        'low': round(100 * chains['positions'][3]['pass_at_1']['low'], 4),
        'high': round(100 * chains['positions'][3]['pass_at_1']['high'], 4),
        'control': round(100 * chains['positions'][0]['pass_at_1']['point'], 4),
    }
    assert [(row['what'], row['position']) for row in frames['flips_along_the_chain']] == [
        (what, position) for what in ('lost', 'won', 'repeated') for position in (2, 3, 4)
    ]
    assert {row['n'] for row in frames['ratio_1']} == {2, 4}  # at 1 there is one ratio only
    assert {row['n'] for row in frames['ratio_by_difficulty_2']} == {4}
    assert [(row['side'], row['n'], row['ratio']) for row in frames['sequential_against_parallel']][:6] == [
        *[('sequential', n, f'{n}:1') for n in (1, 2, 4)],
        *[('parallel', n, f'1:{n}') for n in (1, 2, 4)],
    ]
    assert len(frames['sequential_against_parallel']) == 12  # the base PRM was never asked in parallel


def test_what_is_drawn_is_what_the_frame_holds(summary):
    figures = {name: (plot, frame) for name, plot, frame in revision_figures.revision_figures(summary)}
    plot, frame = figures['pass_at_1_along_the_chain']
    ax = Figure().add_subplot()
    plot(ax, frame)
    drawn = [line.get_ydata() for line in ax.get_lines()]
    points = [row['accuracy'] for row in frame]
    assert drawn[0].tolist() == points[:3] and drawn[1].tolist() == points[2:]  # dotted from the last that shows all
    assert ax.get_lines()[1].get_linestyle() == ':' and set(drawn[2]) == {frame[0]['control']}
    plot, frame = figures['ratio_1']
    ax = Figure().add_subplot()
    plot(ax, frame)
    assert [bars[0].get_ydata().tolist() for bars in ax.containers] == [
        [row['accuracy'] for row in frame if row['n'] == n] for n in (2, 4)
    ]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        '1:4',
        '1:2',
        '1:1',
        '2:1',
        '4:1',
    ] and ax.get_xscale() == 'log'


POINT = {'group': 'x', 'accuracy': 1.0, 'low': None, 'high': None}


def test_the_grid_of_the_paper_has_ticks_that_can_be_read():
    places = [(n, Fraction(2**power, n >> power)) for n in (64, 128, 256) for power in range(n.bit_length())]
    frame = [
        {'n': n, 'ratio': f'{r.numerator}:{r.denominator}', 'length': r.numerator, 'chains': r.denominator, **POINT}
        for n, r in places
    ]
    ax = Figure().add_subplot()
    revision_figures.plot_ratio(ax, frame)
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == ['1:256', '1:64', '1:16', '1:4', '1:1', '4:1', '16:1', '64:1', '256:1'] and len(ax.containers) == 3


def test_a_long_chain_is_told_at_some_positions():
    rows = [{'position': position} for position in range(1, 65)]
    assert [row['position'] for row in revision_figures.told_positions(rows)] == [*range(1, 9), 12, 16, 24, 32, 48, 64]
    assert len(revision_figures.told_positions(rows[:16])) == 16


def test_the_figures_lie_in_the_run_folder_with_what_they_show(folder, text, summary):
    del text
    assert {path.stem for path in (folder / 'figures').glob('*.png')} >= FIGURES
    with (folder / 'figures' / 'pass_at_1_along_the_chain.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row['accuracy']) for row in rows] == [
        row['accuracy'] for row in revision_figures.chain_frame(summary['revisions'])
    ]


def test_the_page_puts_this_run_beside_the_paper(text):
    for part in (
        'Revisions',
        'The paper: pass@1 keeps rising past the fourth revision',
        'The paper: about 38 % of right answers are lost by the next revision',
        'Along the chains (chains2), shown up to 2 attempts',
        '20 questions, 2 seeds; chains:',
        'Verifiers on revisions',
        'on revisions',
        'Verifiers choosing from the same attempts',
        'Sequential to parallel: weighted, orm (last), shown up to 2 attempts',
        'attempts correct',
        'chain 1, attempt 2',
    ):
        assert part in text
    assert 'sample 65536' not in text


DIFFERENCES = {
    'above the control': {'point': 0.1, 'low': 0.05, 'high': 0.2},
    'below the control': {'point': -0.1, 'low': -0.2, 'high': -0.05},
    'not told apart from the control': {'point': 0.1, 'low': -0.05, 'high': 0.2},
    'without an interval': {'point': 0.1, 'low': None, 'high': None},
}


@pytest.mark.parametrize('words', DIFFERENCES)
def test_no_sentence_says_more_than_its_interval(summary, words):
    [chains] = summary['revisions']['chains']
    last = {**chains['positions'][-1], 'over_first': DIFFERENCES[words], 'num_ended': 7}
    found = {**summary['revisions'], 'chains': [{**chains, 'positions': [*chains['positions'][:-1], last]}]}
    told = revisions_page.beside('pass_at_1_along_the_chain', found)
    assert f'which is {words};' in told and '7 of the chains ended before that' in told
    assert sum(other in told for other in DIFFERENCES) == 1


def test_the_best_ratio_is_told_with_those_like_it():
    group = {
        **{'vote': 'majority', 'verifier': None, 'agg_strategy': None, 'context': 4, 'budget': {'tokens': 2000}},
        'rows': [{'n': 4, 'ratio': ratio} for ratio in ('1:4', '1:1', '4:1')],
        'best': [{'n': 4, 'ratio': '1:1', 'over_parallel': DIFFERENCES['above the control'], 'also': ['4:1']}],
        'by_difficulty': [],
    }
    found = {'chains': [], 'ratios': [group]}
    told = revisions_page.beside('ratio', found)
    assert told.startswith('The paper: at large n a ratio in between is best over all questions. Here: ')
    assert told.endswith(
        'majority, shown up to 4 attempts, tokens≤2.00 k, at n = 4: 1:1 is highest (+10.0 [5.0, 20.0] points over parallel), '
        'not told apart from 4:1.'
    )
    group['best'][0]['also'] = ['1:4', '4:1']
    assert revisions_page.beside('ratio', found).endswith('not told apart from any other.')
    group['best'][0]['also'] = []
    assert revisions_page.beside('ratio', found).endswith('above all others.')


def test_every_figure_can_be_drawn_for_a_dark_page(summary):
    for _, plot, frame in revision_figures.revision_figures(summary)[:4]:
        assert drawing.png(plot, frame, theme='dark') != drawing.png(plot, frame)


def test_a_run_without_revisions_shows_nothing_of_it(run_folder):
    plain = metrics.metrics_of(read_run(run_folder))
    assert 'revisions' not in plain
    assert revision_figures.revision_figures(plain) == [] == revisions_page.section(plain)


def test_the_order_of_pools_and_records_changes_nothing(folder, summary):
    run = read_run(folder)
    turned = dataclasses.replace(run, records=run.records[::-1], pools=run.pools[::-1])
    assert metrics.metrics_of(turned)['revisions']['chains'] == metrics.metrics_of(run)['revisions']['chains']


def test_attempts_are_no_independent_samples_of_a_verifier(summary):
    health = summary['verifiers']['orm']
    assert health['num_solutions'] == 20 * 2 * 4  # the first attempts of 20 questions, 2 seeds, 4 chains
    assert [row['n'] for row in health['best_of_n']] == [1, 2, 4]
    [pool] = summary['pools']
    assert pool['pass_at'] == [] and pool['num_candidates'] == 8
    [chains] = summary['revisions']['chains']
    last = next(row for row in chains['verifiers']['orm']['auc'] if row['aggregation'] == 'last')
    assert last['first'] == pytest.approx(health['within_question_auc']['last'], abs=0.02)
    assert chains['verifiers']['orm']['num_attempts'] == 20 * 2 * 8


def test_difficulty_takes_each_first_attempt_once(tmp_path):
    folder = tmp_path / 'both'
    strategies = {'majority': {'kind': 'majority', 'n': 2}, **grid(4, 'majority')}
    pools = write_chain_run(folder, strategies, (1, 2, 4), num_questions=3)
    found = read_samples(folder).pools
    chains = {pool.question_id: pool for pool in pools if pool.pool == 'chains4'}
    assert len(found) == 3
    for pool in found:
        assert [c.sample for c in pool.candidates] == [0, 1, 2, 3] and all(c.revises is None for c in pool.candidates)
        assert pool.candidates == tuple(c for c in chains[pool.question_id].candidates if c.revises is None)


def test_chains_are_no_tree():
    chain = [attempt(0, turn, 'wrong', '2') for turn in range(3)]
    pool = dataclasses.replace(pool_of('a', [chain]), chosen={'answer': '2', 'votes': []})
    assert folded_tree(pool, '\n\n') is None


@pytest.mark.filterwarnings('ignore:Glyph')  # the figure shows a box for what its font lacks
def test_hostile_names_stay_text(tmp_path, monkeypatch):
    name = '</h4><script>alert(1)</script>\x1b[31m'
    strategies = {label + name: {**told, 'verifier': name} for label, told in grid(2, 'weighted').items()}
    write_chain_run(tmp_path / 'run', strategies, (1, 2), num_questions=4)
    summary = metrics.metrics_of(read_run(tmp_path / 'run'))
    [(_, plot, frame)] = [figure for figure in revision_figures.revision_figures(summary) if figure[0] == 'ratio']
    assert drawing.png(plot, frame)
    monkeypatch.setattr(revisions_page, 'picture_of', lambda name, plot, frame: '')
    page = '\n'.join(revisions_page.section(summary))
    assert '<script' not in page and '\x1b' not in page and 'script' not in Reader(page).tags


RATIOS = ((1, 64), (1, 16), (1, 8), (1, 4), (1, 2), (1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (64, 1))
FIFTY = {'accuracy': 50.0, 'low': 40.0, 'high': 60.0}


def test_the_ends_and_the_middle_of_many_ratios_have_ticks():
    frame = [
        {'group': 'orm', 'n': n, 'length': length, 'chains': chains, 'ratio': f'{length}:{chains}', **FIFTY}
        for n in (1, 64)
        for length, chains in RATIOS
    ]
    ax = Figure().add_subplot()
    revision_figures.plot_ratio(ax, frame)
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert {'1:64', '1:1', '64:1'} <= set(ticks) and len(ticks) == len(set(ticks)) <= 9
