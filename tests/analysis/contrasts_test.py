"""Sums of accuracies are formed question by question."""

import pytest

from jaxreason.analysis.contrasts import Answers, Cell, Term, change
from jaxreason.core.records import Block, Record


def record(question, strategy, n, is_right, seed=0, budget=()):
    block = Block(answer='1', verdict='correct' if is_right else 'wrong', cost={})
    return Record(
        question_id=question, strategy=strategy, n=n, budget=dict(budget), seed=seed, pool='samples', blocks=(block,), votes=()
    )


def answers(**right):
    """`beam_4='1100'`: which of the questions q0, q1, ... a cell gets right."""
    return Answers(
        record(f'q{index}', name.split('_')[0], int(name.split('_')[1]), digit == '1')
        for name, digits in right.items()
        for index, digit in enumerate(digits)
    )


def test_a_difference_is_paired():
    found = answers(beam_4='1110', base_4='0110', base_16='0001')
    difference = found.difference(Cell('beam', 4), Cell('base', 4))
    assert difference['point'] == 0.25 and 0 <= difference['low'] <= difference['high'] <= 1  # never a question lost
    assert found.difference(Cell('beam', 4), Cell('base', 16))['low'] < 0


def test_only_questions_that_are_asked_of_all_and_wanted():
    found = answers(beam_4='11', base_4='0110')
    assert found.difference(Cell('beam', 4), Cell('base', 4))['point'] == 0.5
    assert found.difference(Cell('beam', 4), Cell('base', 4), ['q1', 'q3'])['point'] == 0.0
    assert found.accuracy(Cell('base', 4), ['q9']) is None and found.accuracy(Cell('beam', 64)) is None


def test_a_change_of_a_lead():
    found = answers(beam_1='1100', base_1='1000', beam_4='1110', base_4='1111')
    assert change(found, 'beam', 'base', 1, 4)['point'] == -0.5
    assert found.total([Term(0.5, Cell('beam', 1)), Term(0.5, Cell('beam', 4))])['point'] == pytest.approx(0.625)


def test_seeds_are_averaged_and_budgets_left_out():
    found = Answers(
        [
            record('q', 'beam', 4, True),
            record('q', 'beam', 4, False, seed=1),
            record('q', 'cut', 4, True, budget={'tokens': 9}.items()),
        ]
    )
    assert found.accuracy(Cell('beam', 4)) == {'point': 0.5, 'low': None, 'high': None}
    assert found.labels == ['beam'] and found.ns('beam') == [4] and found.ns('beam', 'cut') == []
