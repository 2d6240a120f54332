"""Several processes on one run, played by threads on a board in memory: the bytes of one process, however it is divided."""

import itertools
import json
import re
import shutil
import threading

import pytest

from jaxreason.analysis.metrics import write_metrics
from jaxreason.core.errors import ConfigError, ProcessError, RunError
from jaxreason.engine.peers import Peers
from jaxreason.engine.sampler import Sampler
from jaxreason.evaluate import runner
from jaxreason.evaluate.runner import evaluate
from tests.engine.peers_test import Board
from tests.evaluate.command import num_lines, results
from tests.evaluate.tiny_world import read_config

BEAM = 'strategies.beam={kind: beam_search, n: 4, beam_width: 2, verifier: mean_logprob}'
SMALL = ('data.limit=3', 'seeds=[7]', 'budgets=[{}, {tokens: 12}]', 'n=[2, 4]', BEAM)
UNITS = 24  # of each question the samples, beam search at 2 and 4, greedy, and four under a limit


class Stop(Exception):
    pass


def together(config, outs, stop_after=None):
    """Runs one process a folder; each stops after so many units, if it is said. Returns what each raised."""
    board, raised = Board(), [None] * len(outs)

    def run(index):
        configs = config if isinstance(config, list) else [config] * len(outs)
        peers = Peers(board, index, len(outs), silent_rounds=10, round_seconds=0.05)
        finished = []

        def report(progress):
            finished.extend([progress] * (progress.finished is not None))
            if stop_after is not None and (len(finished) >= stop_after or any(raised)):
                raise Stop

        try:
            evaluate(configs[index], outs[index], report, peers=peers)
        except Exception as error:
            raised[index] = error
            board.is_mute = True  # threads cannot be ended as the command line ends processes: nobody gets an answer any more
        finally:
            peers.leave()

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(outs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return raised


@pytest.fixture(scope='module')
def small(world, tmp_path_factory):
    config = read_config(world, *SMALL)
    out = tmp_path_factory.mktemp('small') / 'run'
    evaluate(config, out)
    write_metrics(out)
    return config, results(out)


def finished(out):
    write_metrics(out)
    return results(out)


@pytest.mark.parametrize('count', [2, 3, 5])
@pytest.mark.parametrize('shared', [True, False])
def test_any_number_of_processes_write_the_bytes_of_one(small, tmp_path, count, shared):
    """Five processes for three questions: two have nothing to do."""
    config, expected = small
    outs = [tmp_path / ('run' if shared else f'run{index}') for index in range(count)]
    assert together(config, outs) == [None] * count
    assert finished(outs[0]) == expected
    if not shared:
        assert num_lines(outs[0] / 'journal-0.jsonl') == UNITS
        assert not (outs[1] / 'records.jsonl').exists()


@pytest.mark.parametrize(('began', 'ended'), [(2, 1), (2, 3), (1, 2), (3, 2)])
def test_what_some_processes_began_others_finish(small, tmp_path, began, ended):
    config, expected = small
    out = tmp_path / 'run'
    if began == 1:
        with pytest.raises(Stop):
            evaluate(config, out, stop_at_units(3))
    else:
        assert any(isinstance(error, Stop) for error in together(config, [out] * began, stop_after=2))
    kept = {line for path in out.glob('journal-*') for line in path.read_text().splitlines()}
    assert 0 < len(kept) < UNITS
    if ended == 1:
        evaluate(config, out)
    else:
        assert together(config, [out] * ended) == [None] * ended
    assert finished(out) == expected
    lines = [line for path in out.glob('journal-*') for line in path.read_text().splitlines()]
    assert len(lines) == UNITS and kept <= set(lines), 'nothing is done twice'


def stop_at_units(units):
    left = [units]

    def report(progress):
        left[0] -= progress.finished is not None
        if left[0] <= 0:
            raise Stop

    return report


def test_journals_from_several_disks_in_one_folder_are_one_run(small, tmp_path):
    """Every machine's journal is brought into one folder; one process finishes there."""
    config, expected = small
    outs = [tmp_path / 'a', tmp_path / 'b']
    together(config, outs, stop_after=2)
    shutil.copy(outs[1] / 'journal-1.jsonl', outs[0])
    kept = sum(num_lines(path) for path in outs[0].glob('journal-*'))
    evaluate(config, outs[0])
    assert finished(outs[0]) == expected
    assert sum(num_lines(path) for path in outs[0].glob('journal-*')) == UNITS and kept > 0


def test_two_journals_that_disagree_stop_the_run(small, tmp_path):
    config, _ = small
    out = tmp_path / 'run'
    evaluate(config, out)
    key = json.loads((out / 'journal-0.jsonl').read_text().splitlines()[0])['key']
    journal = runner.Journals(out, 1)
    journal.own.append(key, {'other': 'content'})
    journal.close()
    with pytest.raises(RunError, match=r'journal-1.jsonl: .* has two contents'):
        evaluate(config, out)


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        (('sampler.temperature=0.5',), r'process 1.* has another configuration .*"temperature: 0.5", there "temperature: 1.0"'),
        (('data.limit=2',), 'another configuration'),
    ],
)
def test_processes_that_were_given_different_things_do_not_begin(small, world, tmp_path, overrides, message):
    config, _ = small
    other = read_config(world, *SMALL, *overrides)
    raised = together([config, other], [tmp_path / 'a', tmp_path / 'b'])
    assert all(isinstance(error, ProcessError) for error in raised)
    assert any(re.search(message, str(error)) for error in raised), raised
    assert not list(tmp_path.glob('*/journal*'))


