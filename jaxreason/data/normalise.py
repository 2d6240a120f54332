"""From an answer as text to its exact value, and to the key under which votes are counted.

`read` is the whole exact normaliser: guards, then a fast path for plain numbers, then special forms (clock times, numbers in
other bases, choices, number words), then the grammar. It never raises: what it cannot read is an `Opaque` value.
"""

import functools
import hashlib
import re
from fractions import Fraction

from jaxreason.data.exact import rational
from jaxreason.data.expressions import read_number
from jaxreason.data.guards import MAX_ANSWER_CHARS, Refused, Unreadable, check_text
from jaxreason.data.latex_tokens import Token, plain, tokenize, unwrap_text
from jaxreason.data.number_words import parse_number_words
from jaxreason.data.reading import compound_readings, read_items, read_words, with_letter_unit
from jaxreason.data.values import Based, Clock, Group, Opaque, Quantity, Value

_PLAIN_NUMBER = re.compile(r'-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,15})?', re.ASCII)
_CLOCK = re.compile(r'(\d{1,2})(?::(\d\d))?\s*(?:([ap])\.?\s*m\.?)?', re.IGNORECASE)
_RATIO = re.compile(r'(\d{1,15}(?:\.\d+)?)((?:\s*:\s*\d{1,15}(?:\.\d+)?)+)')
_BASED = re.compile(r'(-?[0-9A-Z]{1,60}(?:\.[0-9A-Z]{1,60})?)_\{?(?:\\text\{)?(\d{1,2}|[a-z]{3,9})\}?\}?')
_BASES = {'two': 2, 'three': 3, 'four': 4, 'five': 5, 'six': 6, 'seven': 7, 'eight': 8, 'nine': 9, 'ten': 10, 'sixteen': 16}
_LABEL = re.compile(r'(?:(?:so|thus|therefore),?\s+)?(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*[:=])\s*', re.IGNORECASE)
_CHOICE = re.compile(r'(?:option|choice|answer)?\s*\(?([A-J])\)?[.:)]\s+(.*\S)', re.IGNORECASE)
_PREFIX = re.compile(r'(?:option|choice)s?\s+(?=\(?[A-Ja-j]\)?$)', re.IGNORECASE)
_AMBIGUOUS_LIST = re.compile(r'\d{1,3}(?:,\d{3})+')
_NOTHING = frozenset(
    (
        'no solution',
        'no solutions',
        'no real solution',
        'no real solutions',
        'empty set',
        'the empty set',
        'there are no solutions',
    )
)
_ALL_REALS = frozenset(('all real numbers', 'all reals', '\\mathbb{R}', 'ℝ', '\\mathbb R', 'all real values'))
_DELIMITERS = (('$$', '$$'), ('\\[', '\\]'), ('\\(', '\\)'), ('$', '$'), ('**', '**'), ('`', '`'))


def read(text: str) -> Value:
    """The value of an answer.

    Args:
        text: a number, LaTeX, or a few words; hostile text is welcome.

    Returns:
        Its value; `Opaque` if it is refused or cannot be read exactly.
    """
    if len(text) > MAX_ANSWER_CHARS:  # never kept: a cache of these would fill the memory
        return Opaque(f'{len(text)} characters {hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()}', True)
    return _read_cached(text)


@functools.lru_cache(maxsize=4096)
def _read_cached(text: str) -> Value:
    if _PLAIN_NUMBER.fullmatch(text):
        return _plain_number(text)
    try:
        check_text(text)
    except (Refused, Unreadable):
        return Opaque(text.strip(), True)
    text = strip_delimiters(text)
    try:
        return _read(text)
    except Refused:
        return Opaque(plain(text), True)
    except (Unreadable, RecursionError, ZeroDivisionError, OverflowError):
        return Opaque(plain(text), False)


def other_readings(text: str) -> tuple[Value, ...]:
    """Values that the text may have beside `read(text)`: metres for `5 m`, 330 minutes for `5 hours and 30 minutes`."""
    return () if len(text) > MAX_ANSWER_CHARS else _other_readings_cached(text)


@functools.lru_cache(maxsize=4096)
def _other_readings_cached(text: str) -> tuple[Value, ...]:
    try:
        check_text(text)
        text = strip_delimiters(text)
        if choice := _choice(unwrap_text(text).translate({2: None, 3: None})):
            return (read(choice[1]), read(choice[2]))
        tokens = _trimmed(tokenize(text))
        unit = with_letter_unit(tokens)
        return (unit,) if unit else compound_readings(tokens)
    except (Refused, Unreadable, RecursionError, ZeroDivisionError, OverflowError):
        return ()


