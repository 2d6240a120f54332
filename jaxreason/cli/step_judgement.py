"""`jaxreason evaluate` with a configuration that names `solutions`: a verifier judges them."""

import argparse
import os
import time
from pathlib import Path

from jaxreason.cli import together
from jaxreason.cli.words import Words
from jaxreason.core.terminal import printable


def run(args: argparse.Namespace, words: Words) -> int:
    """Runs the verb on such a configuration; returns the exit code."""
    from jaxreason.cli.runtime import device_errors, find_devices, prepare_jax
    from jaxreason.core import config as config_files
    from jaxreason.evaluate.step_judgement import StepJudgementConfig, describe

    assert words.config is not None, 'it told what this is'
    config = config_files.load(StepJudgementConfig, Path(words.config), words.overrides)
    if args.dry_run:
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
        _judge(config, out, args.quiet, peers, interrupt)
    if peers.is_first:
        _finish(out, config.verifier.source)
        if (compiles := compiled() - before).programs:
            print(compiles)
        print(f'{out}/: judgements, metrics, report.html; {time.monotonic() - began:.0f} s{together.describe(peers)}')
    return 0


def _judge(config, out: Path, quiet: bool, peers, interrupt) -> None:
    """Judges what is missing; process 0 shows it, the others are silent."""
    from jaxreason.cli.progress import JudgementDisplay
    from jaxreason.evaluate.step_judgement import judge_solutions

    def check(progress):
        if progress.finished is None:  # else others of the same batch would not be kept
            interrupt.check()

    if not peers.is_first:
        judge_solutions(config, out, check, peers=peers)
        return
    with JudgementDisplay(quiet) as display:

        def report(progress):
            display.show(progress)
            check(progress)

        judge_solutions(config, out, report, display.say, peers)


def _finish(out: Path, verifier: str) -> None:
    """Metrics, tables and page, from the judgements alone."""
    from jaxreason.analysis.report import write_report
    from jaxreason.analysis.step_judgement import print_tables, write_metrics

    print_tables(write_metrics(out), title=f'{out.name}: {verifier}')
    write_report([out], out / 'report.html')
