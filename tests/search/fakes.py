"""A session without a model: every sample's tokens are known beforehand, one FLOP price a token."""

import dataclasses
import hashlib

from jaxreason.core.cost import FREE, Cost
from jaxreason.core.protocols import Scored
from jaxreason.core.types import Finish, Row

STATS = ('logprob', 'self_certainty')
PROMPT_PRICE = 100
TOKEN_PRICE = 10


def script(question, sample, seed):
    """The text of a sample: a few steps of words, then an answer; decided by its address alone."""
    shown = ''.join(f'/{attempt}' for attempt in question.attempts)
    word = hashlib.sha256(f'{question.id}/{sample}/{seed}{shown}'.encode()).digest()
    steps = [f's{word[i]} ' * (1 + word[i] % 4) + '.' for i in range(1 + word[0] % 3)]
    return ' '.join([*steps, f'The answer is {word[5] % 4}']).split(' ')


def after(question, sample, words):
    """What a sample says behind words that were put into it; decided by its address and what it says."""
    return script(question, f'{sample}/{" ".join(words)}', 0)


class FakeSession:
    """Rows grow by the words of `script`, one token a word; a step ends with a word that ends in a full stop."""

    def __init__(self, num_rows=4, per_pump=3, max_tokens=64, script=script, after=after, room=10**6):
        self.num_rows, self.per_pump, self.limit = num_rows, per_pump, max_tokens
        self.prompt_room = room  # words of attempts that a prompt holds
        self.script, self.after = script, after
        self.queue, self.working, self.words, self.held = [], {}, {}, {}
        self.next_handle, self.pumps = 0, 0

    def prepare(self, questions, copies=None, num_attempts=0):
        self.prepared = list(questions)
        self.copies, self.num_attempts = copies, num_attempts

    def fitting(self, question):
        attempts = question.attempts
        while sum(len(attempt.split()) for attempt in attempts) > self.prompt_room:
            attempts = attempts[1:]
        return dataclasses.replace(question, attempts=attempts)

    def room(self):
        return self.num_rows - len(self.queue) - len(self.working)

    def start(self, question, copies, first, seed):
        rows = []
        for index in range(first, first + copies):
            row = Row(handle=self.next_handle, question=question, sample=index, stats={name: () for name in STATS})
            self.next_handle += 1
            self.words[row.handle] = self.script(question, index, seed)
            self.held[row.handle] = row
            rows.append(row)
        return tuple(rows), Cost(prefill=self.start_price(question), prompt_tokens=7)

    def start_price(self, question):
        return PROMPT_PRICE

    def decode_price(self, row, num_tokens):
        return TOKEN_PRICE * num_tokens

    def most_tokens(self, row):
        return self.limit - len(row.tokens)

    def submit(self, job):
        assert job.max_tokens > 0 and job.row.finish is Finish.OPEN
        self.queue.append(job)

    def pump(self):
        self.pumps += 1
        while self.queue and len(self.working) < self.num_rows:
            job = self.queue.pop(0)
            self.working[job.row.handle] = [job, job.max_tokens]
        back = []
        for handle in list(self.working):
            job, left = self.working[handle]
            row, paused = self.held[handle], False
            for _ in range(min(self.per_pump, left)):
                row = self._grow(row)
                left -= 1
                paused = job.until_step and row.text.endswith('.')
                row = dataclasses.replace(row, at_boundary=paused)
                if row.finish is not Finish.OPEN or paused:
                    break
            self.held[handle] = row
            self.working[handle][1] = left
            if row.finish is not Finish.OPEN or paused or left == 0:
                del self.working[handle]
                back.append(row)
        return back

    def append(self, row, text, cut):
        stays = row.text.partition(cut)[0] if cut else row.text
        kept, new = stays.split(), text.split()
        if len(kept) + len(new) >= self.limit:
            return row
        cost = Cost(
            decode=TOKEN_PRICE * len(new), prompt_tokens=len(new), discarded=TOKEN_PRICE * (len(row.tokens) - len(kept))
        )
        longer = self._holding(row, [*kept, *new], Finish.OPEN)
        stats = {name: values[: len(kept)] for name, values in row.stats.items()}
        return dataclasses.replace(longer, stats=stats, cost=row.cost + cost, at_boundary=longer.text.endswith('.'))

    def feed(self, row):
        words = row.text.split()
        self.words[row.handle] = [*words, *self.after(row.question, row.sample, words)]
        self.held[row.handle] = dataclasses.replace(row, stats=_stats(words))
        return self.held[row.handle]

    def take(self, rows, indices):
        taken, seen, ranks = [], set(), {}
        for index in indices:
            row = rows[index]
            if row.handle in seen:
                lineage = (*row.lineage, row.handle)
                fork = dataclasses.replace(row, handle=self.next_handle, cost=FREE, lineage=lineage)
                self.next_handle += 1
                rank = ranks[row.handle] = ranks.get(row.handle, 0) + 1
                # Its own way on, addressed by the prefix and the rank.
                further = script(row.question, f'{row.sample}/{row.text}', rank)
                self.words[fork.handle] = [*self.words[row.handle][: len(row.tokens)], *further]
                self.held[fork.handle] = row = fork
            seen.add(row.handle)
            taken.append(row)
        self.release([row for row in rows if row.handle not in seen])
        return tuple(taken)

    def release(self, rows):
        for row in rows:
            self.held.pop(row.handle, None)
            self.working.pop(row.handle, None)
        self.queue = [job for job in self.queue if job.row.handle in self.held]

    def _grow(self, row):
        words = self.words[row.handle][: len(row.tokens) + 1]
        is_last = len(words) == len(self.words[row.handle])
        finish = Finish.STOP if is_last else Finish.LENGTH if len(words) >= self.limit else Finish.OPEN
        grown = self._holding(row, words, finish)
        return dataclasses.replace(grown, stats=_stats(words), cost=row.cost + Cost(decode=TOKEN_PRICE, new_tokens=1))

    def _holding(self, row, words, finish):
        count = len(words)
        ends = tuple(i + 1 for i, word in enumerate(words) if word.endswith('.'))
        if finish is not Finish.OPEN and ends[-1:] != (count,):
            ends = (*ends, count)
        return dataclasses.replace(
            row,
            tokens=tuple(range(count)),
            text=' '.join(words),
            step_ends=ends,
            steps=tuple(' '.join(words[a:b]) for a, b in zip((0, *ends), ends, strict=False)),
            finish=finish,
        )


