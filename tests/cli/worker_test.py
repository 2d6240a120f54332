"""A verb at work for a pipeline, in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from jaxreason.cli import worker

WORKER = [sys.executable, '-m', 'jaxreason.cli.worker']


def ended(*words):
    """Exit code, standard output and standard error of a worker."""
    command = [*WORKER, '--cores', str(min(os.sched_getaffinity(0))), '--', *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.stdout.read(), process.stderr.read()  # standard input stays open
    process.communicate()
    return process.returncode, out, err


def test_what_it_prints_goes_to_standard_error_and_its_code_is_that_of_the_verb():
    code, out, err = ended('--version')
    assert code == 0 and out == b'' and err.startswith(b'jaxreason ')
    code, out, err = ended('no-such-verb')
    assert code == 2 and out == b'' and err.startswith(b'jaxreason: error: unknown verb')


@pytest.mark.parametrize('core', [None, 9999])
def test_it_ends_when_its_standard_input_does(core):
    """Whatever it is at; cores that are not there any more are no error."""
    first = min(os.sched_getaffinity(0)) if core is None else core
    script = (
        'import sys, time\n'
        'from jaxreason.cli import worker\n'
        "worker.main = lambda words: (print('at work', *words, file=sys.stderr, flush=True), time.sleep(600))\n"
        f"worker.work(['--cores', '{first}', '--', 'verb'])\n"
    )
    process = subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stderr.readline() == b'at work verb\n' and process.poll() is None
        process.stdin.close()
        assert process.wait(30) == 137
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def test_progress_is_told_now_and_then_and_at_the_end(monkeypatch):
    read, write = os.pipe()
    now = iter([10.0, 10.1, 10.2, 10.7, 10.75])
    monkeypatch.setattr(worker.time, 'monotonic', lambda: next(now))
    teller = worker._Teller(write)
    for done in (1, 2, 3, 4, 5):
        teller(done, 5, 12.345, None if done < 4 else 2.0)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = [json.loads(line) for line in pipe]
    assert lines == [[1, 5, 12.3, None], [4, 5, 12.3, 2.0], [5, 5, 12.3, 2.0]]


def test_nobody_listening_is_no_error():
    read, write = os.pipe()
    os.close(read)
    worker._Teller(write)(1, 2, 3.0, None)
    os.close(write)
