"""`jaxreason label CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import together
from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError
from jaxreason.core.quantities import quantity
from jaxreason.core.terminal import printable

FLAGS = ('out', *together.FLAGS)


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'label',
        help='problems -> solutions with Monte-Carlo labels of their steps, as a data set',
        description='Samples solutions, and from the end of every step rollouts: the share of right ones is its label. '
        'Rerun the same command to go on where it stopped. Any field is set by its dotted name, for example labels.rollouts=8.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='what to label')
    parser.add_argument('--out', type=Path, metavar='DIR', help='run folder (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help='print rollouts, tokens and FLOPs to expect; run nothing')
    parser.add_argument('--quiet', action='store_true', help='no line for each question')
    together.add_flags(parser)


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'label takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is None:
        raise ConfigError('label needs a configuration, for example configs/train/label_nano.yaml.')
    from jaxreason.cli.runtime import device_errors, find_devices, prepare_jax
    from jaxreason.core import config as config_files
    from jaxreason.evaluate.label_config import LabelConfig

    config = config_files.load(LabelConfig, Path(words.config), words.overrides)
    if args.dry_run:
        from jaxreason.evaluate.label_dry_run import describe

        print(config_files.dump(config), end='')
        print(printable(describe(config), keep='\n'))
        return 0
    prepare_jax()
    from jaxreason.engine.compiles import compiled

    group = together.group_from(args, os.environ)
    out = args.out or Path('runs') / Path(words.config).stem
    began, before = time.monotonic(), compiled()
    with device_errors(), together.together(group) as (peers, interrupt):
        find_devices()
        _label(config, out, args.quiet, peers, interrupt)
    if peers.is_first:
        print(_summary(json.loads((out / 'summary.json').read_text(encoding='utf-8'))))
        if (compiles := compiled() - before).programs:
            print(compiles)
        print(f'{out}/: labels, summary.json; {time.monotonic() - began:.0f} s{together.describe(peers)}')
    return 0


def _label(config, out: Path, quiet: bool, peers, interrupt) -> None:
    """Labels what is missing; process 0 shows it, the others are silent."""
    from jaxreason.cli.progress import LabelDisplay
    from jaxreason.evaluate.label_runner import label_problems

    def check(progress):
        if progress.finished is None:  # else others that the same chunk finished would not be kept
            interrupt.check()

    if not peers.is_first:
        label_problems(config, out, check, peers=peers)
        return
    with LabelDisplay(quiet) as display:

        def report(progress):
            display.show(progress)
            check(progress)

        label_problems(config, out, report, display.say, peers)


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
