"""Tokens per second of the sampler: `python benchmarks/sampling.py [--rows 1 16 64] [--dtype float32 bfloat16]`.

SmolLM2-135M-Instruct, prompts of about 128 tokens, 128 new tokens a row, temperature 1, end tokens ignored. The rate is
generated tokens over wall time, prefill included, loading and compilation excluded (a first pass warms up); best of several.
Beside it the FLOP rate as a share of what one large matrix product reaches in the same dtype and run.
"""

import argparse
import dataclasses
import time

import jax
import jax.numpy as jnp

from jaxreason.core.protocols import Job
from jaxreason.core.types import Question
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.language_model import load
from jaxreason.engine.sampler import Sampler

NEW_TOKENS = 128
TEXT = 'A farmer sells 12 eggs a day for 3 dollars each and feeds 4 to the dog. How much does she earn in a week? ' * 3


def product_rate(dtype: str) -> float:
    """FLOP/s of one large product in this dtype with float32 accumulation."""
    size = 2048
    a = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda x, y: jnp.einsum('ij,jk->ik', x, y, preferred_element_type=jnp.float32))
    multiply(a, a).block_until_ready()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        multiply(a, a).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def pass_seconds(sampler: Sampler, num_prompts: int, rows: int, number: int) -> tuple[float, int]:
    """Wall seconds and FLOPs of drawing all tokens once, in a fresh session."""
    session = sampler.session()
    questions = [Question(f'{number}-{index}', TEXT) for index in range(num_prompts)]
    session.prepare(questions)
    began = time.perf_counter()
    flops = 0
    for question in questions:
        started, cost = session.start(question, rows // num_prompts, 0, 0)
        flops += cost.flops
        for row in started:
            session.submit(Job(row, False, NEW_TOKENS, False))
    left = rows
    while left:
        back = session.pump()
        flops += sum(row.cost.flops for row in back)
        left -= len(back)
    return time.perf_counter() - began, flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, nargs='+', default=[1, 16, 64])
    parser.add_argument('--dtype', nargs='+', default=['float32', 'bfloat16'])
    parser.add_argument('--passes', type=int, default=2)
    args = parser.parse_args()
    for dtype in args.dtype:
        rate = product_rate(dtype)
        lm = dataclasses.replace(load('smollm2-135m', dtype=dtype), eos_ids=())
        for rows in args.rows:
            num_prompts = max(1, rows // 8) if rows > 16 else 1
            sampler = Sampler(
                lm,
                prompt=PromptSpec(few_shot=0),
                max_tokens=NEW_TOKENS,
                num_rows=rows,
                rows_per_slot=rows // num_prompts,
                stats=('logprob',),
                chunk=NEW_TOKENS,
            )
            pass_seconds(sampler, num_prompts, rows, 0)
            seconds, flops = min(pass_seconds(sampler, num_prompts, rows, 1 + n) for n in range(args.passes))
            speed = rows * NEW_TOKENS / seconds
            print(
                f'{dtype:<9} {rows:>3} rows, {num_prompts} prompts: {speed:7.1f} tokens/s, '
                f'{flops / seconds / 1e9:6.1f} GFLOP/s, '
                f'{100 * flops / seconds / rate:4.0f} % of {rate / 1e9:.0f} GFLOP/s',
                flush=True,
            )


if __name__ == '__main__':
    main()
