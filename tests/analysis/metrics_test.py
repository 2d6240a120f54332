"""Metrics by hand on a small run, and the properties that make them trustworthy."""

import dataclasses
import json
import random

import pytest

from jaxreason.analysis import metrics
from jaxreason.analysis.rows import PHASES
from jaxreason.core.records import Block, Pool, PoolCandidate, Record


def record(question, strategy, verdicts, seed=0, n=2, budget=None, pool='samples'):
    blocks = tuple(
        Block(
            answer=None if v == 'none' else 'x',
            verdict='wrong' if v == 'none' else v,
            cost={'decode': 100, 'verify': 10, 'new_tokens': 7},
        )
        for v in verdicts
    )
    return Record(
        question_id=question, strategy=strategy, n=n, budget=budget or {}, seed=seed, pool=pool, blocks=blocks, votes=()
    )


def pool(question, verdicts, seed=0, name='samples', chosen=None):
    candidates = tuple(
        PoolCandidate(
            sample=index,
            text='',
            tokens=(1, 2, 3),
            step_ends=(3,),
            finish='stop' if index else 'length',
            answer='x',
            verdict=verdict,
            scores={},
            cost={'decode': 100, 'verify': 10},
            verified={},
        )
        for index, verdict in enumerate(verdicts)
    )
    return Pool(
        pool=name,
        question_id=question,
        seed=seed,
        question='?',
        gold='x',
        level='',
        subject='',
        cost={'prefill': 5},
        candidates=candidates,
        chosen=chosen,
    )


RECORDS = [
    record('a', 'base', ['correct', 'wrong']),
    record('a', 'base', ['wrong', 'wrong'], seed=1),
    record('b', 'base', ['wrong', 'none']),
    record('b', 'base', ['wrong', 'unjudged'], seed=1),
    record('a', 'ours', ['correct', 'correct']),
    record('b', 'ours', ['correct', 'wrong']),
]


def test_a_row_by_hand():
    ours, base = metrics.compute(RECORDS, labels=['base'])['rows'][::-1]
    assert (base['strategy'], base['num_questions'], base['num_seeds'], base['num_blocks']) == ('base', 2, 2, 2)
    assert base['accuracy']['point'] == 0.125  # question a: (1/2 + 0)/2, question b: 0
    assert base['accuracy_first_block']['point'] == 0.25
    assert base['answers'] == {'correct': 1, 'wrong': 6, 'unjudged': 1} and base['no_answer'] == 1
    assert base['gain'] is None
    assert base['flops']['total'] == 110 and base['flops']['verify'] == 10 and base['tokens']['new'] == 7
    assert ours['accuracy']['point'] == 0.75
    assert ours['gain']['point'] == 0.625 and ours['gain']['baseline'] == 'base'
    assert (ours['gain']['low'], ours['gain']['high']) == (0.5, 0.75)  # the two questions' own differences


def test_a_gain_is_only_over_equal_n_budget_and_shared_questions():
    records = [
        *RECORDS,
        record('c', 'ours', ['wrong']),
        record('a', 'ours', ['correct'], n=4),
        record('a', 'ours', ['correct'], budget={'tokens': 9}, pool='ours-tokens9'),
        record('a', 'base', ['wrong'], budget={'tokens': 8}, pool='base-tokens8'),
    ]
    rows = {
        (row['n'], *row['budget']): row
        for row in metrics.compute(records, labels=['base'])['rows']
        if row['strategy'] == 'ours'
    }
    assert rows[(2,)]['gain']['point'] == 0.625 and rows[(2,)]['gain']['num_questions'] == 2
    assert rows[(2,)]['num_questions'] == 3
    assert rows[(4,)]['gain'] is None and rows[(2, 'tokens')]['gain'] is None


def test_a_strategy_with_its_own_pool_is_compared_with_the_baseline():
    records = [*RECORDS, record('a', 'tree', ['wrong'], pool='tree'), record('b', 'tree', ['correct'], pool='tree')]
    tree = metrics.compute(records, labels=['base', 'tree'])['rows'][1]
    assert tree['strategy'] == 'tree' and tree['gain']['point'] == 0.375


def test_pass_at_k_is_of_independent_samples_only():
    pools = [pool('a', ['correct', 'wrong', 'wrong', 'wrong']), pool('b', ['wrong'] * 4)]
    pools += [pool('a', ['wrong', 'correct'], name='tree', chosen={}), pool('b', ['wrong'], name='tree', chosen={})]
    samples, tree = metrics.compute(RECORDS, pools)['pools']
    assert [(point['k'], point['point'], point['flops']) for point in samples['pass_at']] == [
        (1, 0.125, 105),
        (2, 0.25, 205),
        (4, 0.5, 405),
    ]
    assert samples['finish'] == {'length': 2, 'stop': 6} and samples['candidates'] == {'correct': 1, 'wrong': 7, 'unjudged': 0}
    assert samples['tokens_per_candidate'] == 3
    assert tree['pass_at'] == [] and tree['any_correct']['point'] == 0.5 and tree['num_candidates'] == 1


def test_pass_at_the_whole_pool_is_counted_where_its_size_is_no_power_of_two():
    assert [point['k'] for point in metrics.compute(RECORDS, [pool('a', ['wrong'] * 6)])['pools'][0]['pass_at']] == [1, 2, 4, 6]


def test_the_text_is_the_same_bytes_in_any_order(run):
    records, pools = run
    text = metrics.to_text(metrics.compute(records, pools, ['majority']))
    shuffled, mixed = list(records), list(pools)
    random.Random(1).shuffle(shuffled)
    random.Random(2).shuffle(mixed)
    assert metrics.to_text(metrics.compute(shuffled, mixed, ['majority'])) == text
    assert json.loads(text)['num_questions'] == 40


def test_the_file_holds_what_the_records_say(run, run_folder):
    summary = metrics.write_metrics(run_folder).metrics
    assert summary == metrics.compute(run[0], run[1], ['majority', 'best_of_n'])
    assert (run_folder / 'metrics.json').read_text() == metrics.to_text(summary)
    assert json.loads((run_folder / 'metrics.json').read_text()) == summary


def test_phases_add_up_and_coverage_bounds_every_strategy(run):
    summary = metrics.compute(run[0], run[1], ['majority'])
    bounds = {point['k']: point['point'] for point in summary['pools'][0]['pass_at']}
    for row in summary['rows']:
        assert row['flops']['total'] == pytest.approx(sum(row['flops'][phase] for phase in PHASES))
        assert row['accuracy']['low'] <= row['accuracy']['point'] <= row['accuracy']['high'] <= 1
        assert row['accuracy']['point'] <= bounds[row['n']] + 1e-6


def test_labels_order_the_rows_and_the_first_is_the_baseline(run):
    rows = metrics.compute(run[0], run[1], ['majority', 'best_of_n'])['rows']
    assert [(row['strategy'], row['n']) for row in rows] == [
        (s, n) for s in ('majority', 'best_of_n') for n in (1, 2, 4, 8, 16)
    ]
    assert {row['gain']['baseline'] for row in rows if row['gain']} == {'majority'}
    assert all(row['gain'] is None for row in metrics.compute(run[0], run[1])['rows'])


def test_what_cannot_be_summarised_is_refused():
    for records, labels, match in [
        ([], (), 'at least one record'),
        (RECORDS, ['other'], "baseline 'other'.*base, ours"),
        ([dataclasses.replace(RECORDS[0], blocks=())], (), 'no block'),
    ]:
        with pytest.raises(ValueError, match=match):
            metrics.compute(records, labels=labels)
