"""How the next token is drawn: temperature, top-k, top-p, min-p, and what is recorded about the draw.

Legend: `b` rows, `v` vocabulary, `k` blocks of the vocabulary, `w` tokens of a block.

The masks are thresholds on the weights, found by bisecting their bits: as exact as sorting, and a vocabulary of 49,152 is read
32 times instead of sorted. The draw inverts the cumulative distribution in two levels, blocks first: one uniform number a row
in place of one Gumbel a token, and no argmax over the vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

BLOCK = 256  # tokens of a block in the two-level draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """The distribution that tokens are drawn from: the model's, tempered and cut, in this order.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: keep the k most likely tokens; 0 keeps all. Ties at the threshold are kept.
        top_p: keep the smallest set of tokens whose probability reaches this, in (0, 1]. Ties are kept.
        min_p: keep tokens at least this likely, relative to the most likely one, in [0, 1].

    References:
        Holtzman et al., The Curious Case of Neural Text Degeneration, 2020 (top-p); Nguyen et al., Turning Up the Heat, 2024
        (min-p).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self):
        if self.temperature != 0 and not 1e-4 <= self.temperature < float('inf'):
            raise ValueError(f'temperature must be 0, or at least 0.0001 and finite, got {self.temperature}.')
        if self.top_k < 0:
            raise ValueError(f'top_k must be at least 0 (0 keeps every token), got {self.top_k}.')
        if not 0 < self.top_p <= 1:
            raise ValueError(f'top_p must be in (0, 1], got {self.top_p}.')
        if not 0 <= self.min_p <= 1:
            raise ValueError(f'min_p must be in [0, 1], got {self.min_p}.')

    @property
    def cuts_nothing(self) -> bool:
        """Whether every token can be drawn."""
        return self.top_k == 0 and self.top_p == 1 and self.min_p == 0


@struct.dataclass
class Draw:
    """A token for every row, and what is known of it."""

    token: jax.Array  # [b] int32
    logprob: jax.Array  # [b] float32, nats under the model
    sampled_logprob: jax.Array  # [b] float32, nats under the distribution drawn from; 0 where greedy
    self_certainty: jax.Array  # [b] float32, nats: KL(uniform || model)
    finite: jax.Array  # [b] bool, whether the model's distribution is one


def draw(
    logits_bv: jax.Array,
    uniform_b: jax.Array,
    greedy_b: jax.Array,
    rule: Rule,
    *,
    by_kernel: bool = False,
    forced_b: jax.Array | None = None,
) -> Draw:
    """Draws a token a row.

    Args:
        logits_bv: float32.
        uniform_b: float32 in [0, 1), one number a row.
        greedy_b: rows that take the most likely token instead, the lowest id where several are.
        rule: the distribution to draw from.
        by_kernel: let a kernel of the CPU do it, where the rule cuts nothing.
        forced_b: int32, tokens to take whatever the distribution says; not by kernel.

    Returns:
        The draw.

    References:
        Kang et al., Scalable Best-of-N Selection for Large Language Models via Self-Certainty, 2025 (self-certainty).
    """
    if by_kernel and rule.cuts_nothing and rule.temperature:
        from jaxreason.kernels.drawing import draw_token

        return Draw(*draw_token(logits_bv, uniform_b, greedy_b, 1.0 / rule.temperature, BLOCK))
    top_b1 = jnp.max(logits_bv, axis=-1, keepdims=True)
    shifted_bv = logits_bv - top_b1
    log_total_b = jnp.log(jnp.sum(jnp.exp(shifted_bv), axis=-1))
    if rule.temperature == 0:
        weights_bv, token_b = None, jnp.argmax(logits_bv, axis=-1)
    else:
        weights_bv = _cut(jnp.exp(shifted_bv / rule.temperature), rule)
        drawn_b = _invert(weights_bv, uniform_b)
        # A branch, so that a batch without greedy rows does not pay for the argmax.
        best_b = lax.cond(jnp.any(greedy_b), lambda: jnp.argmax(logits_bv, axis=-1), lambda: drawn_b)
        token_b = jnp.where(greedy_b, best_b, drawn_b)
    token_b = token_b if forced_b is None else forced_b
    logprob_b = _pick(shifted_bv, token_b) - log_total_b
    sampled_b = jnp.zeros_like(logprob_b)
    if weights_bv is not None:
        chosen_b = jnp.log(_pick(weights_bv, token_b)) - jnp.log(jnp.sum(weights_bv, axis=-1))
        sampled_b = jnp.where(greedy_b, 0.0, chosen_b)
    certainty_b = log_total_b - jnp.mean(shifted_bv, axis=-1) - jnp.log(jnp.float32(logits_bv.shape[-1]))
    return Draw(
        token=token_b.astype(jnp.int32),
        logprob=logprob_b,
        sampled_logprob=sampled_b,
        self_certainty=certainty_b,
        finite=jnp.isfinite(log_total_b),
    )


