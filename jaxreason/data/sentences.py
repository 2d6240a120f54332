"""The number that a sentence states: `Janet makes $18 every day` gives `$18 every day`.

Models write a whole sentence where a value is asked for. It states a number only if it holds exactly one, written in digits,
and no word beside it may change the value (`about`, `twice`, `not`). Everything else stays text, which equals no number.
"""

import re

from jaxreason.data.latex_tokens import unwrap_text
from jaxreason.data.nouns import changes_value

MAX_CHARS = 300
_NUMBER = re.compile(r'(?:\\?[$€£]\s?)?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:\\?[$€£]\s?)?\d+(?:\.\d+)?', re.ASCII)
_WORDS = re.compile(r"(?:[A-Za-z][A-Za-z'-]*,?\s+)+")
_VERBS = (
    'is are was were has have had will can could would should must makes make made earns earn earned gets get got needs need '
    'needed pays pay paid spends spend spent costs cost sells sell sold takes take took gives give gave eats eat ate buys buy '
    'bought uses use used walks walk walked runs run ran owes owe saves save saved receives receive received weighs weigh '
    'reads read contains contain leaves leave left equals becomes totals drinks drives drove travels collects collected scored'
)
_IS_VERB = re.compile(rf'\b(?:{"|".join(_VERBS.split())})\b', re.I)
_JOINS = frozenset(('and', 'to', 'a', 'an', 'one'))  # harmless before a number: "Tom and Ann need to pay 18"


def stated_number(value: str) -> str:
    """The part of a stated value that says its number.

    Args:
        value: what stands after an answer statement, or in a box.

    Returns:
        The number with what follows it (unit, noun), if the value is a sentence with exactly one number and nothing that
        changes it; else the value as it is.
    """
    if len(value) > MAX_CHARS:
        return value
    text = unwrap_text(value).translate({2: ' ', 3: ' '}).strip()
    before = _WORDS.match(text)
    if before is None or not _IS_VERB.search(before[0]):
        return value
    number = _NUMBER.match(text, before.end())
    rest = text[number.end() :] if number else ''
    if number is None or re.search(r'\d', rest) or not re.match(r'[\s.%!]|$|\\%', rest):
        return value
    words = re.findall(r"[a-z']+", before[0].lower())
    if any(changes_value(word) and word not in _JOINS for word in words):
        return value
    return (number[0] + rest).rstrip('.! ')
