"""Dotted overrides, `strategies.0.n=4`: how words of a command line change the values read from a file."""

import functools
from collections.abc import Mapping
from typing import Any

from jaxreason.core.errors import ConfigError
from jaxreason.core.yaml_text import join, parse_value, shown


class Parts(dict):
    """Overrides inside a value that the file does not give: laid over the default, item by item."""


def unwrapped(value: Any) -> Any:
    """A value without the marks of overrides in it."""
    if isinstance(value, dict):
        return {key: unwrapped(item) for key, item in value.items()}
    return [unwrapped(item) for item in value] if isinstance(value, list) else value


def apply(tree: dict[str, Any], origins: dict[str, str], override: str) -> None:
    """Sets one value, making the mappings on the way to it.

    Args:
        tree: the values of the file; changed.
        origins: where the value at every dotted path was given; changed.
        override: `dotted.path=value`; the value is YAML on one line, and a number in the path picks an item of a list.

    Raises:
        ConfigError: it is not of that form, or the path leads into something that has no parts.
    """
    path, equals, text = override.partition('=')
    parts = path.split('.')
    if not equals or not all(parts):
        raise ConfigError(f'override: expected dotted.path=value, got {shown(override)}.')
    target = functools.reduce(join, parts, '')
    value = parse_value(text, f'override {target}')
    node: Any = tree
    where = ''
    for depth, part in enumerate(parts):
        key: Any = part
        if isinstance(node, list):
            key = item_index(part, len(node))
            if key is None:
                raise ConfigError(f'override: {join(where, part)}: no such item: the list has {len(node)}, counted from 0.')
        elif not isinstance(node, dict):
            raise ConfigError(f'override: {join(where, part)}: {where} is {shown(node)}, which has no parts.')
        if depth == len(parts) - 1:
            node[key] = value
            break
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = Parts()
            origins[join(where, part)] = 'override'
        node, where = node[key], join(where, part)
    for known in [known for known in origins if known == target or known.startswith(f'{target}.')]:
        del origins[known]
    origins[target] = 'override'


def item_index(word: str, size: int) -> int | None:
    """The index that a part of a path names in a list of `size`; None where it names none."""
    return int(word) if word.isdecimal() and len(word) < 10 and int(word) < size else None


def origin_of(where: str, origins: Mapping[str, str]) -> str:
    """Where the value at `where`, or the nearest mapping around it, was given."""
    while where and where not in origins:
        where = where.rpartition('.')[0]
    return origins.get(where, '')
