"""Where parameters, caches and batches lie on a device mesh: one table from the names of dimensions to mesh axes.

Every dimension of every array has a logical name; a rule set says which mesh axis, if any, that name is split over. The
mesh has the axes `data` (rows, and weights when training) and `model` (heads, MLP, vocabulary). Arrays are placed with these
shardings and `jax.jit` follows its arguments. Weights are read where they are placed: of each tensor a process converts
the slices of its own devices, and no other.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError
from jaxreason.models.cache import Cache
from jaxreason.models.hugging_face import Weight
from jaxreason.models.transformer import Parameters

Rules = Mapping[str, str | None]

# Tensor parallel over `model`, rows over `data`, weights the same on every `data` index.
SERVING: Rules = {
    'rows': 'data',
    'slots': 'data',
    'time': None,
    'layers': None,
    'vocab': 'model',
    'width': None,
    'heads': 'model',
    'kv_heads': 'model',
    'head_width': None,
    'mlp': 'model',
}
# As serving, and every weight matrix also split over `data`, gathered as it is used.
TRAINING: Rules = {**SERVING, 'width': 'data'}

_KERNELS: Mapping[str, tuple[str, ...]] = {
    'q': ('width', 'heads', 'head_width'),
    'k': ('width', 'kv_heads', 'head_width'),
    'v': ('width', 'kv_heads', 'head_width'),
    'o': ('heads', 'head_width', 'width'),
    'gate': ('width', 'mlp'),
    'up': ('width', 'mlp'),
    'down': ('mlp', 'width'),
}
_INPUTS = {'o': 2}  # dimensions that a kernel contracts, where not one
_NORMS: Mapping[str, tuple[str, ...]] = {'q_norm': ('head_width',), 'k_norm': ('head_width',)}


def parameter_shardings(config: ModelConfig, params: Parameters, mesh: Mesh, rules: Rules = SERVING) -> Any:
    """Finds the sharding of every parameter.

    Args:
        config: the architecture.
        params: stacked or unstacked; arrays or shapes.
        mesh: with the axes that `rules` names.
        rules: logical dimension to mesh axis.

    Returns:
        The tree of `params` with a `NamedSharding` for each array, for `jax.device_put` or `jax.jit`.

    Raises:
        ConfigError: two dimensions of an array land on one mesh axis, or an axis does not divide its dimension.
    """

    def place(path: tuple[Any, ...], array: Any) -> NamedSharding:
        names = tuple(str(getattr(entry, 'key', getattr(entry, 'idx', entry))) for entry in path)
        return _parameter_sharding(names, array.shape, mesh, rules)

    _check_model(config, mesh, rules)
    return jax.tree.map_with_path(place, dict(params))


def placement(config: ModelConfig, mesh: Mesh | None, rules: Rules = SERVING) -> Callable[[Weight], jax.Array]:
    """Prepares to place weights one at a time, each as soon as it is read.

    Args:
        config: the architecture.
        mesh: with the axes that `rules` names; None for one device.
        rules: logical dimension to mesh axis.

    Returns:
        What makes the array of a weight; it returns when the devices hold it, so that host memory holds one weight's slices.

    Raises:
        ConfigError: as of `parameter_shardings`; before anything is read.
    """
    if mesh is None:
        # Not committed to a device: what `jax.jit` gets beside it may then be committed or not without compiling twice.
        return lambda weight: jax.block_until_ready(jax.device_put(weight.read()))
    _check_model(config, mesh, rules)

    def place(weight: Weight) -> jax.Array:
        slices: dict[str, Any] = {}  # devices that hold the same slice share its reading

        def read(index: Any) -> Any:
            key = str(index)
            if key not in slices:
                slices[key] = weight.read(index)
            return slices[key]

        where = _parameter_sharding(tuple(map(str, weight.path)), weight.shape, mesh, rules)
        return jax.block_until_ready(jax.make_array_from_callback(weight.shape, where, read))

    return place


def cache_shardings(cache: Cache, mesh: Mesh, rules: Rules = SERVING) -> Cache:
    """The sharding of every array of a cache, as a tree like it; arguments and errors as of `parameter_shardings`."""

    def place(path: tuple[Any, ...], array: Any) -> NamedSharding:
        name = path[0].name
        first = 'slots' if name.startswith('prompt') else 'rows'
        axes = (first, 'kv_heads', 'time', 'head_width')[: len(array.shape)]
        return sharding(name, axes, array.shape, mesh, rules)

    return jax.tree.map_with_path(place, cache)


def sharding(name: str, axes: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh, rules: Rules = SERVING) -> NamedSharding:
    """Places one array.

    Args:
        name: of the array, for the message.
        axes: logical name of each dimension.
        shape: size of each dimension.
        mesh: devices.
        rules: logical dimension to mesh axis.

    Raises:
        ConfigError: as of `parameter_shardings`.
    """
    taken: dict[str, str] = {}
    for axis, size in zip(axes, shape, strict=True):
        target = rules[axis]
        if target is None:
            continue
        if target in taken:
            raise ConfigError(
                f'{name}: dimensions {taken[target]} and {axis} both land on mesh axis {target}; map one of them elsewhere.'
            )
        taken[target] = axis
        if target not in mesh.shape:
            raise ConfigError(f'{name}: {axis} is split over {target}, but the mesh has only {", ".join(mesh.shape)}.')
        if size % mesh.shape[target]:
            raise _impossible(name, axis, size, target, mesh)
    return NamedSharding(mesh, PartitionSpec(*(rules[axis] for axis in axes)))


def _parameter_sharding(names: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh, rules: Rules) -> NamedSharding:
    """The sharding of the parameter at this path, stacked over layers if it has a dimension more than one layer's."""
    axes = _logical_axes(names)
    if names[0] == 'layers' and len(shape) == len(axes) + 1:
        axes = ('layers', *axes)
    return sharding('/'.join(names), axes, shape, mesh, rules)


