"""A duel whose every number is known, from folders to tables, figures and page; and what does not belong together."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxreason.analysis.match_inputs import read_inputs
from jaxreason.analysis.match_sides import BEST_FIXED, CHARGED, COMPUTE_OPTIMAL, small_curves
from jaxreason.analysis.matching import match, to_text
from jaxreason.analysis.matching_figures import matching_figures
from jaxreason.analysis.matching_page import csv_of, gains, parities, points, read_match, section
from jaxreason.analysis.report import write_report
from jaxreason.analysis.training_cost import training_cost
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.flops import muon_flops, training_flops
from jaxreason.core.records import to_line
from jaxreason.evaluate.match_config import MatchConfig
from tests.analysis.duel_runs import QUESTIONS, SEEDS, architecture, question, write_bins, write_duel, write_training
from tests.analysis.metrics_test import pool
from tests.analysis.report_test import Reader

LEVELS = '12345'


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return write_duel(tmp_path_factory.mktemp('duel'))


@pytest.fixture(scope='module')
def table(written):
    config = config_files.load(MatchConfig, written)
    return match(config, read_inputs(config))


@pytest.fixture
def base(written, tmp_path):
    """A copy that may be damaged, and how to read it."""
    shutil.copytree(written.parent / 'runs', tmp_path / 'runs')
    (tmp_path / 'duel.yaml').write_text(written.read_text().replace(str(written.parent), str(tmp_path)))
    return tmp_path


def read(base, *overrides):
    return read_inputs(config_files.load(MatchConfig, base / 'duel.yaml', overrides))


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    'ratio, k, n, expected',
    [
        ('0.16', 257.75, 64, (10, 20, 10, -10, -20)),
        ('0.79', 63.367089, 16, (10, 10, 10, -10, -20)),
        ('22', 15.772727, 4, (0, -10, 0, -20, -30)),
    ],
)
def test_every_cell_by_hand(table, ratio, k, n, expected):
    duel = table['duel']['arxiv'][ratio]
    assert all((cell['k'], cell['n']) == (k, n) for cell in duel.values())
    assert [duel[level]['points'] for level in LEVELS] == pytest.approx(expected)
    halved = table['duel']['iclr'][f'{float(ratio) / 2:g}']
    assert [halved[level] for level in LEVELS] == [duel[level] for level in LEVELS]


def test_relative_gains_and_their_signs_beside_the_paper(table):
    duel = table['duel']['arxiv']
    told = [duel['0.16'][name]['gain'] for name in ('easy', 'medium', 'hard', 'all')]
    assert told == pytest.approx([100 * 3 / 16, 20, -100 / 3, 100 / 30], abs=1e-5)
    cells = {(cell['ratio'], cell['group']): cell for cell in table['paper'] if cell['convention'] == 'arxiv'}
    assert [cells[0.16, name]['paper'] for name in ('easy', 'medium', 'hard')] == [21.6, 27.8, 11.8]
    assert cells[22, 'hard']['paper'] == -37.2 and cells[22, 'hard']['sign'] == '-' and cells[22, 'hard']['agrees']
    assert cells[0.16, 'hard']['sign'] in '0-' and cells[0.16, 'hard']['agrees'] is not True
    for cell in cells.values():
        ours = duel[f'{cell["ratio"]:g}'][cell['group']]
        is_clear = ours['low'] is not None and (ours['low'] > 0 or ours['high'] < 0)
        assert (cell['agrees'] is None) == (not is_clear)


def test_what_compute_optimal_beats_and_what_bounds_it(table):
    rows = {
        (row['curve'], row['rival'], row['group']): row
        for row in table['rows']
        if (row['convention'], row['ratio']) == ('arxiv', 0.79)
    }
    assert {curve for curve, _, _ in rows} == {'compute-optimal', 'best fixed', 'majority', 'greedy'}
    assert {rival for _, rival, _ in rows} == {'greedy', 'majority of 1', 'majority of 4', 'majority of 16'}
    assert rows['compute-optimal', 'greedy', 'all']['small'] == 0.6
    assert rows['best fixed', 'greedy', 'all']['small'] == pytest.approx(27 / 50)  # the tree: 8, 7, 6, 4, 2
    assert rows['majority', 'greedy', 'all']['small'] == pytest.approx(18 / 50)
    assert (rows['greedy', 'greedy', 'all']['n'], rows['greedy', 'greedy', 'all']['small']) == (1, pytest.approx(12 / 50))
    several = rows['compute-optimal', 'majority of 16', 'all']
    assert (several['k'], several['n'], several['large']) == (pytest.approx(16 * 14 + 39 / 0.79), 64, pytest.approx(34 / 50))


def test_break_even_by_hand(table):
    even = {
        row['group']: row
        for row in table['break_even']
        if (row['convention'], row['curve'], row['rival']) == ('arxiv', 'compute-optimal', 'greedy')
    }
    assert [even[level]['ratio'] for level in LEVELS] == ['always', 'always', 'always', 'never', 'never']
    assert even['all']['ratio'] == pytest.approx(39 / 2)
    assert even['4']['never'] > 0.5 and even['4']['low'] == 'never'


def test_what_was_spent_pays_for_training_labels_and_verifiers(table, written):
    runs = written.parent / 'runs'
    small, large = (training_flops(architecture(width), 20) * 50 for width in (16, 64))
    assert training_cost(runs / 'sft_large')[1:4] == (large, 1000, architecture(64).num_parameters)
    assert table['small']['training_flops'] == 2 * small + 12345 and table['large']['training_flops'] == large
    for ratio, cells in table['duel']['spent'].items():
        questions = float(ratio) * 1000 / 5  # answers have 5 tokens, training had 1,000
        assert cells['all']['k'] == pytest.approx((large - 2 * small - 12345) / questions + 14_000)
    rows = [row for row in table['rows'] if row['convention'] == 'spent' and row['n'] is not None]
    assert rows and all(row['small_flops'] <= row['k'] for row in rows)
    config = config_files.load(MatchConfig, written, ['ratios=[10000]', 'conventions=[spent]'])
    rows = match(config, read_inputs(config))['rows']
    worn = {row['curve']: row for row in rows if (row['rival'], row['group']) == ('greedy', 'all')}
    # Hardly more than the 14,000 of a greedy answer: four solutions and their scores are 8,000, sixteen votes without 16,000.
    assert (worn['compute-optimal']['n'], worn['compute-optimal']['small_flops']) == (4, 8_000)
    assert (worn['majority']['n'], worn['majority']['small_flops']) == (4, 4_000)
    assert 14_000 < worn['majority']['k'] < 15_000


def test_every_update_by_muon_is_paid(tmp_path):
    write_training(tmp_path / 'plain', 16, optimiser='{learning_rate: 1}')
    write_training(tmp_path / 'muon', 16, optimiser='{kind: muon}')
    plain, muon = (training_cost(tmp_path / name).flops for name in ('plain', 'muon'))
    assert muon == plain + 10 * muon_flops(architecture(16))


def test_a_frozen_trunk_runs_forward_only(tmp_path):
    write_training(tmp_path / 'whole', 16)
    write_training(tmp_path / 'frozen', 16, source='whole', trunk='frozen')
    assert training_cost(tmp_path / 'frozen').flops == round(training_cost(tmp_path / 'whole').flops / 3)
    assert training_cost(tmp_path / 'frozen').began_as == 'whole'
    path = tmp_path / 'frozen' / 'environment.json'
    environment = json.loads(path.read_text())
    edit(path, states='once')
    read, rows = training_cost(tmp_path / 'frozen'), environment['rows']
    assert read.flops == pytest.approx(training_cost(tmp_path / 'whole').flops / 3 * rows['tokens'] / read.tokens, abs=1)
    edit(path, head_parameters=7)
    assert training_cost(tmp_path / 'frozen').flops == read.flops + 42 * read.tokens, 'the head learns at every pass'


def test_nothing_is_chosen_on_what_is_scored(base):
    """One question answered right by one strategy alone must not make its own fold choose that strategy."""
    lines = (base / 'runs/small/records.jsonl').read_text().splitlines()
    flipped = []
    for line in lines:
        record = json.loads(line)
        if record['strategy'] == 'tree' and record['question_id'] == 'q000':  # level 1, where the vote is chosen
            record['blocks'][0]['verdict'] = 'wrong'
        flipped.append(json.dumps(record))
    (base / 'runs/small/records.jsonl').write_text('\n'.join(flipped) + '\n')
    config = config_files.load(MatchConfig, base / 'duel.yaml')
    found = match(config, read_inputs(config))
    assert found['duel']['arxiv']['0.16']['1']['small'] == 1.0


def test_the_same_folders_give_the_same_bytes(table, written):
    config = config_files.load(MatchConfig, written)
    assert to_text(match(config, read_inputs(config))) == to_text(table)
    assert all(value in csv_of(table) for value in ('arxiv,0.16,greedy,compute-optimal,easy', 'k,n,small_flops'))
    assert csv_of(table).count('\n') == 1 + len(table['rows'])


def test_tables_page_and_figures_say_what_the_numbers_say(table, written, tmp_path):
    out = tmp_path / 'runs' / 'match'
    out.mkdir(parents=True)
    (out / 'match.json').write_text(to_text(table))
    (out / 'config.yaml').write_text('small: <script>')
    first = gains(table)[1]
    assert first[:4] == ('arXiv', '0.16', '257.75', '64') and first[4].startswith('+18.8 [') and first[5].startswith('+21.6')
    assert points(table)[3][1].startswith('+0.0 [') and parities(table)[1][2].startswith('any [')
    run = read_match(out)
    text = Reader('\n'.join(section(run))).text
    for part in ('Relative gain at equal FLOPs', 'Break-even R', 'none [none, none]', '257.75'):
        assert part in text, part
    write_report([out], tmp_path / 'report.html')
    assert '<script' not in (tmp_path / 'report.html').read_text()
    names = {path.name for path in (out / 'figures').iterdir()}
    assert names == {f'duel_{word}.{kind}' for word in ('arxiv', 'iclr', 'spent') for kind in ('png', 'csv')}


def test_a_figure_puts_the_larger_model_where_its_money_lies(table):
    (_, plot, frame), _, (_, _, spent) = matching_figures(table)
    stars = {(row['level'], row['ratio']): row for row in frame if row['model'] == 'large'}
    assert stars['4', 0.16]['n'] == 257.75 and stars['4', 22]['accuracy'] == 50
    assert all(row['flops'] is None for row in stars.values())
    assert all(row['flops'] > 14_000 and row['n'] is None for row in spent if row['model'] == 'large')
    ax = Figure().add_subplot()
    plot(ax, frame)
    drawn = {line.get_label(): line.get_ydata().tolist() for line in ax.lines if line.get_label().startswith('level')}
    assert drawn == {
        f'level {level}': [row['accuracy'] for row in frame if row['model'] == 'small' and row['level'] == level]
        for level in LEVELS
    }


@pytest.mark.parametrize(
    'name, words', [('tokenizer', 'another tokenizer: tokens'), ('data', 'other questions'), ('prompt', 'another prompt')]
)
def test_sides_that_do_not_belong_together_are_refused(base, name, words):
    edit(base / 'runs/large/environment.json', **{name: 'x' * 64})
    with pytest.raises(RunError, match=rf'large: has {words}.*xxxxxxxxxxxx, .*small has'):
        read(base)


def test_bins_that_do_not_fit_are_refused(base):
    shutil.rmtree(base / 'runs/bins')
    write_bins(base / 'runs/bins', seed=2)
    with pytest.raises(RunError, match='^bins: its samples have seed 2, which small has too'):
        read(base)
    shutil.rmtree(base / 'runs/bins')
    write_bins(base / 'runs/bins')
    edit(base / 'runs/bins/environment.json', weights='x' * 64)
    with pytest.raises(RunError, match='bins: has samples of another policy'):
        read(base)


def test_a_larger_model_without_greedy_answers_is_refused(base):
    path = base / 'runs/large/records.jsonl'
    path.write_text(''.join(line for line in path.read_text().splitlines(keepends=True) if '"greedy"' not in line))
    with pytest.raises(RunError, match='large: expected greedy answers of the larger model, its strategies are majority'):
        read(base)


def test_a_size_ratio_below_one_is_refused(base):
    for ratio in ('0.9', '-14', '0'):
        with pytest.raises(ConfigError, match='size_ratio must be at least 1'):
            read(base, f'size_ratio={ratio}')
    assert read(base, 'size_ratio=auto').size_ratio == architecture(64).num_parameters / architecture(16).num_parameters
    for name, value in (('sft_small', 99_999_999), ('sft_large', 10)):
        edit(base / f'runs/{name}/environment.json', parameters=value)
    with pytest.raises(ConfigError, match='^size_ratio must be at least 1, large has 10 parameters and small 99,999,999'):
        read(base, 'size_ratio=auto')


@pytest.mark.parametrize(
    'override',
    [
        'ratios=[0.16, 0]',
        'ratios=[-1]',
        'ratios=[]',
        'folds=1',
        'resamples=5',
        'conventions=[]',
        'large_samples=[0]',
        'ratios=[1, 1]',
    ],
)
def test_impossible_values_are_refused(base, override):
    with pytest.raises(ConfigError, match=override.split('=')[0]):
        read(base, override)


def test_training_that_is_not_that_of_the_policy_is_refused(base):
    runs = base / 'runs'
    with pytest.raises(ConfigError, match='small.training must name the run folders'):
        read(base, 'small.training=[]')
    assert read(base, 'small.training=[]', 'large.training=[]', 'conventions=[arxiv]').size_ratio == 14
    with pytest.raises(ConfigError, match=r'must begin with the run that made the policy of small \(runs/sft_small\), got prm'):
        read(base, f'small.training=[{runs}/prm, {runs}/sft_small]')
    write_training(runs / 'elsewhere/sft_small', 16, source='smollm2')
    with pytest.raises(ConfigError, match='sft_small began as smollm2, of whose training nothing is known'):
        read(base, f'small.training=[{runs}/elsewhere/sft_small]')
    with pytest.raises(RunError, match='bins: expected a finished run of jaxreason train or label'):
        read(base, f'small.training=[{runs}/sft_small, {runs}/bins]')


def test_training_folders_that_are_not_whole_are_refused(base):
    runs = base / 'runs'
    (runs / 'labels/summary.json').write_text('{"flops": "many"}')
    with pytest.raises(RunError, match=r'summary\.json: expected its flops as a whole number, got many'):
        read(base)
    (runs / 'labels/summary.json').write_text('{"flops": 12')
    with pytest.raises(RunError, match=r'summary\.json: expected a JSON object, got damaged text'):
        read(base)
    (runs / 'sft_large/checkpoints/10/model.json').write_text('{"architecture": 3}')
    with pytest.raises(RunError, match=r'model\.json: expected an architecture, got 3'):
        training_cost(runs / 'sft_large')
    shutil.rmtree(runs / 'sft_large/checkpoints/10')
    with pytest.raises(RunError, match='sft_large: expected a checkpoint, there is none'):
        training_cost(runs / 'sft_large')
    edit(runs / 'sft_small/environment.json', rows={'tokens': 5})
    with pytest.raises(RunError, match='sft_small: expected tokens of every step and of all rows'):
        training_cost(runs / 'sft_small')


def test_records_that_are_torn_or_miss_cells_are_refused(base):
    path = base / 'runs/small/records.jsonl'
    whole = path.read_text()
    path.write_text(whole[:-30])
    with pytest.raises(RunError, match=r'records\.jsonl:\d+: expected one record a line, got a damaged one'):
        read(base)
    path.write_text(''.join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match=r'small: 1 of 1,500 cells are missing'):
        read(base)
    path.write_text(whole)
    large = base / 'runs/large/records.jsonl'
    large.write_text(''.join(line for line in large.read_text().splitlines(keepends=True) if 'q049' not in line))
    with pytest.raises(RunError, match='large: has records of 49 questions, .*small of 50'):
        read(base)


def write_votes(folder, unlike):
    """Four samples a question and seed: the easier its level, the more of them agree."""
    (folder / 'pools').mkdir()
    lines = []
    for index in range(QUESTIONS):
        for seed in SEEDS:
            drawn = pool(question(index), ['wrong'] * 6, seed=seed)
            answers = [str(max(0, place - 5 + index // 10)) if unlike else 'x' for place in range(6)]
            told = [dataclasses.replace(c, answer=a) for c, a in zip(drawn.candidates, answers, strict=True)]
            lines.append(to_line(dataclasses.replace(drawn, candidates=tuple(told))) + '\n')
    (folder / 'pools' / 'samples.jsonl').write_text(''.join(lines))


@pytest.mark.parametrize('unlike', [True, False])
def test_an_estimate_is_charged_and_worth_what_it_tells_apart(base, unlike):
    write_votes(base / 'runs/small', unlike)
    overrides = ['small.estimates={votes: {kind: votes, n: 6}}', 'conventions=[spent]']
    config = config_files.load(MatchConfig, base / 'duel.yaml', overrides)
    curves = small_curves(config, read_inputs(config))
    oracle, charged, fixed = (curves[name] for name in (COMPUTE_OPTIMAL, CHARGED, BEST_FIXED))
    budgets = charged.budgets
    accuracy = {n: [each.correct[place].mean() for each in (oracle, charged, fixed)] for place, n in enumerate(budgets)}
    if not unlike:  # nothing is told apart: nobody looks, nothing is charged
        assert np.array_equal(charged.correct, fixed.correct) and np.array_equal(charged.flops, fixed.flops)
        return
    assert accuracy[1][1] == accuracy[1][2] and accuracy[4][1] == accuracy[4][2]  # six samples are not paid
    place = budgets.index(64)
    assert accuracy[64][1] == pytest.approx(accuracy[64][0]) and accuracy[64][1] > accuracy[64][2]
    extra = (charged.flops - oracle.flops)[place]  # a tree pays the prompt and six samples, a vote draws them anyway
    assert set(extra.ravel()) == {0, 5 + 6 * 110}
    table = match(config, read_inputs(config))
    assert CHARGED in {row['curve'] for row in table['rows']} and 'charged' in ' '.join(table['notes'])


def test_an_estimate_without_samples_is_refused(base):
    config = config_files.load(MatchConfig, base / 'duel.yaml', ['small.estimates={votes: {kind: votes, n: 4}}'])
    with pytest.raises(RunError, match='small: expected independent samples'):
        small_curves(config, read_inputs(config))
    with pytest.raises(ConfigError, match='estimates.p: expected one that looks at first samples'):
        config_files.load(MatchConfig, base / 'duel.yaml', ['small.estimates={p: {kind: probe, verifier: p}}'])


def test_more_folds_than_questions_are_refused(base):
    config = config_files.load(MatchConfig, base / 'duel.yaml', ['folds=51'])
    with pytest.raises(ConfigError, match=r'match: folds must be from 2 to the number of questions \(50\), got 51'):
        match(config, read_inputs(config))


def test_a_strategy_that_is_not_there_is_refused(base):
    config = config_files.load(MatchConfig, base / 'duel.yaml', ['small.strategies=[vote, climb]'])
    with pytest.raises(RunError, match="small: expected records of 'climb', there are majority, greedy, vote, tree"):
        match(config, read_inputs(config))


def test_seeds_of_the_larger_model_are_those_of_the_small_one_or_one(base):
    path = base / 'runs/large/records.jsonl'
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join([*lines, *(line.replace('"seed":0', '"seed":7') for line in lines)]))
    with pytest.raises(RunError, match='large: has seeds 0, 7, the small model has 0, 1, 2'):
        read(base)
    path.write_text(''.join(line.replace('"seed":0', f'"seed":{seed}') for line in lines for seed in (0, 1, 2)))
    assert read(base).large.cells.seeds == (0, 1, 2)


def test_a_damaged_match_is_refused(tmp_path):
    (tmp_path / 'match.json').write_text('{"duel": {}}')
    with pytest.raises(RunError, match='not a whole match'):
        read_match(Path(tmp_path))
