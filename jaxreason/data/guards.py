"""Limits on text that a model wrote, checked before anything is computed from it.

Every rule here is a comparison of counts: it costs time linear in the text and never depends on the value that the text
denotes, so `9^{9^{9^{9}}}` is refused for its exponent and not after trying. What is refused is not a value; it can equal a
reference answer only by being the same text.
"""

import re
import unicodedata
from fractions import Fraction

MAX_ANSWER_CHARS = 2000  # the longest answer of MATH has about 250
MAX_NESTING = 40  # brackets of all kinds; bounds the parser's recursion
MAX_DIGITS = 400  # of one number as it is written
MAX_EXPONENT = 400  # of ten, in scientific notation
MAX_BITS = 1 << 13  # of a numerator with its denominator, during exact arithmetic; below Python's limit for printing
MAX_TERMS = 600  # of a sum, during exact arithmetic
MAX_PRODUCT = 40_000  # term pairs of one multiplication
MAX_FACTORIAL = 500
MAX_ITEMS = 400  # of a list, a tuple or a matrix

_REFUSED_CHARACTERS = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_LONG_NUMBER = re.compile(rf'\d{{{MAX_DIGITS + 1}}}')
_LEVEL = r'(?:\^|\*\*)[\s{(]*(?:\d+|[a-zA-Z])[\s})]*'  # one exponent that is a single atom
_POWER_TOWER = re.compile(_LEVEL * 2 + r'(?:\^|\*\*)')
_COSTLY = re.compile(r'\^\s*\{?[^{}]*\d\s*\^|(?:\^|\*\*)\s*\{?\s*-?\d{5}')  # a power in an exponent or a bound, or a long one
_NESTED_FACTORIAL = re.compile(r'!\s*[)}\]]*\s*!')


class Unreadable(Exception):
    """Text that the exact reader does not know how to read; another reader may."""


class Refused(Exception):
    """Text that we decline to give a value: too large, or not exact. No other reader is asked."""


def check_text(text: str) -> None:
    """Refuses text that is too long, too deep or too large, or that hides what it says.

    Args:
        text: an answer as it was extracted.

    Raises:
        Refused: over a limit of this module.
        Unreadable: control, direction-override or surrogate characters, or digits other than 0-9.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise Refused(f'{len(text)} characters')
    if not text.isascii():
        if _REFUSED_CHARACTERS.search(text):
            raise Unreadable('control or direction characters')
        if any(ord(c) > 127 and unicodedata.category(c) == 'Nd' for c in text):
            raise Unreadable('digits other than 0-9')
    elif not text.isprintable() and _REFUSED_CHARACTERS.search(text):
        raise Unreadable('control characters')
    if _LONG_NUMBER.search(text):
        raise Refused('too many digits')
    if nesting(text) > MAX_NESTING:
        raise Refused('too deeply nested')
    if _POWER_TOWER.search(text) or _NESTED_FACTORIAL.search(text):
        raise Refused('power tower or iterated factorial')


def check_effort(text: str) -> None:
    """Refuses text that a computer algebra system might start to evaluate and never finish.

    Args:
        text: an answer that `check_text` let pass.

    Raises:
        Refused: numeric powers within exponents or within the bounds of sums, or exponents of five digits.
    """
    if _COSTLY.search(text):
        raise Refused('a power in an exponent or a bound')


def nesting(text: str) -> int:
    """The deepest nesting of brackets of any kind, unclosed ones counted."""
    depth = deepest = 0
    for character in text:
        if character in '([{':
            depth += 1
            deepest = max(deepest, depth)
        elif character in ')]}' and depth:
            depth -= 1
    return deepest


def check_size(number: Fraction) -> Fraction:
    """Returns `number`, or raises `Refused` if it takes more than `MAX_BITS`."""
    if number.numerator.bit_length() + number.denominator.bit_length() > MAX_BITS:
        raise Refused('number with too many digits')
    return number


def check_power(base: Fraction, exponent: int) -> None:
    """Raises `Refused` if `base ** exponent` would be too long to write, without computing it."""
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and bits * abs(exponent) > MAX_BITS // 2:
        raise Refused('power with too many digits')
