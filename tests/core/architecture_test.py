import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.architecture import ModelConfig, RopeScaling
from jaxreason.core.errors import ConfigError, WeightsError

SMOLLM2 = {
    'architectures': ['LlamaForCausalLM'],
    'model_type': 'llama',
    'vocab_size': 49152,
    'hidden_size': 576,
    'intermediate_size': 1536,
    'num_hidden_layers': 30,
    'num_attention_heads': 9,
    'num_key_value_heads': 3,
    'max_position_embeddings': 8192,
    'hidden_act': 'silu',
    'rms_norm_eps': 1e-5,
    'rope_theta': 100000,
    'rope_scaling': None,
    'tie_word_embeddings': True,
    'attention_bias': False,
}
LLAMA3_SCALING = {
    'rope_type': 'llama3',
    'factor': 32.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
}
LONGROPE = {'type': 'longrope', 'short_factor': [1.0] * 32, 'long_factor': [2.0] * 32}


def read(**changes) -> ModelConfig:
    return ModelConfig.from_hugging_face({**SMOLLM2, **changes})


def test_smollm2_and_its_counts():
    config = read()
    assert (config.head_width, config.num_kv_heads, config.tied_head, config.rope_theta) == (64, 3, True, 100000)
    assert config.num_parameters == 134_515_008
    assert config.matmul_parameters == 134_479_872
    assert dataclasses.replace(config, tied_head=False).num_parameters == 134_515_008 + 49152 * 576
    assert config.windows == (0,) * 30
    assert hash(config) == hash(read())


@pytest.mark.parametrize('scaling', [None, {'type': 'linear', 'factor': 4.0}, LLAMA3_SCALING])
@pytest.mark.parametrize('bias', [False, True])
def test_the_llama_family_survives_the_round_trip(scaling, bias):
    config = read(rope_scaling=scaling, attention_bias=bias, mlp_bias=bias, head_dim=32)
    assert config.head_width == 32
    assert config.output_bias is bias
    assert (config.rope_scaling is None) == (scaling is None)
    assert ModelConfig.from_hugging_face(config.to_hugging_face()) == config


def test_other_families_are_not_written():
    with pytest.raises(ConfigError, match='llama family'):
        read(model_type='qwen2').to_hugging_face()
    with pytest.raises(ConfigError, match='all four projections or on none'):
        dataclasses.replace(read(), qkv_bias=True).to_hugging_face()


LOST: dict[str, Any] = {
    'windows': (0, 16) * 15,
    'attention_softcap': 50.0,
    'final_softcap': 30.0,
    'embedding_scale': 24.0,
    'query_scale': 0.5,
    'rotary_fraction': 0.5,
    'local_rope_theta': 5000.0,
    'post_norms': True,
    'qk_norm': True,
    'unit_offset_norms': True,
    'rope_scaling': RopeScaling(kind='linear', factor=2.0, attention_factor=2.0),
}


@pytest.mark.parametrize('field', LOST)
def test_what_a_file_of_the_llama_family_cannot_say_is_refused_not_lost(field):
    with pytest.raises(ConfigError, match=f'^{field} has no place') as caught:
        dataclasses.replace(read(), **{field: LOST[field]}).to_hugging_face()
    assert '\n' not in str(caught.value)


def test_dtypes_do_not_stand_in_the_way_of_writing():
    config = dataclasses.replace(read(), parameter_dtype='bfloat16', matmul_dtype='bfloat16')
    assert ModelConfig.from_hugging_face(config.to_hugging_face()) == read()


def test_both_spellings_of_rotary_settings_agree():
    new = {name: value for name, value in SMOLLM2.items() if not name.startswith('rope')}
    new['rope_parameters'] = {**LLAMA3_SCALING, 'rope_theta': 500000.0}
    assert ModelConfig.from_hugging_face(new) == read(rope_theta=500000.0, rope_scaling=LLAMA3_SCALING)


def test_qwen_has_biases_and_windows_only_where_switched_on():
    config = read(model_type='qwen2', sliding_window=128, use_sliding_window=False)
    assert (config.qkv_bias, config.output_bias, set(config.windows)) == (True, False, {0})
    config = read(model_type='qwen2', sliding_window=128, use_sliding_window=True, max_window_layers=28)
    assert config.windows == (0,) * 28 + (128, 128)
    assert read(model_type='qwen3', head_dim=128).qk_norm


