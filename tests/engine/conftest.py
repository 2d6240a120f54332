import string

import jax
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.language_model import LanguageModel
from jaxreason.engine.sampler import Sampler
from jaxreason.models.transformer import init_parameters, unstack_layers

TOKENIZER = Tokenizer.from_characters(string.digits + string.ascii_lowercase + ' +-*=?!.\n')


@pytest.fixture(scope='session')
def lm():
    """A random two-layer policy over characters, neither uniform nor certain, so that a wrong draw shows."""
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size,
        num_layers=2,
        width=32,
        mlp_width=64,
        num_heads=4,
        num_kv_heads=2,
        head_width=8,
        max_positions=512,
    )
    params = unstack_layers(init_parameters(config, jax.random.key(7)))
    params['head'] = params['head'] * 2.0
    return LanguageModel(
        name='tiny', config=config, params=params, tokenizer=TOKENIZER, eos_ids=TOKENIZER.eos_ids, mesh=None, digest='0' * 64
    )


@pytest.fixture(scope='session')
def make_sampler(lm):
    def make(**settings):
        defaults = {'temperature': 1.0, 'max_tokens': 24, 'num_rows': 8, 'rows_per_slot': 2, 'chunk': 8}
        prompt = PromptSpec(template='raw', step_delimiter='.')
        return Sampler(lm, prompt=prompt, **{**defaults, **settings})

    return make
