"""Allocations as files: written, read again, by hand, and wrong."""

import dataclasses
import sys

import pytest

from jaxreason.allocation.estimators import FirstScores, FirstVotes
from jaxreason.allocation.table import Allocation, Budgeted, Evidence, Fitted, Interval, read_allocation
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.majority import Majority

LOOK = FirstScores(n=2, verifier='prm', agg_strategy='min', cuts=(0.1 + 0.2, sys.float_info.max))
BINS = (Majority(n=4), BestOfN(n=2, verifier='prm', vote='naive'), BeamSearch(n=4, beam_width='sqrt', verifier='prm'))
EVIDENCE = tuple(
    Evidence(strategy=name, num_questions=1 / 3, accuracy=Interval(point=0.5, low=0.25), flops=1e9) for name in 'abc'
)
FITTED = Fitted(
    mode='average', policy='p' * 64, tokenizer='t', prompt='q', sampler={'stop': '["a\\nb"]'}, verifiers={'prm': 'v'}, data='d',
    num_questions=9, seeds=(0, 7), grid={'best of n, "quoted"': (1, 2)}, folds=2, runs=('runs/a b',),
)  # fmt: skip


def make(**fields):
    row = Budgeted(n=4, bins=BINS, held_out=Interval(point=0.5), flops=2.5e9, evidence=EVIDENCE)
    return Allocation(**{'difficulty': LOOK, 'table': (row, Budgeted(n=16, bins=BINS)), 'fitted': FITTED, **fields})


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / 'allocation.yaml'
    for allocation in (make(), make(fitted=None)):
        path.write_text(config_files.dump(allocation))
        assert read_allocation(str(path)) == allocation


def test_a_file_by_hand_needs_no_more_than_difficulty_and_table(tmp_path):
    path = tmp_path / 'hand.yaml'
    path.write_text('difficulty: {kind: votes, n: 4, cuts: [0.5]}\ntable:\n- n: 4\n  bins:\n  - {kind: majority, n: 4}\n'
                    '  - {kind: best_of_n, n: 4, verifier: prm}\n')  # fmt: skip
    found = read_allocation(str(path))
    assert found == Allocation(
        difficulty=FirstVotes(n=4, cuts=(0.5,)), table=(Budgeted(n=4, bins=(Majority(n=4), BestOfN(n=4, verifier='prm'))),)
    )
    assert found.judges == ('prm',)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('difficulty: {kind: votes, n: 4}\ntable: []\n', 'a row a budget'),
        ('difficulty: {kind: votes, n: 4}\ntable: [{n: 4, bins: []}]\n', 'a strategy for every bin'),
        ('difficulty: {kind: votes, n: 4, cuts: [1]}\ntable: [{n: 4, bins: [{kind: majority, n: 1}]}]\n', '1 cuts make 2 bins'),
        ('difficulty: {kind: vote, n: 4}\ntable: [{n: 4, bins: [{kind: majority, n: 1}]}]\n', 'votes'),
        ('difficulty: {kind: votes, n: 4}\ntable: [{n: 4, bins: [{kind: majorities, n: 1}]}]\n', 'majority'),
        ('difficulty: {kind: votes, n: 4}\ntable: [{n: 4, bins: [{kind: compute_optimal}]}]\n', 'compute_optimal'),
        ('difficulty: {kind: votes, n: 4}\ntable: [{n: 0, bins: [{kind: majority, n: 1}]}]\n', 'at least one solution'),
        ('difficulty: {kind: votes, n: 4}\ntable: [{n: 4, bins: [{kind: majority, n: 1}], evidense: []}]\n', 'evidence'),
        ('table: []\n', 'difficulty'),
        ('difficulty: [', 'bad.yaml'),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path, text, words):
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        read_allocation(str(path))
    assert '\n' not in str(error.value)


def test_budgets_ascend_and_evidence_is_that_of_every_bin():
    row = make().table[0]
    for numbers in ((4, 4), (16, 4)):
        with pytest.raises(ValueError, match=f'n = {numbers[0]}, {numbers[1]}'):
            make(table=tuple(dataclasses.replace(row, n=n) for n in numbers))
    with pytest.raises(ValueError, match='that of 3 bins, got 2'):
        dataclasses.replace(row, evidence=EVIDENCE[:2])


def test_a_budget_takes_the_largest_row_that_it_pays():
    allocation = make()
    assert [allocation.row(n).n for n in (4, 5, 15, 16)] == [4, 4, 4, 16]
    for n in (3, 17):
        with pytest.raises(ValueError, match=f'n = 4 to 16, got {n}'):
            allocation.row(n)
