"""GGUF files written as llama.cpp's converter does come back as the Hugging Face model that they were made from."""

import gguf
import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models.folder import open_weights
from jaxreason.models.gguf_architecture import ARCHITECTURES
from jaxreason.models.gguf_config import hugging_face_config
from jaxreason.models.gguf_file import GgufFile
from jaxreason.models.gguf_names import hugging_face_tensors
from jaxreason.models.sharding import placement

LAYERS, WIDTH, HIDDEN, HEADS, KEY_HEADS, HEAD, VOCABULARY = 2, 32, 48, 4, 2, 8, 40

SHARED = {
    'vocab_size': VOCABULARY,
    'hidden_size': WIDTH,
    'intermediate_size': HIDDEN,
    'num_hidden_layers': LAYERS,
    'num_attention_heads': HEADS,
    'num_key_value_heads': KEY_HEADS,
    'head_dim': HEAD,
    'max_position_embeddings': 256,
    'rms_norm_eps': 1e-5,
    'rope_theta': 100_000.0,
    'tie_word_embeddings': False,
}
LLAMA3 = {
    'rope_type': 'llama3',
    'factor': 8.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
}
SHORT, LONG = [1.0, 1.25, 1.5, 2.0], [1.0, 2.5, 10.0, 40.5]
LONGROPE = {'rope_type': 'longrope', 'short_factor': SHORT, 'long_factor': LONG, 'attention_factor': 1.25}
GEMMA = {
    'hidden_activation': 'gelu_pytorch_tanh',
    'sliding_window': 16,
    'query_pre_attn_scalar': HEAD,
    'tie_word_embeddings': True,
}

# GGUF architecture, Hugging Face configuration, further metadata of the file.
MODELS: dict[str, tuple[str, dict, dict]] = {
    'llama': ('llama', {'model_type': 'llama'}, {}),
    'smollm2': ('llama', {'model_type': 'llama', 'tie_word_embeddings': True}, {}),
    'llama with biases': ('llama', {'model_type': 'llama', 'attention_bias': True, 'mlp_bias': True}, {}),
    'llama 3.1': ('llama', {'model_type': 'llama', 'rope_scaling': LLAMA3, 'rope_theta': 500_000.0}, {}),
    'linear llama': (
        'llama',
        {'model_type': 'llama', 'rope_scaling': {'rope_type': 'linear', 'factor': 4.0}},
        {'rope.scaling.type': 'linear', 'rope.scaling.factor': 4.0},
    ),
    'old linear llama': (
        'llama',
        {'model_type': 'llama', 'rope_scaling': {'rope_type': 'linear', 'factor': 2.5}},
        {'rope.scale_linear': 2.5},
    ),
    'mistral': ('llama', {'model_type': 'mistral', 'sliding_window': 16}, {'attention.sliding_window': 16}),
    'qwen2': ('qwen2', {'model_type': 'qwen2', 'tie_word_embeddings': True}, {}),
    'qwen3': ('qwen3', {'model_type': 'qwen3'}, {}),
    'gemma2': (
        'gemma2',
        {'model_type': 'gemma2', **GEMMA, 'attn_logit_softcapping': 40.0, 'final_logit_softcapping': 20.0},
        {'attention.sliding_window': 16, 'attn_logit_softcapping': 40.0, 'final_logit_softcapping': 20.0},
    ),
    'gemma3': (
        'gemma3',
        {
            'model_type': 'gemma3_text',
            **GEMMA,
            'rope_local_base_freq': 10_000.0,
            'sliding_window_pattern': 6,
            'rope_scaling': {'rope_type': 'linear', 'factor': 8.0},
        },
        {'attention.sliding_window': 16, 'rope.scaling.type': 'linear', 'rope.scaling.factor': 8.0},
    ),
    'gemma3 with a global layer': (
        'gemma3',
        {
            'model_type': 'gemma3_text',
            **GEMMA,
            'rope_local_base_freq': 20_000.0,
            'sliding_window_pattern': 2,
            'rope_scaling': {'rope_type': 'linear', 'factor': 8.0},
        },
        {
            'attention.sliding_window': 16,
            'attention.sliding_window_pattern': 2,
            'rope.freq_base_swa': 20_000.0,
            'rope.scaling.type': 'linear',
            'rope.scaling.factor': 8.0,
        },
    ),
    'phi3': ('phi3', {'model_type': 'phi3', 'sliding_window': 16}, {'attention.sliding_window': 16}),
    'phi3 longrope': (
        'phi3',
        {'model_type': 'phi3', 'rope_scaling': LONGROPE, 'original_max_position_embeddings': 64, 'sliding_window': None},
        {'rope.scaling.original_context_length': 64, 'rope.scaling.attn_factor': 1.25},
    ),
    'phi4 mini': (
        'phi3',
        {'model_type': 'phi3', 'partial_rotary_factor': 0.75, 'tie_word_embeddings': True, 'sliding_window': None},
        {'rope.dimension_count': 6},
    ),
}


