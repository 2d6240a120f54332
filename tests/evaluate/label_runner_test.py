"""Whole labelling runs in this process: the same bytes from the same seed, stopped and resumed or not, and killed."""

import json
import shutil
import signal
import threading

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError, DataError, RunError
from jaxreason.data.label_set import read_labels
from jaxreason.engine.peers import Peers
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.evaluate.label_dry_run import describe, expected_shape, longest_shape
from jaxreason.evaluate.label_runner import label_problems
from jaxreason.evaluate.runner import JOURNAL
from jaxreason.models.folder import open_weights
from tests.engine.peers_test import Board
from tests.evaluate import command
from tests.evaluate.tiny_world import PROBLEMS, read_lines

CONFIG = """\
seed: 7
model: {source: %s}
data: {source: %s}
prompt: {template: raw, step_delimiter: '.'}
sampler: {temperature: 1.0, max_tokens: 16, num_rows: 8, rows_per_slot: 4, chunk: 3}
labels: {samples: 4, rollouts: 2, max_steps: 6}
"""


@pytest.fixture(scope='module')
def path(world, tmp_path_factory):
    """Path of a configuration over the problems and the policy of the tiny world."""
    path = tmp_path_factory.mktemp('labels') / 'label.yaml'
    folder = world.parent
    path.write_text(CONFIG % (json.dumps(str(folder / 'model')), json.dumps(str(folder / 'problems.jsonl'))))
    return path


def read_config(path, *overrides) -> LabelConfig:
    return config_files.load(LabelConfig, path, overrides)


def results(folder):
    """What must be the same bytes however a run came about."""
    return {name.name: name.read_bytes() for name in (folder / 'summary.json', *sorted((folder / 'labels').iterdir()))}


@pytest.fixture(scope='module')
def whole(path, tmp_path_factory):
    """A run that nobody interrupted: its folder, and what it reported."""
    out, ticks = tmp_path_factory.mktemp('whole') / 'run', []
    label_problems(read_config(path), out, ticks.append)
    return out, ticks


def test_the_data_set_holds_what_the_journal_holds(whole):
    out, _ = whole
    journalled = [solution for line in read_lines(out / JOURNAL) for solution in line['entry']['solutions']]
    found = read_labels(out / 'labels')
    assert len(found) == len(journalled) > 5
    assert {(s.question_id, s.sample): s.correct for s in found} == {
        (s['question_id'], s['sample']): tuple(s['correct']) for s in journalled
    }
    for solution in found:
        assert len(solution.steps) == len(solution.correct) == len(solution.rollouts) == len(solution.flops) <= 6
        assert all(rollouts in (1, 2) for rollouts in solution.rollouts) and solution.seed == 7
        assert (solution.question, solution.gold) in PROBLEMS


def test_the_summary_adds_up(whole):
    out, ticks = whole
    summary, solutions = json.loads((out / 'summary.json').read_text()), read_labels(out / 'labels')
    assert summary['questions'] == 6 and summary['samples'] == 24 == summary['kept'] + sum(summary['dropped'].values())
    assert summary['labels'] == sum(len(s.steps) for s in solutions) == sum(summary['labels_by_step'])
    assert summary['mean_label'] * summary['labels'] == pytest.approx(sum(sum(s.soft) for s in solutions))
    spent = Cost(**summary['cost'])
    assert spent.flops == summary['flops'] and 0 < spent.lookahead < spent.flops
    kept = sum(s.own_flops + sum(s.flops) for s in solutions)
    assert spent.decode == kept + spent.discarded
    assert ticks[-1].done == ticks[-1].total == 6 and ticks[-1].tokens == spent.new_tokens
    lines = read_lines(out / 'timing.jsonl')
    assert len(lines) == 6 and lines[-1]['at_seconds'] > 0 and 'second' not in (out / 'summary.json').read_text()


def test_another_order_makes_the_same_labels(whole, path, world, tmp_path):
    problems = tmp_path / 'problems.jsonl'
    problems.write_text('\n'.join(reversed((world.parent / 'problems.jsonl').read_text().splitlines())))
    label_problems(read_config(path, f'data.source={problems}'), tmp_path / 'run')
    assert results(tmp_path / 'run') == results(whole[0])


class Stop(Exception):
    pass


