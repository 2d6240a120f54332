"""Words put into rows by the driver: prices first, and what is kept back."""

import pytest

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.requests import Append, Extend, Score, Start, Take, Until
from jaxreason.core.types import Finish, Question
from jaxreason.search.drive import Task, drive
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSession, LengthVerifier

QUESTION = Question('q', 'question')
FOUR = 'a b. c d.'


def run(search, budget=UNLIMITED, **settings):
    session = FakeSession(script=lambda *_: FOUR.split(), after=lambda *_: ['e', 'f.'], **settings)
    (found,) = drive([Task(QUESTION, search, budget, 0)], session, {None: LengthVerifier()})
    assert session.held == {}
    return found[1]


def begin(copies=1, **settings):
    rows, _ = yield Start(QUESTION, copies=copies)
    return (yield Extend(rows, **settings))[0]


def test_rows_go_on_behind_the_words_and_others_stay_as_they_are():
    def search():
        rows = yield from begin(3)
        first, cost = yield Append(rows, ('x y', None, 'x'), cut='c')
        assert first[1] is rows[1] and [row.text for row in first] == ['a b. x y', FOUR, 'a b. x']
        assert cost.decode == 3 * TOKEN_PRICE and cost.prompt_tokens == 3 and cost.new_tokens == 0
        assert cost.discarded == 2 * 2 * TOKEN_PRICE
        second, _ = yield Extend(first)
        return [row.text for row in second]

    assert run(search()) == ['a b. x y e f.', FOUR, 'a b. x e f.']


def test_words_may_come_in_the_middle_of_a_search():
    def search():
        rows = yield from begin(2, until=Until.STEP)
        rows, _ = yield Take(rows, (0, 0, 1))
        fork = rows[1]
        rows, _ = yield Append(rows, (None, 'x', None))
        scores, _, _ = yield Score(rows)
        assert [len(each) for each in scores] == [1, 1, 1] and rows[1].handle == fork.handle
        rows, _ = yield Extend(rows)
        return [row.text for row in rows]

    assert run(search()) == [FOUR, 'a b. x e f.', FOUR]


@pytest.mark.parametrize('left, ends', [(30, [Finish.OPEN] * 2), (29, [Finish.OPEN, Finish.STOP])])
def test_only_words_that_are_paid_for_are_put_in(left, ends):
    """Two rows of 4 words are paid; a word and one more token cost twice a token's price, and none is left to waste."""
    budget = Budget(flops=PROMPT_PRICE + 8 * TOKEN_PRICE + left + 10)

    def search():
        rows = yield from begin(2)
        after, cost = yield Append(rows, ('x', 'x'))
        for old, new, end in zip(rows, after, ends, strict=True):
            assert new.finish is end and (end is Finish.OPEN or new is old)
        rows, more = yield Extend(after)
        return cost + more

    cost = run(search(), budget)
    assert cost.flops <= left + 10 and cost.new_tokens


def test_an_open_row_that_gets_no_words_has_ended():
    def search(budget=UNLIMITED):
        rows = yield from begin(until=Until.STEP)
        (row,), cost = yield Append(rows, ('x ' * 20,), budget=budget)
        assert row.finish is Finish.OPEN or (cost.flops == 0 and row.tokens == rows[0].tokens)
        return row.finish

    assert run(search(), max_tokens=10) is Finish.LENGTH
    assert run(search(Budget(flops=209))) is Finish.BUDGET
    assert run(search(Budget(tokens=0))) is Finish.BUDGET
    assert run(search(Budget(flops=210))) is Finish.OPEN


def test_scoring_is_kept_back():
    """A row of 4 words costs 17 to score; with a word and a token more 23, and 20 to make."""

    def search(left, scored_by):
        rows = yield from begin(2)
        rows, _ = yield Append(rows, ('x', None), budget=Budget(flops=left), scored_by=scored_by)
        return rows[0].finish is Finish.OPEN

    assert run(search(60, (None,))) and not run(search(59, (None,)))
    assert run(search(20, ())) and not run(search(19, ()))


def test_every_row_needs_its_words_or_none():
    def search():
        rows = yield from begin(2)
        yield Append(rows, ('x',))

    with pytest.raises(ValueError, match='zip'):
        run(search())
