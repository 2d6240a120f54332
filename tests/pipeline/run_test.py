"""Running a recipe, with a script in the place of the workers."""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.lock import FolderLock
from jaxreason.pipeline import run as running
from jaxreason.pipeline import worker
from jaxreason.pipeline.recipe import Recipe, Stage
from jaxreason.pipeline.run import check, run, slots_of
from jaxreason.pipeline.worker import Slot, Status

COMMAND = [sys.executable, str(Path(__file__).with_name('fake_worker.py'))]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """As many workers as a recipe asks for, and configurations of the script instead of a verb's."""
    monkeypatch.setattr(running, 'slots_of', lambda count: [Slot(number, (0,)) for number in range(count)])
    monkeypatch.setattr(running, 'check', running.places_of)


def recipe(workers=2, **stages):
    """Stages by name, each what it needs and does, or with `shared` and `status` too; the last one reports."""
    made = {}
    for name, (needs, do, *more) in stages.items():
        options = dict(*more)
        config = {'needs': [f'stage:{other}' for other in needs], 'do': do, 'status': options.pop('status', [])}
        made[name] = Stage(verb='evaluate', config=config, minutes=0.01, **options)
    return Recipe(workers=workers, report=next(reversed(stages)), stages=made)


def sessions(place, number=0):
    """What the sessions of a stage that ended well wrote down."""
    path = place.folder / f'ended{number}.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def process_of(place, number=0):
    return Path('/proc') / str(json.loads((place.folder / f'began{number}.json').read_text())['pid'])


def is_alive(place, number=0):
    try:
        return (process_of(place, number) / 'stat').read_text().split()[2] != 'Z'
    except OSError:
        return False


@pytest.mark.parametrize('workers', [1, 2])
def test_the_recipe_sets_what_the_user_has_not(tmp_path, monkeypatch, workers):
    monkeypatch.delenv('JAX_PLATFORMS', raising=False)
    monkeypatch.setenv('JAX_ENABLE_X64', 'mine')
    variables = {'JAX_ENABLE_X64': 'its', 'XLA_FLAGS_OF_RECIPE': '--x=1'}
    place = run(dataclasses.replace(recipe(workers, a=('', [])), environment=variables), tmp_path, COMMAND)['a']
    found = sessions(place)[0]['variables']
    assert found['JAX_ENABLE_X64'] == 'mine' and found['XLA_FLAGS_OF_RECIPE'] == '--x=1'
    assert found.get('JAX_PLATFORMS') == (None if workers == 1 else 'cpu')  # processes side by side cannot share more


def test_stages_run_in_order_side_by_side_and_their_result_is_put_in_front(tmp_path):
    chain = recipe(a=('', ['sleep 1.5']), b=('', ['sleep 1.5']), c=('ab', []))
    seen = []
    places = run(chain, tmp_path, COMMAND, seen.append)
    (a,), (b,), (c,) = (sessions(places[name]) for name in 'abc')
    assert a['began'] < b['ended'] and b['began'] < a['ended'], 'beside each other'
    assert c['began'] >= max(a['ended'], b['ended'])
    assert (tmp_path / 'metrics.json').read_text() == 'metrics.json of c\n'
    assert (tmp_path / 'report.html').read_text() == 'report.html of c\n'
    assert all(place.is_finished and place.seconds > 0 for place in places.values())
    assert config_files.load(Recipe, tmp_path / 'recipe.yaml') == chain
    assert [p.event for p in seen if p.event in p.running] == ['a', 'b', 'c']
    assert set(seen[-1].finished) == set('abc') and seen[-1].seconds_left == 0
    assert all(p.seconds_left >= 0 for p in seen)


def test_one_worker_does_one_thing_at_a_time(tmp_path):
    places = run(recipe(workers=1, a=('', ['sleep 0.3']), b=('', []), c=('ab', [])), tmp_path, COMMAND)
    spans = sorted((s['began'], s['ended']) for place in places.values() for s in sessions(place))
    assert len(spans) == 3 and all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))


