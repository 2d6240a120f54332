"""What scoring is said to hold in memory, against what the compiled programs hold."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.engine.reward_model import _score_batch
from jaxreason.engine.scoring_memory import memory_beside, scoring_memory
from jaxreason.engine.verifier import MeanLogprob
from jaxreason.models.transformer import for_decoding, init_parameters, unstack_layers
from jaxreason.models.value_heads import head_parameters, init_head

CONFIG = ModelConfig(
    vocab_size=128,
    num_layers=1,
    width=64,
    mlp_width=192,
    num_heads=4,
    num_kv_heads=2,
    head_width=16,
    max_positions=512,
    tied_head=True,
)
ROWS = 4


def nbytes(tree):
    """Bytes of the arrays of a tree, each array once."""
    arrays = {id(leaf): leaf for leaf in jax.tree.leaves(tree)}
    return sum(leaf.nbytes for leaf in arrays.values())


@pytest.mark.parametrize(('is_packed', 'length'), [(True, 256), (False, 256), (False, 128)])
def test_it_is_what_the_compiler_allots(is_packed, length):
    params = unstack_layers(init_parameters(CONFIG, jax.random.key(0)))
    head = init_head('value', CONFIG, jax.random.key(0))
    run = {name: part for name, part in for_decoding(CONFIG, params).items() if name != 'packed_head'} if is_packed else params
    tokens = jax.ShapeDtypeStruct((ROWS, length), np.int32)
    starts = jax.ShapeDtypeStruct((ROWS,), np.int32)
    lowered = _score_batch.lower(CONFIG, run, head, None, tokens, tokens, starts, None, kind='value', room=length, keeps=False)
    allotted = lowered.compile().memory_analysis()
    said = scoring_memory(CONFIG, head_parameters(head), ROWS, length, None, is_cpu=is_packed)
    assert 0.9 < (said.cache + said.activations) / allotted.temp_size_in_bytes < 1.3
    assert 0.99 < said.parameters / nbytes((params, run, head)) < 1.2


def test_a_mesh_and_a_smaller_dtype_divide_it():
    whole = scoring_memory(CONFIG, 65, 8, 200, None, is_cpu=False)
    spread = scoring_memory(CONFIG, 65, 8, 200, {'data': 4, 'model': 2}, is_cpu=True)
    assert (spread.cache, spread.activations) == (whole.cache // 8, whole.activations // 8)
    assert spread.parameters - 4 * 65 == (whole.parameters - 4 * 65) // 2
    halved = dataclasses.replace(CONFIG, parameter_dtype='bfloat16', matmul_dtype='bfloat16')
    small = scoring_memory(halved, 65, 8, 200, None, is_cpu=False)
    assert small.cache == whole.cache // 2 and small.parameters - 4 * 65 == (whole.parameters - 4 * 65) // 2


def test_verifiers_without_weights_take_none():
    assert memory_beside([MeanLogprob()], [], 8, is_cpu=True) == 0
