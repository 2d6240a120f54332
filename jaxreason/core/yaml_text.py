"""YAML text to plain values, for files that people write by hand and others may have sent.

The idea: compose the node graph with PyYAML's safe loader, then build lists, dicts and scalars ourselves, so that every value
knows the line it came from and nothing but plain data can appear. Scalars follow the YAML 1.2 core schema: `yes` is text,
`1e-3` is a number, `010` and dates are text. Repeated keys, object tags, runaway aliases, deep nesting and oversized files end
in one error that names file and line, in bounded time.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from jaxreason.core.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 20_000  # after aliases are expanded

_CORE = 'tag:yaml.org,2002:'
_SCALARS = {
    'null': re.compile(r'^(?:~|null|Null|NULL|)$'),
    'bool': re.compile(r'^(?:true|True|TRUE|false|False|FALSE)$'),
    'int': re.compile(r'^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$'),
    'float': re.compile(
        r'^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?'
        r'|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$'
    ),
}


class _Loader(yaml.SafeLoader):
    """Composes nodes under the core schema, and stops at too many or too deep."""

    yaml_implicit_resolvers: dict = {}

    def __init__(self, text: str):
        super().__init__(text)
        self.depth = 0
        self.num_nodes = 0

    def compose_node(self, parent, index):
        self.num_nodes += 1
        self.depth += 1
        if self.depth > MAX_DEPTH or self.num_nodes > MAX_VALUES:
            what = f'nested deeper than {MAX_DEPTH} levels' if self.depth > MAX_DEPTH else f'more than {MAX_VALUES:,} values'
            raise yaml.MarkedYAMLError(problem=f'{what}: a configuration is smaller', problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes wherever this module, or a YAML 1.1 reader, would take it for something else."""

    def represent_text(self, text: str) -> yaml.Node:
        # PyYAML's single-quoted style loses U+0085 and its like at the end of a line; escapes do not.
        return self.represent_scalar(_CORE + 'str', text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_CORE + _name, _pattern, None)
    _Dumper.add_implicit_resolver(_CORE + _name, _pattern, None)


def shown(value: Any) -> str:
    """Text for a message: `value` as a short one-line literal, safe to print on a terminal."""
    if isinstance(value, bool) or value is None:
        return {True: 'true', False: 'false', None: 'null'}[value]
    if isinstance(value, dict):
        return 'a mapping'
    if isinstance(value, list):
        return f'a list of {len(value)}'
    if isinstance(value, int) and abs(value) >= 10**30:
        return f'a whole number of {value.bit_length()} bits'
    literal = repr(value[:60] + '...') if isinstance(value, str) and len(value) > 60 else repr(value)
    return literal