def _logical_axes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The logical dimensions of the parameter at this path, without the leading one of stacked layers."""
    if names[0] in ('embedding', 'head'):
        return ('vocab', 'width')
    module, kind = names[-2], names[-1]
    if kind == 'kernel':
        return _KERNELS[module]
    if kind == 'bias':
        return _KERNELS[module][_INPUTS.get(module, 1) :]
    return _NORMS.get(module, ('width',))


def product_axes(names: tuple[str, ...], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The dimensions of a layer's matrix, as one that maps activations.

    Args:
        names: path of a parameter.
        rank: its number of dimensions, more than one layer's if it is stacked.

    Returns:
        The dimensions that the product contracts and those that it makes, or None for what is no matrix of a layer.
    """
    if names[0] != 'layers' or names[-1] != 'kernel':
        return None
    stacked = rank - len(_KERNELS[names[-2]])
    made = stacked + _INPUTS.get(names[-2], 1)
    return tuple(range(stacked, made)), tuple(range(made, rank))


def _check_model(config: ModelConfig, mesh: Mesh, rules: Rules) -> None:
    """Says of the model what else would be said of some array, and which sizes do for all of its dimensions."""
    sizes = {'heads': config.num_heads, 'kv_heads': config.num_kv_heads, 'mlp': config.mlp_width, 'vocab': config.vocab_size}
    for axis, size in sizes.items():
        target = rules[axis]
        if target is not None and size % mesh.shape.get(target, 1):
            common = math.gcd(*(other for name, other in sizes.items() if rules[name] == target))
            raise _impossible(f'{config.family} model', axis, size, target, mesh, common)


def _impossible(name: str, axis: str, size: int, target: str, mesh: Mesh, common: int | None = None) -> ConfigError:
    """An error that names the sizes that do, of those that the number of devices can be divided by."""
    fitting = [str(each) for each in range(1, mesh.size + 1) if mesh.size % each == 0 and (common or size) % each == 0]
    return ConfigError(
        f'impossible mesh: {target} = {mesh.shape[target]} does not divide {axis} = {size} ({name}); '
        f'of {mesh.size} devices {target} may take {" or ".join(fitting)}, the other axis -1 (the rest).'
    )
