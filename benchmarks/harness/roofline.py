"""The best that a workload could take on this machine, from rates measured in the same run.

Every prompt is computed once, all rows draw side by side, reading and arithmetic overlap. A decode step takes the longer of
reading all weights once and doing its FLOPs; reading keys and values, norms, softmax and the draw are free. FLOPs are those of
`jaxreason.core.flops`; products of 16 and fewer bits run at the bfloat16 rate. This is an upper bound, not an expectation.
"""

import dataclasses
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from harness.contestants import WORKERS
from harness.workloads import Workload

if TYPE_CHECKING:
    from jaxreason.core.architecture import ModelConfig

WEIGHT_BYTES = {'float32': 4.0, 'bfloat16': 2.0, 'Q8_0': 34 / 32, 'Q4_1': 20 / 32, 'Q4_0': 18 / 32}
LIMIT_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates of this machine.

    Attributes:
        read: bytes a second from memory.
        products: dtype -> shape -> FLOPs a second.
    """

    read: float
    products: dict[str, dict[str, float]]

    def flop_rate(self, weights: str) -> float:
        """The best rate of any shape, for weights of this kind."""
        return max(self.products['float32' if weights == 'float32' else 'bfloat16'].values())

    def best_of(self, other: 'Machine') -> 'Machine':
        """The better of two measurements, rate by rate."""
        products = {
            dtype: {shape: max(rate, other.products[dtype][shape]) for shape, rate in shapes.items()}
            for dtype, shapes in self.products.items()
        }
        return Machine(max(self.read, other.read), products)


def measure() -> Machine:
    """Measures in a process of its own, which leaves no thread behind."""
    # Two threads read; a library that splits a call over more would only get in their way.
    environment = {**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'JAX_PLATFORMS': 'cpu'}
    command = [sys.executable, str(WORKERS / 'roofline_worker.py')]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT_SECONDS, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return Machine(found.pop('read'), found)


def bound_seconds(workload: Workload, config: 'ModelConfig', machine: Machine, weights: str) -> float:
    """Least seconds of a workload, prefill included.

    Args:
        workload: what is to be done.
        config: the model.
        machine: measured rates.
        weights: how weights are stored, a key of `WEIGHT_BYTES`.
    """
    from jaxreason.core.flops import decode_flops, prompt_flops

    rate, reading = machine.flop_rate(weights), config.matmul_parameters * WEIGHT_BYTES[weights] / machine.read
    prefill = max(reading, sum(prompt_flops(config, len(prompt)) for prompt in workload.prompts) / rate)
    decode = 0.0
    for step in range(workload.most_tokens):
        lengths = [len(workload.prompts[prompt]) for prompt, target in workload.rows if target > step]
        decode += max(reading, sum(decode_flops(config, length, step, 1) for length in lengths) / rate)
    return prefill + decode
