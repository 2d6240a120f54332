"""`jaxreason evaluate CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import job
from jaxreason.core import yaml_text


def add_parser(subparsers) -> None:
    """Declares the verb."""
    job.add_parser(
        subparsers,
        'evaluate',
        help='problems x strategies x budgets x seeds -> records, metrics, a table',
        about='Runs a configuration; rerun the same command to go on where it stopped. '
        'Any field is set by its dotted name, for example sampler.temperature=0.7 data.limit=10. '
        'A configuration that names solutions has a verifier judge their steps.',
        config='what to run',
        dry_run='configuration, shapes, memory and FLOPs',
    )


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    return job.run(parser, argv, _job, 'configs/quickstart.yaml')


def _job(path: Path) -> job.Job:
    return _judging() if 'solutions' in yaml_text.read(path)[0] else _searching()


def _searching() -> job.Job:
    from jaxreason.cli.progress import EvaluateDisplay
    from jaxreason.evaluate.config import EvaluateConfig
    from jaxreason.evaluate.dry_run import describe
    from jaxreason.evaluate.runner import evaluate

    return job.Job(EvaluateConfig, describe, evaluate, EvaluateDisplay, _finish, 'records, metrics, figures, report.html')


def _judging() -> job.Job:
    from jaxreason.cli.progress import JudgementDisplay
    from jaxreason.evaluate.step_judgement import StepJudgementConfig, describe, judge_solutions

    return job.Job(
        StepJudgementConfig,
        describe,
        judge_solutions,
        lambda config, quiet: JudgementDisplay(quiet),
        _finish_judging,
        'judgements, metrics, report.html',
    )


def _finish_judging(out: Path, config) -> None:
    """Metrics, tables and page, from the judgements alone."""
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.step_judgement import print_tables, write_metrics

    print_tables(write_metrics(out), title=f'{out.name}: {config.verifier.source}')
    write_report([out], out / 'report.html')


def _finish(out: Path, config) -> None:
    """Metrics, table, figures and page, from the records alone."""
    from jaxreason.analysis.metrics import write_metrics
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.tables import print_table

    summary = write_metrics(out)
    print_table(summary.metrics, title=f'{out.name}: {config.model.source}')
    write_report([out], out / 'report.html', {out: summary})
