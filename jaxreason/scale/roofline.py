"""How long work takes on a chip, by its two limits: arithmetic and memory.

Training, prompts and scoring run at a share of the peak arithmetic. A decode step reads all weights once and the keys and
values of every row, and multiplies each row by the weights: it takes as long as the slower of the two.

    step = max((weights + rows x keys and values) / (bandwidth x BANDWIDTH_SHARE), rows x FLOPs / (peak x PEAK_SHARE))

The shares are assumptions, not measurements of this package: public training runs report 35 to 65 % of the peak (MaxText on v5p
and v6e), good decoders 60 to 85 % of the bandwidth. Collectives between chips are within them.
"""

from typing import NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.flops import attended_keys, forward_flops
from jaxreason.scale.chips import Chip

PEAK_SHARE = 0.4  # of the peak arithmetic: training, prompts, scoring, and decoding where it is bound by that
BANDWIDTH_SHARE = 0.6  # of the bandwidth of memory: decoding
WIDTHS = {'float32': 4, 'bfloat16': 2}


class Step(NamedTuple):
    """One decode step of all rows.

    Attributes:
        memory_seconds: to read weights, keys and values.
        compute_seconds: to multiply.
    """

    memory_seconds: float
    compute_seconds: float

    @property
    def seconds(self) -> float:
        """The slower of the two."""
        return max(self)

    @property
    def bound(self) -> str:
        """Which of the two it is."""
        return 'bandwidth' if self.memory_seconds >= self.compute_seconds else 'compute'


def compute_seconds(flops: float, chip: Chip, chips: int = 1) -> float:
    """Seconds of work that arithmetic limits, on so many chips."""
    return flops / (chips * chip.flops * PEAK_SHARE)


def kv_bytes(config: ModelConfig, tokens: int) -> int:
    """Bytes of keys and values that a token after `tokens` - 1 others meets; layers with a window hold no more than that."""
    keys = sum(attended_keys(tokens - 1, 1, window) for window in config.windows)
    return 2 * keys * config.num_kv_heads * config.head_width * WIDTHS[config.matmul_dtype]


def decode_step(config: ModelConfig, rows: int, context: int, chip: Chip, chips: int = 1) -> Step:
    """Times a decode step.

    Args:
        config: the model; its dtypes say how wide weights, keys and values are.
        rows: solutions that are drawn side by side.
        context: tokens that each has before it on average, prompt included; each row reads its prompt by itself.
        chip: that it runs on.
        chips: that share one copy of the model.
    """
    weights = config.matmul_parameters * WIDTHS[config.parameter_dtype]
    read = weights + rows * kv_bytes(config, context + 1)
    multiplied = rows * forward_flops(config, context, 1, 1)
    return Step(read / (chips * chip.bandwidth * BANDWIDTH_SHARE), compute_seconds(multiplied, chip, chips))


def decode_seconds(config: ModelConfig, tokens: float, rows: int, context: int, chip: Chip, chips: int = 1) -> float:
    """Seconds to draw `tokens` in all while `rows` rows are kept at work; the rest is as of `decode_step`."""
    return tokens / rows * decode_step(config, rows, context, chip, chips).seconds
