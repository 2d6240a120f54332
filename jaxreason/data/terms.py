"""Sums of terms over the rationals: the arithmetic under `exact.Expression`.

A term is a rational times powers of symbols. Symbols are variables, constants (pi, e), opaque function values (`sin(x)`), and
*radicals*: the prime `p` under a fractional power, written `#p`, with an exponent in (0, 1), and the imaginary unit `#i`.
Products of such powers of distinct primes are linearly independent over the rationals, so a sum has one form only. Sizes are
checked before every product and power.

References:
    Besicovitch, On the linear independence of fractional powers of integers, J. London Math. Soc., 1940.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

from jaxreason.data.guards import MAX_PRODUCT, MAX_TERMS, Unreadable, check_power, check_size

Monomial = tuple[tuple[str, Fraction], ...]  # (symbol, exponent), by symbol; exponents are never zero
Terms = dict[Monomial, Fraction]

ONE: Terms = {(): Fraction(1)}
IMAGINARY = '#i'
TRIAL_LIMIT = 2000  # trial divisors; a factor above the square of this is not known to be prime
_HALF = Fraction(1, 2)


def is_radical(symbol: str) -> bool:
    """Whether a symbol is a prime under a root (and not the imaginary unit, a variable or a function value)."""
    return symbol[0] == '#' and symbol[1:].isdigit()


def prime_factors(number: int) -> dict[int, int]:
    """Factors by trial division up to a limit; what is left is kept whole if it is no square."""
    factors: dict[int, int] = {}
    for p in (2, *range(3, TRIAL_LIMIT, 2)):
        while number % p == 0:
            factors[p] = factors.get(p, 0) + 1
            number //= p
        if p * p > number:
            break
    if number > 1:
        side = math.isqrt(number)
        base, times = (side, 2) if side * side == number else (number, 1)
        factors[base] = factors.get(base, 0) + times
    return factors


def symbols_of(terms: Terms) -> set[str]:
    return {name for monomial in terms for name, _ in monomial}


def add(a: Terms, b: Terms, factor: int = 1) -> Terms:
    result = dict(a)
    for monomial, coefficient in b.items():
        total = result.get(monomial, Fraction(0)) + factor * coefficient
        if total:
            result[monomial] = check_size(total)
        else:
            result.pop(monomial, None)
    if len(result) > MAX_TERMS:
        raise Unreadable('sum with too many terms')
    return result


def multiply(a: Terms, b: Terms) -> Terms:
    if b == ONE:
        return a
    if a == ONE:
        return b
    if len(a) * len(b) > MAX_PRODUCT:
        raise Unreadable('product with too many terms')
    result: Terms = {}
    for monomial_a, coefficient_a in a.items():
        for monomial_b, coefficient_b in b.items():
            monomial, factor = join(monomial_a + monomial_b)
            total = result.get(monomial, Fraction(0)) + factor * coefficient_a * coefficient_b
            result[monomial] = check_size(total)
    result = {m: c for m, c in result.items() if c}
    if len(result) > MAX_TERMS:
        raise Unreadable('product with too many terms')
    return result


def join(powers: Iterable[tuple[str, Fraction]]) -> tuple[Monomial, Fraction]:
    """Merges powers of the same symbol; whole powers of radicals and of i move into the factor."""
    exponents: dict[str, Fraction] = {}
    for name, exponent in powers:
        exponents[name] = exponents.get(name, Fraction(0)) + exponent
    factor = Fraction(1)
    for name, exponent in exponents.items():
        if name == IMAGINARY:
            turns = int(exponent) % 4
            factor = -factor if turns >= 2 else factor
            exponents[name] = Fraction(turns % 2)
        elif is_radical(name):
            whole = math.floor(exponent)
            check_power(Fraction(int(name[1:])), whole)
            factor *= Fraction(int(name[1:])) ** whole
            exponents[name] = exponent - whole
    return tuple(sorted((n, e) for n, e in exponents.items() if e)), factor


def rationalised(top: Terms, bottom: Terms) -> tuple[Terms, Terms]:
    """Multiplies by conjugates while the denominator is a number made of square roots and i."""
    generators = sorted(symbols_of(bottom))
    if len(generators) > 4 or not all(_is_square_root(m) for m in bottom):
        return top, bottom
    for generator in generators:
        if len(bottom) == 1:
            break
        conjugate = {m: -c if any(name == generator for name, _ in m) else c for m, c in bottom.items()}
        top, bottom = multiply(top, conjugate), multiply(bottom, conjugate)
    return top, bottom


def divided(top: Terms, bottom: Terms) -> Terms | None:
    """The quotient of two polynomials without radicals, if it leaves no remainder."""
    names = sorted(symbols_of(top) | symbols_of(bottom))
    if any(n[0] == '#' for n in names) or any(e.denominator != 1 or e < 0 for m in [*top, *bottom] for _, e in m):
        return None

    def order(monomial: Monomial) -> tuple[Fraction, ...]:
        exponents = dict(monomial)
        return tuple(exponents.get(name, Fraction(0)) for name in names)

    lead = max(bottom, key=order)
    quotient: Terms = {}
    while top:
        first = max(top, key=order)
        ratio, _ = join((*first, *((name, -exponent) for name, exponent in lead)))
        if any(exponent < 0 for _, exponent in ratio) or len(quotient) > 50:
            return None
        quotient[ratio] = top[first] / bottom[lead]
        top = add(top, multiply(bottom, {ratio: quotient[ratio]}), -1)
    return quotient


def substitute(terms: Terms, point: dict[str, Fraction]) -> Terms:
    result: Terms = {}
    for monomial, coefficient in terms.items():
        kept: list[tuple[str, Fraction]] = []
        for name, exponent in monomial:
            if name not in point:
                kept.append((name, exponent))
                continue
            whole = math.floor(exponent)
            check_power(point[name], whole)
            coefficient *= point[name] ** whole
            # A fractional power of the point is a radical like any other.
            for p, times in prime_factors(point[name].numerator).items() if exponent != whole else ():
                kept.append((f'#{p}', times * (exponent - whole)))
        joined, factor = join(kept)
        result = add(result, {joined: coefficient * factor})
    return result


def text_of(terms: Terms) -> str:
    parts = []
    for monomial, coefficient in sorted(terms.items()):
        powers = '*'.join(name if exponent == 1 else f'{name}^{exponent}' for name, exponent in monomial)
        parts.append(f'{coefficient}*{powers}' if powers else str(coefficient))
    return ' + '.join(parts) if parts else '0'


def _is_square_root(monomial: Monomial) -> bool:
    return all(n == IMAGINARY or (is_radical(n) and e == _HALF) for n, e in monomial)
