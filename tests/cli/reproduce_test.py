"""The command `reproduce`: its words, and that it survives being killed in the middle of anything."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxreason.pipeline.recipe import load_recipe
from jaxreason.pipeline.stage import places_of
from tests import compiling

TINY = Path(__file__).parents[1] / 'pipeline' / 'tiny.yaml'
ORDER = ('policy', 'labels', 'prm', 'sweep', 'bins', 'fit')  # what would leave a worker idle waits for the shared stage
WORK = ('journal-*.jsonl', 'checkpoints/[0-9]*', 'allocation*.yaml')
# What runs by default: a policy of a few steps and a search beside it.
QUICK = """\
workers: 1
report: sweep
stages:
  policy:
    verb: train sft
    config:
      model: {init: {vocab_size: 24, num_layers: 1, width: 16, mlp_width: 16, num_heads: 1, num_kv_heads: 1, head_width: 16,
                     max_positions: 64, tied_head: true}}
      data: {source: "procedural:nano_duel:1", limit: 40, held_out: 4}
      prompt: {template: raw, step_delimiter: "\\n", answer_format: last_line}
      optimiser: {learning_rate: 0.01, warmup_steps: 5}
      loop: {steps: 20, batch: 4, length: 64, save_every: 1}
  sweep:
    verb: evaluate
    config:
      model: {source: "stage:policy"}
      data: {source: "procedural:nano_duel:1", split: test, limit: 4}
      prompt: {template: raw, step_delimiter: "\\n", answer_format: last_line}
      sampler: {temperature: 1.0, max_tokens: 6, num_rows: 4, rows_per_slot: 2}
      strategies: {majority: {kind: majority, n: 2}}
