"""Whole difficulty runs in this process: what is written, what it agrees with, and what is not drawn again."""

import json

import numpy as np
import pytest

from jaxreason.allocation.bins_file import read_known
from jaxreason.allocation.difficulty import pass_rates
from jaxreason.allocation.estimators import FirstScores, FirstVotes
from jaxreason.allocation.looking import cost_in, value_in
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.records import pool_from
from jaxreason.evaluate import runner
from jaxreason.evaluate.difficulty_config import DifficultyConfig
from jaxreason.evaluate.difficulty_runner import find_difficulty
from tests.evaluate.tiny_world import IDS, read_lines

CONFIG = """\
seeds: [101, 102]
model: {source: %s}
data: {source: %s}
prompt: {template: raw, step_delimiter: '.', answer_format: plain}
sampler: {temperature: 1.0, max_tokens: 10, num_rows: 4, rows_per_slot: 2, chunk: 3}
samples: 6
bins: 3
estimates:
  2 scores: {kind: scores, n: 2, verifier: mean_logprob}
  all scores: {kind: scores, n: 6, verifier: mean_logprob}
  3 votes: {kind: votes, n: 3, cuts: [0.4]}
"""


def write_config(world, folder):
    """A configuration over the problems and the policy of the tiny world."""
    path = folder / 'tiny.yaml'
    sources = (json.dumps(str(world.parent / name)) for name in ('model', 'problems.jsonl'))
    path.write_text(CONFIG % tuple(sources))
    return path


def read_config(path, *overrides):
    return config_files.load(DifficultyConfig, path, overrides)


@pytest.fixture(scope='module')
def path(world, tmp_path_factory):
    return write_config(world, tmp_path_factory.mktemp('difficulty'))


@pytest.fixture(scope='module')
def out(path, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'run'
    find_difficulty(read_config(path), out)
    return out


def summary(out):
    return json.loads((out / 'difficulty.json').read_text())


def pools(out):
    return [pool_from(line) for line in read_lines(out / 'pools' / 'samples.jsonl')]


def test_every_question_has_every_estimate_and_what_it_cost(out):
    rows = read_lines(out / 'difficulty.jsonl')
    assert [row['question_id'] for row in rows] == sorted(IDS)
    assert all(set(row['values']) == set(row['flops']) == {'oracle', '2 scores', 'all scores', '3 votes'} for row in rows)
    assert {question: known.value for question, known in read_known(str(out), 'oracle').items()} == pass_rates(pools(out))
    assert all(row['flops']['oracle'] == 0 < row['flops']['3 votes'] < row['flops']['all scores'] for row in rows)


@pytest.mark.parametrize(
    ('name', 'look'),
    [('2 scores', FirstScores(n=2, verifier='mean_logprob')), ('3 votes', FirstVotes(n=3, cuts=(0.4,)))],
)
def test_several_seeds_are_averaged(out, name, look):
    known = read_known(str(out), name)
    for question in IDS:
        own = [pool for pool in pools(out) if pool.question_id == question]
        assert len(own) == 2
        assert known[question].value == pytest.approx(np.mean([value_in(look, pool) for pool in own]))
        assert known[question].flops == sum(cost_in(look, pool).flops for pool in own) // 2


def test_the_summary_says_where_it_cuts_what_it_costs_and_how_far_it_agrees(out):
    found = summary(out)
    assert (found['samples'], found['seeds'], found['num_questions']) == (6, [101, 102], 6)
    oracle, votes = found['estimates']['oracle'], found['estimates']['3 votes']
    assert len(oracle['cuts']) == 2 and not oracle['are_absolute'] and oracle['samples'] == 12 and oracle['flops'] == 0
    assert votes['cuts'] == [0.4] and votes['are_absolute'] and votes['samples'] == 3 and votes['flops'] > 0
    for row in found['estimates'].values():
        assert sum(row['sizes']) == 6 and len(row['sizes']) == len(row['cuts']) + 1
    assert 'spearman' not in oracle
    assert votes['oracle_from_other_samples'] and not found['estimates']['all scores']['oracle_from_other_samples']
    same = found['estimates']['2 scores']
    assert 0 <= same['same_bin'] <= same['within_one'] <= 1
    assert 'same_bin' not in votes, 'two bins against three say nothing'


def test_numbers_of_bins_that_differ_are_not_compared(out, path):
    find_difficulty(read_config(path, 'oracle_cuts=[0.5]'), out)
    found = summary(out)['estimates']
    assert found['oracle']['cuts'] == [0.5] and found['oracle']['are_absolute']
    assert 'same_bin' in found['3 votes'], 'two bins each'
    assert 'same_bin' not in found['2 scores'], 'three bins of equal size against two'
    find_difficulty(read_config(path), out)


def test_another_estimate_draws_nothing_and_loads_nothing(out, path, monkeypatch):
    monkeypatch.setattr(runner, 'load_policy', lambda *_: pytest.fail('a model was loaded'))
    before = {name: (out / name).read_bytes() for name in ('difficulty.jsonl', 'difficulty.json', 'pools/samples.jsonl')}
    find_difficulty(read_config(path, 'estimates.5 votes={kind: votes, n: 5}', 'bins=2'), out)
    assert set(summary(out)['estimates']) == {'oracle', '2 scores', 'all scores', '3 votes', '5 votes'}
    assert len(summary(out)['estimates']['oracle']['cuts']) == 1
    find_difficulty(read_config(path), out)
    assert {name: (out / name).read_bytes() for name in before} == before, 'and the same again gives the same bytes'


def test_the_same_seeds_give_the_same_bytes(out, path, tmp_path):
    find_difficulty(read_config(path), tmp_path / 'again')
    for name in ('difficulty.jsonl', 'difficulty.json', 'pools/samples.jsonl'):
        assert (tmp_path / 'again' / name).read_bytes() == (out / name).read_bytes(), name


def test_other_samples_are_not_mixed_in(out, path):
    with pytest.raises(RunError):
        find_difficulty(read_config(path, 'sampler.temperature=0.5'), out)


def test_what_cannot_be_estimated_is_refused(path):
    for overrides, words in (
        (('samples=5',), 'all scores: looks at 6 samples, there are 5'),
        (('bins=0',), 'bins must be at least 1'),
        (('oracle_cuts=[1.5]',), 'pass rates that ascend'),
        (('estimates.x={kind: probe, verifier: nobody}',), "asks 'nobody': expected a verifier of kind probe"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_config(path, *overrides)
