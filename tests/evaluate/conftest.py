import pytest

from tests.evaluate.tiny_world import write_world


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """Path of the configuration of a tiny world."""
    return write_world(tmp_path_factory.mktemp('tiny world'))


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
    """Compiled programs that the processes of this session share."""
    return tmp_path_factory.mktemp('compiled')