def _stats(words):
    return {name: tuple(-0.1 * (len(word) % 5) for word in words) for name in STATS}


class FakeSampler:
    """Opens fake sessions; keeps the last one for a look inside."""

    stats = STATS
    setting = None

    def __init__(self, **settings):
        self.settings = settings

    def session(self):
        self.last = FakeSession(**self.settings)
        return self.last


class HashVerifier:
    """Scores a step by a hash of the text up to its end, in [0, 1)."""

    stats = frozenset()

    def score(self, rows, carry):
        costs = [Cost(verify=self.price(row, 0), scored_tokens=len(row.tokens)) for row in rows]
        return Scored(
            [tuple(self._value(''.join(row.steps[: i + 1])) for i in range(len(row.steps))) for row in rows], costs, carry
        )

    def price(self, row, num_tokens, carry=None):
        return 5 + 3 * (len(row.tokens) + num_tokens)

    @staticmethod
    def _value(text):
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:2]) / 2**16


class LengthVerifier:
    """Scores every step with the number of words so far; a row costs 5 FLOPs (its prompt) and 3 a word."""

    stats = frozenset()
    price_per_token = 3

    def __init__(self):
        self.calls = []

    def score(self, rows, carry):
        self.calls.append(len(rows))
        costs = [Cost(verify=self.price(row, 0), scored_tokens=len(row.tokens)) for row in rows]
        return Scored([tuple(float(end) for end in row.step_ends) for row in rows], costs, (carry or 0) + 1)

    def price(self, row, num_tokens, carry=None):
        return 5 + self.price_per_token * (len(row.tokens) + num_tokens)
