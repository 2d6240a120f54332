"""Between tensors under Hugging Face names and the parameter tree.

Files hold projections as [out, in]; the tree holds [in, heads, head width] and the like, so that a product needs no
transposition and a head is an axis that can be sharded. Every tensor must be there, have the shape that the config implies,
and be finite; nothing may be left over. What is read is data: names are only ever looked up.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models.transformer import Parameters, init_parameters, stack_layers

Tensor = np.ndarray | Callable[[], np.ndarray]

EMBEDDING = 'model.embed_tokens.weight'
HEAD = 'lm_head.weight'
FINAL_NORM = 'model.norm.weight'

_LINEARS = {
    ('attention', 'q'): 'self_attn.q_proj',
    ('attention', 'k'): 'self_attn.k_proj',
    ('attention', 'v'): 'self_attn.v_proj',
    ('attention', 'o'): 'self_attn.o_proj',
    ('mlp', 'gate'): 'mlp.gate_proj',
    ('mlp', 'up'): 'mlp.up_proj',
    ('mlp', 'down'): 'mlp.down_proj',
    ('attention', 'q_norm'): 'self_attn.q_norm',
    ('attention', 'k_norm'): 'self_attn.k_norm',
    ('attention_norm',): 'input_layernorm',
}
_PRE_NORMS = {('mlp_norm',): 'post_attention_layernorm'}
_BOTH_NORMS = {
    ('attention_post_norm',): 'post_attention_layernorm',
    ('mlp_norm',): 'pre_feedforward_layernorm',
    ('mlp_post_norm',): 'post_feedforward_layernorm',
}
# Phi-3 stores these as one tensor, stacked along the output dimension in this order.
_FUSED = {
    'self_attn.qkv_proj': ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'),
    'mlp.gate_up_proj': ('mlp.gate_proj', 'mlp.up_proj'),
}

# Where the language model lies in files that also hold an image encoder, and what of those files it does not need.
_TEXT_PREFIXES = (('model.language_model.', 'model.'), ('language_model.lm_head.', 'lm_head.'), ('language_model.', ''))
_IMAGE_PREFIXES = ('vision_tower.', 'multi_modal_projector.', 'model.vision_tower.', 'model.multi_modal_projector.')


class _Leaf(NamedTuple):
    """One weight of one layer: where it is in the tree, and its shape there and in the file."""

    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    file_shape: tuple[int, ...]


def to_parameters(config: ModelConfig, tensors: Mapping[str, Tensor], dtype: str | None = None) -> dict[str, Any]:
    """Turns named tensors into parameters.

    Args:
        config: the architecture that the tensors must fit.
        tensors: arrays, or callables that read one, under Hugging Face names; each is read once.
        dtype: of the result, 'float32' or 'bfloat16'; None means `config.parameter_dtype`.

    Returns:
        Stacked parameters as `forward` takes them, with NumPy leaves: the caller places them on devices.

    Raises:
        WeightsError: a tensor is missing, left over, of another shape, not floating point or not finite, or there is
            a head of its own although the config ties it.
    """
    target = np.dtype(jax.numpy.dtype(dtype or config.parameter_dtype))
    tensors = _language_model(config, tensors)
    _check_names(config, tensors)
    embedding = _read(tensors, EMBEDDING, (config.vocab_size, config.width), target)
    params: dict[str, Any] = {'embedding': embedding}
    if not config.tied_head:
        params['head'] = _read(tensors, HEAD, embedding.shape, target)
    elif HEAD in tensors and not np.array_equal(_read(tensors, HEAD, embedding.shape, target), embedding):
        raise WeightsError(
            f'{HEAD} differs from {EMBEDDING} although config.json says tie_word_embeddings; set it to false there.'
        )
    params['final_norm'] = {'scale': _read(tensors, FINAL_NORM, (config.width,), target)}
    params['layers'] = _read_layers(config, tensors, target)
    return params


def from_parameters(config: ModelConfig, params: Parameters) -> dict[str, np.ndarray]:
    """Turns parameters into named tensors, the inverse of `to_parameters`.

    Args:
        config: the architecture; of a family whose files hold one tensor a projection (not Phi-3).
        params: stacked or unstacked.

    Returns:
        Arrays under Hugging Face names; a tied head is left out.

    Raises:
        WeightsError: the family's files fuse projections.
    """
    if config.family == 'phi3':
        raise WeightsError('phi3 tensors are not written; expected a family with one tensor a projection, such as llama.')
    params = stack_layers(params)
    tensors = {EMBEDDING: np.asarray(params['embedding']), FINAL_NORM: np.asarray(params['final_norm']['scale'])}
    if not config.tied_head:
        tensors[HEAD] = np.asarray(params['head'])
    for leaf in _leaves(config):
        stacked = np.asarray(_get(params['layers'], leaf.path))
        for layer in range(config.num_layers):
            matrix = stacked[layer].reshape(leaf.file_shape[::-1])
            tensors[f'model.layers.{layer}.{leaf.name}'] = np.ascontiguousarray(matrix.T)
    return tensors


def _language_model(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without what a forward pass has no use for, and under the names of a language model alone."""
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith('.rotary_emb.inv_freq'):  # a table that old files stored; it follows from the config
            continue
        if config.family == 'gemma3_text':
            if name.startswith(_IMAGE_PREFIXES):
                continue
            for prefix, replacement in _TEXT_PREFIXES:
                if name.startswith(prefix):
                    name = replacement + name.removeprefix(prefix)
                    break
        kept[name] = tensor
    return kept


