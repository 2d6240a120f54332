"""How long the rest of a recipe takes: what it was measured to take, corrected by what its stages have taken so far."""

from collections.abc import Mapping

from jaxreason.pipeline.recipe import Recipe


def urgency(recipe: Recipe) -> Mapping[str, float]:
    """Expected minutes from the start of every stage to the end of all that waits for it: the longest begins first."""
    found: dict[str, float] = {}
    for name in reversed(recipe.order):
        after = [found[other] for other, stage in recipe.stages.items() if name in stage.needs]
        found[name] = recipe.stages[name].minutes + max(after, default=0.0)
    return found


def seconds_left(recipe: Recipe, workers: int, left: Mapping[str, float], running: Mapping[str, float]) -> float:
    """Plays the rest through: every worker takes the most urgent stage that is ready.

    Args:
        recipe: what is run.
        workers: how many there are.
        left: seconds of the stages that have not begun, by name.
        running: seconds that running stages still need.

    Returns:
        Seconds until all are done.
    """
    first = urgency(recipe)
    now, waiting, busy = 0.0, dict(left), dict(running)
    while waiting or busy:
        for name in startable(recipe, workers, first, set(waiting), set(busy)):
            busy[name] = waiting.pop(name)
        step = min(busy.values())
        now += step
        busy = {name: seconds - step for name, seconds in busy.items() if seconds > step}
    return now


def startable(recipe: Recipe, workers: int, first: Mapping[str, float], waiting: set[str], busy: set[str]) -> list[str]:
    """Stages to start now.

    A shared stage takes all workers, so it begins once they are free and what runs alone cannot fill them: that may have
    company later.

    Args:
        recipe: what is run.
        workers: how many there are.
        first: how urgent each is.
        waiting: stages that have not begun.
        busy: stages that run.
    """
    stages = recipe.stages
    if any(stages[name].shared for name in busy):
        return []
    ready = [name for name in waiting if not (waiting | busy) & set(stages[name].needs)]
    ready.sort(key=lambda name: (-first[name], name))
    alone = [name for name in ready if not stages[name].shared]
    shared = [name for name in ready if stages[name].shared]
    if shared and not busy and len(alone) < workers:
        return shared[:1]
    return alone[: max(0, workers - len(busy))]
