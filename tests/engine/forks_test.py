"""Forks share what was written, rows are moved in batches, and places that wait go to other questions: no token shows it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.protocols import Job
from jaxreason.core.requests import Extend, Start, Take, Until
from jaxreason.core.types import Finish, Question
from jaxreason.engine.decode import Wake, _usefulness
from jaxreason.engine.rows import GIB, Place, memory_of
from jaxreason.engine.session import DeviceSession
from jaxreason.search.drive import Task, drive
from jaxreason.search.majority import Majority

QUESTIONS = [Question(f'q{i}', f'what is {i}+{7 * i}?') for i in range(7)]
SEED = 5


def begun(sampler, num_tokens=5, copies=1):
    """A session with rows of one question, each of so many tokens."""
    session = sampler.session()
    session.prepare(QUESTIONS[:1])
    rows, _ = session.start(QUESTIONS[0], copies, 0, SEED)
    return session, run(session, rows, num_tokens)


def run(session, rows, max_tokens=None):
    """Rows that have grown, in their order."""
    for row in rows:
        session.submit(Job(row, False, max_tokens or session.most_tokens(row), False))
    back = {}
    while len(back) < len(rows):
        back |= {row.handle: row for row in session.pump()}
    return [back[row.handle] for row in rows]


def said(row):
    """All of a row but what names it to its own session."""
    return {**vars(row), 'handle': 0, 'lineage': ()}


@pytest.mark.parametrize('num_rows, rows_per_slot', [(16, 4), (4, 2), (2, 1)])
def test_many_forks_at_once_equal_forks_one_by_one(make_sampler, num_rows, rows_per_slot):
    sampler = make_sampler(num_rows=num_rows, rows_per_slot=rows_per_slot, temperature=1.5)
    session, rows = begun(sampler)
    together = run(session, session.take(rows, [0] * 9))
    assert len({row.tokens for row in together}) > 5
    for rank in range(9):
        alone, rows = begun(sampler)
        *others, fork = alone.take(rows, [0] * (rank + 1))
        alone.release(others)
        assert said(run(alone, [fork])[0]) == said(together[rank])


def test_a_fork_that_waited_goes_on_from_where_it_was_made(make_sampler):
    """Its parent goes on in the place that they share, ends there, and other rows follow."""
    sampler = make_sampler(num_rows=2, rows_per_slot=2, temperature=1.5)
    session, rows = begun(sampler)
    expected = run(session, session.take(rows, [0, 0, 0]))
    session, rows = begun(sampler)
    parent, *forks = session.take(rows, [0, 0, 0])
    assert said(run(session, [parent])[0]) == said(expected[0])
    assert run(session, session.start(QUESTIONS[0], 2, 3, SEED)[0])
    assert [said(row) for row in run(session, forks)] == [said(row) for row in expected[1:]]


def test_a_row_that_fails_leaves_its_forks_whole(lm, make_sampler):
    """A token whose embedding is NaN: what the parent wrote after the fork is wiped, what they share is not."""
    bad = lm.tokenizer.encode('k')[0]
    params = {**lm.params, 'embedding': lm.params['embedding'].at[bad].set(jnp.nan)}
    clean = make_sampler(num_rows=2, rows_per_slot=2, temperature=2.0)
    broken, failed = dataclasses.replace(clean, lm=dataclasses.replace(lm, params=params)), 0
    for sample in range(24):
        found = []
        for sampler in (clean, broken):
            session = sampler.session()
            session.prepare(QUESTIONS[:1])
            (row,) = run(session, session.start(QUESTIONS[0], 1, sample, SEED)[0], 4)
            if row.finish is not Finish.OPEN or bad in row.tokens:
                break
            parent, fork = session.take([row], [0, 0])
            found.append((*run(session, [parent]), *run(session, [fork])))
        if len(found) == 2 and found[1][0].finish is Finish.FAILED:
            expected, fork = found[0][1].tokens, found[1][1].tokens
            assert fork == expected[: len(fork)] and (len(fork) == len(expected) or fork[-1] == bad)
            failed += len(fork) > 4
    assert failed


def steps(question):
    """Extends step by step, and goes on with the last row twice."""
    rows, _ = yield Start(question, copies=6)
    while any(row.finish is Finish.OPEN for row in rows):
        rows, _ = yield Extend(rows, until=Until.STEP)
        going = [index for index, row in enumerate(rows) if row.finish is Finish.OPEN]
        if going:
            rows, _ = yield Take(rows, (*going, going[-1])[:6])
    return rows


def searched(sampler, questions):
    session, most = sampler.session(), 0

    def look():
        nonlocal most
        most = max(most, session._num_open)

    tasks = [Task(question, steps(question), UNLIMITED, SEED, 6) for question in questions]
    found = dict(drive(tasks, session, {}, look))
    return [[said(row) for row in found[index]] for index in range(len(questions))], session, most


def test_questions_enter_while_others_wait_for_their_slowest_row(make_sampler):
    sampler = make_sampler(num_rows=8, rows_per_slot=4, temperature=1.5)
    found, session, most = searched(sampler, QUESTIONS)
    assert 8 + 6 < most <= 4 * 8 + 6 and session.timing.copied > session.timing.parked > 0
    assert session._num_open == 0 and not session._ages and all(suffix is None for suffix in session._seating.suffixes.at)
    for index in (0, 6):
        assert searched(sampler, QUESTIONS[index : index + 1])[0] == [found[index]]


def test_a_parent_does_not_overwrite_what_its_fork_wrote_in_their_place(make_sampler):
    """The fork goes on first, in the place that both have; then the parent, while the fork waits for a place."""
    sampler = make_sampler(num_rows=2, rows_per_slot=2, temperature=1.5)
    session, rows = begun(sampler)
    rows = session.take(rows, [0, 0])
    expected = run(session, [run(session, rows, 4)[1]])[0]
    session, rows = begun(sampler)
    parent, fork = session.take(rows, [0, 0])
    (fork,) = run(session, [fork], 4)
    others, _ = session.start(QUESTIONS[0], 2, 5, SEED)
    for row in (parent, *others, fork):
        session.submit(Job(row, False, session.most_tokens(row), False))
    back = {}
    while len(back) < 4:
        back |= {row.handle: row for row in session.pump()}
    assert said(back[fork.handle]) == said(expected)


def test_no_more_rows_are_begun_than_memory_is_left_for(make_sampler):
    sampler = make_sampler(num_rows=8, rows_per_slot=4, temperature=1.5)
    need = memory_of(sampler, sampler.lm.config, 60, 8, 4, Place(0, True))
    tight = dataclasses.replace(sampler, memory_limit=(need.total + need.cache / 2) / GIB)
    found, _, most = searched(tight, QUESTIONS)
    assert most <= 8 + 6 and found == searched(sampler, QUESTIONS)[0]


@pytest.mark.parametrize('patience', [0, 7, 10_000])
def test_how_long_a_chunk_waits_changes_no_token(make_sampler, monkeypatch, patience):
    expected = searched(make_sampler(temperature=1.5), QUESTIONS)[0]
    monkeypatch.setattr(DeviceSession, '_tune', lambda self, seconds, steps: setattr(self, '_patience', patience))
    found, session, _ = searched(make_sampler(temperature=1.5), QUESTIONS)
    assert found == expected
    assert patience < 10_000 or session.timing.steps > 2 * session.timing.chunks


def test_a_row_at_work_is_moved_beside_others_of_its_question(make_sampler):
    """Six copies in two slots; when half have ended one slot is emptied for the next question, and nothing was parked."""
    sampler = make_sampler(num_rows=8, rows_per_slot=4, temperature=2.5, max_tokens=24)
    session = sampler.session()
    tasks = [Task(q, Majority(n=6).search(q, UNLIMITED), UNLIMITED, SEED, 6) for q in QUESTIONS]
    found = dict(drive(tasks, session, {}))
    assert session.timing.copied > 0 == session.timing.parked
    alone = Majority(n=6).solve(QUESTIONS[3:4], sampler, seed=SEED)
    assert found[3] == alone[0]


@pytest.mark.parametrize(
    'left, wanted, waiting, useful',
    [
        ((1, 1, 1, 1, 1, 1), (), False, False),  # nobody has halted
        ((1, 1, 0, 0, 1, 1), (), False, False),  # a slot is done, its question not
        ((1, 1, 0, 0, 1, 1), (), True, True),  # a row of another question could have it
        ((1, 0, 0, 1, 1, 1), (), True, True),  # after a move
        ((1, 0, 1, 1, 1, 1), (), True, False),
        ((1, 0, 1, 1, 1, 1), (0, 1), True, True),  # a row of its own question waits
        ((1, 1, 1, 1, 1, 0), (0, 1), True, False),
        ((1, 1, 1, 1, 0, 0), (), False, True),  # a question that can go on
    ],
)
def test_when_the_host_is_called(left, wanted, waiting, useful):
    """Three slots of two rows; the first two slots belong to one question."""
    began = jnp.ones(6, bool)
    wake = Wake(
        group=jnp.array([1, 1, 2]),
        wanted=jnp.isin(jnp.arange(3), jnp.array(wanted, int)),
        waiting=jnp.bool_(waiting),
        patience=jnp.int32(0),
    )
    assert bool(_usefulness(began, wake, 2)(jnp.array(left) > 0)) is useful


def test_keys_of_many_forks_are_those_of_single_ones(make_sampler):
    """Also of forks of forks, whose parents' keys are derived first."""
    sampler = make_sampler()
    session, rows = begun(sampler)
    first = session.take(rows, [0] * 20)
    second = session.take(first[3:4], [0, 0, 0])
    session._derive_keys()
    keys = [tuple(session._held[row.handle].key.tolist()) for row in (*first[:3], *second)]
    assert len(set(keys)) == len(keys)
    alone, rows = begun(sampler)
    *_, fork = alone.take(alone.take(rows, [0] * 4)[3:], [0, 0])
    alone._derive_keys()
    np.testing.assert_array_equal(alone._held[fork.handle].key, session._held[second[1].handle].key)
