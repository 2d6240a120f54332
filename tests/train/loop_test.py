"""Training goes on where it was, whatever ended it; what is not finite is no update."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxreason.core.errors import ConfigError, DivergedError, RunError
from jaxreason.data.batches import pack
from jaxreason.train.loop import LoopConfig
from jaxreason.train.metrics import Metrics, read_metrics
from tests.train import world

ROOT = Path(__file__).resolve().parents[2]


def equal(a, b):
    return a.keys() == b.keys() and all(a[key].tobytes() == b[key].tobytes() for key in a)


def stop_at(step, error):
    def report(progress):
        if progress.step == step:
            raise error

    return report


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    return folder, world.run(folder)


def test_the_loss_falls_and_every_step_has_a_line(whole):
    folder, _ = whole
    lines = read_metrics(folder)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == world.STEPS and losses[-1] < losses[0]
    assert [line['step'] for line in lines if 'held_out_loss' in line] == [6, 12]
    assert not any('seconds' in line for line in lines)


@pytest.mark.parametrize('error', [KeyboardInterrupt, world.Killed], ids=['interrupt', 'kill'])
@pytest.mark.parametrize('step', [0, 1, 4, 5, 7, 8, 11, 12])
def test_a_stopped_run_ends_as_an_uninterrupted_one(tmp_path, whole, step, error):
    folder, expected = whole
    with pytest.raises(error):
        world.run(tmp_path / 'run', stop_at(step, error))
    if error is KeyboardInterrupt and step:
        assert (tmp_path / 'run' / 'checkpoints' / str(step)).is_dir()
    assert equal(world.run(tmp_path / 'run'), expected)
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == (folder / 'metrics.jsonl').read_bytes()


def test_stopped_at_every_step(tmp_path, whole):
    folder, expected = whole
    for step in range(1, world.STEPS):
        with pytest.raises(KeyboardInterrupt):
            world.run(tmp_path / 'run', stop_at(step, KeyboardInterrupt))
    assert equal(world.run(tmp_path / 'run'), expected)
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == (folder / 'metrics.jsonl').read_bytes()


def test_another_order_of_examples_is_noticed(tmp_path, whole):
    """The comparison above can fail."""
    rows = pack(world.examples(seed=1), world.LOOP.length)[0]
    assert not equal(world.run(tmp_path / 'run', rows=rows), whole[1])


def test_metrics_after_the_checkpoint_are_cut_off_and_torn_lines_too(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"loss":1,"step":1}\n{"loss":2,"step":2}\n{"loss":3,"step":3}\n{"lo')
    with Metrics(tmp_path, 2) as metrics:
        metrics.write(3, {'loss': float('nan')})
    assert [line['loss'] for line in read_metrics(tmp_path)] == [1, 2, None]


def test_metrics_that_miss_steps_are_refused(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text('{"loss":1,"step":1}\n')
    with pytest.raises(RunError, match='ends at step 1, the checkpoint is of step 4'):
        Metrics(tmp_path, 4)


def poisoned(rows, batches):
    """Places batches; those of the given numbers make a loss that is NaN."""
    count = iter(range(1, 100))

    def place(batch):
        if next(count) in batches:
            return {**batch, 'tokens': np.full_like(batch['tokens'], 23)}
        return dict(batch)

    return place


def test_a_loss_that_is_not_finite_is_no_update(tmp_path):
    """Steps 2 and 3 of 4 are NaN: the parameters are those of the two other batches alone."""
    loop = LoopConfig(steps=4, batch=2, length=16)
    got = world.run(tmp_path / 'run', loop=loop, place=poisoned(None, {2, 3}))
    lines = [line for line in read_metrics(tmp_path / 'run') if 'loss' in line]
    assert [line['loss'] is None for line in lines] == [False, True, True, False]
    assert [line['skipped'] for line in lines] == [0, 1, 2, 2]
    assert lines[1]['learning_rate'] == lines[3]['learning_rate']  # the schedule counts updates
    step, optimiser = world.step_and_optimiser()
    state, batches = world.begin(optimiser), world.Batches(pack(world.examples(), 16)[0], batch=2, seed=7)
    for number, batch in zip(range(1, 5), batches, strict=False):
        if number in (1, 4):
            state, _ = step(state, dict(batch))
    assert equal(got, {name: np.asarray(value) for name, value in state.params.items()})


def test_training_stops_after_several_such_steps_in_a_row(tmp_path):
    with pytest.raises(DivergedError, match='step 7: loss or gradient was not finite 3 steps in a row; lower optimiser'):
        world.run(tmp_path / 'run', place=poisoned(None, {2, 3, 5, 6, 7}))


def test_impossible_loops_are_refused():
    with pytest.raises(ConfigError, match='steps must be at least 1'):
        LoopConfig(steps=0)
    with pytest.raises(ConfigError, match='accumulate must divide batch'):
        LoopConfig(steps=1, batch=8, accumulate=3)


@pytest.mark.slow
def test_killed_for_good_and_run_again(tmp_path):
    """kill -9 at several moments, loading and saving included; then the same command ends as one that was left alone."""
    config = ROOT / 'configs/train/sft_nano_tiny.yaml'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': '', 'XDG_CACHE_HOME': str(tmp_path)}

    def start(out):
        words = ['train', 'sft', str(config), 'loop.save_every=5', 'loop.steps=200', '--out', str(out), '--quiet']
        return subprocess.Popen([sys.executable, '-m', 'jaxreason', *words], env=environment, cwd=tmp_path)

    assert start(tmp_path / 'whole').wait() == 0
    for saved in (5, 60, 120, 180):
        process = start(tmp_path / 'killed')
        while not any(int(path.name) >= saved for path in (tmp_path / 'killed' / 'checkpoints').glob('[0-9]*')):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(tmp_path / 'killed').wait() == 0
    for name in ('metrics.jsonl', 'config.yaml', 'environment.json'):
        assert (tmp_path / 'killed' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    from jaxreason.models.folder import open_weights

    assert open_weights(tmp_path / 'killed').digest() == open_weights(tmp_path / 'whole').digest()
    assert json.loads((tmp_path / 'killed/checkpoints/200/data.json').read_text())
