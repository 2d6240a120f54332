"""Words after a number: which scale it, which say nothing, and which would change it.

A noun after a number (`18 apples left`) adds nothing to its value. A word of the table below might (`18 squared`, `18 dozen`,
`18 otherwise zero`), and then the number alone is not what was said: such a phrase is never read as the number.
"""

import re
from fractions import Fraction

from jaxreason.data.number_words import NUMBER_WORDS
from jaxreason.data.units import is_unit

SCALES = {
    'dozen': 12, 'dozens': 12, 'hundred': 100, 'hundreds': 100, 'thousand': 10**3, 'thousands': 10**3, 'lakh': 10**5,
    'lakhs': 10**5, 'million': 10**6, 'millions': 10**6, 'crore': 10**7, 'crores': 10**7, 'billion': 10**9,
    'billions': 10**9, 'trillion': 10**12, 'trillions': 10**12, 'quadrillion': 10**15, 'quadrillions': 10**15,
}  # fmt: skip
_OPERATIONS = (
    'plus minus multiplied divided doubled tripled quadrupled halved half halves twice thrice cubed squared factorial choose '
    'point over modulo mod root sqrt power raised exponent negative inverse reciprocal negated repeating recurring mil mils '
    'gross tenfold log ln binary octal hexadecimal'
)
_DOUBTS = (
    'not but maybe perhaps possibly probably or nor neither and approximately approx about roughly around nearly almost circa '
    'wrong incorrect false true no none nothing unless if otherwise else except excluding instead rather versus vs unknown '
    'unclear unsure undefined never'
)
_COMPARISONS = 'to through at least most more less than fewer short below above under'
_CHANGING = frozenset(f'{_OPERATIONS} {_DOUBTS} {_COMPARISONS}'.split())
_ORDINAL = re.compile(
    r'(?:third|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|(?:thir|four|fif|six|seven|eigh|nine)teen'
    r'|(?:twen|thir|for|fif|six|seven|eigh|nine)tie|hundred|thousand|million)th)s?'
)


def changes_value(word: str) -> bool:
    """Whether a word beside a number may change what it says, other than by naming what is counted.

    Args:
        word: one word, in any case.

    Returns:
        True for operations, doubts, comparisons, scales and other numbers.
    """
    word = word.lower()
    return (
        word in _CHANGING
        or word in SCALES
        or (word in NUMBER_WORDS and word != 'a')
        or word.endswith("n't")
        or _ORDINAL.fullmatch(word) is not None
    )


def says_nothing(words: list[str]) -> bool:
    """Whether the words after a number only name what is counted.

    Args:
        words: after the number and any unit, in order, without punctuation.

    Returns:
        False if one of them may change the value. `squared` and `cubed` are fine after a unit, `over` after
        `left`, and `times` is a noun of its own (`5 times a week`).
    """
    for before, word in zip(['', *words], words, strict=False):
        word, before = word.lower(), before.lower()
        if word in ('squared', 'cubed') and (is_unit(before) or before in ('unit', 'units')):
            continue
        if (before, word) == ('left', 'over'):
            continue
        if changes_value(word):
            return False
    return True


def leading_scale(word: str) -> Fraction | None:
    """What a word directly after a number multiplies it by, or None."""
    scale = SCALES.get(word.lower())
    return None if scale is None else Fraction(scale)