"""


class Reproduce:
    """A run of the command in a process of its own."""

    def __init__(self, config, out, *words):
        command = [sys.executable, '-m', 'jaxreason.cli.main', 'reproduce', str(config), '--out', str(out), *words]
        self.places = places_of(load_recipe(config, tuple(word for word in words if '=' in word)), out)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self, seconds=1200):
        """Waits for its end; returns exit code and output."""
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out

    def wait_until_working(self, name, seconds=600):
        """Until a stage is in the middle of its work: a question is in its journal, a checkpoint is saved, or `fit` writes."""
        folder = self.places[name].folder
        deadline = time.monotonic() + seconds
        while not any(path.stat().st_size for pattern in WORK for path in folder.glob(pattern)):
            assert self.process.poll() is None and time.monotonic() < deadline, name
            time.sleep(0.02)

    def workers(self):
        """Processes that it has started, and theirs."""
        return _descendants(self.process.pid)


def _descendants(pid):
    found, parents = [], {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    left = [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def _are_gone(pids, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


@pytest.fixture
def start(monkeypatch, cache):
    runs = []
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(cache))
    monkeypatch.setenv('XLA_FLAGS', compiling.QUICK)

    def run(*words):
        runs.append(Reproduce(*words))
        return runs[-1]

    yield run
    for each in runs:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / 'quick.yaml'
    path.write_text(QUICK)
    return path


def test_words_that_cannot_be_meant_are_refused(refused, tmp_path):
    assert 'no preset' in refused('reproduce', '--preset', 'nanno')
    assert 'got both' in refused('reproduce', TINY, '--preset', 'nano')
    assert '--chip and --chips are for --dry-run' in refused('reproduce', TINY, '--chip', 'h100')
    assert 'takes one CONFIG.yaml' in refused('reproduce', 'nano')
    assert "there is no stage 'polcy'" in refused('reproduce', TINY, 'stages.labels.config.model.source=stage:polcy')
    assert 'stages.prm.config' in refused('reproduce', TINY, 'stages.prm.config.loop.stepps=3')
    (tmp_path / 'file').touch()
    assert 'cannot write there' in refused('reproduce', TINY, '--out', tmp_path / 'file')


def test_a_dry_run_writes_nothing(command, tmp_path):
    code, out, _ = command('reproduce', TINY, '--out', tmp_path / 'x', '--dry-run')
    assert code == 0 and all(name in out for name in load_recipe(TINY).stages) and not (tmp_path / 'x').exists()


def test_a_killed_run_goes_on_a_finished_one_is_not_run_again_and_a_change_reaches_what_depends_on_it(start, quick, tmp_path):
    out = tmp_path / 'a b=c'
    killed = start(quick, out)
    killed.wait_until_working('policy')
    workers = killed.workers()
    killed.process.kill()
    assert workers and _are_gone(workers), 'no worker outlives it'
    code, text = start(quick, out).finish()
    assert code == 0 and '1/2  policy: train sft' in text and '2/2  sweep: evaluate' in text, text
    metrics = (out / 'metrics.json').read_bytes()
    assert json.loads(metrics)
    code, text = start(quick, out, 'stages.sweep.config.seeds=[3]').finish()
    assert code == 0 and text.startswith('1 of 2 stages are finished already\n') and '2/2  sweep' in text
    assert (out / 'metrics.json').read_bytes() != metrics
    code, text = start(quick, out).finish()
    assert code == 0 and text.startswith('2 of 2 stages are finished already\n') and text.count('\n') == 2
    assert (out / 'metrics.json').read_bytes() == metrics


@pytest.mark.parametrize(
    ('number', 'expected'), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_stops_the_workers_too(start, quick, tmp_path, number, expected):
    stopped = start(quick, tmp_path / 'out')
    stopped.wait_until_working('policy')
    workers = stopped.workers()
    stopped.process.send_signal(number)
    code, text = stopped.finish(60)
    assert code == expected and text.endswith('jaxreason: interrupted\n') and 'Traceback' not in text, text
    assert _are_gone(workers, 1)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, cache):
    """metrics.json of a whole run of the tiny recipe that nothing disturbed."""
    out = tmp_path_factory.mktemp('undisturbed') / 'out'
    environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(cache), 'XLA_FLAGS': compiling.QUICK}
    words = [sys.executable, '-m', 'jaxreason.cli.main', 'reproduce', str(TINY), '--out', str(out), '--quiet']
    ended = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count('\n') == 1
    return (out / 'metrics.json').read_bytes()


@pytest.mark.slow
def test_killed_in_the_middle_of_every_stage_it_comes_to_the_same_numbers(start, undisturbed, tmp_path):
    out = tmp_path / 'out'
    assert set(ORDER) == set(load_recipe(TINY).stages)
    for name in ORDER:
        run = start(TINY, out)
        run.wait_until_working(name)
        workers = run.workers()
        run.process.kill()
        assert workers and _are_gone(workers), name
        assert not run.places[name].is_finished, f'{name} was to be killed in the middle'
    code, text = start(TINY, out).finish()
    assert code == 0, text
    assert (out / 'metrics.json').read_bytes() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize('which', [0, -1])
@pytest.mark.parametrize('name', ['prm', 'sweep'])
def test_a_worker_that_is_killed_is_named_and_the_rerun_completes(start, undisturbed, tmp_path, name, which):
    run = start(TINY, tmp_path / 'out')
    run.wait_until_working(name)
    folder = str(run.places[name].folder)
    workers = [pid for pid in run.workers() if folder.encode() in Path(f'/proc/{pid}/cmdline').read_bytes()]
    os.kill(workers[which], signal.SIGKILL)
    code, text = run.finish()
    last = text.splitlines()[-1]
    assert code == 2 and last.startswith(f'jaxreason: error: stage {name}: ') and f'{folder}.log' in last, text
    assert _are_gone(workers, 1)
    code, text = start(TINY, tmp_path / 'out').finish()
    assert code == 0 and (tmp_path / 'out' / 'metrics.json').read_bytes() == undisturbed, text
