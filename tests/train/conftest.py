"""A policy that was trained for a minute's fraction, shared by all tests of training."""

from pathlib import Path

import pytest

from jaxreason.core import config as config_files
from jaxreason.train.sft import SftConfig, train

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'configs/train/sft_nano_tiny.yaml'


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp('runs') / 'sft'
    said = []
    train(config_files.load(SftConfig, TINY), out, say=said.append)
    assert not said
    return out
