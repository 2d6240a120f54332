"""The architecture of every model that a recipe names, without its weights: from the recipe itself, a table, or files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxreason.core import config as config_files
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, WeightsError
from jaxreason.data.procedural import NANO_CHARACTERS
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import open_weights
from jaxreason.models.published import PUBLISHED, published
from jaxreason.pipeline.recipe import Recipe

_STAGE = 'stage:'


class Architecture(NamedTuple):
    """What a model is.

    Attributes:
        config: its architecture; dtypes say nothing.
        tokenizer: where it is known without files; else None.
    """

    config: ModelConfig
    tokenizer: Tokenizer | None = None


def architecture_of(recipe: Recipe, source: str) -> Architecture:
    """Finds the architecture of a model; one that a stage trains has that of what it began as, whatever its head.

    Args:
        recipe: that names it.
        source: `stage:NAME`, a name of the table, or files.

    Raises:
        ConfigError: it is in no table and there are no such files, or the stage trains no model.
        WeightsError: the files are damaged.
    """
    if source.startswith(_STAGE):
        name = source.removeprefix(_STAGE).partition('/')[0]
        model = recipe.stages[name].config.get('model')
        if not recipe.stages[name].verb.startswith('train ') or not isinstance(model, dict):
            raise ConfigError(f'stages.{name} trains no model: {source} cannot be one.')
        return _begun(recipe, name, model)
    known = published(source)
    if known is not None:
        return Architecture(known)
    try:
        path = resolve(source)
    except WeightsError as error:
        raise ConfigError(
            f'{source[:100]!r}: neither files nor an architecture are known; give its folder, or one of {", ".join(PUBLISHED)}.'
        ) from error
    return Architecture(open_weights(path).config)


def _begun(recipe: Recipe, name: str, model: Mapping[str, Any]) -> Architecture:
    """What a training stage begins with."""
    if 'source' in model:
        return architecture_of(recipe, str(model['source']))
    config = config_files.build(ModelConfig, model['init'], f'stages.{name}.config.model.init')
    characters = model.get('characters', NANO_CHARACTERS)
    folder = model.get('tokenizer', 'characters')
    return Architecture(config, Tokenizer.from_characters(characters) if folder == 'characters' else None)
