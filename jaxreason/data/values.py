"""What an answer can be, and when two answers are equal.

A value is a quantity, a group (tuple, list, set, vector, matrix), a set of reals, an equation or inequality, text, a clock
time, a number in another base, or refused text. `equal` is three-valued: None means that this module cannot tell, and
another judge may be asked; False is final. It is not symmetric: the reference answer may be a rounded decimal.
"""

import dataclasses
from fractions import Fraction

from jaxreason.data.exact import Expression, rational, symbol
from jaxreason.data.units import Unit


@dataclasses.dataclass(frozen=True, eq=False)
class Quantity:
    """A number or expression, with what is written around it.

    Attributes:
        number: the exact value, a percent sign applied.
        unit: a unit of the table, or None.
        percent: whether it is written as a percentage.
        decimals: digits after the point, if it is written as one decimal number.
        name: the symbol that it is said to equal, as in `x = 9`.
    """

    number: Expression
    unit: Unit | None = None
    percent: bool = False
    decimals: int | None = None
    name: str | None = None

    @property
    def key(self) -> str:
        return self.number.key()


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Several values.

    Attributes:
        kind: `tuple` and `vector` (ordered), `brackets` (ordered, square brackets), `list` and `set` (unordered).
        items: the values as written; the rows of a matrix are vectors.
    """

    kind: str
    items: tuple['Value', ...]

    @property
    def is_ordered(self) -> bool:
        return self.kind in ('tuple', 'vector', 'brackets')

    @property
    def key(self) -> str:
        keys = [item.key for item in self.items]
        if self.is_ordered:
            return f'({", ".join(keys)})'
        return keys[0] if len(set(keys)) == 1 else '{' + ', '.join(sorted(set(keys))) + '}'


@dataclasses.dataclass(frozen=True, eq=False)
class Interval:
    """A stretch of the real line; an unbounded end is open."""

    low: Expression
    high: Expression
    low_open: bool
    high_open: bool

    @property
    def key(self) -> str:
        # An open interval is written like a pair: both share one key.
        return f'{"(" if self.low_open else "["}{self.low.key()}, {self.high.key()}{")" if self.high_open else "]"}'


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A union of intervals and finite sets."""

    parts: tuple['Value', ...]

    @property
    def key(self) -> str:
        return ' u '.join(sorted(part.key for part in self.parts))


@dataclasses.dataclass(frozen=True, eq=False)
class Relation:
    """An equation or inequality that states no value: `difference operator 0`, scaled to a canonical form."""

    operator: str
    difference: Expression

    @property
    def key(self) -> str:
        return f'{self.difference.key()} {self.operator} 0'


@dataclasses.dataclass(frozen=True)
class Text:
    """Words, without case and articles."""

    words: str

    @property
    def key(self) -> str:
        return f'text {self.words}'


@dataclasses.dataclass(frozen=True)
class Clock:
    """A time of day; `9:45` may also be a ratio."""

    hour: int
    minute: int
    meridiem: str = ''

    @property
    def key(self) -> str:
        return f'clock {self.hour}:{self.minute:02}{self.meridiem}'

    @property
    def ratio(self) -> Quantity | None:
        return Quantity(rational(Fraction(self.hour, self.minute))) if self.minute and not self.meridiem else None


@dataclasses.dataclass(frozen=True)
class Based:
    """A number in a base other than ten, digit by digit."""

    digits: str
    base: int

    @property
    def key(self) -> str:
        return f'{self.digits}_{self.base}'


@dataclasses.dataclass(frozen=True)
class Opaque:
    """Text without a value: refused (`is_final`), or beyond what is read here. It equals only the same text."""

    text: str
    is_final: bool

    @property
    def key(self) -> str:
        return f'raw {self.text}'


Value = Quantity | Group | Interval | Region | Relation | Text | Clock | Based | Opaque


