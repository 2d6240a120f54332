"""`jaxreason train`: from its words to its files, what a signal leaves, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxreason.cli.train_display import line_of
from jaxreason.train.loop import Progress
from tests.compiling import QUICK

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'configs/train/sft_nano_tiny.yaml'


def start(out, cache, *words):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': QUICK, 'JAX_COMPILATION_CACHE_DIR': str(cache)}
    words = ['train', 'sft', str(TINY), *words, '--out', str(out)]
    return subprocess.Popen(
        [sys.executable, '-m', 'jaxreason', *words], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize('number', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, cache, number):
    words = ('loop.steps=300', 'loop.save_every=50', 'loop.keep=99', 'data.held_out=0')
    process = start(tmp_path / 'run', cache, *words)
    while not (tmp_path / 'run/checkpoints/50').exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number and 'interrupted' in err and 'Traceback' not in err
    saved = max(int(path.name) for path in (tmp_path / 'run/checkpoints').iterdir())
    assert 50 <= saved < 300
    again = start(tmp_path / 'run', cache, *words)
    out, err = again.communicate()
    assert again.returncode == 0 and err == ''
    assert f'goes on from step {saved} of 300' in out and 'step 300 of 300' in out


def test_a_dry_run_compiles_nothing_and_writes_nothing(command, tmp_path):
    code, out, err = command('train', 'sft', TINY, '--dry-run', 'loop.steps=10')
    assert (code, err) == (0, '')
    assert 'loop: {steps: 10,' in out and '27,552 parameters' in out and 'FLOPs for the whole run' in out
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('stf', TINY), "unknown kind 'stf'; did you mean sft? Kinds are sft"),
        (('revise', TINY), "unknown kind 'revise'; did you mean revision? Kinds are sft, prm, orm, revision"),
        (('sft',), 'train sft needs a configuration'),
        ((), 'KIND'),
        (('sft', TINY, 'loop.step=3'), 'did you mean steps?'),
        (('sft', TINY, 'more'), "takes a kind and one CONFIG.yaml, got 'more'"),
        (('sft', TINY, 'model.init=null', 'model.source=nowhere'), "'nowhere': no preset of that name"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(refused, words, message):
    assert message in refused('train', *words)


def test_several_processes_are_refused_and_one_is_not(command, refused, tmp_path, monkeypatch):
    several = ('--processes', '2', '--process-id', '1', '--coordinator', 'localhost:1234')
    assert 'one process, and this is process 1 of 2; start it once' in refused('train', 'sft', TINY, *several)
    monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
    assert '--process-id and --coordinator: --process-id is missing' in refused('train', 'sft', TINY)
    monkeypatch.setattr('jaxreason.train.sft.train', lambda config, out, *_: out.mkdir())
    assert command('train', 'sft', TINY, '--processes', '1', '--out', tmp_path / 'run')[0] == 0 and (tmp_path / 'run').is_dir()


def test_the_line_of_a_step():
    progress = Progress(1200, 4000, 1.25, 15_300.0, 3723.4, {'loss': 1.5})
    assert line_of(progress) == 'step 1,200 of 4,000, loss 1.2500, held-out loss 1.5000, 15.3 ktokens/s, 1:02:03 left'
    assert line_of(Progress(0, 4000, float('nan'), 0.0, None)) == 'step 0 of 4,000'
