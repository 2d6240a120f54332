"""The words of a command line: which is a configuration, which an override, which text.

A word is an override only if it looks like `a_name.with_dots=value` (`--a_name.with_dots=value` is the same), a configuration
only if it ends in `.yaml`; after `--` all is text. The rest is left to argparse.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jaxreason.core.errors import ConfigError

_OVERRIDE = re.compile(r'(?:--)?([A-Za-z_]\w*(?:\.\w[\w-]*)*)=(.*)', re.DOTALL)


class Words(NamedTuple):
    """A command line, sorted: `options` still go through argparse, `text` never does."""

    config: str | None
    overrides: tuple[str, ...]
    options: tuple[str, ...]
    text: tuple[str, ...]


def sort_words(words: Sequence[str], flags: Collection[str]) -> Words:
    """Sorts the words that follow a verb.

    Args:
        words: as typed.
        flags: options of the verb that take a value, without the dashes: `--flag value` or `--flag=value`.

    Raises:
        ConfigError: two configurations are given.
    """
    config, overrides, options = None, [], []
    text: Sequence[str] = ()
    for index, word in enumerate(words):
        if word == '--':
            text = words[index + 1 :]
            break
        match = _OVERRIDE.fullmatch(word)
        if index and words[index - 1].startswith('--') and words[index - 1][2:] in flags:
            options.append(word)
        elif match and not (word.startswith('--') and match[1] in flags):
            overrides.append(f'{match[1]}={match[2]}')
        elif word.endswith('.yaml') and not word.startswith('-'):
            if config is not None:
                raise ConfigError(f'expected one configuration, got {config} and {word}: put text after --.')
            config = word
        else:
            options.append(word)
    return Words(config, tuple(overrides), tuple(options), tuple(text))
