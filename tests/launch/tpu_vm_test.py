"""launch/tpu_vm.sh against a stand-in for gcloud: exact arguments, hostile names, waiting, secrets, and a whole session."""

import functools
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
TPUS = ['compute', 'tpus']
PLACE = '--zone=us-east5-a'
FORMAT = '--format=value(state.state,state.failedData.error.message)'
DESCRIBE = [*TPUS, 'queued-resources', 'describe', 'demo', FORMAT, PLACE]
V6E = ('--accelerator-type', 'v6e-16')

HOSTILE = [
    'a b',
    "it's",
    '"; touch X; "',
    '$(touch X)',
    '`touch X`',
    '; touch X #',
    '\n touch X\n',
    '-rf',
    '--worker=0',
    '* ? [a]',
    '~',
    '\\',
    "'\\''",
    '$HOME ${HOME} !! &',
    'a\tb\x1b[31m',
    'é 数 \u202e',
    'A=b',
    '',
]


def worker_call(worker: str, *words: str) -> list[str]:
    command = shlex.join(['bash', 'jaxreason-launch/checkout/launch/worker.sh', *words])
    return [*TPUS, 'tpu-vm', 'ssh', 'demo', f'--worker={worker}', f'--command={command}', PLACE]


def no_file_was_made(cloud):
    assert not list(cloud.root.rglob('X')) and not Path('X').exists()


# ------------------------------------------------------------------------------------------------------------------ create


