"""`jaxreason reproduce [CONFIG.yaml] [--preset NAME] [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError

FLAGS = ('out', 'preset', 'chip', 'chips')


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'reproduce',
        help='the paper in one command: train, search, fit, compare, report',
        description='Runs a recipe: models and verifiers are trained, searches run on fresh questions, the best strategy is '
        'fitted per bin of difficulty, and one page puts every finding beside what Snell et al. (2024) found. The default is '
        'the preset nano, offline and on two cores. Killed, it goes on with the same command; a changed stage is done again '
        'with what depends on it, what is finished is not. Any field is set by its dotted name, for example '
        'stages.policy.config.loop.steps=100.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='a recipe, for example one of configs/paper')
    parser.add_argument('--preset', metavar='NAME', help='a recipe of the package: nano (default) or nano-full')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder to work in (default: runs/NAME of the recipe)')
    parser.add_argument('--dry-run', action='store_true', help='print stages, FLOPs, memory and time; run nothing')
    parser.add_argument('--chip', metavar='NAME', help='accelerator that the dry run is for, as in v5e or h100')
    parser.add_argument('--chips', type=int, metavar='N', help='how many of them there are (default: as many as a stage needs)')
    parser.add_argument('--quiet', action='store_true', help='no line for each stage')


def _folder(path: Path) -> Path:
    """A folder's one spelling, below the working folder from there: it stands in the configurations of all stages."""
    whole = Path(os.path.abspath(path))
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'reproduce takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is not None and args.preset is not None:
        raise ConfigError(f'reproduce takes a CONFIG.yaml or --preset, got both ({words.config}, {args.preset}).')
    from jaxreason.cli.interrupt import Interrupt
    from jaxreason.cli.reproduce_display import ReproduceDisplay
    from jaxreason.pipeline.recipe import load_recipe, preset
    from jaxreason.pipeline.run import check
    from jaxreason.pipeline.run import run as run_recipe

    path = preset(args.preset or 'nano') if words.config is None else Path(words.config)
    recipe = load_recipe(path, words.overrides)
    out = _folder(args.out or Path('runs') / path.stem)
    if args.dry_run:
        from jaxreason.pipeline.outlook import describe

        print(describe(recipe, check(recipe, out), args.chip, args.chips))
        return 0
    if args.chip is not None or args.chips is not None:
        raise ConfigError('--chip and --chips are for --dry-run: a recipe runs on the devices that are there.')
    began = time.monotonic()
    command = [sys.executable, '-m', 'jaxreason.cli.worker']
    with Interrupt() as interrupt, ReproduceDisplay(recipe, args.quiet) as display:

        def report(progress):
            display.show(progress)
            interrupt.check()

        run_recipe(recipe, out, command, report)
    print(f'{out}/: report.html, metrics.json; {time.monotonic() - began:.0f} s')
    return 0
