"""Loading: the same values on every mesh, never the whole model in host memory, refusals before anything is read."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxreason as jr
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, WeightsError
from jaxreason.models.folder import open_weights, read_checkpoint
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.hugging_face import Weight
from jaxreason.models.safetensors_file import write_safetensors
from jaxreason.models.transformer import init_parameters

CONFIG = ModelConfig(
    vocab_size=48, num_layers=2, width=16, mlp_width=32, num_heads=16, num_kv_heads=8, head_width=4, max_positions=64,
    qkv_bias=True, output_bias=True, mlp_bias=True,
)  # fmt: skip
MESHES = [(8, 1), (4, 2), (2, 4), (1, 8)]


def write(path, config, max_shard_bytes):
    shapes = jax.eval_shape(lambda: init_parameters(config, jax.random.key(0)))
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)
    return write_folder(path, config, params, max_shard_bytes=max_shard_bytes)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp('load') / 'model', CONFIG, 8000)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('shape', [None, *MESHES])
def test_every_mesh_holds_the_values_of_the_file(folder, dtype, shape):
    expected = read_checkpoint(folder, dtype)
    lm = jr.load(folder, dtype=dtype, mesh=shape and dict(zip(('data', 'model'), shape, strict=True)))
    assert (lm.config, lm.digest) == (expected.config, expected.digest)
    assert jax.tree.structure(lm.params) == jax.tree.structure(expected.parameters)

    def check(placed, values):
        assert placed.dtype == values.dtype and placed.shape == values.shape
        for shard in placed.addressable_shards:
            np.testing.assert_array_equal(np.asarray(shard.data), values[shard.index])

    jax.tree.map(check, lm.params, expected.parameters)
    if shape is not None:
        kernel = lm.params['layers'][1]['attention']['o']['kernel']
        assert {shard.data.shape for shard in kernel.addressable_shards} == {(16 // shape[1], 4, 16)}


@pytest.mark.parametrize('shape', [None, *MESHES])
def test_each_number_is_read_once(folder, monkeypatch, shape):
    """Devices that hold the same slice share its reading, and no slice is read that no device holds."""
    read, count = Weight.read, 0

    def counting(weight, index=()):
        nonlocal count
        values = read(weight, index)
        count += values.size
        return values

    monkeypatch.setattr(Weight, 'read', counting)
    jr.load(folder, mesh=shape and dict(zip(('data', 'model'), shape, strict=True)))
    assert count == CONFIG.num_parameters


def test_a_mesh_that_does_not_fit_is_refused_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setattr(Weight, 'read', None)
    narrow = ModelConfig(**{**vars(CONFIG), 'num_heads': 9, 'num_kv_heads': 3, 'windows': ()})
    write(folder.parent / 'narrow', narrow, 8000)
    with pytest.raises(
        ConfigError, match='model = 2 does not divide heads = 9 .*of 8 devices model may take 1, the other axis -1'
    ):
        jr.load(folder.parent / 'narrow', mesh={'data': 4, 'model': 2})


def test_a_nan_is_found_in_whatever_slice_it_is(folder, tmp_path):
    name = 'model.layers.1.mlp.down_proj.weight'
    (tmp_path / 'config.json').write_text((folder / 'config.json').read_text())
    tensors = {each: reader() for each, reader in open_weights(folder).tensors.items()}
    damaged = tensors[name].copy()
    damaged[3, -1] = np.nan
    write_safetensors(tmp_path / 'model.safetensors', tensors | {name: damaged})
    with pytest.raises(WeightsError, match=f'{tmp_path}: tensor {name}: expected finite numbers .* found 1 NaN'):
        jr.load(tmp_path, mesh={'data': 2, 'model': 4})


MEASURE = """
import sys
import jaxreason as jr

def kilobytes(field):
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))

small, large, *shape = sys.argv[1:]
mesh = dict(zip(('data', 'model'), map(int, shape)))
jr.load(small, mesh=mesh)  # what loading takes whatever the size
before = kilobytes('VmRSS')
lm = jr.load(large, mesh=mesh)
print(kilobytes('VmHWM') - before)
"""


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory is read from /proc')
def test_host_memory_never_holds_a_second_model(folder, tmp_path):
    large = ModelConfig(
        vocab_size=4096, num_layers=12, width=512, mlp_width=1536, num_heads=8, num_kv_heads=8, head_width=64, max_positions=64
    )
    model = write(tmp_path / 'large', large, 50_000_000)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    peak = int(
        subprocess.run(
            [sys.executable, '-c', MEASURE, folder, model, '1', '8'],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    size = 4 * large.num_parameters / 1000
    # Read whole and then placed it is 2.0 times the model; on the eight CPU devices of one process it must be once at least.
    assert 0.9 * size < peak < 1.3 * size, (peak, size)
