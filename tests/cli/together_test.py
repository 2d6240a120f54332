"""`evaluate` as several real processes on the loopback interface: the records of one, whatever dies."""

import argparse
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxreason.cli import together
from jaxreason.core.errors import ProcessError
from jaxreason.engine.processes import Group
from jaxreason.evaluate.runner import JOURNAL
from tests.evaluate import command as processes_of
from tests.evaluate.tiny_world import SLOW_UNITS as UNITS
from tests.evaluate.tiny_world import SLOWLY

MINUTE = 60.0


@pytest.fixture(scope='module')
def alone(world, cache, tmp_path_factory):
    """What one process makes of the slow run."""
    out = tmp_path_factory.mktemp('alone') / 'run'
    done = processes_of.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert done.returncode == 0, done.stderr
    return processes_of.results(out)


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
                processes_of.start(
                    *('evaluate', world, *SLOWLY, *words, '--out', out, '--processes', len(outs), '--process-id', index),
                    *('--coordinator', f'127.0.0.1:{port}'),
                    cache=cache,
                    **environment,
                )
            )
            for index, out in enumerate(outs)
        ]


def ended(processes, seconds=processes_of.STARTING):
    """Exit code, standard output and standard error of each, once all have ended."""
    deadline = time.monotonic() + seconds
    texts = [process.communicate(timeout=max(0.1, deadline - time.monotonic())) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def journals(out):
    return sum(processes_of.num_lines(path) for path in out.glob('journal-*.jsonl'))


def test_two_processes_in_one_folder_write_the_records_of_one(world, cache, alone, tmp_path):
    out = tmp_path / 'run'
    with started(world, cache, [out, out]) as processes:
        (code, shown, err), second = ended(processes)
    assert (code, err) == (0, '') and '2 processes' in shown and f'{UNITS} of {UNITS} units to do among 2' in shown
    assert second == (0, '', ''), 'only process 0 shows anything'
    assert processes_of.results(out) == alone
    written = {path.name: processes_of.num_lines(path) for path in out.glob('journal-*')}
    assert written == {JOURNAL: UNITS // 2, 'journal-1.jsonl': UNITS // 2}
    assert '"processes": 2' in (out / 'environment.json').read_text()


@pytest.mark.slow
def test_two_processes_with_a_folder_each_write_the_records_of_one(world, cache, alone, tmp_path):
    outs = [tmp_path / 'a', tmp_path / 'b']
    with started(world, cache, outs, '--quiet') as processes:
        assert [code for code, *_ in ended(processes)] == [0, 0]
    assert processes_of.results(outs[0]) == alone
    assert journals(outs[0]) == UNITS, 'the first folder holds everything'
    assert journals(outs[1]) == UNITS // 2 and not (outs[1] / 'records.jsonl').exists()
    # A rerun by one process has nothing left to do, and needs no model.
    again = processes_of.run('evaluate', world, *SLOWLY, '--out', outs[0], '--quiet', cache=cache)
    assert again.returncode == 0 and 'to do' not in again.stdout and processes_of.results(outs[0]) == alone


def killed(world, cache, outs, victim, number=signal.SIGKILL, units=3):
    """Kills one of the processes in the middle; returns what became of them, and how long the last one took."""
    with started(world, cache, outs) as processes:
        processes_of.signal_when(processes[victim], number, lambda: all(journals(out) >= units for out in outs))
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
    again = processes_of.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert again.returncode == 0 and f'{UNITS - kept} of {UNITS} units to do' in again.stdout, again.stderr
    assert processes_of.results(out) == alone


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
    assert processes_of.results(outs[0]) == alone


def test_a_process_that_fails_says_why_to_the_other(world, cache, tmp_path):
    with started(world, cache, [tmp_path / 'run', '/proc/run']) as processes:
        first, second = ended(processes, MINUTE)
    assert second[0] == 2 and second[2].startswith('jaxreason: error: /proc/run: cannot write there')
    assert first[0] == 3 and re.fullmatch(
        r'jaxreason: error: process 1 \(.*\) stopped: /proc/run: cannot write there .*: rerun the same command .*\n', first[2]
    ), first[2]


@pytest.mark.slow
def test_a_stopped_process_is_taken_for_dead(world, cache, tmp_path):
    """It hangs, and nobody waits for ever; when it wakes up it finds that it is alone."""
    out = tmp_path / 'run'
    with started(world, cache, [out, out]) as processes:
        processes_of.signal_when(processes[1], signal.SIGSTOP, lambda: journals(out) >= 3)
        [(code, _, err)] = ended(processes[:1], MINUTE)
        assert code == 3 and 'process 1' in err and 'died or hangs' in err
        processes[1].send_signal(signal.SIGCONT)
        [(code, _, err)] = ended(processes[1:], MINUTE)
        assert code == 3 and 'process 0' in err, err


@pytest.mark.parametrize('victim', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_ctrl_c_on_one_stops_both_and_keeps_what_is_finished(world, cache, alone, tmp_path, victim):
    out = tmp_path / 'run'
    ends, seconds = killed(world, cache, [out, out], victim, signal.SIGINT)
    assert [code for code, *_ in ends] == [130, 130] and seconds < 20, ends
    assert f'process {victim}' in ends[1 - victim][2] and 'was interrupted: stopping at the next chunk' in ends[1 - victim][2]
    assert not any('Traceback' in err for *_, err in ends)
    assert 3 <= journals(out) < UNITS


@pytest.mark.slow
def test_three_processes_finish_what_two_began(world, cache, alone, tmp_path):
    out = tmp_path / 'run'
    killed(world, cache, [out, out], 0, signal.SIGTERM)
    kept = journals(out)
    with started(world, cache, [out] * 3, '--quiet') as processes:
        (code, shown, _), *_ = ended(processes)
    assert code == 0 and f'{UNITS - kept} of {UNITS} units to do among 3' in shown
    assert processes_of.results(out) == alone


@pytest.mark.parametrize('index', [0, 1])
def test_a_process_to_which_nobody_comes_gives_up_and_says_where(index):
    """The command waits for two minutes; here it is two seconds."""
    script = (
        'import os, sys\n'
        'from jaxreason.core.errors import ProcessError\n'
        'from jaxreason.engine.processes import Group, join\n'
        'try:\n'
        '    join(Group(sys.argv[1], 2, int(sys.argv[2])), seconds=2)\n'
        'except ProcessError as error:\n'
        '    print(error, flush=True)\n'
        '    os._exit(3)\n'
    )
    address = f'127.0.0.1:{free_port()}'
    done = subprocess.run([sys.executable, '-c', script, address, str(index)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and done.stdout.count('\n') == 1, done.stderr
    assert f'process {index} of 2 waited 2 s' in done.stdout and address in done.stdout
    assert ('nobody listens' in done.stdout) == (index == 1)


def test_a_port_that_is_taken_is_refused_in_a_line(world, cache, tmp_path):
    with socket.create_server(('::', 0), family=socket.AF_INET6) as taken:
        address = f'localhost:{taken.getsockname()[1]}'
        words = ('--processes', 2, '--process-id', 0, '--coordinator', address)
        done = processes_of.run('evaluate', world, '--out', tmp_path / 'run', *words, cache=cache)
    assert done.returncode == 3 and 'choose another port' in done.stderr and address in done.stderr, done.stderr


@pytest.mark.parametrize(
    ('words', 'variables', 'message'),
    [
        (('--processes', '2'), {}, '--process-id is missing'),
        (('--process-id', '0'), {}, '--processes is missing'),
        (('--processes=2', '--process-id=0'), {}, '--coordinator is missing'),
        (('--processes=2', '--process-id=2', '--coordinator=a:1'), {}, r'--process-id must be .* in \[0, 1\], got .2'),
        (('--processes=0', '--process-id=0', '--coordinator=a:1'), {}, '--processes must be'),
        (('--processes=-1', '--process-id=0', '--coordinator=a:1'), {}, '--processes must be'),
        (('--processes=many', '--process-id=0', '--coordinator=a:1'), {}, "got 'many'"),
        (('--processes=9999999999', '--process-id=0', '--coordinator=a:1'), {}, '--processes must be'),
        (('--processes=2', '--process-id=\u0661', '--coordinator=a:1'), {}, '--process-id must be'),
        (('--processes=2', '--process-id=0', '--coordinator=host'), {}, 'HOST:PORT'),
        (('--processes=2', '--process-id=0', '--coordinator=:80'), {}, 'HOST:PORT'),
        (('--processes=2', '--process-id=0', '--coordinator=a b:80'), {}, 'HOST:PORT'),
        (('--processes=2', '--process-id=0', '--coordinator=a:99999'), {}, 'PORT'),
        ((), {'JAX_NUM_PROCESSES': '2'}, '--process-id is missing'),
        ((), {'JAX_COORDINATOR_ADDRESS': 'a:1'}, '--processes is missing'),
    ],
)
def test_impossible_groups_are_one_line(refused, world, monkeypatch, tmp_path, words, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert re.search(message, refused('evaluate', world, '--out', tmp_path / 'run', *words))
    assert not (tmp_path / 'run').exists()


def flags(*words):
    parser = argparse.ArgumentParser()
    together.add_flags(parser)
    return parser.parse_args(words)


def test_flags_and_variables_say_the_same_and_flags_win():
    group = Group('[::1]:80', 3, 1)
    variables = {'JAX_NUM_PROCESSES': '3', 'JAX_PROCESS_ID': '1', 'JAX_COORDINATOR_ADDRESS': '[::1]:80'}
    assert together.group_from(flags('--processes=3', '--process-id=1', '--coordinator=[::1]:80'), {}) == group
    assert together.group_from(flags(), variables) == group
    assert together.group_from(flags('--process-id', '0'), variables) == Group('[::1]:80', 3, 0)


def test_one_process_joins_nobody(monkeypatch):
    assert together.group_from(flags(), {}) is None
    assert together.group_from(flags('--processes', '1'), {}) is None
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert together.group_from(flags('--processes', '1'), {}) is None, 'not even under a launcher'
    monkeypatch.setenv('SLURM_NTASKS', '1')
    assert together.group_from(flags(), {}) is None


SLURM = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'node[3-5]',
    'SLURM_NTASKS': '3',
    'SLURM_PROCID': '2',
    'SLURM_LOCALID': '0',
}
OPEN_MPI = {
    'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911',
    'OMPI_COMM_WORLD_SIZE': '3',
    'OMPI_COMM_WORLD_RANK': '2',
    'OMPI_COMM_WORLD_LOCAL_RANK': '0',
}


@pytest.mark.parametrize(('variables', 'host'), [(SLURM, 'node3'), (OPEN_MPI, '10.96.0.1')])
def test_a_launcher_is_found(monkeypatch, variables, host):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    group = together.group_from(flags(), {})
    assert (group.coordinator.split(':')[0], group.count, group.index, group.local_device_ids) == (host, 3, 2, (0,))


def test_a_launcher_that_makes_no_sense_is_refused_with_the_remedy(monkeypatch):
    for name, value in (OPEN_MPI | {'OMPI_MCA_orte_hnp_uri': '1.0;nothing'}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessError, match='ompi started this process.*--processes 1'):
        together.group_from(flags(), {})


def test_a_dry_run_joins_nobody(world, command):
    code, text, err = command('evaluate', world, '--dry-run', '--processes=2', '--process-id=1', '--coordinator=nowhere:1')
    assert (code, err) == (0, '') and 'FLOPs' in text
