"""`jaxreason label CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import job
from jaxreason.core.quantities import quantity


def add_parser(subparsers) -> None:
    """Declares the verb."""
    job.add_parser(
        subparsers,
        'label',
        help='problems -> solutions with Monte-Carlo labels of their steps, as a data set',
        about='Samples solutions, and from the end of every step rollouts: the share of right ones is its label. '
        'Rerun the same command to go on where it stopped. Any field is set by its dotted name, for example labels.rollouts=8.',
        config='what to label',
        dry_run='rollouts, tokens and FLOPs to expect',
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    return job.run(parser, argv, _job, 'configs/train/label_nano.yaml')


def _job(path: Path) -> job.Job:
    from jaxreason.cli.progress import LabelDisplay
    from jaxreason.evaluate.label_config import LabelConfig
    from jaxreason.evaluate.label_dry_run import describe
    from jaxreason.evaluate.label_runner import label_problems

    return job.Job(
        LabelConfig, describe, label_problems, lambda config, quiet: LabelDisplay(quiet), _finish, 'labels, summary.json'
    )


def _finish(out: Path, config) -> None:
    print(_summary(json.loads((out / 'summary.json').read_text(encoding='utf-8'))))


def _summary(summary) -> str:
    """What a run has made, in a few lines."""
    by_step = zip(summary['mean_label_by_step'], summary['labels_by_step'], strict=True)
    means = '  '.join(f'{index}: {mean:.2f} ({count:,})' for index, (mean, count) in enumerate(by_step, 1))
    dropped = ', '.join(f'{count:,} {reason.replace("_", " ")}' for reason, count in sorted(summary['dropped'].items()))
    rollouts = sum(summary['rollouts'].values())
    return '\n'.join(
        [
            f'{summary["questions"]:,} questions, {summary["samples"]:,} samples, dropped: {dropped or "none"}',
            f'{summary["kept"]:,} solutions kept, {summary["correct"]:,} of them right',
            f'{summary["labels"]:,} labels from {rollouts:,} rollouts, mean {summary["mean_label"]:.3f}',
            f'mean label by step (solutions that have it): {means}',
            f'{summary["cost"]["new_tokens"]:,} tokens drawn, {quantity(summary["flops"], "FLOPs")}',
        ]
    )
