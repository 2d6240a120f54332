"""Exact algebra on the expressions that answers are made of: no floats decide, no text is evaluated.

An `Expression` is a quotient of two sums of terms (`terms`). A sum has one form only, and quotients are compared by cross
multiplication. Beside its exact form an expression carries `samples`: its value in floating point with the variables at
fixed positive points. They decide nothing in favour; two expressions whose samples differ clearly are different, also where
function values hide the identities that would be needed to see it.
"""

import cmath
import dataclasses
import math
import zlib
from collections.abc import Callable
from fractions import Fraction

from jaxreason.data.guards import MAX_TERMS, Refused, Unreadable, check_power, check_size
from jaxreason.data.terms import (
    IMAGINARY,
    ONE,
    Terms,
    add,
    divided,
    join,
    multiply,
    rationalised,
    substitute,
    symbols_of,
    text_of,
)

Samples = tuple[complex, ...]

NUM_SAMPLES = 2
CONSTANTS = {'pi': math.pi, 'e': math.e}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A quotient of sums, with its value at the sample points.

    Attributes:
        top: terms of the numerator.
        bottom: terms of the denominator; `{(): 1}` unless it has several terms.
        samples: floating-point values at the sample points.
        opaque: whether a symbol stands for a function value whose identities are not known here.
    """

    top: Terms
    bottom: Terms
    samples: Samples
    opaque: bool = False

    def __add__(self, other: 'Expression') -> 'Expression':
        top = add(multiply(self.top, other.bottom), multiply(other.top, self.bottom))
        return _quotient(top, multiply(self.bottom, other.bottom), sampled(_plus, self, other), self.opaque or other.opaque)

    def __mul__(self, other: 'Expression') -> 'Expression':
        top, bottom = multiply(self.top, other.top), multiply(self.bottom, other.bottom)
        return _quotient(top, bottom, sampled(_times, self, other), self.opaque or other.opaque)

    def __truediv__(self, other: 'Expression') -> 'Expression':
        top, bottom = multiply(self.top, other.bottom), multiply(self.bottom, other.top)
        return _quotient(top, bottom, sampled(_over, self, other), self.opaque or other.opaque)

    def __neg__(self) -> 'Expression':
        return rational(-1) * self

    def __sub__(self, other: 'Expression') -> 'Expression':
        return self + -other

    @property
    def constant(self) -> Fraction | None:
        """The value, if it is rational."""
        if self.bottom != ONE or any(self.top.keys() - {()}):
            return None
        return self.top.get((), Fraction(0))

    @property
    def is_number(self) -> bool:
        """Whether no variable occurs (radicals, pi, e and function values of numbers may)."""
        return not self.variables

    @property
    def variables(self) -> frozenset[str]:
        """The names of the symbols that are neither radicals nor constants."""
        return frozenset(
            s for s in symbols_of(self.top) | symbols_of(self.bottom) if not s.startswith('#') and s not in CONSTANTS
        )

    def equals(self, other: 'Expression') -> bool | None:
        """Whether both denote the same function; None where an identity unknown here could still make them equal."""
        difference = add(multiply(self.top, other.bottom), multiply(other.top, self.bottom), -1)
        if not difference:
            return True
        if not (self.opaque or other.opaque) or _differ(self.samples, other.samples):
            return False
        return None

    def key(self) -> str:
        """Text that equal expressions share; rational functions are told apart by their value at one exact point."""
        if self.bottom == ONE:
            return text_of(self.top)
        names = sorted(s for s in symbols_of(self.top) | symbols_of(self.bottom) if not s.startswith('#'))
        point = {name: Fraction(10_000 + zlib.crc32(name.encode()) % 90_000) for name in names}
        value = _quotient(substitute(self.top, point), substitute(self.bottom, point), self.samples, self.opaque)
        return f'f({",".join(names)})={text_of(value.top)}' + ('' if value.bottom == ONE else f'/({text_of(value.bottom)})')


def rational(value: Fraction | int) -> Expression:
    """The expression that is one rational number."""
    number = check_size(Fraction(value))
    return Expression({(): number} if number else {}, ONE, (_float(number),) * NUM_SAMPLES)


def symbol(name: str) -> Expression:
    """A variable, or one of the constants pi and e; `i` is the imaginary unit."""
    if name == 'i':
        return Expression({((IMAGINARY, Fraction(1)),): Fraction(1)}, ONE, (1j,) * NUM_SAMPLES)
    if name in CONSTANTS:
        samples: Samples = (CONSTANTS[name],) * NUM_SAMPLES
    else:
        code = zlib.crc32(name.encode())
        samples = tuple(0.3 + ((code >> (8 * k)) % 997) / 613 for k in range(NUM_SAMPLES))
    return Expression({((name, Fraction(1)),): Fraction(1)}, ONE, samples)


def opaque(function: str, value: Callable[..., complex], *arguments: Expression) -> Expression:
    """A function value as a symbol of its own.

    Args:
        function: its name.
        value: computes it in floating point; where it cannot, the sample is NaN.
        *arguments: what it is applied to.

    Returns:
        An expression of one symbol, equal to another only if function and arguments are.
    """
    name = f'{function}({";".join(a.key() for a in arguments)})'
    # A function of numbers is a number: the mark keeps it out of `variables`.
    name = '#' + name if all(a.is_number for a in arguments) else name
    samples = sampled(value, *arguments)
    return Expression({((name, Fraction(1)),): Fraction(1)}, ONE, samples, True)


def power(base: Expression, exponent: int) -> Expression:
    """`base` to a whole power, its size checked first."""
    if exponent < 0:
        return rational(1) / power(base, -exponent)
    if len(base.top) > 1 or len(base.bottom) > 1:
        terms = max(len(base.top), len(base.bottom))
        if exponent > 60 or math.comb(exponent + terms - 1, terms - 1) > MAX_TERMS:
            raise Unreadable('power of a sum with too many terms')
    for coefficient in [*base.top.values(), *base.bottom.values()]:
        check_power(coefficient, exponent)
    if exponent > 60 and base.constant is not None:
        return rational(base.constant**exponent)
    if exponent > 60:
        return _long_power(base, exponent)
    result = rational(1)
    for _ in range(exponent):
        result = result * base
    return result


def sampled(function: Callable[..., complex], *arguments: Expression) -> Samples:
    """The samples of a function value; NaN where the function has none."""
    values = []
    for point in zip(*(a.samples for a in arguments), strict=True):
        try:
            values.append(complex(function(*point)))
        except (ArithmeticError, ValueError):
            values.append(complex(math.nan))
    return tuple(values)


def _plus(a: complex, b: complex) -> complex:
    return a + b


def _times(a: complex, b: complex) -> complex:
    return a * b


def _over(a: complex, b: complex) -> complex:
    return a / b


def _differ(a: Samples, b: Samples) -> bool:
    """Whether the samples prove a difference."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if cmath.isfinite(x) and cmath.isfinite(y)]
    return any(abs(x - y) > 1e-6 * max(abs(x), abs(y)) for x, y in pairs)


def _float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.nan


def _quotient(top: Terms, bottom: Terms, samples: Samples, is_opaque: bool) -> Expression:
    if not bottom:
        raise Unreadable('division by zero')
    if not top:
        return Expression({}, ONE, samples, is_opaque)
    if len(bottom) > 1:
        top, bottom = rationalised(top, bottom)
    if len(bottom) > 1 and (whole := divided(top, bottom)) is not None:
        top, bottom = whole, ONE
    if bottom != ONE and len(bottom) == 1:
        (monomial, coefficient) = next(iter(bottom.items()))
        inverse, factor = join((name, -exponent) for name, exponent in monomial)
        top, bottom = multiply(top, {inverse: factor / coefficient}), ONE
    return Expression(top, bottom, samples, is_opaque)


def _long_power(base: Expression, exponent: int) -> Expression:
    """A high power of a single term: coefficient and exponents separately."""
    if len(base.top) != 1 or base.bottom != ONE:
        raise Refused('high power of a sum')
    (monomial, coefficient) = next(iter(base.top.items()))
    joined, factor = join((name, e * exponent) for name, e in monomial)
    number = check_size(coefficient**exponent * factor)
    return Expression({joined: number}, ONE, sampled(lambda x: x**exponent, base), base.opaque)
