"""Scoring speed: 64 solutions of 512 tokens by a verifier of 135M parameters, against the machine's rate of matrix products.

    python benchmarks/scoring.py                          # both dtypes
    python benchmarks/scoring.py --quick                  # one batch instead of eight, bfloat16
    python benchmarks/scoring.py --dtype float32 --rows 16 --repeats 3 --json FILE.json
    python benchmarks/scoring.py --backbone               # what a head on the policy adds to sampling

The decoder has the shape of SmolLM2-135M and random weights, with a value head; every solution has 16 steps and is scored in
one pass, as `RewardModel.score` does it: text in, step scores out. Compilation is not counted. The rate of matrix products is
XLA's best of several shapes, measured in the same run before and after (`harness/roofline.py`); FLOPs are those of
`jaxreason.core.flops`, padding not among them.

With `--backbone` that decoder samples 16 solutions of one prompt, with and without an action-value head (hidden 128) that is
read at every token, in turns; the overhead is that of the median seconds, scoring included.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from harness import roofline

SOLUTIONS, TOKENS, STEPS = 64, 512, 16
SAMPLES, NEW_TOKENS = 16, 96  # of `--backbone`
CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789 +-*=.\n'


def main() -> None:
    args = _arguments()
    if args.backbone:
        return _backbone(args)
    count = args.rows if args.quick else SOLUTIONS
    before = roofline.measure()
    timed = {dtype: _time(dtype, args.rows, args.repeats, count) for dtype in args.dtype}
    machine = before.best_of(roofline.measure())
    lines = [_line(dtype, found, machine, args, count) for dtype, found in timed.items()]
    for line in lines:
        print(
            f'{line["dtype"]:9} {line["tokens_per_second"]:8,.0f} tokens/s  {line["flops_per_second"] / 1e9:7,.1f} GFLOP/s  '
            f'{100 * line["share_of_products"]:5.1f} % of {line["products_per_second"] / 1e9:,.1f} GFLOP/s  '
            f'(median of {line["repeats"]}: {min(line["seconds"]):.2f} to {max(line["seconds"]):.2f} s)'
        )
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + '\n')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dtype', nargs='+', choices=('float32', 'bfloat16'), default=['bfloat16', 'float32'])
    parser.add_argument('--rows', type=int, default=8, help='of a device batch')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--quick', action='store_true', help='one batch, bfloat16, one run')
    parser.add_argument('--backbone', action='store_true', help='sampling with and without a head on the policy')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    if args.quick:
        args.dtype, args.repeats = ['bfloat16'], 1
    if args.repeats < 1 or args.rows < 1:
        parser.error('--repeats and --rows must be at least 1')
    return args


def _time(dtype: str, num_rows: int, repeats: int, count: int) -> dict[str, Any]:
    """Seconds of each run, and FLOPs of one."""
    verifier = _verifier(dtype, num_rows)
    rows = _rows(count)
    verifier.score(rows[:num_rows], None)  # compiles
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        scored = verifier.score(rows, None)
        seconds.append(time.perf_counter() - began)
    assert all(len(scores) == STEPS for scores in scored.scores), 'every step has a score'
    tokens = sum(cost.scored_tokens for cost in scored.costs)
    assert tokens == TOKENS * count, f'solutions have {TOKENS} tokens'
    return {'seconds': seconds, 'tokens': tokens, 'flops': sum(cost.verify for cost in scored.costs)}


def _verifier(dtype: str, num_rows: int) -> Any:
    import jax

    from jaxreason.core.verifier_spec import Layout, VerifierSpec
    from jaxreason.data.tokenizer import Tokenizer
    from jaxreason.data.verifier_layout import Typesetter
    from jaxreason.engine.reward_model import RewardModel
    from jaxreason.models.transformer import init_parameters, unstack_layers
    from jaxreason.models.value_heads import init_head

    config = _config(dtype)
    spec = VerifierSpec(layout=Layout(form='plain', question='{question}\n', line_breaks='markers'), num_rows=num_rows)
    return RewardModel(
        name='random-135m',
        spec=spec,
        config=config,
        params=unstack_layers(init_parameters(config, jax.random.key(0))),
        head=init_head('value', config, jax.random.key(1)),
        typesetter=Typesetter(spec.layout, spec.boundary, Tokenizer.from_characters(CHARACTERS)),
    )


def _config(dtype: str) -> Any:
    from jaxreason.core.architecture import ModelConfig

    return ModelConfig(
        vocab_size=49152,
        num_layers=30,
        width=576,
        mlp_width=1536,
        num_heads=9,
        num_kv_heads=3,
        head_width=64,
        max_positions=8192,
        rope_theta=100_000.0,
        tied_head=True,
        parameter_dtype=dtype,
        matmul_dtype=dtype,
    )


def _backbone(args: argparse.Namespace) -> None:
    """Times best-of-16 with a head on the policy against the same samples without one."""
    lines = []
    for dtype in args.dtype:
        plain, headed = _samplers(dtype)
        runs: dict[str, list[float]] = {'without': [], 'with': []}
        for _ in range(args.repeats + 1):  # the first compiles
            for name, (sampler, verifier) in {'without': (plain, None), 'with': headed}.items():
                runs[name].append(_best_of(sampler, verifier))
        rates = {name: NEW_TOKENS / statistics.median(seconds[1:]) for name, seconds in runs.items()}
        overhead = rates['without'] / rates['with'] - 1
        print(
            f'{dtype:9} {rates["without"]:6.2f} steps/s without a head, {rates["with"]:6.2f} with: {100 * overhead:+.1f} % '
            f'(median of {args.repeats})'
        )
        lines.append({'dtype': dtype, 'rows': SAMPLES, 'steps_per_second': rates, 'overhead': overhead, 'seconds': runs})
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + '\n')


def _samplers(dtype: str) -> tuple[Any, tuple[Any, Any]]:
    """The policy's sampler without a head; with one, and the verifier that it is."""
    import dataclasses

    import jax

    from jaxreason.core.verifier_spec import Layout, VerifierSpec
    from jaxreason.data.prompts import PromptSpec
    from jaxreason.data.tokenizer import Tokenizer
    from jaxreason.data.verifier_layout import Typesetter
    from jaxreason.engine.backbone_verifier import on_policy
    from jaxreason.engine.language_model import LanguageModel
    from jaxreason.engine.reward_model import RewardModel
    from jaxreason.engine.sampler import Sampler
    from jaxreason.models.transformer import init_parameters, unstack_layers
    from jaxreason.models.value_heads import init_head

    config, tokenizer = _config(dtype), Tokenizer.from_characters(CHARACTERS)
    params = unstack_layers(init_parameters(config, jax.random.key(0)))
    lm = LanguageModel(
        name='random-135m', config=config, params=params, tokenizer=tokenizer, eos_ids=(), mesh=None, digest='random'
    )
    spec = VerifierSpec(head='action_value', boundary='before_marker', layout=Layout(form='plain'))
    verifier = on_policy(
        RewardModel(
            name='head',
            spec=spec,
            config=config,
            params=params,
            head=init_head('action_value', config, jax.random.key(1)),
            typesetter=Typesetter(spec.layout, spec.boundary, tokenizer),
        ),
        lm,
    )
    prompt = PromptSpec(template='raw', step_delimiter='\n')
    plain = Sampler(lm, prompt, max_tokens=NEW_TOKENS, num_rows=SAMPLES, rows_per_slot=SAMPLES)
    return plain, (dataclasses.replace(plain, heads=(verifier,)), verifier)


