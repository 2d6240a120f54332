"""What a recipe would do: its stages, what is finished of them, and what the rest takes in FLOPs, memory and hours.

No weights are read and nothing is downloaded. Hours are for a named chip and rest on assumptions, all of which are said.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxreason.core.errors import ConfigError
from jaxreason.core.quantities import quantity
from jaxreason.engine.memory import DEVICE_SHARE
from jaxreason.pipeline.placement import MOST_CHIPS, PARTS, Placed, placed
from jaxreason.pipeline.recipe import Recipe
from jaxreason.pipeline.stage import Place
from jaxreason.pipeline.work import Sampling, StageWork, Training, work_of
from jaxreason.scale.chips import Chip, chip_named
from jaxreason.scale.roofline import BANDWIDTH_SHARE, PEAK_SHARE

_TEXT = 4  # columns of words, to the left
_HOUR = 3600


class _Line(NamedTuple):
    """A stage, and what is known of it."""

    place: Place
    work: StageWork
    on: Placed | None


def describe(recipe: Recipe, places: Mapping[str, Place], chip: str | None = None, chips: int | None = None) -> str:
    """Says what a run would do, in lines.

    Args:
        recipe: what is run.
        places: where its stages run.
        chip: name of the accelerator that hours and memory are for; None leaves them out.
        chips: how many of them there are; None for as many as each stage needs.

    Raises:
        ConfigError: there is no such chip, or `chips` is below 1 or given without `chip`.
        JaxreasonError: models or questions of a stage are not known.
    """
    if chips is not None and (chip is None or chips < 1):
        raise ConfigError(f'--chips needs --chip NAME and a number of at least 1, got {chips}.')
    known = None if chip is None else chip_named(chip)
    lines = []
    for place in places.values():
        work = work_of(recipe, place)
        lines.append(_Line(place, work, placed(work, known) if work is not None and known is not None else None))
    text = _table([_header(known), *(_row(line, known, chips) for line in lines), _total(lines, known, chips)])
    if known is not None:
        text += '\n\n' + _memory(lines, known)
    return f'{text}\n\n' + '\n'.join(_assumptions(lines, known, chips))


def _header(chip: Chip | None) -> list[str]:
    names = ['stage', 'verb', 'digest', 'state', 'FLOPs', 'at most']
    return names if chip is None else [*names, 'memory', 'chips', 'rows', 'hours', 'chip-hours', 'bound by']


def _row(line: _Line, chip: Chip | None, chips: int | None) -> list[str]:
    place, work = line.place, line.work
    cells = [place.name, place.stage.verb, place.digest[:8], _state(place)]
    if work is None:
        return cells
    about = '~' if isinstance(work, Sampling) and work.about else ''
    cells += [about + quantity(work.flops), about + quantity(work.most)]
    if chip is None:
        return cells
    if line.on is None:
        return [*cells, '', f'> {MOST_CHIPS if isinstance(work, Sampling) else work.portion}']
    group = line.on
    rows = '' if group.rows is None else f'{group.rows:,}'
    used = _used(group, chips)
    size = f'{sum(group.memory.values()) / 1e9:.1f} GB'
    if not used:
        return [*cells, size, f'needs {group.chips}', rows]
    hours = group.chip_seconds / _HOUR
    return [*cells, size, str(used), rows, _hours(hours / used), _hours(hours), group.bound]


def _state(place: Place) -> str:
    if not place.is_finished:
        return f'about {place.stage.minutes:g} min'
    return f'finished, {(place.seconds or 0.0) / 60:.1f} min'


def _used(group: Placed, chips: int | None) -> int:
    """Chips that work: whole groups of those that there are."""
    return group.chips if chips is None else chips // group.chips * group.chips


def _hours(hours: float) -> str:
    if hours < 0.01:
        return '< 0.01'
    return f'{hours:,.0f}' if hours >= 100 else f'{hours:.2g}' if hours < 1 else f'{hours:.3g}'


def _total(lines: Sequence[_Line], chip: Chip | None, chips: int | None) -> list[str]:
    works = [line.work for line in lines if line.work is not None]
    about = '~' if any(isinstance(work, Sampling) and work.about for work in works) else ''
    cells = ['all', '', '', ''] + [about + quantity(sum(getattr(work, name) for work in works)) for name in ('flops', 'most')]
    if chip is None:
        return cells
    groups = [(line.on, _used(line.on, chips)) for line in lines if line.on is not None]
    fitting = [(group.chip_seconds / _HOUR, used) for group, used in groups if used]
    most = max((used for _, used in fitting), default=0)
    hours = [sum(spent / used for spent, used in fitting), sum(spent for spent, _ in fitting)]
    return [*cells, '', str(most), '', *map(_hours, hours)]


def _memory(lines: Sequence[_Line], chip: Chip) -> str:
    """What lies in the memory of each chip, in GB."""
    table = [[f'GB of each {chip.name}', *PARTS, 'in all', 'chips']]
    for line in lines:
        if line.on is not None:
            sizes = [line.on.memory.get(part, 0.0) for part in PARTS]
            cells = [f'{size / 1e9:.2f}' if size else '' for size in (*sizes, sum(sizes))]
            table.append([line.place.name, *cells, str(line.on.chips)])
    return _table(table, text=1)


def _assumptions(lines: Sequence[_Line], chip: Chip | None, chips: int | None) -> list[str]:
    works = [line.work for line in lines if line.work is not None]
    said = [f'- {about}' for about in dict.fromkeys(work.asked.about for work in works if isinstance(work, Sampling))]
    said.append(
        '- "at most": every solution, and every attempt in a prompt, as long as max_tokens; of labels every token a step'
    )
    if any(isinstance(work, Sampling) and work.about for work in works):
        said.append(
            '- ~: of searches over steps each prefix counts as a whole solution that is scored once; they may spend more'
        )
    if any(isinstance(work, Training) for work in works):
        said.append(
            '- training: all steps with every row full; patience may end it before. Held-out evaluations are not counted; '
            'below a head that learns alone every step counts a pass, though it is made once where its states can be kept'
        )
    if any(line.work is None for line in lines):
        said.append('- stages without figures need no chip, or wait for what another stage fits')
    if chip is not None:
        said += _about_chip(chip, chips)
    return ['Assumptions:', *said]


def _about_chip(chip: Chip, chips: int | None) -> list[str]:
    size = f'{chip.memory / 1e9:,.0f} GB of which {DEVICE_SHARE:.0%} are used'
    peak = f'{PEAK_SHARE:.0%} of the arithmetic'
    many = (
        'the fewest that hold a stage'
        if chips is None
        else f'{chips}, in groups that hold a stage, none idle; what samples is a process a group'
    )
    return [
        f'- {chip.about}: {chip.flops / 1e12:,.0f} TFLOP/s (bfloat16), {chip.bandwidth / 1e9:,.0f} GB/s, {size}',
        f'- training, prompts, scoring: {peak}; decoding: the slower of {peak}',
        f'  and {BANDWIDTH_SHARE:.0%} of the bandwidth, each step reading the weights once and keys and values of every row',
        f'- chips: {many}; collectives are within these shares',
        '- not counted: compilation, loading, grading, checkpoints, rows that idle at the end of a stage',
    ]


def _table(rows: Sequence[Sequence[str]], text: int = _TEXT) -> str:
    """Cells in columns: the first ones to the left, numbers to the right; a row may end early."""
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [
            f'{cell:<{width}}' if at < text else f'{cell:>{width}}'
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)
