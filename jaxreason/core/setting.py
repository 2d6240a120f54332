"""What a strategy runs with: digests by which an allocation that was fitted for it is recognised."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

SAMPLING = ('temperature', 'top_k', 'top_p', 'min_p', 'max_tokens', 'stop')  # fields of a sampler that decide what is drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides how a strategy fares.

    Attributes:
        policy: digest of the weights.
        tokenizer: digest.
        prompt: digest.
        sampler: what decides the draws, as JSON text by field.
        verifiers: digest of each trained verifier, by the name that strategies use.
    """

    policy: str
    tokenizer: str
    prompt: str
    sampler: Mapping[str, str]
    verifiers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def sampling_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What decides the draws, of the fields of a sampler, as JSON text."""
    return {name: json.dumps(fields[name]) for name in SAMPLING}
