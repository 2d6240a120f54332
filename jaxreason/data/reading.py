"""Reads the tokens of an answer into values: lists, relations, groups, intervals, quantities with units, text.

The grammar above expressions. An answer is split at separators outside brackets (`,` `;` `and` `or`), each item at relation
signs, each side is a group, an interval, a union, text, or an expression with a unit after it.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction

from jaxreason.data.exact import Expression, rational, symbol
from jaxreason.data.expressions import read_expression
from jaxreason.data.guards import MAX_ITEMS, Refused, Unreadable
from jaxreason.data.latex_tokens import Token
from jaxreason.data.nouns import leading_scale, says_nothing
from jaxreason.data.number_words import parse_number_words
from jaxreason.data.relations import is_name, read_relation
from jaxreason.data.units import SINGLE_LETTERS, Unit, is_unit, parse_unit
from jaxreason.data.values import Group, Interval, Quantity, Region, Text, Value

_OPENERS = {'(': ')', '[': ']', '{': '}', '\\{': '\\}'}
_CURRENCIES = frozenset('$€£¥₹')
_SEPARATOR_WORDS = frozenset(('and', 'or'))
_INFINITY = frozenset(('infty',))
_NOUN_MARKS = frozenset('./\'"^()-')
_NO_TEXT_MARKS = frozenset('+*/^=_|<>')


def read_items(tokens: list[Token]) -> Value:
    """Reads a whole answer.

    Args:
        tokens: of the answer, trailing punctuation removed.

    Returns:
        One value; several items become a list, and inequalities joined by `and` or `or` a set of reals.

    Raises:
        Unreadable: no rule fits.
        Refused: it denotes more than we compute.
    """
    parts, words = split(_stripped(tokens), _is_separator)
    parts = [part for part in parts if part]
    if not parts or len(parts) > MAX_ITEMS:
        raise Unreadable('no item, or too many')
    if len(parts) == 1:
        return read_item(parts[0])
    values: list[Value] = []
    for part in parts:
        value = read_item(part)
        values += value.items if isinstance(value, Group) and value.kind == 'list' else [value]
    if all(isinstance(value, Interval | Region) for value in values):
        return _combined(values, 'and' in words)
    return Group('list', tuple(_without_shared_name(values)))


def read_item(tokens: list[Token]) -> Value:
    """Reads one item: a relation, or what may stand on one side of it."""
    sides, operators = split(tokens, lambda token: token.kind == 'relation')
    if operators and not (operators == ['in'] and not sides[0]):
        return read_relation(sides, operators, read_term)
    return read_term(sides[-1])


def read_term(tokens: list[Token]) -> Value:
    """Reads a group, an interval, a union, a quantity or text."""
    tokens = _stripped(tokens)
    if not tokens:
        raise Unreadable('nothing')
    parts, unions = split(tokens, lambda token: token.text == 'cup' and token.kind == 'command')
    if unions:
        return Region(tuple(_as_interval(read_term(part)) for part in parts))
    if len(tokens) == 1 and tokens[0].text == 'emptyset':
        return Group('set', ())
    if tokens[0].kind == 'mark' and (group := _read_group(tokens)) is not None:
        return group
    if _is_text(tokens):
        number = parse_number_words(' '.join(token.text for token in tokens))
        return read_words(*number) if number else read_text(tokens)
    return _read_quantity(tokens)


def read_words(number: Fraction, rest: str) -> Quantity:
    """A number in words with the unit or noun after it.

    Args:
        number: its value.
        rest: the words after it; may be empty.

    Raises:
        Unreadable: the words after it may change its value.
    """
    unit, percent, factor = _read_unit([Token('word', word, True) for word in rest.split()], rational(number))
    return Quantity(rational(number) * factor, unit, percent)


def read_text(tokens: list[Token]) -> Text:
    """Words and what stands between them, without case, articles and quotes."""
    words = [token.text.lower() for token in tokens if token.text not in ('.', '"', "'", '?', '!', '(', ')', '{', '}')]
    while len(words) > 1 and words[0] in ('a', 'an', 'the'):
        words = words[1:]
    return Text(' '.join(words))


def split(tokens: list[Token], is_border: Callable[[Token], bool]) -> tuple[list[list[Token]], list[str]]:
    """Cuts tokens at borders outside brackets, and returns the borders' texts too."""
    parts: list[list[Token]] = [[]]
    borders, depth = [], 0
    for token in tokens:
        if token.kind == 'mark':
            depth += (token.text in _OPENERS or token.text.startswith('begin:')) - (
                token.text in _OPENERS.values() or token.text.startswith('end:')
            )
        if depth <= 0 and is_border(token):
            borders.append(token.text)
            parts.append([])
        else:
            parts[-1].append(token)
    return parts, borders


def _is_separator(token: Token) -> bool:
    if token.kind == 'word':
        return token.text.lower() in _SEPARATOR_WORDS
    return token.kind == 'mark' and token.text in (',', ';')


