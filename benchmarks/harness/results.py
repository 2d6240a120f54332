"""What was measured, and how it is written: JSON for programs, a table for people, Markdown for the README."""

import dataclasses
import datetime
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.contestants import Run

FOREIGN_LIMIT = 0.06  # cores; more than this of others' work in a run is told


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contestant on one workload.

    Attributes:
        contestant: its name.
        workload: a letter.
        weights: how it stores them.
        bound: tokens a second that the machine would allow with such weights.
        runs: timed runs.
        failure: why there are none, or not all.
    """

    contestant: str
    workload: str
    weights: str
    bound: float
    runs: Sequence[Run] = ()
    failure: str = ''

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each run, lowest first."""
        return sorted(run.tokens / run.seconds for run in self.runs)

    @property
    def median(self) -> float:
        """The middle of the rates, or the mean of the two in the middle."""
        return statistics.median(self.rates)

    @property
    def noisy(self) -> int:
        """Runs during which others worked too."""
        return sum(run.foreign_cores is not None and run.foreign_cores > FOREIGN_LIMIT for run in self.runs)

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        measured = (
            {'median': self.median, 'min': self.rates[0], 'max': self.rates[-1], 'noisy': self.noisy} if self.runs else {}
        )
        return {**dataclasses.asdict(self), **measured}


def machine_facts() -> dict[str, str]:
    """Processor, cores, memory and system: nothing that tells which machine of its kind this is."""
    facts = {'system': f'{platform.system()} {platform.machine()}', 'cores': str(os.cpu_count())}
    try:
        lines = [line.partition(':') for line in Path('/proc/cpuinfo').read_text().splitlines()]
        fields = {name.strip(): value.strip() for name, _, value in reversed(lines)}
        flags = set(fields.get('flags', '').split())
        wide = [flag for flag in ('avx2', 'avx512f', 'avx512_bf16', 'avx512_vnni', 'amx_bf16') if flag in flags]
        facts['processor'] = f'{fields["model name"]}, family {fields["cpu family"]}, {" ".join(wide)}'
        memory = Path('/proc/meminfo').read_text().split('\n', 1)[0].split()[1]
        facts['memory'] = f'{int(memory) / 2**20:.0f} GiB'
    except (OSError, KeyError, IndexError, ValueError):
        facts['processor'] = platform.processor() or 'unknown'
    return facts


def today() -> str:
    """ISO date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def text_table(entries: Sequence[Entry]) -> str:
    """A line for each contestant and workload."""
    lines = []
    for name in dict.fromkeys(entry.workload for entry in entries):
        group = [entry for entry in entries if entry.workload == name]
        for entry in group:
            head = f'{name}  {entry.contestant:<22} {entry.weights:<9}'
            lines.append(f'{head} {_measured(entry, group)}' if entry.runs else f'{head} {entry.failure}')
            if entry.runs and entry.failure:
                lines.append(f'   {entry.failure}')
    return '\n'.join(lines)


def _measured(entry: Entry, group: Sequence[Entry]) -> str:
    peak = max((run.peak_bytes or 0) for run in entry.runs) / 2**20
    busy = statistics.median(run.busy_cores or 0 for run in entry.runs)
    noise = f', {entry.noisy} of {len(entry.runs)} runs not alone' if entry.noisy else ''
    ours = group[0]
    ratio = f', {ours.median / entry.median:.2f}x' if ours.runs and entry is not ours else ''
    return (
        f'{entry.median:>9,.0f} tokens/s ({entry.rates[0]:,.0f}..{entry.rates[-1]:,.0f}), '
        f'{100 * entry.median / entry.bound:3.0f} % of {entry.bound:,.0f}, '
        f'{busy:.2f} cores, {peak:,.0f} MiB{ratio}{noise}'
    )


def markdown(entries: Sequence[Entry], abouts: Mapping[str, str], facts: Mapping[str, str], versions: str, repeats: int) -> str:
    """The README's table: contestants down, workloads across; median (min..max), share of the bound."""
    names = list(dict.fromkeys(entry.workload for entry in entries))
    lines = [
        '| tokens/s | ' + ' | '.join(f'{name}: {abouts[name]}' for name in names) + ' |',
        '| --- |' + ' ---: |' * len(names),
    ]
    for row in dict.fromkeys((entry.contestant, entry.weights) for entry in entries):
        cells = {e.workload: _cell(e) for e in entries if (e.contestant, e.weights) == row}
        lines.append(f'| {row[0]}, {row[1]} | ' + ' | '.join(cells.get(name, '') for name in names) + ' |')
    lines += [
        '',
        f'Median (min..max) of {repeats} interleaved runs, share of the roofline bound for the same weights. '
        f'{facts["processor"]}, {facts["cores"]} cores, {facts.get("memory", "")}; {today()}; {versions}.',
    ]
    return '\n'.join(lines)


def _cell(entry: Entry) -> str:
    if not entry.runs:
        return 'failed'
    mark = ' (not alone)' if entry.noisy else ''
    share = 100 * entry.median / entry.bound
    return f'{entry.median:,.0f} ({entry.rates[0]:,.0f}..{entry.rates[-1]:,.0f}), {share:.0f} %{mark}'
