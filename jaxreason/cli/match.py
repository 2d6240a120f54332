"""`jaxreason match CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError, RunError


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'match',
        help='FLOPs-matched comparison of two models',
        description='A small model with search against a larger one without, at equal FLOPs, by difficulty and by how much a '
        'model is used (R). Reads finished runs of jaxreason evaluate on the same questions; nothing is sampled.',
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='which runs, under which conventions')
    parser.add_argument('--out', type=Path, metavar='DIR', help='where to (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help='print the configuration; write nothing')


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], ('out',))
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'match takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is None:
        raise ConfigError('match needs a configuration, for example configs/search/duel.yaml.')
    from jaxreason.analysis.match_inputs import read_inputs
    from jaxreason.analysis.matching import match, to_text
    from jaxreason.analysis.matching_page import BREAK_EVEN, LEGEND, MATCH, caption, csv_of, gains, is_match, parities, points
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.tables import print_cells
    from jaxreason.core import config as config_files
    from jaxreason.core.files import write_whole
    from jaxreason.core.terminal import printable
    from jaxreason.evaluate.match_config import MatchConfig

    config = config_files.load(MatchConfig, Path(words.config), words.overrides)
    if args.dry_run:
        print(config_files.dump(config), end='')
        return 0
    out = args.out or Path('runs') / Path(words.config).stem
    if (out / 'config.yaml').exists() and not is_match(out):
        raise RunError(f'{out}: holds a run of another verb, which would be overwritten; use another --out.')
    table = match(config, read_inputs(config))
    write_whole(out / 'config.yaml', config_files.dump(config))
    write_whole(out / 'match.csv', csv_of(table))
    write_whole(out / MATCH, to_text(table))
    write_report([out], out / 'report.html')
    print(printable(caption(table)))
    for cells, title, legend in (
        (gains(table), 'relative gain, %', LEGEND),
        (points(table), 'percentage points', ''),
        (parities(table), 'break-even R', BREAK_EVEN),
    ):
        print_cells(cells, title=title)
        print(legend)
    print('\n'.join(printable(note) for note in table['notes']))
    print(f'{out}/: match.json, match.csv, figures, report.html')
    return 0
