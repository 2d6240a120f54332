"""Records as a table: what is averaged, what is left out, what is refused."""

import numpy as np
import pytest

from jaxreason.allocation.cells import Cell, read_cells
from tests.allocation.tables import make_record


def all_records(questions=('b', 'a'), seeds=(1, 0), cells=(('vote', 1), ('vote', 2), ('beam', 2))):
    return [make_record(q, strategy, n, seed, flops=100 * n) for q in questions for seed in seeds for strategy, n in cells]


def test_a_cell_is_the_mean_over_disjoint_searches_and_knows_the_first():
    records = all_records(('a',), (0,), (('vote', 1),))
    records[0]['blocks'] = [
        *make_record('a', 'vote', 1, 0, (False, True, True), flops=100)['blocks'],
        {'answer': None, 'verdict': 'unjudged', 'cost': {'verify': 40, 'probe': 60, 'lookahead': 30, 'discarded': 9}},
    ]
    cells = read_cells(records)
    assert cells.correct[0, 0, 0] == 0.5 and cells.first[0, 0, 0] == 0.0
    assert cells.flops[0, 0, 0] == 100.0, 'parts of the phases are not counted again'
    assert cells.first_flops[0, 0, 0] == 100.0
    records[0]['blocks'][0]['cost'] = {'decode': 500}
    assert read_cells(records).first_flops[0, 0, 0] == 500.0 and read_cells(records).flops[0, 0, 0] == 200.0


def test_questions_and_seeds_ascend_and_strategies_come_as_told():
    cells = read_cells(all_records(), ('vote', 'beam'))
    assert cells.questions == ('a', 'b') and cells.seeds == (0, 1)
    assert cells.cells == (Cell('vote', 1), Cell('vote', 2), Cell('beam', 2))
    assert read_cells(all_records()).strategies == ('beam', 'vote'), 'alphabetical where nobody says'
    assert cells.correct.shape == (2, 2, 3)
    np.testing.assert_array_equal(cells.flops[0, 0], [100, 200, 200])
    shuffled = read_cells(all_records()[::-1], ('vote', 'beam'))
    np.testing.assert_array_equal(shuffled.flops, cells.flops)


def test_a_cell_is_found_by_name_or_it_is_said_what_there_is():
    cells = read_cells(all_records(), ('vote', 'beam'))
    assert cells.index('beam', 2) == 2
    with pytest.raises(ValueError, match="'vote' at n = 64, it has n = 1, 2"):
        cells.index('vote', 64)
    with pytest.raises(ValueError, match="'dvts' at n = 2, there are vote, beam"):
        cells.index('dvts', 2)


def test_some_strategies_of_a_table():
    cells = read_cells(all_records(), ('vote', 'beam')).only(('beam', 'vote'))
    assert cells.cells == (Cell('beam', 2), Cell('vote', 1), Cell('vote', 2))
    np.testing.assert_array_equal(cells.flops[1, 1], [200, 100, 200])
    with pytest.raises(ValueError, match="records of 'dvts', there are vote, beam"):
        read_cells(all_records(), ('vote', 'beam')).only(('dvts',))


def test_records_under_a_budget_of_their_own_are_left_out():
    limited = [make_record('a', 'vote', 4, 0, budget={'tokens': 30}), make_record('c', 'vote', 1, 0, budget={'flops': 9})]
    assert read_cells([*all_records(), *limited]).questions == ('a', 'b')
    for none in ([], limited):
        with pytest.raises(ValueError, match='there are none'):
            read_cells(none)


def test_missing_cells_are_counted_and_some_are_named():
    with pytest.raises(ValueError, match=r'1 of 12 cells are missing \(beam at n = 2, seed 0, a\)'):
        read_cells(all_records()[:-1])
    lone = [*all_records(), make_record('z', 'vote', 1, 0)]
    with pytest.raises(ValueError, match='5 of 18 cells are missing .*, ...'):
        read_cells(lone)


def test_a_cell_that_is_told_twice_is_refused():
    with pytest.raises(ValueError, match="'vote' at n = 1 of 'a' under seed 0 twice"):
        read_cells([*all_records(), make_record('a', 'vote', 1, 0)])


@pytest.mark.parametrize(
    'damage',
    [
        {'blocks': []}, {'blocks': 3}, {'blocks': [{}]}, {'blocks': [{'verdict': 'correct', 'cost': 7}]},
        {'blocks': [{'verdict': 'correct', 'cost': {'decode': 'many'}}]}, {'question_id': []}, {'n': 'four'}, {'seed': None},
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_in_words(damage):
    with pytest.raises(ValueError, match='damaged'):
        read_cells([*all_records(), {**make_record('a', 'dvts', 1, 0), **damage}])
