"""The command as a whole: help at once, mistakes in one line, never a traceback."""

import os
import subprocess
import sys
import time

import pytest

from jaxreason.cli import main as main_module
from jaxreason.cli.main import VERBS, main
from jaxreason.core.errors import RunError
from jaxreason.core.terminal import printable

# A command that prints something.
PRINT = 'import sys; from jaxreason.cli import main; main._run = lambda _: print(%s) or 0; sys.exit(main.main(["report"]))'


def seconds(*words):
    began = time.monotonic()
    done = subprocess.run([sys.executable, '-m', 'jaxreason', *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began, done.stdout


def test_help_is_there_at_once_and_names_every_verb():
    took, text = min(seconds('--help') for _ in range(3))
    assert took < 0.5, f'{took:.2f} s'
    assert all(f'  {verb} ' in text for verb in VERBS)


@pytest.mark.parametrize('verb', VERBS)
def test_help_of_a_verb_loads_no_accelerator_runtime(verb):
    code = f'import sys; from jaxreason.cli.main import main; sys.exit(main([{verb!r}, "--help"]) or "jax" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'usage: jaxreason {verb}') and '--help' in done.stdout


def test_no_word_and_version(command):
    assert command()[:2] == command('-h')[:2]
    assert command('--version')[1].startswith('jaxreason 0.')


def test_an_unknown_verb_names_the_nearest(refused):
    assert refused('evalute') == "unknown verb 'evalute': did you mean evaluate?"
    assert 'verbs are reproduce, solve, evaluate' in refused('\x1b[31m')


@pytest.mark.parametrize('words', [['evaluate', '--ouput'], ['report'], ['solve', '--effort', 'huge'], ['weights', 'fly']])
def test_what_argparse_refuses_is_one_line_with_a_remedy(refused, words):
    assert f'see jaxreason {words[0]}' in refused(*words)


def test_an_error_with_line_breaks_and_escapes_stays_one_harmless_line(capsys, monkeypatch):
    def fail(words):
        raise RunError('a\nb\x1b[31m\udcff ü')

    monkeypatch.setattr(main_module, '_run', fail)
    assert main(['report', 'x']) == 2
    assert capsys.readouterr().err == 'jaxreason: error: a\\nb\\x1b[31m\\udcff ü\n'


def test_interrupts_exit_with_130(capsys, monkeypatch):
    def fail(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, '_run', fail)
    assert main(['report', 'x']) == 130
    assert capsys.readouterr().err == 'jaxreason: interrupted\n'


def test_a_reader_who_leaves_ends_the_program_quietly():
    """`jaxreason --help | head -0`: no traceback, nothing from Python's own end either."""
    code = PRINT % repr('x' * 100_000)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, '-c', code], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, '')


def test_without_standard_streams_it_works():
    code = 'import sys; sys.stdout = sys.stderr = None; from jaxreason.cli.main import main; sys.exit(main(["--help"]))'
    assert subprocess.run([sys.executable, '-c', code], timeout=120).returncode == 0


def test_text_that_the_terminal_cannot_show_is_escaped():
    code = (
        'import sys; from jaxreason.cli import main; main._run = lambda w: print("≤ ü") or 0; sys.exit(main.main(["report"]))'
    )
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (0, '\\u2264 \\xfc\n')


def test_printable_leaves_text_alone():
    assert printable('a ü ≤ 中') == 'a ü ≤ 中'
    assert printable('a\nb\tc\r\x9b\u202e', keep='\n') == 'a\nb\\tc\\r\\x9b\\u202e'
