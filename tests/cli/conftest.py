import json

import pytest

from jaxreason.cli.main import main
from jaxreason.models import fetch
from tests.evaluate.tiny_world import write_world


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """Path of the configuration of a tiny world; there is a space in it, and a letter that is not ASCII."""
    return write_world(tmp_path_factory.mktemp('tiny wörld'))


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
    """Compiled programs that the processes of this session share."""
    return tmp_path_factory.mktemp('compiled')


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Runs a command line in this process; returns exit code, standard output and standard error."""
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')  # no program of a test is kept for the user
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'no cache'))
    monkeypatch.setattr(fetch, '_download', lambda *_: pytest.fail('a test must not download'))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(command):
    """Runs a command line that must be refused in one line; returns the line."""

    def run(*words):
        code, out, err = command(*words)
        assert code == 2, (code, out, err)
        assert err.startswith('jaxreason: error: ') and err.count('\n') == 1 and err.endswith('\n'), err
        assert 'Traceback' not in out + err
        return err.removeprefix('jaxreason: error: ').rstrip('\n')

    return run


@pytest.fixture(scope='session')
def tiny(world):
    """Overrides that make `solve` use the tiny model."""
    source = json.dumps(str(world.parent / 'model'))
    return (
        f'model.source={source}',
        'prompt.template=raw',
        'prompt.few_shot=0',
        'sampler.temperature=1.0',
        'prompt.step_delimiter=.',
        'sampler.max_tokens=10',
        'sampler.num_rows=4',
        'sampler.rows_per_slot=2',
    )
