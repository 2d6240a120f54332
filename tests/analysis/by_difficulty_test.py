"""Accuracy by difficulty: by hand on ten questions, and bins that must not be used."""

import dataclasses
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxreason.analysis import difficulty_page, metrics
from jaxreason.analysis.by_difficulty import by_difficulty
from jaxreason.analysis.difficulty_bins import Bins, read_bins
from jaxreason.analysis.difficulty_figures import TOGETHER, difficulty_figures, plot_by_difficulty
from jaxreason.analysis.report import write_report
from jaxreason.analysis.run_folder import Run, read_run
from jaxreason.core.errors import RunError
from jaxreason.core.records import to_line
from jaxreason.core.run_files import Samples
from tests.analysis.conftest import make_run, write_run
from tests.analysis.metrics_test import pool, record
from tests.analysis.report_test import HOSTILE, Reader

QUESTIONS = 'abcdefghij'  # from the hardest to the easiest
LEVELS = dict(zip(QUESTIONS, (5, 5, 4, 4, 3, 3, 2, 2, 1, 1), strict=True))
SAMPLES = [pool(question, ['correct'] * right + ['wrong'] * (9 - right), seed=1000) for right, question in enumerate(QUESTIONS)]
RUN = Run(
    name='scored',
    records=tuple(
        record(question, strategy, ['correct' if right else 'wrong'], n=n, pool=where)
        for place, question in enumerate(QUESTIONS)
        for strategy, where, right in (
            ('vote', 'samples', place >= 5),
            ('beam', 'beam.n4', place in (0, 1, 2, 9)),
            ('tree', 'tree.n4', place >= 8),
        )
        for n in ((1, 4) if strategy == 'vote' else (4,))
    ),
    pools=tuple(pool(question, ['wrong']) for question in QUESTIONS),
    config='',
    environment={},
    labels=('vote', 'beam', 'tree'),
)


def bins_of(pools, folder):
    (folder / 'pools').mkdir(parents=True)
    (folder / 'pools' / 'samples.jsonl').write_text(''.join(f'{to_line(each)}\n' for each in pools))
    (folder / 'config.yaml').write_text('model: {source: nano}\n')
    return read_bins(folder)


@pytest.fixture(scope='module')
def bins(tmp_path_factory):
    return bins_of(SAMPLES, tmp_path_factory.mktemp('runs') / 'bins')


@pytest.fixture(scope='module')
def found(bins):
    return metrics.metrics_of(RUN, bins)['by_difficulty']


def test_bins_come_from_the_samples_of_another_run(bins):
    assert bins.levels == LEVELS and bins.rates['c'] == 2 / 9
    assert (bins.samples.name, bins.samples.model, bins.seeds, bins.num_samples) == ('bins', 'nano', [1000], 9)


def test_every_level_by_hand(found):
    assert [part['num_questions'] for part in found['bins']] == [2] * 5
    assert [part['pass_rate'] for part in found['bins']] == pytest.approx(
        [8.5 / 9, 6.5 / 9, 4.5 / 9, 2.5 / 9, 0.5 / 9], abs=1e-6
    )
    told = {(row['strategy'], row['n'], row['level']): row for row in found['rows']}
    assert [told['vote', 4, level]['accuracy']['point'] for level in range(1, 6)] == [1, 1, 0.5, 0, 0]
    assert [told['beam', 4, level]['accuracy']['point'] for level in range(1, 6)] == [0.5, 0, 0, 0.5, 1]
    assert [told['beam', 4, level]['gain']['point'] for level in range(1, 6)] == [-0.5, -1, -0.5, 0.5, 1]
    assert [told['tree', 4, level]['gain']['point'] for level in range(1, 6)] == [0, -1, -0.5, 0, 0]
    assert all(row['num_questions'] == 2 and row['flops'] == 110 for row in found['rows'])
    assert told['beam', 4, 1]['accuracy'] == {'point': 0.5, 'low': 0, 'high': 1} and ('beam', 1, 1) not in told


