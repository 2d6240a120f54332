"""`train probe`: what is learnt is what is scored, it is measured on other questions, and what cannot be learnt is refused."""

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import jaxreason as jr
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, DataError, JaxreasonError, RunError
from jaxreason.core.ranking import spearman
from jaxreason.core.records import Pool, PoolCandidate, to_line
from jaxreason.core.types import Question, Row
from jaxreason.data.procedural import read_spec
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.question_probe import PROBE, WEIGHTS, load_probe
from jaxreason.train.probe import ProbeConfig, describe, train
from jaxreason.train.sft import SftConfig
from jaxreason.train.sft import train as train_sft

TINY = Path(__file__).resolve().parents[2] / 'configs/train/sft_nano_tiny.yaml'
PROMPT = PromptSpec(template='raw', step_delimiter='\n', answer_format='last_line')
SAMPLES = 8


def pool_of(problem, right):
    """So many right samples, then wrong ones."""
    candidates = tuple(
        PoolCandidate(
            sample=sample, text='1', tokens=(1,), step_ends=(1,), finish='stop', answer='1',
            verdict='correct' if sample < right else 'wrong', scores={}, cost={}, verified={},
        )
        for sample in range(SAMPLES)
    )  # fmt: skip
    return Pool(
        pool='samples', question_id=problem.id, seed=1, question=problem.text, gold=problem.answer, level='', subject='',
        cost={}, candidates=candidates,
    )  # fmt: skip


def problems(number):
    return list(itertools.islice(read_spec('procedural:nano_sloppy:1-6', 'test', 0), number))


def right_of(number):
    """Right samples of each: the more operations, the fewer. That is something that the states tell."""
    rng = np.random.default_rng(0)
    operations = [sum(problem.text.count(sign) for sign in '+-*') for problem in problems(number)]
    return [int(rng.binomial(SAMPLES, 0.95 / count)) for count in operations]


def write_run(folder, pools, policy, prompt):
    (folder / 'pools').mkdir(parents=True)
    (folder / 'pools/samples.jsonl').write_text(''.join(to_line(pool) + '\n' for pool in pools))
    (folder / 'environment.json').write_text(json.dumps({'weights': policy, 'prompt': prompt}))
    return folder


@pytest.fixture(scope='module')
def lm(trained):
    return jr.load(trained)


@pytest.fixture(scope='module')
def samples(lm, tmp_path_factory):
    pools = [pool_of(each, right) for each, right in zip(problems(480), right_of(480), strict=True)]
    return write_run(tmp_path_factory.mktemp('runs') / 'samples', pools, lm.digest, PROMPT.digest)


