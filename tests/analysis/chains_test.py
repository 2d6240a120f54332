"""Along chains: by hand on two questions, chains that end early, seeds, levels, verifiers."""

import dataclasses

import pytest

from jaxreason.analysis.chains import along_chains
from jaxreason.evaluate.sweep import Chains
from tests.analysis.chain_run import attempt, pool_of


def chain(number, answers, scores=None):
    """A chain by its answers, of which `1` is right."""
    told = [{name: each[turn] for name, each in (scores or {}).items()} for turn in range(len(answers))]
    verdicts = ['correct' if answer == '1' else 'wrong' for answer in answers]
    return [attempt(number, turn, verdicts[turn], answer, told[turn]) for turn, answer in enumerate(answers)]


PLAN = {'chains4': Chains(context=1, lengths=(3, 3, 1))}
# Chains of 3, 3 and 1 attempts; the second one of `a` had no room for its third.
A = pool_of('a', [chain(0, '211'), chain(1, '12'), chain(2, '1')])
B = pool_of('b', [chain(0, '223'), chain(1, '112'), chain(2, '3')])


def points(rows, name):
    return [None if row[name] is None else row[name]['point'] for row in rows]


@pytest.fixture(scope='module')
def found():
    [summary] = along_chains([A, B], PLAN, {'a': 1, 'b': 2, 'elsewhere': 3})
    return summary


def test_every_position_by_hand(found):
    rows = found['positions']
    assert [(row['position'], row['num_chains'], row['num_ended']) for row in rows] == [(1, 3, 0), (2, 2, 0), (3, 2, 1)]
    assert points(rows, 'pass_at_1') == pytest.approx([(2 / 3 + 1 / 3) / 2, (0.5 + 0.5) / 2, (0.5 + 0) / 2], abs=1e-6)
    assert points(rows, 'over_first') == [None, 0, pytest.approx(-0.25)]
    assert [row['beyond_context'] for row in rows] == [False, False, True]
    assert found['past_context']['point'] == -0.25  # from 2, the last that is shown all, to 3
    assert {name: found[name] for name in ('pool', 'context', 'num_questions', 'num_seeds', 'num_chains', 'length')} == {
        'pool': 'chains4',
        'context': 1,
        'num_questions': 2,
        'num_seeds': 1,
        'num_chains': 3,
        'length': 3,
    }


def test_flips_by_hand(found):
    rows = found['positions']
    assert points(rows, 'lost') == [None, 1 / 2, 1 / 2] and found['lost']['point'] == 2 / 4
    assert points(rows, 'won') == [None, 1 / 2, 0] and found['won']['point'] == pytest.approx(1 / 3, abs=1e-6)
    assert points(rows, 'repeated') == [None, 2 / 4, pytest.approx(1 / 3, abs=1e-6)]
    assert found['repeated']['point'] == pytest.approx(3 / 7, abs=1e-6)
    assert rows[2]['won']['num_questions'] == 1 and found['lost']['num_questions'] == 2


def test_the_control_of_flips_by_hand(found):
    # First attempts: 2 1 1 of `a` and 2 1 3 of `b`; ordered pairs.
    control = found['control']
    assert control['lost']['point'] == pytest.approx((2 * 1 + 1 * 2) / (2 * 2 + 1 * 2), abs=1e-6)
    assert control['won']['point'] == pytest.approx((1 * 2 + 2 * 1) / (1 * 2 + 2 * 2), abs=1e-6)
    assert control['repeated']['point'] == pytest.approx(2 / 12, abs=1e-6)
    assert found['by_difficulty'][0]['control']['lost']['point'] == 0.5
    [single] = along_chains([pool_of('a', [chain(0, '211')])], {})
    assert single['control'] == {'lost': None, 'won': None, 'repeated': None}


def test_an_interval_holds_its_point_and_one_question_has_none(found):
    last = found['positions'][2]['pass_at_1']
    assert (last['low'], last['high']) == (0, 0.5)
    [alone] = along_chains([A], PLAN)
    assert alone['positions'][2]['pass_at_1'] == {'point': 0.5, 'low': None, 'high': None}
    assert alone['by_difficulty'] == []


