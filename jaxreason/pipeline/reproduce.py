"""A recipe run from Python: what `jaxreason reproduce` does, for a notebook or a program."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxreason.pipeline.recipe import PRESETS, load_recipe, preset
from jaxreason.pipeline.run import Progress, check, run
from jaxreason.pipeline.stage import Place


def reproduce(
    recipe: str | Path = 'nano',
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    report: Callable[[Progress, Mapping[str, Place]], None] = lambda progress, places: None,
) -> dict[str, Place]:
    """Runs a recipe: what of it is finished in `out` is not run again, so the same call goes on after an interruption.

    Its stages run in processes of their own, which take their environment from this one, and what the recipe adds to it.

    Args:
        recipe: name of a preset, or the path of a recipe.
        out: folder of all of it; None for `runs/` and the name of the recipe.
        overrides: `dotted.path=value` words, such as `stages.sweep.config.data.limit=100`.
        report: told every second how far it is, and where the stages run; what it raises stops the stages, which
            keep what they have.

    Returns:
        Where the stages have run, by name. `report.html` and `metrics.json` are in `out`.

    Raises:
        ConfigError: the recipe, or the configuration of a stage, cannot be used; nothing has run.
        DataError: a file of problems cannot be read; nothing has run.
        RunError: a stage failed, or the folder cannot be used.
    """
    path = preset(str(recipe)) if str(recipe) in PRESETS else Path(recipe)
    loaded = load_recipe(path, tuple(overrides))
    folder = Path('runs') / path.stem if out is None else Path(out)
    places = check(loaded, folder)
    command = [sys.executable, '-m', 'jaxreason.cli.worker']
    return run(loaded, folder, command, lambda progress: report(progress, places))