def hugging_face_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The tensors of a model, as Hugging Face's own classes have them."""
    family = config['model_type']
    queries, keys = HEADS * HEAD, KEY_HEADS * HEAD
    layer = {
        'self_attn.q_proj': (queries, WIDTH),
        'self_attn.k_proj': (keys, WIDTH),
        'self_attn.v_proj': (keys, WIDTH),
        'self_attn.o_proj': (WIDTH, queries),
        'mlp.gate_proj': (HIDDEN, WIDTH),
        'mlp.up_proj': (HIDDEN, WIDTH),
        'mlp.down_proj': (WIDTH, HIDDEN),
        'input_layernorm': (WIDTH,),
        'post_attention_layernorm': (WIDTH,),
    }
    if family == 'phi3':
        layer = {name: shape for name, shape in layer.items() if name.endswith(('o_proj', 'down_proj', 'layernorm'))}
        layer |= {'self_attn.qkv_proj': (queries + 2 * keys, WIDTH), 'mlp.gate_up_proj': (2 * HIDDEN, WIDTH)}
    if family.startswith('gemma'):
        layer |= {'pre_feedforward_layernorm': (WIDTH,), 'post_feedforward_layernorm': (WIDTH,)}
    if family in ('qwen3', 'gemma3_text'):
        layer |= {'self_attn.q_norm': (HEAD,), 'self_attn.k_norm': (HEAD,)}
    biased = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] if family == 'qwen2' else []
    biased += [f'self_attn.{name}_proj' for name in 'qkvo'] if config.get('attention_bias') else []
    biased += [f'mlp.{name}_proj' for name in ('gate', 'up', 'down')] if config.get('mlp_bias') else []
    shapes = {'model.embed_tokens.weight': (VOCABULARY, WIDTH), 'model.norm.weight': (WIDTH,)}
    if not config['tie_word_embeddings']:
        shapes['lm_head.weight'] = (VOCABULARY, WIDTH)
    for index in range(LAYERS):
        shapes |= {f'model.layers.{index}.{name}.weight': shape for name, shape in layer.items()}
        shapes |= {f'model.layers.{index}.{name}.bias': layer[name][:1] for name in biased}
    return shapes


def rotary_pairs_together(rows: np.ndarray, heads: int) -> np.ndarray:
    """What the converter does to query and key rows: i and i + h/2 of every head become neighbours."""
    width = rows.shape[0] // heads
    order = [head * width + part * width // 2 + i for head in range(heads) for i in range(width // 2) for part in (0, 1)]
    return rows[order]


def llama3_divisors(theta: float, scaling: dict) -> np.ndarray:
    """The rotary factors that the converter stores for Llama 3."""
    divisors = []
    for i in range(0, HEAD, 2):
        wavelength = 2 * np.pi * theta ** (i / HEAD)
        context, low, high = (
            scaling[key] for key in ('original_max_position_embeddings', 'low_freq_factor', 'high_freq_factor')
        )
        if wavelength < context / high:
            divisors.append(1.0)
        elif wavelength > context / low:
            divisors.append(scaling['factor'])
        else:
            smooth = (context / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / scaling['factor'] + smooth))
    return np.array(divisors, np.float32)


