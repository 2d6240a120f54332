"""Heads that judge: from hidden states to the log-odds that a solution up to a token is right.

A head is a dict of parameters, float32 like all of its maths, whatever the decoder's dtype. All kinds give log-odds, so that
one sigmoid makes a score of them and one loss trains them: a softmax over two classes, or over the logits of two tokens, is the
sigmoid of their difference.

References:
    Zhang et al., The Lessons of Developing Process Reward Models, 2025 (two classes behind a hidden layer); Wang et al.,
    Math-Shepherd, 2024 (tokens as labels).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.core.verifier_spec import HeadKind
from jaxreason.models.layers import soft_cap
from jaxreason.models.manifest import HEAD
from jaxreason.models.transformer import Parameters, embedding_rows

Head = Mapping[str, Any]

HIDDEN = 128  # of the action-value head
# Tensors of published checkpoints: Qwen2ForProcessRewardModel, and TRL's value head, which Skywork's models carry.
_PUBLISHED = {
    'two_class': {'hidden': 'score.0', 'out': 'score.2'},
    'value': {'out': 'v_head.summary'},
}
_OWN = f'{HEAD}.'  # our own: the path in the dict, dotted


def init_head(
    kind: HeadKind, config: ModelConfig, key: jax.Array, hidden: int | None = None, num_tokens: float = 50.0
) -> dict[str, Any]:
    """Draws a head.

    Args:
        kind: `value`, `two_class` or `action_value`; a `label` head is rows of the decoder's own (`label_head`).
        config: gives the width of the hidden states.
        key: of `jax.random.key`.
        hidden: width of a hidden layer; None means none, and 128 for `action_value`.
        num_tokens: of a typical solution, for `action_value`: its penalties add up to 1 at first, so that a long solution does
            not start with certain ruin, nor a short one with penalties too small to learn from.

    Returns:
        Parameters, float32; the last layer starts near zero, so that the first scores are near 1/2.
    """
    if kind == 'label':
        raise ValueError('a head of kind label is made of rows of the language head: use label_head.')
    d, first, second, third = config.width, *jax.random.split(key, 3)
    if kind == 'action_value':
        width = hidden or HIDDEN
        penalty = {'hidden': _linear(first, 3 * d, width), 'out': _linear(second, width, 1, 0.01)}
        penalty['out']['bias'] = penalty['out']['bias'] + math.log(math.expm1(1.0 / num_tokens))
        return {'penalty': penalty, 'value': {'out': _linear(third, d, 1, 0.01)}}
    outputs = 2 if kind == 'two_class' else 1
    if hidden is None:
        return {'out': _linear(second, d, outputs, 0.01)}
    return {'hidden': _linear(first, d, hidden), 'out': _linear(second, hidden, outputs, 0.01)}


def label_head(config: ModelConfig, params: Parameters, good: int, bad: int) -> dict[str, Any]:
    """The head that reads two tokens' logits: their rows of the language head, and no others.

    Args:
        config: the architecture.
        params: of the decoder, not packed.
        good: token of a right step.
        bad: token of a wrong one.
    """
    table_vd = params['embedding'] if config.tied_head else params['head']
    return {'rows': jnp.asarray(table_vd[np.array([good, bad])], jnp.float32)}  # [2, d]


def log_odds(kind: HeadKind, config: ModelConfig, head: Head, hidden_btd: jax.Array) -> jax.Array:
    """Log-odds at every position, float32 [b, t]; for `value`, `two_class` and `label`.

    Args:
        kind: of the head.
        config: the decoder's architecture.
        head: parameters.
        hidden_btd: as `forward` returns them.
    """
    if kind == 'label':
        logits_bt2 = soft_cap(_product(hidden_btd, head['rows'].T), config.final_softcap)
        return logits_bt2[..., 0] - logits_bt2[..., 1]
    outputs = _layers(head, hidden_btd)
    return outputs[..., 1] - outputs[..., 0] if kind == 'two_class' else outputs[..., 0]


def penalties(head: Head, before_btd: jax.Array, embedded_btd: jax.Array) -> jax.Array:
    """What each token takes off the action value: not positive, float32 [b, t].

    A step's end cannot recompute what the policy computed only in its last layer, where later tokens cannot attend to it; the
    state before a token, together with that token, can say whether it was the right one.

    Args:
        head: of kind `action_value`.
        before_btd: the hidden state before each token, which predicted it.
        embedded_btd: the embedding of each token.
    """
    before_btd, embedded_btd = before_btd.astype(jnp.float32), embedded_btd.astype(jnp.float32)
    # The product is there since how likely the token was is a sum of it, which a layer of few units could not form.
    inputs = jnp.concatenate([before_btd, embedded_btd, before_btd * embedded_btd], axis=-1)
    return -jax.nn.softplus(_layers(head['penalty'], inputs)[..., 0])


def embedded(params: Parameters, tokens_bt: jax.Array) -> jax.Array:
    """Rows of the decoder's embedding as an action-value head takes them: float32 [b, t, d], not scaled.

    Args:
        params: of the decoder; packed ones have the table too.
        tokens_bt: token ids.
    """
    return embedding_rows(params, tokens_bt).astype(jnp.float32)


def state_value(head: Head, hidden_btd: jax.Array) -> jax.Array:
    """The value of every state under a head of kind `action_value`, before any penalty: float32 [b, t]."""
    return _layers(head['value'], hidden_btd)[..., 0]


class Earlier(NamedTuple):
    """What an action value needs of the tokens before those at hand.

    Attributes:
        hidden_bd: the state after the last of them; any number where there is none.
        taken_b: the sum of their penalties, float32.
        is_there_b: whether there are any.
    """

    hidden_bd: Any
    taken_b: Any
    is_there_b: Any


def taken_so_far(
    head: Head,
    hidden_btd: jax.Array,
    embedded_btd: jax.Array,
    is_counted_bt: jax.Array,
    begins_bt: jax.Array | None = None,
    earlier: Earlier | None = None,
) -> jax.Array:
    """The sum of the penalties up to every position, float32 [b, t]; not positive.

    Args:
        head: parameters, of kind `action_value`.
        hidden_btd: as `forward` returns them.
        embedded_btd: embeddings of the same tokens.
        is_counted_bt: tokens whose penalty counts: those of the solution. The first token of all has no state before it, and
            counts for nothing.
        begins_bt: where a row holds several sequences, the place in the row where that of each token begins, int32; None where
            it holds one.
        earlier: what came before the first token of each row; None where nothing did.
    """
    first_b1d = jnp.zeros_like(hidden_btd[:, :1]) if earlier is None else earlier.hidden_bd[:, None].astype(hidden_btd.dtype)
    before_btd = jnp.concatenate([first_b1d, hidden_btd[:, :-1]], axis=1)
    places_1t = jnp.arange(hidden_btd.shape[1], dtype=jnp.int32)[None, :]
    has_before_bt = places_1t > (0 if begins_bt is None else begins_bt)
    if earlier is not None:
        has_before_bt = has_before_bt | earlier.is_there_b[:, None]
    taken_bt = jnp.where(is_counted_bt & has_before_bt, penalties(head, before_btd, embedded_btd), 0.0)
    sums_bt = jnp.cumsum(taken_bt, axis=1)
    if begins_bt is not None:  # the first token of a sequence counts for nothing: what is there are the sequences before
        sums_bt -= jnp.take_along_axis(sums_bt, begins_bt, axis=1)
    return sums_bt if earlier is None else sums_bt + earlier.taken_b[:, None]


def action_log_odds(head: Head, hidden_btd: jax.Array, *others: Any, **options: Any) -> jax.Array:
    """Log-odds of kind `action_value` at every position, float32 [b, t]: value of the state plus the penalties so far.

    Arguments as of `taken_so_far`.
    """
    return state_value(head, hidden_btd) + taken_so_far(head, hidden_btd, *others, **options)


def head_parameters(head: Head) -> int:
    """Numbers in the head's matrices: a product with all of them costs twice as many FLOPs."""
    return sum(leaf.size for leaf in jax.tree.leaves(dict(head)) if leaf.ndim == 2)


