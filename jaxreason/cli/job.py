"""What `evaluate` and `label` share: a configuration becomes a run folder, resumable, by one process or several."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.cli import together
from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError
from jaxreason.core.terminal import printable

FLAGS = ('out', *together.FLAGS)


class Job(NamedTuple):
    """What differs between the verbs.

    Attributes:
        config: class of the configuration.
        describe: says what a run of a configuration would do.
        work: runs what is missing: configuration, folder, report of progress, told lines, processes.
        display: shows progress: configuration, whether to be quiet.
        finish: prints what a finished folder holds: folder, configuration.
        holds: names it.
    """

    config: type
    describe: Callable[[Any], str]
    work: Callable[..., None]
    display: Callable[..., Any]
    finish: Callable[[Path, Any], None]
    holds: str


def add_parser(subparsers, verb: str, *, help: str, about: str, config: str, dry_run: str) -> None:
    """Declares a verb.

    Args:
        subparsers: of the command.
        verb: its name.
        help: a line for the list of verbs.
        about: what it does, in a sentence or two.
        config: what the configuration says.
        dry_run: what the dry run prints.
    """
    parser = subparsers.add_parser(verb, help=help, description=about)
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help=config)
    parser.add_argument('--out', type=Path, metavar='DIR', help='run folder (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help=f'print {dry_run}; run nothing')
    parser.add_argument('--quiet', action='store_true', help='no line for each question')
    together.add_flags(parser)


def run(parser: argparse.ArgumentParser, argv: Sequence[str], load: Callable[[Path], Job], example: str) -> int:
    """Runs a verb.

    Args:
        parser: of the command.
        argv: the verb and what follows it.
        load: the job, given the configuration's path; called once the words are understood, since it imports what takes time.
        example: a configuration to name where none is given.

    Returns:
        The exit code.
    """
    verb = argv[0]
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([verb, *words.options])
    if args.config or words.text:
        raise ConfigError(f'{verb} takes one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if words.config is None:
        raise ConfigError(f'{verb} needs a configuration, for example {example}.')
    from jaxreason.cli.runtime import device_errors, find_devices, prepare_jax
    from jaxreason.core import config as config_files

    job = load(Path(words.config))
    config: Any = config_files.load(job.config, Path(words.config), words.overrides)
    if args.dry_run:
        print(config_files.dump(config), end='')
        print(printable(job.describe(config), keep='\n'))
        return 0
    prepare_jax()
    from jaxreason.engine.compiles import compiled

    group = together.group_from(args, os.environ)
    out = args.out or Path('runs') / Path(words.config).stem
    began, before = time.monotonic(), compiled()
    with device_errors(), together.together(group) as (peers, interrupt):
        find_devices()
        _work(job, config, out, args.quiet, peers, interrupt)
    if peers.is_first:
        job.finish(out, config)
        if (compiles := compiled() - before).programs:
            print(compiles)
        print(f'{out}/: {job.holds}; {time.monotonic() - began:.0f} s{together.describe(peers)}')
    return 0


def _work(job: Job, config, out: Path, quiet: bool, peers, interrupt) -> None:
    """Runs what is missing; process 0 shows it, the others are silent."""

    def check(progress):
        if progress.finished is None:  # else others that the same chunk finished would not be kept
            interrupt.check()

    if not peers.is_first:
        job.work(config, out, check, peers=peers)
        return
    with job.display(config, quiet) as display:

        def report(progress):
            display.show(progress)
            check(progress)

        job.work(config, out, report, display.say, peers)
