"""The device mesh: axes `data` (rows) and `model` (widths), axis types spelled out.

`Auto` is asked for by name, since JAX's default is `Explicit`: the model states where parameters lie, the compiler the rest.
"""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxreason.core.errors import ConfigError
from jaxreason.core.model_spec import AXES, check_axes


def make_mesh(shape: Mapping[str, int]) -> Mesh:
    """A mesh over all devices of this process or, among several processes, over those of all where the sizes ask for it.

    Args:
        shape: sizes of the axes `data` and `model`; a missing axis is 1, one axis may be -1 to take what is left of this
            process's devices.

    Raises:
        ConfigError: an axis is unknown or not positive, or the product is neither number of devices.
    """
    check_axes(shape)
    sizes = [shape.get(name, 1) for name in AXES]
    available = jax.local_device_count()
    given = math.prod(size for size in sizes if size != -1)
    sizes = [available // given if size == -1 else size for size in sizes]
    kinds = (AxisType.Auto,) * len(AXES)
    if math.prod(sizes) == available:
        return jax.make_mesh(tuple(sizes), AXES, axis_types=kinds, devices=jax.local_devices())
    if math.prod(sizes) == jax.device_count():
        return jax.make_mesh(tuple(sizes), AXES, axis_types=kinds)
    together = f', {jax.process_count()} processes together {jax.device_count()}' if jax.process_count() > 1 else ''
    raise ConfigError(
        f'mesh {dict(zip(AXES, sizes, strict=True))} needs {math.prod(sizes)} devices, this process sees {available}{together}.'
    )


def spans_processes(mesh: Mesh | None) -> bool:
    """Whether devices of other processes are part of a mesh, so that every process must run the same program."""
    return mesh is not None and any(device.process_index != jax.process_index() for device in mesh.devices.flat)


def to_host(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays as NumPy, whole on every process."""
    if mesh is not None and spans_processes(mesh):
        tree = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)
    return jax.tree.map(np.asarray, tree)


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays placed whole on every device of a mesh; without one on the default device, not committed to it."""
    if mesh is None:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def use_mesh(mesh: Mesh | None):
    """A context in which `mesh` is the current one; None changes nothing."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)