def split_head(kind: HeadKind, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Takes a head out of a checkpoint's tensors.

    Args:
        kind: of the head; a `label` head has no tensors of its own.
        tensors: arrays or callables that read one, under the checkpoint's names.

    Returns:
        The head's parameters, float32, and the tensors of the decoder alone, without a language head that nobody reads.

    Raises:
        WeightsError: the head is missing, of another shape, or not finite.
    """
    if kind == 'label':
        return {}, dict(tensors)
    tensors = {name.removeprefix('pretrained_model.'): tensor for name, tensor in tensors.items()}
    own = {name: name.removeprefix(_OWN).split('.') for name in tensors if name.startswith(_OWN)}
    published = _PUBLISHED.get(kind, {})
    places = own or {
        f'{prefix}.{kind_name}': [module, leaf]
        for module, prefix in published.items()
        for kind_name, leaf in (('weight', 'kernel'), ('bias', 'bias'))
    }
    missing = [name for name in places if name not in tensors]
    if missing or not places:
        wanted = missing[0] if missing else _OWN + '*'
        raise WeightsError(f'tensor {wanted} is missing: a head of kind {kind} is not part of this checkpoint.')
    head: dict[str, Any] = {}
    for name, path in places.items():
        values = _read(name, tensors[name])
        node = head
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = values if own or path[-1] == 'bias' else values.T
    rest = {name: tensor for name, tensor in tensors.items() if name not in places and name != 'lm_head.weight'}
    return head, rest


def head_tensors(head: Head) -> dict[str, np.ndarray]:
    """A head as named tensors, as `split_head` reads them back beside those of the decoder."""
    return {
        _OWN + '.'.join(str(entry.key) for entry in path): np.asarray(leaf, np.float32)
        for path, leaf in jax.tree.leaves_with_path(dict(head))
    }


def check_head(kind: HeadKind, head: Head, width: int) -> None:
    """Refuses a head that does not fit the decoder.

    Raises:
        WeightsError: a matrix has another shape than the decoder's width and the kind ask for.
    """
    try:
        shape = jax.eval_shape(
            lambda h, x: _shape_of(kind, h, x), dict(head), jax.ShapeDtypeStruct((1, 2, width), jnp.float32)
        ).shape
    except (TypeError, KeyError, ValueError) as error:
        raise WeightsError(f'the head of kind {kind} does not fit a decoder of width {width}: check config.json.') from error
    if shape != (1, 2):
        raise WeightsError(f'the head of kind {kind} gives numbers of shape {list(shape)}, expected one a token.')


def _shape_of(kind: HeadKind, head: Head, hidden_btd: jax.Array) -> jax.Array:
    if kind == 'action_value':
        return action_log_odds(head, hidden_btd, hidden_btd, jnp.ones(hidden_btd.shape[:2], bool))
    outputs = _layers(head, hidden_btd)
    if outputs.shape[-1] != (2 if kind == 'two_class' else 1):
        raise ValueError('another number of classes')
    return outputs[..., 0]


def _read(name: str, tensor: Any) -> np.ndarray:
    values = np.asarray(tensor() if callable(tensor) else tensor).astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f'tensor {name}: expected finite numbers of shape {list(values.shape)}, found NaN or infinite.')
    return values


def _linear(key: jax.Array, inputs: int, outputs: int, scale: float = 1.0) -> dict[str, jax.Array]:
    kernel = jax.random.normal(key, (inputs, outputs), jnp.float32) * (scale * inputs**-0.5)
    return {'kernel': kernel, 'bias': jnp.zeros((outputs,), jnp.float32)}


def _layers(head: Head, x: jax.Array) -> jax.Array:
    """A linear layer, behind a hidden one with ReLU where there is one."""
    if 'hidden' in head:
        x = jax.nn.relu(_affine(head['hidden'], x))
    return _affine(head['out'], x)


def _affine(linear: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    y = _product(x, linear['kernel'])
    return y + linear['bias'].reshape((1,) * (y.ndim - 1) + (-1,)) if 'bias' in linear else y


def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    # Highest precision: elsewhere than on a CPU float32 operands may else be rounded to bfloat16.
    return jnp.matmul(x.astype(jnp.float32), w, precision=jax.lax.Precision.HIGHEST)
