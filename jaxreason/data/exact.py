"""Exact algebra on the expressions that answers are made of: no floats, no evaluation of text.

An `Expression` is a quotient of two sums of terms; a term is a rational times powers of symbols. Symbols are variables,
constants (pi, e), opaque function values (`sin(x)`), and *radicals*: the prime `p` under a fractional power, written `#p`,
with an exponent in (0, 1), and the imaginary unit `#i`. Products of such powers of distinct primes are linearly independent
over the rationals (Besicovitch 1940), so a sum without a denominator has one form only, and quotients are compared by cross
multiplication. Sizes are checked before every product and power.

Beside its exact form an expression carries `samples`: its value in floating point with the variables at fixed positive
points. They decide nothing in favour; two expressions whose samples differ clearly are different.

References:
    Besicovitch, On the linear independence of fractional powers of integers, J. London Math. Soc., 1940.
"""

import cmath
import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction

from jaxreason.data.guards import MAX_PRODUCT, MAX_TERMS, Refused, Unreadable, check_power, check_size

Monomial = tuple[tuple[str, Fraction], ...]  # (symbol, exponent), by symbol; exponents are never zero
Terms = dict[Monomial, Fraction]
Samples = tuple[complex, ...]

NUM_SAMPLES = 2
IMAGINARY = '#i'
CONSTANTS = {'pi': math.pi, 'e': math.e}
_ONE: Terms = {(): Fraction(1)}
_TRIAL_LIMIT = 2000
_HALF = Fraction(1, 2)


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
        top = _add(_multiply(self.top, other.bottom), _multiply(other.top, self.bottom))
        return _quotient(top, _multiply(self.bottom, other.bottom), _sampled(_plus, self, other), self.opaque or other.opaque)

    def __mul__(self, other: 'Expression') -> 'Expression':
        top, bottom = _multiply(self.top, other.top), _multiply(self.bottom, other.bottom)
        return _quotient(top, bottom, _sampled(_times, self, other), self.opaque or other.opaque)

    def __truediv__(self, other: 'Expression') -> 'Expression':
        top, bottom = _multiply(self.top, other.bottom), _multiply(self.bottom, other.top)
        return _quotient(top, bottom, _sampled(_over, self, other), self.opaque or other.opaque)

    def __neg__(self) -> 'Expression':
        return rational(-1) * self

    def __sub__(self, other: 'Expression') -> 'Expression':
        return self + -other

    @property
    def constant(self) -> Fraction | None:
        """The value, if it is rational."""
        if self.bottom != _ONE or any(self.top.keys() - {()}):
            return None
        return self.top.get((), Fraction(0))

    @property
    def is_number(self) -> bool:
        """Whether no variable occurs (radicals, pi, e and function values of numbers may)."""
        return not self.variables

    @property
    def variables(self) -> frozenset[str]:
        """The names of the symbols that are neither radicals nor constants."""
        return frozenset(s for s in _symbols(self.top) | _symbols(self.bottom) if not s.startswith('#') and s not in CONSTANTS)

    def equals(self, other: 'Expression') -> bool | None:
        """Whether both denote the same function; None where an identity unknown here could still make them equal."""
        difference = _add(_multiply(self.top, other.bottom), _multiply(other.top, self.bottom), -1)
        if not difference:
            return True
        if not (self.opaque or other.opaque) or _differ(self.samples, other.samples):
            return False
        return None

    def key(self) -> str:
        """Text that equal expressions share; rational functions are told apart by their value at one exact point."""
        if self.bottom == _ONE:
            return _text(self.top)
        names = sorted(s for s in _symbols(self.top) | _symbols(self.bottom) if not s.startswith('#'))
        point = {name: Fraction(10_000 + zlib.crc32(name.encode()) % 90_000) for name in names}
        value = _quotient(_substitute(self.top, point), _substitute(self.bottom, point), self.samples, self.opaque)
        return f'f({",".join(names)})={_text(value.top)}' + ('' if value.bottom == _ONE else f'/({_text(value.bottom)})')


def rational(value: Fraction | int) -> Expression:
    """The expression that is one rational number."""
    number = check_size(Fraction(value))
    return Expression({(): number} if number else {}, _ONE, (_float(number),) * NUM_SAMPLES)


