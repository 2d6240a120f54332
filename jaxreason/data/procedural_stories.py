"""Word problems: a quantity in a small story, changed once a sentence, each change one worked step."""

import dataclasses
import random
from collections.abc import Callable

_NAMES = (
    'Ada',
    'Bo',
    'Carmen',
    'Dmitri',
    'Emeka',
    'Farah',
    'Goran',
    'Hana',
    'Ines',
    'Jonas',
    'Kavya',
    'Lena',
    'Mateo',
    'Nkechi',
)
_LARGEST = 400  # beyond it a story only shrinks


@dataclasses.dataclass(frozen=True)
class _Event:
    """A change: the sentence that tells it, and the step that works it out; {who}, {n}, {m}, {old}, {new} are filled in."""

    sign: str  # + or - a number, * or / a number, or # for adding n groups of m
    sentence: str
    reason: str


@dataclasses.dataclass(frozen=True)
class _Story:
    opening: str
    question: str
    unit: str
    events: tuple[_Event, ...]


_STORIES = (
    _Story(
        '{who} has {n} stickers.',
        'How many stickers does {who} have now?',
        'stickers',
        (
            _Event('+', 'A friend gives {who} {n} more.', 'With {n} more'),
            _Event('-', '{who} gives {n} stickers to a cousin.', 'After giving away {n}'),
            _Event('*', '{who} then trades one old album and has {n} times as many.', '{n} times as many'),
            _Event('/', '{who} sorts them into {n} equal piles and keeps one pile.', 'One of {n} equal piles'),
            _Event('#', '{who} buys {n} packs with {m} stickers in each.', 'With {n} packs of {m}'),
        ),
    ),
    _Story(
        'A shop has {n} kg of rice in store.',
        'How many kg of rice does the shop have at the end?',
        'kg',
        (
            _Event('+', 'A farmer delivers {n} kg.', 'After the delivery of {n} kg'),
            _Event('-', 'Customers buy {n} kg.', 'After selling {n} kg'),
            _Event('*', 'The owner then orders until the store holds {n} times as much.', '{n} times as much'),
            _Event(
                '/', 'The rice is shared equally among {n} branches, and this shop keeps one share.', 'One of {n} equal shares'
            ),
            _Event('#', 'A truck brings {n} sacks of {m} kg each.', 'With {n} sacks of {m} kg'),
        ),
    ),
    _Story(
        '{who} saves {n} dollars.',
        'How many dollars does {who} have in the end?',
        'dollars',
        (
            _Event('+', 'An aunt adds {n} dollars.', 'With {n} dollars more'),
            _Event('-', '{who} spends {n} dollars on a book.', 'After spending {n} dollars'),
            _Event('*', 'A kind bank multiplies the money by {n}.', '{n} times the money'),
            _Event('/', '{who} splits the money equally among {n} jars and takes one jar.', 'One of {n} equal jars'),
            _Event('#', '{who} works {n} days and earns {m} dollars a day.', 'With {n} days at {m} dollars'),
        ),
    ),
    _Story(
        'A bus leaves the depot with {n} passengers.',
        'How many passengers are on the bus now?',
        'passengers',
        (
            _Event('+', 'At a stop {n} people get on.', 'After {n} get on'),
            _Event('-', 'At a stop {n} people get off.', 'After {n} get off'),
            _Event('*', 'A longer bus takes over, and soon carries {n} times as many.', '{n} times as many'),
            _Event('/', 'The passengers are spread evenly over {n} buses, and we follow one.', 'One of {n} equal groups'),
            _Event('#', 'Then {n} families of {m} people get on.', 'With {n} families of {m}'),
        ),
    ),
)


def word(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """A story of `difficulty` changes; the quantity stays a natural number."""
    story, who = rng.choice(_STORIES), rng.choice(_NAMES)
    value = rng.randint(6, 60)
    sentences, steps = [story.opening.format(who=who, n=value)], []
    for _ in range(difficulty):
        event = rng.choice([event for event in story.events if _possible(event.sign, value)])
        n, m = _numbers(rng, event.sign, value)
        result, sum_text = _WORK[event.sign](value, n, m)
        sentences.append(event.sentence.format(who=who, n=n, m=m))
        steps.append(f'{event.reason.format(n=n, m=m)}: {sum_text} = {result} {story.unit}')
        value = result
    return ' '.join([*sentences, story.question.format(who=who)]), steps, str(value)


_WORK: dict[str, Callable[[int, int, int], tuple[int, str]]] = {
    '+': lambda old, n, m: (old + n, f'{old} + {n}'),
    '-': lambda old, n, m: (old - n, f'{old} - {n}'),
    '*': lambda old, n, m: (old * n, f'{old} * {n}'),
    '/': lambda old, n, m: (old // n, f'{old} / {n}'),
    '#': lambda old, n, m: (old + n * m, f'{old} + {n} * {m}'),
}


def _divisors(value: int) -> list[int]:
    return [n for n in range(2, 7) if value % n == 0]


def _possible(sign: str, value: int) -> bool:
    if sign == '/':
        return value >= 12 and bool(_divisors(value))
    if sign == '-':
        return value >= 4
    return value <= (_LARGEST // 4 if sign == '*' else _LARGEST)


def _numbers(rng: random.Random, sign: str, value: int) -> tuple[int, int]:
    """The numbers of an event; one that takes away leaves at least two, so that the unit stays a plural."""
    if sign == '/':
        return rng.choice(_divisors(value)), 0
    if sign == '-':
        return rng.randint(2, value - 2), 0
    if sign == '+':
        return rng.randint(2, 60), 0
    return rng.randint(2, 4), rng.randint(3, 15)
