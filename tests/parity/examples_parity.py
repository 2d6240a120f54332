"""What `examples/add_model.py` writes against transformers: the same logits of a random Granite with all its multipliers."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxreason as jr
from jaxreason.models.tokenizer_writer import character_files

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'add_model.py'
TOKENS = [[1, 5, 9, 3, 30, 2, 17]]


def test_a_granite_becomes_a_llama(tmp_path, monkeypatch):
    config = transformers.GraniteConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        embedding_multiplier=12.0,
        attention_multiplier=0.02,
        residual_multiplier=0.22,
        logits_scaling=8.0,
        tie_word_embeddings=True,
        initializer_range=0.3,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    reference = transformers.GraniteForCausalLM(config).eval()
    reference.save_pretrained(tmp_path / 'granite')
    for name, text in character_files('abc').items():
        (tmp_path / 'granite' / name).write_text(text)
    monkeypatch.setattr(sys, 'argv', ['add_model', str(tmp_path / 'granite'), str(tmp_path / 'llama')])
    runpy.run_path(str(EXAMPLE), run_name='__main__')
    with torch.no_grad():
        expected = reference(torch.tensor(TOKENS)).logits.numpy()
    found = jr.load(tmp_path / 'llama').logits(TOKENS)
    print(f'\nGranite as a Llama: largest difference of logits {np.abs(found - expected).max():.1e}')
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=2e-5)
