"""Rows on a device: which row lies where, which waits, and what comes back.

The device runs a fixed number of rows in slots of `rows_per_slot` that share a prompt. A row that was submitted waits until it
finds a place (`seating.py`), rows of the oldest question first; a row that paused stays in its place until others need it, then
its keys and values are parked and later brought back bit for bit (`suffixes.py`). Where a row lies, and when it gets there,
changes none of its tokens.
"""

import dataclasses
import functools
import itertools
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.cost import Cost
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.keys import fold, question_key, question_words, wrap_key
from jaxreason.core.protocols import Job
from jaxreason.core.types import Finish, Question, Row
from jaxreason.data.boundaries import Walked
from jaxreason.engine.buckets import bucket
from jaxreason.engine.decode import Halt, RowState, Tables, Wake, decode_chunk
from jaxreason.engine.forced import feed_words, with_words
from jaxreason.engine.memory import place_of
from jaxreason.engine.mesh import spans_processes, to_host, use_mesh
from jaxreason.engine.prompt_room import longest_prompt
from jaxreason.engine.read_heads import ReadHead
from jaxreason.engine.rows import memory_of
from jaxreason.engine.seating import Seating
from jaxreason.engine.suffixes import Suffix, Suffixes
from jaxreason.engine.timing import Timing
from jaxreason.models.cache import Cache
from jaxreason.models.sharding import cache_shardings
from jaxreason.models.transformer import forward

if TYPE_CHECKING:
    from jaxreason.engine.sampler import Sampler


MOST_SECONDS = 2.0  # of one chunk: after that the host looks whether somebody wants to stop
PUMP_SECONDS = 5e-3  # what an early end of a chunk costs, copies included: until waiting has cost as much it goes on
# Rows that searches may grow at once, for each row of the device: beams wait for their slowest row, others use the places.
MOST_OPEN = 4


@dataclasses.dataclass(eq=False)
class _Held:
    """A row that somebody holds."""

    row: Row
    key: np.ndarray | None  # [2] uint32; None of a fork until it is derived
    matcher: int = 0  # state in the boundary table
    walked: Walked = Walked()  # how far its text is known
    suffix: Suffix | None = None  # what it wrote; None before it was on the device
    new: list[int] = dataclasses.field(default_factory=list)  # tokens drawn since it last paused
    new_stats: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> int | None:
        """Its row on the device, shared with forks of it that have not moved yet."""
        return None if self.suffix is None else self.suffix.place

    @property
    def num_tokens(self) -> int:
        return len(self.row.tokens) + len(self.new)

    @property
    def may_go_on(self) -> bool:
        """Whether it would overwrite nothing that belongs to others."""
        return self.suffix is not None and (self.suffix.shares == 1 or self.suffix.written == self.num_tokens)


class _Unforked(NamedTuple):
    """A fork whose key is still to be derived."""

    held: _Held
    key: np.ndarray  # of its parent
    step: int
    rank: int


