"""What a stage's results depend on, as one digest: its words, and through them the digests of all that it reads.

A stage runs in a folder that bears its digest. So a stage that is finished is never run again, one that was changed begins in a
folder of its own, with all that depends on it, and what was there before stays.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping

from jaxreason.pipeline.recipe import Recipe, resolved

_FORMAT = 2


def digests(recipe: Recipe) -> Mapping[str, str]:
    """SHA-256 (64 hex digits) of every stage, by name.

    Of a stage its verb, its configuration, the recipe's environment and the package's version count; neither its name nor how
    it is divided, which change no result.
    """
    found: dict[str, str] = {}
    version = importlib.metadata.version('jaxreason')
    for name in recipe.order:
        stage = recipe.stages[name]
        words = [_FORMAT, version, recipe.environment, stage.verb, resolved(stage.config, found)]
        text = json.dumps(words, sort_keys=True, separators=(',', ':'))
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found
