"""What a fit may read together, and what it refuses."""

import json

import numpy as np
import pytest

from jaxreason.analysis.fit_inputs import read_inputs
from jaxreason.core.errors import ConfigError, JaxreasonError, RunError
from tests.analysis import fit_run


@pytest.fixture
def path(tmp_path):
    return fit_run.write_fit(tmp_path)


def read(path, *overrides):
    return read_inputs(fit_run.read_config(path, *overrides))


def test_everything_is_read_and_charged_as_it_is(path):
    inputs = read(path)
    assert inputs.cells.correct.shape == (80, 2, 5)
    assert inputs.cells.strategies == ('majority', 'best of n', 'beam'), 'in the order of the configuration'
    assert inputs.generations.tolist() == [1, 4, 1, 4, 4]
    assert inputs.oracle.values.tolist() == [1.0, 1.0, 0.0, 0.0] * 40
    np.testing.assert_array_equal(inputs.oracle.flops, inputs.cells.flops.reshape(160, 5))
    np.testing.assert_array_equal(inputs.predicted.flops, inputs.oracle.flops, 'reported uncharged')
    votes, known = inputs.candidates
    assert votes.name == 'votes' and votes.values.tolist() == [1.0, 1.0, 0.0, 0.0] * 40 and votes.cuts == (0.5,)
    assert (votes.flops - inputs.oracle.flops)[0].tolist() == [0, 0, 0, 0, 110], 'a prompt and a sample before beam search'
    assert votes.generations.tolist() == [1, 4, 1, 4, 5]
    assert known.name == 'known' and set((known.flops - inputs.oracle.flops).ravel()) == {40.0}
    assert inputs.environment['verifiers'] == {'prm': 'v' * 64} and inputs.sampler['temperature'] == '1.0'


def test_a_lookahead_counts_its_rollouts_once(path):
    folder = path.parent / 'run'
    text = (folder / 'config.yaml').read_text()
    (folder / 'config.yaml').write_text(text.replace('beam_width: 2', 'beam_width: 2, lookahead: 1'))
    assert read(path).generations.tolist() == [1, 4, 1, 4, 4], 'n of a record is in generations already'


def test_strategies_and_baselines_choose_what_is_read(path):
    inputs = read(path, 'strategies=[beam]', 'baselines=[majority]')
    assert inputs.cells.strategies == ('beam', 'best of n', 'majority'), 'the reference is always there'
    assert read(path, 'strategies=[beam]').cells.strategies == ('beam', 'best of n', 'majority')


def test_several_runs_are_read_together(tmp_path):
    first, second = (fit_run.write_run(tmp_path / name) for name in ('a', 'b'))
    for folder, kept in ((first, ('majority', 'best of n')), (second, ('beam',))):
        lines = [
            line for line in (folder / 'records.jsonl').read_text().splitlines(True) if json.loads(line)['strategy'] in kept
        ]
        (folder / 'records.jsonl').write_text(''.join(lines))
    (second / 'environment.json').write_text(json.dumps({**fit_run.ENVIRONMENT, 'verifiers': {'second': 's' * 64}}))
    inputs = read(fit_run.write_fit(tmp_path, [first, second]))
    assert inputs.cells.correct.shape == (80, 2, 5)
    assert inputs.environment['verifiers'] == {'prm': 'v' * 64, 'second': 's' * 64}, 'an allocation is checked against all'


def refused(words, path, *overrides, error=RunError):
    with pytest.raises(error, match=words) as found:
        read(path, *overrides)
    assert '\n' not in str(found.value) and isinstance(found.value, JaxreasonError)


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ('field', 'words'),
    [('weights', 'its policy is not that'), ('data', 'its set of questions is not that'), ('tokenizer', 'tokenizer'),
     ('prompt', 'prompt')],
)  # fmt: skip
def test_bins_of_another_policy_or_of_other_questions_are_refused(path, field, words):
    change(path.parent / 'bins' / 'environment.json', **{field: 'another'})
    refused(rf'bins: .*{words}.*another, there .*belong together', path)


def test_samples_that_are_scored_set_no_bin(path):
    change(path.parent / 'bins' / 'environment.json', seeds=[9, 1])
    refused('its samples have seed 1, which .*run has too', path)


