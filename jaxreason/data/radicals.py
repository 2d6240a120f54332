"""Roots of exact expressions: as radicals of primes where possible, else as opaque symbols."""

import math
from fractions import Fraction

from jaxreason.data.exact import CONSTANTS, Expression, opaque, sampled
from jaxreason.data.terms import IMAGINARY, ONE, TRIAL_LIMIT, Monomial, Terms, add, is_radical, join, prime_factors, symbols_of

_HALF = Fraction(1, 2)


def root(radicand: Expression, degree: int) -> Expression:
    """The principal root; of a negative number the real one if the degree is odd.

    Args:
        radicand: what is under the root.
        degree: at least 2.

    Returns:
        Radicals of primes where the radicand is one term or a denestable square root, else an opaque symbol.
    """

    def value(x: complex) -> complex:
        negative = x.imag == 0 and x.real < 0 and degree % 2
        return -((-x) ** (1 / degree)) if negative else x ** (1 / degree)

    exact = None
    if len(radicand.top) == 1 and radicand.bottom == ONE:
        exact = _root_of_term(*next(iter(radicand.top.items())), degree)
    elif not radicand.top:
        exact = {}
    elif degree == 2 and radicand.bottom == ONE:
        exact = _denested(radicand.top)
    if exact is None:
        return opaque(f'root{degree}', value, radicand)
    # Radicals are independent only if their radicands are known to be prime.
    is_opaque = radicand.opaque or any(is_radical(n) and int(n[1:]) > TRIAL_LIMIT**2 for n in symbols_of(exact))
    return Expression(exact, ONE, sampled(value, radicand), is_opaque)


def _root_of_term(monomial: Monomial, coefficient: Fraction, degree: int) -> Terms | None:
    powers: list[tuple[str, Fraction]] = []
    if coefficient < 0 and degree % 2 == 0:
        if degree != 2:
            return None
        powers.append((IMAGINARY, Fraction(1)))
    sign = -1 if coefficient < 0 and degree % 2 else 1
    for number, direction in ((abs(coefficient.numerator), 1), (coefficient.denominator, -1)):
        powers += [(f'#{p}', Fraction(direction * times, degree)) for p, times in prime_factors(number).items()]
    for name, exponent in monomial:
        is_positive = name in CONSTANTS or (is_radical(name))
        # The even root of an even power of a variable is an absolute value, unless the result is an even power again.
        if name == IMAGINARY or (not is_positive and degree % 2 == 0 and exponent % 2 == 0 and exponent / degree % 2):
            return None
        powers.append((name, exponent / degree))
    joined, factor = join(powers)
    return {joined: sign * factor}


def _denested(terms: Terms) -> Terms | None:
    """sqrt(a + b sqrt(c)) as a sum of two square roots, where a^2 - b^2 c is the square of a rational."""
    whole = terms.get((), Fraction(0))
    surds = [(m, c) for m, c in terms.items() if m]
    if len(surds) != 1 or not whole or not all(is_radical(n) and e == _HALF for n, e in surds[0][0]):
        return None
    monomial, coefficient = surds[0]
    square = whole**2 - coefficient**2 * math.prod(int(name[1:]) for name, _ in monomial)
    norm = _rational_square_root(square)
    if norm is None or whole + norm < 0 or whole - norm < 0:
        return None
    large, small = (_root_of_term((), (whole + s * norm) / 2, 2) or {} for s in (1, -1))
    return add(large, small, 1 if coefficient > 0 else -1)


def _rational_square_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(top, bottom) if (top * top, bottom * bottom) == (value.numerator, value.denominator) else None