class DeviceSession:
    """The engine's `Session`: see `core.protocols`."""

    def __init__(self, sampler: 'Sampler'):
        self.sampler = sampler
        self.timing = Timing()
        self._lm = sampler.lm
        self._params = sampler.lm.params if sampler.lm.mesh is not None else sampler.lm.params_for_decoding
        self._heads = {head.name: ReadHead.placed(head.kind, head.head, sampler.lm.mesh) for head in sampler.heads}
        self._held: dict[int, _Held] = {}
        self._handles = itertools.count()
        self._queue: deque[Job] = deque()
        self._queued: set[int] = set()  # handles of its rows
        self._working: dict[int, Job] = {}  # by handle
        self._prompts: dict[Question, tuple[int, ...]] = {}
        self._num_attempts = 0  # that prompts may show
        self._rooms: dict[Question, int] = {}  # tokens that prompts may have, by question without attempts
        self._prefilled: dict[Question, Cache] = {}
        self._num_held: Counter[Question] = Counter()
        self._rows = RowState.idle(0)  # shapes are chosen by `prepare`
        self._ages: dict[Question, int] = {}  # questions that have rows, in the order of their beginning
        self._num_begun = itertools.count()
        self._num_open = 0  # rows that are held and may grow
        self._most_open = 0
        self._unforked: list[_Unforked] = []
        self._seating: Seating | None = None  # until shapes are known
        self._step_limit = sampler.chunk
        self._patience = 0

    def prepare(self, questions: Sequence[Question], copies: Sequence[int] | None = None, num_attempts: int = 0) -> None:
        if not questions:
            return
        if num_attempts > self._num_attempts:
            self._num_attempts, self._rooms = num_attempts, {}
        longest = max(self._prompt_room(question) for question in questions)
        for head in self.sampler.heads:
            head.check_prompt(self.sampler.prompt, questions[0], self._num_attempts)
        room = bucket(longest, self.sampler.buckets)
        if self._cache is None or self._cache.prompt_room < room:
            assert not self._held, 'shapes are chosen before rows are started'
            self.sampler = self.sampler.with_rows(longest, copies)
            assert self.sampler.num_rows != 'auto', 'chosen above'
            self._rows = RowState.idle(self.sampler.num_rows)
            cache = self._empty_cache(self.sampler.num_rows, self.sampler.rows_per_slot, room)
            self._most_open = self._affordable_rows(longest)
            suffixes = Suffixes(cache, self._empty_pool, self._most_open - cache.num_rows, 'packed_layers' in self._params)
            self._seating = Seating(suffixes, self.sampler.rows_per_slot, self._move)

    @property
    def _cache(self) -> Cache | None:
        return None if self._seating is None else self._seating.suffixes.cache

    def _affordable_rows(self, longest_prompt: int) -> int:
        """Rows that may be open at once: those beyond the device's own are parked beside them, where memory is left."""
        sampler, num_rows = self.sampler, self.sampler.num_rows
        assert num_rows != 'auto', 'chosen'
        place = place_of(sampler.memory_limit, self._lm.mesh, sampler.beside)
        need = memory_of(sampler, self._lm.config, longest_prompt, num_rows, sampler.rows_per_slot, place)
        more = (place.limit - need.total) // need.cache
        return num_rows * int(min(MOST_OPEN, max(1, 1 + more)))

    def _empty_cache(self, num_rows: int, rows_per_slot: int, prompt_room: int) -> Cache:
        """Device memory for rows, laid over the mesh if there is one."""
        sampler, mesh = self.sampler, self._lm.mesh
        room = bucket(sampler.max_tokens, sampler.buckets)
        with use_mesh(mesh):
            cache = Cache.empty(
                self._lm.config, num_rows // rows_per_slot, rows_per_slot, prompt_room, room, sampler.resolved_cache_dtype
            )
            return cache if mesh is None else jax.device_put(cache, cache_shardings(cache, mesh))

    def _empty_pool(self, num_rows: int) -> Cache:
        return self._empty_cache(num_rows, 1, 0)

    def room(self) -> int:
        if self._seating is None or self._num_open >= self._most_open:
            return 0
        return len(self._seating.workers) - len(self._working) - len(self._queue)

    def fitting(self, question: Question) -> Question:
        room = self._prompt_room(question)
        while question.attempts and len(self._prompt(question)) > room:
            del self._prompts[question]  # nobody will ask it
            question = dataclasses.replace(question, attempts=question.attempts[1:])
        return question

    def start(self, question: Question, copies: int, first: int, seed: int) -> tuple[tuple[Row, ...], Cost]:
        prompt = self._prompt(question)
        keys = _sample_keys(seed, question.id, first, copies)
        if question not in self._ages:
            self._ages[question] = next(self._num_begun)
        self._num_open += copies
        rows = []
        for offset in range(copies):
            stats = {name: () for name in self.sampler.stats}
            row = Row(
                handle=next(self._handles),
                question=question,
                answer_format=self.sampler.prompt.answer_format,
                sample=first + offset,
                stats=stats,
            )
            self._held[row.handle] = _Held(row, keys[offset])
            self._count_held(question, 1)
            rows.append(row)
        return tuple(rows), Cost(prefill=self.start_price(question), prompt_tokens=len(prompt))

    def start_price(self, question: Question) -> int:
        return prompt_flops(self._lm.config, len(self._prompt(question)))

    def decode_price(self, row: Row, num_tokens: int) -> int:
        return decode_flops(self._lm.config, len(self._prompt(row.question)), len(row.tokens), num_tokens)

    def most_tokens(self, row: Row) -> int:
        return self.sampler.max_tokens - len(row.tokens)

    def submit(self, job: Job) -> None:
        assert job.row.finish is Finish.OPEN and 0 < job.max_tokens <= self.most_tokens(job.row), 'a row that can grow'
        self._queue.append(job)
        self._queued.add(job.row.handle)

    def append(self, row: Row, text: str, cut: str) -> Row:
        return with_words(row, text, cut, self.sampler, len(self._prompt(row.question)))

    def feed(self, row: Row) -> Row:
        assert self._seating is not None, 'rows are started after shapes are chosen'
        held, suffixes = self._held[row.handle], self._seating.suffixes
        prompt, num_words = self._prompt(row.question), row.cost.prompt_tokens - held.row.cost.prompt_tokens
        with use_mesh(self._lm.mesh), self.timing.pumping():
            fed = feed_words(
                self.sampler,
                self._params,
                self._heads,
                self._prompt_keys(row.question),
                suffixes.cache.row_room,
                (prompt[-1], *row.tokens[:-1]),
                row.tokens[len(row.tokens) - num_words :],
            )
            finish = row.finish if fed.is_finite else Finish.FAILED
            self._leave(held)
            if finish is Finish.OPEN:
                held.suffix = suffixes.adopt(fed.row)
        self.timing.prefilled += fed.num_run
        self._num_open += (finish is Finish.OPEN) - (held.row.finish is Finish.OPEN)
        stats = {name: (*values, *fed.stats[name]) for name, values in row.stats.items()}
        held.row = dataclasses.replace(row, stats=stats, finish=finish)
        held.walked = Walked()
        _, held.matcher, _ = self.sampler.boundaries.follow(row.tokens)
        return held.row

    def take(self, rows: Sequence[Row], indices: Sequence[int]) -> tuple[Row, ...]:
        taken: list[Row] = []
        copies: dict[int, int] = {}
        for index in indices:
            row = rows[index]
            rank = copies[row.handle] = copies.get(row.handle, -1) + 1
            taken.append(row if rank == 0 else self._fork(self._held[row.handle], rank))
        self.release([row for row in rows if row.handle not in copies])
        return tuple(taken)

    def release(self, rows: Sequence[Row]) -> None:
        gone = {row.handle for row in rows}
        if not gone.isdisjoint(self._queued):
            self._queue = deque(job for job in self._queue if job.row.handle not in gone)
            self._queued -= gone
        for handle in gone & self._held.keys():
            held = self._held.pop(handle)
            self._stop(held)
            self._leave(held)
            self._num_open -= held.row.finish is Finish.OPEN
            self._count_held(held.row.question, -1)

    def pump(self) -> list[Row]:
        assert self._seating is not None, 'shapes are chosen before rows are started'
        began, suffixes = time.monotonic(), self._seating.suffixes
        with use_mesh(self._lm.mesh), self.timing.pumping():
            self._place()
            suffixes.do()
            cache, rows, chunk = decode_chunk(
                self._lm.config,
                self._params,
                suffixes.cache,
                self._rows,
                self._tables,
                self._wake(),
                np.int32(self._step_limit),
                self._heads,
                rule=self.sampler.rule,
                stats=tuple(sorted(self.sampler.stats)),
                confidence_top_k=self.sampler.confidence_top_k,
                length=self.sampler.chunk,
                rows_per_slot=self.sampler.rows_per_slot,
            )
            suffixes.cache = cache
            rows, chunk = to_host((rows, chunk), self._lm.mesh)
            self._rows = jax.tree.map(np.array, rows)  # copies that can be written into
        steps = int(chunk.steps)
        self.timing.count_chunk(steps, len(suffixes.at), int(chunk.count.sum()))
        self.timing.parked, self.timing.copied = suffixes.parked, suffixes.copied
        self._tune(time.monotonic() - began, steps)
        return self._collect(chunk)

    def _tune(self, seconds: float, steps: int) -> None:
        """How long the next chunk may be, and how many row-steps it may waste before the host is called.

        Processes that share a mesh must run the same program, so there no clock is asked.
        """
        if not spans_processes(self._lm.mesh):
            self._step_limit = self._steps_within(MOST_SECONDS, seconds / steps)
            self._patience = int(PUMP_SECONDS * len(self._rows.left) / max((seconds - PUMP_SECONDS) / steps, 1e-5))

    def _steps_within(self, seconds: float, seconds_per_step: float) -> int:
        """Steps of the next chunk: a stop that was asked for is not kept waiting. Chunks change no token."""
        return max(1, min(self.sampler.chunk, int(seconds / max(seconds_per_step, 1e-9))))

    def _prompt(self, question: Question) -> tuple[int, ...]:
        """Token ids of the question's prompt."""
        if question not in self._prompts:
            encode = self.sampler.prompt.encode
            self._prompts[question] = tuple(encode(self._lm.need_tokenizer(), question.text, attempts=question.attempts))
        return self._prompts[question]

    def _prompt_room(self, question: Question) -> int:
        """Tokens that prompts of the question may have, with any attempts; refuses one that has no room."""
        bare = dataclasses.replace(question, attempts=())
        if bare not in self._rooms:
            self._rooms[bare] = longest_prompt(
                self.sampler.prompt,
                self._lm.need_tokenizer(),
                self._lm.config,
                bare,
                num_attempts=self._num_attempts,
                max_tokens=self.sampler.max_tokens,
                buckets=self.sampler.buckets,
            )
        return self._rooms[bare]

    def _fork(self, parent: _Held, rank: int) -> Row:
        """A copy of a row that draws anew from here on. What was written is shared until one of the two has to move."""
        lineage = (*parent.row.lineage, parent.row.handle)
        row = parent.row.but(handle=next(self._handles), cost=Cost(), lineage=lineage)
        held = self._held[row.handle] = _Held(row, None, parent.matcher, parent.walked, parent.suffix)
        if held.suffix is not None:
            held.suffix.shares += 1
        self._num_open += row.finish is Finish.OPEN
        self._count_held(row.question, 1)
        if parent.key is None:
            self._derive_keys()
        assert parent.key is not None, 'derived just now'
        self._unforked.append(_Unforked(held, parent.key, len(row.step_ends), rank))
        return row

    def _derive_keys(self) -> None:
        """The keys of all forks since the last time, in one call."""
        if not self._unforked:
            return
        helds, *parts = zip(*self._unforked, strict=True)
        size = max(16, 1 << (len(helds) - 1).bit_length())  # few shapes
        keys, steps, ranks = (np.resize(np.asarray(part, np.uint32), (size, *np.shape(part[0]))) for part in parts)
        for held, key in zip(helds, np.asarray(_fork_keys(keys, steps, ranks)), strict=False):
            held.key = key
        self._unforked = []

    def _count_held(self, question: Question, change: int) -> None:
        """Keeps count of a question's rows; the keys of its prompt go with the last of them."""
        self._num_held[question] += change
        if not self._num_held[question]:
            del self._num_held[question], self._ages[question]
            self._prefilled.pop(question, None)
            if question.attempts:  # nobody will ask it again
                self._prompts.pop(question, None)

    def _place(self) -> None:
        """Moves as many queued rows to work as find a place; the oldest question's first, so that few wait half done."""
        self._derive_keys()
        assert self._seating is not None, 'pump knows it'
        jobs = sorted(self._queue, key=lambda job: self._ages[job.row.question])
        elsewhere: list[Job] = []
        for job in jobs:  # those that lie in places first: what has to move may not take their places
            held = self._held[job.row.handle]
            if held.place is not None and self._seating.workers[held.place] is None and held.may_go_on:
                self._set_to_work(job, held.place)
            else:
                elsewhere.append(job)
        waiting: deque[Job] = deque()
        for question, group in itertools.groupby(elsewhere, key=lambda job: job.row.question):
            waiting.extend(self._seat(question, list(group)))
        self._queue = waiting

    def _seat(self, question: Question, jobs: list[Job]) -> list[Job]:
        """Finds places for rows of a question; returns the jobs that wait on."""
        assert self._seating is not None, 'pump knows it'
        free = self._seating.beside(question)
        for number, job in enumerate(jobs):
            if not free:
                slot = self._seating.empty_slot()
                if slot is None:
                    return jobs[number:]
                self._install(slot, question)
                free = list(self._seating.places(slot))
            held, place, suffixes = self._held[job.row.handle], free.pop(0), self._seating.suffixes
            suffixes.park(place)
            held.suffix = suffixes.fresh(place) if held.suffix is None else suffixes.bring(held.suffix, place)
            self._set_to_work(job, place)
        return []

    def _set_to_work(self, job: Job, place: int) -> None:
        assert self._seating is not None, 'pump knows it'
        handle, held = job.row.handle, self._held[job.row.handle]
        assert held.suffix is not None, 'it lies in this place'
        held.suffix.written = len(job.row.tokens)
        self._working[handle] = job
        self._queued.discard(handle)
        self._seating.workers[place] = handle
        self._seating.suffixes.set_length(place, len(job.row.tokens))
        self._set(held, job)

    def _move(self, place: int, to: int) -> None:
        """Moves a row at work to an empty place."""
        assert self._seating is not None, 'it is who asks'
        suffixes, workers = self._seating.suffixes, self._seating.workers
        handle = workers[place]
        assert handle is not None and (suffix := self._held[handle].suffix) is not None, 'a row at work'
        held, workers[to], workers[place] = self._held[handle], handle, None
        held.suffix = suffixes.bring(suffix, to)
        suffixes.set_length(to, held.num_tokens)
        for values in vars(self._rows).values():
            values[to] = values[place]
        self._rows.left[place] = 0

    def _wake(self) -> Wake:
        """When the chunk that begins should end early."""
        assert self._seating is not None, 'pump knows it'
        slots = self._seating.slots
        waiting = {job.row.question for job in self._queue}
        number = {question: slot for slot, question in enumerate(slots)}
        return Wake(
            group=np.array([slot if question is None else number[question] for slot, question in enumerate(slots)], np.int32),
            wanted=np.array([question in waiting for question in slots]),
            waiting=np.bool_(bool(waiting)),
            patience=np.int32(self._patience),
        )

    def _stop(self, held: _Held) -> None:
        """Ends a row's work, if it is at work."""
        if self._working.pop(held.row.handle, None) is not None:
            assert self._seating is not None and held.place is not None, 'it works in a place'
            self._seating.workers[held.place] = None
            self._rows.left[held.place] = 0

    def _leave(self, held: _Held) -> None:
        """Gives up what a row has written."""
        if held.suffix is not None:
            assert self._seating is not None, 'it has written'
            self._seating.suffixes.drop(held.suffix)
            held.suffix = None

    def _install(self, slot: int, question: Question) -> None:
        """Gives a slot the prompt of `question`."""
        assert self._seating is not None, 'pump knows it'
        suffixes = self._seating.suffixes
        assert len(self._prompt(question)) <= suffixes.cache.prompt_room, 'prepare knew this prompt'
        suffixes.cache = _install(suffixes.cache, np.array([slot], np.int32), self._prompt_keys(question))
        self._seating.slots[slot] = question

    def _prompt_keys(self, question: Question) -> Cache:
        """Keys and values of a question's prompt, computed when they are first needed."""
        if question not in self._prefilled:
            self._prefilled[question] = self._prefill(self._prompt(question))
        return self._prefilled[question]

    def _prefill(self, prompt: tuple[int, ...]) -> Cache:
        """Keys and values of all prompt tokens but the last, which every row feeds itself."""
        room = bucket(len(prompt), self.sampler.buckets)
        tokens_1s = np.zeros((1, room), np.int32)
        positions_1s = np.full((1, room), -1, np.int32)
        fed = len(prompt) - 1
        tokens_1s[0, :fed] = prompt[:fed]
        positions_1s[0, :fed] = np.arange(fed)
        self.timing.prefilled += room
        dtype = self.sampler.resolved_cache_dtype
        return _prefill(self._lm.config, self._params, tokens_1s, positions_1s, dtype=dtype)

    def _set(self, held: _Held, job: Job) -> None:
        """Writes a row's state for the next chunk."""
        row, place, rows = held.row, held.place, self._rows
        last = row.tokens[-1] if row.tokens else self._prompt(row.question)[-1]
        rows.token[place] = last
        rows.key[place] = held.key
        rows.drawn[place] = len(row.tokens)
        rows.matcher[place] = held.matcher
        rows.left[place] = job.max_tokens
        rows.until_step[place] = job.until_step
        rows.greedy[place] = job.greedy or self.sampler.temperature == 0

    def _collect(self, chunk: Any) -> list[Row]:
        """Adds what the chunk drew to its rows; returns those that paused or ended."""
        assert self._seating is not None, 'pump knows it'
        back = []
        steps = int(chunk.steps)
        tokens, counts = chunk.tokens[:, :steps].tolist(), chunk.count.tolist()
        stats = {name: values[:, :steps].tolist() for name, values in chunk.stats.items()}
        for place, handle in enumerate(self._seating.workers):
            if handle is None:
                continue
            held = self._held[handle]
            held.new += tokens[place][: counts[place]]
            for name, values in stats.items():
                held.new_stats.setdefault(name, []).extend(values[place][: counts[place]])
            held.matcher = int(self._rows.matcher[place])
            if self._rows.left[place] == 0:
                self._end(held, Halt(int(chunk.halt[place])))
                back.append(held.row)
        return back

    def _end(self, held: _Held, halt: Halt) -> None:
        """A row that left the chunk: it stays where it is if it may go on."""
        held.row = self._paused(held, halt)
        held.new, held.new_stats = [], {}
        assert held.suffix is not None, 'it was at work'
        held.suffix.written = held.num_tokens
        self._stop(held)
        if held.row.finish is Finish.FAILED:
            self._wipe(held)
        if held.row.finish is not Finish.OPEN:
            self._num_open -= 1
            self._leave(held)

    def _wipe(self, held: _Held) -> None:
        """Clears what a failed row wrote: a key that is NaN would reach later rows even where it is masked."""
        assert self._seating is not None and held.place is not None, 'it was at work'
        others = [other for other in self._held.values() if other.suffix is held.suffix and other is not held]
        self._seating.suffixes.wipe(held.place, max((len(other.row.tokens) for other in others), default=0))

    def _paused(self, held: _Held, halt: Halt) -> Row:
        """A row with what it drew, its text, and why it left the chunk."""
        row, count = held.row, len(held.new)
        tokens = (*row.tokens, *held.new)
        finish = {Halt.STOP: Finish.STOP, Halt.FAILED: Finish.FAILED}.get(halt, Finish.OPEN)
        if finish is Finish.OPEN and len(tokens) >= self.sampler.max_tokens:
            finish = Finish.LENGTH
        split, held.walked = self.sampler.boundaries.go_on(tokens, held.walked)
        return row.but(
            tokens=tokens,
            stats={name: (*row.stats[name], *held.new_stats.get(name, ())) for name in self.sampler.stats},
            cost=row.cost + Cost(decode=self.decode_price(row, count), new_tokens=count),
            finish=finish,
            text=split.text,
            steps=split.steps,
            step_ends=split.step_ends,
            at_boundary=halt is Halt.STEP,
        )

    @functools.cached_property
    def _tables(self) -> Tables:
        boundaries = self.sampler.boundaries
        ends = np.zeros(self._lm.config.vocab_size, bool)
        ends[list(self._lm.eos_ids)] = True
        return jax.tree.map(jnp.asarray, Tables(transition=boundaries.transition, event=boundaries.event, ends=ends))


