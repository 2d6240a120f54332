"""Between tensors under Hugging Face names and the parameter tree.

Files hold projections as [out, in]; the tree holds [in, heads, head width] and the like, so that a product needs no
transposition and a head is an axis that can be sharded. Every tensor must be there, have the shape that the config implies,
and be finite; nothing may be left over. What is read is data: names are only ever looked up.

A model may be larger than the memory of any host that reads it: tensors are opened one after the other, and of each only the
slices that somebody asks for are converted.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import WeightsError
from jaxreason.models.transformer import Parameters, init_parameters, unstack_layers

Tensor = np.ndarray | Callable[[], np.ndarray]
Index = tuple[slice, ...]
Path = tuple[str | int, ...]

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
    """One weight of one layer: where it is in the tree, its name in files, its shape, and how many dimensions it contracts."""

    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    inputs: int

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Outputs first, all of them one dimension; then the inputs, if it has any."""
        outputs = math.prod(self.shape[self.inputs :])
        return (outputs, math.prod(self.shape[: self.inputs])) if self.inputs else (outputs,)


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """One weight of the tree as a file has it: any slice of it can be read.

    Attributes:
        name: of the tensor in the file.
        path: in the tree, an index for the layer.
        values: of the weight's shape, in the file's dtype; a view that nothing was copied for where the file is mapped.
        dtype: of the parameters.
    """

    name: str
    path: Path
    values: np.ndarray
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read(self, index: Index = ()) -> np.ndarray:
        """Reads a slice, all unless told otherwise, into fresh memory.

        Args:
            index: a slice for each dimension, or for the first of them.

        Raises:
            WeightsError: a number in the slice is NaN or infinite, or is so in `dtype`.
        """
        # Overflow in the cast shows as an infinity, which the next line reports.
        with np.errstate(over='ignore'):
            values = self.values[index].astype(self.dtype, order='C')
        if not np.isfinite(values).all():
            bad = int(values.size - np.isfinite(values).sum())
            raise WeightsError(
                f'tensor {self.name}: expected finite numbers of shape {list(values.shape)}, found {bad} NaN or infinite.'
            )
        return values


def to_parameters(
    config: ModelConfig, tensors: Mapping[str, Tensor], place: Callable[[Weight], Any] = Weight.read
) -> dict[str, Any]:
    """Turns named tensors into parameters.

    Args:
        config: the architecture that the tensors must fit; the parameters are in its `parameter_dtype`.
        tensors: arrays, or callables that read one, under Hugging Face names; each is read once, and let go of once placed.
        place: makes the array of a weight; NumPy arrays unless told otherwise.

    Returns:
        Unstacked parameters as `forward` takes them.

    Raises:
        WeightsError: a tensor is missing, left over, of another shape, not floating point or not finite, or there is
            a head of its own although the config ties it.
    """
    tensors = _language_model(config, tensors)
    _check_names(config, tensors)
    dtype = np.dtype(jax.numpy.dtype(config.parameter_dtype))
    table_shape = (config.vocab_size, config.width)
    embedding = _tensor(tensors, EMBEDDING, table_shape)
    params: dict[str, Any] = {'embedding': place(Weight(EMBEDDING, ('embedding',), embedding, dtype))}
    if not config.tied_head:
        params['head'] = place(Weight(HEAD, ('head',), _tensor(tensors, HEAD, table_shape), dtype))
    elif HEAD in tensors and not np.array_equal(_tensor(tensors, HEAD, table_shape), embedding):
        raise WeightsError(
            f'{HEAD} differs from {EMBEDDING} although config.json says tie_word_embeddings; set it to false there.'
        )
    del embedding  # not kept while the layers are read
    scale = _tensor(tensors, FINAL_NORM, (config.width,))
    params['final_norm'] = {'scale': place(Weight(FINAL_NORM, ('final_norm', 'scale'), scale, dtype))}
    sources = list(_sources(config))
    params['layers'] = tuple(_layer(layer, sources, tensors, dtype, place) for layer in range(config.num_layers))
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
    tensors = {EMBEDDING: np.asarray(params['embedding']), FINAL_NORM: np.asarray(params['final_norm']['scale'])}
    if not config.tied_head:
        tensors[HEAD] = np.asarray(params['head'])
    leaves = _leaves(config)
    for index, layer in enumerate(unstack_layers(params)['layers']):
        for leaf in leaves:
            matrix = np.asarray(_get(layer, leaf.path)).reshape(leaf.file_shape[::-1])
            tensors[f'model.layers.{index}.{leaf.name}'] = np.ascontiguousarray(matrix.T)
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
        inputs = 0
        if kind == 'kernel':  # only the output projection contracts two dimensions, heads and head width
            inputs = 2 if module[-1] == 'o' else 1
        suffix = 'bias' if kind == 'bias' else 'weight'
        found.append(_Leaf((*module, kind), f'{modules[tuple(module)]}.{suffix}', shape, inputs))
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


def _tensor(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor, of the expected shape and of floating-point numbers."""
    tensor = tensors[name]
    array = np.asarray(tensor() if callable(tensor) else tensor)
    if array.shape != shape:
        hint = ' (it is transposed)' if array.ndim == 2 and array.shape[::-1] == shape else ''
        raise WeightsError(f'tensor {name}: expected shape {list(shape)}, found {list(array.shape)}{hint}.')
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
        raise WeightsError(f'tensor {name}: expected floating-point numbers of shape {list(shape)}, found {array.dtype}.')
    return array


def _layer(
    index: int,
    sources: list[tuple[str, list[_Leaf]]],
    tensors: Mapping[str, Tensor],
    dtype: np.dtype,
    place: Callable[[Weight], Any],
) -> dict[str, Any]:
    """The parameters of one layer."""
    tree: dict[str, Any] = {}
    for source, leaves in sources:
        name = f'model.layers.{index}.{source}'
        rows = [leaf.file_shape[0] for leaf in leaves]
        array = _tensor(tensors, name, (sum(rows), *leaves[0].file_shape[1:]))
        for leaf, part in zip(leaves, np.split(array, np.cumsum(rows)[:-1]), strict=True):
            by_output = part.reshape(*leaf.shape[leaf.inputs :], *leaf.shape[: leaf.inputs])
            values = np.moveaxis(by_output, range(-leaf.inputs, 0), range(leaf.inputs))
            _set(tree, leaf.path, place(Weight(name, ('layers', index, *leaf.path), values, dtype)))
    return tree


def _get(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _set(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
