"""What a run was made with: versions, device, and digests of weights, tokenizer, data and prompts."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxreason.core.records import to_line
from jaxreason.core.source_tree import commit
from jaxreason.core.types import Problem
from jaxreason.engine.language_model import LanguageModel
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.evaluate.shapes import shapes_of

# A run that is resumed must have these as they were: they decide its records.
PINNED = ('weights', 'verifiers', 'tokenizer', 'data', 'prompt', 'shapes', 'device', 'packages')
PACKAGES = ('jaxreason', 'jax', 'jaxlib', 'flax', 'numba', 'numpy', 'tokenizers', 'math-verify')


def describe_inputs(config: EvaluateConfig | LabelConfig, problems: Sequence[Problem]) -> dict[str, Any]:
    """What is known of the environment before the model is loaded."""
    return {
        'data': hashlib.sha256(''.join(to_line(problem) for problem in problems).encode()).hexdigest(),
        'prompt': config.prompt.digest,
    }


def describe(
    config: EvaluateConfig | LabelConfig,
    lengths: Sequence[int],
    problems: Sequence[Problem],
    lm: LanguageModel,
    verifiers: Mapping[str, str],
    num_processes: int = 1,
) -> dict[str, Any]:
    """The environment of a run, as JSON values. Nothing of the process's own variables is in it: they may hold secrets.

    Args:
        config: of the run, its rows chosen.
        lengths: tokens of every prompt.
        problems: all of them.
        lm: the policy, loaded.
        verifiers: digest of each trained verifier, by name.
        num_processes: that the run was begun with; others may finish it, so this is not pinned.
    """
    tokenizer = lm.need_tokenizer()
    return {
        **describe_inputs(config, problems),
        **describe_machine(num_processes),
        'prompt_tokens': {'min': min(lengths), 'max': max(lengths)},
        'seeds': list(config.seeds),
        'shapes': shapes_of(config.sampler, lengths)._asdict(),
        'tokenizer': tokenizer.digest,
        'verifiers': dict(verifiers),
        'weights': lm.digest,
    }


def describe_machine(num_processes: int) -> dict[str, Any]:
    """What runs, and on what: the part of the environment that no configuration decides."""
    device = jax.local_devices()[0]
    return {
        'commit': commit(),
        'device': f'{device.platform} {device.device_kind} x {jax.local_device_count()}',
        'machine': platform.machine(),
        'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
        'processes': num_processes,
        'python': platform.python_version(),
    }