def equal(gold: Value, answer: Value) -> bool | None:
    """Whether an answer equals the reference answer.

    Args:
        gold: the reference; may be a rounded decimal, and may lack the unit that the answer has.
        answer: the answer to judge.

    Returns:
        True or False where that is certain, None where another judge should be asked.
    """
    if isinstance(gold, Opaque) or isinstance(answer, Opaque):
        if gold.key == answer.key:
            return True
        is_final = any(isinstance(v, Opaque) and v.is_final for v in (gold, answer))
        return False if is_final or Text in (type(gold), type(answer)) else None
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return _equal_quantities(gold, answer)
    if isinstance(gold, Clock) or isinstance(answer, Clock):
        return _equal_times(gold, answer)
    if isinstance(gold, Based) or isinstance(answer, Based):
        return _equal_based(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Quantity):
        return _states(answer, gold)
    if isinstance(gold, Quantity) and isinstance(answer, Relation):
        return _states(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return gold.operator == answer.operator and _and([gold.difference.equals(answer.difference)])
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        if (gold.low_open, gold.high_open) != (answer.low_open, answer.high_open):
            return False
        return _and([gold.low.equals(answer.low), gold.high.equals(answer.high)])
    return _equal_collections(gold, answer)


def _and(results: list[bool | None]) -> bool | None:
    if False in results:
        return False
    return None if None in results else True


def _equal_quantities(gold: Quantity, answer: Quantity) -> bool | None:
    if gold.name and answer.name and gold.name != answer.name:
        return False
    left, right, unit = gold.number, answer.number, answer.unit
    if gold.unit and unit and gold.unit != unit:
        if unit.money is not None and gold.unit.dimensions == unit.money.dimensions:
            unit = unit.money  # the reference leaves out that its dollars are per day
        if gold.unit.dimensions != unit.dimensions:
            return False
        left, right = left * rational(gold.unit.size), right * rational(unit.size)
    result = left.equals(right)
    if result is False and gold.percent != answer.percent and not gold.unit and not answer.unit:
        result = _equal_percentage(*((gold, answer) if gold.percent else (answer, gold)))
    if result is False and (gold.percent, gold.unit) == (answer.percent, answer.unit) and _rounds_to(answer, gold):
        return True
    if result is False and len(left.variables) == len(right.variables) == 1:
        return _same_choice(left, right)
    return result


def _equal_percentage(percentage: Quantity, plain: Quantity) -> bool:
    """25 for 25%: the sign as an added unit. Below 1 the plain number can only be the fraction itself."""
    value, number = percentage.number.constant, plain.number.constant
    return value is not None and number is not None and abs(number) > 1 and value * 100 == number


def _rounds_to(answer: Quantity, gold: Quantity) -> bool:
    """Whether the reference is a decimal with two or more digits after the point that rounds the exact answer."""
    reference, value = gold.number.constant, answer.number.constant
    if gold.decimals is None or gold.decimals < 2 or answer.decimals is not None or reference is None:
        return False
    if value is not None:
        rest = value.denominator
        for p in (2, 5):
            while rest % p == 0:
                rest //= p
        # A fraction that terminates would have been written out.
        return rest > 1 and abs(value - reference) * 2 * 10**gold.decimals <= 1
    sample = answer.number.samples[0]
    if not answer.number.is_number or sample.imag or not abs(sample.real) < 1e12 or gold.decimals > 8:
        return False
    return abs(sample.real - float(reference)) * 2 * 10**gold.decimals < 1


def _same_choice(gold: Expression, answer: Expression) -> bool:
    """`D` and `d`: letters that name a choice compare without case."""
    (left,), (right,) = gold.variables, answer.variables
    is_letter = gold.equals(symbol(left)) and answer.equals(symbol(right))
    return bool(is_letter) and len(left) == 1 and left in 'ABCDEFGHIJ' and left == right.upper()


def _states(quantity: Quantity, relation: Relation) -> bool | None:
    """Whether `y = value` is the equation, up to a constant factor."""
    if quantity.name is None or relation.operator != '=':
        return False
    return scaled('=', symbol(quantity.name) - quantity.number).difference.equals(relation.difference)


def scaled(operator: str, difference: Expression) -> Relation:
    """The relation `difference operator 0` without denominators and with leading coefficient 1 (or its sign, if not `=`)."""
    if not difference.top:
        return Relation(operator, difference)
    first = min(difference.top)
    factor = 1 / difference.top[first]
    if operator not in ('=', '!='):
        factor = abs(factor)
    top = {monomial: coefficient * factor for monomial, coefficient in difference.top.items()}
    sample = tuple(complex('nan') for _ in difference.samples)  # the scale is lost: let the terms alone decide
    return Relation(operator, Expression(top, {(): Fraction(1)}, sample, difference.opaque))


def _equal_times(gold: Value, answer: Value) -> bool | None:
    if isinstance(gold, Clock) and isinstance(answer, Clock):
        if gold.meridiem and answer.meridiem:
            return gold == answer
        if (gold.hour, gold.minute) == (answer.hour, answer.minute):
            return True
        named, other = (gold, answer) if gold.meridiem else (answer, gold)
        return bool(named.meridiem) and (named.hour % 12 + 12 * (named.meridiem == 'pm'), named.minute) == (
            other.hour,
            other.minute,
        )
    time, other_value = (gold, answer) if isinstance(gold, Clock) else (answer, gold)
    ratio = time.ratio if isinstance(time, Clock) else None
    if ratio is not None and isinstance(other_value, Quantity):
        return _equal_quantities(ratio, other_value)
    return False


def _equal_based(gold: Value, answer: Value) -> bool:
    if isinstance(gold, Based) and isinstance(answer, Based):
        return gold == answer
    based, other = (gold, answer) if isinstance(gold, Based) else (answer, gold)
    if not isinstance(other, Quantity) or not isinstance(based, Based):
        return False
    # The base may be left out, never replaced by the value in base ten.
    return other.number.constant is not None and based.digits == other.number.key()


def _equal_collections(gold: Value, answer: Value) -> bool | None:
    gold, answer = _single(gold), _single(answer)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return _equal_quantities(gold, answer)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _equal_groups(gold, answer)
    if isinstance(gold, Group) and not gold.is_ordered and isinstance(answer, Quantity):
        return _match(_distinct(gold.items), (answer,))
    if isinstance(answer, Group) and not answer.is_ordered and isinstance(gold, Quantity):
        return _match((gold,), _distinct(answer.items))
    for pair, interval in ((gold, answer), (answer, gold)):
        if isinstance(pair, Group) and isinstance(interval, Interval):
            return _pair_is_interval(pair, interval)
    if isinstance(gold, Region) and isinstance(answer, Region):
        return _match(gold.parts, answer.parts)
    return gold.key == answer.key


def _single(value: Value) -> Value:
    """The element of an unordered group of one."""
    return value.items[0] if isinstance(value, Group) and not value.is_ordered and len(value.items) == 1 else value


def _pair_is_interval(pair: Group, interval: Interval) -> bool | None:
    is_open = interval.low_open and interval.high_open
    is_closed = not interval.low_open and not interval.high_open
    fits = (pair.kind == 'tuple' and is_open) or (pair.kind == 'vector' and is_closed)  # [4, 6] for a column vector
    if not fits or len(pair.items) != 2:
        return False
    return _and([equal(item, Quantity(end)) for item, end in zip(pair.items, (interval.low, interval.high), strict=True)])


def _equal_groups(gold: Group, answer: Group) -> bool | None:
    kinds = {gold.kind, answer.kind}
    if len(gold.items) != len(answer.items) and not (kinds <= {'list', 'set'}):
        return False
    if 'set' in kinds and (gold.is_ordered or answer.is_ordered):
        return False
    if kinds <= {'list', 'set'} or kinds == {'list', 'brackets'}:
        return _match(_distinct(gold.items), _distinct(answer.items))
    # A tuple without its brackets is a list in the same order.
    return _and([equal(g, a) for g, a in zip(gold.items, answer.items, strict=True)])


def _distinct(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Drops what repeats another item; the fuller one stays, so that `5, 5 cm, 5 kg` keeps both units."""
    kept: dict[str, list[Value]] = {}
    for item in sorted(items, key=lambda item: not (isinstance(item, Quantity) and (item.unit or item.name))):
        same = kept.setdefault(item.key, [])
        if not any(equal(other, item) is True for other in same):
            same.append(item)
    return tuple(item for same in kept.values() for item in same)


def full_key(value: Value) -> tuple[object, ...]:
    """What two values share only if they say the same in every respect: the key, and the units and names it leaves out."""
    if isinstance(value, Quantity):
        return (value.key, value.unit, value.name)
    if isinstance(value, Group):
        return (value.kind, *map(full_key, value.items))
    return (value.key,)


def _match(gold: tuple[Value, ...], answer: tuple[Value, ...]) -> bool | None:
    """Pairs the items off in any order; those that say the same in every respect first."""
    if len(gold) != len(answer):
        return False
    unpaired: dict[tuple[object, ...], list[Value]] = {}
    for other in answer:
        unpaired.setdefault(full_key(other), []).append(other)
    rest: list[Value] = []
    for item in gold:
        same = unpaired.get(full_key(item))
        if same and equal(item, same[-1]) is True:
            same.pop()
        else:
            rest.append(item)
    left = [other for same in unpaired.values() for other in same]
    is_unsure = False
    for item in rest:
        results = [equal(item, other) for other in left]
        if True in results:
            del left[results.index(True)]
        elif None in results:
            is_unsure = True
        else:
            return False
    return None if is_unsure else True
