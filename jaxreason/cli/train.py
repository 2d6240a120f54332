"""`jaxreason train KIND CONFIG.yaml [key=value ...] [--out DIR] [--dry-run]`"""

import argparse
import difflib
import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli import together
from jaxreason.cli.words import sort_words
from jaxreason.core.errors import ConfigError
from jaxreason.core.terminal import printable

FLAGS = ('out', *together.FLAGS)
_CHECKPOINTS = 'checkpoints, metrics.jsonl'
# Kind -> its module, which has `train` and `describe`, the configuration in it, and what its run folder holds.
KINDS = {
    'sft': ('jaxreason.train.sft', 'SftConfig', _CHECKPOINTS),
    'prm': ('jaxreason.train.reward', 'PrmConfig', _CHECKPOINTS),
    'orm': ('jaxreason.train.reward', 'OrmConfig', _CHECKPOINTS),
    'revision': ('jaxreason.train.revision', 'RevisionConfig', _CHECKPOINTS),
    'probe': ('jaxreason.train.probe', 'ProbeConfig', 'probe.safetensors, probe.json'),
}


def add_parser(subparsers) -> None:
    """Declares the verb."""
    parser = subparsers.add_parser(
        'train',
        help='trains a model; resumable',
        description='Trains; rerun the same command to go on where it stopped. '
        'Any field is set by its dotted name, for example loop.steps=100 optimiser.learning_rate=0.001.',
    )
    parser.add_argument('kind', metavar='KIND', help=f'what is trained: {", ".join(KINDS)}')
    parser.add_argument('config', nargs='?', metavar='CONFIG.yaml', help='what to run')
    parser.add_argument('--out', type=Path, metavar='DIR', help='run folder (default: runs/NAME of the configuration)')
    parser.add_argument('--dry-run', action='store_true', help='print configuration, steps, memory and FLOPs; run nothing')
    parser.add_argument('--quiet', action='store_true', help='no line for the steps')
    together.add_flags(parser)


def run(parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    words = sort_words(argv[1:], FLAGS)
    args = parser.parse_args([argv[0], *words.options])
    if args.config or words.text:
        raise ConfigError(f'train takes a kind and one CONFIG.yaml, got {args.config or words.text[0]!r}.')
    if args.kind not in KINDS:
        near = difflib.get_close_matches(args.kind, KINDS, n=1)
        hint = f'did you mean {near[0]}? ' if near else ''
        raise ConfigError(f'train: unknown kind {args.kind[:80]!r}; {hint}Kinds are {", ".join(KINDS)}.')
    if words.config is None:
        raise ConfigError(f'train {args.kind} needs a configuration, for example configs/train/{args.kind}_nano.yaml.')
    from jaxreason.cli.interrupt import Interrupt
    from jaxreason.cli.runtime import keep_freed_memory, prepare_jax
    from jaxreason.core import config as config_files

    prepare_jax()
    module_name, class_name, holds = KINDS[args.kind]
    module = importlib.import_module(module_name)
    config = config_files.load(getattr(module, class_name), Path(words.config), words.overrides)
    if args.dry_run:
        print(config_files.dump(config), end='')
        print(printable(module.describe(config), keep='\n'))
        return 0
    if (group := together.group_from(args, os.environ)) is not None:
        raise ConfigError(
            f'train runs as one process, and this is process {group.index} of {group.count}; start it once, with model.mesh '
            'over the devices of its machine, or give every process --processes 1 and an --out of its own.'
        )
    keep_freed_memory()
    out = args.out or Path('runs') / Path(words.config).stem
    with Interrupt() as interrupt:
        _train(module, config, out, args.quiet, interrupt, holds)
    return 0


def _train(module, config, out: Path, quiet: bool, interrupt, holds: str) -> None:
    from jaxreason.cli.runtime import device_errors, find_devices
    from jaxreason.cli.train_display import TrainDisplay

    began = time.monotonic()
    with device_errors(), TrainDisplay(quiet) as display:
        find_devices()

        def report(progress):
            display.show(progress)
            interrupt.check()

        module.train(config, out, report, display.say)
    print(f'{out}/: {holds}; {time.monotonic() - began:.0f} s')