def _best_of(sampler: Any, verifier: Any) -> float:
    """Seconds of 16 solutions of one question, with their scores where there is a verifier."""
    from jaxreason.search.best_of_n import BestOfN
    from jaxreason.search.majority import Majority

    question = 'what is ' + ' + '.join(str(number) for number in range(10, 30))
    began = time.perf_counter()
    strategy = BestOfN(n=SAMPLES) if verifier is not None else Majority(n=SAMPLES)
    (outcome,) = strategy.solve([question], sampler, verifier)
    assert outcome.cost.new_tokens == SAMPLES * NEW_TOKENS, 'nothing ends a solution'
    return time.perf_counter() - began


def _rows(count: int) -> list[Any]:
    """Finished solutions of `TOKENS` characters each, the question, the beginning and the marker of the last step included."""
    from jaxreason.core.types import Finish, Question, Row

    made = []
    for number in range(count):
        question = f'what is {number:02} + {number:02} * 3'
        size = (TOKENS - len(question) - 2) // STEPS
        first = TOKENS - 2 - len(question) - size * (STEPS - 1)
        steps = tuple(
            (f'{number} = {index} + {number * index} ' * 8)[: (first if index == 0 else size) - 1] + '\n'
            for index in range(STEPS)
        )
        made.append(
            Row(
                handle=number,
                question=Question(str(number), question),
                sample=0,
                text=''.join(steps),
                steps=steps,
                step_ends=tuple(range(1, STEPS + 1)),
                finish=Finish.STOP,
            )
        )
    return made


def _line(dtype: str, found: dict[str, Any], machine: roofline.Machine, args: argparse.Namespace, count: int) -> dict[str, Any]:
    median = statistics.median(found['seconds'])
    rate, products = found['flops'] / median, machine.flop_rate(dtype)
    return {
        'dtype': dtype,
        'solutions': count,
        'tokens': found['tokens'],
        'rows': args.rows,
        'repeats': args.repeats,
        'seconds': found['seconds'],
        'tokens_per_second': found['tokens'] / median,
        'flops_per_second': rate,
        'products_per_second': products,
        'share_of_products': rate / products,
    }


if __name__ == '__main__':
    main()
