"""Units of measure as they appear in answers: a modest table, powers, products by "per".

A unit that only one side names is an added one and does not count; two units of the table must measure the same thing, and
are converted (8 kg = 8000 g). A noun that is no unit (`apples`) says nothing.
"""

import dataclasses
import re
from fractions import Fraction

# name: (dimension, size in that dimension's base)
_BASE: dict[str, tuple[str, Fraction]] = {}


def _define(dimension: str, entries: str) -> None:
    for entry in entries.split(';'):
        size, *names = entry.split()
        for name in names:
            _BASE[name] = (dimension, Fraction(size))


_define('length', '1 m meter meters metre metres; 1/1000 mm millimeter millimeters millimetre millimetres')
_define('length', '1/100 cm centimeter centimeters centimetre centimetres; 1000 km kilometer kilometers kilometre kilometres')
_define('length', '254/10000 in inch inches; 3048/10000 ft foot feet; 9144/10000 yd yard yards; 1609344/1000 mi mile miles')
_define('mass', '1 kg kilogram kilograms kilo kilos; 1/1000 g gm gram grams; 1/1000000 mg milligram milligrams')
_define('mass', '45359237/100000000 lb lbs pound pounds; 45359237/1600000000 oz ounce ounces; 1000 tonne tonnes')
_define('time', '1 s sec secs second seconds; 60 min mins minute minutes; 3600 h hr hrs hour hours; 86400 day days')
_define('time', '604800 week weeks; 1/1000 ms millisecond milliseconds')
_define('calendar', '1 month months; 12 year years yr yrs')
_define('volume', '1 l liter liters litre litres; 1/1000 ml milliliter milliliters millilitre millilitres')
_define('volume', '3785411784/1000000000 gallon gallons gal')
_define('angle', '1 degree degrees deg')
_define('radian', '1 radian radians rad')
_define('dollar', '1 $ dollar dollars usd; 1/100 cent cents ¢')
_define('euro', '1 € euro euros eur')
_define('sterling', '1 £ gbp')
_define('yen', '1 ¥ yen')
_define('rupee', '1 ₹ rupee rupees')
_define('celsius', '1 °c celsius')
_define('fahrenheit', '1 °f fahrenheit')
_define('energy', '1 j joule joules')
_define('power', '1 w watt watts')
_define('force', '1 n newton newtons')

_POWERS = {'square': 2, 'sq': 2, 'cubic': 3, 'cu': 3}
_SPEED = {'mph': 'mi / h', 'kmh': 'km / h', 'kph': 'km / h', 'mps': 'm / s', 'bpm': None, 'rpm': None}
# Letters that are as likely to be a variable: units only where the text sets them apart.
SINGLE_LETTERS = frozenset(name for name in _BASE if len(name) == 1 and name.isalpha())
_MONEY = frozenset(('dollar', 'euro', 'sterling', 'yen', 'rupee'))
_AN_HOUR = re.compile(r'\s+an?\s+(hour|minute|second)$')
_PART = re.compile(r'(?:(square|sq|cubic|cu)\.?\s+)?([a-z$€£¥¢₹°]+)\.?\s*(?:\^\s*(\d)|(squared|cubed))?')


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of the table.

    Attributes:
        dimensions: what it measures, as (dimension, power), sorted.
        size: how many of the base unit it is.
        money: what is paid, of a rate of pay or a price (`dollars` of `dollars per day`).
    """

    dimensions: tuple[tuple[str, int], ...]
    size: Fraction
    money: 'Unit | None' = None


def is_unit(word: str) -> bool:
    """Whether one word alone is a unit of the table."""
    return word.lower() in _BASE or word.lower() in _SPEED


def parse_unit(phrase: str) -> Unit | None:
    """Reads `cm^2`, `square inches`, `miles per hour`, `m/s`, `dollars`.

    Args:
        phrase: words after (or a currency sign before) a number.

    Returns:
        The unit, or None for a phrase with a word that is no unit (a noun).
    """
    phrase = re.sub(r'^degrees?\s+(?=celsius$|fahrenheit$)', '', phrase.lower().strip(' .,'))
    phrase = _SPEED.get(phrase) or _AN_HOUR.sub(r' per \1', phrase)
    dimensions: dict[str, int] = {}
    sign, size = 1, Fraction(1)
    for part in re.split(r'(\bper\b|/)', phrase):
        part = part.strip()
        if part in ('per', '/'):
            sign = -1
            continue
        match = _PART.fullmatch(part)
        if match is None or match[2] not in _BASE:
            return None
        dimension, factor = _BASE[match[2]]
        word_power = {'squared': 2, 'cubed': 3}.get(match[4] or '', 1)
        exponent = sign * _POWERS.get(match[1] or '', 1) * int(match[3] or word_power)
        size *= factor**exponent
        dimensions[dimension] = dimensions.get(dimension, 0) + exponent
    known = tuple(sorted((d, n) for d, n in dimensions.items() if n))
    # A litre is a cubic decimetre.
    if known == (('length', 3),):
        return Unit((('volume', 1),), size * 1000)
    first = re.split(r'\s+per\b|/', phrase)[0].strip()
    money = parse_unit(first) if sign < 0 and _BASE.get(first, ('', 0))[0] in _MONEY else None
    return Unit(known, size, money) if known else None
