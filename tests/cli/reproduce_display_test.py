"""What a recipe shows, on a terminal and without one."""

import os
import pty
import re
import subprocess
import sys

import pytest

from jaxreason.cli import reproduce_display
from jaxreason.cli.reproduce_display import ReproduceDisplay, clock, line_of
from jaxreason.pipeline.recipe import Recipe, Stage
from jaxreason.pipeline.run import Progress
from jaxreason.pipeline.worker import Status

RECIPE = Recipe(
    report='sweep',
    stages={'policy': Stage(verb='train sft', config={}), 'sweep': Stage(verb='evaluate', config={'m': 'stage:policy'})},
)
AT_WORK = Progress({}, {'policy': (65.0, Status(30, 400, 1234.0, 75.0))}, ['sweep'], 200.0)
HALF = Progress({'policy': 71.2}, {}, ['sweep'], 120.0, 'policy')
WHOLE = Progress({'policy': 71.2, 'sweep': 3.0}, {}, [], 0.0, 'sweep')


def test_times():
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3600, 36_061)] == ['0:00', '1:00', '1:01', '1:00:00', '10:01:01']


def test_a_line_says_what_is_known():
    assert line_of(5, Status()) == '0:05'
    assert line_of(65, Status(30, 4000, 1234.0, 75.0)) == '1:05, 30 of 4,000, 1.23 ktokens/s, 1:15 left'
    assert line_of(65, Status(0, 4, 0.0, 0.0)) == '1:05, 0 of 4, 0:00 left'


def test_without_a_terminal_there_is_a_line_for_what_begins_and_ends_and_one_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(reproduce_display, '_SECONDS', -1.0)
    with ReproduceDisplay(RECIPE, quiet=False) as display:
        display.show(AT_WORK._replace(event='policy'))
        display.show(AT_WORK)
        display.show(HALF)
        display.show(WHOLE)
    out = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in out] == [
        'policy: train sft',
        'policy  1:05, 30 of 400, 1.23 ktokens/s, 1:15 left; 0 of 2 stages, about 3:20 left',
        '1/2  policy: train sft, 1:11',
        '2/2  sweep: evaluate, 0:03',
    ]


def test_what_was_finished_before_is_counted_and_not_told_again(capsys):
    with ReproduceDisplay(RECIPE, quiet=False) as display:
        display.show(HALF._replace(event=None))
        display.show(WHOLE)
    assert capsys.readouterr().out.splitlines() == ['1 of 2 stages are finished already', '  2/2  sweep: evaluate, 0:03']


def test_quiet_says_nothing(capsys):
    with ReproduceDisplay(RECIPE, quiet=True) as display:
        for progress in (AT_WORK, HALF, WHOLE):
            display.show(progress)
    assert capsys.readouterr() == ('', '')


@pytest.mark.skipif(not hasattr(pty, 'openpty'), reason='no terminals here')
def test_on_a_terminal_the_lines_below_move():
    script = (
        'import time\n'
        'from tests.cli.reproduce_display_test import *\n'
        'with ReproduceDisplay(RECIPE, quiet=False) as display:\n'
        '    display.show(AT_WORK)\n'
        '    time.sleep(1)\n'
        '    display.show(HALF)\n'
        '    display.show(WHOLE)\n'
    )
    main, other = pty.openpty()
    environment = {**os.environ, 'TERM': 'xterm', 'COLUMNS': '120', 'PYTHONPATH': os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, '-c', script], stdin=other, stdout=other, env=environment)
    os.close(other)
    shown = b''
    try:
        while block := os.read(main, 4096):
            shown += block
    except OSError:  # how Linux says that the other end was closed
        pass
    assert process.wait(60) == 0
    os.close(main)
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', shown.decode())
    assert 'policy  1:05, 30 of 400, 1.23 ktokens/s, 1:15 left' in text and '0 of 2 stages, about 3:20 left' in text
    assert '1/2  policy: train sft, 1:11' in text and '2/2  sweep: evaluate, 0:03' in text
    assert shown.count(b'\x1b[?25l') == shown.count(b'\x1b[?25h') == 1, 'the cursor is put back'
