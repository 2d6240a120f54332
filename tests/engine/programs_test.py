"""Random programs over a session with few rows: whatever was started, paused, forked, parked and released around it, a row is
what a session of its own gives it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.protocols import Job
from jaxreason.core.types import Finish, Question

QUESTIONS = [Question(f'q{i}', f'what is {i}+{7 * i}?') for i in range(3)]
SEED = 5
MOST_ROWS = 7  # held at once, more than the device has

START = st.tuples(st.just('start'), st.integers(0, 2), st.integers(1, 3), st.integers(0, 2))
EXTEND = st.tuples(st.just('extend'), st.integers(0, 127), st.booleans(), st.sampled_from([1, 2, 5, 24]), st.booleans())
APPEND = st.tuples(
    st.just('append'), st.integers(1, 127), st.sampled_from(['so ', 'wait 4+4.']), st.sampled_from(['', 'a', '.'])
)
PUMP = st.tuples(st.just('pump'))
TAKE = st.tuples(st.just('take'), st.integers(1, 127), st.lists(st.integers(0, 6), min_size=1, max_size=3))
RELEASE = st.tuples(st.just('release'), st.integers(0, 127))
PROGRAMS = st.lists(st.one_of(START, EXTEND, EXTEND, APPEND, PUMP, TAKE, RELEASE), min_size=6, max_size=14)


class Replay:
    """Runs a program, and remembers of every row what made it: its own history and nothing of the others'."""

    def __init__(self, sampler):
        self.sampler = sampler
        self.session = opened(sampler)
        self.rows = {}  # handle -> the row as it was last returned
        self.made_by = {}  # handle -> (question, sample), then ('extend', ...) and ('fork', rank)
        self.away = set()  # handles that are queued or at work

    def start(self, question, copies, first):
        if len(self.rows) + copies <= MOST_ROWS:
            rows, _ = self.session.start(QUESTIONS[question], copies, first, SEED)
            for row in rows:
                self.rows[row.handle], self.made_by[row.handle] = row, ((question, row.sample),)

    def extend(self, mask, until_step, max_tokens, greedy):
        for row in self.idle(mask):
            if row.finish is Finish.OPEN:
                step = (until_step, min(max_tokens, self.session.most_tokens(row)), greedy)
                self.made_by[row.handle] += (('extend', *step),)
                self.away.add(row.handle)
                self.session.submit(Job(row, *step))

    def append(self, mask, *words):
        """Also to rows that have ended."""
        for row in self.idle(mask):
            self.rows[row.handle] = with_words(self.session, row, *words)
            self.made_by[row.handle] += (('append', *words),)

    def pump(self):
        if self.away:
            for row in self.session.pump():
                self.rows[row.handle] = row
                self.away.remove(row.handle)

    def take(self, mask, indices):
        chosen = self.idle(mask)
        indices = [index % len(chosen) for index in indices] if chosen else []
        if not chosen or len(self.rows) - len(chosen) + len(indices) > MOST_ROWS:
            return
        taken = self.session.take(chosen, indices)
        made_by = {row.handle: (self.rows.pop(row.handle), self.made_by.pop(row.handle))[1] for row in chosen}
        for place, (row, index) in enumerate(zip(taken, indices, strict=True)):
            rank = indices[:place].count(index)
            self.rows[row.handle] = row
            self.made_by[row.handle] = made_by[chosen[index].handle] + ((('fork', rank),) if rank else ())

    def release(self, mask):
        """Also of rows that are queued or at work."""
        gone = [row for index, row in enumerate(self.rows.values()) if mask >> index & 1]
        self.session.release(gone)
        for row in gone:
            del self.rows[row.handle], self.made_by[row.handle]
            self.away.discard(row.handle)

    def idle(self, mask):
        return [row for index, row in enumerate(self.rows.values()) if mask >> index & 1 and row.handle not in self.away]


def opened(sampler):
    session = sampler.session()
    session.prepare(QUESTIONS)
    return session


def with_words(session, row, text, cut):
    longer = session.append(row, text, cut)
    return row if longer is row else session.feed(longer)


def fresh(sampler, made_by):
    """The row with this history, in a session that holds no other."""
    session = opened(sampler)
    (question, sample), *rest = made_by
    (row,), _ = session.start(QUESTIONS[question], 1, sample, SEED)
    for action, *values in rest:
        if action == 'fork':
            *others, row = session.take([row], [0] * (values[0] + 1))
            session.release(others)
            continue
        if action == 'append':
            row = with_words(session, row, *values)
            continue
        session.submit(Job(row, *values))
        back = []
        while not back:
            back = session.pump()
        (row,) = back
    return row


@settings(deadline=None, max_examples=40, derandomize=True)
@given(program=PROGRAMS)
def test_any_program_gives_the_rows_of_fresh_runs(make_sampler, program):
    sampler = make_sampler(num_rows=4, rows_per_slot=2, temperature=1.5)
    replay = Replay(sampler)
    replay.start(0, 2, 0)
    for action, *values in program:
        getattr(replay, action)(*values)
    while replay.away:
        replay.pump()
    for handle, row in replay.rows.items():
        expected = fresh(sampler, replay.made_by[handle])
        names = {'handle': 0, 'lineage': ()}  # which name rows to their own session only
        assert {**vars(row), **names} == {**vars(expected), **names}, replay.made_by[handle]