def list_reading(answer: str) -> Group | None:
    """A list for an answer such as `70,110`, which a comma without a space may part as well as group.

    A reference answer has no such reading: there the comma groups the digits of one number.
    """
    text = strip_delimiters(answer) if len(answer) <= MAX_ANSWER_CHARS else ''
    if not _AMBIGUOUS_LIST.fullmatch(text):
        return None
    return Group('list', tuple(_plain_number(part) for part in text.split(',')))


def answer_key(answer: str) -> str:
    """A canonical key: equal answers share it, so votes can be counted.

    A unit is not part of the key, since some samples write it and others do not; a percent equals its fraction.

    Args:
        answer: as extracted.

    Returns:
        Text that is the same for `1/2`, `0.5`, `\\frac12` and `50%`.
    """
    return read(answer).key if len(answer) > MAX_ANSWER_CHARS else _key_cached(answer)


@functools.lru_cache(maxsize=4096)
def _key_cached(answer: str) -> str:
    """A sweep asks for the keys of the same answers hundreds of times."""
    return read(answer).key


def strip_delimiters(text: str) -> str:
    """Removes what surrounds an answer: white space, math and markdown delimiters, a final full stop."""
    for _ in range(4):
        before = text
        text = text.strip()
        text = text if text.endswith('..') else text.rstrip('.,;').rstrip()  # 0.333... goes on
        for opener, closer in _DELIMITERS:
            inner = text[len(opener) : len(text) - len(closer)]
            if (
                len(text) > len(opener) + len(closer)
                and text.startswith(opener)
                and text.endswith(closer)
                and closer not in inner
            ):
                text = inner
        if text == before:
            break
    # Dollar signs in pairs delimit mathematics; a single one is a currency.
    bare = re.sub(r'\\\$', '', text)
    if bare.count('$') % 2 == 0 and bare != text.replace('$', ''):
        text = re.sub(r'(?<!\\)\$', ' ', text).strip()
    return text


def _plain_number(text: str) -> Quantity:
    decimals = len(text.partition('.')[2]) or None
    return Quantity(rational(Fraction(text.replace(',', ''))), decimals=decimals)


def _read(text: str) -> Value:
    flat = unwrap_text(text).translate({2: ' ', 3: ' '}).strip()
    if label := _LABEL.match(flat):
        return read(flat[label.end() :])
    words = ' '.join(flat.lower().split())
    if words in _NOTHING:
        return Group('set', ())
    if words in _ALL_REALS or flat in _ALL_REALS:
        return read('(-\\infty,\\infty)')
    special = _read_time_or_ratio(flat) or _read_based(flat)
    if special is not None:
        return special
    if number := parse_number_words(flat):
        return read_words(*number)
    if choice := _choice(flat):
        return read(choice[1])
    return read_items(_trimmed(tokenize(_PREFIX.sub('', flat) if _PREFIX.match(flat) else text)))


def _choice(text: str) -> re.Match[str] | None:
    """A choice with its text: `(D) 42`, but not `(A) or (B)`."""
    match = _CHOICE.fullmatch(text.strip())
    return None if match is None or re.search(r'\b[A-J]\b', match[2]) else match


def _trimmed(tokens: list[Token]) -> list[Token]:
    while tokens and tokens[-1].kind == 'mark' and tokens[-1].text in ('.', ',', ';', ':', '?'):
        tokens = tokens[:-1]
    return tokens


def _read_time_or_ratio(text: str) -> Value | None:
    clock = _CLOCK.fullmatch(text)
    if clock and (clock[2] or clock[3]) and int(clock[1]) < 24 and int(clock[2] or 0) < 60:
        return Clock(int(clock[1]), int(clock[2] or 0), f'{clock[3].lower()}m' if clock[3] else '')
    ratio = _RATIO.fullmatch(text)
    if ratio is None:
        return None
    numbers = [read_number(part.strip()) for part in text.split(':')]
    if not numbers[-1] or len(numbers) > 10:
        raise Unreadable('ratio to nothing')
    if len(numbers) == 2:
        return Quantity(rational(numbers[0] / numbers[1]))
    return Group('tuple', tuple(Quantity(rational(number / numbers[-1])) for number in numbers))


def _read_based(text: str) -> Based | None:
    match = _BASED.fullmatch(text.replace(' ', ''))
    if match is None:
        return None
    base = int(match[2]) if match[2].isdigit() else _BASES.get(match[2], 0)
    digits = [int(d, 36) for d in match[1] if d.isalnum()]
    return Based(match[1], base) if base >= 2 and max(digits) < base else None
