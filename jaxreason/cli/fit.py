"""`jaxreason fit CONFIG.yaml [key=value ...] [--out DIR]`"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError
from jaxreason.core.terminal import printable

FLAGS = ('out',)


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'fit',
        help='records and bins -> the best strategy per bin and budget: allocation.yaml',
        description='Chooses the best strategy for every bin of difficulty and every budget on folds of the questions, and '
        'finds on the others what that is worth: accuracy, gap to the best fixed strategy, FLOPs saved against weighted '
        'best-of-N. Any field is set by its dotted name, for example folds=5.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='which records, bins, budgets, estimates')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder to write to (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help='print the configuration; fit nothing')


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'fit takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is None:
        raise ConfigError('fit needs a configuration, for example configs/search/nano_fit.yaml.')
    from jaxreason.allocation.fit_config import FitConfig
    from jaxreason.core import config as config_files

    config = config_files.load(FitConfig, Path(words.config), words.overrides)
    if args.dry_run:
        print(config_files.dump(config), end='')
        return 0
    from jaxreason.analysis.fit_folder import write_fit
    from jaxreason.analysis.fit_inputs import read_inputs
    from jaxreason.analysis.fit_page import lines
    from jaxreason.analysis.fitting import fit
    from jaxreason.analysis.report import write_report

    began = time.monotonic()
    inputs = read_inputs(config)
    cells = inputs.cells
    about = f'{len(cells.questions):,} questions, {len(cells.seeds)} seeds, {len(cells.cells)} cells'
    print(f'{about}; {config.resamples:,} resamples')
    result = fit(config, inputs)
    out = args.out or Path('runs') / Path(words.config).stem
    write_fit(out, config, inputs, result)
    write_report([out], out / 'report.html')
    print(printable('\n'.join(lines(result.metrics)), keep='\n'))
    seconds = time.monotonic() - began
    print(f'{out}/: allocation.yaml, allocation_oracle.yaml, fit.json, figures, report.html; {seconds:.0f} s')
    return 0