def symbol(name: str) -> Expression:
    """A variable, or one of the constants pi and e; `i` is the imaginary unit."""
    if name == 'i':
        return Expression({((IMAGINARY, Fraction(1)),): Fraction(1)}, _ONE, (1j,) * NUM_SAMPLES)
    if name in CONSTANTS:
        samples: Samples = (CONSTANTS[name],) * NUM_SAMPLES
    else:
        code = zlib.crc32(name.encode())
        samples = tuple(0.3 + ((code >> (8 * k)) % 997) / 613 for k in range(NUM_SAMPLES))
    return Expression({((name, Fraction(1)),): Fraction(1)}, _ONE, samples)


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
    samples = _sampled(value, *arguments)
    return Expression({((name, Fraction(1)),): Fraction(1)}, _ONE, samples, True)


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
    if len(radicand.top) == 1 and radicand.bottom == _ONE:
        exact = _root_of_term(*next(iter(radicand.top.items())), degree)
    elif not radicand.top:
        exact = {}
    elif degree == 2 and radicand.bottom == _ONE:
        exact = _denested(radicand.top)
    if exact is None:
        return opaque(f'root{degree}', value, radicand)
    # Radicals are independent only if their radicands are known to be prime.
    is_opaque = radicand.opaque or any(n[1:].isdigit() and int(n[1:]) > _TRIAL_LIMIT**2 for n in _symbols(exact))
    return Expression(exact, _ONE, _sampled(value, radicand), is_opaque)


def prime_factors(number: int) -> dict[int, int]:
    """Factors by trial division up to a limit; what is left is kept whole if it is no square."""
    factors: dict[int, int] = {}
    for p in (2, *range(3, _TRIAL_LIMIT, 2)):
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


def _plus(a: complex, b: complex) -> complex:
    return a + b


def _times(a: complex, b: complex) -> complex:
    return a * b


def _over(a: complex, b: complex) -> complex:
    return a / b


def _sampled(function: Callable[..., complex], *arguments: Expression) -> Samples:
    values = []
    for point in zip(*(a.samples for a in arguments), strict=True):
        try:
            values.append(complex(function(*point)))
        except (ArithmeticError, ValueError):
            values.append(complex(math.nan))
    return tuple(values)


