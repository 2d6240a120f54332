"""Whole runs of `label` for revisions: the same bytes however they came about, and numbers that add up."""

import json
import shutil
import signal

import pytest

from jaxreason.cli.label import _lines
from jaxreason.core import config as config_files
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.data.label_set import read_labels
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.evaluate.label_dry_run import describe
from jaxreason.evaluate.label_runner import label_problems
from jaxreason.evaluate.runner import JOURNAL, evaluate
from jaxreason.train.chain_labels import ChainLabels
from jaxreason.train.labels import StepLabels
from jaxreason.train.trajectories import Trajectories
from tests.evaluate import command
from tests.evaluate.label_runner_test import Stop, in_two_processes, results
from tests.evaluate.tiny_world import PROBLEMS, read_lines

CONFIG = """\
seed: 3
model: {source: %s}
data: {source: %s}
prompt: {template: raw, step_delimiter: '.'}
sampler: {temperature: 1.0, max_tokens: 16, num_rows: 12, rows_per_slot: 4, chunk: 3}
labels: %s
"""
LABELS = {'trajectories': '{kind: trajectories, samples: 12}', 'chains': '{kind: chains, chains: 3, length: 4, context: 2}'}
BOTH = pytest.mark.parametrize('kind', list(LABELS))


@pytest.fixture(scope='module')
def config(world, tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp('configs'), {}
    for kind, labels in LABELS.items():
        paths[kind] = folder / f'{kind}.yaml'
        sources = (json.dumps(str(world.parent / name)) for name in ('model', 'problems.jsonl'))
        paths[kind].write_text(CONFIG % (*sources, labels))

    def read(kind, *overrides) -> LabelConfig:
        return config_files.load(LabelConfig, paths[kind], overrides)

    read.paths = paths
    return read


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """Runs that nobody interrupted, by kind."""
    folder = tmp_path_factory.mktemp('whole')
    for kind in LABELS:
        label_problems(config(kind), folder / kind)
    return folder


@BOTH
def test_the_data_set_holds_what_the_journal_holds(whole, kind):
    journalled = [solution for line in read_lines(whole / kind / JOURNAL) for solution in line['entry']['solutions']]
    found = read_labels(whole / kind / 'labels')
    assert {(s.question_id, s.sample): (s.attempts, s.attempts_correct, s.verdict) for s in found} == {
        (s['question_id'], s['sample']): (tuple(s['attempts']), tuple(s['attempts_correct']), s['verdict']) for s in journalled
    }
    assert len(found) == len(journalled) > 5 and sum(bool(s.attempts) for s in found) > 3
    assert all((s.question, s.gold) in PROBLEMS and s.seed == 3 and s.rollouts == () for s in found)


def test_trajectories_are_made_of_the_samples_of_a_strategy(whole, world, tmp_path):
    overrides = [
        'seeds=[3]', 'strategies={majority: {kind: majority, n: 12}}', 'sampler.max_tokens=16', 'sampler.num_rows=12',
        'sampler.rows_per_slot=4', 'sampler.stats=[]', 'prompt.answer_format=boxed',
    ]  # fmt: skip
    evaluate(config_files.load(EvaluateConfig, world, overrides), tmp_path / 'run')
    (pools,) = (tmp_path / 'run' / 'pools').iterdir()
    pools = {pool['question_id']: pool['candidates'] for pool in read_lines(pools)}
    found = read_labels(whole / 'trajectories' / 'labels')
    texts = {(s.question_id, s.sample): ''.join(s.steps) for s in found}
    assert texts == {(name, c['sample']): c['text'] for name, pool in pools.items() for c in pool if c['verdict'] == 'correct'}
    for solution in found:
        wrong = {c['text'] for c in pools[solution.question_id] if c['verdict'] == 'wrong' and c['answer'] is not None}
        assert set(solution.attempts) <= wrong and bool(solution.attempts_correct) == bool(solution.attempts)


def test_chains_are_linked_by_what_they_show(whole):
    found = {(s.question_id, s.sample): s for s in read_labels(whole / 'chains' / 'labels')}
    links = 0
    for (name, sample), solution in found.items():
        turn = sample // 65536
        assert min(turn, 1) <= len(solution.attempts) <= min(turn, 2)  # sentences take more room than they had tokens
        before = found.get((name, sample - 65536))
        if before is not None:
            links += 1
            assert solution.attempts[-1] == ''.join(before.steps) and solution.attempts_correct[-1] == before.is_correct
    assert links > 3 and any(len(solution.attempts) == 2 for solution in found.values())


@BOTH
def test_the_summary_adds_up(config, whole, kind):
    summary, found = json.loads((whole / kind / 'summary.json').read_text()), read_labels(whole / kind / 'labels')
    assert summary['questions'] == 6 and summary['samples'] == summary['kept'] + sum(summary['dropped'].values())
    assert summary['samples'] + summary.get('no_room', 0) == 72
    assert summary['kept'] == len(found) == sum(summary['attempts_shown'])
    assert summary['correct'] == sum(s.is_correct for s in found)
    spent = Cost(**summary['cost'])
    assert spent.flops == summary['flops'] > spent.discarded >= 0 and spent.lookahead == 0
    said = '\n'.join(_lines(summary, config(kind).labels.closing(summary)))
    assert f'6 questions, {summary["samples"]} samples' in said and 'by the number of attempts before them: 0: ' in said
    if kind == 'chains':
        assert 0 < summary['no_room'] < 36 and sum(summary['kept_by_turn']) == len(found)
        assert sum(summary['correct_by_turn']) == summary['correct'] and spent.discarded > 0
    else:
        assert summary['no_correct'] == 6 - len({s.question_id for s in found})
        assert summary['no_wrong'] == 0 and summary['correct'] == summary['kept']


@BOTH
def test_a_stopped_run_goes_on_to_the_same_bytes(config, whole, kind, tmp_path):
    def report(progress):
        if progress.finished is None and progress.done >= 2:
            raise Stop

    with pytest.raises(Stop):
        label_problems(config(kind), tmp_path / 'run', report)
    assert 2 <= command.num_lines(tmp_path / 'run' / JOURNAL) < 6 and not (tmp_path / 'run' / 'labels').exists()
    label_problems(config(kind), tmp_path / 'run')
    assert results(tmp_path / 'run') == results(whole / kind)


@BOTH
def test_two_processes_make_the_same_bytes(config, whole, kind, tmp_path):
    in_two_processes(config(kind), tmp_path)
    assert results(tmp_path / '0') == results(whole / kind)
    assert command.num_lines(tmp_path / '1' / 'journal-1.jsonl') == 3


@pytest.mark.slow
@BOTH
def test_a_killed_run_is_resumed_where_it_stood(config, whole, kind, cache, tmp_path):
    out, words = tmp_path / 'run', ('label', config.paths[kind], 'sampler.chunk=1', '--out', tmp_path / 'run')
    with command.start(*words, cache=cache) as process:
        command.signal_when(process, signal.SIGKILL, lambda: command.num_lines(out / JOURNAL) >= 2)
        process.communicate()
    left = (out / JOURNAL).read_bytes()
    assert process.returncode == -signal.SIGKILL and not (out / 'labels').exists() and 2 <= left.count(b'\n') < 6
    again = command.run(*words, cache=cache)
    assert again.returncode == 0, again.stderr
    missing = 6 - left.count(b'\n')
    assert f'{missing} of 6 questions to label' in again.stdout and 'attempts before them' in again.stdout
    assert results(out) == results(whole / kind)
    assert (out / JOURNAL).read_bytes().startswith(left[: left.rfind(b'\n') + 1])


def test_what_is_derived_is_derived_again_without_a_model(config, whole, tmp_path):
    shutil.copytree(whole / 'chains', tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run' / 'labels')
    said = []
    label_problems(config('chains'), tmp_path / 'run', say=said.append)
    assert said == [] and results(tmp_path / 'run') == results(whole / 'chains')


def test_a_folder_of_another_kind_is_refused(config, whole):
    with pytest.raises(RunError, match='made by another configuration'):
        label_problems(config('trajectories', 'labels.kind=steps'), whole / 'trajectories')


@BOTH
def test_the_dry_run_bounds_the_run(config, whole, kind):
    text = describe(config(kind))
    assert config(kind).labels.about in text and 'of 72 samples' in text and 'rollouts' not in text
    assert ('prompts of 54 revisions' in text) == (kind == 'chains')
    bound = text[text.index('at most') :]
    tokens = 6 * 12 * 16
    assert f'{tokens:,} tokens of 72 samples' in bound
    summary = json.loads((whole / kind / 'summary.json').read_text())
    assert summary['cost']['new_tokens'] <= tokens
    if kind == 'chains':
        # A line for every attempt, of up to 16 tokens behind the question; 1, 2 and 2 attempts are shown.
        prompts = sum(3 * (3 * len(question) + 5 * (len(question) + 16 + 1)) for question, _ in PROBLEMS)
        assert summary['cost']['prompt_tokens'] <= prompts + sum(len(question) for question, _ in PROBLEMS)
        assert f'{prompts:,} tokens of the prompts of 54 revisions' in bound.replace('\n', ' ')


def test_the_kind_is_chosen_by_name_and_steps_is_the_default(config):
    assert config_files.load(LabelConfig, None) == LabelConfig() and LabelConfig().labels == StepLabels()
    assert config('trajectories').labels == Trajectories(samples=12) and config('trajectories').num_attempts == 0
    assert config('chains').labels == ChainLabels(chains=3, length=4, context=2) and config('chains').num_attempts == 2
    assert config('chains', 'labels.length=2').num_attempts == 1
    with pytest.raises(ConfigError, match='unknown kind'):
        config('chains', 'labels.kind=chain')
    with pytest.raises(ConfigError, match='rollouts'):
        config('trajectories', 'labels.rollouts=2')
    with pytest.raises(ConfigError, match='all samples of a question would be the same'):
        config('chains', 'sampler.temperature=0')


def test_room_is_made_for_the_attempts_that_prompts_show(whole):
    """Shapes follow from what chains may show; those of trajectories show nothing."""
    rooms = {}
    for kind in LABELS:
        environment = json.loads((whole / kind / 'environment.json').read_text())
        rooms[kind] = environment['prompt_tokens']['max']
    longest = max(len(question) for question, _ in PROBLEMS)
    assert rooms == {'trajectories': longest, 'chains': longest + 2 * (longest + 16 + 1)}
