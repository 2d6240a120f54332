"""The decode chunk compiled for a TPU slice by libtpu's ahead-of-time compiler: no chip is needed, and none is asked for.

What is looked at cannot be seen on a CPU: whether the cache is updated in place, and what crosses the links. The compiler runs
in a process of its own (this file as a program), since it reads the environment once and keeps what it has read.
"""

import collections
import importlib.util
import json
import math
import os
import re
import subprocess
import sys

import pytest

CHIP_BYTES = 15.75 * 2**30  # of a v5e, less what its runtime takes
ENVIRONMENT = {
    'JAX_PLATFORMS': 'cpu',
    'TPU_SKIP_MDS_QUERY': '1',  # with the next two: nobody is asked which machine this is
    'TPU_ACCELERATOR_TYPE': 'v5litepod-4',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}
ROWS, ROWS_PER_SLOT, PROMPT_ROOM, ROW_ROOM, CHUNK = 64, 4, 512, 4096, 32
VOCAB, WIDTH = 128_256, 4096
KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')


def decode_program(config, params, cache, rows, tables, whole):
    """Traces the decode chunk for abstract arguments; `whole` makes one that every chip holds."""
    import jax
    import numpy as np

    from jaxreason.engine.decode import Wake, decode_chunk
    from jaxreason.engine.sampling import Rule

    slots = np.zeros(ROWS // ROWS_PER_SLOT, np.int32)
    wake = Wake(group=slots, wanted=slots > 0, waiting=np.bool_(False), patience=np.int32(0))
    return decode_chunk.lower(
        config, params, cache, rows, tables, jax.tree.map(whole, wake), whole(np.int32(0)), rule=Rule(temperature=0.8),
        stats=('logprob', 'sampled_logprob', 'self_certainty'), length=CHUNK, rows_per_slot=ROWS_PER_SLOT,
    )  # fmt: skip


def compile_for_slice(num_layers: int, data: int, model: int) -> dict:
    """Compiles a decode chunk of Llama-3-8B's shape for a v5e slice of 2x4 chips.

    Returns:
        Bytes a chip of the `cache`, of what is `aliased`, of the `temporaries`, and at the `peak`; `collectives` as a list of
        kind, operation that it is for, and elements of the result.
    """
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    from jaxreason.core.architecture import ModelConfig
    from jaxreason.engine.decode import RowState, Tables
    from jaxreason.models.cache import Cache
    from jaxreason.models.sharding import cache_shardings, parameter_shardings
    from jaxreason.models.transformer import init_parameters, unstack_layers

    config = ModelConfig(
        vocab_size=VOCAB, num_layers=num_layers, width=WIDTH, mlp_width=14_336, num_heads=32, num_kv_heads=8, head_width=128,
        max_positions=8192, parameter_dtype='bfloat16', matmul_dtype='bfloat16',
    )  # fmt: skip
    chips = np.array(topologies.get_topology_desc(platform='tpu', topology_name='v5e:2x4').devices)
    mesh = Mesh(chips.reshape(data, model), ('data', 'model'), axis_types=(AxisType.Auto,) * 2)

    def place(tree, shardings):
        return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree, shardings)

    def whole(tree):
        return place(tree, jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), tree))

    params = jax.eval_shape(lambda: unstack_layers(init_parameters(config, jax.random.key(0))))
    params = place(params, parameter_shardings(config, params, mesh))
    cache = jax.eval_shape(lambda: Cache.empty(config, ROWS // ROWS_PER_SLOT, ROWS_PER_SLOT, PROMPT_ROOM, ROW_ROOM))
    cache = place(cache, cache_shardings(cache, mesh))
    table = np.zeros((4, VOCAB), np.int32)
    tables = whole(Tables(transition=table, event=table.astype(np.uint8), ends=np.zeros(VOCAB, bool)))
    with jax.set_mesh(mesh):
        compiled = decode_program(config, params, cache, whole(RowState.idle(ROWS)), tables, whole).compile()
    memory = compiled.memory_analysis()
    return {
        'cache': sum(int(np.prod(x.sharding.shard_shape(x.shape))) * x.dtype.itemsize for x in jax.tree.leaves(cache)),
        'aliased': memory.alias_size_in_bytes,
        'temporaries': memory.temp_size_in_bytes,
        'peak': memory.peak_memory_in_bytes,
        'collectives': collectives(compiled.as_text()),
    }


def collectives(text: str) -> list[tuple[str, str, int]]:
    """Kind, name of the operation that it is for, and elements of the largest result, of every collective in a program."""
    found = []
    for result, kind, rest in re.findall(rf'= (.*?) ({"|".join(KINDS)})(?:-start)?\((.*)', text):
        operation = re.search(r'op_name="([^"]*)"', rest)
        shapes = re.findall(r'\w+\[([\d,]*)\]', result)
        sizes = [math.prod(int(size) for size in shape.split(',') if size) for shape in shapes]
        found.append((kind, operation[1] if operation else '', max(sizes)))
    return found


@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason='the compiler for TPUs, libtpu, is not installed')
@pytest.mark.parametrize('num_layers, data, model', [(32, 1, 8), (4, 2, 4)])
def test_the_decode_chunk_updates_its_cache_in_place(num_layers, data, model):
    done = subprocess.run(
        [sys.executable, __file__, str(num_layers), str(data), str(model)],
        env={**os.environ, **ENVIRONMENT, 'PYTHONPATH': os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    moved = found.pop('collectives')
    print(f'{num_layers} layers, mesh {data} x {model}, GB a chip:', {name: value / 1e9 for name, value in found.items()})
    for each, times in collections.Counter(map(tuple, moved)).items():
        print(times, 'x', *each)
    assert found['aliased'] >= found['cache']
    assert found['temporaries'] < found['cache'] / 4  # half of it would be a copy of the keys
    assert found['peak'] < CHIP_BYTES
    # Each layer's attention and MLP end in a sum over the chips that share the row; beside those there are the embedding's and
    # the sampler's. Nothing that is moved is larger than the logits, so no part of the cache or of a weight is.
    activations = ROWS // data * WIDTH
    sums = [kind for kind, _, size in moved if size == activations]
    assert set(sums) == {'all-reduce'} and 2 * num_layers <= len(sums) <= 2 * num_layers + 2
    assert len(moved) - len(sums) < 16
    assert max(size for _, _, size in moved) <= ROWS // data * VOCAB


if __name__ == '__main__':
    print(json.dumps(compile_for_slice(*map(int, sys.argv[1:]))))