def _differ(a: Samples, b: Samples) -> bool:
    """Whether the samples prove a difference."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if cmath.isfinite(x) and cmath.isfinite(y)]
    return any(abs(x - y) > 1e-6 * max(abs(x), abs(y)) for x, y in pairs)


def _float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.nan


def _symbols(terms: Terms) -> set[str]:
    return {name for monomial in terms for name, _ in monomial}


def _add(a: Terms, b: Terms, factor: int = 1) -> Terms:
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


def _multiply(a: Terms, b: Terms) -> Terms:
    if b == _ONE:
        return a
    if a == _ONE:
        return b
    if len(a) * len(b) > MAX_PRODUCT:
        raise Unreadable('product with too many terms')
    result: Terms = {}
    for monomial_a, coefficient_a in a.items():
        for monomial_b, coefficient_b in b.items():
            monomial, factor = _join(monomial_a + monomial_b)
            total = result.get(monomial, Fraction(0)) + factor * coefficient_a * coefficient_b
            result[monomial] = check_size(total)
    result = {m: c for m, c in result.items() if c}
    if len(result) > MAX_TERMS:
        raise Unreadable('product with too many terms')
    return result


def _join(powers: Iterable[tuple[str, Fraction]]) -> tuple[Monomial, Fraction]:
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
        elif name[0] == '#' and name[1:].isdigit():
            whole = math.floor(exponent)
            check_power(Fraction(int(name[1:])), whole)
            factor *= Fraction(int(name[1:])) ** whole
            exponents[name] = exponent - whole
    return tuple(sorted((n, e) for n, e in exponents.items() if e)), factor


def _quotient(top: Terms, bottom: Terms, samples: Samples, is_opaque: bool) -> Expression:
    if not bottom:
        raise Unreadable('division by zero')
    if not top:
        return Expression({}, _ONE, samples, is_opaque)
    if len(bottom) > 1:
        top, bottom = _rationalised(top, bottom)
    if len(bottom) > 1 and (whole := _divided(top, bottom)) is not None:
        top, bottom = whole, _ONE
    if bottom != _ONE and len(bottom) == 1:
        (monomial, coefficient) = next(iter(bottom.items()))
        inverse, factor = _join((name, -exponent) for name, exponent in monomial)
        top, bottom = _multiply(top, {inverse: factor / coefficient}), _ONE
    return Expression(top, bottom, samples, is_opaque)


def _rationalised(top: Terms, bottom: Terms) -> tuple[Terms, Terms]:
    """Multiplies by conjugates while the denominator is a number made of square roots and i."""
    generators = sorted(_symbols(bottom))
    if len(generators) > 4 or not all(_is_square_root(m) for m in bottom):
        return top, bottom
    for generator in generators:
        if len(bottom) == 1:
            break
        conjugate = {m: -c if any(name == generator for name, _ in m) else c for m, c in bottom.items()}
        top, bottom = _multiply(top, conjugate), _multiply(bottom, conjugate)
    return top, bottom


def _divided(top: Terms, bottom: Terms) -> Terms | None:
    """The quotient of two polynomials without radicals, if it leaves no remainder."""
    names = sorted(_symbols(top) | _symbols(bottom))
    if any(n[0] == '#' for n in names) or any(e.denominator != 1 or e < 0 for m in [*top, *bottom] for _, e in m):
        return None

    def order(monomial: Monomial) -> tuple[Fraction, ...]:
        exponents = dict(monomial)
        return tuple(exponents.get(name, Fraction(0)) for name in names)

    lead = max(bottom, key=order)
    quotient: Terms = {}
    while top:
        first = max(top, key=order)
        ratio, _ = _join((*first, *((name, -exponent) for name, exponent in lead)))
        if any(exponent < 0 for _, exponent in ratio) or len(quotient) > 50:
            return None
        quotient[ratio] = top[first] / bottom[lead]
        top = _add(top, _multiply(bottom, {ratio: quotient[ratio]}), -1)
    return quotient


def _is_square_root(monomial: Monomial) -> bool:
    return all(n == IMAGINARY or (n[0] == '#' and n[1:].isdigit() and e == _HALF) for n, e in monomial)


def _long_power(base: Expression, exponent: int) -> Expression:
    """A high power of a single term: coefficient and exponents separately."""
    if len(base.top) != 1 or base.bottom != _ONE:
        raise Refused('high power of a sum')
    (monomial, coefficient) = next(iter(base.top.items()))
    joined, factor = _join((name, e * exponent) for name, e in monomial)
    number = check_size(coefficient**exponent * factor)
    return Expression({joined: number}, _ONE, _sampled(lambda x: x**exponent, base), base.opaque)


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
        is_positive = name in CONSTANTS or (name[0] == '#' and name[1:].isdigit())
        # The even root of an even power of a variable is an absolute value, unless the result is an even power again.
        if name == IMAGINARY or (not is_positive and degree % 2 == 0 and exponent % 2 == 0 and exponent / degree % 2):
            return None
        powers.append((name, exponent / degree))
    joined, factor = _join(powers)
    return {joined: sign * factor}


def _denested(terms: Terms) -> Terms | None:
    """sqrt(a + b sqrt(c)) as a sum of two square roots, where a^2 - b^2 c is the square of a rational."""
    whole = terms.get((), Fraction(0))
    surds = [(m, c) for m, c in terms.items() if m]
    if len(surds) != 1 or not whole or not all(n[0] == '#' and n[1:].isdigit() and e == _HALF for n, e in surds[0][0]):
        return None
    monomial, coefficient = surds[0]
    square = whole**2 - coefficient**2 * math.prod(int(name[1:]) for name, _ in monomial)
    norm = _rational_square_root(square)
    if norm is None or whole + norm < 0 or whole - norm < 0:
        return None
    large, small = (_root_of_term((), (whole + s * norm) / 2, 2) or {} for s in (1, -1))
    return _add(large, small, 1 if coefficient > 0 else -1)


def _rational_square_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(top, bottom) if (top * top, bottom * bottom) == (value.numerator, value.denominator) else None


def _substitute(terms: Terms, point: dict[str, Fraction]) -> Terms:
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
        joined, factor = _join(kept)
        result = _add(result, {joined: coefficient * factor})
    return result


def _text(terms: Terms) -> str:
    parts = []
    for monomial, coefficient in sorted(terms.items()):
        powers = '*'.join(name if exponent == 1 else f'{name}^{exponent}' for name, exponent in monomial)
        parts.append(f'{coefficient}*{powers}' if powers else str(coefficient))
    return ' + '.join(parts) if parts else '0'
