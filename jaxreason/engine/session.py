"""Rows on a device: which row lies where, which waits, and what comes back.

The device runs a fixed number of rows in slots of `rows_per_slot` that share a prompt. A row that was started or parked waits
in a queue until a slot of its question has a free place, or a slot is empty; a row that paused stays in its place until others
need the slot, then its keys and values are parked and later brought back bit for bit. Where a row lies, and when it gets there,
changes none of its tokens.
"""

import dataclasses
import functools
import itertools
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.cost import Cost
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.keys import fold, question_key, wrap_key
from jaxreason.core.protocols import Job
from jaxreason.core.types import Finish, Question, Row
from jaxreason.engine.buckets import bucket, check_context
from jaxreason.engine.decode import Halt, RowState, Tables, decode_chunk
from jaxreason.engine.forced import feed_words, with_words
from jaxreason.engine.mesh import spans_processes, to_host, use_mesh
from jaxreason.engine.read_heads import ReadHead
from jaxreason.engine.timing import Timing
from jaxreason.models.cache import Cache
from jaxreason.models.sharding import cache_shardings
from jaxreason.models.transformer import forward

if TYPE_CHECKING:
    from jaxreason.engine.sampler import Sampler


MOST_SECONDS = 2.0  # of one chunk: after that the host looks whether somebody wants to stop