def _leaves(config: ModelConfig) -> list[_Leaf]:
    """Every weight of a layer."""
    modules = _LINEARS | (_BOTH_NORMS if config.post_norms else _PRE_NORMS)
    shapes = jax.eval_shape(lambda key: init_parameters(config, key), jax.random.key(0))['layers']
    found = []
    for keys, stacked in jax.tree.leaves_with_path(shapes):
        *module, kind = (key.key for key in keys)
        shape = stacked.shape[1:]
        if kind == 'kernel':  # only the output projection contracts two dimensions, heads and head width
            inward = math.prod(shape[:2] if module[-1] == 'o' else shape[:1])
            file_shape: tuple[int, ...] = (math.prod(shape) // inward, inward)
        else:
            file_shape = (math.prod(shape),)
        suffix = 'bias' if kind == 'bias' else 'weight'
        found.append(_Leaf((*module, kind), f'{modules[tuple(module)]}.{suffix}', shape, file_shape))
    return found


def _sources(config: ModelConfig) -> Iterator[tuple[str, list[_Leaf]]]:
    """Names of a layer's tensors in files of this family, each with the weights it holds, in order."""
    by_name = {leaf.name: leaf for leaf in _leaves(config)}
    if config.family == 'phi3':
        for fused, parts in _FUSED.items():
            yield f'{fused}.weight', [by_name.pop(f'{part}.weight') for part in parts]
    for name, leaf in by_name.items():
        yield name, [leaf]


def _check_names(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    layer_names = [name for name, _ in _sources(config)]
    expected = {EMBEDDING, FINAL_NORM}
    expected |= {f'model.layers.{layer}.{name}' for layer in range(config.num_layers) for name in layer_names}
    if not config.tied_head:
        expected.add(HEAD)
        if HEAD not in tensors and EMBEDDING in tensors:
            raise WeightsError(
                f'tensor {HEAD} is missing although config.json does not say tie_word_embeddings; '
                'set it to true there if head and embedding are shared.'
            )
    missing = sorted(expected - set(tensors))
    if missing:
        raise WeightsError(f'tensor {missing[0]} is missing ({len(missing)} in all); the config needs {len(expected)} tensors.')
    unexpected = sorted(set(tensors) - expected - {HEAD})
    if unexpected:
        raise WeightsError(
            f'tensor {unexpected[0]!r} is not part of this {config.family} model ({len(unexpected)} such); '
            'config.json and weights do not belong together.'
        )


def _read(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """One tensor, checked."""
    tensor = tensors[name]
    array = np.asarray(tensor() if callable(tensor) else tensor)
    if array.shape != tuple(shape):
        hint = ' (it is transposed)' if array.ndim == 2 and array.shape[::-1] == tuple(shape) else ''
        raise WeightsError(f'tensor {name}: expected shape {list(shape)}, found {list(array.shape)}{hint}.')
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
        raise WeightsError(f'tensor {name}: expected floating-point numbers of shape {list(shape)}, found {array.dtype}.')
    # Overflow in the cast shows as an infinity, which the next line reports.
    with np.errstate(over='ignore'):
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise WeightsError(f'tensor {name}: expected finite numbers of shape {list(shape)}, found {bad} NaN or infinite.')
    return array


def _read_layers(config: ModelConfig, tensors: Mapping[str, Tensor], dtype: np.dtype) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    sources = list(_sources(config))
    for _, leaves in sources:
        for leaf in leaves:
            _set(tree, leaf.path, np.empty((config.num_layers, *leaf.shape), dtype))
    for layer in range(config.num_layers):
        for name, leaves in sources:
            rows = sum(leaf.file_shape[0] for leaf in leaves)
            array = _read(tensors, f'model.layers.{layer}.{name}', (rows, *leaves[0].file_shape[1:]), dtype)
            start = 0
            for leaf in leaves:
                part = array[start : start + leaf.file_shape[0]]
                _get(tree, leaf.path)[layer] = part.T.reshape(leaf.shape)
                start += leaf.file_shape[0]
    return tree


def _get(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
