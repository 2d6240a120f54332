"""Writes tests/models/golden/*.npz: tiny random models of every family, with the logits that transformers computes.

    python tests/models/make_golden.py

Needs the extra `parity`. Each file holds the config as JSON, the weights (float16, the very values that were run), tokens,
logits, and logits of the first row pushed right by padding on its left. Tests of `models` read them without torch.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / 'golden'
ROWS, TIME, PADDING = 2, 20, 5

_TINY = {
    'vocab_size': 48,
    'hidden_size': 24,
    'intermediate_size': 32,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'head_dim': 8,
    'max_position_embeddings': 64,
    'pad_token_id': 0,
    'bos_token_id': 1,
    'eos_token_id': 2,
}
_PHI = {**_TINY, 'hidden_size': 32}
_LONGROPE = {
    'original_max_position_embeddings': 16,
    'partial_rotary_factor': 0.75,
    'tie_word_embeddings': True,
    'rope_scaling': {'type': 'longrope', 'short_factor': [1.0, 1.1, 1.3], 'long_factor': [1.2, 2.5, 4.0]},
}

# Windows are shorter than the sequence, head widths differ from width / heads where the family allows it.
CASES: dict[str, dict[str, Any]] = {
    'llama2': {**_TINY, 'model_type': 'llama'},
    'llama3': {
        **_TINY,
        'model_type': 'llama',
        'tie_word_embeddings': True,
        'rope_theta': 500.0,
        'rope_scaling': {
            'rope_type': 'llama3',
            'factor': 8.0,
            'low_freq_factor': 1.0,
            'high_freq_factor': 4.0,
            'original_max_position_embeddings': 32,
        },
    },
    'llama_linear_biases': {
        **_TINY,
        'model_type': 'llama',
        'attention_bias': True,
        'mlp_bias': True,
        'rope_scaling': {'type': 'linear', 'factor': 3.0},
    },
    'smollm2': {
        **_TINY,
        'model_type': 'llama',
        'hidden_size': 36,
        'num_attention_heads': 9,
        'num_key_value_heads': 3,
        'head_dim': None,
        'tie_word_embeddings': True,
        'rope_theta': 100000.0,
    },
    'mistral': {**_TINY, 'model_type': 'mistral', 'sliding_window': 6},
    'qwen2': {**_TINY, 'model_type': 'qwen2', 'head_dim': None, 'tie_word_embeddings': True, 'rope_theta': 1e6},
    'qwen3': {**_TINY, 'model_type': 'qwen3', 'rope_theta': 1e6},
    'gemma2': {**_TINY, 'model_type': 'gemma2', 'sliding_window': 6, 'query_pre_attn_scalar': 12, 'num_hidden_layers': 3},
    'gemma3': {
        **_TINY,
        'model_type': 'gemma3_text',
        'num_hidden_layers': 7,
        'hidden_size': 16,
        'sliding_window': 6,
        'query_pre_attn_scalar': 12,
        'rope_theta': 1e6,
        'rope_local_base_freq': 100.0,
        'rope_scaling': {'rope_type': 'linear', 'factor': 8.0},
    },
    'phi3': {**_PHI, 'model_type': 'phi3', 'sliding_window': 6},
    'phi3_short': {**_PHI, **_LONGROPE, 'model_type': 'phi3', 'original_max_position_embeddings': 32},
    'phi3_long': {**_PHI, **_LONGROPE, 'model_type': 'phi3'},
}


def build(case: dict[str, Any], seed: int):
    """A transformers model of this config with random weights that float16 holds exactly: norms off 1, biases off 0."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    case = {name: value for name, value in case.items() if value is not None}
    config = AutoConfig.for_model(**case, attn_implementation='eager')
    model = AutoModelForCausalLM.from_config(config).eval().float()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                centre = 1.0 if 'norm' in name and 'gemma' not in case['model_type'] else 0.0
                weight.copy_((centre + 0.3 * noise).half().float())
            else:
                weight.copy_((noise * (1.0 if 'embed' in name else 1.5 * weight.shape[1] ** -0.5)).half().float())
    return model


def tensors_of(model) -> dict[str, np.ndarray]:
    """The model's weights under the names that its files use, a tied head once."""
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


def logits_of(model, tokens: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What transformers computes; a negative position is padding."""
    import torch

    with torch.no_grad():
        result = model(
            torch.tensor(tokens),
            attention_mask=torch.tensor(positions >= 0).long(),
            position_ids=torch.tensor(np.maximum(positions, 0)),
            use_cache=False,
        )
    return result.logits.numpy()


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for seed, (name, case) in enumerate(CASES.items()):
        model = build(case, seed)
        tokens = np.random.default_rng(seed).integers(3, case['vocab_size'], (ROWS, TIME))
        positions = np.broadcast_to(np.arange(TIME), tokens.shape)
        padded = np.concatenate([np.zeros(PADDING, int), tokens[0]])[None]
        padded_positions = np.concatenate([np.full(PADDING, -1), np.arange(TIME)])[None]
        arrays: dict[str, Any] = {f'weight:{key}': value.astype(np.float16) for key, value in tensors_of(model).items()}
        np.savez_compressed(
            GOLDEN / f'{name}.npz',
            config=json.dumps({key: value for key, value in case.items() if value is not None}),
            tokens=tokens.astype(np.int32),
            logits=logits_of(model, tokens, positions),
            left_padded_logits=logits_of(model, padded, padded_positions)[:, PADDING:],
            **arrays,
        )
        print(f'{name}: {sum(value.size for value in arrays.values())} weights')


if __name__ == '__main__':
    main()
