"""How often tokens differ where equality is not promised: `python benchmarks/divergence.py [--quick] [--json FILE]`.

SmolLM2-135M-Instruct on the shipped word problems. Every setting draws the same samples, by seed, question, sample and
position, so tokens can differ only where a logit's last bits do and a draw falls between the two. Rows are compared up to and
including their first difference; after it they are different texts. A divergence is one such row; the interval is the exact
95 % Poisson interval of their number. Order and neighbours promise equality at a fixed row count: a divergence there is an
error, and the exit code says so.

The second table is what bfloat16 costs: over the greedy text of float32, how often the most likely token is another one, once
in a whole-text forward and once token by token through the sampler's cache at its row count.
"""

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.core.types import Question
from jaxreason.data.datasets import load_problems
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.buckets import bucket
from jaxreason.engine.language_model import LanguageModel, load
from jaxreason.engine.sampler import Sampler
from jaxreason.models.cache import Cache
from jaxreason.models.heads import lm_logits
from jaxreason.models.transformer import forward
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority

MODEL = 'smollm2-135m'
PROMPT = PromptSpec(few_shot=0)
SAMPLES = 4  # of a question
ROWS = 16  # of the reference
MESH_ROWS = 32  # a mesh of 8 holds whole slots of 4 rows
PARTS = ['float32', 'bfloat16', 'mesh', 'agreement']

Texts = list[tuple[int, ...]]


def questions(number: int) -> list[Question]:
    """The first shipped questions."""
    return [problem.question for problem in load_problems('basic')[:number]]


def sampler(lm: LanguageModel, rows: int, max_tokens: int) -> Sampler:
    """Temperature 1, nothing recorded but the tokens."""
    return Sampler(lm, prompt=PROMPT, max_tokens=max_tokens, num_rows=rows, rows_per_slot=SAMPLES, stats=(), temperature=1.0)


def draw(lm: LanguageModel, rows: int, size: dict[str, int], backwards: bool = False) -> Texts:
    """Tokens of all samples of all questions, in the questions' own order."""
    asked = questions(size['questions'])[:: -1 if backwards else 1]
    outcomes = Majority(n=SAMPLES).solve(asked, sampler(lm, rows, size['tokens']), seed=0)
    return [candidate.tokens for outcome in outcomes[:: -1 if backwards else 1] for candidate in outcome.candidates]