def test_a_process_with_other_weights_is_refused(small, tmp_path, monkeypatch):
    describe = runner.describe
    digests = itertools.count()

    def another(*args):
        return describe(*args) | {'weights': f'digest {next(digests)}'}

    monkeypatch.setattr(runner, 'describe', another)
    raised = together(small[0], [tmp_path / 'run'] * 2)
    assert all(isinstance(error, ProcessError) for error in raised)
    # The one that finds out first may be gone before the other has compared.
    message = r"process 1.* has weights 'digest \d', process 0 has 'digest \d'.*make them the same"
    assert any(re.search(message, str(error)) for error in raised), raised


def test_a_second_run_is_refused_while_several_processes_hold_the_folder(small, tmp_path):
    config, _ = small
    refusals = []
    out = tmp_path / 'run'

    def report(progress):
        if progress.finished and not refusals:
            for attempt in (lambda: evaluate(config, out), lambda: raise_first(together(config, [out] * 2))):
                try:
                    attempt()
                except RunError as error:
                    refusals.append(str(error))

    board = Board()
    peers = [Peers(board, index, 2, round_seconds=0.05) for index in range(2)]
    threads = [
        threading.Thread(target=evaluate, args=(config, out, report if index == 0 else lambda progress: None, print, one))
        for index, one in enumerate(peers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refusals) == 2 and all('held by process' in line and 'another --out' in line for line in refusals)
    assert (out / 'records.jsonl').exists()


def raise_first(raised):
    raise next(error for error in raised if isinstance(error, RunError))


def test_a_mesh_over_several_processes_is_refused_with_the_remedy(small, world, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, 'spans_processes', lambda mesh: True)
    config = read_config(world, *SMALL, 'model.mesh={data: 8}')
    raised = together(config, [tmp_path / 'run'] * 2)
    assert all(isinstance(error, (ConfigError, ProcessError)) for error in raised)
    assert any('spreads the model over 2 processes' in str(error) for error in raised)


@pytest.mark.parametrize('shared', [True, False])
def test_processes_that_choose_their_rows_take_the_least_of_any(world, tmp_path, monkeypatch, shared):
    """One of the processes has memory for 8 rows: so has the run, whoever finishes it."""
    config = read_config(world, *SMALL, 'sampler.num_rows=auto')
    alone = tmp_path / 'alone'
    evaluate(read_config(world, *SMALL, 'sampler.num_rows=8'), alone)
    choose, choices = Sampler.choose_rows, []

    def less_in_the_second(self, longest_prompt, copies):
        choice = choose(self, longest_prompt, copies)
        choices.append(choice)
        return choice._replace(num_rows=8, why='memory') if len(choices) == 2 else choice

    monkeypatch.setattr(Sampler, 'choose_rows', less_in_the_second)
    outs = [tmp_path / ('run' if shared else f'run{index}') for index in range(2)]
    raised = together(config, outs, stop_after=2)
    assert any(isinstance(error, Stop) for error in raised) and len(choices) == 2 and choices[0].num_rows > 8
    for out in outs:
        assert '  num_rows: 8\n' in (out / 'config.yaml').read_text()
    assert together(config, outs) == [None] * 2
    assert len(choices) == 2, 'nothing is chosen anew'
    assert finished(outs[0]) == finished(alone)
