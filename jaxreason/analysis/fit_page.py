"""What a fit found, for a terminal."""

from collections.abc import Mapping
from typing import Any

from jaxreason.core.quantities import quantity


def lines(metrics: Mapping[str, Any]) -> list[str]:
    """The savings, the curves and the gaps in a few lines."""
    reference = metrics['reference']
    found = [
        f'reference: {reference["strategy"]} at n = {reference["n"]}, {percent(reference["accuracy"])} %, '
        f'{quantity(reference["flops"], "FLOPs")} a question'
    ]
    for mode, part in metrics['modes'].items():
        found += ['', f'{mode} budget, estimate used: {", ".join(dict.fromkeys(part["used"]))}']
        found += [f'  saving, {name}: {times(saving)}' for name, saving in part['saving'].items()]
        for name, curve in part['curves'].items():
            found.append(f'  {name:<10}' + '  '.join(f'{row["n"]}: {percent(row["accuracy"])}' for row in curve))
        for name, gap in part['gaps'].items():
            found.append(f'  {name} over the best fixed: ' + '  '.join(map(points, gap['over_fixed'])))
        for name, rows in part.get('estimates', {}).items():
            found.append(f'  {name} loses: ' + '  '.join(f'{row["n"]}: {points(row["loss"])}' for row in rows))
        found += [f'  warning: {warning}' for warning in part['warnings']]
    return found


def percent(value: Mapping[str, Any]) -> str:
    """A share as per cent with its interval."""
    if value['low'] is None:
        return f'{100 * value["point"]:.1f}'
    return f'{100 * value["point"]:.1f} [{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]'


def points(value: Mapping[str, Any]) -> str:
    """A difference in points with its interval, and the n that it is at, where it says."""
    name = '' if 'n' not in value else 'all: ' if value['n'] is None else f'{value["n"]}: '
    if value['low'] is None:
        return f'{name}{100 * value["point"]:+.1f}'
    return f'{name}{100 * value["point"]:+.1f} [{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]'


def times(value: Mapping[str, Any]) -> str:
    """A saving with its interval; a bound says so."""
    words = {'at_least': '>= ', 'at_most': '<= ', '': ''}
    point = f'{words[value["censored"]]}{value["point"]:.1f}x'
    low, high = (f'{words[value[f"{end}_censored"]]}{value[end]:.1f}' for end in ('low', 'high'))
    never = f', never reached in {100 * value["never_reached"]:.0f} % of resamples' if value['never_reached'] else ''
    return f'{point} [{low}, {high}]{never}'
