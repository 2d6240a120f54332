"""A policy of the nano world's size with random weights: speed depends on shapes, not on what a model has learned."""

from jaxreason.core.architecture import ModelConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.language_model import LanguageModel
from jaxreason.models.transformer import init_parameters, unstack_layers

CHARACTERS = '0123456789+-*/=\n '


def nano_config(dtype: str, vocab_size: int) -> ModelConfig:
    """Four layers of width 64, heads of width 16, a gated MLP with the weights of a plain one of four times the width."""
    return ModelConfig(
        vocab_size=vocab_size,
        num_layers=4,
        width=64,
        mlp_width=176,
        num_heads=4,
        num_kv_heads=4,
        head_width=16,
        max_positions=512,
        tied_head=True,
        parameter_dtype=dtype,
        matmul_dtype=dtype,
    )


def load_nano(dtype: str) -> LanguageModel:
    """The policy, its weights drawn from seed 0."""
    import jax

    tokenizer = Tokenizer.from_characters(CHARACTERS)
    config = nano_config(dtype, tokenizer.vocab_size)
    params = unstack_layers(init_parameters(config, jax.random.key(0)))
    return LanguageModel(name='nano', config=config, params=params, tokenizer=tokenizer, eos_ids=(), mesh=None, digest='')