def test_a_shared_stage_runs_once_in_every_worker_with_the_words_of_its_part(tmp_path):
    places = run(recipe(a=('', []), b=('a', [], {'shared': True})), tmp_path, COMMAND)
    words = [sessions(places['b'], number)[0]['words'] for number in (0, 1)]
    assert [w[w.index('--process-id') + 1] for w in words] == ['0', '1']
    assert len({w[w.index('--coordinator') + 1] for w in words}) == 1 and all(
        w[w.index('--processes') + 1] == '2' for w in words
    )
    alone = sessions(places['a'])[0]['words']
    assert alone[alone.index('--processes') + 1] == '1' and '--coordinator' not in alone


def test_what_is_finished_is_not_run_again_and_a_change_runs_what_depends_on_it(tmp_path):
    first = recipe(a=('', []), b=('a', []), c=('', []), d=('bc', []))
    places = run(first, tmp_path, COMMAND)
    (tmp_path / 'metrics.json').unlink()
    run(first, tmp_path, COMMAND)
    assert all(len(sessions(place)) == 1 for place in places.values()) and (tmp_path / 'metrics.json').exists()
    changed = recipe(a=('', []), b=('a', ['sleep 0']), c=('', []), d=('bc', []))
    now = run(changed, tmp_path, COMMAND)
    assert [now[name].folder == places[name].folder for name in 'abcd'] == [True, False, True, False]
    assert all(len(sessions(place)) == 1 for place in now.values())
    run(first, tmp_path, COMMAND)
    assert all(len(sessions(place)) == 1 for place in places.values()), 'and going back runs nothing'


@pytest.mark.parametrize(
    ('do', 'message'),
    [
        (['say jaxreason: error: the disk is full.', 'say more', 'fail 2'], 'stage a: the disk is full; the same command'),
        (['say Traceback', 'say KeyError: 3', 'fail 1'], 'stage a: KeyError: 3; the same'),
        (['fail 7'], 'stage a: exit code 7 without a word; the disk may be full; '),
        (['die'], 'stage a: ended by signal 9; memory may have run out; '),
        (['say jaxreason: interrupted', 'fail 130'], 'stage a: interrupted; '),
    ],
)
def test_a_stage_that_fails_stops_the_others_and_is_named_with_its_log(tmp_path, do, message):
    broken = recipe(a=('', ['sleep 1', *do]), b=('', ['sleep 60']), c=('ab', []))
    with pytest.raises(RunError) as raised:
        run(broken, tmp_path, COMMAND)
    places = running.places_of(broken, tmp_path)
    assert str(raised.value).startswith(message) and str(places['a'].log) in str(raised.value)
    assert not is_alive(places['b']) and not any(place.is_finished for place in places.values())
    assert not places['c'].folder.exists() and not (tmp_path / 'metrics.json').exists()


def test_an_error_of_an_earlier_session_is_not_told_again(tmp_path):
    silent = recipe(a=('', ['fail 5']))
    log = running.places_of(silent, tmp_path)['a'].log
    log.parent.mkdir()
    log.write_text('jaxreason: error: of the day before.\n')
    with pytest.raises(RunError, match='stage a: exit code 5'):
        run(silent, tmp_path, COMMAND)
    assert log.read_text() == 'jaxreason: error: of the day before.\n', 'a log is added to'


def test_a_failed_run_goes_on_where_it_stopped(tmp_path):
    flaky = recipe(a=('', []), b=('a', ['fail once']), c=('b', []))
    with pytest.raises(RunError, match='stage b: exit code 2'):
        run(flaky, tmp_path, COMMAND)
    places = run(flaky, tmp_path, COMMAND)
    assert [len(sessions(places[name])) for name in 'abc'] == [1, 1, 1]


def test_what_the_report_raises_stops_the_stages(tmp_path):
    long = recipe(a=('', ['sleep 60']), b=('', ['deaf', 'sleep 60']), c=('ab', []))
    places = running.places_of(long, tmp_path)
    began = time.monotonic()

    def report(progress):
        if all((places[name].folder / 'ready0').exists() for name in 'ab'):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(running, '_PATIENCE', 1.0)
        run(long, tmp_path, COMMAND, report)
    assert not any(is_alive(places[name]) for name in 'ab') and time.monotonic() - began < 45
    FolderLock(tmp_path).close()  # the folder was given back


