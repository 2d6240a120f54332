"""The work that every contestant does: prompts as token ids, and how many tokens each row draws after which prompt.

Prompts are word problems of our own in the model's chat format, cut to an exact number of tokens. End tokens are ignored and
targets are fixed, so that everybody draws equally many tokens; nothing here depends on what a model says.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

PROMPT_TOKENS = 128
NEW_TOKENS = 128
NANO_PROMPT, NANO_NEW, NANO_PROMPTS, NANO_SAMPLES = 32, 64, 64, 16
# Workload d, in the order of submission: long and short prompts, long and short answers, mixed but not by chance.
UNEVEN_PROMPTS = (125, 33, 250, 102, 171, 56, 230, 79, 137, 45, 183, 114, 160, 68, 148, 91)
UNEVEN_TARGETS = (64, 112, 32, 256, 88, 16, 72, 104, 40, 160, 24, 96, 56, 80, 48, 72)

_NAMES = ('Anna', 'Ben', 'Clara', 'David', 'Emma', 'Felix', 'Grace', 'Henry')
_THINGS = ('apples', 'books', 'stamps', 'shells', 'coins', 'cards', 'pencils', 'marbles')
_SENTENCES = (
    '{name} has {x} {thing}.',
    '{name} buys {y} more {thing} on Monday.',
    'On Tuesday {name} gives {z} of them to a friend.',
    'Every box holds {y} {thing} and costs {x} dollars.',
    'A neighbour brings {z} boxes on the way home from the market.',
    '{name} counts them twice and writes the number down in a small notebook.',
    'Later {y} {thing} are lost in the garden, and {z} of those are found again.',
    'The rest is shared between {z} children of the same school class.',
    'At the end of the week {name} sells {x} {thing} for {y} dollars each.',
)
_ASK = ' How many {thing} does {name} have now?'
_FILL = (
    ' Please work it out in small steps and check every step with care before you go on to the next one, then say the answer'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """One piece of work.

    Attributes:
        name: a letter.
        about: for people.
        texts: the questions, for a contestant that encodes them itself.
        prompts: the token ids that the questions become; what every contestant must run.
        rows: (index of the prompt, tokens to draw) of every sequence.
    """

    name: str
    about: str
    texts: tuple[str, ...]
    prompts: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, int], ...]

    @property
    def new_tokens(self) -> int:
        """Tokens drawn in all."""
        return sum(target for _, target in self.rows)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum(map(len, self.prompts))

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest row."""
        return max(target for _, target in self.rows)

    def message(self, most: int | None = None) -> dict[str, object]:
        """What a contestant is told.

        Args:
            most: cut every row to so many tokens (to warm up); room is still made for the whole of it.
        """
        rows = [(prompt, target if most is None else min(target, most)) for prompt, target in self.rows]
        return {
            'name': self.name,
            'texts': self.texts,
            'prompts': self.prompts,
            'rows': rows,
            'most_tokens': self.most_tokens,
        }


def workloads(encode: Callable[[str], Sequence[int]]) -> dict[str, Workload]:
    """All workloads by name.

    Args:
        encode: the model's chat prompt of a question, as token ids.
    """
    even = [_question(encode, number, PROMPT_TOKENS) for number in range(8)]
    uneven = [_question(encode, 8 + number, length) for number, length in enumerate(UNEVEN_PROMPTS)]
    made = (
        _workload('a', '1 sequence', even[:1], [(0, NEW_TOKENS)]),
        _workload('b', '16 samples of 1 prompt', even[:1], [(0, NEW_TOKENS)] * 16),
        _workload('c', '8 prompts x 8 samples', even, [(index, NEW_TOKENS) for index in range(8) for _ in range(8)]),
        _workload('d', '16 uneven prompts and answers', uneven, list(enumerate(UNEVEN_TARGETS))),
    )
    return {workload.name: workload for workload in made}


def nano_workload(encode: Callable[[str], Sequence[int]]) -> Workload:
    """Workload e: chains of additions and subtractions, a character a token.

    Args:
        encode: the nano policy's prompt of a question, as token ids.
    """
    questions = []
    for number in range(NANO_PROMPTS):
        chain = str(11 + number)
        for step in range(8):
            chain += f'{"+-"[(number + step) % 2]}{(number * 7 + step * 13) % 90 + 10}'
        text = f'{chain}='.ljust(NANO_PROMPT)
        questions.append((text, tuple(encode(text))))
    rows = [(index, NANO_NEW) for index in range(NANO_PROMPTS) for _ in range(NANO_SAMPLES)]
    return _workload('e', f'nano policy, {len(rows):,} rows', questions, rows)


def _workload(name, about, questions, rows) -> Workload:
    texts, prompts = zip(*questions, strict=True)
    return Workload(name=name, about=about, texts=texts, prompts=prompts, rows=tuple(rows))


def _question(encode, number: int, length: int) -> tuple[str, tuple[int, ...]]:
    """A word problem whose prompt has exactly `length` tokens: whole sentences, then single words up to the token."""
    words = {
        'name': _NAMES[number % len(_NAMES)],
        'thing': _THINGS[(number * 3 + number // 8) % len(_THINGS)],
        'x': 41 + 7 * number,
        'y': 12 + number,
        'z': 3 + number % 6,
    }
    ask = _ASK.format(**words)
    story = ''
    for sentence in itertools.cycle(_SENTENCES):
        longer = f'{story} {sentence.format(**words)}'.strip()
        if len(encode(longer + ask)) > length:
            break
        story = longer
    text = story + ask
    fill = itertools.cycle(_FILL.split())
    while (found := len(encode(text))) < length:
        text = f'{text} {next(fill)}'
    if found != length:
        raise ValueError(f'question {number} must have a prompt of {length} tokens, got {found}: change a word of it.')
    return text, tuple(encode(text))