def test_gemma2_alternates_and_gemma3_has_one_global_layer_in_six():
    gemma2 = read(model_type='gemma2', hidden_activation='gelu_pytorch_tanh', query_pre_attn_scalar=144, head_dim=64)
    assert gemma2.windows[:4] == (4096, 0, 4096, 0)
    assert (gemma2.attention_softcap, gemma2.final_softcap) == (50.0, 30.0)
    assert (gemma2.activation, gemma2.score_scale, gemma2.embedding_scale) == ('gelu_tanh', 1 / 12, 24.0)
    # The text half of a published file: nearly everything is left to the family's defaults.
    text = {
        'hidden_size': 2560,
        'intermediate_size': 10240,
        'num_hidden_layers': 34,
        'sliding_window': 1024,
        'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
    }
    gemma3 = ModelConfig.from_hugging_face({'model_type': 'gemma3', 'text_config': text})
    assert [index for index, window in enumerate(gemma3.windows) if window == 0] == [5, 11, 17, 23, 29]
    assert (gemma3.vocab_size, gemma3.num_heads, gemma3.num_kv_heads, gemma3.head_width) == (262208, 8, 4, 256)
    assert (gemma3.rope_theta, gemma3.local_rope_theta, gemma3.qk_norm) == (1e6, 1e4, True)
    assert gemma3.rope_scaling == RopeScaling(kind='linear', factor=8.0)
    assert gemma3.layer_kinds == ((1024, True), (0, False))
    assert gemma3.kind_of_layer[:7] == (0, 0, 0, 0, 0, 1, 0)


def test_longrope_needs_the_long_factors_beyond_the_original_context():
    config = read(
        model_type='phi3', max_position_embeddings=131072, original_max_position_embeddings=4096, rope_scaling=LONGROPE
    )
    assert config.max_context == 4096
    scaling = config.rope_scaling
    assert scaling is not None
    assert scaling.factor == 32
    assert scaling.amplitude == pytest.approx(1.1902380714)
    assert config.for_context(4096) == config
    longer = config.for_context(4097)
    assert longer.max_context == 131072
    assert longer == dataclasses.replace(config, rope_scaling=dataclasses.replace(scaling, long_context=True))
    assert longer.for_context(4096) == config
    linear = read(rope_scaling={'type': 'linear', 'factor': 4.0})
    assert linear.for_context(10**6) == linear
    partial = read(
        model_type='phi3',
        partial_rotary_factor=0.75,
        rope_scaling={**LONGROPE, 'short_factor': [1.0] * 24, 'long_factor': [1.0] * 24},
    )
    assert partial.rotary_width == 48


