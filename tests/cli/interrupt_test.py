"""Signals, in a process of their own."""

import signal
import subprocess
import sys
import time

import pytest

from jaxreason.cli.interrupt import Interrupt, Terminated

SCRIPT = """\
import gc, sys, time
from jaxreason.cli.interrupt import Interrupt
with Interrupt() as interrupt:
    if 'under way' in sys.argv:
        interrupt.check()
    try:
        if 'collects' in sys.argv:
            gc.callbacks.append(lambda *_: time.sleep(0.05))
        print('ready', flush=True)
        for _ in range(600):
            gc.collect() if 'collects' in sys.argv else time.sleep(0.1)
            if 'checks' in sys.argv:
                interrupt.check()
    except KeyboardInterrupt:
        print('stopped', flush=True)
        sys.exit(7)
"""


@pytest.fixture
def start():
    def run(*words):
        process = subprocess.Popen(
            [sys.executable, '-c', SCRIPT, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == 'ready\n'
        processes.append(process)
        return process

    processes: list[subprocess.Popen] = []
    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_where_it_is_checked(start, number):
    process = start('under way', 'checks')
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (7, 'stopped\n') and 'stopping at the next chunk' in err


def test_the_second_signal_leaves_at_once(start):
    process = start('under way')
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == '\n' and 'again to leave at once' in process.stderr.readline()
    assert process.poll() is None, 'the first one only asks'
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, '') and time.monotonic() - began < 2


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_before_anything_is_under_way_the_first_signal_leaves_at_once(start, number):
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, '', 'jaxreason: interrupted\n')


@pytest.mark.parametrize('words', [(), ('under way', 'checks')])
def test_no_request_is_lost_in_a_callback_of_the_garbage_collector(start, words):
    """Python swallows what is raised there; JAX has such a callback, and signals do fall into it."""
    process = start('collects', *words)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == (7 if words else 130)


def test_what_is_raised_says_which_signal_asked():
    for number, kind in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        with pytest.raises(KeyboardInterrupt) as raised, Interrupt() as interrupt:
            interrupt.check()
            signal.raise_signal(number)
            interrupt.check()
        assert raised.type is kind


def test_what_was_there_before_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert signal.getsignal(signal.SIGINT) != before
        interrupt.check()
    assert signal.getsignal(signal.SIGINT) == before