def join(where: str, key: str) -> str:
    """The dotted path of `key` inside `where`; a key that is no plain word is shown quoted."""
    word = key if re.fullmatch(r'[\w-]{1,60}', key) else shown(key)
    return f'{where}.{word}' if where else word


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads the mapping in a YAML file.

    Args:
        path: a regular file of at most `MAX_BYTES`, in UTF-8.

    Returns:
        The mapping as plain dicts, lists and scalars, and `{dotted path: 'file:line'}` for its values.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not one mapping of plain values.
    """
    name = str(path) if str(path).isprintable() else repr(str(path))
    try:
        if not path.is_file():
            raise ConfigError(f'{name}: expected a YAML file, found {"no regular file" if path.exists() else "nothing"} there.')
        with path.open('rb') as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f'{name}: cannot be read ({reason}).') from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f'{name}: larger than {MAX_BYTES:,} bytes, which no configuration is: name the YAML file.')
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise ConfigError(
            f'{name}:{line}: expected UTF-8 text, got byte 0x{data[error.start]:02x}: save it as UTF-8.'
        ) from error
    origins: dict[str, str] = {}
    node = _compose(text, name)
    if node is None:
        raise ConfigError(f'{name}: expected a mapping of keys, got an empty file.')
    tree = _Builder(name, origins).value(node, '', 0)
    if not isinstance(tree, dict):
        raise ConfigError(f'{name}:1: expected a mapping of keys, got {shown(tree)}: write "key: value" lines.')
    return tree, origins


def parse_value(text: str, name: str) -> Any:
    """Reads one value as given on a command line: a scalar, or a list or mapping in brackets.

    Args:
        text: what stands after the equals sign; empty is null.
        name: what to call it in an error.

    Raises:
        ConfigError: it is not a YAML value, or would lose a part (a comment, a line break) unless quoted.
    """
    node = _compose(text, name) if len(text) <= MAX_BYTES else None
    if len(text) > MAX_BYTES:
        raise ConfigError(f'{name}: the value is longer than {MAX_BYTES:,} characters: put it in the file.')
    if node is None:
        return None
    whole = node.value == text.strip() if isinstance(node, yaml.ScalarNode) and node.style is None else True
    block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if not whole or block or (isinstance(node, yaml.ScalarNode) and node.style in ('|', '>')):
        raise ConfigError(f'{name}: {shown(text)} is not one plain value: put text in quotes, a list in [], a mapping in {{}}.')
    return _Builder(name, {}).value(node, '', 0)


def write(tree: Any) -> str:
    """The YAML text of plain values; `read` gives them back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def _compose(text: str, name: str) -> yaml.Node | None:
    """The single document in `text` as nodes; None where it holds nothing."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (
            f'{error.context} {error.problem}' if (error.problem or '').startswith('but ') else error.problem or 'not YAML'
        )
        remedy = ' (indent with spaces)' if "'\\t'" in problem else ''
        raise ConfigError(f'{name}:{line}: {_one_line(problem)}{remedy}.') from error
    except yaml.reader.ReaderError as error:
        line = text.count('\n', 0, error.position) + 1
        raise ConfigError(f'{name}:{line}: expected text, got the control character U+{error.character:04X}.') from error


class _Builder:
    """Turns nodes into plain values and notes where each came from."""

    def __init__(self, name: str, origins: dict[str, str]):
        self.name = name
        self.origins = origins
        self.num_values = 0

    def value(self, node: yaml.Node, where: str, depth: int) -> Any:
        self.num_values += 1
        if self.num_values > MAX_VALUES or depth > MAX_DEPTH:
            raise self._error(node, 'aliases (*name) expand without end or too far: write the values out')
        self.origins[where] = f'{self.name}:{node.start_mark.line + 1}'
        kind = node.tag.removeprefix(_CORE)
        if isinstance(node, yaml.SequenceNode) and kind == 'seq':
            return [self.value(item, join(where, str(index)), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and kind == 'map':
            return self._mapping(node, where, depth)
        if isinstance(node, yaml.ScalarNode) and kind in {'str', *_SCALARS}:
            return self._scalar(node, kind)
        raise self._error(node, f'the tag {_tag(node)} is not allowed: use plain values only')

    def _mapping(self, node: yaml.MappingNode, where: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, item in node.value:
            key = self._scalar(key_node, key_node.tag.removeprefix(_CORE)) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self._error(key_node, f'a key must be text, got {shown(key_node.value)}: put it in quotes')
            path = join(where, key)
            if key in mapping:
                raise self._error(key_node, f'the key {path} appears twice: remove one')
            mapping[key] = self.value(item, path, depth + 1)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, kind: str) -> Any:
        text = node.value
        if kind == 'str':
            return text
        if kind not in _SCALARS or not _SCALARS[kind].match(text):  # an explicit tag, as in `!!int four`
            raise self._error(node, f'the tag {_tag(node)} does not fit {shown(text)}')
        if kind == 'null':
            return None
        if kind == 'bool':
            return text.lower() == 'true'
        digits = text.replace('_', '')
        try:
            if kind == 'int':
                return int(digits, 16 if 'x' in digits else 10)
            return float(
                re.sub(r'^([-+]?)\.(?=[a-zA-Z])', r'\1', digits)
            )  # .inf and .nan are written without the dot in Python
        except ValueError as error:
            raise self._error(node, f'{shown(text)} is no number that can be held') from error

    def _error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f'{self.name}:{node.start_mark.line + 1}: {message}.')


def _tag(node: yaml.Node) -> str:
    return shown('!!' + node.tag.removeprefix(_CORE) if node.tag.startswith(_CORE) else node.tag)


def _one_line(text: str) -> str:
    return ' '.join(text.split())
