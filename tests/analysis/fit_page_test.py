"""The text and the page of a fit: what a user gets is told apart from what no user gets, and strange names stay text."""

import copy
import shutil

import pytest
from matplotlib.figure import Figure

from jaxreason.analysis import drawing
from jaxreason.analysis.fit_figures import fit_figures
from jaxreason.analysis.fit_folder import is_fit, read_fit
from jaxreason.analysis.fit_page import headline, lines
from jaxreason.analysis.report import write_report
from jaxreason.core.errors import RunError
from tests.analysis.fit_example import write_synthetic_fit
from tests.analysis.report_test import HOSTILE, Reader

BOUND = 'an upper bound, uses answers, uncharged'


@pytest.fixture(scope='module')
def metrics(fit_folder):
    return read_fit(fit_folder).metrics


@pytest.fixture(scope='module')
def written(fit_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('report') / 'page.html'
    write_report([fit_folder], path)
    return path.read_text(encoding='utf-8')


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without pictures, whose drawing takes seconds."""
    monkeypatch.setattr(drawing, 'png', lambda *args, **named: b'')


def test_the_terminal_gets_aligned_columns(metrics):
    found = lines(metrics)
    start = found.index(next(line for line in found if line.startswith('per_question: no question')))
    table = found[start + 1 : start + 6]
    assert len({len(line) for line in table}) == 1 and all(len(line) <= 120 for line in table)
    assert [line.split()[0] for line in table] == ['n', '1', '4', '16', 'saving']
    charged = metrics['modes']['per_question']['curves']['charged'][2]['accuracy']
    assert f'{100 * charged["point"]:.1f} [{100 * charged["low"]:.1f}, {100 * charged["high"]:.1f}]' in table[3]
    assert not any('by 2 scores' in line for line in found)
    (row,) = [line for line in found if line.startswith('2 scores')]
    assert '25.0 M' in row and '0.9' in row and '%' in row


def test_what_no_user_gets_is_said_to_be_so(metrics):
    first, second, third = headline(metrics)
    saving = metrics['modes']['per_question']['saving']
    assert f'{saving["charged"]["point"]:.1f}x' in first and 'charged' in first and 'oracle' not in first
    assert f'{saving["fixed"]["point"]:.1f}x' in second and 'best fixed' in second
    assert BOUND in third and 'uncharged, as in the paper' in third


@pytest.mark.parametrize(
    'low, high, words',
    [
        (0.01, 0.03, 'clear of zero'),
        (-0.01, 0.03, 'not told apart'),
        (-0.03, -0.01, 'a loss'),
        (None, None, 'without an interval'),
    ],
)
def test_a_gap_is_called_no_more_than_its_interval_says(metrics, low, high, words):
    changed = copy.deepcopy(metrics)
    gaps = changed['modes']['per_question']['gaps']['charged']['over_fixed']
    next(row for row in gaps if row['n'] is None).update(low=low, high=high)
    assert words in headline(changed)[1]


def test_never_as_accurate_is_said(metrics):
    changed = copy.deepcopy(metrics)
    changed['modes']['per_question']['saving']['charged'].update(censored='at_most', never_reached=0.7)
    first = headline(changed)[0]
    assert 'never as accurate as best-of-n at n = 16' in first and '≤ ' in first and '70 % of resamples' in first


def test_the_page_of_a_fit(written, fit_folder):
    text = Reader(written).text
    for part in (
        'fit_one', 'model nano, commit a7c86be012+', 'Chosen by difficulty', BOUND, 'up to 4x', 'Budget per question',
        'Budget average', 'By difficulty', 'Estimates of difficulty', '2 scores (in the allocation)', 'kind: scores',
        'config.yaml', 'environment.json', 'allocation_oracle.yaml', '120 questions, 2 sampling seeds',
    ):  # fmt: skip
        assert part in text, part
    assert len(Reader(written).addresses) == 12  # light and dark
    assert (fit_folder / 'figures/accuracy_against_flops_average.png').stat().st_size > 1000


def test_the_bins_tell_what_was_chosen_and_what_it_reaches(written, metrics):
    part = metrics['modes']['per_question']['bins'][2]
    cell = part['chosen'][2]
    reached = next(row['accuracy'] for row in part['accuracy'] if (row['strategy'], row['n']) == (cell['strategy'], cell['n']))
    assert reached['low'] < reached['point'] < reached['high']
    assert f'{cell["strategy"]}, n = {cell["n"]}: {100 * reached["point"]:.0f} %' in Reader(written).text


def test_warnings_are_on_the_page_in_words(written, metrics):
    warnings = [warning for part in metrics['modes'].values() for warning in part['warnings']]
    assert warnings and all(f'Warning: {warning}' in Reader(written).text for warning in warnings)


def test_a_run_and_a_fit_share_a_page(fit_folder, run_folder, tmp_path, undrawn):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in (run_folder, fit_folder)]
    write_report(folders, tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert '<h2>synthetic</h2>' in page and '<h2>fit_one</h2>' in page


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp('hostile') / '<script>'
    write_synthetic_fit(folder, search=HOSTILE, estimate=f'x{HOSTILE}', predicted=f'y{HOSTILE}')
    return folder


def test_hostile_names_stay_text(hostile, tmp_path, undrawn):
    write_report([hostile], tmp_path / 'page.html')
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert 'script' not in Reader(page).tags and '<script' not in page and '\x1b' not in page and '\x00' not in page
    assert 'x</pre><script>' in Reader(page).text


@pytest.mark.filterwarnings('ignore:Glyph')  # the figure shows a box for what its font lacks
def test_hostile_names_can_be_drawn(hostile):
    for figure in fit_figures(read_fit(hostile).metrics):
        figure.plot(Figure().add_subplot(), figure.frame)
        assert not any('\x1b' in str(value) for row in figure.frame for value in row.values())


def test_a_damaged_fit_is_refused_in_a_line(fit_folder, tmp_path):
    assert is_fit(fit_folder) and not is_fit(tmp_path)
    for name, content in (('fit.json', '{'), ('fit.json', '{}'), ('fit.json', '[]'), ('environment.json', '[]')):
        broken = tmp_path / 'broken'
        broken.mkdir(exist_ok=True)
        for path in fit_folder.iterdir():
            if path.is_file():
                (broken / path.name).write_bytes(path.read_bytes())
        (broken / name).write_text(content)
        with pytest.raises(RunError, match='not a whole fit') as caught:
            write_report([broken], tmp_path / 'page.html')
        assert '\n' not in str(caught.value)
    (broken / 'allocation.yaml').unlink()
    with pytest.raises(RunError, match='not a whole fit'):
        read_fit(broken)
