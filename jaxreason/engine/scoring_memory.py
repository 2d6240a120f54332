"""What scoring holds in memory: a verifier's parameters, the keys and values of a batch, and what lies between its layers.

No logits of the vocabulary are computed. Activations are estimated, high rather than low: what the compiler holds at once is
what enters a block, the wider of its two halves, and elsewhere than in the kernels of a CPU every head's scores with their
weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.types import Question
from jaxreason.engine.buckets import bucket, cache_bytes
from jaxreason.models.packed import can_pack

_BYTES = {'float32': 4, 'bfloat16': 2}


class ScoringMemory(NamedTuple):
    """Bytes on one device, before what the compiler adds."""

    parameters: int
    cache: int  # keys and values of one batch
    activations: int  # of one batch

    @property
    def total(self) -> int:
        return sum(self)


def memory_beside(verifiers: Iterable[Any], questions: Sequence[Question], num_tokens: int, is_cpu: bool) -> int:
    """Bytes on one device that verifiers take beside the policy: those that need no training take none.

    Args:
        verifiers: of a run.
        questions: that are answered.
        num_tokens: of the longest solution, in the policy's tokens.
        is_cpu: the device is a CPU.
    """
    trained = [verifier for verifier in verifiers if hasattr(verifier, 'memory')]
    return sum(verifier.memory(questions, num_tokens, is_cpu).total for verifier in trained)


def scoring_memory(
    config: ModelConfig, head_parameters: int, num_rows: int, longest: int, mesh: Mapping[str, int] | None, is_cpu: bool
) -> ScoringMemory:
    """What one device holds while a batch of the longest solutions is scored.

    Args:
        config: of the decoder, without a language head.
        head_parameters: numbers in the head, float32.
        num_rows: of a batch.
        longest: tokens of question and solution.
        mesh: sizes of its axes; None for one device.
        is_cpu: it is a CPU; without a mesh kernels score there, with a second copy of the parameters laid out for them.
    """
    is_packed = is_cpu and mesh is None and can_pack(config)
    sizes = {axis: max(1, size) for axis, size in (mesh or {}).items()}
    data, split = sizes.get('data', 1), sizes.get('model', 1)
    room = bucket(longest)
    copies = 2 if is_packed else 1
    parameters = copies * config.num_parameters * _BYTES[config.parameter_dtype] // split
    return ScoringMemory(
        parameters=parameters + head_parameters * _BYTES['float32'],
        cache=cache_bytes(config, 0, num_rows, 0, room, config.matmul_dtype) // (data * split),
        activations=num_rows * room * _bytes_a_token(config, room, is_packed) // (data * split),
    )


def _bytes_a_token(config: ModelConfig, room: int, is_packed: bool) -> int:
    heads, kv_heads, h = config.num_heads, config.num_kv_heads, config.head_width
    # Enters a block, and the angles, in float32; then normed and gated, or queries, keys, values and what the heads give.
    entering = _BYTES['float32'] * (config.width + 2 * h)
    halves = config.width + config.mlp_width, 2 * (heads + kv_heads) * h
    scores = 0 if is_packed else 2 * heads * room * _BYTES['float32']
    return entering + _BYTES[config.matmul_dtype] * max(halves) + scores
