"""Reads equations and inequalities: `x = 9` is 9, `2 \\le t < 5` an interval, `4 = 9` false, `y^2 = x` an equation.

An equation states a value only if its left side is a name (`x`, `f(2)`, `AB`, `m + n`, words); what merely ends in the right
number states nothing. Sides that are all numbers must agree exactly.
"""

from collections.abc import Callable

from jaxreason.data.exact import Expression, rational, symbol
from jaxreason.data.guards import Refused, Unreadable
from jaxreason.data.latex_tokens import Token
from jaxreason.data.values import Group, Interval, Quantity, Region, Relation, Text, Value, scaled

ReadTerm = Callable[[list[Token]], Value]
_FLIPPED = {'<': '>', '>': '<', '<=': '>=', '>=': '<='}


def read_relation(sides: list[list[Token]], operators: list[str], read_term: ReadTerm) -> Value:
    """Reads the sides of an equation, inequality or membership.

    Args:
        sides: tokens between the signs; one more than `operators`.
        operators: `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `~` (about).
        read_term: reads one side.

    Returns:
        The value stated, a set of reals, or the relation itself.

    Raises:
        Unreadable: no rule fits.
        Refused: an equation between numbers that is false.
    """
    if operators[0] in ('=', '~') and not sides[0]:  # "= 17" goes on from something left out
        sides, operators = sides[1:], operators[1:]
        if not operators:
            return read_term(sides[0])
    if any(not side for side in sides):
        raise Unreadable('relation without a side')
    if operators == ['in']:
        return read_term(sides[1])
    if operators == ['!=']:
        return _everything_but(read_term(sides[1])) if is_name(sides[0]) else _equation(sides, '!=', read_term)
    if '~' in operators:
        return _read_approximation(sides, operators, read_term)
    if set(operators) == {'='}:
        return _read_equation(sides, read_term)
    if set(operators) <= _FLIPPED.keys() and len(operators) <= 2:
        return _read_inequality(sides, operators, read_term)
    raise Unreadable('chain of relations')


def is_name(tokens: list[Token]) -> bool:
    """Whether these tokens name something: letters and words, `f(2)`, `AB`, `m + n`, an angle, but no arithmetic."""
    letters = [token for token in tokens if token.kind in ('letter', 'word')]
    if not letters or tokens[0].kind == 'number':
        return False
    if all(token.kind == 'word' or token.apart for token in tokens):
        return True
    is_applied = tokens[0].kind == 'letter' and len(tokens) > 2 and tokens[1].text == '(' and tokens[-1].text == ')'
    if is_applied:
        return True
    is_size = tokens[0].text == tokens[-1].text == '|' and all(t.text.isupper() for t in letters)  # |S| is a count
    depth = 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        depth += (token.text == '{') - (token.text == '}')
        is_subscript = before is not None and before.text == '_'
        fits = token.kind in ('letter', 'word') or token.text in (
            '+',
            '_',
            '{',
            '}',
            'angle',
            'triangle',
            'overline',
            'vec',
            'hat',
        )
        if not fits and not (is_size and token.text == '|') and not is_subscript and not (token.kind == 'number' and depth):
            return False
    return True


def _read_approximation(sides: list[list[Token]], operators: list[str], read_term: ReadTerm) -> Value:
    """`2/7 ~ 0.29`: the exact side counts; after a name alone, the approximation is all there is."""
    cut = operators.index('~') + 1
    exact, signs = sides[:cut], operators[: cut - 1]
    if len(exact) == 1 and is_name(exact[0]):
        return _named(exact[0], read_term(sides[-1]))
    return read_relation(exact, signs, read_term) if signs else read_term(exact[0])


def _read_equation(sides: list[list[Token]], read_term: ReadTerm) -> Value:
    if is_name(sides[-1]) and not is_name(sides[0]) and len(sides) == 2:
        sides = sides[::-1]
    if is_name(sides[0]) and not (len(sides) == 2 and is_name(sides[1]) and len(sides[1]) == 1 and len(sides[0]) == 1):
        values = [read_term(side) for side in sides[1:]]
        _check_agreement(values)
        return _named(sides[0], values[-1])
    values = [read_term(side) for side in sides]
    if all(isinstance(value, Quantity) and value.number.is_number for value in values):
        _check_agreement(values)
        return values[-1]
    return _equation(sides, '=', read_term)


def _check_agreement(values: list[Value]) -> None:
    """Refuses a chain of equal signs between quantities that differ."""
    numbers = [value.number for value in values if isinstance(value, Quantity)]
    if any(numbers[0].equals(number) is not True for number in numbers[1:]):
        raise Refused('an equation that does not hold')


def _named(name: list[Token], value: Value) -> Value:
    symbolic = name[0].kind == 'letter' and (len(name) == 1 or name[1].text == '_')
    if isinstance(value, Quantity) and symbolic:
        return Quantity(value.number, value.unit, value.percent, value.decimals, ''.join(token.text for token in name))
    if isinstance(value, Group) and value.kind == 'list' and symbolic:
        return Group('list', tuple(_named(name, item) for item in value.items))
    return value


def _equation(sides: list[list[Token]], operator: str, read_term: ReadTerm) -> Relation:
    if len(sides) != 2:
        raise Unreadable('chain of equations')
    return scaled(operator, _number(read_term(sides[0])) - _number(read_term(sides[1])))


def _number(value: Value) -> Expression:
    if not isinstance(value, Quantity):
        raise Unreadable('a side that is no expression')
    return value.number


def _everything_but(value: Value) -> Value:
    excluded, infinite = _number(value), symbol('infty')
    return Region((Interval(-infinite, excluded, True, True), Interval(excluded, infinite, True, True)))


def _read_inequality(sides: list[list[Token]], operators: list[str], read_term: ReadTerm) -> Value:
    values = [read_term(side) for side in sides]
    if isinstance(values[0], Text) and len(values) == 2:  # "the length < 5"
        raise Unreadable('inequality on words')
    numbers = [_number(value) for value in values]
    if operators[0][0] == '>':
        numbers, operators = numbers[::-1], [_FLIPPED[sign] for sign in operators[::-1]]
    if any(sign[0] != '<' for sign in operators):
        raise Unreadable('inequalities in both directions')
    infinite = symbol('infty')
    if len(numbers) == 3:
        low, middle, high = numbers
        if not _is_symbol(middle) or not low.is_number or not high.is_number:
            raise Unreadable('chain that bounds no variable')
        return Interval(low, high, operators[0] == '<', operators[1] == '<')
    bound = _bound(numbers[0] - numbers[1])
    if bound is None:
        return scaled(operators[0], numbers[0] - numbers[1])
    end, is_upper = bound
    is_open = operators[0] == '<'
    return Interval(-infinite, end, True, is_open) if is_upper else Interval(end, infinite, is_open, True)


def _is_symbol(expression: Expression) -> bool:
    return len(expression.variables) == 1 and expression.equals(symbol(next(iter(expression.variables)))) is True


def _bound(difference: Expression) -> tuple[Expression, bool] | None:
    """The end and side of `a x + b < 0`, if the difference is linear in one variable."""
    if len(difference.variables) != 1 or difference.opaque or len(difference.bottom) != 1:
        return None
    (name,) = difference.variables
    powers = [m for m in difference.top if any(n == name for n, _ in m)]
    if powers != [((name, 1),)]:
        return None
    slope = difference.top[powers[0]]
    rest = difference - rational(slope) * symbol(name)
    return rest * rational(-1 / slope), slope > 0