@pytest.mark.parametrize('field', ['weights', 'data', 'seeds', 'prompt'])
def test_runs_that_do_not_belong_together_are_refused(tmp_path, field):
    runs = [fit_run.write_run(tmp_path / 'a'), fit_run.write_run(tmp_path / 'b', **{field: [5] if field == 'seeds' else 'x'})]
    refused('b: its .* is not that of .*a', fit_run.write_fit(tmp_path, runs))


def test_runs_that_draw_otherwise_are_refused(tmp_path):
    runs = [fit_run.write_run(tmp_path / 'a'), fit_run.write_run(tmp_path / 'b')]
    (runs[1] / 'config.yaml').write_text(fit_run.CONFIG.replace('temperature: 1.0', 'temperature: 0.5'))
    refused('b: its temperature is not that of .*a .0.5, there 1.0', fit_run.write_fit(tmp_path, runs))


def test_one_name_is_one_verifier(tmp_path):
    runs = [fit_run.write_run(tmp_path / 'a'), fit_run.write_run(tmp_path / 'b', verifiers={'prm': 'x' * 64})]
    for run, kept in zip(runs, (('majority', 'best of n'), ('beam',)), strict=True):
        lines = [line for line in (run / 'records.jsonl').read_text().splitlines(True) if json.loads(line)['strategy'] in kept]
        (run / 'records.jsonl').write_text(''.join(lines))
    refused("b: its verifier 'prm' is not that", fit_run.write_fit(tmp_path, runs))


def test_the_same_records_twice_are_refused(tmp_path):
    run = fit_run.write_run(tmp_path / 'a')
    refused('twice', fit_run.write_fit(tmp_path, [run, run]))


def test_damaged_and_missing_records_are_refused(path):
    records = path.parent / 'run' / 'records.jsonl'
    whole = records.read_text()
    for text, words in (
        (whole + '{"question_id": "q0', 'records.jsonl:801: expected one record a line, got a damaged one'),
        ('[]\n', 'records.jsonl:1: expected one record a line, got something else'),
        (whole.replace('"verdict":"correct"', '"verdikt":"correct"', 1), 'is damaged'),
        (''.join(whole.splitlines(True)[1:]), '1 of 800 cells are missing'),
        ('', 'there are none'),
    ):
        records.write_text(text)
        refused(words, path)
    records.unlink()
    refused('name the folder of a finished run', path)


def test_what_the_folders_do_not_have_is_refused(path):
    refused("records of 'dvts', there are", path, 'strategies=[dvts]')
    refused("records of 'worst of n' at n = 4, there are", path, 'reference=worst of n')
    refused("'best of n' at n = 64, it has n = 1, 4", path, 'reference_n=64')
    refused("no estimate 'five', it has four, oracle", path, 'predicted=five')
    refused("no estimate 'five'", path, 'estimates.known.estimate=five')
    refused('looks at 5 samples', path, 'estimates.votes.n=5')
    refused("asks the verifier 'orm'", path, 'estimates.votes={kind: scores, n: 1, verifier: orm}')
    refused("no estimate 'mine'", path, 'estimates.mine={kind: probe, verifier: p}')
    refused('the oracle is reported anyway', path, 'estimates.known.estimate=oracle', error=ConfigError)


def test_a_question_without_a_value_is_refused(path):
    values = path.parent / 'bins' / 'difficulty.jsonl'
    values.write_text(''.join(values.read_text().splitlines(True)[2:]))
    refused('says nothing of 2 of the 80 questions .q000.', path)


def test_a_folder_that_is_no_run_is_refused(path):
    environment = path.parent / 'run' / 'environment.json'
    change(environment, data=None)
    whole = json.loads(environment.read_text())
    del whole['data']
    environment.write_text(json.dumps(whole))
    refused('says nothing of data: .*another version', path)
    for text in ('{', '3', '[]'):
        environment.write_text(text)
        refused('environment.json', path)


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('runs=[]', 'at least one run folder'), ('budgets=[]', 'numbers that ascend'), ('budgets=[4, 1]', 'numbers that ascend'),
        ('budgets=[0, 4]', 'at least one solution'), ('estimates={}', 'at least one way'), ('bins=0', 'bins must be at least 1'),
        ('resamples=99', 'at least 100'), ('difficulty=elsewhere', 'known values must be those of difficulty .elsewhere'), ('mode=both', 'per_question'),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(path, override, words):
    with pytest.raises(ConfigError, match=words):
        fit_run.read_config(path, override)