@functools.partial(jax.jit, static_argnames=('copies',))
def _keys(seed: jax.Array, high: jax.Array, low: jax.Array, first: jax.Array, copies: int) -> jax.Array:
    key = question_key(seed, high, low)
    keys = jax.vmap(lambda sample: jax.random.fold_in(key, sample))(first + jnp.arange(copies, dtype=jnp.uint32))
    return jax.random.key_data(keys)


@jax.jit
def _fork_keys(key_p2: jax.Array, step_p: jax.Array, rank_p: jax.Array) -> jax.Array:
    """Key data of copies, by those of their parents; one program, since a call costs more than the folds of many forks."""
    return jax.vmap(lambda key, step, rank: jax.random.key_data(fold(wrap_key(key), 'fork', step, rank)))(
        key_p2, step_p, rank_p
    )


def _sample_keys(seed: int, question_id: str, first: int, copies: int) -> np.ndarray:
    """Key data of consecutive samples of a question, [copies, 2]; in one program, since a call costs more than the folds."""
    words = map(np.uint32, (seed, *question_words(question_id), first))
    return np.asarray(_keys(*words, copies=copies))


@functools.partial(jax.jit, static_argnames=('config', 'dtype'))
def _prefill(config, params, tokens_1s: jax.Array, positions_1s: jax.Array, *, dtype: str) -> Cache:
    empty = Cache.empty(config, 1, 1, 0, tokens_1s.shape[1], dtype)
    _, cache = forward(config, params, tokens_1s, positions_1s, empty)
    assert cache is not None
    return cache


_install = jax.jit(Cache.install, donate_argnums=0)
