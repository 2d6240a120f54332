"""Weights against other programs' readers and writers; run with `python -m pytest tests/parity/weights_parity.py -s`.

Needs torch and transformers (the extra `parity`). The real model's GGUF is taken from the user's cache, where
`jaxreason weights fetch smollm2-135m` puts it; the tests that need it are skipped without.
"""

import dataclasses
import importlib.util
import json
import pathlib

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.user_cache import user_cache
from jaxreason.models.folder import open_weights, read_checkpoint
from jaxreason.models.folder_writer import write_folder
from jaxreason.models.gguf_file import GgufFile
from jaxreason.models.heads import lm_logits
from jaxreason.models.presets import PRESETS
from jaxreason.models.tokenizer_writer import tokenizer_json
from jaxreason.models.transformer import forward

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

REAL = user_cache('weights') / PRESETS['smollm2-135m'].file_name
TOKENS = [[1, 5, 9, 2, 30, 17, 8, 44], [3, 3, 7, 60, 61, 2, 0, 12]]


def our_logits(checkpoint, tokens) -> np.ndarray:
    positions = np.tile(np.arange(len(tokens[0]), dtype=np.int32), (len(tokens), 1))
    parameters = jax.tree.map(jnp.asarray, checkpoint.parameters)
    hidden, _ = forward(checkpoint.config, parameters, jnp.asarray(tokens, jnp.int32), jnp.asarray(positions))
    return np.asarray(lm_logits(checkpoint.config, parameters, hidden))


def their_logits(model, tokens) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.float().numpy()


def tiny_llama(**changes):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, bos_token_id=1, eos_token_id=2, **changes,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (parameter.ndim == 1))
    return model


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('shard', ['10KB', '1GB'])
def test_a_folder_that_transformers_wrote(tmp_path, tied, shard):
    model = tiny_llama(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / 'theirs', max_shard_size=shard)
    assert (len(list((tmp_path / 'theirs').glob('*.safetensors'))) > 1) == (shard == '10KB')
    checkpoint = read_checkpoint(tmp_path / 'theirs')
    weights = open_weights(tmp_path / 'theirs')
    for name, values in model.state_dict().items():
        if name in weights.tensors:
            np.testing.assert_array_equal(weights.tensors[name](), values.numpy())
    difference = np.abs(our_logits(checkpoint, TOKENS) - their_logits(model, TOKENS)).max()
    print(f'\nread, tied={tied}, {shard}: largest logit difference {difference:.1e}')
    assert difference < 2e-4
    assert checkpoint.eos_ids == (2,) and checkpoint.bos_id == 1


@pytest.mark.parametrize('shard', [8_000, 10**9])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_folder_that_we_wrote_loads_in_transformers(tmp_path, shard, dtype):
    model = tiny_llama(
        rope_parameters={
            'rope_type': 'llama3', 'rope_theta': 500_000.0, 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
            'original_max_position_embeddings': 64,
        },
        attention_bias=True,
    )  # fmt: skip
    model.save_pretrained(tmp_path / 'theirs')
    checkpoint = read_checkpoint(tmp_path / 'theirs', dtype)
    write_folder(
        tmp_path / 'ours', checkpoint.config, checkpoint.parameters, eos_ids=(2, 3), bos_id=1, max_shard_bytes=shard,
        generation={'temperature': 0.5, 'do_sample': True},
    )  # fmt: skip
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path / 'ours', dtype=dtype).eval()
    assert {str(parameter.dtype) for parameter in again.parameters()} == {f'torch.{dtype}'}
    if dtype == 'float32':
        np.testing.assert_array_equal(their_logits(again, TOKENS), their_logits(model, TOKENS))
    difference = np.abs(our_logits(read_checkpoint(tmp_path / 'ours'), TOKENS) - their_logits(again.float(), TOKENS)).max()
    print(f'\nwritten {dtype}, shards of {shard:,}: largest logit difference {difference:.1e}')
    assert difference < 2e-4
    assert again.generation_config.eos_token_id == [2, 3] and again.generation_config.temperature == 0.5


@pytest.fixture(scope='module')
def real():
    if not REAL.exists():
        pytest.skip('SmolLM2 is not in the cache')
    return read_checkpoint(REAL)


def test_every_tensor_of_the_real_file_equals_the_gguf_package_s_own_reading():
    if not REAL.exists():
        pytest.skip('SmolLM2 is not in the cache')
    file = GgufFile.open(REAL)
    reader = gguf.GGUFReader(REAL)
    assert len(reader.tensors) == len(file.tensors)
    for tensor in reader.tensors:
        np.testing.assert_array_equal(file.tensor(tensor.name), gguf.dequantize(tensor.data, tensor.tensor_type))
    for key, field in reader.fields.items():
        if not key.startswith('GGUF.'):
            assert file.metadata[key] == field.contents(), key
    print(f'\n{len(reader.tensors)} tensors and {len(file.metadata)} metadata values equal')


