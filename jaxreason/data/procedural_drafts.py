"""A world in which an earlier attempt is worth reading: results are written before the working that leads to them.

Who writes the result first has to guess it, or work it out in one go; the working behind it is easy, and ends with the result.
An attempt is therefore a draft: it holds results that its own front did not know yet. A policy that improves its answers can
read them there, can see that front and end of a word agree, and has no need to guess again. Half of the words begin with the
result of the word behind them, so that one pass does not mend everything.
"""

import itertools
import random

DRAFT_DIGITS = 4  # of a word
DRAFT_COLUMNS = 4  # words that the fixed columns have room for; longer problems widen them
LINKED = 0.5  # share of the words, but for the last, that begin with the result of the next one


def nano_drafts(rng: random.Random, difficulty: int) -> tuple[str, list[str], str]:
    """Words of digits, worked result first.

    Of the word `8015` the value begins at 8 and becomes the distance to each further digit: 8, 7, 2. It is worked as `2872`:
    the result, then the values. A word that begins with `+` begins with the result of the next word. The answer is the whole
    line: `+507 8015` has `4334=2872`.

    Args:
        rng: decides the digits.
        difficulty: number of words.

    Returns:
        The question, its steps (one a word, to be joined by `=`), and the answer.
    """
    words: list[str] = []  # from the last to the first: the first may need what follows
    steps: list[str] = []
    for number in range(difficulty):
        first, *others = (rng.randrange(10) for _ in range(DRAFT_DIGITS))
        is_linked = rng.random() < LINKED and number > 0
        begin = int(steps[-1][0]) if is_linked else first
        _, *values = itertools.accumulate(others, lambda value, digit: abs(digit - value), initial=begin)
        words.append(f'{"+" if is_linked else first}{"".join(map(str, others))}')
        steps.append(''.join(map(str, (values[-1], *values))))
    columns = (DRAFT_DIGITS + 1) * max(DRAFT_COLUMNS, difficulty) - 1
    steps.reverse()
    return ' '.join(reversed(words)).ljust(columns) + '=', steps, '='.join(steps)
