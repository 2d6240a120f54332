"""How many rows the device programs run at, where nobody says.

Each step reads all weights once, whatever the rows, so more rows are more tokens a second until the arithmetic takes over:
as many as memory holds, as are wanted, and as buy something. The choice is a pure function of configuration, model, prompts and
a memory limit; what it gave is written down with the run, since products change bits with the number of rows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from jaxreason.core.architecture import DType, ModelConfig
from jaxreason.core.errors import ConfigError
from jaxreason.engine.buckets import bucket, cache_bytes
from jaxreason.models.packed import can_pack

if TYPE_CHECKING:
    from jaxreason.engine.sampler import SamplerSettings

GIB = 2**30
COUNTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
# Two cores are as fast with 64 rows as with more (SmolLM2, tokens/s of 32 | 64 | 128 | 256 rows: 1,230 | 1,520 | 1,470 |
# 1,590), and a small policy faster, whose keys then stay in their caches (64 | 512 rows: 147,000 | 134,000).
MOST_ON_CPU = 64
_WIDTH = {'float32': 4, 'bfloat16': 2}


class Place(NamedTuple):
    """What the choice needs to know of where the rows will lie."""

    limit: float  # bytes on one device
    is_cpu: bool
    mesh: Mapping[str, int] = {}  # sizes of the axes; a missing one is 1
    beside: int = 0  # bytes on one device that verifiers take, not within the limit


class Memory(NamedTuple):
    """Bytes on one device, before what the compiler adds."""

    parameters: int
    cache: int
    logits: int  # twice: as computed, and as drawn from

    @property
    def total(self) -> int:
        return sum(self)


class RowChoice(NamedTuple):
    """Rows, and what set their number: memory, the rows wanted, or that more would buy nothing."""

    num_rows: int
    rows_per_slot: int
    why: Literal['memory', 'demand', 'most']


def resolve_cache_dtype(asked: Literal['auto', 'float32', 'bfloat16'], model: ModelConfig) -> DType:
    """The dtype of cached keys and values."""
    return model.matmul_dtype if asked == 'auto' else asked


def slot_rows(rows_per_slot: int, copies: Sequence[int] | None) -> int:
    """Rows of a slot: no more than any question has."""
    return rows_per_slot if copies is None else max(1, min(rows_per_slot, max(copies, default=1)))


def memory_of(
    settings: 'SamplerSettings', model: ModelConfig, longest_prompt: int, num_rows: int, rows_per_slot: int, place: Place
) -> Memory:
    """What one device holds at `num_rows` rows.

    Args:
        settings: longest solution, buckets, dtype of the cache.
        model: the policy.
        longest_prompt: tokens.
        num_rows: over all devices.
        rows_per_slot: of them, those that share a prompt.
        place: `data` divides rows, `model` everything.
    """
    data, split = place.mesh.get('data', 1), place.mesh.get('model', 1)
    copies = 2 if place.is_cpu and not place.mesh and can_pack(model) else 1  # the other is laid out for the CPU's kernels
    rooms = (bucket(longest_prompt, settings.buckets), bucket(settings.max_tokens, settings.buckets))
    dtype = resolve_cache_dtype(settings.cache_dtype, model)
    return Memory(
        parameters=copies * model.num_parameters * _WIDTH[model.parameter_dtype] // split,
        cache=cache_bytes(model, num_rows // rows_per_slot, num_rows, *rooms, dtype) // (data * split),
        logits=2 * num_rows * model.vocab_size * _WIDTH['float32'] // (data * split),
    )


def choose_rows(
    settings: 'SamplerSettings', model: ModelConfig, longest_prompt: int, copies: Sequence[int] | None, place: Place
) -> RowChoice:
    """The number of rows: the least of what fits, what is wanted, and what is worth while.

    Args:
        settings: of the sampler; its own `num_rows` is not looked at.
        model: the policy.
        longest_prompt: tokens.
        copies: rows that each question may have at once; None where nobody knows.
        place: memory limit, kind of device, mesh.

    Raises:
        ConfigError: not even the smallest number fits.
    """
    rows_per_slot = slot_rows(settings.rows_per_slot, copies)
    counts = _counts(rows_per_slot * place.mesh.get('data', 1), place.is_cpu)
    choice = RowChoice(counts[-1], rows_per_slot, 'most')
    if copies is not None:
        wanted = sum(-(-each // rows_per_slot) * rows_per_slot for each in copies)
        enough = next((count for count in counts if count >= wanted), counts[-1])
        if enough < choice.num_rows:
            choice = RowChoice(enough, rows_per_slot, 'demand')

    def need(count: int) -> Memory:
        return memory_of(settings, model, longest_prompt, count, rows_per_slot, place)

    fitting = [count for count in counts if count <= choice.num_rows and need(count).total <= place.limit]
    if not fitting:
        raise _too_little(need(counts[0]), counts[0], place, 'max_tokens')
    return choice if fitting[-1] == choice.num_rows else RowChoice(fitting[-1], rows_per_slot, 'memory')


def check_memory(settings: 'SamplerSettings', model: ModelConfig, longest_prompt: int, place: Place) -> None:
    """Refuses numbers of rows that somebody gave and that the limit does not hold.

    Raises:
        ConfigError: they need more.
    """
    assert settings.num_rows != 'auto', 'a number that was given or chosen'
    need = memory_of(settings, model, longest_prompt, settings.num_rows, settings.rows_per_slot, place)
    if need.total > place.limit:
        raise _too_little(need, settings.num_rows, place, 'num_rows')


def _counts(unit: int, is_cpu: bool) -> list[int]:
    """Good numbers of rows, ascending, all multiples of `unit`."""
    worth_while = [count for count in COUNTS if not is_cpu or count <= MOST_ON_CPU]
    return sorted({count // unit * unit for count in worth_while} - {0}) or [unit]


def _too_little(need: Memory, num_rows: int, place: Place, lower: str) -> ConfigError:
    parts = ', '.join(f'{name} {_gib(size)}' for name, size in need._asdict().items())
    taken = f', of which verifiers take {_gib(place.beside)}' if place.beside else ''
    return ConfigError(
        f'the device needs {_gib(need.total)} GiB for {num_rows} row{"s" * (num_rows > 1)} ({parts}), the limit is '
        f'{_gib(place.limit + place.beside)}{taken}: raise sampler.memory_limit, lower sampler.{lower}, '
        'or take a smaller model or dtype.'
    )


def _gib(size: float) -> str:
    return f'{size / GIB:.3g}'
