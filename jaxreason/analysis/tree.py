"""The tree of a search as text: a line a step, forks hanging from the step after which they left their parent.

    0  Tom has 3 bags of 4 apples.           0.610
       ├─ 4  So he has 7.                    0.200  left after round 2
       └─ 5  So he has 12.                   0.930
             The answer is 12.               0.970  = 12 ◀ chosen
       3 * 4 = 12.                           0.880
       The answer is 11.                     0.310  = 11
    1  Tom has no apples.                    0.080  left after round 1

A branch goes on in its own column; what hangs from it is further to the right. Attempts of chains stand one below the other,
`2.3` the third one of the second chain. Nothing is said about right and wrong.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from jaxreason.core.terminal import printable
from jaxreason.core.types import Branch, Candidate, Finish, Outcome
from jaxreason.data.normalise import answer_key
from jaxreason.search.chains import chains_of

LEAST_TEXT = 8  # cells of a step that are shown however deep it hangs
_MOST_ANSWER = 20  # cells
_SCORE = 8  # cells

Look = Literal['kept', 'left', 'chosen']  # a step of a solution, one that no solution goes on from, the end of a chosen one


class Line(NamedTuple):
    """A line without its end, and what it is."""

    text: str
    look: Look


class _Drawn(NamedTuple):
    """A branch as it is drawn: its own steps, and what is said behind the last of them."""

    name: str
    sample: int
    parent: int | None
    forked_at: int
    steps: Sequence[str]
    scores: Sequence[float]
    end: str
    look: Look  # of the last step


def tree_lines(outcome: Outcome, width: int = 100) -> list[Line]:
    """Draws the tree of a search.

    Args:
        outcome: of any strategy; independent samples are a flat tree.
        width: cells of a line; deep forks may exceed it, so that some of their text is seen.

    Returns:
        Lines in the order of the draws, or chain by chain; every character is printable.
    """
    chosen = None if outcome.answer is None else answer_key(outcome.answer)
    chains = chains_of(outcome.candidates)
    if any(len(chain) > 1 for chain in chains):
        branches = [_solution(c, chosen, f'{i}.{j}') for i, chain in enumerate(chains, 1) for j, c in enumerate(chain, 1)]
    else:
        drawn = [*(_solution(c, chosen, str(c.sample)) for c in outcome.candidates), *map(_left, outcome.pruned)]
        branches = sorted(drawn, key=lambda branch: branch.sample)
    drawing = _Drawing(branches, width)
    return [line for branch in drawing.roots for line in drawing.lines(branch, '', '')]


def _solution(candidate: Candidate, chosen: str | None, name: str) -> _Drawn:
    at = candidate.forked_at
    is_chosen = chosen is not None and candidate.answer is not None and answer_key(candidate.answer) == chosen
    answer = 'no answer' if candidate.answer is None else f'= {_shortened(candidate.answer, _MOST_ANSWER)}'
    why = '' if candidate.finish is Finish.STOP else f' ({candidate.finish.value})'
    return _Drawn(
        name,
        candidate.sample,
        candidate.parent,
        at,
        candidate.steps[at:],
        candidate.scores[at:],
        f'{answer}{why}{" ◀ chosen" if is_chosen else ""}',
        'chosen' if is_chosen else 'kept',
    )


def _left(branch: Branch) -> _Drawn:
    end = f'left after round {branch.pruned_at}'
    return _Drawn(str(branch.sample), branch.sample, branch.parent, branch.forked_at, branch.steps, branch.scores, end, 'left')


class _Drawing:
    """Who hangs where, and how wide the columns are."""

    def __init__(self, branches: Sequence[_Drawn], width: int):
        self._by_sample = {branch.sample: branch for branch in branches}
        self._forks: dict[tuple[int, int], list[_Drawn]] = collections.defaultdict(list)  # by owner of a step and its number
        self._used = self._beginnings(branches)
        self._number = max((len(branch.name) for branch in branches), default=1)
        self._text = width - _SCORE - 2 - max((_cells(branch.end) for branch in branches), default=0)
        self.roots: list[_Drawn] = []
        for branch in branches:
            owner = self._owner(branch.parent, branch.forked_at)
            (self.roots if owner is None else self._forks[owner, branch.forked_at]).append(branch)

    def lines(self, branch: _Drawn, first: str, later: str) -> Iterator[Line]:
        """A branch and all that hangs from it.

        Args:
            branch: to draw.
            first: what stands before its number.
            later: what stands before its further lines.
        """
        number = f'{branch.name:>{self._number}}  '
        indent = later + ' ' * len(number)
        last = len(branch.steps)
        for place, step in enumerate(branch.steps or ('(nothing)',), 1):
            step_number = branch.forked_at + place
            end, look = ('', self._look(branch, step_number)) if place < last else (branch.end, branch.look)
            score = f'{branch.scores[place - 1]:.3f}' if place <= len(branch.scores) else ''
            yield Line(self._line(first + number if place == 1 else indent, step, score, end), look)
            forks = self._forks.get((branch.sample, step_number), [])
            for fork in forks:
                is_last = fork is forks[-1]
                yield from self.lines(fork, indent + ('└─ ' if is_last else '├─ '), indent + ('   ' if is_last else '│  '))

    def _line(self, before: str, step: str, score: str, end: str) -> str:
        room = max(LEAST_TEXT, self._text - len(before))
        text = _shortened(step, room)
        return f'{before}{text}{" " * (room - _cells(text))}{score:>{_SCORE}}  {end}'.rstrip()

    def _look(self, branch: _Drawn, step: int) -> Look:
        return 'kept' if step <= self._used.get(branch.sample, 0) else 'left'

    def _owner(self, sample: int | None, step: int) -> int | None:
        """Which branch drew a step of a prefix; None for the prompt."""
        while sample is not None and step <= self._by_sample[sample].forked_at:
            sample = self._by_sample[sample].parent
        return sample

    def _beginnings(self, branches: Sequence[_Drawn]) -> dict[int, int]:
        """Of every branch how many steps of its prefix are in a solution."""
        used: dict[int, int] = {}
        for branch in branches:
            sample, step = (None, 0) if branch.look == 'left' else (branch.sample, branch.forked_at + len(branch.steps))
            while sample is not None:
                used[sample] = max(used.get(sample, 0), step)
                step = min(step, self._by_sample[sample].forked_at)
                sample = self._by_sample[sample].parent
        return used


def _shortened(text: str, cells: int) -> str:
    """Text on one line of at most so many cells, an ellipsis for what is left out."""
    from rich.cells import set_cell_size

    line = printable(' '.join(text.split()))
    return line if _cells(line) <= cells else set_cell_size(line, cells - 1).rstrip() + '…'


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
