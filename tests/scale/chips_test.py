"""Accelerators by name."""

import pytest

from jaxreason.core.errors import ConfigError
from jaxreason.scale.chips import CHIPS, chip_named


def test_a_name_in_either_case():
    assert chip_named('V5E') is CHIPS['v5e'] and chip_named('a100-80').memory == 2 * chip_named('a100-40').memory


@pytest.mark.parametrize('chip', CHIPS.values(), ids=lambda chip: chip.name)
def test_figures_are_in_their_units(chip):
    assert 1e14 < chip.flops < 1e16 and 1e10 < chip.memory < 1e12 and 1e11 < chip.bandwidth < 1e13
    assert 100 < chip.flops / chip.bandwidth < 600  # FLOP/byte of accelerators with high-bandwidth memory


@pytest.mark.parametrize(('name', 'near'), [('v5', 'v5e or v5p'), ('vh100', 'h100'), ('a100', 'a100-40 or a100-80')])
def test_an_unknown_one_names_the_nearest_and_all(name, near):
    with pytest.raises(ConfigError, match=f'no chip {name!r}, did you mean {near}') as error:
        chip_named(name)
    assert all(chip in str(error.value) for chip in CHIPS) and '\n' not in str(error.value)


def test_nothing_like_it():
    with pytest.raises(ConfigError, match=r"no chip 'qqqq'\. Chips are v4, "):
        chip_named('qqqq')
