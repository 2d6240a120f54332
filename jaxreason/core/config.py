"""YAML files and dotted overrides to frozen dataclasses, and back.

The file is read once, at the edge; from there on only typed objects exist. The dataclasses are the schema: their fields are
the keys, their defaults the only defaults, their `__post_init__` the only range checks. A mapping given for a field that has a
default object is laid over that default, so `sampler.top_p=0.9` changes one thing. Where a string chooses a class:

    strategy: Annotated[Strategy, Kinds(catalog)]  # catalog() -> {'best_of_n': BestOfN, ...}; YAML: {kind: best_of_n, n: 4}

Types are strict: `"4"` is not a number and `true` is not 1, but a whole number will do where a fraction is allowed.
"""

import dataclasses
import difflib
import enum
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from jaxreason.core import yaml_text
from jaxreason.core.errors import ConfigError
from jaxreason.core.overrides import Parts, apply, item_index, origin_of, unwrapped
from jaxreason.core.yaml_text import join, shown

T = TypeVar('T')

_ABSENT: Any = object()


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Marks a field whose class the key `kind` chooses, in `Annotated[Base, Kinds(catalog)]`.

    Attributes:
        catalog: returns `{kind: dataclass}`; called when a value is read, so that it may import lazily.
        default: the kind of a mapping that names none; None where one must be named.
    """

    catalog: Callable[[], Mapping[str, type]]
    default: str | None = None


@dataclasses.dataclass(frozen=True)
class AnyFloat:
    """Marks a float field that may be infinite or NaN, in `Annotated[float, AnyFloat()]`."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """Marks a mapping that is kept as the plain values that were given, in `Annotated[dict, Plain()]`: others read it later."""


class _Invalid(Exception):
    """A value that does not fit, with its dotted path."""

    def __init__(self, where: str, message: str):
        super().__init__(f'{where}: {message}' if where else message)
        self.where = where


def load(cls: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Reads a configuration.

    Args:
        cls: the frozen dataclass that the file describes.
        path: the YAML file; None for the defaults alone.
        overrides: `dotted.path=value` words, applied in order over the file; a number in the path picks an item of a list.

    Raises:
        ConfigError: one line that names the file and line, or the override, and the dotted path.
    """
    tree, origins = yaml_text.read(path) if path is not None else ({}, {})
    for override in overrides:
        apply(tree, origins, override)
    try:
        return _convert(cls, tree, '', _ABSENT)
    except _Invalid as error:
        origin = origin_of(error.where, origins)
        raise ConfigError(f'{origin}: {error}' if origin else str(error)) from error


def build(cls: type[T], mapping: Mapping[str, Any], where: str = '') -> T:
    """Makes a `cls` from plain values (dicts, lists, scalars).

    Args:
        cls: a frozen dataclass.
        mapping: its fields by name; keys are text.
        where: dotted path to put before the paths in errors.

    Raises:
        ConfigError: a key is unknown or missing, a type is wrong, or the dataclass refuses the value.
    """
    try:
        return _convert(cls, dict(mapping), where, _ABSENT)
    except _Invalid as error:
        raise ConfigError(str(error)) from error


def dump(instance: Any) -> str:
    """The YAML text of a configuration, every field written out; `load` makes an equal instance of it.

    Raises:
        TypeError: a field holds what its annotation does not allow.
    """
    return yaml_text.write(_plain(type(instance), instance, ''))


