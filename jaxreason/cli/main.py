"""The command `jaxreason VERB ...`: finds the verb, runs it, turns a user's mistake into one line.

Verbs import what they need when they run, so that `--help` is instant.
"""

import argparse
import difflib
import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from jaxreason.cli import together
from jaxreason.cli.interrupt import Terminated
from jaxreason.core.errors import ConfigError, JaxreasonError, ProcessError
from jaxreason.core.terminal import printable

VERBS = {
    'reproduce': 'the paper in one command: train, search, fit, compare, report; resumable',
    'solve': 'answer a question, or a file of questions, and show the votes',
    'evaluate': 'problems x strategies x budgets x seeds -> records, metrics, a table; resumable',
    'train': 'a policy learns worked solutions (sft); resumable',
    'label': 'problems -> labelled solutions as a data set: of steps, revisions, chains; resumable',
    'difficulty': 'questions -> bins of difficulty: an oracle, and what needs no answer; resumable',
    'fit': 'records and bins -> the best strategy per bin and budget, cross-validated: allocation.yaml',
    'match': 'a small model with search against a larger one, at equal FLOPs, by difficulty',
    'report': 'one HTML page from run folders',
    'weights': 'fetch, inspect or export model weights',
}
USER_ERROR = 2
INTERRUPTED = 130  # and 143, as a shell reports of programs that SIGINT and SIGTERM ended
TERMINATED = 143
NO_READER = 141  # what a shell reports of a program that a broken pipe ended


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Returns:
        Its exit code: 0 done, 2 a user's mistake, 3 another process of the run died or failed, 130 interrupted, 141 nobody
        reads its output, 143 told to end by SIGTERM.
    """
    _open_streams()
    code = _guarded(list(sys.argv[1:] if argv is None else argv))
    together.end(code)
    return code


def _guarded(words: Sequence[str]) -> int:
    """Runs words; turns what goes wrong into an exit code and a line."""
    try:
        code = _run(words)
        sys.stdout.flush()  # here, so that a reader who has left is met below and not when Python ends
        return code
    except JaxreasonError as error:
        print(f'jaxreason: error: {printable(str(error))}', file=sys.stderr)
        return together.LOST if isinstance(error, ProcessError) else USER_ERROR
    except KeyboardInterrupt as stop:
        print('jaxreason: interrupted', file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left; what is still buffered must not be tried again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except SystemExit as end:  # 0 from argparse after --help; 1 from rich, which meets a broken pipe in this way
        return NO_READER if end.code else 0


def _run(words: Sequence[str]) -> int:
    """Runs a verb, or what stands in its place."""
    if not words or words[0] in ('-h', '--help'):
        print(_help())
        return 0
    if words[0] == '--version':
        print(f'jaxreason {importlib.metadata.version("jaxreason")}')
        return 0
    if words[0] not in VERBS:
        near = difflib.get_close_matches(words[0], VERBS, n=1)
        hint = f'did you mean {near[0]}?' if near else f'verbs are {", ".join(VERBS)}.'
        raise ConfigError(f'unknown verb {words[0]!r}: {hint}')
    parser = _parser(words[0])
    module = importlib.import_module(f'jaxreason.cli.{words[0]}')
    module.add_parser(parser.add_subparsers(dest='verb'))
    return module.run(parser, words)


def _parser(verb: str) -> argparse.ArgumentParser:
    """A parser that complains, and has its subparsers complain, as everything else does: in one line, without usage."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ConfigError(f'{message.rstrip(".")}: see jaxreason {verb} --help.')

    return Parser(prog='jaxreason')


def _open_streams() -> None:
    """Gives a process that was started without standard streams some, and lets no text fail for want of a character."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115 - for the life of the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


def _help() -> str:
    lines = ['usage: jaxreason VERB [CONFIG.yaml] [key=value ...] [--out DIR] [--dry-run]', '', 'verbs:']
    lines += [f'  {verb:<10} {text}' for verb, text in VERBS.items()]
    lines += [
        '',
        'jaxreason VERB --help says more. Any field of a configuration is set by its dotted name: sampler.temperature=0.7',
    ]
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
