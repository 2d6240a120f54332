"""The run folder: one process, one configuration, one environment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason.core.errors import RunError
from jaxreason.evaluate.folder import RunFolder

CONFIG = 'seeds: [0]\nmodel:\n  source: a\n'
ENVIRONMENT = {'weights': 'abc', 'commit': '1'}
HOLD = """\
import sys, time
from pathlib import Path
from jaxreason.evaluate.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]), 'x')
print('held', flush=True)
time.sleep(60)
"""


def begin(path):
    """A folder in which one unit is finished."""
    with RunFolder(path, CONFIG) as folder:
        folder.check_environment(ENVIRONMENT, ['weights'])
        (path / 'journal-0.jsonl').write_text('{}\n')


def test_a_folder_is_made_with_everything_above_it(tmp_path):
    path = tmp_path / 'a b' / 'ü' / 'run'
    with RunFolder(path, CONFIG) as folder:
        folder.write_lines('pools/x.jsonl', [{'b': 1, 'a': 'ü'}])
    assert (path / 'config.yaml').read_text() == CONFIG
    assert (path / 'pools/x.jsonl').read_bytes() == b'{"a":"\\u00fc","b":1}\n'


@pytest.mark.parametrize('place', ['file/run', 'file', 'n' * 300])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(RunError, match='cannot write there.*--out'):
        RunFolder(tmp_path / place, CONFIG)


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / 'a').symlink_to(tmp_path / 'b')
    (tmp_path / 'b').symlink_to(tmp_path / 'a')
    with pytest.raises(RunError, match='cannot write there'):
        RunFolder(tmp_path / 'a', CONFIG)


def test_a_folder_of_the_kernel_is_refused():
    with pytest.raises(RunError, match='cannot write there'):
        RunFolder(Path('/proc/run'), CONFIG)


def test_a_folder_held_by_a_living_process_is_refused_and_a_dead_one_does_not_hold(tmp_path):
    with subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(RunError, match=f'held by process {holder.pid} since 2'):
            RunFolder(tmp_path, CONFIG)
        holder.send_signal(signal.SIGKILL)
    with RunFolder(tmp_path, CONFIG):
        assert f'process {os.getpid()} ' in (tmp_path / '.lock').read_text()


def test_a_refused_folder_is_given_back(tmp_path):
    begin(tmp_path)
    with pytest.raises(RunError):
        RunFolder(tmp_path, CONFIG.replace('a', 'b'))
    RunFolder(tmp_path, CONFIG).close()


def test_another_configuration_is_refused_with_the_line(tmp_path):
    begin(tmp_path)
    with pytest.raises(RunError, match='"source: a", now "source: b"'):
        RunFolder(tmp_path, CONFIG.replace('source: a', 'source: b'))
    with pytest.raises(RunError, match='"", now "n: 4"'):
        RunFolder(tmp_path, CONFIG + 'n: 4\n')


def test_a_folder_where_nothing_is_finished_takes_another_configuration_and_environment(tmp_path):
    """After a mistyped model the same command, mended, must work."""
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.check_environment(ENVIRONMENT, ['weights'])
    (tmp_path / 'journal-0.jsonl').write_text('')
    with RunFolder(tmp_path, CONFIG + 'n: 4\n') as folder:
        folder.check_environment(ENVIRONMENT | {'weights': 'def'}, ['weights'])
    assert (tmp_path / 'config.yaml').read_text() == CONFIG + 'n: 4\n'
    assert 'def' in (tmp_path / 'environment.json').read_text()


@pytest.mark.parametrize('name', ['config.yaml', 'environment.json'])
@pytest.mark.parametrize('content', [None, b'\xff\x00', b'[]'])
def test_a_run_that_has_lost_a_file_is_not_mixed_with_another(tmp_path, name, content):
    begin(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match='--out|new folder'), RunFolder(tmp_path, CONFIG) as folder:
        folder.check_environment(ENVIRONMENT, ['weights'])


def test_a_pinned_value_that_changed_is_refused_others_may_change(tmp_path):
    begin(tmp_path)
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.check_environment(ENVIRONMENT | {'commit': '2'}, ['weights'])
        with pytest.raises(RunError, match="weights was 'abc' and is 'def'"):
            folder.check_environment(ENVIRONMENT | {'weights': 'def'}, ['weights'])
        folder.check_inputs({'weights': 'abc'})
        with pytest.raises(RunError, match='weights'):
            folder.check_inputs({'weights': 'def'})


def test_a_failed_write_leaves_what_stood_there(tmp_path, monkeypatch):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_text('metrics.json', 'old')

        def full(_):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(os, 'fsync', full)
        with pytest.raises(RunError, match='No space left'):
            folder.write_text('metrics.json', 'new')
    assert (tmp_path / 'metrics.json').read_text() == 'old'
