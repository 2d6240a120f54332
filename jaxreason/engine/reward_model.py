"""A trained verifier: a decoder with a head scores every step of a solution in one forward pass.

The text of a row's steps is what counts: it is written in the verifier's own layout and encoded with its own tokenizer. Rows
run in batches of a fixed number, at a length bucket that depends on the row alone. What a round computed is carried to the
next: a row that grew, or was forked, feeds only what its own lineage had not fed, as far as the ids agree. It pays for just
that, whatever else was scored beside it, and whether or not the keys had to be computed again.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import FREE, Cost
from jaxreason.core.flops import forward_flops
from jaxreason.core.protocols import Scored
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import HeadKind, Unscored, VerifierSpec
from jaxreason.data.verifier_layout import Laid, Typesetter
from jaxreason.engine.buckets import BUCKETS, bucket
from jaxreason.engine.mesh import to_host, use_mesh
from jaxreason.engine.scoring_memory import ScoringMemory, scoring_memory
from jaxreason.models.cache import Cache
from jaxreason.models.transformer import for_decoding, forward
from jaxreason.models.value_heads import (
    Earlier,
    embedded,
    head_parameters,
    log_odds,
    state_value,
    taken_so_far,
)

if TYPE_CHECKING:
    from jax.sharding import Mesh

# How many tokens of ours a token of the policy may become: its text is not known when the budget is divided.
_GROWTH, _SPARE = 1.5, 16
_FED = (8, 16, 32, *BUCKETS)  # a row that goes on is fed a step, which may be a few tokens
MOST_ENTRIES = 1 << 16  # rows remembered, for callers that do not say which of them are gone


class _Kept(NamedTuple):
    """Keys and values of a row: those of its batch stay where they are until the last row of it is forgotten."""

    cache: Cache
    place: int  # of the row
    size: int  # bytes, an equal share of the cache


class _Entry(NamedTuple):
    """What a row's last scoring left behind."""

    ids: np.ndarray  # int32
    scores: Mapping[int, float]  # by index of the token where they are read
    kept: _Kept | None  # None where memory was short
    tail: '_Tail | None' = None  # of an action value

    @property
    def size(self) -> int:
        """Bytes that it keeps."""
        return 0 if self.kept is None else self.kept.size


class _Carry(NamedTuple):
    """What rounds leave behind, the longest unused first, and the bytes of it."""

    entries: dict[int, _Entry]
    size: int


class _Tail(NamedTuple):
    """What the penalty of a further token needs: the state after the last one, and the penalties so far."""

    hidden: np.ndarray  # [d], float32
    taken: float


