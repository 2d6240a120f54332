"""`jaxreason evaluate`: from its words to its files, and everything that it refuses."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jaxreason.cli.progress import EvaluateDisplay
from jaxreason.core.records import Block, Pool, Record
from jaxreason.evaluate.folder import RunFolder
from jaxreason.evaluate.runner import JOURNAL, Finished, Progress
from tests.evaluate import command as processes
from tests.evaluate.tiny_world import read_config

FEW = ('data.limit=2', 'seeds=[0]')
SLOWLY = ('sampler.chunk=1', 'sampler.max_tokens=40', 'strategies.majority.n=8')


@pytest.fixture(scope='module')
def finished(world, cache, tmp_path_factory):
    """A finished run, and what the command printed."""
    out = tmp_path_factory.mktemp('runs') / 'a run, ü'
    done = processes.run('evaluate', world, *FEW, '--out', out, cache=cache)
    assert done.returncode == 0, done.stderr
    return out, done


def test_a_run_leaves_all_its_files_and_prints_rows_and_the_table(finished):
    out, done = finished
    for name in ('config.yaml', 'environment.json', 'records.jsonl', 'metrics.json', 'timing.jsonl', 'report.html', JOURNAL):
        assert (out / name).stat().st_size > 0
    assert list((out / 'figures').glob('*.png')) and list((out / 'pools').glob('*.jsonl'))
    assert done.stderr == ''
    assert '4 of 4 units to do' in done.stdout and '   4/4  with space' in done.stdout
    assert 'best of 4, log-prob' in done.stdout and 'accuracy %' in done.stdout
    assert re.search(r'^compiled [1-9]\d* programs in \d+\.\d s, \w+ of them from the cache$', done.stdout, re.MULTILINE)


def test_a_finished_run_is_not_run_again(finished, world, command):
    out, done = finished
    before = processes.results(out)
    code, text, err = command('evaluate', world, *FEW, '--out', out)
    assert code == 0 and 'to do' not in text and 'compiled' not in text and err == ''
    assert [line.strip() for line in text.splitlines() if 'best of' in line] == [
        line.strip() for line in done.stdout.splitlines() if 'best of' in line and '/4 ' not in line
    ]
    assert processes.results(out) == before


def test_the_folder_of_a_run_is_named_after_its_configuration(world, command, tmp_path):
    assert command('evaluate', world, *FEW, 'data.limit=1', '--quiet')[0] == 0
    assert (tmp_path / 'runs/tiny/records.jsonl').is_file()


def test_a_dry_run_prints_the_configuration_and_what_it_needs_and_writes_nothing(world, command, tmp_path):
    code, text, err = command('evaluate', world, '--dry-run', 'sampler.temperature=0.25')
    assert (code, err) == (0, '')
    assert 'temperature: 0.25' in text and 'FLOPs' in text and '24 units' in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'needs a configuration'),
        (['nothing.yaml'], 'nothing.yaml'),
        (['configuration'], "takes one CONFIG.yaml, got 'configuration'"),
        (['{world}', 'other.yaml'], 'one configuration'),
        (['{world}', '--', 'text'], "'text'"),
        (['{world}', 'sampler.temprature=1'], 'did you mean temperature'),
        (['{world}', 'temperature=1'], 'did you mean sampler.temperature'),
        (['{world}', 'sampler.max_tokens=many'], 'whole number'),
        (['{world}', 'sampler.max_tokens=0'], 'max_tokens must be in'),
        (['{world}', 'sampler.temperature=.nan'], 'finite'),
        (['{world}', 'strategies.majority.kind=magic'], 'unknown kind'),
        (['{world}', 'strategies.new={kind: best_of_n, n: 4}'], 'strategies.new'),
        (['{world}', 'seeds=[18446744073709551616]'], 'seed'),
        (['{world}', 'model.mesh={data: 3}'], 'needs 3 devices, this process sees 8'),
        (['{world}', 'model.mesh={data: 0}'], 'mesh sizes'),
        (['{world}', 'model.source=nowhere/model.gguf'], 'nowhere/model.gguf'),
        (['{world}', 'model.source=smollm2-135'], 'did you mean smollm2-135m'),
        (['{world}', 'model.source=; touch x'], 'no preset'),
        (['{world}', 'data.source=missing.jsonl'], 'missing.jsonl'),
        (['{world}', 'data.offset=100'], 'offset'),
        (['{world}', 'sampler.max_tokens=300'], 'context'),
        (['{world}', '--out', '/proc/run'], 'cannot write there'),
    ],
)
def test_mistakes_are_one_line(refused, world, words, message):
    assert message in refused('evaluate', *(str(world) if word == '{world}' else word for word in words))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x00\x01\xff\xfe',
        b'- a\n- b\n',
        b'seeds: [0\n',
        b'strategies: !!python/object/apply:os.system [touch x]\n',
        b'a: &a [1]\n' + b'b: [*a, *a, *a]\n' * 3,
        b'seeds: [0]\nseeds: [1]\n',
        b'x' * (2 << 20),
    ],
)
def test_configurations_that_are_none(refused, tmp_path, content):
    path = tmp_path / 'broken.yaml'
    path.write_bytes(content)
    assert 'broken.yaml' in refused('evaluate', path) or content == b''
    assert [file.name for file in tmp_path.iterdir()] == ['broken.yaml']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'empty'),
        (b'{"question": "1+1", "ans', 'line 1'),
        (b'{"question": "1", "answer": "2", "id": "a"}\n' * 2, 'line 2'),
        (b'[1, 2]\n', 'line 1'),
        (b'{"question": NaN, "answer": "2"}\n', 'NaN'),
    ],
)
def test_problem_files_that_are_none(refused, world, tmp_path, content, message):
    path = tmp_path / 'problems.jsonl'
    path.write_bytes(content)
    assert message in refused('evaluate', world, f'data.source={json.dumps(str(path))}')


def test_a_truncated_model_and_one_without_tokenizer(refused, world, tmp_path):
    model = tmp_path / 'model'
    shutil.copytree(world.parent / 'model', model)
    source = f'model.source={json.dumps(str(model))}'
    weights = (model / 'model.safetensors').read_bytes()
    (model / 'model.safetensors').write_bytes(weights[:-100])
    assert 'model.safetensors' in refused('evaluate', world, source)
    (model / 'model.safetensors').write_bytes(weights)
    (model / 'tokenizer.json').unlink()
    assert 'tokenizer' in refused('evaluate', world, source)


def test_a_device_that_is_not_there(world, cache, tmp_path):
    done = processes.run('evaluate', world, '--out', tmp_path / 'run', cache=cache, JAX_PLATFORMS='nonsense')
    assert done.returncode == 2 and done.stderr.startswith('jaxreason: error: no device to run on: '), done.stderr
    assert done.stderr.count('\n') == 1 and 'JAX_PLATFORMS' in done.stderr


@pytest.mark.parametrize('verb', ['evaluate', 'solve'])
def test_more_rows_than_memory_holds(refused, world, tiny, tmp_path, verb):
    """Many terabytes of keys and values: refused by the allocator, not by the machine."""
    model = tmp_path / 'model'
    shutil.copytree(world.parent / 'model', model)
    settings = json.loads((model / 'config.json').read_text())
    (model / 'config.json').write_text(json.dumps(settings | {'max_position_embeddings': 2**20}))
    large = (f'model.source={json.dumps(str(model))}', 'sampler.max_tokens=1000000', 'sampler.num_rows=262144')
    error = refused('evaluate', world, *large) if verb == 'evaluate' else refused('solve', 'x', *tiny, *large)
    assert 'too little memory' in error and 'num_rows' in error


def test_a_run_folder_that_is_a_file_held_or_another_run(refused, world, finished, tmp_path):
    (tmp_path / 'file').write_text('')
    assert 'cannot write there' in refused('evaluate', world, '--out', tmp_path / 'file')
    with RunFolder(tmp_path / 'held', 'x'):
        assert f'held by process {os.getpid()}' in refused('evaluate', world, '--out', tmp_path / 'held')
    assert 'another configuration' in refused('evaluate', world, *FEW, 'sampler.temperature=0.5', '--out', finished[0])


def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(world, cache, tmp_path):
    out = tmp_path / 'run'
    with processes.start('evaluate', world, *SLOWLY, '--out', out, cache=cache) as process:
        processes.signal_when(process, signal.SIGINT, lambda: processes.num_lines(out / JOURNAL) >= 3)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - began < 5
    assert 'stopping at the next chunk' in err and err.endswith('jaxreason: interrupted\n') and 'Traceback' not in err
    kept = processes.num_lines(out / JOURNAL)
    assert kept >= 3 and not (out / 'records.jsonl').exists()
    again = processes.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache)
    assert again.returncode == 0 and f'{24 - kept} of 24 units to do' in again.stdout


def test_ctrl_c_while_the_model_is_loaded_stops_at_once(world, cache, tmp_path):
    """A model is a named pipe: loading it waits for ever."""
    model = tmp_path / 'model'
    shutil.copytree(world.parent / 'model', model)
    (model / 'config.json').unlink()
    os.mkfifo(model / 'config.json')
    source = f'model.source={json.dumps(str(model))}'
    out = tmp_path / 'run'
    with processes.start('evaluate', world, source, '--out', out, cache=cache) as process:
        processes.signal_when(process, signal.SIGINT, (out / JOURNAL).exists)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == 'jaxreason: interrupted\n' and time.monotonic() - began < 5


@pytest.mark.slow
def test_sigterm_is_like_ctrl_c(world, cache, tmp_path):
    out = tmp_path / 'run'
    with processes.start('evaluate', world, *SLOWLY, '--out', out, cache=cache) as process:
        processes.signal_when(process, signal.SIGTERM, lambda: processes.num_lines(out / JOURNAL) >= 3)
        process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.slow
def test_a_reader_who_leaves_ends_the_run_and_what_is_finished_stays(world, cache, tmp_path):
    out = tmp_path / 'run'
    with processes.start('evaluate', world, *SLOWLY, '--out', out, cache=cache) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=120)
    assert (process.returncode, err) == (141, '')
    assert processes.run('evaluate', world, *SLOWLY, '--out', out, '--quiet', cache=cache).returncode == 0


@pytest.mark.slow
def test_on_a_terminal_there_is_a_bar_and_the_cursor_comes_back(world, cache, tmp_path):
    parent, child = pty.openpty()
    words = [sys.executable, '-m', 'jaxreason', 'evaluate', str(world), *FEW, '--out', str(tmp_path / 'run')]
    environment = {**os.environ, 'TERM': 'xterm', 'JAX_COMPILATION_CACHE_DIR': str(cache)}
    with subprocess.Popen(words, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        shown = b''
        try:
            while data := os.read(parent, 4096):
                shown += data
        except OSError:  # how a terminal says that its program has ended
            pass
    assert process.returncode == 0
    assert b'4/4' in shown and b'left' in shown
    assert shown.rfind(b'\x1b[?25h') > shown.rfind(b'\x1b[?25l') >= 0


def test_rows_show_hostile_labels_and_ids_as_text(world, capsys):
    label = '[red]x[/]\x1b[31m'
    config = read_config(world, 'strategies.majority.n=4')
    strategies = {label: config.strategies['majority']}
    config = type(config)(**{**vars(config), 'strategies': strategies})
    texts = {'question': '', 'gold': '', 'level': '', 'subject': ''}
    pool = Pool(pool='p', question_id='[/]\x1b[2J', seed=0, cost={}, candidates=(), **texts)
    block = Block(answer=None, verdict='unjudged', cost={})
    record = Record(strategy=label, n=1, blocks=(block,), votes=(), question_id='q', seed=0, pool='p', budget={})
    with EvaluateDisplay(config, quiet=False) as display:
        display.say('[bold]loading[/]')
        display.show(Progress(1, 2, 50, 10.0, Finished(pool, lambda: (record,))))
    out = capsys.readouterr().out
    assert '\x1b' not in out and '[red]x[/]\\x1b[31m ?' in out and '[/]\\x1b[2J' in out and '[bold]loading[/]' in out
    assert '5 tokens/s' in out