def test_processes_of_a_stage_do_not_outlive_one_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, '_PATIENCE', 0.5)
    slow = recipe(a=('', ['deaf', 'sleep 600'], {'shared': True}), b=('a', []))
    place = running.places_of(slow, tmp_path)['a']
    killed = []

    def kill_the_other(progress):
        if not killed and (place.folder / 'ready1').exists():
            killed.append(json.loads((place.folder / 'began1.json').read_text())['pid'])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(RunError, match='stage a: ended by signal 9'):
        run(slow, tmp_path, COMMAND, kill_the_other)
    assert killed and not is_alive(place, 0) and not is_alive(place, 1)


def test_damaged_lines_of_progress_are_passed_over(tmp_path):
    lines = ['[1, 4, 2.5, 30]', 'nonsense', '{"a": 1}', '["x", "y"]', '[1, 2, 3, NaN]', '[9, 9, Infinity]', '[1, 2, 3, -4]']
    lines += ['[' * 5000, '3', 'null', '[1, 2, 3, 4, 5]', '"abcd"', '[null, 3]', '']
    seen = []
    run(recipe(a=('', ['sleep 1'], {'status': lines})), tmp_path, COMMAND, seen.append)
    statuses = {status for progress in seen for _, status in progress.running.values()}
    assert statuses == {Status(), Status(1, 4, 2.5, 30)}
    assert {p.seconds_left for p in seen if any(s.total for _, s in p.running.values())} == {30}


def test_a_folder_is_used_by_one_at_a_time(tmp_path):
    lock = FolderLock(tmp_path)
    try:
        with pytest.raises(RunError, match=f'held by process {os.getpid()}'):
            run(recipe(a=('', [])), tmp_path, COMMAND)
    finally:
        lock.close()
    assert not (tmp_path / 'recipe.yaml').exists()
    run(recipe(a=('', [])), tmp_path, COMMAND)


def test_a_command_that_cannot_start_is_said(tmp_path):
    with pytest.raises(RunError, match='stage a: cannot start a process .No such file'):
        run(recipe(a=('', [])), tmp_path, [str(tmp_path / 'nothing')])


@pytest.mark.parametrize('name', ['a b', 'x=1', '-dash', 'wörld: #1', "quo'te"])
def test_odd_names_of_folders(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    places = run(recipe(a=('', []), b=('a', [])), Path(name), COMMAND)
    for place in places.values():
        words = sessions(place)[0]['words']
        assert words[words.index('--out') + 1] == str(tmp_path / name / 'stages' / place.folder.name)


def test_no_thread_and_no_process_is_left(tmp_path):
    before = threading.active_count()
    places = run(recipe(a=('', []), b=('a', [], {'shared': True})), tmp_path, COMMAND)
    time.sleep(0.5)
    assert threading.active_count() <= before
    for name, number in (('a', 0), ('b', 0), ('b', 1)):
        assert not process_of(places[name], number).exists(), 'one that has ended and was not waited for is still listed'


@pytest.mark.parametrize(('workers', 'cores', 'shares'), [(1, 3, [3]), (2, 4, [2, 2]), (2, 3, [1, 2]), (8, 3, [1, 1, 1])])
def test_cores_are_divided_and_there_are_no_more_workers_than_cores(monkeypatch, workers, cores, shares):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(5, 5 + cores)), raising=False)
    slots = slots_of(workers)
    assert [len(slot.cores) for slot in slots] == shares and [slot.number for slot in slots] == list(range(len(shares)))
    assert sorted(core for slot in slots for core in slot.cores) == list(range(5, 5 + cores))


def test_configurations_are_read_before_anything_runs(tmp_path):
    wrong = Recipe(report='a', stages={'a': Stage(verb='evaluate', config={'modle': {'source': 'x'}})})
    with pytest.raises(ConfigError, match=r'stages\.a\.config: .*modle'):
        check(wrong, tmp_path)
