"""What a recipe would do: its stages, and what is finished of them."""

from collections.abc import Mapping

from jaxreason.pipeline.recipe import Recipe
from jaxreason.pipeline.stage import Place


def describe(recipe: Recipe, places: Mapping[str, Place], chip: str | None = None) -> str:
    """Says what a run would do, in lines."""
    lines = []
    for name, place in places.items():
        state = 'finished' if place.is_finished else f'about {recipe.stages[name].minutes:g} min'
        lines.append(f'{name:<16} {place.stage.verb:<16} {place.digest[:8]}  {state}')
    return '\n'.join(lines)
