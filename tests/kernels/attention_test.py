"""Attention by kernel against plain float64, for spans of every kind."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.kernels.attention import attend

# (query heads a key/value head, head width, rows a slot, room of a prompt, room of a row)
SHAPES = [
    (1, 16, 1, 32, 32),
    (3, 64, 5, 96, 64),
    (8, 32, 16, 32, 64),
    (3, 48, 16, 64, 32),
    (1, 48, 5, 64, 96),
    (8, 64, 5, 64, 0),
    (30, 16, 2, 32, 32),
]
SLOTS, HEADS = 2, 2
# bfloat16 rounds the result by at most this, relatively; its operands are compared as they were rounded.
ROUNDING = {'float32': 1e-6, 'bfloat16': 2.0**-8}


@dataclasses.dataclass
class Call:
    """Operands of `attend`, as float32 arrays whose caches are in the dtype of the call."""

    projections: np.ndarray
    cos: np.ndarray
    sin: np.ndarray
    scale: float
    k: np.ndarray
    v: np.ndarray
    prompt_k: np.ndarray
    prompt_v: np.ndarray
    spans: np.ndarray

    def run(self):
        """(result, keys, values), of the kernel."""
        return [np.asarray(x) for x in _attend(*(getattr(self, field.name) for field in dataclasses.fields(self)))]

    def bits_of_row(self, row):
        return self.run()[0][row].tobytes()


@jax.jit(compiler_options={'xla_backend_optimization_level': 0})
def _attend(*operands):
    return attend(*operands)


def drawn(seed, dtype, m, h, r, s, t, slots=SLOTS):
    """A call with random spans; what no span shows is NaN in a row's own part, and far off in a prompt."""
    random = np.random.default_rng(seed)
    b = slots * r

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    def cached(*shape):
        return np.asarray(jnp.asarray(normal(*shape), dtype)).copy()

    angles = 9 * normal(b, h // (2 if seed % 2 else 4))  # of the second, half the channels are not rotated
    call = Call(
        projections=normal(b, (m + 2) * HEADS * h),
        cos=np.cos(angles),
        sin=np.sin(angles),
        scale=2 * h**-0.5,
        k=cached(b, HEADS, h, t),
        v=cached(b, HEADS, t, h),
        prompt_k=cached(slots, HEADS, h, s),
        prompt_v=cached(slots, HEADS, s, h),
        spans=np.stack([_span(random, s, t) for _ in range(b)]),
    )
    hide(call, r)
    return call


def _span(random, s, t):
    """Write place, own tokens, prompt tokens: any of them may be none, and a row may write nowhere."""
    own = sorted(random.integers(0, t + 1, 2))
    prompt = sorted(random.integers(0, s + 1, 2))
    kind = random.integers(0, 6)
    if kind == 0:
        own = [0, 0]
    if kind == 1:
        prompt = [prompt[1], prompt[0]]  # the window begins after the prompt
    if kind == 2:
        own, prompt = [0, 0], [0, 0]
    write = own[1] - 1 if own[0] < own[1] and random.integers(0, 4) else t + random.integers(0, 3)
    if kind == 2 and t:
        write = random.integers(0, t)  # sees nothing, so it writes nothing
    return np.asarray([write, *own, *prompt], np.int32)


def hide(call, r):
    t, s = call.k.shape[3], call.prompt_k.shape[3]
    for row, (_, first, last, _, _) in enumerate(call.spans):
        hidden = (np.arange(t) < first) | (np.arange(t) >= last)
        call.k[row, :, :, hidden] = np.nan
        call.v[row][:, hidden] = np.nan
    for slot in range(call.prompt_k.shape[0]):
        seen = np.zeros(s, bool)
        for _, _, _, first, last in call.spans[slot * r : (slot + 1) * r]:
            seen[first:last] = True
        call.prompt_k[slot][:, :, ~seen] = 100.0
        call.prompt_v[slot][:, ~seen] = -1e4


def heads_of(call):
    """Queries, keys and values of a call, [b, heads, h] float32; queries and keys rotated."""
    b, h = len(call.projections), call.k.shape[2]
    heads = call.projections.reshape(b, -1, h)
    half, cos, sin = call.cos.shape[1], call.cos[:, None], call.sin[:, None]
    rotated = heads.copy()
    first, second = heads[..., :half], heads[..., half : 2 * half]
    rotated[..., :half], rotated[..., half : 2 * half] = first * cos - second * sin, second * cos + first * sin
    return rotated[:, : -2 * HEADS], rotated[:, -2 * HEADS : -HEADS], heads[:, -HEADS:]


def reference(call):
    """(result in float64, keys, values)."""
    q, new_k, new_v = heads_of(call)
    k, v, b = call.k.copy(), call.v.copy(), len(q)
    r, m = b // len(call.prompt_k), q.shape[1] // HEADS
    out = np.zeros(q.shape)
    for row, (write, first, last, prompt_first, prompt_last) in enumerate(call.spans):
        if first >= last and prompt_first >= prompt_last:
            continue
        if write < k.shape[3]:
            k[row, :, :, write], v[row, :, write] = new_k[row], new_v[row]
        for head in range(HEADS * m):
            slot, group = row // r, head // m
            keys = [call.prompt_k[slot, group][:, prompt_first:prompt_last], k[row, group][:, first:last]]
            values = [call.prompt_v[slot, group][prompt_first:prompt_last], v[row, group][first:last]]
            scores = call.scale * q[row, head].astype(np.float64) @ np.concatenate(keys, axis=1).astype(np.float64)
            weights = np.exp(scores - scores.max())
            out[row, head] = weights / weights.sum() @ np.concatenate(values).astype(np.float64)
    return out.reshape(b, -1), k, v


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_attention_equals_numpy(shape, dtype):
    seen = set()
    for seed in range(12):
        call = drawn(seed, dtype, *shape)
        exact, exact_k, exact_v = reference(call)
        out, k, v = call.run()
        assert out.dtype == jnp.dtype(dtype)
        np.testing.assert_allclose(out.astype(np.float64), exact, rtol=ROUNDING[dtype], atol=1e-5)
        # As bytes: what is hidden is NaN, and has to come back as it was.
        assert k.tobytes() == exact_k.tobytes() and v.tobytes() == exact_v.tobytes()
        own, prompt = call.spans[:, 1] < call.spans[:, 2], call.spans[:, 3] < call.spans[:, 4]
        assert (out[~own & ~prompt] == 0).all()
        seen |= set(zip(own.tolist(), prompt.tolist(), strict=True))
    assert len(seen) == (4 if shape[4] else 2), 'rows that see either part, both, and nothing'


@pytest.fixture(params=['float32', 'bfloat16'])
def dtype(request):
    return request.param


@pytest.fixture(params=[(1, 48), (3, 64), (8, 32)], ids=str)
def call(request, dtype):
    """16 rows in each slot; row 21 sees part of both."""
    made = drawn(5, dtype, *request.param, 16, 64, 64)
    made.spans[21] = 40, 3, 41, 18, 50
    fresh = drawn(6, dtype, *request.param, 16, 64, 64)
    fresh.spans[:] = made.spans
    for name in ('k', 'v', 'prompt_k', 'prompt_v'):
        setattr(made, name, np.nan_to_num(getattr(fresh, name).astype(np.float32), nan=0.5).astype(getattr(made, name).dtype))
    hide(made, 16)
    return made


ROW = 21


def rows_only(call, rows, slot=1):
    """The same call for some rows of one slot."""
    per_row = {name: getattr(call, name)[rows] for name in ('projections', 'cos', 'sin', 'k', 'v', 'spans')}
    prompt = {name: getattr(call, name)[slot : slot + 1] for name in ('prompt_k', 'prompt_v')}
    return Call(scale=call.scale, **prompt, **per_row)


def test_bits_of_a_row_do_not_depend_on_the_rows_of_its_slot(call):
    bits = call.bits_of_row(ROW)
    assert rows_only(call, [ROW]).bits_of_row(0) == bits
    assert rows_only(call, [30, 17, ROW]).bits_of_row(2) == bits
    assert rows_only(call, [*range(23, 32), ROW, *range(16, 20)]).bits_of_row(9) == bits


def test_bits_of_a_row_do_not_depend_on_what_others_see(call):
    bits = call.bits_of_row(ROW)
    others = np.arange(32) != ROW
    for span in ([64, 0, 0, 0, 0], [64, 0, 0, 0, 64], [63, 0, 64, 0, 64], [0, 0, 1, 64, 40]):
        other = dataclasses.replace(
            call,
            spans=np.where(others[:, None], np.asarray(span, np.int32), call.spans),
            k=np.where(others[:, None, None, None], np.asarray(0.25, call.k.dtype), call.k),
            v=np.where(others[:, None, None, None], np.asarray(-3, call.v.dtype), call.v),
            projections=np.where(others[:, None], np.float32(-1), call.projections),
        )
        assert other.bits_of_row(ROW) == bits
    # A row of NaN is nobody else's matter.
    spoilt = dataclasses.replace(call, projections=np.where(others[:, None], np.float32(np.nan), call.projections))
    assert spoilt.bits_of_row(ROW) == bits


def test_bits_of_a_row_do_not_depend_on_its_slot(call):
    arrays = {name: x for name, x in vars(call).items() if isinstance(x, np.ndarray)}
    swapped = dataclasses.replace(call, **{name: np.roll(x, len(x) // 2, axis=0) for name, x in arrays.items()})
    assert swapped.bits_of_row(ROW - 16) == call.bits_of_row(ROW)


def test_bits_of_a_row_do_not_depend_on_the_room(call):
    bits = call.bits_of_row(ROW)
    call.spans[call.spans[:, 0] >= 64, 0] = 1000

    def with_room(x, axis, room, filler):
        shape = [*x.shape]
        shape[axis] = max(0, room - shape[axis])
        x = np.concatenate([x, np.full(shape, filler, x.dtype)], axis=axis)
        return np.take(x, np.arange(room), axis=axis)

    for room in (96, 256):
        wide = dataclasses.replace(call, k=with_room(call.k, 3, room, np.nan), v=with_room(call.v, 2, room, np.nan))
        assert wide.bits_of_row(ROW) == bits
        long = dataclasses.replace(
            call, prompt_k=with_room(call.prompt_k, 3, room, 50.0), prompt_v=with_room(call.prompt_v, 2, room, 1e4)
        )
        assert long.bits_of_row(ROW) == bits


def test_bits_of_a_token_do_not_depend_on_whether_its_keys_were_just_written(call):
    """The key that a call writes counts as one that lay there."""
    _, k, v = call.run()
    again = dataclasses.replace(call, k=k, v=v, spans=call.spans.copy())
    again.spans[:, 0] = 64
    assert again.bits_of_row(ROW) == call.bits_of_row(ROW)


def test_new_keys_are_rounded_to_the_dtype_of_the_cache():
    call = drawn(0, 'bfloat16', 3, 32, 2, 32, 32)
    call.spans[:] = 4, 0, 5, 0, 7
    _, new_k, new_v = heads_of(call)
    _, k, v = call.run()
    assert k[:, :, :, 4].tobytes() == new_k.astype(jnp.bfloat16).tobytes() != new_k.tobytes()
    assert v[:, :, 4].tobytes() == new_v.astype(jnp.bfloat16).tobytes()


def test_rooms_and_heads_that_are_no_whole_vectors_are_refused():
    for shape in ((1, 24, 1, 32, 32), (1, 16, 1, 48, 32), (1, 16, 1, 32, 40)):
        with pytest.raises(AssertionError, match='whole vectors'):
            drawn(0, 'float32', *shape).run()
