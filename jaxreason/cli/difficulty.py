"""`jaxreason difficulty CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import job
from jaxreason.core.terminal import printable


def add_parser(subparsers) -> None:
    """Declares the verb."""
    job.add_parser(
        subparsers,
        'difficulty',
        help='questions -> bins of difficulty: by an oracle, and by what can be known without answers',
        about='Samples every question, and says how hard it is: by the share of right samples (the oracle), and by estimates '
        'that need no answer: verifier scores, votes, a probe. Each with its cost and its agreement with the oracle; what is '
        'lost by using it is found by jaxreason fit. Rerun the same command to go on where it stopped; other estimates from '
        'the same samples cost nothing.',
        config='which questions, how many samples, which estimates',
        dry_run='configuration, shapes, memory and FLOPs',
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    return job.run(parser, argv, _job, 'configs/search/nano_bins.yaml')


def _job(path: Path) -> job.Job:
    from jaxreason.cli.progress import EvaluateDisplay
    from jaxreason.evaluate.difficulty_config import DifficultyConfig
    from jaxreason.evaluate.difficulty_runner import find_difficulty
    from jaxreason.evaluate.dry_run import describe

    return job.Job(
        DifficultyConfig,
        lambda config: describe(config.run),
        find_difficulty,
        lambda config, quiet: EvaluateDisplay(config.run, quiet),
        _finish,
        'pools, difficulty.jsonl, difficulty.json',
    )


def _finish(out: Path, config) -> None:
    """A row an estimate: where it cuts, what it costs, how far it agrees."""
    from jaxreason.evaluate.dry_run import columns

    summary = json.loads((out / 'difficulty.json').read_text(encoding='utf-8'))
    table = [('estimate', 'samples', 'MFLOPs', 'cuts, hardest first', 'questions, easiest first', 'agreement with the oracle')]
    for name, row in summary['estimates'].items():
        cuts = ' '.join('none' if cut is None else f'{cut:.3g}' for cut in row['cuts'])
        sizes = ' '.join(map(str, row['sizes']))
        table.append((name, str(row['samples']), f'{row["flops"] / 1e6:.1f}', cuts, sizes, _agreement(row)))
    print(printable(columns(table), keep='\n'))


def _agreement(row) -> str:
    """In words; the oracle agrees with itself."""
    found = row.get('spearman')
    if found is None:
        return ''
    ranks = f'rank {found["point"]:.2f}'
    if found['low'] is not None:
        ranks += f' [{found["low"]:.2f}, {found["high"]:.2f}]'
    if 'same_bin' in row:
        ranks += f', same bin {100 * row["same_bin"]:.0f} %, within one {100 * row["within_one"]:.0f} %'
    return ranks if row['oracle_from_other_samples'] else f'{ranks} (same samples)'