def test_without_a_plan_chains_were_to_be_as_long_as_they_are_anywhere(found):
    [summary] = along_chains([A, B], {})
    assert summary['context'] is None is summary['past_context'] and not any(
        row['beyond_context'] for row in summary['positions']
    )
    assert points(summary['positions'], 'pass_at_1') == points(found['positions'], 'pass_at_1')
    [alone] = along_chains([A], {})
    assert [row['num_chains'] for row in alone['positions']] == [3, 2, 1]


def test_levels_are_told_apart(found):
    parts = found['by_difficulty']
    assert [(part['level'], part['num_questions']) for part in parts] == [(1, 1), (2, 1)]
    assert points(parts[0]['positions'], 'pass_at_1') == [pytest.approx(2 / 3, abs=1e-6), 0.5, 0.5]
    assert points(parts[1]['positions'], 'pass_at_1') == [pytest.approx(1 / 3, abs=1e-6), 0.5, 0]
    assert (parts[0]['lost']['point'], parts[1]['lost']['point']) == (0.5, 0.5)


def test_seeds_of_a_question_are_averaged():
    wrong = pool_of('a', [chain(0, '222'), chain(1, '222'), chain(2, '2')], seed=1)
    [summary] = along_chains([A, wrong, B], PLAN)
    assert points(summary['positions'], 'pass_at_1') == pytest.approx(
        [(1 / 3 + 1 / 3) / 2, (0.25 + 0.5) / 2, 0.25 / 2], abs=1e-6
    )
    assert summary['num_seeds'] == 2 and summary['positions'][2]['num_ended'] == 1


def test_a_question_without_any_attempt_counts_as_wrong():
    [summary] = along_chains([A, dataclasses.replace(B, candidates=())], PLAN)
    assert points(summary['positions'], 'pass_at_1') == [pytest.approx(1 / 3, abs=1e-6), 0.25, 0.25]


def test_no_answer_twice_is_not_the_same_answer():
    pool = pool_of('a', [[attempt(0, turn, 'wrong', None) for turn in range(3)]])
    assert along_chains([pool], {})[0]['repeated']['point'] == 0


def test_independent_samples_are_no_chains():
    assert along_chains([pool_of('a', [chain(0, '1'), chain(1, '2')], name='samples')], {}) == []


def test_pools_are_told_apart():
    other = pool_of('a', [chain(0, '11')], name='chains1')
    assert [(each['pool'], each['length']) for each in along_chains([A, B, other], PLAN)] == [
        ('chains1', 2),
        ('chains4', 3),
    ]


def test_a_verifier_may_know_first_attempts_and_not_revisions():
    scores = {'base': [0.9, 0.2, 0.2], 'told': [0.9, 0.8, 0.7]}  # of a chain that stays right
    others = {'base': [0.1, 0.8, 0.8], 'told': [0.1, 0.2, 0.3]}  # of one that stays wrong
    pools = [pool_of(name, [chain(0, '111', scores), chain(1, '222', others)]) for name in 'ab']
    [summary] = along_chains(pools, {})
    told = {name: health['auc'][0] for name, health in summary['verifiers'].items()}
    assert [row['aggregation'] for row in summary['verifiers']['base']['auc']] == ['last', 'min', 'prod', 'mean']
    assert (told['base']['first']['point'], told['base']['revisions']['point']) == (1, 0)
    assert (told['told']['first']['point'], told['told']['revisions']['point']) == (1, 1)
    assert told['told']['against']['base']['point'] == 1 and told['base']['against']['told']['point'] == -1
    assert told['told']['revisions']['num_questions'] == 2
    assert summary['verifiers']['base']['num_attempts'] == 12 and summary['verifiers']['base']['num_unscored'] == 0


def test_attempts_without_scores_are_left_out_and_counted():
    mute = [dataclasses.replace(one, scores={'base': ()}) for one in chain(1, '2')]
    found = along_chains([pool_of('a', [chain(0, '11', {'base': [0.9, 0.8]}), mute])], {})[0]['verifiers']['base']
    assert (found['num_attempts'], found['num_unscored']) == (3, 1)
    assert found['auc'][0]['first'] is None and found['auc'][0]['revisions'] is None  # no wrong one is left to compare with
