"""The headline table as text."""

import pytest
from rich.console import Console

from jaxreason.analysis import metrics, tables
from jaxreason.core.quantities import quantity


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (0, '0'),
        (7, '7'),
        (12.345, '12.3'),
        (999.4, '999'),
        (999.6, '1.00 k'),
        (14_413_175_000, '14.4 G'),
        (9.996e9, '10.0 G'),
        (999.6e9, '1.00 T'),
        (1.5e24, '1.50 Y'),
    ],
)
def test_numbers_have_three_digits(value, expected):
    assert quantity(value) == expected


def test_percentages_carry_their_interval_or_say_that_there_is_none():
    assert tables.percent({'point': 0.5, 'low': 0.25, 'high': 1}) == '50.0 [25.0, 100.0]'
    assert tables.percent({'point': 1, 'low': None, 'high': None}) == '100.0 [none]'
    assert tables.gain({'point': -0.0123, 'low': -0.5, 'high': 0.01}) == '-1.2 [-50.0, 1.0]'
    assert tables.gain(None) == '–'


def test_a_narrow_terminal_folds_labels_and_cuts_no_number(run):
    summary = metrics.compute(run[0], run[1], ['majority'])
    console = Console(width=80, file=None, record=True, force_terminal=False, quiet=False)
    with console.capture() as captured:
        console.print(tables.rich_table(summary, 'a [bold]title[/bold]'))
    text = captured.get()
    assert '[bold]' in text and '…' not in text
    for row in tables.rows(summary):
        assert all(cell in text for cell in row[1:])


def test_markdown_has_a_line_for_every_row_and_states_its_basis(run):
    summary = metrics.compute(run[0], run[1], ['majority'])
    lines = tables.markdown(summary).splitlines()
    assert len({len(line) for line in lines if line.startswith('|')}) == 1
    assert sum(line.startswith('|') for line in lines) == 2 + len(summary['rows'])
    assert '40 questions, 2 seeds' in lines[-1] and 'over majority' in lines[-1]


def test_unjudged_answers_are_a_column_as_soon_as_there_is_one(run):
    records, pools = run
    assert 'unjudged' in tables.columns(metrics.compute(records, pools))
    judged = [record for record in records if record.question_id != 'q003']
    summary = metrics.compute(judged, pools)
    assert 'unjudged' not in tables.columns(summary)
    assert all(len(row) == len(tables.columns(summary)) for row in tables.rows(summary))


def test_a_budget_is_part_of_the_label():
    assert tables.label({'strategy': 'beam', 'budget': {'tokens': 2000, 'flops': 5e12}}) == 'beam flops≤5.00 T tokens≤2.00 k'


def test_a_pipe_gets_whole_lines(run, capsys):
    summary = metrics.compute(run[0], run[1], ['majority'])
    tables.print_table(summary, 'nano')
    lines = capsys.readouterr().out.splitlines()
    assert sum('] ' in line and line.rstrip().endswith(' G') for line in lines) == len(summary['rows'])
