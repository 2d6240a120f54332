"""Architectures of published models, against the numbers of parameters that their makers state."""

import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.models.published import PUBLISHED, published

STATED = {  # billions
    'smollm2-135m': 0.135,
    'meta-llama/Llama-3.2-1B': 1.236,
    'meta-llama/Llama-3.2-3B': 3.21,
    'meta-llama/Llama-3.1-8B': 8.03,
    'Qwen/Qwen2.5-0.5B': 0.494,
    'Qwen/Qwen2.5-1.5B': 1.54,
    'Qwen/Qwen2.5-3B': 3.09,
    'Qwen/Qwen2.5-7B': 7.62,
    'Qwen/Qwen2.5-14B': 14.77,
}


def test_each_is_checked():
    assert set(STATED) == set(PUBLISHED)


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameters_are_those_stated(name):
    found = published(name)
    digits = len(str(STATED[name]).partition('.')[2])
    assert isinstance(found, ModelConfig) and round(found.num_parameters / 1e9, digits) == STATED[name]
    assert found.qkv_bias == name.startswith('Qwen') and not any(found.windows)


def test_a_tuned_one_is_the_same_and_an_unknown_one_is_none():
    assert published('Qwen/Qwen2.5-7B-Instruct') == published('Qwen/Qwen2.5-7B')
    assert published('Qwen/Qwen2.5-8B') is None and published('') is None