class _Plan(NamedTuple):
    """One row of a call: what is fed, and what it pays for."""

    number: int  # of the row in the call
    laid: Laid
    reused: int  # leading tokens that its lineage paid for
    kept: _Kept | None  # their keys and values; None to feed them again
    held: Mapping[int, float]  # scores among them
    keeps: bool
    tail: _Tail | None = None  # of an action value, at the last of them

    @property
    def fed_from(self) -> int:
        return self.reused if self.kept is not None else 0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RewardModel:
    """A verifier ready to score.

    Attributes:
        name: as it was asked for.
        spec: what it is.
        config: architecture of its decoder.
        params: of the decoder, on the devices; None where it was opened for its prices only.
        head: of the head, likewise.
        typesetter: writes its input.
        mesh: devices that it lies on; None for one device.
        digest: SHA-256 of what it was read from and of its spec.
    """

    name: str
    spec: VerifierSpec
    config: ModelConfig
    params: Any = dataclasses.field(repr=False)
    head: Any = dataclasses.field(repr=False)
    typesetter: Typesetter
    mesh: 'Mesh | None' = None
    digest: str = ''

    @property
    def stats(self) -> frozenset[str]:
        return frozenset()

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        """Scores every step; see `Verifier.score`."""
        carry = carry or _Carry({}, 0)
        entries: dict[int, _Entry] = carry.entries
        scores: list[tuple[float, ...]] = [()] * len(rows)
        costs: list[Cost] = [FREE] * len(rows)
        unscored: dict[int, Unscored] = {}
        plans = []
        for index, row in enumerate(rows):
            laid = self._lay(row)
            if isinstance(laid, Unscored):
                unscored[index] = laid
                continue
            plans.append(self._plan(index, row, laid, entries))
            costs[index] = self._cost(plans[-1])
        kept: dict[int, _Entry] = {}
        for batch in self._batches(plans):
            for plan, found, left, tail in self._run(batch):
                if any(math.isnan(found[read]) for read in plan.laid.reads):
                    unscored[plan.number] = Unscored.NAN
                    continue
                scores[plan.number] = tuple(found[read] for read in plan.laid.reads)
                if plan.keeps:
                    kept[rows[plan.number].handle] = _Entry(np.asarray(plan.laid.ids, np.int32), found, left, tail)
        return Scored(scores, costs, self._remembered(carry, [row.handle for row in rows], kept), unscored)

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        """FLOPs of scoring what a row's lineage has not paid for: no less than `score` will charge for the row as it is.

        For tokens yet to come it is an estimate that is meant to be high: how they will be encoded here is not known.
        """
        laid = self._lay(row if row.steps else dataclasses.replace(row, steps=('',), step_ends=(0,)))
        if isinstance(laid, Unscored) or (not row.steps and not num_tokens):
            return 0
        reused = self._plan(0, row, laid, carry.entries).reused if carry and row.steps else 0
        reads = sum(read >= reused for read in laid.reads) + num_tokens
        return self._flops(reused, self._grown(laid, row, num_tokens) - reused, reads)

    def memory(self, questions: Sequence[Question], num_tokens: int, is_cpu: bool) -> ScoringMemory:
        """Bytes on one device for scoring solutions of up to so many tokens of the policy, estimated as `price` does.

        Args:
            questions: that are answered.
            num_tokens: of the longest solution.
            is_cpu: the device is a CPU.
        """
        mesh = self.spec.model.mesh if self.mesh is None else dict(self.mesh.shape)
        rows = [Row(handle=0, question=question, sample=0, steps=('',), step_ends=(0,)) for question in questions]
        laid = [(self._lay(row), row) for row in rows]
        lengths = [self._grown(each, row, num_tokens) for each, row in laid if not isinstance(each, Unscored)]
        layout = self.spec.layout
        shown = layout.attempts * (max(num_tokens, layout.attempt_columns) + _SPARE)  # attempts before a question
        longest = min(max(lengths, default=self.config.max_context) + shown, self.config.max_context)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(dict(self.head)))
        return scoring_memory(self.config, numbers, self.spec.num_rows, longest, mesh, is_cpu)

    def _grown(self, laid: Laid, row: Row, num_tokens: int) -> int:
        """Tokens of ours once the row has grown by so many of the policy's."""
        tokens = len(laid.ids)
        if not num_tokens:
            return tokens
        ratio = max(1.0, (tokens - laid.start) / len(row.tokens)) if row.tokens else 1.0
        return min(self.config.max_context, tokens + math.ceil(_GROWTH * ratio * num_tokens) + _SPARE)

    @functools.cached_property
    def _run_params(self) -> Any:
        """The decoder as scoring takes it; without a mesh a CPU uses packed weights."""
        if self.mesh is not None:
            return self.params
        packed = for_decoding(self.config, self.params)
        packed.pop('packed_head', None)  # nobody reads logits of the vocabulary
        return packed

    def _lay(self, row: Row) -> Laid | Unscored:
        if len(row.steps) != len(row.step_ends):
            return Unscored.STEPS
        laid = self._laid(row.question.text, row.steps, row.question.attempts)
        return Unscored.TOO_LONG if isinstance(laid, Laid) and len(laid.ids) > self.config.max_context else laid

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - prices are asked for many times a row
    def _laid(self, question: str, steps: tuple[str, ...], attempts: tuple[str, ...]) -> Laid | Unscored:
        return self.typesetter.lay(question, steps, attempts)

    def _plan(self, index: int, row: Row, laid: Laid, entries: Mapping[int, _Entry]) -> _Plan:
        ids = np.asarray(laid.ids, np.int32)
        best, reused = None, 0
        for handle in (row.handle, *reversed(row.lineage)):
            entry = entries.get(handle)
            length = 0 if entry is None else _common(entry.ids, ids)
            # The penalties of an action value are known up to the last token of an entry, and nowhere before.
            if entry is not None and entry.tail is not None and length < len(entry.ids):
                continue
            if entry is not None and length > reused and all(read in entry.scores for read in laid.reads if read < length):
                best, reused = entry, length
        keeps = row.finish is Finish.OPEN
        if best is None:
            return _Plan(index, laid, 0, None, {}, keeps)
        held = {read: best.scores[read] for read in laid.reads if read < reused}
        return _Plan(index, laid, reused, best.kept, held, keeps, best.tail)

    def _cost(self, plan: _Plan) -> Cost:
        new = len(plan.laid.ids) - plan.reused
        reads = sum(read >= plan.reused for read in plan.laid.reads)
        return Cost(verify=self._flops(plan.reused, new, reads), scored_tokens=new)

    def _flops(self, first: int, count: int, reads: int) -> int:
        positions = count if self.spec.head == 'action_value' else reads
        return forward_flops(self.config, first, count, 0) + 2 * head_parameters(self.head) * positions

    def _batches(self, plans: Sequence[_Plan]) -> list[list[_Plan]]:
        """Rows of one shape together: shape by the row's own length, as many rows as the spec says at most."""
        groups: dict[tuple[int, int], list[_Plan]] = {}
        for plan in plans:
            groups.setdefault(self._shape(plan), []).append(plan)
        n = self.spec.num_rows
        return [group[at : at + n] for _, group in sorted(groups.items()) for at in range(0, len(group), n)]

    @staticmethod
    def _shape(plan: _Plan) -> tuple[int, int]:
        """Tokens to feed (0 for none) and room for keys."""
        new = len(plan.laid.ids) - plan.fed_from
        return (bucket(new, _FED) if new else 0), bucket(len(plan.laid.ids))

    def _run(self, batch: Sequence[_Plan]) -> list[tuple[_Plan, dict[int, float], _Kept | None, _Tail | None]]:
        """Scores by token index, and of the rows that keep them keys and values and, of an action value, the tail."""
        fed, room = self._shape(batch[0])
        if not fed:  # the same text again
            return [(plan, dict(plan.held), plan.kept, plan.tail) for plan in batch]
        tokens_bt = np.zeros((self.spec.num_rows, fed), np.int32)
        positions_bt = np.full_like(tokens_bt, -1)
        start_b = np.zeros(self.spec.num_rows, np.int32)
        for place, plan in enumerate(batch):
            new = plan.laid.ids[plan.fed_from :]
            tokens_bt[place, : len(new)] = new
            positions_bt[place, : len(new)] = np.arange(plan.fed_from, len(plan.laid.ids))
            start_b[place] = plan.laid.start
        num_kept = sum(plan.keeps for plan in batch)
        with use_mesh(self.mesh):
            cache = self._cache(batch, room)
            inputs = self._placed((tokens_bt, positions_bt, start_b, self._earlier(batch)))
            odds_bt, cache, tails = _score_batch(
                self.config, self._run_params, self.head, cache, *inputs, kind=self.spec.head, room=room, keeps=num_kept > 0
            )
            odds_bt = to_host(odds_bt, self.mesh).astype(np.float64)
            tails = jax.tree.map(lambda x: to_host(x, self.mesh), tails)
        size = sum(x.nbytes for x in (*cache.k, *cache.v)) // num_kept if cache is not None and num_kept else 0
        found = []
        for place, plan in enumerate(batch):
            reads = [read for read in plan.laid.reads if read not in plan.held]
            scores = {read: sigmoid(odds_bt[place, read - plan.fed_from]) for read in reads}
            tail = None if tails is None else _Tail(tails[0][place], float(tails[1][place]))
            kept = _Kept(cache, place, size) if plan.keeps and cache is not None else None
            found.append((plan, {**plan.held, **scores}, kept, tail))
        return found

    def _earlier(self, batch: Sequence[_Plan]) -> Earlier | None:
        """What came before the tokens that are fed; None for the kinds of head that need none of it."""
        if self.spec.head != 'action_value':
            return None
        found = Earlier(
            np.zeros((self.spec.num_rows, self.config.width), np.float32),
            np.zeros(self.spec.num_rows, np.float32),
            np.zeros(self.spec.num_rows, bool),
        )
        for place, plan in enumerate(batch):
            if plan.fed_from:
                assert plan.tail is not None, 'kept with the keys'
                found.hidden_bd[place], found.taken_b[place], found.is_there_b[place] = *plan.tail, True
        return found

    def _cache(self, batch: Sequence[_Plan], room: int) -> Cache | None:
        """Keys and values of the tokens before those that are fed; None where there are none."""
        sources: dict[int, tuple[Cache, list[tuple[int, int]]]] = {}
        length_b = np.zeros(self.spec.num_rows, np.int32)
        for place, plan in enumerate(batch):
            if plan.kept is not None:
                sources.setdefault(id(plan.kept.cache), (plan.kept.cache, []))[1].append((plan.kept.place, place))
                length_b[place] = plan.reused  # no more of it than the ids agree
        if not sources:
            return None
        cache = None
        for source, pairs in sources.values():  # a call for each batch that they were in
            indices = np.zeros((2, self.spec.num_rows), np.int32)
            indices[:, : len(pairs)] = np.transpose(pairs)
            if cache is None:
                cache = _copied(self.config, source, *indices, np.int32(len(pairs)), length_b, room=room)
            else:
                cache = _copy(cache, source, *indices, np.int32(len(pairs)))
        return cache

    def _placed(self, arrays: Any) -> Any:
        if self.mesh is None:
            return arrays
        return jax.device_put(arrays, NamedSharding(self.mesh, PartitionSpec('data')))

    def forget(self, carry: Any, handles: Sequence[int]) -> Any:
        """The carry without rows that are gone; see `core.protocols.Remembering`."""
        gone = set(handles)
        entries = {handle: entry for handle, entry in carry.entries.items() if handle not in gone}
        return _Carry(entries, sum(entry.size for entry in entries.values()))

    def _remembered(self, carry: _Carry, scored: Sequence[int], kept: Mapping[int, _Entry]) -> _Carry:
        """The entries with those of this round, without keys and values of the longest unused that are too many."""
        entries, size = dict(carry.entries), carry.size
        for handle in scored:
            if (gone := entries.pop(handle, None)) is not None:
                size -= gone.size
        entries |= kept
        size += sum(entry.size for entry in kept.values())
        for handle in list(itertools.islice(entries, max(0, len(entries) - MOST_ENTRIES))):
            size -= entries.pop(handle).size
        if size > self.spec.carry_bytes:
            for handle, entry in entries.items():
                if entry.kept is not None:
                    size -= entry.size
                    entries[handle] = entry._replace(kept=None)
                    if size <= self.spec.carry_bytes:
                        break
        return _Carry(entries, size)


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common beginning."""
    size = min(len(a), len(b))
    differing = np.flatnonzero(a[:size] != b[:size])
    return int(differing[0]) if len(differing) else size


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else 1.0 - 1.0 / (1.0 + math.exp(max(x, -700.0)))


@functools.partial(jax.jit, static_argnames=('config', 'kind', 'room', 'keeps'), donate_argnames=('cache',))
def _score_batch(
    config: ModelConfig,
    params: Any,
    head: Any,
    cache: Cache | None,
    tokens_bt: jax.Array,
    positions_bt: jax.Array,
    start_b: jax.Array,
    earlier: Earlier | None,
    *,
    kind: HeadKind,
    room: int,
    keeps: bool,
) -> tuple[jax.Array, Cache | None, tuple[jax.Array, jax.Array] | None]:
    """Log-odds at every token that is fed; the cache that results where somebody keeps it; tails of an action value."""
    keeps = keeps or cache is not None  # what was donated is given back: else there was nothing to donate it for
    if cache is None:
        cache = Cache.empty(config, tokens_bt.shape[0], 1, 0, room)
    hidden_btd, cache = forward(config, params, tokens_bt, positions_bt, cache)
    cache = cache if keeps else None
    if kind != 'action_value':
        return log_odds(kind, config, head, hidden_btd), cache, None
    is_counted_bt = positions_bt >= start_b[:, None]
    taken_bt = taken_so_far(head, hidden_btd, embedded(params, tokens_bt), is_counted_bt, earlier=earlier)
    last_b = jnp.maximum(jnp.sum(positions_bt >= 0, axis=1, dtype=jnp.int32) - 1, 0)
    last_bd = jnp.take_along_axis(hidden_btd, last_b[:, None, None], axis=1)[:, 0]
    return state_value(head, hidden_btd) + taken_bt, cache, (last_bd.astype(jnp.float32), taken_bt[:, -1])


@functools.partial(jax.jit, static_argnames=('config', 'room'))
def _copied(
    config: ModelConfig, source: Cache, from_p: jax.Array, to_p: jax.Array, count: jax.Array, length_b: jax.Array, *, room: int
) -> Cache:
    """A cache with this room for rows, some of them copied."""
    cache = dataclasses.replace(Cache.empty(config, length_b.shape[0], 1, 0, room), length=length_b)
    return cache.copy_rows(source, from_p, to_p, count)


_copy = jax.jit(Cache.copy_rows, donate_argnums=0)
