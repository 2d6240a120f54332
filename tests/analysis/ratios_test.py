"""Sequential against parallel: by hand on ten questions."""

import dataclasses

import pytest

from jaxreason.analysis.ratios import by_ratio, compare_verifiers
from jaxreason.analysis.rows import group_of, grouped, row_of
from jaxreason.core.errors import ConfigError
from tests.analysis.chain_run import grid
from tests.analysis.metrics_test import record

QUESTIONS = 'abcdefghij'
STRATEGIES = grid(4, 'majority')
RIGHT = {'majority 1 x 4': 'abcde', 'majority 2 x 2': 'abcdefgh', 'majority 4 x 1': 'abcdef'}  # at n = 4; at others none
LEVELS = {question: 1 + (question > 'e') for question in QUESTIONS}


def records_of(right, ns=(1, 4), pool='chains4'):
    return [
        record(question, label, ['correct' if n == 4 and question in known else 'wrong'], n=n, pool=pool)
        for label, known in right.items()
        for n in ns
        for question in QUESTIONS
    ]


def compared(records, strategies, levels=None):
    groups = grouped(records)
    rows = [row_of(group, groups, None) for group in sorted(groups)]
    assert {group_of(row) for row in rows} == set(groups)
    return by_ratio(records, rows, strategies, levels)


@pytest.fixture(scope='module')
def group():
    records = [r for r in records_of(RIGHT) if r.n == 4 or r.strategy != 'majority 2 x 2']
    [found] = compared(records, STRATEGIES, LEVELS)
    return found


def test_rows_by_hand(group):
    told = [(row['n'], row['ratio'], row['length'], row['chains'], row['accuracy']['point']) for row in group['rows']]
    assert told == [(1, '1:1', 1, 1, 0), (4, '1:4', 1, 4, 0.5), (4, '1:1', 2, 2, 0.8), (4, '4:1', 4, 1, 0.6)]
    assert [row['over_parallel'] and row['over_parallel']['point'] for row in group['rows']] == [None, None, 0.3, 0.1]
    assert [row['over_parallel'] and row['over_parallel']['baseline'] for row in group['rows']][2] == 'majority 1 x 4'
    assert all(row['flops'] == 110 for row in group['rows'])
    assert (group['vote'], group['verifier'], group['agg_strategy'], group['context'], group['budget']) == (
        'majority',
        None,
        None,
        4,
        {},
    )


def test_at_one_attempt_all_ratios_are_one(group):
    # Labelled 1:4 and 4:1, both are a single attempt there: the one that was configured first is told.
    assert [row['strategy'] for row in group['rows'] if row['n'] == 1] == ['majority 1 x 4']


def test_the_best_and_what_cannot_be_told_from_it(group):
    [best] = group['best']
    assert (best['n'], best['ratio'], best['accuracy']['point'], best['over_parallel']['point']) == (4, '1:1', 0.8, 0.3)
    assert best['also'] == ['1:4', '4:1']  # 3 and 2 of ten questions: the intervals reach 0
    records = [r for r in records_of({**RIGHT, 'majority 4 x 1': '', 'majority 1 x 4': ''}) if r.n == 4]
    [clear] = compared(records, STRATEGIES)
    assert clear['best'][0]['ratio'] == '1:1' and clear['best'][0]['also'] == []


def test_levels_by_hand(group):
    parts = group['by_difficulty']
    assert [(part['level'], part['num_questions']) for part in parts] == [(1, 5), (2, 5)]
    told = [{row['ratio']: row['accuracy']['point'] for row in part['rows'] if row['n'] == 4} for part in parts]
    assert told == [{'1:4': 1, '1:1': 1, '4:1': 1}, {'1:4': 0, '1:1': 0.6, '4:1': 0.2}]
    assert parts[0]['best'][0]['ratio'] == '1:4' and parts[0]['best'][0]['also'] == [
        '1:1',
        '4:1',
    ]  # of equal ones the most parallel
    assert parts[1]['best'][0]['over_parallel']['point'] == pytest.approx(0.6)


def test_independent_samples_stand_for_chains_of_one():
    strategies = {
        'vote': {'kind': 'majority', 'n': 4},
        'best': {'kind': 'best_of_n', 'n': 4, 'verifier': 'orm'},
        **grid(4, 'majority'),
        **grid(4, 'weighted', verifier='orm'),
    }
    known = {'vote': 'abc', 'best': 'abcd', 'majority 4 x 1': 'abcdef', 'weighted 4 x 1': 'abcde'}
    found = compared(records_of(known), strategies)
    assert [(group['vote'], group['verifier'], group['agg_strategy']) for group in found] == [
        ('majority', None, None),
        ('weighted', 'orm', 'last'),
    ]
    sides = [{row['ratio']: row['strategy'] for row in group['rows'] if row['n'] == 4} for group in found]
    assert sides == [{'1:4': 'vote', '4:1': 'majority 4 x 1'}, {'1:4': 'best', '4:1': 'weighted 4 x 1'}]
    assert [group['best'][0]['over_parallel']['point'] for group in found] == [pytest.approx(0.3), pytest.approx(0.1)]


def test_verifiers_are_compared_on_the_same_attempts():
    strategies = {
        **grid(4, 'majority'),
        **{f'orm {label}': told for label, told in grid(4, 'weighted', verifier='orm').items()},
        **{f'prm {label}': told for label, told in grid(4, 'weighted', verifier='prm').items()},
    }
    known = {'majority 2 x 2': 'abc', 'orm weighted 2 x 2': 'abcdef', 'orm weighted 4 x 1': 'abc', 'prm weighted 2 x 2': 'abcd'}
    [row] = compare_verifiers(records_of(known, ns=(4,)), strategies)
    assert (row['strategy'], row['other'], row['n'], row['ratio']) == ('orm weighted 2 x 2', 'prm weighted 2 x 2', 4, '1:1')
    assert (row['length'], row['chains'], row['difference']['point']) == (2, 2, pytest.approx(0.2))


def test_what_chooses_otherwise_is_another_group():
    strategies = {
        'a': {'kind': 'revision', 'chains': 1, 'length': 4, 'vote': 'majority'},
        'b': {'kind': 'revision', 'chains': 2, 'length': 2, 'vote': 'majority', 'context': 2},
        'c': {'kind': 'revision', 'chains': 2, 'length': 2, 'vote': 'naive', 'verifier': 'orm'},
        'd': {'kind': 'revision', 'chains': 2, 'length': 2, 'verifier': 'orm', 'agg_strategy': 'min'},
    }
    found = compared(records_of(dict.fromkeys(strategies, 'abc'), ns=(4,)), strategies)
    assert len(found) == 4 and all(group['best'] == [] and len(group['rows']) == 1 for group in found)


def test_what_worked_under_a_limit_is_another_group():
    free = records_of(RIGHT, ns=(4,))
    held = [dataclasses.replace(each, budget={'tokens': 9}, pool=f'{each.strategy}.tokens9') for each in free]
    groups = compared([*free, *held[: len(QUESTIONS)]], STRATEGIES)
    assert [(group['budget'], len(group['rows'])) for group in groups] == [({}, 3), ({'tokens': 9}, 1)]


def test_a_run_that_does_not_revise_has_no_ratios():
    assert compared(records_of({'vote': 'abc'}), {'vote': {'kind': 'majority', 'n': 4}, 'odd': 1}) == []


def test_a_setting_that_nobody_knows_is_named():
    with pytest.raises(ConfigError, match='chain_length'):
        compared(records_of({'x': 'abc'}), {'x': {'kind': 'revision', 'chains': 1, 'chain_length': 4}})
