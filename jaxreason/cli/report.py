"""`jaxreason report RUN [RUN ...] [--difficulty FOLDER] [--out FILE.html]`"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from jaxreason.core.errors import RunError


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'report', help='one HTML page from run folders', description='Writes one page from run folders.'
    )
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='run folder')
    parser.add_argument(
        '--difficulty',
        type=Path,
        metavar='FOLDER',
        help='run folder whose independent samples, of other seeds, cut the questions into bins of difficulty',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.html', help='where to (default: report.html in the first run folder)')


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
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
