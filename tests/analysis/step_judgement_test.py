"""What scores of step-labelled solutions are worth, against worlds in which the answer is known."""

import json

import numpy as np
import pytest

from jaxreason.analysis import step_judgement
from jaxreason.analysis.report import write_report
from jaxreason.analysis.run_folder import is_judgement, read_judgements
from jaxreason.core.errors import RunError
from jaxreason.core.judged_steps import JUDGEMENTS, JudgedSteps
from jaxreason.core.records import to_line


def judgement(number, num_steps, first_wrong, scores, group='', unscored=None):
    return JudgedSteps(
        id=f's-{number:03d}',
        question_id=f'q-{number // 2:03d}',
        group=group,
        num_steps=num_steps,
        first_wrong=first_wrong,
        scores=tuple(scores),
        unscored=unscored,
        cost={} if unscored else {'verify': 1000, 'scored_tokens': 10},
    )


def judgements(score, count=120, **fields):
    """Solutions of 6 steps; mistakes come later more often than sooner. `score(is_right, index, rng)` of each step."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        first = None if number % 3 == 0 else int(rng.choice(6, p=[0.05, 0.05, 0.1, 0.2, 0.3, 0.3]))
        scores = [score(first is None or index < first, index, rng) for index in range(6)]
        found.append(judgement(number, 6, first, scores, **fields))
    return found


@pytest.fixture(scope='module')
def perfect():
    return step_judgement.compute(judgements(lambda is_right, index, rng: 0.9 if is_right else 0.1))


def measured(metrics, name, of='verifier'):
    value = metrics['verifier'] if of == 'verifier' else metrics['baselines'][of]
    for key in step_judgement._MEASURES[name]:
        value = value[key]
    return value['point']


def test_who_knows_the_steps_gets_everything_right(perfect):
    for name in (
        'step AUC',
        'step AUC within questions',
        'accuracy of steps at 0.5',
        'first-error F1',
        'first-error F1 at 0.5',
    ):
        assert measured(perfect, name) == 1.0
    assert measured(perfect, 'ECE') == pytest.approx(0.1)
    assert perfect['flops'] == 120 * 1000 and perfect['cost']['scored_tokens'] == 1200
    assert (perfect['num_solutions'], perfect['num_questions'], perfect['num_steps'], perfect['num_error_free']) == (
        120,
        60,
        720,
        40,
    )


def test_what_reads_nothing_stands_beside_it(perfect):
    assert measured(perfect, 'step AUC', 'constant') == 0.5 and measured(perfect, 'ECE', 'constant') == pytest.approx(
        0, abs=1e-6
    )
    assert measured(perfect, 'first-error F1', 'constant') == 0.0
    share = perfect['verifier']['share_right']['point']
    assert measured(perfect, 'accuracy of steps at 0.5', 'constant') == pytest.approx(max(share, 1 - share), abs=1e-6)
    assert measured(perfect, 'step AUC', 'random') == pytest.approx(0.5, abs=0.05)
    assert 0 < measured(perfect, 'first-error F1', 'random') < 0.5
    # Mistakes come late here: whoever knows only the place of a step seems to know something.
    assert measured(perfect, 'step AUC', 'position') > 0.65
    blind = step_judgement.compute(judgements(lambda is_right, index, rng: 1 / (2 + index)))
    assert blind['verifier'] == blind['baselines']['position']


def test_a_threshold_that_suits_is_found_on_other_questions():
    low = step_judgement.compute(judgements(lambda is_right, index, rng: 0.04 if is_right else 0.02))
    assert measured(low, 'first-error F1') == 1.0 and measured(low, 'first-error F1 at 0.5') == 0.0


def test_unscored_solutions_are_left_out_and_counted():
    scored = judgements(lambda is_right, index, rng: 0.9 if is_right else 0.1)
    lost = [judgement(900, 4, 2, (), unscored='too_long'), judgement(901, 1, None, (), unscored='nan')]
    metrics = step_judgement.compute([*scored, *lost])
    assert metrics['unscored'] == {'nan': 1, 'too_long': 1} and metrics['num_steps'] == 725 and metrics['num_one_step'] == 1
    assert metrics['verifier']['num_unscored'] == 2 and measured(metrics, 'first-error F1') == 1.0
    assert metrics['baselines'].keys() == {'position', 'random', 'constant'}
    assert all(found['num_unscored'] == 2 for found in metrics['baselines'].values())  # judged on the same solutions
    assert 'Unscored and left out: 1 nan, 1 too long.' in step_judgement.caption(metrics)


def test_a_run_without_a_single_score_has_metrics_too():
    metrics = step_judgement.compute([judgement(0, 3, 1, (), unscored='text')])
    assert metrics['verifier']['step_auc'] is None and metrics['unscored'] == {'text': 1}
    assert {cell for row in step_judgement.rows(metrics)[1:] for cell in row[1:]} == {'–'}


def test_groups_are_told_apart():
    good = judgements(lambda is_right, index, rng: 0.9 if is_right else 0.1, group='<b>A</b>')
    bad = [judgement(500 + number, 6, one.first_wrong, [1 - s for s in one.scores], 'B') for number, one in enumerate(good)]
    metrics = step_judgement.compute([*good, *bad])
    heads, first, second = step_judgement.group_rows(metrics)
    assert heads[:4] == ('group', 'solutions', 'unscored', 'step AUC')
    assert first[:4] == ('<b>A</b>', '120', '0', '1.000 [none]') and second[3].startswith('0.000')
    assert step_judgement.group_rows(step_judgement.compute(good)) == []  # of one group the table of all tells everything


def write_run(folder, judged):
    folder.mkdir()
    (folder / JUDGEMENTS).write_text(''.join(to_line(one) + '\n' for one in judged))
    (folder / 'config.yaml').write_text('verifier: {source: some/prm}\n')
    return folder


def test_the_report_shows_it_and_escapes_it(tmp_path):
    judged = [judgement(number, 2, number % 2, (0.3, 0.6), group=('<script>', 'B')[number % 2]) for number in range(8)]
    folder = write_run(tmp_path / 'champ run', judged)
    write_report([folder], tmp_path / 'report.html')
    text = (tmp_path / 'report.html').read_text()
    assert 'champ run' in text and 'verifier some/prm' in text and 'first-error F1' in text and 'position only' in text
    assert '&lt;script&gt;' in text and '<script' not in text
    metrics = step_judgement.write_metrics(folder)
    assert json.loads((folder / 'metrics.json').read_text()) == metrics
    before = (folder / 'metrics.json').read_bytes()
    step_judgement.write_metrics(folder)
    assert (folder / 'metrics.json').read_bytes() == before


def test_the_tables_are_printed(capsys, perfect):
    step_judgement.print_tables(perfect, title='a run')
    text = capsys.readouterr().out
    assert 'a run' in text and 'step AUC within questions' in text and '1.000 [none]' in text and 'group' not in text
    assert '120 solutions of 60 questions, 720 steps; 40 solutions have no wrong step' in text


def test_damaged_judgements_are_named(tmp_path):
    folder = write_run(tmp_path / 'run', judgements(lambda is_right, index, rng: 0.5, count=2))
    assert is_judgement(folder) and len(read_judgements(folder).judged) == 2 and not is_judgement(tmp_path)
    (folder / JUDGEMENTS).write_text('{"id": "x"}\n')
    with pytest.raises(RunError, match=r'judgements\.jsonl:1: '):
        read_judgements(folder)
    (folder / JUDGEMENTS).write_text('')
    with pytest.raises(RunError, match='let the run finish first'):
        read_judgements(folder)
