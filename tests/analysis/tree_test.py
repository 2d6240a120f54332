"""Trees as text: drawn by hand, and what a model may write into them."""

import dataclasses

import pytest
from rich.cells import cell_len

from jaxreason.analysis.tree import LEAST_TEXT, tree_lines
from jaxreason.core.cost import Cost
from jaxreason.core.types import Branch, Candidate, Finish, Outcome, Question
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.chains import sample_of
from jaxreason.search.dvts import DVTS
from jaxreason.search.lookahead import Lookahead
from jaxreason.search.rebase import Rebase
from tests.search.fakes import FakeSampler, HashVerifier
from tests.search.world import World

QUESTION = Question('q', 'How many?')
WORLD = {
    '': ['a.', 'b.', 'c.', 'd.'],
    'b.': ['The answer is 1.', 'e.'],
    'c.': ['The answer is 2.', 'f.'],
    'c.f.': ['The answer is 3.', 'The answer is 4.'],
}
SCORES = {
    'a.': 0.8, 'b.': 0.9, 'c.': 0.2, 'd.': 0.1, 'b.The answer is 1.': 0.9, 'b.e.': 0.4, 'c.The answer is 2.': 0.3,
    'c.f.': 0.5, 'c.f.The answer is 3.': 0.4, 'c.f.The answer is 4.': 0.6,
}  # fmt: skip
DRAWN = """\
l 0  a.                    0.800  left after round 1
k 1  b.                    0.900
l    └─ 4  e.              0.400  left after round 2
c    The answer is 1.      0.900  = 1 ◀ chosen
k 2  c.                    0.200
k    └─ 5  f.              0.500
k          └─ 6  The ans…   0.600  = 4
k          The answer i…   0.400  = 3
l    The answer is 2.      0.300  left after round 2
l 3  d.                    0.100  left after round 1
"""


def text_of(outcome, width):
    return ''.join(f'{line.look[0]} {line.text}\n' for line in tree_lines(outcome, width))


def test_a_tree_is_drawn_fork_by_fork():
    outcome = World(WORLD, SCORES).run(DVTS(n=4, beam_width=2))
    assert text_of(outcome, 50) == DRAWN


def solution(sample, text='x', answer='4', **fields):
    shape = {'tokens': (1,), 'steps': (text,), 'step_ends': (1,), 'finish': Finish.STOP}
    return Candidate(**{'sample': sample, 'text': text, 'answer': answer, **shape, **fields})


def outcome_of(*candidates, answer='4', pruned=()):
    return Outcome(question=QUESTION, answer=answer, candidates=candidates, votes=(), cost=Cost(), pruned=pruned)


def test_independent_samples_are_a_flat_tree():
    steps = {'steps': ('one', 'two'), 'scores': (0.25, 12.5)}
    outcome = outcome_of(
        solution(9, **steps, answer='4.0'),
        solution(10, 'three', answer=None, finish=Finish.LENGTH),
        solution(11, '', steps=(), finish=Finish.BUDGET, answer='5'),
    )
    assert text_of(outcome, 49).splitlines() == [
        'k  9  one                 0.250',
        'c     two                12.500  = 4.0 ◀ chosen',  # equal to the answer that was chosen, in other words
        'k 10  three                      no answer (length)',
        'k 11  (nothing)                  = 5 (budget)',
    ]
    assert tree_lines(outcome_of(answer=None)) == []


def test_attempts_stand_chain_by_chain():
    outcome = outcome_of(
        solution(0, 'one', answer='3'),
        solution(1, 'other'),
        solution(sample_of(0, 1), 'two', revises=0),
        solution(sample_of(0, 2), 'three', answer='5', revises=sample_of(0, 1)),
    )
    assert text_of(outcome, 30).splitlines() == [
        'k 1.1  one               = 3',
        'c 1.2  two               = 4 ◀ chosen',
        'k 1.3  three             = 5',
        'c 2.1  other             = 4 ◀ chosen',
    ]


def test_text_of_a_model_drives_no_terminal_and_makes_no_lines():
    evil = 'a\x1b[2J\n\u2028[bold]b\t\u202ec'
    branch = Branch(sample=1, parent=0, forked_at=1, pruned_at=2, tokens=(1,), steps=(evil,), scores=(0.5,), cost=Cost())
    outcome = outcome_of(solution(0, evil, '\x1b]0;4\x07', steps=(evil, evil)), answer='\x1b]0;4\x07', pruned=(branch,))
    lines = tree_lines(outcome, 90)
    assert len(lines) == 3 and all(line.text.isprintable() for line in lines)
    assert lines[0].text.startswith('0  a\\x1b[2J [bold]b \\u202ec') and '= \\x1b]0;4\\x07 ◀ chosen' in lines[2].text


@pytest.mark.parametrize('text', ['w' * 500, '字' * 300, 'word ' * 100])
def test_a_line_keeps_to_its_width(text):
    lines = tree_lines(outcome_of(solution(0, text, answer='9' * 500), solution(1, scores=(0.5,))), 70)
    assert all(cell_len(line.text) <= 70 for line in lines) and '…' in lines[0].text


@pytest.mark.parametrize(
    'strategy', [BestOfN(n=8), BeamSearch(n=8), BeamSearch(n=9, beam_width='sqrt'), Lookahead(n=4), DVTS(n=8), Rebase(n=8)]
)
def test_every_step_of_every_search_is_a_line(strategy):
    for outcome in strategy.solve([QUESTION, Question('r', '?')], FakeSampler(), HashVerifier(), seed=1):
        lines = tree_lines(outcome, 400)
        own = [step for c in outcome.candidates for step in c.steps[c.forked_at :]]
        left = [step for branch in outcome.pruned for step in branch.steps]
        for step in {*own, *left}:
            drawn = sum(f'  {" ".join(step.split())}  ' in line.text for line in lines)
            assert drawn == [*own, *left].count(step), step
        assert len(lines) == len(own) + len(left)
        assert sum('left after round' in line.text for line in lines) == len(outcome.pruned)
        assert sum('◀ chosen' in line.text for line in lines) == sum(c.answer == outcome.answer for c in outcome.candidates)
        assert any(line.look == 'chosen' for line in lines)


def test_a_deep_fork_still_shows_some_of_its_text():
    candidates = [solution(0, steps=tuple('abcdefghij'), text='x')]
    candidates += [
        dataclasses.replace(
            candidates[0], sample=at, parent=at - 1, forked_at=at, steps=(*'abcdefghij'[:at], *('some words',) * (10 - at))
        )
        for at in range(1, 10)
    ]
    lines = tree_lines(outcome_of(*candidates), 50)
    assert max(len(line.text) for line in lines) > 50
    assert all('some w'[: LEAST_TEXT - 1] in line.text for line in lines if '─' in line.text)