def top_confidence(logits_bv: jax.Array, top_k: int) -> jax.Array:
    """How peaked the model's distribution is: minus the mean log-probability of its `top_k` most likely tokens.

    A sure model leaves next to nothing to all but one of them, so the mean is far below 0; of a uniform distribution over as
    many tokens as are looked at this is the logarithm of their number.

    Args:
        logits_bv: float32.
        top_k: tokens looked at; all of them where the vocabulary has fewer.

    Returns:
        [b] float32, nats, at least 0.

    References:
        Fu et al., Deep Think with Confidence, 2025 (token confidence).
    """
    b, v = logits_bv.shape
    top_k = min(top_k, v)
    gap_bv = jnp.max(logits_bv, axis=-1, keepdims=True) - logits_bv
    log_total_b = jnp.log(jnp.sum(jnp.exp(-gap_bv), axis=-1))
    # The smallest gaps lie in the blocks whose own smallest are: to sort those takes a CPU a hundredth of what all tokens take.
    gap_bkw = jnp.pad(gap_bv, ((0, 0), (0, -v % BLOCK)), constant_values=jnp.inf).reshape(b, -1, BLOCK)
    if gap_bkw.shape[1] > top_k:
        _, block_bk = lax.top_k(-jnp.min(gap_bkw, axis=-1), top_k)
        gap_bkw = jnp.take_along_axis(gap_bkw, block_bk[:, :, None], axis=1)
    gap_bv = gap_bkw.reshape(b, -1)
    last_b1 = _threshold(lambda t_b1: jnp.sum(gap_bv < t_b1, axis=-1, keepdims=True) < top_k, gap_bv, jnp.inf)
    is_below_bv = gap_bv < last_b1
    # Of the tokens that lie exactly at the last gap, as many as are still wanted.
    ties_b = (top_k - jnp.sum(is_below_bv, axis=-1)) * last_b1[:, 0]
    return log_total_b + (jnp.sum(jnp.where(is_below_bv, gap_bv, 0.0), axis=-1) + ties_b) / top_k


def _pick(values_bv: jax.Array, token_b: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values_bv, token_b[:, None], axis=-1)[:, 0]


def _cut(weights_bv: jax.Array, rule: Rule) -> jax.Array:
    """Sets the weights that the rule excludes to 0. The largest weight of a row is exactly 1."""
    if 0 < rule.top_k < weights_bv.shape[-1]:
        floor_b1 = _threshold(lambda t_b1: jnp.sum(weights_bv >= t_b1, axis=-1, keepdims=True) >= rule.top_k, weights_bv)
        weights_bv = jnp.where(weights_bv >= floor_b1, weights_bv, 0.0)
    if rule.top_p < 1:
        reach_b1 = rule.top_p * jnp.sum(weights_bv, axis=-1, keepdims=True)
        floor_b1 = _threshold(
            lambda t_b1: jnp.sum(jnp.where(weights_bv >= t_b1, weights_bv, 0.0), axis=-1, keepdims=True) >= reach_b1,
            weights_bv,
        )
        weights_bv = jnp.where(weights_bv >= floor_b1, weights_bv, 0.0)
    if rule.min_p > 0:
        weights_bv = jnp.where(weights_bv >= rule.min_p, weights_bv, 0.0)
    return weights_bv


def _threshold(holds, weights_bv: jax.Array, most: float = 1.0) -> jax.Array:
    """Largest float32 in [0, `most`] at which `holds`, which is true at 0 and turns false once: bisects its bits."""
    # Non-negative floats are ordered like their bits. 31 bits tell 0 from infinity, so 31 halvings end in one pattern.
    low_b1 = jnp.zeros((weights_bv.shape[0], 1), jnp.int32)
    high_b1 = jnp.full_like(low_b1, jnp.float32(most).view(jnp.int32))

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low + 1) // 2
        is_held = holds(lax.bitcast_convert_type(middle, jnp.float32))
        return jnp.where(is_held, middle, low), jnp.where(is_held, high, middle - 1)

    low_b1, _ = lax.fori_loop(0, 31, halve, (low_b1, high_b1))
    return lax.bitcast_convert_type(low_b1, jnp.float32)


def _invert(weights_bv: jax.Array, uniform_b: jax.Array) -> jax.Array:
    """The token whose share of the cumulative weight holds `uniform_b`; never a token of weight 0."""
    b, v = weights_bv.shape
    blocks_bkw = jnp.pad(weights_bv, ((0, 0), (0, -v % BLOCK))).reshape(b, -1, BLOCK)
    sums_bk = jnp.sum(blocks_bkw, axis=-1)
    target_b = uniform_b * jnp.sum(sums_bk, axis=-1)
    block_b, before_b = _locate(sums_bk, target_b)
    block_bw = jnp.take_along_axis(blocks_bkw, block_b[:, None, None], axis=1)[:, 0]
    # Rounding may leave the rest just below 0; at 0 a leading token of weight 0 is still passed over.
    within_b, _ = _locate(block_bw, jnp.maximum(target_b - before_b, 0.0))
    return block_b * BLOCK + within_b


def _locate(weights_bk: jax.Array, target_b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First index whose cumulative weight exceeds `target_b`, and the weight before it.

    Where rounding leaves none, the last index with a positive weight.
    """
    cumulative_bk = jnp.cumsum(weights_bk, axis=-1)
    found_b = jnp.sum(cumulative_bk <= target_b[:, None], axis=-1)
    k = weights_bk.shape[-1]
    last_b = jnp.max(jnp.where(weights_bk > 0, jnp.arange(k)[None], 0), axis=-1)
    index_b = jnp.minimum(found_b, last_b)
    before_b = _pick(cumulative_bk, index_b) - _pick(weights_bk, index_b)
    return index_b, before_b
