"""`jaxreason report RUN [RUN ...] [--difficulty FOLDER] [--out FILE.html]`; `jaxreason report CONFIG.yaml [key=value ...]`"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError, RunError

FLAGS = ('out', 'difficulty')


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'report',
        help='one HTML page from run folders',
        description='Writes one page from run folders; or, from a configuration that names them, the page about the paper: '
        'report.html, metrics.json and figures in a folder.',
    )
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='run folder, or one CONFIG.yaml')
    parser.add_argument(
        '--difficulty',
        type=Path,
        metavar='FOLDER',
        help='run folder whose independent samples, of other seeds, cut the questions into bins of difficulty',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE.html',
        help='where to (default: report.html in the first run folder); of a configuration a folder (default: runs/NAME)',
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    if words.config is not None:
        # The parser asks for a folder; the configuration stands in for it.
        args = parser.parse_args([argv[0], words.config, *words.options])
        if len(args.runs) > 1 or args.difficulty is not None or words.text:
            raise ConfigError(f'report: {words.config} names all folders; give nothing beside it but key=value and --out.')
        return _paper(Path(words.config), words.overrides, args.out)
    args = parser.parse_args(argv)
    from jaxreason.analysis import metrics, step_judgement
    from jaxreason.analysis.difficulty_bins import read_bins
    from jaxreason.analysis.fit_folder import is_fit
    from jaxreason.analysis.matching_page import is_match
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.run_folder import is_judgement
    from jaxreason.analysis.training_page import is_training_run

    bins = None if args.difficulty is None else read_bins(args.difficulty)
    summaries = {}
    for folder in args.runs:
        if is_judgement(folder):
            step_judgement.write_metrics(folder)
            continue
        if is_training_run(folder) or is_match(folder) or is_fit(folder):
            continue
        if not os.path.isfile(folder / 'records.jsonl'):  # unlike Path.is_file, it takes an impossible name for an absent one
            raise RunError(f'{folder}: no records.jsonl there; finish it with jaxreason evaluate ... --out {folder}.')
        summaries[folder] = metrics.write_metrics(folder, bins)
    if bins is not None and not summaries:
        raise RunError('report: --difficulty needs a run of jaxreason evaluate, got none: leave it out.')
    out = args.out or args.runs[0] / 'report.html'
    write_report(args.runs, out, summaries)
    print(out)
    return 0


def _paper(path: Path, overrides: Sequence[str], out: Path | None) -> int:
    """The page about the paper."""
    from jaxreason.analysis.paper import write_paper
    from jaxreason.analysis.paper_config import PaperConfig
    from jaxreason.core import config as config_files
    from jaxreason.core.terminal import printable

    folder = out or Path('runs') / path.stem
    for finding in write_paper(config_files.load(PaperConfig, path, overrides), folder):
        print(printable(f'{finding.verdict.value:<15}{finding.section}: {finding.paper}; here {finding.short}'))
    print(f'{folder}/: report.html, metrics.json, figures')
    return 0