def test_the_best_of_a_level_has_nothing_above_it(found):
    told = {(row['strategy'], row['level']): row['over_best'] for row in found['rows'] if row['n'] == 4}
    assert told['vote', 1] is None and told['beam', 5] is None
    assert (told['beam', 1]['baseline'], told['beam', 1]['point']) == ('vote', -0.5)
    assert (told['vote', 5]['baseline'], told['vote', 5]['point']) == ('beam', -1)
    assert (told['tree', 1]['baseline'], told['tree', 1]['point']) == ('vote', 0)  # as good, but named later


def test_the_page_tells_accuracy_and_differences_of_every_level(bins):
    summary = metrics.metrics_of(RUN, bins)
    text = Reader('\n'.join(difficulty_page.section(summary))).text.split('\n')
    start = next(index for index, word in enumerate(text) if word == 'beam')
    assert text[start : start + 7] == [
        'beam',
        '4',
        '50.0 [0, 100]',
        '0.0 [none]',
        '0.0 [none]',
        '50.0 [0, 100]',
        '100.0 [none]',
    ]
    assert 'over vote' in text and '-50.0 [-100.0, 0.0] vote' in text and '-100.0 [none] beam' in text


def test_levels_weighed_by_their_questions_give_the_whole(found):
    rows = metrics.metrics_of(RUN)['rows']
    for row in rows:
        parts = [part for part in found['rows'] if (part['strategy'], part['n']) == (row['strategy'], row['n'])]
        mean = np.average([p['accuracy']['point'] for p in parts], weights=[p['num_questions'] for p in parts])
        assert mean == pytest.approx(row['accuracy']['point'])


def test_without_bins_nothing_changes():
    assert 'by_difficulty' not in metrics.metrics_of(RUN)
    assert difficulty_page.section(metrics.metrics_of(RUN)) == [] == difficulty_figures(metrics.metrics_of(RUN))


def test_samples_that_set_a_bin_are_not_scored(bins, tmp_path):
    ours = bins_of([dataclasses.replace(each, seed=0) for each in SAMPLES], tmp_path / 'ours')
    with pytest.raises(RunError, match='^ours: its samples have seed 0, which scored has too: .*other seeds'):
        by_difficulty(RUN, [], ours)
    both = Bins(
        samples=Samples(name='two', pools=ours.samples.pools + bins.samples.pools), rates=bins.rates, levels=bins.levels
    )
    with pytest.raises(RunError, match='^two: its samples have seed 0'):
        both.check(RUN)


def test_questions_without_a_bin_are_counted_and_named(tmp_path):
    few = bins_of(SAMPLES[4:], tmp_path / 'few')
    with pytest.raises(
        RunError, match=r'^few: has samples of 6 of the 10 questions of scored, 4 are missing \(a, b, c, \.\.\.\)'
    ):
        few.check(RUN)
    more = bins_of([*SAMPLES, pool('k', ['correct'], seed=1000)], tmp_path / 'more')
    more.check(RUN)
    other = bins_of([dataclasses.replace(SAMPLES[0], gold='9'), *SAMPLES[1:]], tmp_path / 'other')
    with pytest.raises(RunError, match=r'^other: 1 of the questions of scored have another text or answer there \(a\)'):
        other.check(RUN)


def test_a_folder_without_independent_samples_is_refused(tmp_path):
    with pytest.raises(RunError, match='expected independent samples'):
        read_bins(tmp_path / 'nowhere')
    with pytest.raises(RunError, match='expected independent samples'):
        bins_of([dataclasses.replace(each, chosen={'answer': None, 'votes': []}) for each in SAMPLES], tmp_path / 'searched')
    (tmp_path / 'searched' / 'pools' / 'torn.jsonl').write_text(to_line(SAMPLES[0])[:-9])
    with pytest.raises(RunError, match=r'torn\.jsonl:1: '):
        read_bins(tmp_path / 'searched')
    with pytest.raises(RunError, match='expected samples of every question'):
        bins_of([dataclasses.replace(SAMPLES[0], candidates=())], tmp_path / 'empty')