def draw_on_mesh(size: dict[str, int]) -> Texts:
    """The same in a process of its own with eight virtual devices, each with its rows and all weights."""
    flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'.strip()
    done = subprocess.run(
        [sys.executable, __file__, '--mesh-worker', json.dumps(size)],
        env={**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]


def mesh_worker(size: dict[str, int]) -> None:
    """The other process: prints its tokens."""
    print(json.dumps(draw(load(MODEL, mesh={'data': 8}), MESH_ROWS, size)))


def compare(found: Texts, expected: Texts) -> tuple[int, int]:
    """Rows that differ, and tokens compared: of each row those up to and including its first difference."""
    divergences = compared = 0
    for ours, theirs in zip(found, expected, strict=True):
        pairs = zip(ours, theirs, strict=False)
        same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
        differs = ours != theirs
        divergences += differs
        compared += same + differs
    return divergences, compared


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of the expectation of a count."""

    def at_most(k: int, mean: float) -> float:
        return sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(k + 1))

    def solve(holds) -> float:
        low, high = 1e-9, 10.0 * (count + 10)
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    low = 0.0 if count == 0 else solve(lambda mean: 1 - at_most(count - 1, mean) < 0.025)
    return low, solve(lambda mean: at_most(count, mean) > 0.025)


def divergence(name: str, reference: str, found: Texts, expected: Texts, began: float) -> dict[str, Any]:
    """One line of the first table, printed and returned."""
    count, compared = compare(found, expected)
    low, high = (1000 * x / compared for x in poisson_interval(count))
    line = {
        'setting': name, 'reference': reference, 'divergences': count, 'rows': len(found), 'tokens_compared': compared,
        'per_1000_tokens': 1000 * count / compared, 'low': low, 'high': high, 'seconds': time.perf_counter() - began,
    }  # fmt: skip
    print(
        f'{name:<34} {reference:<18} {count:>4} of {len(found):<4} {compared:>7} '
        f'{line["per_1000_tokens"]:>8.2f}  [{low:.2f}, {high:.2f}]  {line["seconds"]:6.0f} s',
        flush=True,
    )
    return line


def divergences(lms: dict[str, LanguageModel], size: dict[str, Any], parts: list[str]) -> list[dict[str, Any]]:
    """The first table."""
    print(f'{"setting":<34} {"against":<18} {"rows differ":>12} {"tokens":>7} {"per 1000":>8}  95 % interval  time')
    lines = []

    @functools.cache
    def reference(dtype: str, rows: int = ROWS) -> Texts:
        return draw(lms[dtype], rows, size)

    def add(name: str, make, dtype: str, rows: int = ROWS) -> None:
        expected = reference(dtype, rows)
        began = time.perf_counter()
        lines.append(divergence(name, f'{dtype}, {rows} rows', make(), expected, began))

    for dtype in [dtype for dtype in lms if dtype in parts]:
        lm = lms[dtype]
        add(f'{dtype}, {ROWS} rows, order reversed', functools.partial(draw, lm, ROWS, size, backwards=True), dtype)
        for rows in size['rows']:
            add(f'{dtype}, {rows} rows', functools.partial(draw, lm, rows, size), dtype)
        if dtype != 'float32':
            add(f'{dtype}, {ROWS} rows', functools.partial(reference, dtype), 'float32')
    if 'mesh' in parts:
        name, on_mesh = f'float32, {MESH_ROWS} rows, mesh (8, 1)', functools.cache(lambda: draw_on_mesh(size))
        for rows in (MESH_ROWS, ROWS):
            add(name, on_mesh, 'float32', rows)
    return lines


@functools.partial(jax.jit, static_argnames=('config', 'room'))
def _prefill(config, params, tokens_1s: jax.Array, positions_1s: jax.Array, room: int) -> Cache:
    _, cache = forward(config, params, tokens_1s, positions_1s, Cache.empty(config, 1, 1, 0, room, 'float32'))
    assert cache is not None
    return cache


@functools.partial(jax.jit, static_argnames='config')
def _decode(config, params, cache: Cache, tokens_bt: jax.Array) -> jax.Array:
    """The most likely token after each of the given ones, decoded one by one; a negative token is not fed. [b, t]."""

    def step(cache, token_b):
        positions_b = jnp.where(token_b >= 0, cache.next_position(), -1)
        hidden_b1d, cache = forward(config, params, jnp.maximum(token_b, 0)[:, None], positions_b[:, None], cache)
        return cache, jnp.argmax(lm_logits(config, params, hidden_b1d)[:, 0], axis=-1)

    return jax.lax.scan(step, cache, tokens_bt.T)[1].T


def decoded(lm: LanguageModel, prompts: Texts, texts: Texts) -> Texts:
    """What greedy decoding would take at every position of given texts, `ROWS` rows at a time, each with its own prompt."""
    room, most = bucket(max(map(len, prompts))), bucket(max(map(len, texts)))
    install = jax.jit(Cache.install, donate_argnums=0)
    found = []
    for first in range(0, len(texts), ROWS):
        group = list(zip(prompts, texts, strict=True))[first : first + ROWS]
        cache = Cache.empty(lm.config, ROWS, 1, room, most, 'float32')
        fed = np.full((ROWS, most), -1, np.int32)
        for row, (prompt, text) in enumerate(group):
            tokens = np.zeros((1, room), np.int32)
            tokens[0, : len(prompt) - 1] = prompt[:-1]
            positions = np.where(np.arange(room) < len(prompt) - 1, np.arange(room), -1)[None].astype(np.int32)
            cache = install(cache, np.array([row]), _prefill(lm.config, lm.params, tokens, positions, room))
            fed[row, : len(text)] = (prompt[-1], *text[:-1])
        best = np.asarray(_decode(lm.config, lm.params, cache, fed))
        found += [tuple(best[row, : len(text)].tolist()) for row, (_, text) in enumerate(group)]
    return found


def whole(lm: LanguageModel, prompts: Texts, texts: Texts) -> Texts:
    """The most likely token at every position of given texts, from whole-text forwards of one shape."""
    longest = max(len(p) + len(t) for p, t in zip(prompts, texts, strict=True))
    found = []
    for prompt, text in zip(prompts, texts, strict=True):
        padded = [*prompt, *text, *[0] * (longest - len(prompt) - len(text))]
        logits = lm.logits([padded])[0, len(prompt) - 1 : len(prompt) + len(text) - 1]
        found.append(tuple(np.argmax(logits, axis=-1).tolist()))
    return found


def agreement(lms: dict[str, LanguageModel], size: dict[str, Any], dtypes: list[str]) -> list[dict[str, Any]]:
    """The second table."""
    asked = questions(size['greedy'])
    outcomes = Greedy().solve(asked, sampler(lms['float32'], ROWS, size['tokens']), seed=0)
    texts = [outcome.candidates[0].tokens for outcome in outcomes]
    tokenizer = lms['float32'].need_tokenizer()
    prompts = [tuple(PROMPT.encode(tokenizer, question.text)) for question in asked]
    print(f'\n{"most likely token over the greedy text of float32":<56} {"agree":>12}')
    lines = []
    for dtype in dtypes:
        for way, find in (('whole text', whole), (f'token by token, {ROWS} rows', decoded)):
            found = find(lms[dtype], prompts, texts)
            pairs = [a == b for ours, text in zip(found, texts, strict=True) for a, b in zip(ours, text, strict=True)]
            lines.append({'dtype': dtype, 'way': way, 'positions': len(pairs), 'agree': sum(pairs)})
            print(
                f'{dtype + ", " + way:<56} {sum(pairs):>5} of {len(pairs):<5} {100 * sum(pairs) / len(pairs):6.2f} %',
                flush=True,
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='fewer questions, no mesh, float32 rows only: within a minute')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=None, help='some of the settings; all unless --quick')
    parser.add_argument('--json', type=Path, help='write the tables to this file too')
    parser.add_argument('--mesh-worker', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mesh_worker:
        mesh_worker(args.mesh_worker)
        return 0
    full = {'questions': 8, 'tokens': 96, 'rows': [4, 8, 32, 72], 'greedy': 32}
    size = {'questions': 4, 'tokens': 32, 'rows': [8], 'greedy': 16} if args.quick else full
    parts = args.parts or (['float32', 'agreement'] if args.quick else PARTS)
    lms = {dtype: load(MODEL, dtype=dtype) for dtype in ('float32', 'bfloat16')}
    tables = {'divergences': divergences(lms, size, parts)}
    if 'agreement' in parts:
        tables['agreement'] = agreement(lms, size, ['bfloat16'] if args.quick else list(lms))
    if args.json:
        versions = {'jax': jax.__version__, 'device': jax.devices()[0].device_kind, 'cpus': os.cpu_count()}
        args.json.write_text(json.dumps({'size': size, **versions, **tables}, indent=2) + '\n')
    broken = [line['setting'] for line in tables['divergences'] if 'reversed' in line['setting'] and line['divergences']]
    for name in broken:
        print(f'{name}: tokens differ where equality is promised.', file=sys.stderr)
    return bool(broken)


if __name__ == '__main__':
    sys.exit(main())
