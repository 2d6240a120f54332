"""What the machine can do at best: bytes a second from memory, and FLOPs a second of matrix products; prints one JSON object.

The rates are those of XLA's own products: a contestant with better ones can pass the bound that they give.
"""

import json
import threading
import time

import numpy as np

SHAPES = {
    'large': (2048, 2048, 2048),
    'M=1024': (1024, 576, 1536),
    'M=64': (64, 576, 1536),
    'M=16': (16, 576, 1536),
    'M=1': (1, 576, 1536),
}
REPEATS = 9
BYTES = 1 << 30
THREADS = 2


def read_rate() -> float:
    """Bytes a second that threads together read from memory: dot products of arrays that no cache holds."""
    halves = [np.ones(BYTES // THREADS // 4, np.float32) for _ in range(THREADS)]
    return BYTES / min(_read_together(halves) for _ in range(REPEATS))


def _read_together(halves: list[np.ndarray]) -> float:
    """Seconds from the first thread's begin to the last one's end, by their own clocks: this thread may be woken late."""
    begin, times = threading.Barrier(len(halves)), []

    def read(values: np.ndarray) -> None:
        begin.wait()
        began = time.perf_counter()
        np.dot(values[: len(values) // 2], values[len(values) // 2 :])
        times.append((began, time.perf_counter()))

    threads = [threading.Thread(target=read, args=(half,)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(ended for _, ended in times) - min(began for began, _ in times)


def product_rates(dtype: str) -> dict[str, float]:
    """FLOPs a second by shape, operands in `dtype`, results in float32."""
    import jax
    import jax.numpy as jnp

    multiply = jax.jit(lambda x, y: jnp.einsum('ij,jk->ik', x, y, preferred_element_type=jnp.float32))
    rates = {}
    for name, (m, k, n) in SHAPES.items():
        a, b, times = jnp.ones((m, k), dtype), jnp.ones((k, n), dtype), []
        multiply(a, b).block_until_ready()
        # Small products are timed in bundles: one alone takes as long as its dispatch.
        bundle = max(1, int(1e9 // (2 * m * k * n)))
        for _ in range(REPEATS):
            began = time.perf_counter()
            for _ in range(bundle):
                last = multiply(a, b)
            last.block_until_ready()
            times.append((time.perf_counter() - began) / bundle)
        rates[name] = 2 * m * k * n / min(times)
    return rates


def main() -> None:
    print(json.dumps({'read': read_rate(), 'float32': product_rates('float32'), 'bfloat16': product_rates('bfloat16')}))


if __name__ == '__main__':
    main()