@pytest.mark.parametrize('units', [1, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(whole, path, tmp_path, units):
    def report(progress):
        if progress.finished is None and progress.done >= units:
            raise Stop

    out = tmp_path / 'run'
    with pytest.raises(Stop):
        label_problems(read_config(path), out, report)
    left = command.num_lines(out / JOURNAL)
    assert units <= left < 6 and not (out / 'labels').exists() and not (out / 'summary.json').exists()
    label_problems(read_config(path), out)
    assert results(out) == results(whole[0])


def in_two_processes(config, folder):
    """Runs `config` in the folders 0 and 1; threads on a board in memory stand for the processes."""
    board, raised = Board(), []

    def run(index):
        peers = Peers(board, index, 2, silent_rounds=10, round_seconds=0.05)
        try:
            label_problems(config, folder / str(index), peers=peers)
        except Exception as error:
            raised.append(error)
            board.is_mute = True  # the other gets no answer any more
        finally:
            peers.leave()

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert raised == [] and not any(thread.is_alive() for thread in threads)


def test_two_processes_make_the_same_bytes_in_folders_of_their_own(whole, path, tmp_path):
    in_two_processes(read_config(path), tmp_path)
    assert results(tmp_path / '0') == results(whole[0])
    assert command.num_lines(tmp_path / '1' / 'journal-1.jsonl') == 3 and not (tmp_path / '1' / 'labels').exists()


def test_what_is_derived_is_derived_again_without_a_model(whole, path, tmp_path):
    out = tmp_path / 'run'
    shutil.copytree(whole[0], out)
    shutil.rmtree(out / 'labels')
    said = []
    label_problems(read_config(path), out, say=said.append)
    assert said == [] and results(out) == results(whole[0])


def test_a_folder_of_another_configuration_is_refused(whole, path):
    with pytest.raises(RunError, match='made by another configuration'):
        label_problems(read_config(path, 'labels.rollouts=3'), whole[0])


def test_a_run_in_which_no_sample_answers_says_so(path, tmp_path):
    with pytest.raises(DataError, match='every sample was dropped'):
        label_problems(
            read_config(path, 'sampler.max_tokens=1', 'prompt.answer_format=last_line', 'data.limit=1'), tmp_path / 'run'
        )


@pytest.mark.parametrize(
    'override, message',
    [
        ('sampler.stats=[logprob]', 'sampler.stats must be left empty'),
        ('sampler.temperature=0', 'temperature must be above 0'),
        ('labels.samples=0', 'samples must be at least 1'),
        ('labels.rollout=3', 'rollouts'),
        ('seed=-1', 'seed must be in'),
    ],
)
def test_impossible_configurations_are_refused(path, override, message):
    with pytest.raises(ConfigError, match=message):
        read_config(path, override)


def test_the_dry_run_bounds_the_run(whole, path, world):
    config = read_config(path)
    text = describe(config)
    assert '4 samples a question, 2 rollouts a step: 12 rows at once' in text and '6 problems have none' in text
    model = open_weights(world.parent / 'model').config
    most = config.labels.work(longest_shape(config), model, [7])
    assert (most.rollouts, most.solution_tokens) == (4 * 2 * 6, 4 * 16)
    assert most.rollout_tokens == 4 * 2 * sum(16 - begin for begin in range(1, 7))
    for line in read_lines(whole[0] / JOURNAL):
        spent = Cost(**line['entry']['cost'])
        assert spent.flops <= most.flops and spent.new_tokens <= most.solution_tokens + most.rollout_tokens


def test_what_is_expected_is_the_worked_solution(path):
    from jaxreason.data.procedural import generate

    config = read_config(path, 'prompt.answer_format=last_line', "prompt.step_delimiter='\n'")
    shape = expected_shape(config, generate('nano', 0, 0, 4), None)
    assert shape.begins and len(shape.begins) == 3
    config = read_config(path)
    assert len(expected_shape(config, generate('chain', 0, 0, 4), None).begins) == 4  # and a sentence with the answer
    # Exactly what solutions of that shape would cost, were they drawn.
    work = config.labels.work(shape, None, None)
    assert work.rollouts == 4 * 2 * 3 and work.flops == 0


def test_a_killed_run_is_resumed_where_it_stood(whole, path, cache, tmp_path):
    """One step a call, so that there is time to be killed in; then to the end, and to the labels of other chunks."""
    out, slowly = tmp_path / 'run', ('sampler.chunk=1',)
    with command.start('label', path, *slowly, '--out', out, cache=cache) as process:
        command.signal_when(process, signal.SIGKILL, lambda: command.num_lines(out / JOURNAL) >= 2)
        process.communicate()
    left = (out / JOURNAL).read_bytes()
    assert process.returncode == -signal.SIGKILL and not (out / 'labels').exists() and 2 <= left.count(b'\n') < 6
    again = command.run('label', path, *slowly, '--out', out, cache=cache)
    assert again.returncode == 0, again.stderr
    missing = 6 - left.count(b'\n')
    assert f'{missing} of 6 questions to label' in again.stdout and '6 questions, 24 samples' in again.stdout
    assert results(out) == results(whole[0])
    assert (out / JOURNAL).read_bytes().startswith(left[: left.rfind(b'\n') + 1])


def test_ctrl_c_keeps_what_is_finished_and_exits_130(path, cache, tmp_path):
    out = tmp_path / 'run'
    with command.start('label', path, 'sampler.chunk=1', '--out', out, cache=cache) as process:
        command.signal_when(process, signal.SIGINT, lambda: command.num_lines(out / JOURNAL) >= 1)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and 'stopping at the next chunk' in said
    assert command.num_lines(out / JOURNAL) >= 1 and not (out / 'labels').exists()
