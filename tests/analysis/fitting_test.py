"""A fit of folders with a planted crossing: known gains, honest words where there is nothing, the same bytes twice."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.estimators import FirstVotes, Known
from jaxreason.allocation.fit import Mode
from jaxreason.allocation.table import read_allocation
from jaxreason.analysis.fit_folder import write_fit
from jaxreason.analysis.fit_inputs import read_inputs
from jaxreason.analysis.fit_page import lines
from jaxreason.analysis.fitting import fit
from jaxreason.core.errors import ConfigError
from tests.analysis import fit_run

# Of easy and hard questions, half each: best-of-n 0.9 and 0.1, beam search 0.6 and 0.5, both the best of their kind at n = 4.
BEST, FIXED, REFERENCE = 0.7, 0.55, 0.5


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return fit_run.write_fit(tmp_path_factory.mktemp('fit'))


@pytest.fixture(scope='module')
def inputs(path):
    return read_inputs(fit_run.read_config(path))


@pytest.fixture(scope='module')
def found(path, inputs):
    return fit(fit_run.read_config(path), inputs)


def at(rows, n):
    return next(row for row in rows if row['n'] == n)


def test_the_planted_crossing_is_worth_what_it_is_worth(found):
    curves = found.metrics['modes']['per_question']['curves']
    assert at(curves['oracle'], 4)['accuracy']['point'] == pytest.approx(BEST, abs=0.03)
    assert at(curves['fixed'], 4)['accuracy']['point'] == pytest.approx(FIXED, abs=0.03)
    assert at(curves['oracle'], 1)['accuracy']['point'] == pytest.approx(0.325, abs=0.02), (
        'one solution leaves nothing to choose'
    )
    gap = at(found.metrics['modes']['per_question']['gaps']['oracle']['over_fixed'], 4)
    assert gap['point'] == pytest.approx(BEST - FIXED, abs=0.03) and gap['low'] < gap['point'] < gap['high']
    assert gap['questions_needed'] == pytest.approx(80 * (gap['detectable'] / gap['point']) ** 2, abs=1.1)
    assert found.metrics['reference'] == {
        'strategy': 'best of n', 'n': 4, 'flops': 450.0,
        'accuracy': {'point': REFERENCE, 'low': pytest.approx(0.41, abs=0.06), 'high': pytest.approx(0.59, abs=0.06)},
    }  # fmt: skip
    overall = at(found.metrics['modes']['per_question']['gaps']['oracle']['over_fixed'], None)
    singles = found.metrics['modes']['per_question']['gaps']['oracle']['over_fixed'][:-1]
    assert overall['point'] == pytest.approx(np.mean([row['point'] for row in singles]), abs=1e-5)


def test_looking_is_charged_and_the_oracle_and_the_papers_estimate_are_not(found):
    curves = found.metrics['modes']['per_question']['curves']
    # Best-of-n of 4 costs 10 + 4 x 110, beam search 10 + 4 x 150.
    assert at(curves['oracle'], 4)['flops'] == pytest.approx((450 + 610) / 2)
    assert at(curves['predicted'], 4) == {**at(curves['oracle'], 4), 'accuracy': at(curves['predicted'], 4)['accuracy']}
    assert at(curves['charged'], 4)['flops'] == pytest.approx((450 + 610) / 2 + 40), 'five solutions are too many: not by votes'
    assert found.metrics['modes']['per_question']['used'] == ['known', 'known'] and found.metrics['estimate'] == 'known'
    assert at(curves['charged'], 1)['flops'] == pytest.approx(110), 'where nothing is to choose nobody looks'


def test_what_an_estimate_loses_is_told(found):
    losses = found.metrics['modes']['per_question']['estimates']
    assert set(losses) == {'votes', 'known'} and 'estimates' not in found.metrics['modes']['average']
    assert at(losses['known'], 4)['loss']['point'] == pytest.approx(0.0, abs=1e-9), 'it cuts the bins of the oracle'
    assert at(losses['votes'], 4)['loss']['point'] == pytest.approx(BEST - FIXED, abs=0.03)


def test_bins_show_what_every_cell_reaches(found):
    easy, hard = found.metrics['modes']['per_question']['bins']
    assert (easy['level'], easy['num_questions'], easy['pass_rate']) == (1, 40, 1.0)
    assert (hard['level'], hard['num_questions'], hard['pass_rate']) == (2, 40, 0.0)
    assert [each['chosen'][1]['strategy'] for each in (easy, hard)] == ['best of n', 'beam']
    assert {(c['strategy'], c['n']): c['accuracy']['point'] for c in hard['accuracy']} == {
        cell: pytest.approx(chance[1] / 100) for cell, chance in fit_run.CHANCE.items()
    }


def test_the_allocation_is_what_was_found_and_can_be_deployed(found, path, inputs, tmp_path):
    write_fit(tmp_path / 'out', fit_run.read_config(path), inputs, found)
    allocation = read_allocation(str(tmp_path / 'out' / 'allocation.yaml'))
    assert allocation == found.allocation
    assert isinstance(allocation.difficulty, Known) and allocation.difficulty.estimate == 'four'
    strategy = ComputeOptimal(allocation=str(tmp_path / 'out' / 'allocation.yaml'), n=4)
    assert [type(each).__name__ for each in strategy.row.bins] == ['BestOfN', 'BeamSearch'] and strategy.row.bins[1].n == 4
    assert len(set(allocation.row(1).bins)) == 1, 'nobody looks where there is nothing to choose'
    fitted = allocation.fitted
    assert (fitted.policy, fitted.data, fitted.verifiers) == ('w' * 64, 'd' * 64, {'prm': 'v' * 64})
    assert fitted.grid == {'majority': (1, 4), 'best of n': (1, 4), 'beam': (4,)} and fitted.num_questions == 80
    evidence = allocation.row(4).evidence
    assert [each.num_questions for each in evidence] == [40, 40]
    assert [each.accuracy.point for each in evidence] == [pytest.approx(0.9), pytest.approx(0.5)]
    assert [each.flops for each in evidence] == [450.0, 610.0], 'difficulty is not included'
    for each in evidence:
        assert each.accuracy.low < each.accuracy.point < each.accuracy.high
    bound = read_allocation(str(tmp_path / 'out' / 'allocation_oracle.yaml'))
    assert bound == found.bound and bound.difficulty.estimate == 'oracle'


def test_another_estimate_is_used_where_it_alone_is_there(path, inputs):
    config = fit_run.read_config(path, 'budgets=[4, 5]', 'estimates={votes: {kind: votes, n: 1, cuts: [0.5]}}')
    config = dataclasses.replace(config, budgets=(4,), mode=Mode.AVERAGE)
    alone = dataclasses.replace(inputs, candidates=inputs.candidates[:1])
    with pytest.raises(ConfigError, match="'best of n' at n = 5"):
        fit(dataclasses.replace(config, budgets=(4, 5)), alone)
    result = fit(config, alone)
    assert isinstance(result.allocation.difficulty, FirstVotes) and result.allocation.difficulty.cuts == (0.5,)


def test_the_same_records_give_the_same_bytes(path, inputs, found, tmp_path):
    config = fit_run.read_config(path)
    again = fit(config, read_inputs(config))
    for name, result in (('a', found), ('b', again)):
        write_fit(tmp_path / name, config, inputs, result)
    for file in ('fit.json', 'allocation_oracle.yaml', 'config.yaml'):
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes(), file
    assert found.allocation == again.allocation
    assert json.loads((tmp_path / 'a' / 'fit.json').read_text()) == json.loads(json.dumps(found.metrics))


def test_a_saving_says_what_it_is_a_bound_of(found):
    """Compute-optimal at n = 4 is better than the reference: it is there between its two budgets, or with its first."""
    savings = found.metrics['modes']['per_question']['saving']
    assert set(savings) == {'oracle', 'predicted', 'charged', 'fixed'}
    oracle = savings['oracle']
    assert oracle['censored'] == '' and 450 / 530 < oracle['point'] < 450 / 110
    assert oracle['low'] <= oracle['point'] <= oracle['high']


def without_crossing(inputs):
    """Everybody is best at best-of-n."""
    correct = inputs.cells.correct.copy()
    correct[:, :, 4] = 0.0
    cells = dataclasses.replace(inputs.cells, correct=correct, first=correct)
    candidates = tuple(
        dataclasses.replace(each, correct=correct.reshape(160, 5)) for each in (*inputs.candidates, inputs.oracle)
    )
    return dataclasses.replace(inputs, cells=cells, candidates=candidates[:2], oracle=candidates[2], predicted=None)


def test_where_there_is_nothing_to_find_it_says_so(path, inputs):
    found = fit(fit_run.read_config(path), without_crossing(inputs)).metrics['modes']['per_question']
    assert at(found['gaps']['charged']['over_fixed'], 4)['point'] == pytest.approx(0.0, abs=0.03)
    assert any('charged' in warning and 'not told apart from none' in warning for warning in found['warnings'])
    assert any('charged: the saving is not told apart from 1x' in warning for warning in found['warnings'])
    assert 'predicted' not in found['curves']


def test_a_curve_that_never_gets_there_is_warned_of(path, inputs):
    """Its bound of at most 3x is no saving: the reference costs three times as much, and is out of reach."""
    flops, correct = inputs.cells.flops.copy(), inputs.cells.correct.copy()
    flops[:, :, 3], correct[:, :, 3] = 3000.0, 1.0
    cells = dataclasses.replace(inputs.cells, flops=flops, correct=correct)
    config = dataclasses.replace(fit_run.read_config(path), budgets=(1,))
    found = fit(config, dataclasses.replace(inputs, cells=cells)).metrics['modes']['per_question']
    saving = found['saving']['oracle']
    assert saving['censored'] == saving['low_censored'] == 'at_most' and saving['never_reached'] == 1.0
    assert saving['low'] > 1
    assert any('oracle: the saving is not told apart from 1x' in warning for warning in found['warnings'])


def test_a_dozen_questions_give_an_interval_or_none_but_no_error(tmp_path):
    """A resample of few questions may have all of them in one fold."""
    for number in (2, 6):
        folder = tmp_path / str(number)
        run = fit_run.write_run(folder / 'run', number)
        bins = fit_run.write_difficulty(folder / 'bins', number)
        config = fit_run.read_config(fit_run.write_fit(folder, [run], bins), 'resamples=100')
        result = fit(config, read_inputs(config))
        assert result.metrics['questions'] == number and lines(result.metrics)


def test_a_budget_that_pays_nothing_is_refused(path, inputs):
    config = fit_run.read_config(path, 'strategies=[beam]')
    with pytest.raises(ConfigError, match='budgets: 1 pays no strategy, the least begins 4 solutions'):
        fit(config, read_inputs(config))
    with pytest.raises(ConfigError, match='folds must be from 2 to the number of questions'):
        fit(dataclasses.replace(fit_run.read_config(path), folds=81), inputs)


def test_an_average_budget_is_what_the_reference_spends(found):
    curve = at(found.metrics['modes']['average']['curves']['oracle'], 4)
    assert curve['flops'] <= 450 * 1.02
    assert curve['accuracy']['point'] >= REFERENCE - 0.03


def test_the_lines_for_a_terminal_name_everything(found):
    text = '\n'.join(lines(found.metrics))
    for words in ('as accurate as best of n at n = 4', 'per_question: no question gets more', 'estimate used: known', 'saving',
                  'votes', 'points over the best fixed strategy', 'average: questions share'):  # fmt: skip
        assert words in text
