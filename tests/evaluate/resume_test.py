"""A process that is killed, not asked: what it had finished counts, and the rerun ends in the same bytes."""

import json
import random
import signal

import pytest

from jaxreason.evaluate.runner import JOURNAL
from tests.evaluate import command
from tests.evaluate.tiny_world import SLOW_UNITS as UNITS
from tests.evaluate.tiny_world import SLOWLY


@pytest.fixture(scope='module')
def uninterrupted(world, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp('uninterrupted') / 'run'
    done = command.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert done.returncode == 0, done.stderr
    return command.results(out)


def kill_after(world, cache, out, units):
    """Kills a run as soon as so many units are in its journal; returns the journal that it leaves."""
    with command.start('evaluate', world, *SLOWLY, '--out', out, cache=cache) as process:
        command.signal_when(process, signal.SIGKILL, lambda: command.num_lines(out / JOURNAL) >= units)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / 'records.jsonl').exists()
    return (out / JOURNAL).read_bytes()


def test_the_run_has_trees_in_it(uninterrupted):
    records = [json.loads(line) for line in uninterrupted['records.jsonl'].splitlines()]
    read = {(record['strategy'], record['n']): record['pool'] for record in records}
    assert {key: pool for key, pool in read.items() if pool != 'samples'} == {
        ('chain', 1): 'chains4',
        ('chain', 4): 'chains4',
        ('beam', 2): 'beam.n2',
        ('beam', 4): 'beam.n4',
        ('subtrees', 2): 'subtrees.n4',
        ('subtrees', 4): 'subtrees.n4',
        ('greedy', 1): 'greedy.n1',
    }
    pools = [json.loads(line) for line in uninterrupted['pools/beam.n4.jsonl'].splitlines()]
    assert len(pools) == 8 and any(c['parent'] is not None for pool in pools for c in pool['candidates'])
    assert any(pool['pruned'] for pool in pools)


def test_a_killed_run_is_resumed_where_it_stood(world, cache, uninterrupted, tmp_path):
    out = tmp_path / 'run'
    left = kill_after(world, cache, out, 12)
    assert 12 <= left.count(b'\n') < UNITS
    assert 0 < left.count(b'"key":"beam.n4/') < 8, 'in the middle of the trees'
    again = command.run('evaluate', world, *SLOWLY, '--out', out, cache=cache)
    assert again.returncode == 0, again.stderr
    missing = UNITS - left.count(b'\n')
    assert f'{missing} of {UNITS} units to do' in again.stdout
    assert command.results(out) == uninterrupted
    journal = (out / JOURNAL).read_bytes()
    assert journal.startswith(left[: left.rfind(b'\n') + 1]) and journal.count(b'\n') == UNITS


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_more_room_finishes_it(world, cache, uninterrupted, tmp_path):
    """A limit on the size of files stands for the disk: the journal does not get beyond it."""
    out = tmp_path / 'run'
    words = ('evaluate', world, *SLOWLY, '--out', out, '--quiet')
    full = command.run(*words, cache=cache, most_bytes=16 << 10)
    assert full.returncode == 2 and full.stderr.count('\n') == 1, full.stderr
    assert 'cannot append' in full.stderr and 'nothing finished is lost' in full.stderr
    assert 0 < command.num_lines(out / JOURNAL) < UNITS
    assert command.run(*words, cache=cache).returncode == 0
    assert command.results(out) == uninterrupted


@pytest.mark.slow
def test_three_kills_anywhere_change_nothing(world, cache, uninterrupted, tmp_path):
    out = tmp_path / 'run'
    done = 0
    for units in sorted(random.Random(0).sample(range(1, UNITS - 4), 3)):
        left = kill_after(world, cache, out, max(units, done + 1))
        done = left.count(b'\n')
    assert command.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache).returncode == 0
    assert command.results(out) == uninterrupted
    assert command.num_lines(out / JOURNAL) == UNITS


@pytest.mark.slow
def test_a_kill_before_the_first_unit_changes_nothing(world, cache, uninterrupted, tmp_path):
    out = tmp_path / 'run'
    with command.start('evaluate', world, *SLOWLY, '--out', out, cache=cache) as process:
        command.signal_when(process, signal.SIGKILL, (out / 'config.yaml').exists)
        process.communicate()
    assert command.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache).returncode == 0
    assert command.results(out) == uninterrupted