@dataclasses.dataclass(eq=False)
class _Held:
    """A row that somebody holds."""

    row: Row
    key: np.ndarray  # [2] uint32
    matcher: int = 0  # state in the boundary table
    place: int | None = None  # its row on the device
    parked: Any = None  # (k, v, length) where it was moved out, None where it never was on the device


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
        self._prefilled: dict[Question, Cache] = {}
        self._num_held: Counter[Question] = Counter()
        self._rows = RowState.idle(0)  # shapes are chosen by `prepare`
        self._places: list[int | None] = []  # handle in each row
        self._fresh = np.zeros(0, bool)  # rows that a new sample begins in, to be cleared
        self._slots: list[Question | None] = []
        self._cache: Cache | None = None
        self._step_limit = sampler.chunk

    def prepare(self, questions: Sequence[Question], copies: Sequence[int] | None = None) -> None:
        if not questions:
            return
        longest = max(len(self._prompt(question)) for question in questions)
        for head in self.sampler.heads:
            head.check_prompt(self.sampler.prompt, questions[0])
        room = bucket(longest, self.sampler.buckets)
        if self._cache is None or self._cache.prompt_room < room:
            assert not self._held, 'shapes are chosen before rows are started'
            self.sampler = self.sampler.with_rows(longest, copies)
            num_rows = self.sampler.num_rows
            assert num_rows != 'auto', 'chosen above'
            self._rows = RowState.idle(num_rows)
            self._places = [None] * num_rows
            self._fresh = np.zeros(num_rows, bool)
            self._slots = [None] * (num_rows // self.sampler.rows_per_slot)
            self._cache = self._empty_cache(room)

    def _empty_cache(self, prompt_room: int) -> Cache:
        """Device memory for all rows, laid over the mesh if there is one."""
        sampler, mesh = self.sampler, self._lm.mesh
        room = bucket(sampler.max_tokens, sampler.buckets)
        with use_mesh(mesh):
            cache = Cache.empty(
                self._lm.config, len(self._slots), sampler.rows_per_slot, prompt_room, room, sampler.resolved_cache_dtype
            )
            return cache if mesh is None else jax.device_put(cache, cache_shardings(cache, mesh))

    def room(self) -> int:
        r = self.sampler.rows_per_slot
        empty = sum(all(handle is None for handle in self._places[slot * r : slot * r + r]) for slot in range(len(self._slots)))
        return empty * r - len(self._queue)

    def start(self, question: Question, copies: int, first: int, seed: int) -> tuple[tuple[Row, ...], Cost]:
        prompt = self._prompt(question)
        keys = _sample_keys(question_key(seed, question.id), first, copies)
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
        held = self._held[row.handle]
        prompt, num_words = self._prompt(row.question), row.cost.prompt_tokens - held.row.cost.prompt_tokens
        assert self._cache is not None, 'rows are started after shapes are chosen'
        with use_mesh(self._lm.mesh), self.timing.pumping():
            fed = feed_words(
                self.sampler,
                self._params,
                self._heads,
                self._prompt_keys(row.question),
                self._cache.row_room,
                (prompt[-1], *row.tokens[:-1]),
                row.tokens[len(row.tokens) - num_words :],
            )
        self.timing.prefilled += fed.num_run
        self._vacate(held)
        finish = row.finish if fed.is_finite else Finish.FAILED
        stats = {name: (*values, *fed.stats[name]) for name, values in row.stats.items()}
        held.row = dataclasses.replace(row, stats=stats, finish=finish)
        _, held.matcher, _ = self.sampler.boundaries.follow(row.tokens)
        held.parked = (fed.row.k, fed.row.v, fed.row.length) if finish is Finish.OPEN else None
        return held.row

    def take(self, rows: Sequence[Row], indices: Sequence[int]) -> tuple[Row, ...]:
        taken: list[Row] = []
        copies: dict[int, int] = {}
        read: dict[int, Any] = {}  # keys and values by handle of the parent: its copies hold the same arrays
        for index in indices:
            row = rows[index]
            rank = copies[row.handle] = copies.get(row.handle, -1) + 1
            if rank == 1:
                read[row.handle] = self._keys_and_values(self._held[row.handle])
            taken.append(row if rank == 0 else self._fork(self._held[row.handle], rank, read[row.handle]))
        self.release([row for row in rows if row.handle not in copies])
        return tuple(taken)

    def release(self, rows: Sequence[Row]) -> None:
        gone = {row.handle for row in rows}
        if not gone.isdisjoint(self._queued):
            self._queue = deque(job for job in self._queue if job.row.handle not in gone)
            self._queued -= gone
        for handle in gone & self._held.keys():
            held = self._held.pop(handle)
            self._vacate(held)
            self._working.pop(handle, None)
            self._count_held(held.row.question, -1)

    def pump(self) -> list[Row]:
        began = time.monotonic()
        with use_mesh(self._lm.mesh), self.timing.pumping():
            self._place()
            if self._fresh.any():
                self._cache, self._fresh = _clear_rows(self._cache, self._fresh), np.zeros_like(self._fresh)
            wake = np.array([self._could_join(), bool(self._queue)])
            cache, rows, chunk = decode_chunk(
                self._lm.config,
                self._params,
                self._cache,
                self._rows,
                self._tables,
                wake,
                np.int32(self._step_limit),
                self._heads,
                rule=self.sampler.rule,
                stats=tuple(sorted(self.sampler.stats)),
                confidence_top_k=self.sampler.confidence_top_k,
                length=self.sampler.chunk,
                rows_per_slot=self.sampler.rows_per_slot,
            )
            self._cache = cache
            rows, chunk = to_host((rows, chunk), self._lm.mesh)
            self._rows = jax.tree.map(np.array, rows)  # copies that can be written into
        steps = int(chunk.steps)
        self.timing.count_chunk(steps, len(self._places), int(chunk.count.sum()))
        self._step_limit = self._steps_within(MOST_SECONDS, (time.monotonic() - began) / steps)
        return self._collect(chunk)

    def _steps_within(self, seconds: float, seconds_per_step: float) -> int:
        """Steps of the next chunk: a stop that was asked for is not kept waiting. Chunks change no token.

        Processes that share a mesh must run the same program, so there no clock is asked.
        """
        if spans_processes(self._lm.mesh):
            return self.sampler.chunk
        return max(1, min(self.sampler.chunk, int(seconds / max(seconds_per_step, 1e-9))))

    def _prompt(self, question: Question) -> tuple[int, ...]:
        """Token ids of the question's prompt."""
        if question not in self._prompts:
            prompt = tuple(self.sampler.prompt.encode(self._lm.need_tokenizer(), question.text))
            check_context(self._lm.config, question.id, len(prompt), self.sampler.max_tokens, self.sampler.buckets)
            self._prompts[question] = prompt
        return self._prompts[question]

    def _keys_and_values(self, held: _Held) -> Any:
        """What a row has written, apart from the place where it lies."""
        return self._read(held.place) if held.place is not None else held.parked

    def _fork(self, parent: _Held, rank: int, parked: Any) -> Row:
        """A copy of a row that draws anew from here on."""
        key = np.asarray(_fork_key(parent.key, np.uint32(len(parent.row.step_ends)), np.uint32(rank)))
        lineage = (*parent.row.lineage, parent.row.handle)
        row = dataclasses.replace(parent.row, handle=next(self._handles), cost=Cost(), lineage=lineage)
        self._held[row.handle] = _Held(row, key, parent.matcher, parked=parked)
        self._count_held(row.question, 1)
        return row

    def _count_held(self, question: Question, change: int) -> None:
        """Keeps count of a question's rows; the keys of its prompt go with the last of them."""
        self._num_held[question] += change
        if not self._num_held[question]:
            del self._num_held[question]
            self._prefilled.pop(question, None)

    def _place(self) -> None:
        """Moves as many queued rows to work as find a place, first come first served."""
        waiting: deque[Job] = deque()
        full: set[Question] = set()  # no place for one row of a question is none for its others
        for job in self._queue:
            held = self._held[job.row.handle]
            if held.place is None and (job.row.question in full or not self._seat(held)):
                full.add(job.row.question)
                waiting.append(job)
                continue
            self._working[job.row.handle] = job
            self._queued.discard(job.row.handle)
            self._set(held, job)
        self._queue = waiting

    def _seat(self, held: _Held) -> bool:
        """Finds a place for a row and brings its keys and values there."""
        place = self._find_place(held.row.question)
        if place is None:
            return False
        self._places[place] = held.row.handle
        held.place = place
        if held.parked is not None:
            k, v, length = held.parked
            self._cache = _write_rows(self._cache, np.array([place], np.int32), k, v, length)
            held.parked = None
        else:
            self._fresh[place] = True
        return True

    def _find_place(self, question: Question) -> int | None:
        r = self.sampler.rows_per_slot
        slots = range(len(self._slots))
        for slot in slots:
            if self._slots[slot] == question:
                for place in range(slot * r, slot * r + r):
                    if self._places[place] is None:
                        return place
        idle = [slot for slot in slots if not any(h in self._working for h in self._places[slot * r : slot * r + r])]
        # An empty slot first; else one whose rows have all paused: they are parked.
        idle.sort(key=lambda slot: sum(h is not None for h in self._places[slot * r : slot * r + r]))
        if not idle:
            return None
        slot = idle[0]
        for handle in [h for h in self._places[slot * r : slot * r + r] if h is not None]:
            self._park(self._held[handle])
        self._install(slot, question)
        return slot * r

    def _could_join(self) -> bool:
        """Whether a queued row could take the place of the next row that ends, within its slot."""
        present = {question for question in self._slots if question is not None}
        return any(job.row.question in present for job in self._queue)

    def _park(self, held: _Held) -> None:
        assert held.place is not None, 'only a row on the device can be moved out'
        held.parked = self._read(held.place)
        self._vacate(held)
        self.timing.parked += 1

    def _read(self, place: int) -> Any:
        return _read_rows(self._cache, np.array([place], np.int32))

    def _vacate(self, held: _Held) -> None:
        if held.place is not None:
            self._places[held.place] = None
            self._rows.left[held.place] = 0
            held.place = None

    def _install(self, slot: int, question: Question) -> None:
        """Gives a slot the prompt of `question`."""
        assert self._cache is not None and len(self._prompt(question)) <= self._cache.prompt_room, 'prepare knew this prompt'
        self._cache = _install(self._cache, np.array([slot], np.int32), self._prompt_keys(question))
        self._slots[slot] = question

    def _prompt_keys(self, question: Question) -> Cache:
        """Keys and values of a question's prompt."""
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
        back = []
        for place, handle in enumerate(self._places):
            if handle not in self._working:
                continue
            held = self._held[handle]
            count, halt = int(chunk.count[place]), Halt(int(chunk.halt[place]))
            held.row = self._grown(held.row, chunk, place, count)
            held.matcher = int(self._rows.matcher[place])
            if self._rows.left[place] > 0:
                continue
            held.row = self._paused(held.row, halt)
            if held.row.finish is Finish.FAILED:  # a key that is NaN would reach later rows even where it is masked
                self._cache = _wipe_row(self._cache, held.place)
            if held.row.finish is not Finish.OPEN:
                self._vacate(held)
            del self._working[handle]
            back.append(held.row)
        return back

    def _grown(self, row: Row, chunk: Any, place: int, count: int) -> Row:
        stats = {name: (*row.stats[name], *chunk.stats[name][place, :count].tolist()) for name in self.sampler.stats}
        cost = row.cost + Cost(decode=self.decode_price(row, count), new_tokens=count)
        tokens = (*row.tokens, *chunk.tokens[place, :count].tolist())
        return dataclasses.replace(row, tokens=tokens, stats=stats, cost=cost)

    def _paused(self, row: Row, halt: Halt) -> Row:
        """A row that left the chunk: why, and its text."""
        finish = {Halt.STOP: Finish.STOP, Halt.FAILED: Finish.FAILED}.get(halt, Finish.OPEN)
        if finish is Finish.OPEN and len(row.tokens) >= self.sampler.max_tokens:
            finish = Finish.LENGTH
        split = self.sampler.boundaries.split(row.tokens)
        return dataclasses.replace(
            row,
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
def _keys(key: jax.Array, first: int, copies: int) -> jax.Array:
    keys = jax.vmap(lambda sample: jax.random.fold_in(key, sample))(first + jnp.arange(copies, dtype=jnp.uint32))
    return jax.random.key_data(keys)


@jax.jit
def _fork_key(key: jax.Array, step: jax.Array, rank: jax.Array) -> jax.Array:
    """Key data of a copy; one program, since a call for each fold would take most of the time that a fork takes."""
    return jax.random.key_data(fold(wrap_key(key), 'fork', step, rank))


def _sample_keys(key: jax.Array, first: int, copies: int) -> np.ndarray:
    """Key data of consecutive samples of a question, [copies, 2]."""
    return np.asarray(_keys(key, np.uint32(first), copies))


@functools.partial(jax.jit, static_argnames=('config', 'dtype'))
def _prefill(config, params, tokens_1s: jax.Array, positions_1s: jax.Array, *, dtype: str) -> Cache:
    empty = Cache.empty(config, 1, 1, 0, tokens_1s.shape[1], dtype)
    _, cache = forward(config, params, tokens_1s, positions_1s, empty)
    assert cache is not None
    return cache


_install = jax.jit(Cache.install, donate_argnums=0)
_write_rows = jax.jit(Cache.write_rows, donate_argnums=0)
_read_rows = jax.jit(Cache.read_rows)


@functools.partial(jax.jit, donate_argnums=0)
def _clear_rows(cache: Cache, is_fresh_b: jax.Array) -> Cache:
    """Places made ready for other rows: their length is 0, their keys are masked until overwritten."""
    return dataclasses.replace(cache, length=jnp.where(is_fresh_b, 0, cache.length))


@functools.partial(jax.jit, donate_argnums=0)
def _wipe_row(cache: Cache, place: int) -> Cache:
    """A row's keys and values set to 0."""
    return dataclasses.replace(
        cache, k=tuple(x.at[place].set(0) for x in cache.k), v=tuple(x.at[place].set(0) for x in cache.v)
    )
