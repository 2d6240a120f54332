"""Which model, and how it lies on the devices: what a policy and a verifier are named by in a configuration."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from jaxreason.core.errors import ConfigError

AXES = ('data', 'model')


def check_axes(shape: Mapping[str, int]) -> None:
    """Refuses a mesh that fits no devices at all; asks none.

    Raises:
        ConfigError: an axis is unknown or not positive, or more than one takes the rest.
    """
    unknown = [name for name in shape if name not in AXES]
    if unknown:
        raise ConfigError(f'mesh axes are {" and ".join(AXES)}, got {unknown[0]!r}.')
    sizes = list(shape.values())
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
        raise ConfigError(f'mesh sizes must be at least 1 (one may be -1 for the rest), got {dict(shape)}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model, and how it lies on the devices.

    Attributes:
        source: a preset, a Hugging Face folder, or a GGUF file.
        dtype: of parameters and matrix operands.
        mesh: sizes of the axes `data` and `model`; None for one device.
        max_context: longest prompt plus solution, for models whose rotary factors depend on it; None for the others.
    """

    source: str = 'smollm2-135m'
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    mesh: dict[str, int] | None = None
    max_context: int | None = None

    def __post_init__(self):
        if self.mesh is not None:
            check_axes(self.mesh)