def test_the_real_file_equals_transformers_reading_of_it(real):
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    described = load_gguf_checkpoint(REAL)['config']
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**described)).eval()
    theirs = ModelConfig.from_hugging_face(json.loads(model.config.to_json_string(use_diff=False)))
    assert np.float32(theirs.norm_epsilon) == np.float32(real.config.norm_epsilon)  # they keep the float32's long decimals
    assert dataclasses.replace(theirs, norm_epsilon=real.config.norm_epsilon) == real.config
    tensors = load_gguf_checkpoint(REAL, return_tensors=True, model_to_load=model)['tensors']
    readers = open_weights(REAL).tensors
    assert set(tensors) == set(readers)
    for name, values in tensors.items():
        np.testing.assert_array_equal(readers[name](), values.numpy(), err_msg=name)
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    difference = np.abs(our_logits(real, TOKENS) - their_logits(model, TOKENS)).max()
    print(f'\nSmolLM2 from the GGUF: largest logit difference {difference:.1e}')
    assert difference < 1e-3  # 30 layers of float32 sums in another order; logits are of the order of 20


def test_llama_cpp_s_next_tokens_are_ours(real):
    xllamacpp = pytest.importorskip('xllamacpp')
    params = xllamacpp.CommonParams()
    params.model.path = str(REAL)
    params.n_ctx = 128
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    from jaxreason.data.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_gguf(real.tokenizer_source)
    worst, agreed = 0.0, 0
    prompts = ('The capital of France is', 'Question: What is 12 + 30?\nAnswer:', 'Once upon a time there was a')
    for prompt in prompts:
        ids = tokenizer.encode(prompt)
        reply = server.handle_completions({'prompt': ids, 'max_tokens': 1, 'temperature': 0.0, 'logprobs': 5, 'n_probs': 5})
        found = reply['choices'][0]['logprobs']['content'][0]['top_logprobs']
        logprobs = jax.nn.log_softmax(our_logits(real, [ids])[0, -1])
        agreed += int(logprobs.argmax()) == found[0]['id']
        worst = max(worst, *(abs(float(logprobs[each['id']]) - each['logprob']) for each in found))
    print(f'\nllama.cpp: same first choice in {agreed} of {len(prompts)}, largest log-probability difference {worst:.3f} nats')
    assert agreed == len(prompts)
    assert worst < 0.5  # llama.cpp rounds activations to 8 bits before it multiplies them with 4-bit weights


def test_the_real_model_exported_is_the_same_for_transformers(tmp_path, real):
    write_folder(
        tmp_path / 'smollm2', real.config, real.parameters, tokenizer_json=tokenizer_json(real.tokenizer_source),
        chat_template=real.chat_template, eos_ids=real.eos_ids, bos_id=real.bos_id,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'smollm2')
    from jaxreason.data.tokenizer import Tokenizer

    ours = Tokenizer.from_gguf(real.tokenizer_source)
    for text in ('What is 17 * 23?', ' 1234  Ünïcödé 漢字\n\n\tend<|im_end|>', ''):
        assert tokenizer(text, add_special_tokens=False)['input_ids'] == ours.encode(text, special=True)
    assert tokenizer.eos_token == '<|im_end|>'
    turns = tokenizer.apply_chat_template([{'role': 'user', 'content': 'Hi'}], tokenize=False, add_generation_prompt=True)
    assert turns.endswith('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'smollm2', dtype=torch.float32).eval()
    difference = np.abs(our_logits(real, TOKENS) - their_logits(model, TOKENS)).max()
    print(f'\nSmolLM2 exported: largest logit difference {difference:.1e}')
    assert difference < 1e-3


def _names_test():
    """The writer of small GGUF files of every architecture, from the default tests."""
    path = pathlib.Path(__file__).parents[1] / 'models' / 'gguf_names_test.py'
    spec = importlib.util.spec_from_file_location('gguf_names_test', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = _names_test()


@pytest.mark.parametrize('model', [name for name in NAMES.MODELS if name != 'old linear llama'])  # llama.cpp no longer reads it
def test_llama_cpp_runs_small_files_of_every_architecture_alike(tmp_path, model):
    xllamacpp = pytest.importorskip('xllamacpp')
    path = tmp_path / 'model.gguf'
    NAMES.made(path, model, scale=1 / 16)
    weights = read_checkpoint(path)
    if (
        model == 'phi3 longrope' and weights.config.rope_scaling is not None
    ):  # llama.cpp makes room for 256 positions, which is beyond the 64 of the short factors
        scaling = dataclasses.replace(weights.config.rope_scaling, long_context=True)
        weights = dataclasses.replace(weights, config=dataclasses.replace(weights.config, rope_scaling=scaling))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 64
    params.cpuparams.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    # Gemma's windows of 16 are passed; llama.cpp leaves out those of the other two families.
    ids = [(7 * i * i + 3 * i) % 37 for i in range(16 if model in ('mistral', 'phi3') else 40)]
    reply = server.handle_completions({'prompt': ids, 'max_tokens': 1, 'temperature': 0.0, 'logprobs': 5, 'n_probs': 20})
    found = reply['choices'][0]['logprobs']['content'][0]['top_logprobs']
    logprobs = jax.nn.log_softmax(our_logits(weights, [ids])[0, -1])
    worst = max(abs(float(logprobs[each['id']]) - each['logprob']) for each in found)
    print(f'\nllama.cpp {model}: largest difference of the first 20 log-probabilities {worst:.1e} nats')
    assert worst < 5e-3  # its cache keeps keys and values in half precision
