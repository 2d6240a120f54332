"""Fetching from the Hub, with a stand-in for its client."""

import json
import sys
import time
import types

import jax
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models.fetch import fetch, resolve
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.transformer import init_parameters


def silent(stage, done, total):
    pass


@pytest.fixture
def cache(tmp_path):
    return tmp_path / 'cache'


CONFIG = ModelConfig(
    vocab_size=16, num_layers=1, width=8, mlp_width=8, num_heads=2, num_kv_heads=1, head_width=4, max_positions=32
)


class Hub(types.ModuleType):
    """Stands in for `huggingface_hub`."""

    def __init__(self, error=None, deliver=None):
        super().__init__('huggingface_hub')
        self.error, self.deliver, self.asked = error, deliver, []

    def HfApi(self):
        return self

    def model_info(self, name, timeout):
        assert 0 < timeout <= 30
        if self.error:
            raise self.error
        return types.SimpleNamespace(sha='c0ffee')

    def snapshot_download(self, name, revision, local_dir, allow_patterns, ignore_patterns):
        self.asked.append((name, revision, tuple(allow_patterns)))
        (self.deliver or whole_model)(local_dir)
        return str(local_dir)


def whole_model(folder):
    shapes = jax.eval_shape(lambda key: init_parameters(CONFIG, key), jax.random.key(0))
    write_folder(folder, CONFIG, jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes))


def half_model(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(CONFIG.to_hugging_face()))


def test_a_hub_model_is_fetched_once_pinned_and_without_code(monkeypatch, cache):
    hub = Hub()
    monkeypatch.setitem(sys.modules, 'huggingface_hub', hub)
    with pytest.raises(WeightsError, match='jaxreason weights fetch Owner/Some.Model-1'):
        resolve('Owner/Some.Model-1', cache)
    path = fetch('Owner/Some.Model-1', cache, silent)
    ((name, revision, patterns),) = hub.asked
    assert (name, revision) == ('Owner/Some.Model-1', 'c0ffee')
    assert '*.safetensors' in patterns and not any(each.endswith(('.py', '.bin', '*', '.pt')) for each in patterns)
    assert path.is_relative_to(cache) and (path / 'config.json').exists()
    assert fetch('Owner/Some.Model-1', cache, silent) == path == resolve('Owner/Some.Model-1', cache)
    assert len(hub.asked) == 1


def test_without_the_client_the_extra_is_named(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(WeightsError, match=r'jaxreason\[hub\]'):
        fetch('owner/model', cache, silent)


@pytest.mark.parametrize('error', [ConnectionError('no route\nto host'), OSError(101, 'Network is unreachable'), ValueError()])
def test_an_unreachable_hub_is_one_line_at_once(monkeypatch, cache, error):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', Hub(error))
    begun = time.monotonic()
    with pytest.raises(WeightsError, match='owner/model: the Hub did not deliver it') as caught:
        fetch('owner/model', cache, silent)
    assert '\n' not in str(caught.value) and time.monotonic() - begun < 2


def test_half_a_hub_model_does_not_enter_the_cache(monkeypatch, cache):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', Hub(deliver=half_model))
    with pytest.raises(WeightsError, match='found no weights'):
        fetch('owner/model', cache, silent)
    with pytest.raises(WeightsError, match='no such model in the cache'):
        resolve('owner/model', cache)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', Hub(deliver=lambda folder: (folder / 'config.json').unlink()))
    with pytest.raises(WeightsError, match='config.json'):
        fetch('owner/model', cache, silent)


@pytest.mark.parametrize(
    'name', ['../model', 'owner/..', 'owner/a..b', '/model', 'owner/', 'a/b/c', 'owner/mo del', '-o/model']
)
def test_a_name_that_could_be_a_path_is_not_a_hub_name(monkeypatch, cache, name):
    hub = Hub()
    monkeypatch.setitem(sys.modules, 'huggingface_hub', hub)
    with pytest.raises(WeightsError):
        fetch(name, cache, silent)
    assert hub.asked == [] and not cache.exists()