FAULTS: dict[str, tuple[dict[str, object], str]] = {
    'zero heads': ({'num_attention_heads': 0}, 'num_attention_heads'),
    'heads not dividing width': ({'num_attention_heads': 7}, r'num_attention_heads must divide hidden_size \(576\)'),
    'key heads not dividing heads': ({'num_key_value_heads': 4}, r'num_kv_heads must divide num_heads \(9\), got 4'),
    'too many layers': ({'num_hidden_layers': 10**9}, 'num_layers must be a whole number in .* got 1000000000'),
    'no vocabulary': ({'vocab_size': 0}, 'vocab_size'),
    'missing width': ({'hidden_size': None}, 'hidden_size is missing'),
    'text for a number': ({'intermediate_size': '1536'}, 'intermediate_size'),
    'fraction': ({'num_hidden_layers': 2.5}, 'num_hidden_layers'),
    'true': ({'num_hidden_layers': True}, 'num_hidden_layers'),
    'zero rotary base': ({'rope_theta': 0}, 'rope_theta must be a finite number above 0'),
    'rotary base not a number': ({'rope_theta': float('nan')}, 'rope_theta'),
    'epsilon': ({'rms_norm_eps': -1e-5}, 'norm_epsilon'),
    'activation': ({'hidden_act': 'relu6'}, "activation must be one of .* got 'relu6'"),
    'model type': ({'model_type': 'mamba'}, "model_type must be one of llama, .* got 'mamba'"),
    'no model type': ({'model_type': None}, 'model_type'),
    'list as model type': ({'model_type': ['llama']}, 'model_type'),
    'code': ({'auto_map': {'AutoModel': 'modeling.py'}}, 'auto_map .* refused'),
    'rope type': ({'rope_scaling': {'rope_type': 'yarn', 'factor': 2.0}}, "got 'yarn'"),
    'rope type of dynamic': ({'rope_scaling': {'type': 'dynamic', 'factor': 2.0}}, "got 'dynamic'"),
    'rope factor missing': ({'rope_scaling': {'rope_type': 'linear'}}, 'linear needs factor'),
    'rope scaling not an object': ({'rope_scaling': 7}, 'rope_scaling must be an object'),
    'rope factors of another length': (
        {'model_type': 'phi3', 'rope_scaling': {**LONGROPE, 'short_factor': [1.0]}},
        'short_factor must have 32 numbers, got 1',
    ),
    'rope factor zero': ({'model_type': 'phi3', 'rope_scaling': {**LONGROPE, 'long_factor': [0.0] * 32}}, 'long_factor'),
    'original context of one token': (
        {'model_type': 'phi3', 'original_max_position_embeddings': 1, 'rope_scaling': LONGROPE},
        'original_max_positions must be above 1 for longrope, got 1',
    ),
    'no original context': (
        {'model_type': 'phi3', 'original_max_position_embeddings': 0, 'rope_scaling': LONGROPE},
        r'original_max_position_embeddings must be a whole number in \[1, .* got 0',
    ),
    'no original context in the scaling': (
        {'rope_scaling': {**LLAMA3_SCALING, 'original_max_position_embeddings': 0}},
        r'original_max_position_embeddings must be a whole number in \[1, .* got 0',
    ),
    'no layer is global': (
        {'model_type': 'gemma3_text', 'sliding_window_pattern': 0},
        r'sliding_window_pattern must be a whole number in \[1, .* got 0',
    ),
    'window': ({'model_type': 'mistral', 'sliding_window': -3}, 'windows'),
    'layer types': ({'model_type': 'gemma2', 'layer_types': ['chunked_attention'] * 30}, "got 'chunked_attention'"),
    'too few layer types': ({'model_type': 'gemma2', 'layer_types': ['full_attention']}, 'one entry a layer'),
    'odd rotary width': ({'model_type': 'phi3', 'partial_rotary_factor': 0.05}, 'rotary_fraction'),
    'query scale': ({'model_type': 'gemma2', 'query_pre_attn_scalar': 0}, 'query_pre_attn_scalar'),
    'no text half': ({'model_type': 'gemma3'}, 'text_config'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_impossible_files_are_refused_and_the_field_is_named(fault):
    changes, message = FAULTS[fault]
    with pytest.raises(WeightsError, match=message) as caught:
        read(**changes)
    assert '\n' not in str(caught.value)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *(*SMOLLM2, 'head_dim', 'sliding_window', 'layer_types', 'rope_parameters', 'partial_rotary_factor'),
                *('sliding_window_pattern', 'max_window_layers', 'original_max_position_embeddings', 'query_pre_attn_scalar'),
            ]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=3),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(st.sampled_from(['factor', 'rope_type', 'type']), st.sampled_from(['linear', 'llama3', 2, None])),
        ),
        max_size=4,
    ),
    st.sampled_from(['llama', 'mistral', 'qwen2', 'qwen3', 'gemma2', 'gemma3_text', 'phi3']),
)
def test_whatever_a_file_says_is_read_or_refused(changes, family):
    try:
        config = ModelConfig.from_hugging_face({**SMOLLM2, 'model_type': family, **changes})
    except WeightsError:
        return
    assert config.num_parameters > 0


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('parameter_dtype', 'float16'),
        ('matmul_dtype', 'int8'),
        ('activation', 'relu'),
        ('windows', (1, 2)),
        ('embedding_scale', float('inf')),
        ('final_softcap', 0.0),
        ('head_width', 10**6),
        ('rotary_fraction', 1.5),
    ],
)
def test_impossible_values_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        dataclasses.replace(read(), **{field: value})


def test_the_module_loads_no_array_library():
    code = 'import sys, jaxreason.core.architecture; sys.exit(any(name in sys.modules for name in ("jax", "numpy", "flax")))'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
