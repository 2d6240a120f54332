"""A probe from samples to a search that asks it: `evaluate`, `train probe`, and `evaluate` again."""

import json

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.evaluate.difficulty_config import DifficultyConfig
from jaxreason.evaluate.runner import evaluate
from tests.evaluate.tiny_world import read_config, read_lines

ADAPTIVE = (
    'strategies={adaptive: {kind: compute_optimal, difficulty: {kind: probe, verifier: difficulty, cuts: [0.5]}, '
    'bins: [{kind: majority, n: 2}, {kind: majority, n: 4}]}}'
)


@pytest.fixture(scope='module')
def samples(world, tmp_path_factory):
    """Graded samples of the six problems."""
    out = tmp_path_factory.mktemp('runs') / 'samples'
    evaluate(read_config(world, 'seeds=[1]', 'strategies={majority: {kind: majority, n: 32}}'), out)
    return out


@pytest.fixture
def config(world, samples, tmp_path):
    path = tmp_path / 'probe.yaml'
    path.write_text(
        f'model: {{source: {json.dumps(str(world.parent / "model"))}}}\n'
        "prompt: {template: raw, step_delimiter: '.', answer_format: plain}\n"
        f'samples: [{json.dumps(str(samples))}]\nheld_out: 0.34\n'
    )
    return path


def test_from_samples_to_a_search_that_asks(command, refused, config, world, tmp_path):
    code, out, err = command('train', 'probe', config, '--dry-run')
    assert (code, err) == (0, '') and '6 questions, 2 of them held out; 192 samples' in out and '65 numbers to learn' in out
    assert not (tmp_path / 'runs').exists()
    code, out, err = command('train', 'probe', config)
    assert (code, err) == (0, '') and 'rank correlation' in out and 'runs/probe/: probe.safetensors, probe.json;' in out
    code, out, err = command('train', 'probe', config)
    assert (code, err) == (0, '') and 'runs/probe: finished; there is nothing left to do' in out
    assert 'made by another configuration' in refused('train', 'probe', config, 'ridge=2')

    asked = ('verifiers={difficulty: {kind: probe, source: runs/probe}}', 'seeds=[0]')
    code, out, err = command('evaluate', world, *asked, ADAPTIVE, '--dry-run')
    assert (code, err) == (0, '') and 'a probe of 64 states of the policy over the question alone' in out
    assert command('evaluate', world, *asked, ADAPTIVE, '--out', 'run', '--quiet')[0] == 0
    told = json.loads((tmp_path / 'run/environment.json').read_text())['verifiers']
    assert set(told) == {'difficulty'} and len(told['difficulty']) == 64
    records = read_lines(tmp_path / 'run/records.jsonl')
    assert len(records) == 6 and all(record['blocks'][0]['cost']['probe'] > 0 for record in records)
    assert not (tmp_path / 'run/verifier_probes.json').exists()  # it says nothing of solutions

    other = ('prompt.answer_format=last_line', ADAPTIVE)
    assert 'trained with another prompt' in refused('evaluate', world, *asked, *other, '--out', 'other')
    assert 'trained with another prompt' in refused('evaluate', world, *asked, *other, '--dry-run')


def test_a_probe_does_not_judge_and_a_judge_is_no_probe(refused, world):
    probe = 'verifiers={difficulty: {kind: probe, source: runs/probe}}'
    judging = 'strategies={best: {kind: best_of_n, n: 4, verifier: difficulty}}'
    told = refused('evaluate', world, probe, judging)
    assert 'strategies.best: verifier difficulty is a probe of the bare question and cannot judge solutions' in told
    scores = ADAPTIVE.replace('kind: probe, verifier', 'kind: scores, n: 2, verifier')
    assert 'cannot judge solutions' in refused('evaluate', world, probe, scores)
    trained = 'verifiers={difficulty: {source: runs/prm}}'
    assert 'asks a verifier of kind probe, difficulty judges solutions' in refused('evaluate', world, trained, ADAPTIVE)
    in_a_bin = ADAPTIVE.replace('{kind: majority, n: 2}', '{kind: best_of_n, n: 2, verifier: difficulty}')
    assert 'cannot judge solutions' in refused('evaluate', world, probe, in_a_bin)


@pytest.mark.parametrize('verifiers', ['{}', '{prm: {source: runs/prm}}'])
def test_an_estimate_of_difficulty_asks_a_probe(verifiers):
    with pytest.raises(ConfigError, match="estimates.bare: asks 'prm': expected a verifier of kind probe"):
        config_files.load(DifficultyConfig, None, [f'verifiers={verifiers}', 'estimates={bare: {kind: probe, verifier: prm}}'])
