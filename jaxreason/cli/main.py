"""The command `jaxreason VERB ...`: finds the verb, runs it, turns a user's mistake into one line.

Verbs import what they need when they run, so that `--help` is instant.
"""

import argparse
import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from jaxreason.core.errors import JaxreasonError

VERBS = {
    'solve': 'answer a question, or a file of questions, and show the votes',
    'evaluate': 'problems x strategies x budgets x seeds -> records, metrics, a table; resumable',
    'report': 'one HTML page from run folders',
    'weights': 'fetch, inspect or export model weights',
}
USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code: 0 done, 2 a user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help'):
        print(_help())
        return 0
    if words[0] == '--version':
        print(f'jaxreason {importlib.metadata.version("jaxreason")}')
        return 0
    if words[0] not in VERBS:
        near = difflib.get_close_matches(words[0], VERBS, n=1)
        hint = f'did you mean {near[0]}?' if near else f'verbs are {", ".join(VERBS)}.'
        print(f'jaxreason: error: unknown verb {words[0]!r}: {hint}', file=sys.stderr)
        return USER_ERROR
    parser = argparse.ArgumentParser(prog='jaxreason')
    module = importlib.import_module(f'jaxreason.cli.{words[0]}')
    module.add_parser(parser.add_subparsers(dest='verb'))
    try:
        return module.run(parser, words)
    except JaxreasonError as error:
        print(f'jaxreason: error: {error}', file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print('jaxreason: interrupted', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left
        sys.stderr.close()
        return USER_ERROR


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