@pytest.fixture(scope='module')
def config(trained, samples, tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'probe.yaml'
    path.write_text(
        f"""
model: {{source: {json.dumps(str(trained))}}}
prompt: {{template: raw, step_delimiter: "\\n", answer_format: last_line}}
samples: [{json.dumps(str(samples))}]
"""
    )

    def read(*overrides):
        return config_files.load(ProbeConfig, path, list(overrides))

    return read


@pytest.fixture(scope='module')
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp('runs') / 'probe'
    said, told = [], []
    train(config(), out, told.append, said.append)
    assert [told[-1].step, told[-1].steps] == [480, 480] and said[0].startswith('96 held-out questions of 480, 3,840 samples')
    return out


def test_it_learns_what_is_hard(run):
    found = json.loads((run / PROBE).read_text())
    assert found['num_questions'] == 480 and found['num_held_out'] == 96 and found['features'] == {'last': 32, 'mean': 32}
    held_out, constant = found['held_out'], found['constant']
    assert held_out['spearman']['low'] > 0.4 and constant['spearman'] is None
    assert held_out['floor']['point'] < held_out['cross_entropy']['point'] < constant['cross_entropy']['point'] - 0.05
    assert found['gain']['low'] > 0
    gap = constant['cross_entropy']['point'] - held_out['cross_entropy']['point']
    assert found['gain']['point'] == pytest.approx(gap, abs=3e-6)


def test_what_was_measured_is_what_is_scored(run, lm):
    rates = {p.text: right for p, right in zip(problems(480), right_of(480), strict=True)}
    asked = sorted(rates, key=lambda text: hashlib.sha256(f'0\n{text}'.encode()).digest())[:96]
    rows = [Row(handle=-1, question=Question(text, text), sample=0) for text in asked]
    scores = np.array([scores[0] for scores in load_probe(run, lm, PROMPT).score(rows, None).scores])
    shares = np.array([rates[text] for text in asked]) / SAMPLES
    found = json.loads((run / PROBE).read_text())['held_out']
    loss = np.mean(-shares * np.log(scores) - (1 - shares) * np.log1p(-scores))
    assert found['cross_entropy']['point'] == pytest.approx(loss, abs=1e-6)
    assert found['spearman']['point'] == pytest.approx(spearman(scores, shares), abs=1e-6)


def test_no_held_out_rate_is_learnt(config, samples, run, lm, tmp_path):
    """Other rates of the held-out questions change what is measured, and not the probe."""
    texts = sorted((p.text for p in problems(480)), key=lambda text: hashlib.sha256(f'0\n{text}'.encode()).digest())
    held_out = set(texts[:96])
    pools = [pool_of(p, 3 if p.text in held_out else right) for p, right in zip(problems(480), right_of(480), strict=True)]
    other = write_run(tmp_path / 'other', pools, lm.digest, PROMPT.digest)
    train(dataclasses.replace(config(), samples=(str(other),)), tmp_path / 'probe', say=lambda _: None)
    assert (tmp_path / 'probe' / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()
    found = json.loads((tmp_path / 'probe' / PROBE).read_text())
    assert found['held_out']['spearman'] is None  # they are all alike


def test_the_same_run_makes_the_same_bytes_and_a_finished_one_is_left_alone(config, run, tmp_path):
    train(config(), tmp_path / 'again', say=lambda _: None)
    for name in (PROBE, WEIGHTS, 'config.yaml'):
        assert (tmp_path / 'again' / name).read_bytes() == (run / name).read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir() if path.name != '.lock'}
    said = []
    train(config(), run, say=said.append)
    assert said == [f'{run}: finished; there is nothing left to do']
    assert before == {path.name: path.stat().st_mtime_ns for path in run.iterdir() if path.name != '.lock'}
    with pytest.raises(RunError, match=r'made by another configuration \("ridge: 10.0", now "ridge: 5.0"\)'):
        train(config('ridge=5'), run)


def test_a_run_that_was_stopped_begins_anew(config, run, tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config('ridge=3'), tmp_path / 'run', stop)
    assert not (tmp_path / 'run' / PROBE).exists()
    train(config(), tmp_path / 'run', say=lambda _: None)
    assert (tmp_path / 'run' / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()


def test_equal_texts_are_one_question(config, samples, lm, tmp_path):
    """However they are called, and in whichever run."""
    twins = [dataclasses.replace(pool_of(p, 4), question_id=f'twin of {p.id}') for p in problems(480)]
    other = write_run(tmp_path / 'twins', twins, lm.digest, PROMPT.digest)
    told = describe(dataclasses.replace(config(), samples=(str(samples), str(other))))
    share = (sum(right_of(480)) + 4 * 480) / (2 * 480 * SAMPLES)  # all have equally many samples
    assert told.startswith(f'480 questions, 96 of them held out; 7,680 samples, {share:.1%} of them right\n')


def test_a_folder_of_another_kind_is_refused(config, run, tmp_path):
    tiny = config_files.load(SftConfig, TINY)
    with pytest.raises(RunError, match=r'holds probe.json, it is not the folder of a training run'):
        train_sft(tiny, run)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/records.jsonl').write_text('')
    with pytest.raises(RunError, match='holds records.jsonl'):
        train(config(), tmp_path / 'run')


def test_what_cannot_be_learnt_is_refused_in_one_line(config, samples, lm, tmp_path):
    some = problems(6)
    mixed = [pool_of(each, 3) for each in some]
    searched = [dataclasses.replace(pool, chosen={'answer': '1', 'votes': []}) for pool in mixed]
    cases = [
        (
            write_run(tmp_path / 'policy', mixed, '1' * 64, PROMPT.digest),
            ConfigError,
            'with another policy (1111',
        ),
        (write_run(tmp_path / 'prompt', mixed, lm.digest, '2' * 64), ConfigError, 'with another prompt (2222'),
        (
            write_run(tmp_path / 'one', mixed[:1], lm.digest, PROMPT.digest),
            DataError,
            '1 questions, none is left to learn',
        ),
        (
            write_run(tmp_path / 'never', [pool_of(p, 0) for p in some], lm.digest, PROMPT.digest),
            DataError,
            '6 questions, every pass rate is 0; expected',
        ),
        (write_run(tmp_path / 'search', searched, lm.digest, PROMPT.digest), RunError, 'expected independent samples'),
        (write_run(tmp_path / 'empty', [], lm.digest, PROMPT.digest), RunError, 'expected independent samples'),
        (tmp_path / 'nowhere', RunError, 'has no environment.json'),
    ]
    torn = write_run(tmp_path / 'torn', mixed, lm.digest, PROMPT.digest)
    (torn / 'pools/samples.jsonl').write_text((torn / 'pools/samples.jsonl').read_text()[:-40])
    cases.append((torn, RunError, 'samples.jsonl:6: expected one value of this file a line'))
    silent = write_run(tmp_path / 'silent', mixed, lm.digest, PROMPT.digest)
    (silent / 'environment.json').unlink()
    cases.append((silent, RunError, 'has no environment.json'))
    for folder, kind, words in cases:
        with pytest.raises(JaxreasonError) as error:
            train(dataclasses.replace(config(), samples=(str(folder),)), tmp_path / 'out', say=lambda _: None)
        assert type(error.value) is kind and words in str(error.value) and '\n' not in str(error.value), str(error.value)
    assert not (tmp_path / 'out' / PROBE).exists()


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('samples=[]', 'samples must name at least one run folder'),
        ('ridge=0', 'ridge must be above 0'),
        ('held_out=0', 'held_out must be a share'),
        ('held_out=1', 'held_out must be a share'),
        ('seed=-1', 'seed'),
    ],
)
def test_bad_values_are_refused(config, override, words):
    with pytest.raises(ConfigError, match=words):
        config(override)