def _stripped(tokens: list[Token]) -> list[Token]:
    while tokens and tokens[-1].kind == 'mark' and tokens[-1].text in ('.', ',', ';', ':', '"', "'"):
        tokens = tokens[:-1]
    while tokens and tokens[0].kind == 'mark' and tokens[0].text in (':', '"', "'", ','):
        tokens = tokens[1:]
    # Braces that only group: \boxed{{5}}
    while len(tokens) > 2 and tokens[0].text == '{' and _closer(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _without_shared_name(values: list[Value]) -> list[Value]:
    """`x = 1 or x = 2`, `x = 1, 2`: solutions of one unknown are the bare values."""
    names = [value.name for value in values if isinstance(value, Quantity)]
    if len(names) == len(values) and names[0] and all(name in (names[0], None) for name in names):
        return [Quantity(v.number, v.unit, v.percent, v.decimals) if isinstance(v, Quantity) else v for v in values]
    return values


def _closer(tokens: list[Token]) -> int | None:
    """Where the bracket opened by the first token closes; round and square ones may close each other."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind != 'mark':
            continue
        depth += token.text in _OPENERS or token.text.startswith('begin:')
        depth -= token.text in _OPENERS.values() or token.text.startswith('end:')
        if depth == 0:
            return index
    return None


def _read_group(tokens: list[Token]) -> Value | None:
    opener, end = tokens[0].text, _closer(tokens)
    if end != len(tokens) - 1 or not (opener in ('(', '[', '\\{') or opener.startswith('begin:')):
        return None
    closer, inside = tokens[end].text, tokens[1:end]
    if opener.startswith('begin:'):
        return _read_matrix(opener[6:], inside)
    parts, separators = split(inside, _is_separator)
    if opener == '\\{':
        return _read_set(inside, parts)
    if not separators or any(not part for part in parts):
        return None
    items = tuple(read_item(part) for part in parts)
    if len(items) == 2 and all(isinstance(item, Quantity) for item in items):
        is_bounded = not any(_INFINITY & _variables(item) for item in items)
        if opener + closer != '()' or not is_bounded:
            return _interval(items[0], items[1], opener, closer)
    if opener + closer not in ('()', '[]'):
        raise Unreadable('brackets that do not match')
    return Group('tuple' if opener == '(' else 'brackets', items)


def _variables(value: Value) -> frozenset[str]:
    return value.number.variables if isinstance(value, Quantity) else frozenset()


def _interval(low: Value, high: Value, opener: str, closer: str) -> Interval:
    assert isinstance(low, Quantity) and isinstance(high, Quantity)
    low_open = opener == '(' or 'infty' in _variables(low)
    return Interval(low.number, high.number, low_open, closer == ')' or 'infty' in _variables(high))


def _as_interval(value: Value) -> Value:
    if isinstance(value, Group) and value.kind == 'tuple' and len(value.items) == 2:
        return _interval(value.items[0], value.items[1], '(', ')')
    return value


def _combined(values: list[Value], is_both: bool) -> Value:
    """`x < -1 or x > 2` is a union; `x > 2 and x < 5` the stretch between."""
    if not is_both:
        return Region(tuple(p for v in values for p in (v.parts if isinstance(v, Region) else (v,))))
    infinite = symbol('infty')
    lows = [v for v in values if isinstance(v, Interval) and v.high.equals(infinite)]
    highs = [v for v in values if isinstance(v, Interval) and v.low.equals(-infinite)]
    if len(values) != 2 or len(lows) != 1 or len(highs) != 1:
        raise Unreadable('conditions that make no interval')
    return Interval(lows[0].low, highs[0].high, lows[0].low_open, highs[0].high_open)


def _read_matrix(environment: str, inside: list[Token]) -> Group:
    if environment not in ('pmatrix', 'bmatrix', 'matrix', 'array', 'vmatrix', 'smallmatrix'):
        raise Unreadable(f'environment {environment}')
    lines, _ = split(inside, lambda token: token.text == '\\\\')
    rows = [[read_item(cell) for cell in split(line, lambda token: token.text == '&')[0]] for line in lines if line]
    if not rows or sum(map(len, rows)) > MAX_ITEMS:
        raise Unreadable('matrix without entries, or with too many')
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return Group('vector', tuple(cell for row in rows for cell in row))
    return Group('vector', tuple(Group('vector', tuple(row)) for row in rows))


def _read_set(inside: list[Token], parts: list[list[Token]]) -> Value:
    bars, borders = split(inside, lambda token: token.text in ('|', ':'))
    if len(borders) == 1 and is_name(bars[0]):  # {x : x > 3}
        return read_items(bars[1])
    items: list[Value] = []
    for part in parts if inside else []:
        value = read_item(part)
        items += value.items if isinstance(value, Group) and value.kind == 'list' else [value]
    return Group('set', tuple(items))


def _is_text(tokens: list[Token]) -> bool:
    """Whether these are words: they begin with one, or with an article, and hold no operator."""
    words = [token for token in tokens if token.kind == 'word']
    starts = tokens[0].kind == 'word' or (tokens[0].kind == 'letter' and len(tokens) > 1 and tokens[1].kind == 'word')
    return bool(words) and starts and not any(token.kind == 'mark' and token.text in _NO_TEXT_MARKS for token in tokens)


def _read_quantity(tokens: list[Token]) -> Value:
    currency, tokens = _take_currency(tokens)
    reading = read_expression(tokens)
    unit, percent, factor = _read_unit(tokens[reading.used :], reading.value)
    if reading.degrees and unit is None:
        unit = parse_unit('degrees')
    unit = currency or unit
    quantity = Quantity(reading.value * factor, unit, reading.percent or percent, reading.decimals)
    if not reading.has_alternatives:
        return quantity
    other = read_expression(tokens, upper=False)
    return Group('list', (quantity, Quantity(other.value * factor, unit, quantity.percent)))


def _take_currency(tokens: list[Token]) -> tuple[Unit | None, list[Token]]:
    """Removes a currency sign before the number, after a minus sign too."""
    for at in (0, 1):
        is_signed = at == 0 or (tokens[0].kind == 'mark' and tokens[0].text in '+-')
        if len(tokens) > at + 1 and is_signed and tokens[at].kind == 'mark' and tokens[at].text in _CURRENCIES:
            return parse_unit(tokens[at].text), tokens[:at] + tokens[at + 1 :]
    return None, tokens


def _read_unit(tokens: list[Token], value: Expression) -> tuple[Unit | None, bool, Expression]:
    """The unit after a number, whether it is a percent, and the factor that this makes."""
    one = rational(1)
    if not tokens:
        return None, False, one
    texts = [token.text for token in tokens if token.text not in ('{', '}', '.')]
    phrase = ' '.join(texts).replace('^ ', '^')
    if phrase.lower() in ('percent', 'per cent', 'pct', 'percentage'):
        return None, True, rational(Fraction(1, 100))
    if unit := parse_unit(phrase):
        return unit, False, one
    rest = tokens[1:]
    if texts and (scale := leading_scale(texts[0])):
        unit, percent, factor = _read_unit(rest, value)
        return unit, percent, factor * rational(scale)
    if texts and texts[0].lower() == 'percent' and _is_noun(rest):
        return None, True, rational(Fraction(1, 100))
    if not value.is_number or not _is_noun(tokens):
        raise Unreadable('tokens after the expression')
    # Only a plural is surely a unit by itself: `5 hours late`, but `5 minute steps`.
    return (parse_unit(texts[0]) if texts[0].endswith('s') else None), False, one


def _is_noun(tokens: list[Token]) -> bool:
    """Whether these tokens only name what is counted."""
    if not tokens or tokens[0].kind != 'word':
        return False
    for before, token in itertools.pairwise(tokens):
        is_power = token.text in ('2', '3') and before.text == '^'  # units^2
        if token.kind not in ('word', 'letter') and token.text not in _NOUN_MARKS and not is_power:
            return False
    return says_nothing([token.text for token in tokens if token.kind in ('word', 'letter')])


def with_letter_unit(tokens: list[Token]) -> Quantity | None:
    """The other way to read `5 m`: five metres, not five times m."""
    if len(tokens) < 2 or tokens[-1].kind != 'letter' or tokens[-1].text not in SINGLE_LETTERS or not tokens[-1].spaced:
        return None
    try:
        value = _read_quantity(tokens[:-1])
    except (Unreadable, Refused):
        return None
    if not is_unit(tokens[-1].text) or not isinstance(value, Quantity) or value.unit or not value.number.is_number:
        return None
    return Quantity(value.number, parse_unit(tokens[-1].text), value.percent, value.decimals)


def compound_readings(tokens: list[Token]) -> tuple[Quantity, ...]:
    """The other way to read `5 hours and 30 minutes`: as their sum, in each of the units.

    Only amounts in falling units of one dimension are added, and only what `and`, a comma or nothing joins.

    Args:
        tokens: of a whole answer.

    Returns:
        The sum in each unit; empty if the answer is no such amount.
    """
    parts, separators = split(tokens, lambda token: token.text in ('and', ','))
    if not separators:
        starts = [0, *(i for i in range(1, len(tokens)) if tokens[i].kind == 'number' and tokens[i - 1].kind == 'word')]
        parts = [tokens[i:j] for i, j in itertools.pairwise([*starts, len(tokens)])]
    if not 2 <= len(parts) <= 3:
        return ()
    amounts: list[tuple[Fraction, Unit]] = []
    for part in parts:
        value = read_term(part)
        number = value.number.constant if isinstance(value, Quantity) else None
        if number is None or number < 0 or not isinstance(value, Quantity) or value.unit is None:
            return ()
        amounts.append((number, value.unit))
    for (_, larger), (_, smaller) in itertools.pairwise(amounts):
        if larger.dimensions != smaller.dimensions or larger.size <= smaller.size:
            return ()
    total = sum((number * unit.size for number, unit in amounts), Fraction(0))
    return tuple(Quantity(rational(total / unit.size), unit) for _, unit in amounts)