def test_create_asks_for_the_slice_and_waits_until_it_is_active(cloud):
    cloud.answer('ABSENT', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE')
    done = cloud('create', *V6E, '--spot', '--valid-until-duration', '6h', '--create-flag=--network=n', '--poll', '0')
    assert done.returncode == 0, done.stderr
    create = [*TPUS, 'queued-resources', 'create', 'demo', '--node-id=demo', '--accelerator-type=v6e-16']
    create += ['--runtime-version=v2-alpha-tpuv6e', '--spot', '--valid-until-duration=6h', '--network=n', '--quiet', PLACE]
    assert cloud.calls == [DESCRIBE, create, DESCRIBE, DESCRIBE, DESCRIBE]
    told = [line for line in done.stderr.splitlines() if ' is ' in line]
    assert [line.split()[-1] for line in told[1:]] == ['WAITING_FOR_RESOURCES.', 'PROVISIONING.', 'ACTIVE.']


@pytest.mark.parametrize(
    ('accelerator', 'runtime'),
    [
        ('v6e-8', 'v2-alpha-tpuv6e'),
        ('v5p-8', 'v2-alpha-tpuv5'),
        ('v5litepod-16', 'v2-alpha-tpuv5-lite'),
        ('v4-8', 'tpu-ubuntu2204-base'),
        ('v2-8', 'tpu-ubuntu2204-base'),
    ],
)
def test_runtime_version_follows_the_family(cloud, accelerator, runtime):
    cloud.answer('ABSENT', 'ACTIVE')
    cloud('create', '--accelerator-type', accelerator, '--project', 'p', '--reserved')
    assert {f'--runtime-version={runtime}', '--project=p', '--reserved'} < set(cloud.calls[1])


def test_create_of_what_exists_asks_for_nothing_again(cloud):
    cloud.answer('WAITING_FOR_RESOURCES', 'ACTIVE')
    done = cloud('create', *V6E, '--poll', '0')
    assert done.returncode == 0 and 'exists already' in done.stderr
    assert cloud.calls == [DESCRIBE, DESCRIBE]


@pytest.mark.parametrize('state', ['FAILED', 'SUSPENDED', 'SUSPENDING', 'DELETING', 'ABSENT'])
def test_create_stops_where_the_slice_cannot_become_active(cloud, state):
    reason = {'FAILED': r'\tno\nquota'}
    cloud.answer('ACCEPTED', state + reason.get(state, ''))
    done = cloud('create', *V6E, '--poll', '0', '--timeout', '5')
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert 'create it again' in last
    assert ('demo is FAILED: no quota; delete it' in last) == (state == 'FAILED')


def test_create_gives_up_after_its_time_and_says_how_to_go_on(cloud):
    cloud.answer('WAITING_FOR_RESOURCES')
    done = cloud('create', *V6E, '--timeout', '0')
    assert done.returncode == 124
    assert 'still WAITING_FOR_RESOURCES after 0 s; create goes on waiting, delete gives up.' in done.stderr


def test_errors_of_gcloud_pass_through_with_its_exit_status(cloud):
    cloud.answer('DENIED')
    done = cloud('create', *V6E)
    assert done.returncode == 7 and 'PERMISSION_DENIED' in done.stderr and len(cloud.calls) == 1
    cloud.answer('ABSENT')
    (cloud.root / 'create_error').write_text('ERROR: no quota\n')
    done = cloud('create', *V6E)
    assert done.returncode == 4 and 'no quota' in done.stderr


def test_a_failed_create_ends_up_before_setup(cloud):
    cloud.answer('ABSENT')
    (cloud.root / 'create_error').write_text('ERROR: no quota\n')
    assert cloud('up', *V6E).returncode == 4
    assert not any('ssh' in call for call in cloud.calls)


def test_delete_is_idempotent_and_passes_other_errors_on(cloud):
    delete = [*TPUS, 'queued-resources', 'delete', 'demo', '--force', '--quiet', PLACE]
    assert cloud('delete').returncode == 0
    (cloud.root / 'delete_error').write_text("ERROR: (gcloud.x) NOT_FOUND: Resource 'queuedResources/demo' was not found.\n")
    done = cloud('delete')
    assert done.returncode == 0 and 'nothing to delete' in done.stderr
    (cloud.root / 'delete_error').write_text('ERROR: (gcloud.x) PERMISSION_DENIED: no\n')
    done = cloud('delete')
    assert done.returncode == 3 and 'PERMISSION_DENIED' in done.stderr
    assert cloud.calls == [delete] * 3


# ------------------------------------------------------------------------------------------------------- a session on workers


def test_setup_copies_the_checkout_and_installs_it_on_every_worker(cloud):
    cloud.files(0, 'runs/old', journal='kept')
    stale = cloud.home(0) / 'jaxreason-launch/checkout/jaxreason/gone.py'
    stale.parent.mkdir()
    stale.write_text('')
    done = cloud('setup', '--connect-flag', '--internal-ip')
    assert done.returncode == 0, done.stderr
    assert all('--internal-ip' in call for call in cloud.calls)
    assert [call[3] for call in cloud.calls] == ['ssh', 'scp', 'ssh']
    assert cloud.calls[1][4:7] == ['--worker=all', 'source.tgz', 'demo:jaxreason-launch/source.tgz']
    for worker in (0, 1):
        home = cloud.home(worker)
        checkout = home / 'jaxreason-launch/checkout'
        assert (checkout / 'jaxreason/__init__.py').is_file() and (checkout / 'configs/quickstart.yaml').is_file()
        assert not [path for path in checkout.iterdir() if path.name.startswith('.')]
        assert (home / 'pip').read_text().endswith(f'{checkout}: -m pip install --quiet --disable-pip-version-check '
                                                   '--constraint constraints.txt .[tpu]\n')  # fmt: skip
    assert stat.S_IMODE((cloud.home(1) / 'jaxreason-launch').stat().st_mode) == 0o700
    assert not stale.exists() and (cloud.home(0) / 'jaxreason-launch/checkout/runs/old/journal').read_text() == 'kept'
    assert 'worker 1: ready, Python 3.11.9' in done.stdout


def test_setup_brings_a_python_where_the_image_has_none_new_enough(cloud):
    cloud.program('venv', (cloud.root / 'remote/python3.11').read_text())
    for name in ('python3.11', 'python3.12', 'python3.13'):
        cloud.program(f'remote/{name}', '#!/bin/sh\nexit 1\n')
    cloud.program('uv', f'#!/bin/sh\necho "$@" >~/uv\nexec "{cloud.root}/venv" -m venv "$6"\n')
    pip = f'echo "$@" >~/pip_user\nmkdir -p ~/.local/bin && cp "{cloud.root}/uv" ~/.local/bin/'
    cloud.program('remote/python3', f'#!/bin/sh\n[ "$1" = -c ] && exit 1\n{pip}\n')
    done = cloud('setup')
    assert done.returncode == 0, done.stderr
    assert (cloud.home(1) / 'pip_user').read_text() == '-m pip install --quiet --user uv\n'
    venv = cloud.home(1) / 'jaxreason-launch/venv'
    assert (cloud.home(1) / 'uv').read_text() == f'venv --quiet --seed --python 3.11 {venv}\n'
    done = cloud('setup', '--python', 'python3.12')
    assert done.returncode == 1 and 'python3.12 is not Python 3.11 or newer' in done.stderr


def test_run_starts_the_command_on_every_worker_and_returns(ready, wait):
    for worker in (0, 1):
        (ready.home(worker) / 'body').write_text('echo begin; until [[ -e ~/go ]]; do sleep 0.02; done; echo end; exit 5')
    done = ready('run', '--', 'jaxreason', 'evaluate', 'c.yaml', '--out', 'runs/a')
    assert done.returncode == 0 and 'worker 1: started.' in done.stdout
    assert ready.calls == [worker_call('all', 'start', 'none', 'jaxreason', 'evaluate', 'c.yaml', '--out', 'runs/a')]
    wait(lambda: 'begin' in ready('logs').stdout)
    assert 'worker 1: running since' in ready('status').stdout
    # The same command again is what gcloud does after a broken connection.
    again = ready('run', '--', 'jaxreason', 'evaluate', 'c.yaml', '--out', 'runs/a')
    assert again.returncode == 0 and 'worker 1: this command is running already.' in again.stdout
    other = ready('run', '--', 'jaxreason', 'report')
    assert other.returncode == 1 and 'another run is going on; stop it first.' in other.stderr
    assert ready('setup').returncode == 1
    for worker in (0, 1):
        (ready.home(worker) / 'go').touch()
    followed = ready('logs', '--worker', '1', '--follow', '--lines', '9')
    assert followed.returncode == 5
    assert followed.stdout.splitlines() == ['worker 1: begin', 'worker 1: end', 'worker 1: ended with exit status 5.']
    wait(lambda: ready('status').stdout.count('ended with exit status 5.') == 2)


def test_stop_ends_the_run_and_keeps_its_exit_status(ready, wait):
    (ready.home(0) / 'body').write_text("trap 'exit 130' TERM; echo begin; while :; do sleep 0.02; done")
    ready('run', '--', 'jaxreason', 'evaluate')
    wait(lambda: 'begin' in ready('logs', '--worker', '0').stdout)
    assert 'worker 0: told to stop.' in ready('stop').stdout
    wait(lambda: 'worker 0: ended with exit status 130.' in ready('status').stdout)
    assert 'worker 0: nothing is running.' in ready('stop').stdout


def test_a_killed_run_is_called_so(ready):
    job = ready.home(0) / 'jaxreason-launch/job'
    job.mkdir()
    (job / 'pid').write_text('1\n')  # of a process that lives, but not of this run: the lock knows
    (job / 'log').write_text('half')
    assert 'worker 0: killed before it could write an exit status' in ready('status').stdout
    assert 'worker 1: no run yet.' in ready('status').stdout
    assert ready('logs', '--worker', '0', '--follow').returncode == 1


def test_logs_carry_no_terminal_control_sequences(ready):
    job = ready.home(0) / 'jaxreason-launch/job'
    job.mkdir()
    (job / 'log').write_bytes('1 %\r2 %\r\n\x1b]0;title\x07\x1b[2Jé\u009b31m\ttab\x00\n'.encode())
    lines = subprocess.run(
        [*('bash', str(LAUNCH / 'tpu_vm.sh'), 'logs', '--name', 'demo', '--zone', 'us-east5-a', '--worker', '0')],
        env={'PATH': f'{ready.root / "bin"}:{os.environ["PATH"]}'},
        capture_output=True,
    ).stdout
    assert lines.decode().splitlines() == ['worker 0: 1 %', 'worker 0: 2 %', 'worker 0: ]0;title[2Jé31m\ttab']


@pytest.mark.parametrize('state', ['SUSPENDED', 'SUSPENDING', r'FAILED\tno quota', 'ABSENT', 'WAITING_FOR_RESOURCES'])
def test_status_says_what_to_do_and_asks_no_worker_that_is_not_there(cloud, state):
    cloud.answer(state)
    done = cloud('status')
    assert done.returncode == 0 and cloud.calls == [DESCRIBE]
    remedy = {
        'S': 'delete, up, and the same run again',
        'F': 'is FAILED: no quota.',
        'A': 'create makes it',
        'W': 'WAITING_FOR',
    }
    assert remedy[state[0]] in done.stderr


def test_a_slice_without_setup_says_so(cloud):
    done = cloud('run', '--', 'jaxreason', 'evaluate')
    assert done.returncode == 127 and 'on a new slice, setup comes first.' in done.stderr


# ----------------------------------------------------------------------------------------------------------------- collect


def test_collect_brings_every_workers_files_and_overwrites_none(ready):
    ready.files(0, 'runs/a', config='c', records='merged', **{'.lock': 'held', 'journal-0': 'zero', 'journal-1': 'from 0'})
    ready.files(1, 'runs/a', config='c', environment='host 1', **{'journal-1': 'one', 'pools__p1': 'pool'})
    (ready.home(1) / 'jaxreason-launch/checkout/runs/a/link').symlink_to('/etc/passwd')
    done = ready('collect', '--out', 'runs/a')
    assert done.returncode == 0, done.stderr
    folder = ready.root / 'local/runs/a'
    got = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*') if path.is_file()}
    assert got == {
        'config': 'c',
        'records': 'merged',
        'environment': 'host 1',
        'journal-0': 'zero',
        'journal-1': 'from 0',
        'workers/1/journal-1': 'one',
        'pools/p1': 'pool',
        'logs/worker-0.log': '',
        'logs/worker-1.log': '',
    }
    copies = [[*TPUS, 'tpu-vm', 'scp', f'--worker={i}', 'demo:jaxreason-launch/collect.tgz',
               'demo:jaxreason-launch/collect.log', f'./{i}', PLACE] for i in (0, 1)]  # fmt: skip
    describe = [*TPUS, 'tpu-vm', 'describe', 'demo', '--format=value(networkEndpoints.len())', PLACE]
    assert ready.calls == [worker_call('all', 'pack', 'runs/a'), describe, *copies]


def test_collecting_again_brings_what_is_new(ready):
    ready.files(0, 'runs/a', **{'config.yaml': 'c', 'journal-0': 'one'})
    ready('collect', '--out', 'runs/a', '--workers', '1')
    journal = ready.home(0) / 'jaxreason-launch/checkout/runs/a/journal-0'
    journal.write_text('one, two')
    assert ready('collect', '--out', 'runs/a', '--workers', '1').returncode == 0
    assert (ready.root / 'local/runs/a/journal-0').read_text() == 'one, two'


def test_collect_never_mixes_two_runs(ready):
    ready.files(0, 'runs/a', **{'config.yaml': 'c', 'records': 'new'})
    other = ready.root / 'local/runs/a'
    other.mkdir(parents=True)
    (other / 'config.yaml').write_text('another')
    done = ready('collect', '--out', 'runs/a')
    assert done.returncode == 1 and 'holds a run of another configuration; give another --into.' in done.stderr
    assert [path.name for path in other.iterdir()] == ['config.yaml']
    assert ready('collect', '--out', 'runs/a', '--into', 'runs/b').returncode == 0
    assert (ready.root / 'local/runs/b/records').read_text() == 'new'


def test_collect_of_a_folder_that_worker_0_lacks_is_an_error(ready):
    done = ready('collect', '--out', 'runs/none')
    assert done.returncode == 1 and "worker 0 has no run folder 'runs/none'" in done.stderr
    assert not (ready.root / 'local/runs').exists()


# ------------------------------------------------------------------------------------------------------- hostile names, secrets


def test_hostile_words_of_a_command_arrive_as_they_are(ready, wait):
    done = ready('run', '--env', f'V={HOSTILE[3]}', '--', 'jaxreason', *HOSTILE)
    assert done.returncode == 0, done.stderr
    (call,) = ready.calls
    remote = shlex.split(call[6].removeprefix('--command='))
    assert remote[2:] == ['start', 'none', f'V={HOSTILE[3]}', 'jaxreason', *HOSTILE]
    for worker in (0, 1):
        wait(functools.partial(ready.is_ended, worker))
        assert (ready.home(worker) / 'argv').read_bytes().decode().split('\0')[:-1] == HOSTILE
        assert f'V={HOSTILE[3]}\0' in (ready.home(worker) / 'env').read_text()
    no_file_was_made(ready)


@pytest.mark.parametrize('hostile', HOSTILE[:-1])
def test_hostile_values_of_flags_reach_gcloud_as_they_are(cloud, hostile):
    cloud.answer('ABSENT', 'ACTIVE')
    done = cloud('create', *V6E, '--project', hostile, f'--runtime-version={hostile}', '--create-flag', hostile)
    assert done.returncode == 0, done.stderr
    create = cloud.calls[1]
    assert create[7:9] == [f'--runtime-version={hostile}', hostile] and create[-1] == f'--project={hostile}'
    no_file_was_made(cloud)


@pytest.mark.parametrize('hostile', [value for value in HOSTILE[:-1] if value != '~'])
def test_hostile_run_folders_are_packed_and_delivered(ready, hostile):
    ready.files(0, hostile, records='r')
    done = ready('collect', '--out', hostile, '--workers', '1')
    assert done.returncode == 0, done.stderr
    assert (ready.root / 'local' / hostile / 'records').read_text() == 'r'
    no_file_was_made(ready)


@pytest.mark.parametrize(
    'name', ['Demo', '1a', 'a_b', 'a-', 'a' * 62, '', '--all', 'a b', 'a\nb', '$(touch X)', 'a;b', '../a', 'é']
)
def test_names_that_the_service_refuses_are_refused_first(cloud, name):
    done = cloud('delete', name=name)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and '--name' in done.stderr
    assert cloud.calls == []
    no_file_was_made(cloud)


def test_secrets_are_in_no_argument_and_no_output(ready, wait):
    secret = 'hf_' + '7' * 20 + '$(touch X)\'"; \\ é'
    (ready.home(0) / 'body').write_text('ls -l ~/jaxreason-launch')
    done = ready('run', '--pass-env', 'HF_TOKEN', '--', 'jaxreason', 'evaluate', variables={'HF_TOKEN': secret})
    assert done.returncode == 0, done.stderr
    wait(functools.partial(ready.is_ended, 0))
    assert f'HF_TOKEN={secret}\0' in (ready.home(0) / 'env').read_text()
    assert '7777' not in repr(ready.calls) + done.stdout + done.stderr
    for worker in (0, 1):
        wait(functools.partial(ready.is_ended, worker))
        kept = [path for path in (ready.home(worker) / 'jaxreason-launch').rglob('*') if path.is_file()]
        assert not [path for path in kept if b'7' * 20 in path.read_bytes()]
    # The next run does not inherit it.
    ready('run', '--', 'jaxreason', 'evaluate')
    wait(functools.partial(ready.is_ended, 0))
    assert 'HF_TOKEN' not in (ready.home(0) / 'env').read_text()


def test_the_secrets_file_is_its_owners_alone_and_goes_when_nothing_starts(ready):
    ready.program('remote/flock', f'#!/bin/sh\nls -l ~/jaxreason-launch/secrets >>"{ready.root}/modes" 2>&1\nexit 1\n')
    done = ready('run', '--pass-env', 'HF_TOKEN', '--', 'jaxreason', variables={'HF_TOKEN': 's'})
    assert done.returncode == 1 and 'another run is going on' in done.stderr
    modes = (ready.root / 'modes').read_text().splitlines()
    assert len(modes) == 2 and all(mode.startswith('-rw------- ') for mode in modes)
    assert not (ready.home(0) / 'jaxreason-launch/secrets').exists()


# --------------------------------------------------------------------------------------------------------- dry run, usage, lint


DRY_RUNS = [
    ('create', '--accelerator-type', 'v6e-16', '--spot', '--project', "p'q"),
    ('up', '--accelerator-type', 'v4-8', '--python', 'python3.11'),
    ('setup',),
    ('run', '--env', 'A=$(touch X)', '--', 'jaxreason', 'evaluate', "it's", 'a\nb'),
    ('status',),
    ('logs', '--worker', '1', '--lines', '7'),
    ('stop',),
    ('collect', '--out', 'runs/$(touch X)', '--workers', '2'),
    ('delete',),
]


def printed_calls(text):
    """The gcloud calls in the text of a dry run, split as a shell splits them."""
    parts = re.split(r'^(?=gcloud |tar |mkdir )', text, flags=re.MULTILINE)
    return [words[1:] for words in map(shlex.split, parts) if words[:1] == ['gcloud']]


@pytest.mark.parametrize('words', DRY_RUNS, ids=lambda words: words[0])
def test_a_dry_run_prints_what_a_run_calls(ready, words):
    ready.answer('ABSENT' if words[0] in ('create', 'up') else 'ACTIVE', 'ACTIVE')
    ready.files(0, 'runs/$(touch X)', records='r')
    (ready.home(1) / 'jaxreason-launch/job').mkdir()
    (ready.home(1) / 'jaxreason-launch/job/log').write_text('line\n')
    dry = ready(words[0], '--dry-run', *words[1:])
    assert dry.returncode == 0 and ready.calls == []
    done = ready(*words)
    assert done.returncode == 0, done.stderr
    first, *others = ready.calls
    assert printed_calls(dry.stdout) == [first, *(call for call in others if call != first)]  # the waiting describes again
    no_file_was_made(ready)


@pytest.mark.parametrize('words', [words for words in DRY_RUNS if words[0] not in ('create', 'up')], ids=lambda words: words[0])
def test_the_text_of_a_dry_run_can_be_pasted_into_a_shell(ready, words):
    ready.files(0, 'runs/$(touch X)', records='r')
    dry = ready(words[0], '--dry-run', *words[1:])
    environment = {'PATH': f'{ready.root / "bin"}:{os.environ["PATH"]}'}
    subprocess.run(['sh', '-c', dry.stdout], cwd=ready.root / 'local', env=environment, capture_output=True)
    assert ready.calls == printed_calls(dry.stdout) != []
    no_file_was_made(ready)


def test_a_dry_run_needs_no_gcloud(tmp_path):
    for name in ('bash', 'dirname', 'mktemp', 'rm', 'tr'):
        (tmp_path / name).symlink_to(shutil.which(name))
    command = ['bash', str(LAUNCH / 'tpu_vm.sh'), 'delete', '--name', 'demo', '--zone', 'z']
    environment = {'PATH': str(tmp_path)}
    done = subprocess.run([*command, '--dry-run'], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ''
    assert done.stdout == 'gcloud compute tpus queued-resources delete demo --force --quiet --zone=z\n'
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 127 and 'gcloud is not on PATH' in done.stderr


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (('create',), '--accelerator-type is missing'),
        (('create', '--accelerator-type', 'v5e-8'), 'v5litepod-8'),
        (('create', '--accelerator-type', 'v9-8'), 'no default --runtime-version'),
        (('create', '--accelerator-type', 'tpu7x-8'), 'use GKE'),
        (('create', *V6E, '--spot', '--reserved'), 'exclude each other'),
        (('create', *V6E, '--spot=yes'), '--spot takes no value'),
        (('create', *V6E, '--timeout', '-1'), 'expected a whole number'),
        (('create', *V6E, '--timeout', 'a[$(touch X)]'), 'expected a whole number'),
        (('create', *V6E, '--project'), '--project needs a value'),
        (('delete', '--spot'), "delete takes no '--spot'"),
        (('delete', '--nonsense'), "delete takes no '--nonsense'"),
        (('delete', '--', 'x'), 'takes no command'),
        (('delete', 'demo'), "delete takes no 'demo'"),
        (('run',), 'run needs a command'),
        (('run', '--env', 'a b=c', '--', 'x'), 'expected KEY=VALUE'),
        (('run', '--env', 'HF_TOKEN=hf_1', '--', 'x'), 'use --pass-env HF_TOKEN'),
        (('run', '--pass-env', 'ABSENT_TOKEN', '--', 'x'), 'ABSENT_TOKEN is not set'),
        (('run', '--pass-env', '$(touch X)', '--', 'x'), 'expected a name'),
        (('logs', '--worker', '1;x'), 'expected a number or all'),
        (('collect',), 'collect needs --out'),
        (('collect', '--out', 'x', '--workers', '0'), 'expected 1 or more'),
        (('launch',), "received 'launch'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(cloud, words, told):
    done = cloud(*words)
    assert done.returncode == 2 and done.stdout == ''
    assert told in done.stderr and len(done.stderr.splitlines()) == 1 and 'hf_1' not in done.stderr
    assert cloud.calls == []
    no_file_was_made(cloud)


def test_help_shows_a_session_and_says_what_is_not_proved():
    done = subprocess.run([str(LAUNCH / 'tpu_vm.sh'), '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ''
    assert 'nothing in this file has run against a real TPU yet' in done.stdout
    assert done.stdout.startswith('Runs jaxreason') and 'set -euo' not in done.stdout


def test_shellcheck_finds_nothing():
    if not shutil.which('shellcheck'):
        pytest.skip('shellcheck is not on PATH')
    scripts = sorted(map(str, LAUNCH.glob('*.sh')))
    done = subprocess.run(['shellcheck', *scripts], capture_output=True, text=True)
    assert len(scripts) == 3 and done.returncode == 0, done.stdout
