"""Verifiers on step-labelled solutions: the same bytes stopped and resumed or not, and what cannot be scored is told apart."""

import dataclasses
import json
import shutil
import signal
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.judged_steps import JUDGEMENTS, judged_from
from jaxreason.core.quantities import quantity
from jaxreason.core.records import to_line
from jaxreason.data.step_labelled import load_solutions
from jaxreason.engine.peers import Peers
from jaxreason.engine.verifier_loading import load_verifier
from jaxreason.evaluate.runner import JOURNAL
from jaxreason.evaluate.step_judgement import StepJudgementConfig, batches, describe, judge, judge_solutions
from tests.engine.peers_test import Board
from tests.evaluate import command
from tests.evaluate.tiny_world import read_lines

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden'
COUNT = 30


def write_solutions(path):
    """Solutions of one step and of several, of all lengths; the longest is too long for the tiny verifiers."""
    rng, rows = np.random.default_rng(0), []
    for number in range(COUNT):
        count = 1 + number % 5
        steps = [f'Step {i}: {rng.integers(100)} + 1 = {rng.integers(100)}' + '.' * (number // 10 * 20) for i in range(count)]
        label = int(rng.integers(-1, count))
        rows.append({'id': f's-{number:02d}', 'problem': f'What is {number // 2}?', 'steps': steps, 'label': label})
    rows[3]['steps'][0] = 'words ' * 400
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    """Path of a configuration."""
    folder = tmp_path_factory.mktemp('judgement')
    shutil.copytree(GOLDEN / 'math-shepherd', folder / 'prm')
    tree = {
        'solutions': {'source': str(write_solutions(folder / 'solutions.jsonl')), 'format': 'processbench'},
        'verifier': {'source': str(folder / 'prm'), 'preset': 'math-shepherd'},
    }
    (folder / 'judgement.yaml').write_text(json.dumps(tree))
    return folder / 'judgement.yaml'


def read_config(path, *overrides) -> StepJudgementConfig:
    return config_files.load(StepJudgementConfig, path, overrides)


def results(out):
    """What must be the same bytes however a run came about."""
    return (out / JUDGEMENTS).read_bytes()


@pytest.fixture(scope='module')
def whole(path, tmp_path_factory):
    """A run that nobody interrupted: its folder, and what it reported."""
    out, ticks = tmp_path_factory.mktemp('whole') / 'run', []
    judge_solutions(read_config(path), out, ticks.append)
    return out, ticks


@pytest.fixture(scope='module')
def shepherd():
    return load_verifier(GOLDEN / 'math-shepherd', preset='math-shepherd')


def test_every_solution_is_judged_once_in_the_order_of_the_ids(whole, path, shepherd):
    out, ticks = whole
    judged = [judged_from(line) for line in read_lines(out / JUDGEMENTS)]
    solutions = load_solutions(read_config(path).solutions)
    assert [one.id for one in judged] == [solution.id for solution in solutions] == sorted(one.id for one in judged)
    for one, solution in zip(judged, solutions, strict=True):
        assert (one.num_steps, one.first_wrong) == (len(solution.steps), solution.first_wrong)
        assert one.question_id == solution.question_id and len(one.targets) == one.num_steps
        if one.id == 's-03':
            assert one.scores == () and one.unscored == 'too_long' and one.cost == {}
        else:
            assert len(one.scores) == one.num_steps and one.unscored is None
            assert one.cost['verify'] > 0 and one.cost['scored_tokens'] > 0
    alone = judge(shepherd, solutions[7:8])[0]  # neither neighbours nor order decide a score
    assert alone == judged[7] and len(set(alone.scores)) > 1
    assert ticks[-1].done == ticks[-1].total == COUNT
    assert ticks[-1].tokens == sum(one.cost.get('scored_tokens', 0) for one in judged)
    assert len(read_lines(out / 'timing.jsonl')) == COUNT and b'second' not in results(out)


def test_targets_turn_at_the_first_wrong_step(whole):
    judged = [judged_from(line) for line in read_lines(whole[0] / JUDGEMENTS)]
    one = next(one for one in judged if one.first_wrong == 2)
    assert one.targets == (1.0, 1.0) + (0.0,) * (one.num_steps - 2)
    assert all(set(one.targets) == {1.0} for one in judged if one.first_wrong is None)


def test_a_verifier_to_which_every_line_break_is_a_marker_judges(path):
    verifier = load_verifier(GOLDEN / 'skywork-o1-open-prm')
    solutions = load_solutions(read_config(path).solutions)[4:10]
    for one, solution in zip(judge(verifier, solutions), solutions, strict=True):
        assert len(one.scores) == len(solution.steps) and one.unscored is None


def test_batches_hold_what_is_of_one_length(path, shepherd):
    solutions = load_solutions(read_config(path).solutions)
    found = list(batches(shepherd, solutions))
    assert all(len(batch) == 8 for batch in found[:-1]) and sum(map(len, found)) == COUNT
    sizes = [sum(map(len, solution.steps)) for batch in found for solution in batch if solution.id != 's-03']
    assert sizes[-1] > 4 * sizes[0] and sum(a <= b for a, b in zip(sizes, sizes[1:], strict=False)) > 0.8 * len(sizes)


def test_a_score_that_is_no_number_marks_its_solution(path, shepherd):
    head = jax.tree.map(lambda x: x * np.nan, shepherd.head)
    broken = dataclasses.replace(shepherd, head=head)
    for one in judge(broken, load_solutions(read_config(path).solutions)[:2]):
        assert one.scores == () and one.unscored == 'nan' and one.cost['verify'] > 0
        assert judged_from(json.loads(to_line(one))) == one


def test_another_order_makes_the_same_judgements(whole, path, tmp_path):
    lines = (path.parent / 'solutions.jsonl').read_text().splitlines()
    (tmp_path / 'solutions.jsonl').write_text('\n'.join(reversed(lines)))
    judge_solutions(read_config(path, f'solutions.source={tmp_path / "solutions.jsonl"}'), tmp_path / 'run')
    assert results(tmp_path / 'run') == results(whole[0])


class Stop(Exception):
    pass


@pytest.mark.parametrize('units', [1, 20])
def test_a_stopped_run_goes_on_to_the_same_bytes(whole, path, tmp_path, units):
    def report(progress):
        if progress.finished is None and progress.done >= units:
            raise Stop

    out = tmp_path / 'run'
    with pytest.raises(Stop):
        judge_solutions(read_config(path), out, report)
    left = command.num_lines(out / JOURNAL)
    assert units <= left < COUNT and not (out / JUDGEMENTS).exists()
    judge_solutions(read_config(path), out)
    assert results(out) == results(whole[0]) and command.num_lines(out / JOURNAL) == COUNT


def test_two_processes_make_the_same_bytes_in_folders_of_their_own(whole, path, tmp_path):
    """Threads on a board in memory stand for the processes."""
    board, raised = Board(), []

    def run(index):
        peers = Peers(board, index, 2, silent_rounds=10, round_seconds=0.05)
        try:
            judge_solutions(read_config(path), tmp_path / str(index), peers=peers)
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
    assert results(tmp_path / '0') == results(whole[0])
    assert command.num_lines(tmp_path / '1' / 'journal-1.jsonl') == COUNT // 2 and not (tmp_path / '1' / JUDGEMENTS).exists()


def test_what_is_derived_is_derived_again_without_a_verifier(whole, path, tmp_path):
    out, said = tmp_path / 'run', []
    shutil.copytree(whole[0], out)
    (out / JUDGEMENTS).unlink()
    judge_solutions(read_config(path), out, say=said.append)
    assert said == [] and results(out) == results(whole[0])


def test_other_solutions_or_another_verifier_are_refused(whole, path, tmp_path):
    out, prm = tmp_path / 'run', tmp_path / 'prm'
    with pytest.raises(RunError, match='made by another configuration'):
        judge_solutions(read_config(path, 'solutions.limit=3'), whole[0])
    shutil.copytree(GOLDEN / 'math-shepherd', prm)
    shutil.copy(path.parent / 'solutions.jsonl', tmp_path / 'solutions.jsonl')
    config = read_config(path, f'verifier.source={prm}', f'solutions.source={tmp_path / "solutions.jsonl"}')
    judge_solutions(config, out)
    journal = out / JOURNAL
    journal.write_text(''.join(journal.read_text().splitlines(keepends=True)[:2]))
    (prm / 'generation_config.json').write_text('{}')  # another digest
    with pytest.raises(RunError, match='verifiers was .* use another --out'):
        judge_solutions(config, out)
    text = (tmp_path / 'solutions.jsonl').read_text()
    (tmp_path / 'solutions.jsonl').write_text(text.replace('What is 0?', 'What is 00?'))
    with pytest.raises(RunError, match='data was .* use another --out'):
        judge_solutions(config, out)


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('solutions.format=prm800k', r'solutions\.format: expected .*processbench'),
        ('solutions.limit=0', 'limit must be at least 1'),
        ('solutions.delimeter=x', 'did you mean delimiter'),
        ('strategies={}', 'strategies: unknown key'),
        ('verifier.preset=none', 'preset must be one of'),
    ],
)
def test_impossible_configurations_are_refused(path, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        judge_solutions(read_config(path, override), tmp_path / 'run')


def test_the_dry_run_tells_what_the_run_does(whole, path):
    text = describe(read_config(path))
    judged = [judged_from(line) for line in read_lines(whole[0] / JUDGEMENTS)]
    flops = sum(one.cost.get('verify', 0) for one in judged)
    assert '30 of 15 questions, 90 steps' in text and '6 are one step' in text and 'unscored   1: ' in text
    assert f'{quantity(flops, "FLOPs")} for the whole run' in text


@pytest.mark.slow
def test_a_killed_run_is_resumed_where_it_stood(whole, path, cache, tmp_path):
    out = tmp_path / 'run'
    with command.start('evaluate', path, '--out', out, cache=cache) as process:
        command.signal_when(process, signal.SIGKILL, lambda: command.num_lines(out / JOURNAL) >= 2)
        process.communicate()
    left = (out / JOURNAL).read_bytes()
    assert process.returncode == -signal.SIGKILL and 2 <= left.count(b'\n') < COUNT and not (out / JUDGEMENTS).exists()
    again = command.run('evaluate', path, '--out', out, cache=cache)
    assert again.returncode == 0, again.stderr
    missing = COUNT - left.count(b'\n')
    assert f'{missing} of {COUNT} solutions to judge' in again.stdout
    assert results(out) == results(whole[0])
    assert (out / JOURNAL).read_bytes().startswith(left[: left.rfind(b'\n') + 1])
