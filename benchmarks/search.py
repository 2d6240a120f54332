"""Search speed: beam search against best-of-n, wall seconds for each generated token, on one policy in one run.

    python benchmarks/search.py                                        # random policy of 31 M parameters, 64 questions, n = 16
    python benchmarks/search.py --policy smollm2-135m --max-tokens 96 --repeats 1
    python benchmarks/search.py --policy runs/sft_nano --json FILE.json
    python benchmarks/search.py --policy runs/sft_nano --verifier runs/prm_nano --n 64

Both methods draw from the same sampler for the same questions, in turns; each answers a quarter of them before it is timed. A
generated token is one that somebody paid for, kept or pruned. The verifier is the mean log-probability, which takes no model,
unless one is named; the seconds inside its `score` are shown apart and not counted. Rows in use are tokens over decode steps
times rows: what is missing there is padding, rows that have ended or wait for the slowest row of their step.

Measured on 2 quiet CPU cores, beam over best-of-n, seconds for each token: random policy 1.45x (1.44..1.47, 2 pairs; 424
against 289 microseconds, 50 against 75 % of rows in use), SmolLM2-135M in bfloat16, 64 tokens, 1.25x (1 pair; 81 against 98 %),
nano 2.44x (2.18..3.55, 5 pairs): there 33 against 14 microseconds are mostly the host's work for a pause every third token.

The random policy has the shape of a small Llama. It has learned no steps, so its vocabulary is made such that steps happen: its
distribution is almost uniform, one token in 12 ends with the step delimiter, and one in 64 ends the solution. So a step has 12
tokens in the mean, a solution 5 steps, both with the spread of a geometric distribution, which is harder on a beam, whose rows
wait for the slowest of their step, than text of a trained policy. Other policies are asked chains of sums (a folder, as nano)
or word problems (a preset), in their own prompt format.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

from harness import results

QUESTIONS, SAMPLES, BEAM_WIDTH, MAX_TOKENS = 64, 16, 4, 128
VOCAB_SIZE, STEP_EVERY, END_EVERY = 8192, 12, 64  # of the random policy
WARM_UP = 4  # of so many questions one is answered before anything is timed
SUMS, WORDS = 'nano_sloppy:1-8', 'word:2-4'
SYLLABLES = 'aeiou', 'bcdfghjklmnprstvwz'
CHARACTERS = ''.join(map(chr, range(32, 127))) + '\n'
METHODS = ('best_of_n', 'beam_search')


@dataclasses.dataclass
class Measured:
    """One run of one method."""

    method: str
    seconds: float  # all of it
    scoring: float  # within the verifier
    tokens: int
    timing: dict[str, Any]

    @property
    def microseconds_per_token(self) -> float:
        """The verifier's apart."""
        return 1e6 * (self.seconds - self.scoring) / self.tokens

    @property
    def in_use(self) -> float:
        """Share of the rows' decode steps that drew a token for somebody."""
        return self.timing['tokens'] / self.timing['row_steps']


