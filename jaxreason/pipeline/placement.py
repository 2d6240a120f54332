"""On how many chips a stage fits, what lies in the memory of each, and how long it takes there.

The chips of a group share one model: a training stage divides state and rows among them, a sampling one weights, keys and
values. A stage gets the smallest power of two that holds it; more chips are further groups, and are taken to be used in full.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from jaxreason.core.errors import ConfigError
from jaxreason.engine.memory import DEVICE_SHARE
from jaxreason.engine.rows import GIB, Memory, Place, check_memory, choose_rows, memory_of
from jaxreason.pipeline.work import Sampling, Training
from jaxreason.scale.chips import Chip
from jaxreason.scale.roofline import compute_seconds, decode_seconds, decode_step
from jaxreason.train.dry_run import ACTIVATIONS, LOGITS

MOST_CHIPS = 256
WEIGHTS, STATE, CACHE, VERIFIERS, OUTPUTS = (
    'weights',
    'gradients, optimiser',
    'keys, values',
    'verifiers',
    'activations, logits',
)
PARTS = (WEIGHTS, STATE, CACHE, VERIFIERS, OUTPUTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed:
    """A stage on a group of chips.

    Attributes:
        chips: that hold one copy of it.
        memory: bytes on each of them, by `PARTS`.
        rows: drawn side by side; None for training.
        chip_seconds: seconds of all chips together.
        bound: what limits its longest part: `compute` or `bandwidth`.
    """

    chips: int
    memory: Mapping[str, float]
    rows: int | None
    chip_seconds: float
    bound: str


def placed(work: Training | Sampling, chip: Chip) -> Placed | None:
    """Places a stage on the smallest group of chips that holds it; None where not even the largest does."""
    for count in _counts():
        found = _trained(work, chip, count) if isinstance(work, Training) else _sampled(work, chip, count)
        if found is not None:
            return found
    return None


def _counts() -> Iterator[int]:
    count = 1
    while count <= MOST_CHIPS:
        yield count
        count *= 2


def _trained(work: Training, chip: Chip, chips: int) -> Placed | None:
    if chips > work.portion:
        return None
    state = {name: size / chips for name, size in work.memory.items()}
    memory = {
        WEIGHTS: state.pop('parameters'),
        OUTPUTS: state.pop(ACTIVATIONS) + state.pop(LOGITS),
        STATE: sum(state.values()),
    }
    if sum(memory.values()) > DEVICE_SHARE * chip.memory:
        return None
    seconds = compute_seconds(work.flops + work.recomputed, chip)
    return Placed(chips=chips, memory=memory, rows=None, chip_seconds=seconds, bound='compute')


def _sampled(work: Sampling, chip: Chip, chips: int) -> Placed | None:
    found = _rows(work, chip, chips)
    if found is None:
        return None
    rows, memory = found
    decoding = chips * decode_seconds(work.model, work.tokens, rows, work.context, chip, chips)
    reading = compute_seconds(work.prefill + work.score, chip)
    bound = decode_step(work.model, rows, work.context, chip, chips).bound if decoding >= reading else 'compute'
    sizes = {
        WEIGHTS: memory.parameters,
        CACHE: memory.cache,
        VERIFIERS: work.beside / chips,
        OUTPUTS: memory.logits,
    }
    return Placed(chips=chips, memory=sizes, rows=rows, chip_seconds=decoding + reading, bound=bound)


def _rows(work: Sampling, chip: Chip, chips: int) -> tuple[int, Memory] | None:
    """Rows as the sampler would choose them, and what they take; None where they do not fit."""
    settings, limit = work.settings, DEVICE_SHARE * chip.memory - work.beside / chips
    if settings.memory_limit is not None:
        limit = min(limit, settings.memory_limit * GIB)
    place = Place(limit, False, {'model': chips})
    try:
        if settings.num_rows == 'auto':
            rows, shared, _ = choose_rows(settings, work.model, work.longest_prompt, work.copies, place)
        else:
            check_memory(settings, work.model, work.longest_prompt, place)
            rows, shared = settings.num_rows, settings.rows_per_slot
    except ConfigError:
        return None
    return rows, memory_of(settings, work.model, work.longest_prompt, rows, shared, place)