def write_gguf(path, architecture: str, config: dict, further: dict, tensors: dict[str, np.ndarray]) -> None:
    """Writes a model as llama.cpp's converter does, with the gguf package's own table of tensor names."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config['max_position_embeddings'])
    writer.add_embedding_length(config['hidden_size'])
    writer.add_block_count(config['num_hidden_layers'])
    writer.add_feed_forward_length(config['intermediate_size'])
    writer.add_head_count(config['num_attention_heads'])
    writer.add_head_count_kv(config['num_key_value_heads'])
    writer.add_key_length(config['head_dim'])
    writer.add_value_length(config['head_dim'])
    writer.add_layer_norm_rms_eps(config['rms_norm_eps'])
    writer.add_rope_freq_base(config['rope_theta'])
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('smollm')
    writer.add_token_list([f'{index}' for index in range(config['vocab_size'])])
    writer.add_token_types([1] * config['vocab_size'])
    writer.add_token_merges(['1 0'])
    for key, value in further.items():
        kind = {str: gguf.GGUFValueType.STRING, int: gguf.GGUFValueType.UINT32, float: gguf.GGUFValueType.FLOAT32}[type(value)]
        writer.add_key_value(f'{architecture}.{key}', value, kind)
    scaling = config.get('rope_scaling') or {}
    if scaling.get('rope_type') == 'llama3':
        writer.add_tensor('rope_freqs.weight', llama3_divisors(config['rope_theta'], scaling))
    if scaling.get('rope_type') == 'longrope':
        writer.add_tensor('rope_factors_long.weight', np.array(LONG, np.float32))
        writer.add_tensor('rope_factors_short.weight', np.array(SHORT, np.float32))
    model = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(model, LAYERS)
    for name, values in tensors.items():
        if architecture == 'llama' and '.q_proj.' in name:
            values = rotary_pairs_together(values, HEADS)
        if architecture == 'llama' and '.k_proj.' in name:
            values = rotary_pairs_together(values, KEY_HEADS)
        if architecture.startswith('gemma') and name.endswith('norm.weight'):
            values = values + np.float32(1)
        writer.add_tensor(names.get_name(name, ('.weight', '.bias')) or '', values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def made(path, model: str, scale: float = 1 / 4, **changes) -> tuple[dict, dict[str, np.ndarray]]:
    architecture, own, further = MODELS[model]
    config: dict = SHARED | own
    rng = np.random.default_rng(5)
    tensors = {
        name: rng.integers(-8, 8, shape).astype(np.float32) * scale for name, shape in hugging_face_shapes(config).items()
    }
    write_gguf(path, architecture, config, further | changes, tensors)
    return config, tensors


def without(file: GgufFile, *keys: str, **changes) -> GgufFile:
    metadata = {key: value for key, value in file.metadata.items() if key not in keys}
    return GgufFile(file.path, metadata | changes, file.tensors)


@pytest.mark.parametrize('model', MODELS)
def test_configuration_and_tensors_come_back(tmp_path, model):
    path = tmp_path / 'model.gguf'
    config, tensors = made(path, model)
    weights = open_weights(path)
    assert weights.config == ModelConfig.from_hugging_face(config)
    assert set(weights.tensors) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(weights.tensors[name](), values, err_msg=name)


@pytest.mark.parametrize('model', MODELS)
def test_weights_are_cut_for_a_mesh_as_they_are_read(tmp_path, model):
    made(tmp_path / 'model.gguf', model)
    weights = open_weights(tmp_path / 'model.gguf', 'bfloat16')
    mesh = jax.make_mesh((4, 2), ('data', 'model'), (AxisType.Auto, AxisType.Auto))
    placed = weights.parameters(placement(weights.config, mesh))
    assert placed['layers'][0]['mlp']['up']['kernel'].sharding.shard_shape((WIDTH, HIDDEN)) == (WIDTH, HIDDEN // 2)
    jax.tree.map(np.testing.assert_array_equal, placed, weights.parameters())


def test_every_architecture_is_covered():
    assert {architecture for architecture, _, _ in MODELS.values()} == set(ARCHITECTURES)


def test_llama_rows_really_are_permuted_in_the_file(tmp_path):
    _, tensors = made(tmp_path / 'model.gguf', 'llama')
    raw = GgufFile.open(tmp_path / 'model.gguf').tensor('blk.0.attn_q.weight')
    assert not np.array_equal(raw, tensors['model.layers.0.self_attn.q_proj.weight'])


@pytest.mark.parametrize(('architecture', 'layers'), [('gemma2', 46), ('gemma3', 62)])
def test_gemma_27b_scales_queries_by_its_width(tmp_path, architecture, layers):
    made(tmp_path / 'model.gguf', architecture)
    # At the tests' own width the two rules would agree.
    file = without(GgufFile.open(tmp_path / 'model.gguf'), **{f'{architecture}.embedding_length': 21 * HEADS})
    assert hugging_face_config(file)['query_pre_attn_scalar'] == HEAD
    assert hugging_face_config(without(file, **{f'{architecture}.block_count': layers}))['query_pre_attn_scalar'] == 21


@pytest.mark.parametrize(
    ('model', 'changes', 'hint'),
    [
        ('llama', {'expert_count': 8}, '8 experts'),
        ('llama', {'rope.scaling.type': 'yarn'}, 'yarn'),
        ('llama', {'rope.dimension_count': 4}, '4 of 8'),
        ('qwen3', {'rope.scaling.type': 'linear', 'rope.scaling.factor': 'x'}, 'rope.scaling.factor must be'),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, model, changes, hint):
    made(tmp_path / 'model.gguf', model, **changes)
    with pytest.raises(WeightsError, match=hint):
        open_weights(tmp_path / 'model.gguf')


def test_damaged_metadata_is_an_error(tmp_path):
    made(tmp_path / 'model.gguf', 'llama')
    file = GgufFile.open(tmp_path / 'model.gguf')
    for key in ('block_count', 'embedding_length', 'attention.head_count', 'attention.layer_norm_rms_epsilon'):
        with pytest.raises(WeightsError, match=f'llama.{key}'):
            hugging_face_config(without(file, f'llama.{key}'))
    for value in ('1', [4, 4], 4.0, True):
        with pytest.raises(WeightsError, match='llama.attention.head_count must be int'):
            hugging_face_config(without(file, **{'llama.attention.head_count': value}))
    with pytest.raises(WeightsError, match='one of 3 pieces'):
        hugging_face_config(without(file, **{'split.count': 3}))
    with pytest.raises(WeightsError, match='width 8 and values of width 16'):
        hugging_face_config(without(file, **{'llama.attention.value_length': 16}))


@pytest.mark.parametrize('name', ['mamba', 'gemma3n', '../llama', ''])
def test_an_unsupported_architecture_is_named_with_those_supported(tmp_path, name):
    made(tmp_path / 'model.gguf', 'llama')
    file = without(GgufFile.open(tmp_path / 'model.gguf'), **{'general.architecture': name})
    with pytest.raises(WeightsError, match='llama, qwen2, qwen3, gemma2, gemma3, phi3'):
        hugging_face_config(file)


def test_a_zero_number_of_heads_is_an_error(tmp_path):
    made(tmp_path / 'model.gguf', 'llama')
    file = without(GgufFile.open(tmp_path / 'model.gguf'), 'llama.attention.key_length', **{'llama.attention.head_count': 0})
    with pytest.raises(WeightsError):
        ModelConfig.from_hugging_face(hugging_face_config(file))


def test_other_rotary_factors_than_llama_3s_are_refused(tmp_path):
    config, tensors = made(tmp_path / 'model.gguf', 'llama 3.1')
    write_gguf(tmp_path / 'odd.gguf', 'llama', config | {'rope_scaling': LLAMA3 | {'high_freq_factor': 16.0}}, {}, tensors)
    with pytest.raises(WeightsError, match='rope_freqs'):
        open_weights(tmp_path / 'odd.gguf')


@pytest.mark.parametrize(
    'name', ['blk.0.attn_qkv.weight', 'blk.-1.attn_q.weight', 'blk.00.attn_q.weight', 'blk.0.attn_q.scale', 'x']
)
def test_a_tensor_that_the_architecture_has_not_is_an_error(tmp_path, name):
    made(tmp_path / 'model.gguf', 'llama')
    file = GgufFile.open(tmp_path / 'model.gguf')
    odd = GgufFile(file.path, file.metadata, dict(file.tensors) | {name: file.tensors['output_norm.weight']})
    with pytest.raises(WeightsError, match='not part of a llama model'):
        hugging_face_tensors(odd)


def test_query_rows_that_do_not_divide_into_heads_are_an_error(tmp_path):
    made(tmp_path / 'model.gguf', 'llama')
    file = without(GgufFile.open(tmp_path / 'model.gguf'), **{'llama.attention.head_count': 5})
    with pytest.raises(WeightsError, match='32 rows do not divide into 5 heads'):
        hugging_face_tensors(file)['model.layers.0.self_attn.q_proj.weight']()


@pytest.mark.parametrize(
    'model', ['llama', 'llama 3.1', 'linear llama', 'gemma2', 'gemma3 with a global layer', 'phi3 longrope']
)
@pytest.mark.parametrize('value', [0, 1, -1, 1 << 63, 0.0, -1.0, float('inf'), float('nan'), 'x', True, [1]])
def test_any_one_odd_value_gives_a_configuration_or_a_weights_error(tmp_path, model, value):
    made(tmp_path / 'model.gguf', model)
    file = GgufFile.open(tmp_path / 'model.gguf')
    for layers in (LAYERS, 46):  # 46 is the number of Gemma 2 27B, which takes another path
        for key, good in file.metadata.items():
            if isinstance(good, list):
                continue
            odd = without(file, **{f'{MODELS[model][0]}.block_count': layers} | {key: value})
            try:
                ModelConfig.from_hugging_face(hugging_face_config(odd))
            except WeightsError as error:
                assert '\n' not in str(error)