def digest(instance: Any) -> str:
    """SHA-256 (64 hex digits) of what the configuration says; equal instances have equal digests."""
    text = json.dumps(_plain(type(instance), instance, ''), sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _schema(cls: type) -> dict[str, tuple[Any, Callable[[], Any]]]:
    """`{field: (annotation, default maker)}`; the maker gives `_ABSENT` where the field has no default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    schema = {}
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        if field.default_factory is not dataclasses.MISSING:
            default: Callable[[], Any] = field.default_factory
        else:
            value = _ABSENT if field.default is dataclasses.MISSING else field.default
            default = functools.partial(lambda value: value, value)
        schema[field.name] = (hints[field.name], default)
    return schema


# Reading: plain values to typed ones. `base` is the default that a mapping is laid over, or `_ABSENT`.


def _convert(hint: Any, value: Any, where: str, base: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kinds = _mark(args, Kinds)
        if kinds:
            return _of_kind(kinds, value, where, base)
        if _mark(args, AnyFloat) and isinstance(value, float):
            return value
        if _mark(args, Plain):
            if not isinstance(value, dict):
                raise _Invalid(where, f'expected a mapping, got {shown(value)}.')
            return unwrapped(value)
        return _convert(args[0], value, where, base)
    if origin in (Union, types.UnionType):
        return _convert(_member(hint, value, where), value, where, base)
    if origin is tuple and args[1:] == (...,):
        return _items(args[0], value, where, base)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(hint, value, where)
        olds = base if isinstance(base, Mapping) else {}
        items = {key: _convert(args[1], item, join(where, key), olds.get(key, _ABSENT)) for key, item in value.items()}
        return {**olds, **items} if isinstance(value, Parts) else items
    if dataclasses.is_dataclass(hint):
        return _instance(typing.cast(type, hint), value, where, base)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if not _accepts(hint, value):
        raise _wrong(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return hint(value)
    if hint is int:
        return int(value)
    if hint is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Invalid(where, f'expected a finite number, got {shown(value)}.')
    return number


def _instance(cls: type, value: Any, where: str, base: Any) -> Any:
    schema = _schema(cls)
    if not isinstance(value, dict):
        raise _Invalid(where, f'expected a mapping with {_listed(schema)}, got {shown(value)}.')
    for key in value:
        if key not in schema:
            raise _Invalid(join(where, str(key)), f'unknown key{_nearest(str(key), schema, _inside(cls, str(key)))}')
    kwargs, missing = {}, []
    for name, (hint, default) in schema.items():
        fallback = getattr(base, name) if type(base) is cls else default()
        if name in value:
            kwargs[name] = _convert(hint, value[name], join(where, name), fallback)
        elif fallback is not _ABSENT:
            kwargs[name] = fallback
        else:
            missing.append(f'{name} ({_expected(hint)})')
    if missing:
        raise _Invalid(where, f'missing {", ".join(missing)}: there is no default.')
    try:
        return cls(**kwargs)
    except (ValueError, TypeError) as error:
        raise _Invalid(where, ' '.join(str(error).split())) from error


def _of_kind(kinds: Kinds, value: Any, where: str, base: Any) -> Any:
    catalog = kinds.catalog()
    if not isinstance(value, dict):
        raise _Invalid(where, f'expected a mapping with the key kind (one of {", ".join(catalog)}), got {shown(value)}.')
    kind = value.get('kind', next((name for name, cls in catalog.items() if type(base) is cls), kinds.default))
    if kind is None:
        raise _Invalid(where, f'missing the key kind: one of {", ".join(catalog)}.')
    if not isinstance(kind, str) or kind not in catalog:
        raise _Invalid(join(where, 'kind'), f'unknown kind {shown(kind)}{_nearest(str(kind), catalog)}')
    return _instance(catalog[kind], {key: item for key, item in value.items() if key != 'kind'}, where, base)


def _items(hint: Any, value: Any, where: str, base: Any) -> tuple:
    olds = base if isinstance(base, tuple) else ()
    if isinstance(value, Parts):
        items = list(olds)
        for word, item in value.items():
            index = item_index(word, len(items))
            if index is None:
                raise _Invalid(join(where, word), f'no such item: the list has {len(items)}, counted from 0.')
            items[index] = _convert(hint, item, join(where, word), items[index])
        return tuple(items)
    if not isinstance(value, list | tuple):
        raise _Invalid(where, f'expected a list, got {shown(value)}: put it in [].')
    return tuple(_convert(hint, item, join(where, str(index)), _ABSENT) for index, item in enumerate(value))


def _member(hint: Any, value: Any, where: str) -> Any:
    """The member of a union that `value` is for; the exact type before the tolerated one."""
    members = typing.get_args(hint)
    fitting = sorted((member for member in members if _accepts(member, value)), key=lambda member: member is not type(value))
    if fitting:
        return fitting[0]
    others = [member for member in members if member is not types.NoneType]
    if len(others) == 1:
        return others[0]  # its own message says more
    raise _wrong(hint, value, where)


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a plain value has the shape of `hint`, without looking inside."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return isinstance(value, dict) if _mark(args, Kinds) or _mark(args, Plain) else _accepts(args[0], value)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in args)
    if origin is tuple and args[1:] == (...,):
        return isinstance(value, list | tuple | Parts)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return isinstance(value, dict)
    if not isinstance(hint, type):
        raise TypeError(f'{hint} cannot be read from a configuration: use plain types, Literal, tuple[X, ...] or dict[str, X].')
    if issubclass(hint, enum.StrEnum):
        return isinstance(value, str) and value in [str(member) for member in hint]
    if hint is float:
        return type(value) in (int, float)
    if hint is int and type(value) is float:  # 1e12: a large count, as people write it
        return value.is_integer() and 1e6 <= abs(value) < 2**53
    if hint is str:
        return type(value) is str and not any('\ud800' <= char <= '\udfff' for char in value)  # UTF-8 must hold it
    return type(value) is hint


def _mark(args: tuple, kind: type) -> Any:
    return next((mark for mark in args[1:] if isinstance(mark, kind)), None)


# Messages.


def _wrong(hint: Any, value: Any, where: str) -> _Invalid:
    remedy = ''
    if isinstance(value, str) and _expected(hint) in ('a number', 'a whole number', 'true or false'):
        remedy = ': write it without quotes' if value.strip().lower() in ('true', 'false') or _is_number(value) else ''
    elif hint is str and not isinstance(value, str | dict | list):
        remedy = ': put it in quotes'
    received = f'the text {shown(value)}' if isinstance(value, str) else shown(value)
    return _Invalid(where, f'expected {_expected(hint)}, got {received}{remedy}.')


def _is_number(text: str) -> bool:
    try:
        float(text[:100])
    except ValueError:
        return False
    return True


def _expected(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kinds = _mark(args, Kinds)
        return f'a mapping with kind: {" | ".join(kinds.catalog())}' if kinds else _expected(args[0])
    if origin in (Union, types.UnionType):
        return ' or '.join(_expected(member) for member in args)
    if origin is Literal:
        return ' | '.join(shown(choice) for choice in args)
    if origin is tuple:
        return 'a list'
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return ' | '.join(member.value for member in hint)
    words = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text', types.NoneType: 'null'}
    return words.get(hint, 'a mapping')


def _inside(cls: type, name: str) -> list[str]:
    """Dotted paths of the fields called `name` in the dataclasses that `cls` holds directly."""
    held = {field: typing.get_args(hint) or (hint,) for field, (hint, _) in _schema(cls).items()}
    parts = [(field, part) for field, members in held.items() for part in members if isinstance(part, type)]
    return [f'{field}.{name}' for field, part in parts if dataclasses.is_dataclass(part) and name in _schema(part)]


def _nearest(key: str, valid: Mapping[str, Any], elsewhere: Sequence[str] = ()) -> str:
    """What to say after an unknown word: the nearest valid one, and all of them where that fits a line."""
    near = [*elsewhere[:1]] or difflib.get_close_matches(key[:60], list(valid), n=1, cutoff=0.5)
    hint = f', did you mean {near[0]}?' if near else '.'
    return hint if near and len(valid) > 16 else f'{hint} Valid: {_listed(valid)}.'


def _listed(valid: Mapping[str, Any]) -> str:
    return ', '.join(valid) or 'no keys'


# Writing: typed values to plain ones.


def _plain(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if _mark(args, Plain):
            return value
        kinds = _mark(args, Kinds)
        if not kinds:
            return _plain(args[0], value, where)
        name = next((name for name, cls in kinds.catalog().items() if type(value) is cls), None)
        if name is None:
            raise TypeError(f'{where}: {type(value).__name__} is not in the catalog of this field.')
        return {'kind': name, **_plain(type(value), value, where)}
    if origin in (Union, types.UnionType):
        return _plain(_holder(hint, value, where), value, where)
    if origin is tuple and isinstance(value, tuple):
        return [_plain(args[0], item, join(where, str(index))) for index, item in enumerate(value)]
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _plain(args[1], item, join(where, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and type(value) is hint:
        return {name: _plain(item, getattr(value, name), join(where, name)) for name, (item, _) in _schema(type(value)).items()}
    if not isinstance(value, str | int | float | None) or not _accepts(hint, value):
        raise TypeError(f'{where}: expected {_expected(hint)}, got {type(value).__name__}.')
    if hint is float and isinstance(value, int | float):
        return value + 0.0  # an int becomes a float, and -0.0 the 0.0 that it equals
    return str(value) if isinstance(value, str) else value


def _holder(hint: Any, value: Any, where: str) -> Any:
    """The member of a union that a typed value belongs to; the exact type before the tolerated one."""
    for member in sorted(typing.get_args(hint), key=lambda member: member is not type(value)):
        try:
            _plain(member, value, where)
        except TypeError:
            continue
        return member
    raise TypeError(f'{where}: expected {_expected(hint)}, got {type(value).__name__}.')
