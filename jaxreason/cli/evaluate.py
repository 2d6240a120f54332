"""`jaxreason evaluate CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import together
from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError
from jaxreason.core.terminal import printable

FLAGS = ('out', *together.FLAGS)


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'evaluate',
        help='problems x strategies x budgets x seeds -> records, metrics, a table',
        description='Runs a configuration; rerun the same command to go on where it stopped. '
        'Any field is set by its dotted name, for example sampler.temperature=0.7 data.limit=10.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='what to run')
    parser.add_argument('--out', type=Path, metavar='DIR', help='run folder (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help='print configuration, shapes, memory and FLOPs; run nothing')
    parser.add_argument('--quiet', action='store_true', help='no line for each question')
    together.add_flags(parser)


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'evaluate takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is None:
        raise ConfigError('evaluate needs a configuration, for example configs/quickstart.yaml.')
    from jaxreason.cli.runtime import device_errors, find_devices, prepare_jax
    from jaxreason.core import config as config_files
    from jaxreason.evaluate.config import EvaluateConfig

    config = config_files.load(EvaluateConfig, Path(words.config), words.overrides)
    if args.dry_run:
        from jaxreason.evaluate.dry_run import describe

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
        _evaluate(config, out, args.quiet, peers, interrupt)
    if peers.is_first:
        _finish(out, config.model.source)
        if (compiles := compiled() - before).programs:
            print(compiles)
        spent = f'{time.monotonic() - began:.0f} s{together.describe(peers)}'
        print(f'{out}/: records, metrics, figures, report.html; {spent}')
    return 0


def _evaluate(config, out: Path, quiet: bool, peers, interrupt) -> None:
    """Runs what is missing; process 0 shows it, the others are silent."""
    from jaxreason.cli.progress import EvaluateDisplay
    from jaxreason.evaluate.runner import evaluate

    def check(progress):
        if progress.finished is None:  # else others that the same chunk finished would not be kept
            interrupt.check()

    if not peers.is_first:
        evaluate(config, out, check, peers=peers)
        return
    with EvaluateDisplay(config, quiet=quiet) as display:

        def report(progress):
            display.show(progress)
            check(progress)

        evaluate(config, out, report, display.say, peers)


def _finish(out: Path, model: str) -> None:
    """Metrics, table, figures and page, from the records alone."""
    from jaxreason.analysis.metrics import write_metrics
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.tables import print_table

    metrics = write_metrics(out)
    print_table(metrics, title=f'{out.name}: {model}')
    write_report([out], out / 'report.html', [metrics])
