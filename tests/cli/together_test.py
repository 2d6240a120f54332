"""`evaluate` as several real processes on the loopback interface: the records of one, whatever dies."""

import contextlib
import re
import shutil
import signal
import socket
import time

import pytest

from jaxreason.evaluate.runner import JOURNAL
from tests.evaluate import command

SLOWLY = ('sampler.chunk=1', 'sampler.max_tokens=40', 'strategies.majority.n=8')
UNITS = 24
MINUTE = 60.0


@pytest.fixture(scope='module')
def alone(world, cache, tmp_path_factory):
    """What one process makes of the slow run."""
    out = tmp_path_factory.mktemp('alone') / 'run'
    done = command.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert done.returncode == 0, done.stderr
    return command.results(out)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def started(world, cache, outs, *words, **environment):
    """One process a folder, joined."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                command.start(
                    *('evaluate', world, *SLOWLY, *words, '--out', out, '--processes', len(outs), '--process-id', index),
                    *('--coordinator', f'127.0.0.1:{port}'),
                    cache=cache,
                    **environment,
                )
            )
            for index, out in enumerate(outs)
        ]


def ended(processes, seconds=command.STARTING):
    """Exit code, standard output and standard error of each, once all have ended."""
    deadline = time.monotonic() + seconds
    texts = [process.communicate(timeout=max(0.1, deadline - time.monotonic())) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def journals(out):
    return sum(command.num_lines(path) for path in out.glob('journal-*.jsonl'))


def test_two_processes_in_one_folder_write_the_records_of_one(world, cache, alone, tmp_path):
    out = tmp_path / 'run'
    with started(world, cache, [out, out]) as processes:
        (code, shown, err), second = ended(processes)
    assert (code, err) == (0, '') and '2 processes' in shown and f'{UNITS} of {UNITS} units to do among 2' in shown
    assert second == (0, '', ''), 'only process 0 shows anything'
    assert command.results(out) == alone
    assert {path.name: command.num_lines(path) for path in out.glob('journal-*')} == {JOURNAL: 12, 'journal-1.jsonl': 12}
    assert '"processes": 2' in (out / 'environment.json').read_text()


def test_two_processes_with_a_folder_each_write_the_records_of_one(world, cache, alone, tmp_path):
    outs = [tmp_path / 'a', tmp_path / 'b']
    with started(world, cache, outs, '--quiet') as processes:
        assert [code for code, *_ in ended(processes)] == [0, 0]
    assert command.results(outs[0]) == alone
    assert journals(outs[0]) == UNITS, 'the first folder holds everything'
    assert journals(outs[1]) == 12 and not (outs[1] / 'records.jsonl').exists()
    # A rerun by one process has nothing left to do, and needs no model.
    again = command.run('evaluate', world, *SLOWLY, '--out', outs[0], '--quiet', cache=cache)
    assert again.returncode == 0 and 'to do' not in again.stdout and command.results(outs[0]) == alone


def killed(world, cache, outs, victim, number=signal.SIGKILL, units=3):
    """Kills one of the processes in the middle; returns what became of them, and how long the last one took."""
    with started(world, cache, outs) as processes:
        command.signal_when(processes[victim], number, lambda: all(journals(out) >= units for out in outs))
        began = time.monotonic()
        return ended(processes), time.monotonic() - began


def test_when_process_0_is_killed_the_other_names_it_and_one_process_finishes(world, cache, alone, tmp_path):
    out = tmp_path / 'run'
    ends, seconds = killed(world, cache, [out, out], victim=0)
    assert ends[0][0] == -signal.SIGKILL
    code, shown, err = ends[1]
    assert (code, shown) == (3, '') and seconds < MINUTE
    assert re.fullmatch(r'jaxreason: error: process 0 \(.*, pid \d+\) died: .*: rerun the same command .*\n', err), err
    kept = journals(out)
    assert 3 <= kept < UNITS and not (out / 'records.jsonl').exists()
    again = command.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert again.returncode == 0 and f'{UNITS - kept} of {UNITS} units to do' in again.stdout, again.stderr
    assert command.results(out) == alone


@pytest.mark.slow
@pytest.mark.parametrize('shared', [True, False])
def test_when_process_1_is_killed_the_other_names_it_and_two_finish(world, cache, alone, tmp_path, shared):
    outs = [tmp_path / 'a', tmp_path / ('a' if shared else 'b')]
    ends, seconds = killed(world, cache, outs, victim=1)
    assert ends[1][0] == -signal.SIGKILL
    code, _, err = ends[0]
    assert code == 3 and seconds < MINUTE
    assert re.fullmatch(r'jaxreason: error: process 1 \(.*, pid \d+\) died or hangs: .*: rerun .*\n', err), err
    assert not (outs[0] / 'records.jsonl').exists()
    with started(world, cache, outs, '--quiet') as processes:
        (code, shown, err), _ = ended(processes)
    assert code == 0 and f'{UNITS} of {UNITS}' not in shown, err
    assert command.results(outs[0]) == alone


@pytest.mark.slow
def test_a_stopped_process_is_taken_for_dead(world, cache, tmp_path):
    """It hangs, and nobody waits for ever; when it wakes up it finds that it is alone."""
    out = tmp_path / 'run'
    with started(world, cache, [out, out]) as processes:
        command.signal_when(processes[1], signal.SIGSTOP, lambda: journals(out) >= 3)
        [(code, _, err)] = ended(processes[:1], MINUTE)
        assert code == 3 and 'process 1' in err and 'died or hangs' in err
        processes[1].send_signal(signal.SIGCONT)
        [(code, _, err)] = ended(processes[1:], MINUTE)
        assert code == 3 and 'process 0' in err, err


@pytest.mark.parametrize('victim', [0, 1])
def test_ctrl_c_on_one_stops_both_and_keeps_what_is_finished(world, cache, alone, tmp_path, victim):
    out = tmp_path / 'run'
    ends, seconds = killed(world, cache, [out, out], victim, signal.SIGINT)
    assert [code for code, *_ in ends] == [130, 130] and seconds < 20, ends
    assert f'process {victim}' in ends[1 - victim][2] and 'was interrupted: stopping at the next chunk' in ends[1 - victim][2]
    assert not any('Traceback' in err for *_, err in ends)
    kept = journals(out)
    assert 3 <= kept < UNITS
    if victim:
        with started(world, cache, [out] * 3, '--quiet') as processes:  # one more than began it
            (code, shown, _), *_ = ended(processes)
        assert code == 0 and f'{UNITS - kept} of {UNITS} units to do among 3' in shown
        assert command.results(out) == alone


