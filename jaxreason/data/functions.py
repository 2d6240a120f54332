"""Elementary functions on exact expressions: known values in closed form, anything else as an opaque symbol.

Sines and cosines of multiples of 15 degrees are radicals; those of other rational multiples of pi are reduced to the sine of
an angle in (0, pi/2), so that `cos 58` and `sin 32` degrees are one symbol. Logarithms of rationals are sums of logarithms of
primes, which makes quotients of logarithms exact.
"""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction

from jaxreason.data.exact import Expression, opaque, power, rational, symbol
from jaxreason.data.guards import MAX_FACTORIAL, MAX_TERMS, Refused, Unreadable
from jaxreason.data.radicals import root
from jaxreason.data.terms import is_radical, prime_factors


def apply(name: str, argument: Expression, base: Expression | None = None) -> Expression:
    """The value of a function of one argument.

    Args:
        name: as in LaTeX, without the backslash.
        argument: what it is applied to; angles in radians.
        base: of a logarithm; none means e, also for `log`, whose bases the text does not tell apart.

    Raises:
        Unreadable: an unknown function, or an argument outside its domain.
    """
    if name in ('log', 'ln', 'lg'):
        base = rational(10) if name == 'lg' and base is None else base
        return _log(argument) if base is None else _log(argument) / _log(base)
    if name == 'exp':
        return general_power(symbol('e'), argument)
    if name in _TRIGONOMETRIC:
        return _TRIGONOMETRIC[name](argument)
    if name in _OPAQUE:
        return opaque(name, _OPAQUE[name], argument)
    raise Unreadable(f'function {name}')


def absolute(argument: Expression) -> Expression:
    """The absolute value; a number's is settled by its sign."""
    value = argument.samples[0]
    if argument.is_number and value.imag == 0 and abs(value.real) > 1e-9:
        return argument if value.real > 0 else -argument
    return opaque('abs', abs, argument)


def factorial(argument: Expression) -> Expression:
    """n! of a whole number up to `MAX_FACTORIAL`; of a variable a symbol."""
    number = argument.constant
    if number is None:
        return opaque('factorial', lambda x: math.gamma(x.real + 1), argument)
    if number.denominator != 1 or number < 0:
        raise Unreadable('factorial of a number that is not whole')
    if number > MAX_FACTORIAL:
        if number > 10 * MAX_FACTORIAL:
            raise Refused('factorial with too many digits')
        return opaque('factorial', lambda x: math.gamma(x.real + 1), argument)
    return rational(math.factorial(int(number)))


def binomial(n: Expression, k: Expression) -> Expression:
    """n choose k for whole numbers with n up to 2,000."""
    top, bottom = n.constant, k.constant
    if top is None or bottom is None:
        return opaque('binomial', lambda *_: math.nan, n, k)
    if top.denominator != 1 or bottom.denominator != 1 or top < 0:
        raise Unreadable('binomial of numbers that are not whole')
    if top > 2000:
        raise Refused('binomial with too many digits')
    return rational(math.comb(int(top), int(bottom)) if bottom >= 0 else 0)


def general_power(base: Expression, exponent: Expression) -> Expression:
    """`base` to any power: whole and fractional ones exactly, the variable part of others as a symbol."""
    number = exponent.constant
    if number is not None:
        if abs(number) > 1_000_000 or number.denominator > 100:
            raise Refused('exponent too large')
        whole = power(base, number.numerator)
        return whole if number.denominator == 1 else root(power(base, number.numerator), number.denominator)
    if base.constant == 1:
        return base
    # a^(n + 2) is a^2 * a^n: the whole part is taken out so that shifted exponents compare equal.
    whole_part = exponent.top.get((), Fraction(0)) if len(exponent.bottom) == 1 else Fraction(0)
    if whole_part.denominator != 1 or abs(whole_part) > MAX_TERMS:
        whole_part = Fraction(0)
    rest = exponent - rational(whole_part)
    return power(base, int(whole_part)) * opaque('power', lambda x, y: x**y, base, rest)


def _log(argument: Expression) -> Expression:
    number = argument.constant
    if number is not None:
        if number <= 0:
            raise Unreadable('logarithm of a number that is not positive')
        total = rational(0)
        for part, sign in ((number.numerator, 1), (number.denominator, -1)):
            for prime, times in prime_factors(part).items() if part > 1 else ():
                total = total + rational(sign * times) * opaque('log', cmath.log, rational(prime))
        return total
    if len(argument.top) == 1 and len(argument.bottom) == 1:
        ((monomial, coefficient),) = argument.top.items()
        if coefficient == 1 and monomial == (('e', monomial[0][1]),):
            return rational(monomial[0][1])
        if coefficient == 1 and all(is_radical(name) for name, _ in monomial):
            logs = (rational(e) * opaque('log', cmath.log, rational(int(name[1:]))) for name, e in monomial)
            return sum(logs, rational(0))
    return opaque('log', cmath.log, argument)


def _turns(argument: Expression) -> Fraction | None:
    """`r` where the angle is `r` pi, if it is a rational multiple."""
    if not argument.top:
        return Fraction(0)
    if argument.bottom == {(): 1} and argument.top.keys() == {(('pi', Fraction(1)),)}:
        return next(iter(argument.top.values()))
    return None


def _sine_of_turns(turns: Fraction) -> Expression:
    """sin(turns * pi)."""
    turns %= 2
    if turns >= 1:
        return -_sine_of_turns(turns - 1)
    turns = min(turns, 1 - turns)
    r2, r3, r6 = (root(rational(n), 2) for n in (2, 3, 6))
    closed = {
        Fraction(0): rational(0),
        Fraction(1, 12): (r6 - r2) / rational(4),
        Fraction(1, 6): rational(Fraction(1, 2)),
        Fraction(1, 4): r2 / rational(2),
        Fraction(1, 3): r3 / rational(2),
        Fraction(5, 12): (r6 + r2) / rational(4),
        Fraction(1, 2): rational(1),
    }
    return closed[turns] if turns in closed else opaque('sin', cmath.sin, rational(turns) * symbol('pi'))


def _sine(angle: Expression) -> Expression:
    turns = _turns(angle)
    return opaque('sin', cmath.sin, angle) if turns is None else _sine_of_turns(turns)


def _cosine(angle: Expression) -> Expression:
    turns = _turns(angle)
    return opaque('cos', cmath.cos, angle) if turns is None else _sine_of_turns(turns + Fraction(1, 2))


_TRIGONOMETRIC: dict[str, Callable[[Expression], Expression]] = {
    'sin': _sine,
    'cos': _cosine,
    'tan': lambda angle: _sine(angle) / _cosine(angle),
    'cot': lambda angle: _cosine(angle) / _sine(angle),
    'sec': lambda angle: rational(1) / _cosine(angle),
    'csc': lambda angle: rational(1) / _sine(angle),
}

_OPAQUE: dict[str, Callable[[complex], complex]] = {
    'arcsin': cmath.asin,
    'arccos': cmath.acos,
    'arctan': cmath.atan,
    'sinh': cmath.sinh,
    'cosh': cmath.cosh,
    'tanh': cmath.tanh,
}