def test_the_figure_shows_the_n_of_the_paper_and_every_level(bins):
    summary = metrics.metrics_of(RUN, bins)
    [(name, plot, frame)] = difficulty_figures(summary)
    assert name == 'accuracy_by_difficulty' and {row['n'] for row in frame} == {4}  # and not 1, which `vote` has too
    ax = Figure().add_subplot()
    plot(ax, frame)
    drawn = [bars[0].get_ydata().tolist() for bars in ax.containers]
    expected = [[row['accuracy']] for label in RUN.labels for row in frame if row['strategy'] == label]
    assert drawn == expected and len(drawn) == 15
    words = [text.get_text() for text in ax.get_xticklabels()]
    assert words == [
        '\n1, easiest\n2 questions',
        *(f'\n{level}\n2 questions' for level in (2, 3, 4)),
        '\n5, hardest\n2 questions',
    ]


def test_many_strategies_are_spread_over_figures_with_the_baseline_in_each(bins):
    labels = ['vote', *(f's{index}' for index in range(12))]
    records = [
        dataclasses.replace(each, strategy=label, pool=f'{label}.n{each.n}')
        for each in RUN.records
        for label in labels
        if each.strategy == 'vote'
    ]
    run = dataclasses.replace(RUN, records=tuple(records), labels=tuple(labels))
    made = difficulty_figures(metrics.metrics_of(run, bins))
    told = [list(dict.fromkeys(row['strategy'] for row in frame)) for _, _, frame in made]
    assert [name for name, _, _ in made] == [f'accuracy_by_difficulty_{part}' for part in (1, 2, 3)]
    assert all(names[0] == 'vote' and len(names) <= TOGETHER for names in told)
    assert [name for names in told for name in names[1:]] == labels[1:]
    tints = []
    for _, plot, frame in made:
        ax = Figure().add_subplot()
        plot(ax, frame)
        tints.append({bars.get_label(): bars[0].get_color() for bars in ax.containers})
    assert len({each['vote'] for each in tints}) == 1
    assert len({(each[name]) for each in tints for name in each if name in labels}) == len(labels)


def test_a_level_and_an_n_that_nobody_has_leave_a_gap():
    rows = [{'strategy': 'x', 'level': 5, 'num_questions': 3, 'n': 8, 'accuracy': 10.0, 'low': None, 'high': None}]
    ax = Figure().add_subplot()
    plot_by_difficulty(ax, rows)
    assert len(ax.containers) == 1


@pytest.mark.filterwarnings('ignore:Glyph')  # the figure shows a box for what its font lacks
def test_the_report_has_a_section_where_bins_are_given(tmp_path):
    records, pools = make_run(num_questions=12)
    records = [dataclasses.replace(each, strategy=HOSTILE) if each.strategy == 'best_of_n' else each for each in records]
    write_run(tmp_path / 'run', records, pools)
    bins = bins_of([dataclasses.replace(each, seed=7) for each in pools if each.seed == 0], tmp_path / 'bins')
    found = metrics.write_metrics(tmp_path / 'run', bins)
    summary = found.metrics
    assert json.loads((tmp_path / 'run' / 'metrics.json').read_text()) == summary
    write_report([tmp_path / 'run'], tmp_path / 'report.html', {tmp_path / 'run': found})
    text = Reader((tmp_path / 'report.html').read_text(encoding='utf-8')).text
    for part in (
        'Accuracy by difficulty',
        'among 16 independent samples a question of the run bins (model nano, seed 7)',
        'level 5',
    ):
        assert part in text
    assert {path.name for path in (tmp_path / 'run' / 'figures').glob('*difficulty*')} == {
        'accuracy_by_difficulty.png',
        'accuracy_by_difficulty.csv',
    }
    write_report([tmp_path / 'run'], tmp_path / 'plain.html')
    assert 'by difficulty' not in (tmp_path / 'plain.html').read_text(encoding='utf-8')
    assert (
        metrics.write_metrics(tmp_path / 'run', bins).metrics == summary == metrics.metrics_of(read_run(tmp_path / 'run'), bins)
    )