def main() -> None:
    args = _arguments()
    sampler, questions = _work(args)
    runs: list[Measured] = []
    for method in METHODS:  # compiles
        _run(method, sampler, questions[: max(1, len(questions) // WARM_UP)], args, seed=args.repeats)
    for repeat in range(args.repeats):
        for method in METHODS:
            runs.append(_run(method, sampler, questions, args, seed=repeat))
            print(_line(runs[-1]), flush=True)
    ratios = [_of(runs, 'beam_search')[at] / _of(runs, 'best_of_n')[at] for at in range(args.repeats)]
    told = f'{min(ratios):.2f}..{max(ratios):.2f}'
    print(
        f'beam search takes {statistics.median(ratios):.2f}x ({told}) the seconds for each generated token, {len(ratios)} pairs'
    )
    if args.json:
        args.json.write_text(json.dumps(_content(args, runs, ratios), indent=1) + '\n', encoding='utf-8')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--policy', default='random', help='random, a preset, or the folder of a training run')
    parser.add_argument('--verifier', help='folder of a trained verifier; the mean log-probability where none is given')
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    parser.add_argument('--questions', type=int, default=QUESTIONS)
    parser.add_argument('--n', type=int, default=SAMPLES)
    parser.add_argument('--beam-width', type=int, default=BEAM_WIDTH)
    parser.add_argument('--max-tokens', type=int, default=MAX_TOKENS)
    parser.add_argument('--rows-per-slot', type=int, default=4, help='setting of the sampler')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    for name in ('questions', 'n', 'beam_width', 'max_tokens', 'rows_per_slot', 'repeats'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {getattr(args, name)}')
    return args


def _work(args: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The sampler and the questions."""
    from jaxreason.cli.runtime import start_jax

    start_jax()
    from jaxreason.data.datasets import load_problems
    from jaxreason.data.prompts import PromptSpec
    from jaxreason.engine.language_model import load
    from jaxreason.engine.sampler import Sampler

    if args.policy == 'random':
        lm, kind, prompt = random_policy(args.dtype), WORDS, PromptSpec(template='raw', step_delimiter='\n')
    elif Path(args.policy).is_dir():
        lm, kind = load(args.policy, dtype=args.dtype), SUMS
        prompt = PromptSpec(template='raw', step_delimiter='\n', answer_format='last_line')
    else:
        lm, kind, prompt = load(args.policy, dtype=args.dtype), WORDS, PromptSpec()
    problems = load_problems(f'procedural:{kind}', split='test', limit=args.questions)
    settings = {'max_tokens': args.max_tokens, 'temperature': 1.0, 'stats': ('logprob',), 'rows_per_slot': args.rows_per_slot}
    sampler = Sampler(lm, prompt=prompt, **settings)
    return sampler, [problem.question for problem in problems]


def random_policy(dtype: str) -> Any:
    """A Llama of 31 M parameters, its weights drawn from seed 0, whose words end steps and solutions often enough."""
    import jax

    from jaxreason.core.architecture import ModelConfig
    from jaxreason.engine.language_model import LanguageModel
    from jaxreason.models.transformer import init_parameters, unstack_layers

    config = ModelConfig(
        vocab_size=VOCAB_SIZE,
        num_layers=9,
        width=512,
        mlp_width=1408,
        num_heads=8,
        num_kv_heads=4,
        head_width=64,
        max_positions=2048,
        tied_head=True,
        parameter_dtype=dtype,
        matmul_dtype=dtype,
    )
    params = unstack_layers(init_parameters(config, jax.random.key(0)))
    tokenizer = syllable_tokenizer()
    return LanguageModel(
        name='random', config=config, params=params, tokenizer=tokenizer, eos_ids=tokenizer.eos_ids, mesh=None, digest='random'
    )


def syllable_tokenizer() -> Any:
    """A vocabulary that writes prompts by letters; of its other tokens, syllables, some end a step and some the solution."""
    from jaxreason.data.character_tokenizer import define
    from jaxreason.data.tokenizer import Tokenizer

    letters = define(CHARACTERS)
    vowels, consonants = SYLLABLES
    pieces = list(letters.pieces)
    for index in range(len(pieces), VOCAB_SIZE):
        first, second = consonants[index % len(consonants)], vowels[index // len(consonants) % len(vowels)]
        pieces.append(f'{first}{second}{chr(10) if index % STEP_EVERY == 0 else " "}'.encode())
    ends = tuple(range(len(letters.pieces), VOCAB_SIZE, END_EVERY))
    return Tokenizer(dataclasses.replace(letters, pieces=tuple(pieces), eos_ids=(*letters.eos_ids, *ends)))


class Clocked:
    """A verifier, and the seconds that its scoring took."""

    def __init__(self, verifier: Any):
        self.verifier = verifier
        self.seconds = 0.0

    @property
    def stats(self) -> frozenset[str]:
        return self.verifier.stats

    def price(self, row: Any, num_tokens: int) -> int:
        return self.verifier.price(row, num_tokens)

    def score(self, rows: Any, carry: Any) -> Any:
        began = time.perf_counter()
        scored = self.verifier.score(rows, carry)
        self.seconds += time.perf_counter() - began
        return scored


def _run(method: str, sampler: Any, questions: list[Any], args: argparse.Namespace, seed: int) -> Measured:
    """All questions by one method, in a session of its own."""
    from jaxreason.core.budget import UNLIMITED
    from jaxreason.search.beam_search import BeamSearch
    from jaxreason.search.best_of_n import BestOfN
    from jaxreason.search.drive import Task, drive

    strategy = BestOfN(n=args.n) if method == 'best_of_n' else BeamSearch(n=args.n, beam_width=min(args.beam_width, args.n))
    tasks = [Task(each, strategy.search(each, UNLIMITED), UNLIMITED, seed, args.n) for each in questions]
    verifier, session = Clocked(_verifier(args)), sampler.session()
    began = time.perf_counter()
    outcomes = [outcome for _, outcome in drive(tasks, session, {None: verifier})]
    seconds = time.perf_counter() - began
    tokens = sum(outcome.cost.new_tokens for outcome in outcomes)
    return Measured(method, seconds, verifier.seconds, tokens, dataclasses.asdict(session.timing))


_VERIFIERS: dict[str, Any] = {}


def _verifier(args: argparse.Namespace) -> Any:
    from jaxreason.engine.verifier import MeanLogprob
    from jaxreason.engine.verifier_loading import load_verifier

    if args.verifier is None:
        return MeanLogprob()
    if args.verifier not in _VERIFIERS:
        _VERIFIERS[args.verifier] = load_verifier(args.verifier)
    return _VERIFIERS[args.verifier]


def _line(run: Measured) -> str:
    timing = run.timing
    return (
        f'{run.method:12} {run.microseconds_per_token:8.1f} us/token  {run.tokens:8,} tokens in {run.seconds:6.2f} s, '
        f'{run.scoring:.2f} of them scoring; {timing["chunks"]:,} pumps, {timing["steps"]:,} steps, '
        f'{100 * run.in_use:.0f} % of rows in use, {timing["copied"]:,} rows copied, device {timing["seconds"]:.2f} s'
    )


def _of(runs: list[Measured], method: str) -> list[float]:
    return [run.microseconds_per_token for run in runs if run.method == method]


def _content(args: argparse.Namespace, runs: list[Measured], ratios: list[float]) -> dict[str, Any]:
    asked = {name: value if isinstance(value, int) else str(value) for name, value in vars(args).items() if name != 'json'}
    told = [
        {**dataclasses.asdict(run), 'microseconds_per_token': run.microseconds_per_token, 'in_use': run.in_use} for run in runs
    ]
    return {'date': results.today(), 'machine': results.machine_facts(), 'asked': asked, 'runs': told, 'ratios': ratios}


if __name__ == '__main__':
    main()
