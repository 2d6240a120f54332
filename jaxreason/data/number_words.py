"""Numbers written in English words, up to millions: `twenty-five`, `one hundred and five`, `three quarters`."""

import re
from fractions import Fraction

_UNITS = {
    word: value
    for value, word in enumerate(
        (
            'zero',
            'one',
            'two',
            'three',
            'four',
            'five',
            'six',
            'seven',
            'eight',
            'nine',
            'ten',
            'eleven',
            'twelve',
            'thirteen',
            'fourteen',
            'fifteen',
            'sixteen',
            'seventeen',
            'eighteen',
            'nineteen',
        )
    )
}
_TENS = {
    w: 10 * n for n, w in enumerate(('twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'), start=2)
}
_SCALES = {'thousand': 10**3, 'million': 10**6, 'billion': 10**9}
_PARTS = {'half': 2, 'halves': 2, 'third': 3, 'thirds': 3, 'quarter': 4, 'quarters': 4, 'fourth': 4, 'fourths': 4}
_PARTS |= {'twelfth': 12, 'twelfths': 12, 'seventh': 7, 'sevenths': 7, 'ninth': 9, 'ninths': 9}
_PARTS |= {'fifth': 5, 'fifths': 5, 'sixth': 6, 'sixths': 6, 'eighth': 8, 'eighths': 8, 'tenth': 10, 'tenths': 10}
NUMBER_WORDS = _UNITS.keys() | _TENS.keys() | _SCALES.keys() | _PARTS.keys() | {'hundred', 'and', 'minus', 'negative', 'a'}


# Digits before a fraction in words: 12 and a half, 3 and three-quarters.
_MIXED = re.compile(
    rf'\s*(-?)(\d{{1,15}})\s+and\s+(an?|{"|".join(_UNITS)})[\s-]+({"|".join(sorted(_PARTS, key=len, reverse=True))})\b',
    re.I | re.ASCII,
)


def parse_number_words(text: str) -> tuple[Fraction, str] | None:
    """Reads a number in words at the start of a text.

    Args:
        text: words; case does not matter.

    Returns:
        The number and the words after it (a noun or a unit), or None if the text does not start with one.
    """
    words = re.findall(r'[^\s-]+', text.lower())
    mixed = _MIXED.match(text)
    if mixed:
        rest = text[mixed.end() :].lower().split()
        value = int(mixed[2]) + Fraction(int(_cardinal([_one(mixed[3])]) or 0), _PARTS[mixed[4].lower()])
        return (-value if mixed[1] else value, ' '.join(rest)) if all(w.isalpha() for w in rest) else None
    count = 0
    while count < len(words) and words[count] in NUMBER_WORDS:
        count += 1
    while count and words[count - 1] in ('and', 'a'):
        count -= 1
    if not count or not all(w.isalpha() for w in words[count:]):
        return None
    number = _signed(words[:count])
    if number is None:
        return None
    return (-number if text.lstrip().startswith('-') else number, ' '.join(words[count:]))


def _one(word: str) -> str:
    return 'one' if word.lower() in ('a', 'an') else word.lower()


def _signed(words: list[str]) -> Fraction | None:
    if words[0] in ('minus', 'negative'):
        value = _fraction(words[1:])
        return None if value is None else -value
    return _fraction(words)


def _fraction(words: list[str]) -> Fraction | None:
    if not words or words[-1] not in _PARTS:
        whole = _cardinal(words)
        return None if whole is None else Fraction(whole)
    *before, part = words
    if before and before[-1] == 'a':
        before[-1] = 'one'
    if 'and' in before:  # three and a half
        cut = len(before) - 1 - before[::-1].index('and')
        whole, count = _cardinal(before[:cut]), _cardinal(before[cut + 1 :])
        return None if whole is None or count is None else whole + Fraction(count, _PARTS[part])
    count = _cardinal(before or ['one'])
    return None if count is None else Fraction(count, _PARTS[part])


def _cardinal(words: list[str]) -> int | None:
    """A whole number; None where the words do not follow each other as in one."""
    if not words:
        return None
    total = group = 0
    last = 10**12  # each part must be smaller than the one before, within its group
    for index, word in enumerate(words):
        if word in _UNITS or word in _TENS:
            value = _UNITS.get(word, _TENS.get(word, 0))
            room = 10 if word in _UNITS and value < 10 else 100
            if last < room or (word in _UNITS and value >= 10 and last < 100):
                return None
            group, last = group + value, 10 if word in _TENS else 1
        elif word == 'hundred' and 0 < group < 100:
            group, last = group * 100, 100
        elif word in _SCALES and 0 < group < 1000:
            total, group, last = total + group * _SCALES[word], 0, 10**12
        elif word == 'a' and index + 1 < len(words) and words[index + 1] in ('hundred', *_SCALES):
            group, last = 1, 1
        elif word != 'and' or index == 0:
            return None
    return total + group
