"""`jaxreason label CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.cli import job
from jaxreason.core.quantities import quantity


def add_parser(subparsers) -> None:
    """Declares the verb."""
    job.add_parser(
        subparsers,
        'label',
        help='problems -> labelled solutions as a data set',
        about='Samples solutions and grades them. labels.kind says what becomes of them: steps (the default; from the end of '
        'every step rollouts, the share of right ones is its label), trajectories (wrong samples, then a right one, for train '
        'revision) or chains (every attempt of chains of revisions, for a verifier of revisions). '
        'Rerun the same command to go on where it stopped. Any field is set by its dotted name, for example labels.rollouts=8.',
        config='what to label',
        dry_run='samples, tokens and FLOPs to expect',
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
    summary = json.loads((out / 'summary.json').read_text(encoding='utf-8'))
    print('\n'.join(_lines(summary, config.labels.closing(summary))))


def _lines(summary: Mapping[str, Any], closing: Sequence[str]) -> list[str]:
    """What a run has made, in a few lines; `closing` says what its kind of labels has to add."""
    dropped = ', '.join(f'{count:,} {reason.replace("_", " ")}' for reason, count in sorted(summary['dropped'].items()))
    cost = summary['cost']
    return [
        f'{summary["questions"]:,} questions, {summary["samples"]:,} samples, not kept: {dropped or "none"}',
        f'{summary["kept"]:,} solutions kept, {summary["correct"]:,} of them right',
        *closing,
        f'{cost["new_tokens"]:,} tokens drawn, {cost["prompt_tokens"]:,} of prompts, {quantity(summary["flops"], "FLOPs")}',
    ]
