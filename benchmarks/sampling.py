"""Sampling speed: ours and its peers on the same token ids in one run, against what the machine allows.

    python benchmarks/sampling.py --quick                 # ours alone against the roofline, under a minute
    python benchmarks/sampling.py                         # all contestants that are installed (peers/README.md)
    python benchmarks/sampling.py --only b c --peers vllm --repeats 5 --json FILE --figure FILE.png --markdown FILE.md
    python benchmarks/sampling.py --first-token           # from process start to a token, compilation cache warm

SmolLM2-135M-Instruct, prompts of our own, temperature 1, end tokens ignored (`harness/workloads.py` has the numbers). A rate is
generated tokens over the seconds from prompts to the last token, prefill included, loading and compilation excluded: every
contestant does each workload once before it is timed. Runs are interleaved, and a contestant that waits is stopped.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import figure, results, roofline
from harness.contestants import WORKERS, Contestant, ContestantError, Run, own_python
from harness.results import Entry
from harness.workloads import Workload, nano_workload, workloads

MODEL = 'smollm2-135m'
PROMPT = {'system': '', 'instruction': ''}
NANO_PROMPT = {'template': 'raw'}
# Ours: settings of `Sampler` for each workload; dtype and model are those of `load`.
OURS: dict[str, dict[str, Any]] = {
    'a': {'dtype': 'bfloat16', 'num_rows': 1, 'rows_per_slot': 1, 'chunk': 128},
    'b': {'dtype': 'bfloat16', 'num_rows': 16, 'rows_per_slot': 16, 'chunk': 128},
    'c': {'dtype': 'bfloat16', 'num_rows': 64, 'rows_per_slot': 8, 'chunk': 128},
    'd': {'dtype': 'bfloat16', 'num_rows': 8, 'rows_per_slot': 1, 'chunk': 32},
    'e': {'dtype': 'float32', 'num_rows': 128, 'rows_per_slot': 16, 'chunk': 64},
}
FIRST_TOKEN = {'dtype': 'bfloat16', 'num_rows': 16, 'rows_per_slot': 4, 'chunk': 32}
OUR_ENVIRONMENT = {'JAX_PLATFORMS': 'cpu'}
# Each peer's best settings of those that were tried (peers/README.md says which), by what is being compared.
_LLAMA = {'kv_unified': False, 'n_ubatch': 512, 'flash_attn': 1, 'threads': 2, 'prefill': 1}
_VLLM = {'model': 'hugging_face', 'dtype': 'bfloat16', 'enforce_eager': False, 'threads': '0-1'}
_TRANSFORMERS = {'model': 'hugging_face', 'dtype': 'bfloat16', 'threads': 2, 'group': 64}
WORKER = {
    'llama.cpp': 'llama_cpp_worker.py',
    'vllm': 'vllm_worker.py',
    'transformers': 'transformers_worker.py',
    'plain loop': 'plain_loop_worker.py',
}
PEERS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (  # peer, weights, workloads, settings
    ('llama.cpp', 'bfloat16', 'abcd', {**_LLAMA, 'model': 'bf16.gguf'}),
    ('llama.cpp', 'Q4_0', 'abcd', {**_LLAMA, 'model': 'q4_0.gguf'}),
    ('vllm', 'bfloat16', 'abcd', _VLLM),
    ('transformers', 'bfloat16', 'abcd', _TRANSFORMERS),
    ('plain loop', 'float32', 'e', {'dtype': 'float32'}),
)
LOAD_LIMIT, RUN_LIMIT = 300.0, 150.0  # seconds
QUICK_WARM_UP = 4  # tokens a row: enough to compile everything
FOLDER = Path(__file__).parents[1] / 'build' / 'peers'


@dataclasses.dataclass
class Place:
    """A contestant's place in a workload: its process if it started, and what it has done so far."""

    name: str
    weights: str
    contestant: Contestant | None
    runs: list[Run]
    failure: str = ''


def main() -> None:
    args = _arguments()
    if args.first_token:
        return _first_token()
    configs, work = _work(args.only)
    measured = [roofline.measure()]
    print(_machine_lines(measured[0]), flush=True)
    entries: list[Entry] = []
    versions: dict[str, dict[str, str]] = {}
    heads: dict[str, tuple[int, ...]] = {}
    processes: dict[str, Contestant] = {}
    try:
        for workload in work:
            places = _race(workload, args, processes, versions, heads)
            # On a shared host memory is twice as fast in one minute as in another: bounds are measured before and after.
            measured.append(measured[-1] if args.quick else roofline.measure())
            machine = measured[-2].best_of(measured[-1])
            found = [_entry(place, workload, configs[workload.name], machine) for place in places]
            print(f'{results.text_table(found)}\n   reads {machine.read / 1e9:.1f} GB/s', flush=True)
            entries += found
    finally:
        for process in processes.values():
            process.close()
    _tell_agreement(heads)
    _write(args, entries, work, measured, versions, heads)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='ours alone, one run each')
    parser.add_argument('--first-token', action='store_true', help='seconds from process start to the first token')
    parser.add_argument('--only', nargs='+', choices=sorted(OURS), default=sorted(OURS), metavar='LETTER', help='workloads')
    parser.add_argument('--peers', nargs='*', choices=sorted(WORKER), default=sorted(WORKER), metavar='NAME')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--folder', type=Path, default=FOLDER, help='environments and weights of the peers (peers/README.md)')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--figure', type=Path)
    parser.add_argument('--markdown', type=Path)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f'--repeats must be at least 1, got {args.repeats}')
    if args.quick:
        args.peers, args.repeats = [], 1
    return args


def _work(names: Sequence[str]) -> tuple[dict[str, Any], list[Workload]]:
    """The models' configs and the workloads, made with our own tokenizers."""
    sys.path.insert(0, str(WORKERS))
    from nano_model import CHARACTERS, nano_config

    from jaxreason.data.prompts import PromptSpec
    from jaxreason.data.tokenizer import Tokenizer
    from jaxreason.models.fetch import resolve
    from jaxreason.models.folder import open_weights

    weights = open_weights(resolve(MODEL))
    tokenizer, letters = Tokenizer.from_source(weights.tokenizer_source), Tokenizer.from_characters(CHARACTERS)
    assert tokenizer is not None
    made = workloads(lambda text: PromptSpec(**PROMPT).encode(tokenizer, text))
    made['e'] = nano_workload(lambda text: PromptSpec(**NANO_PROMPT).encode(letters, text))
    configs = dict.fromkeys(made, weights.config) | {'e': nano_config('float32', letters.vocab_size)}
    return configs, [made[name] for name in names]


def _race(workload: Workload, args, processes, versions, heads) -> list[Place]:
    """Warms everybody up, then lets them run in turns."""
    places = _line_up(workload, args, processes, versions)
    warm_up = workload.message(QUICK_WARM_UP if args.quick else None)
    for place in places:
        if workload.name == 'a' and not args.quick and (run := _attempt(place, workload.message(), 0, greedy=True)):
            heads[_who(place)] = run.head
        _attempt(place, warm_up, 0)
    for repeat in range(args.repeats):
        for place in places:
            if run := _attempt(place, workload.message(), 1 + repeat):
                place.runs.append(run)
    for key in [key for key, process in processes.items() if any(p.failure and p.contestant is process for p in places)]:
        processes.pop(key).close()
    return places


def _line_up(workload: Workload, args, processes, versions) -> list[Place]:
    """Every contestant of a workload, started unless it runs already with the same settings."""
    own = {'model': 'nano' if workload.name == 'e' else MODEL, 'prompt': NANO_PROMPT if workload.name == 'e' else PROMPT}
    settings = {'stats': (), **own, **OURS[workload.name]}
    wanted = [('jaxreason', settings['dtype'], 'jaxreason_worker.py', own_python(), settings)]
    for peer, weights, names, found in PEERS:
        if peer in args.peers and workload.name in names:
            python = own_python() if peer == 'plain loop' else str(args.folder / peer / 'bin' / 'python')
            files = {'model': str(args.folder / 'weights' / found['model'])} if 'model' in found else {}
            wanted.append((peer, weights, WORKER[peer], python, {**found, **files}))
    for key in [key for key in processes if key not in {f'{peer}, {weights}' for peer, weights, *_ in wanted}]:
        processes.pop(key).close()  # memory for those that follow
    return [_start(processes, versions, *line) for line in wanted]


def _start(processes, versions, peer: str, weights: str, worker: str, python: str, settings) -> Place:
    key, place = f'{peer}, {weights}', Place(peer, weights, None, [])
    running = processes.get(key)
    if running is not None and running.settings == settings:
        place.contestant = running
        return place
    if running is not None:
        processes.pop(key).close()
    try:
        environment = OUR_ENVIRONMENT if python == own_python() else {}
        place.contestant = processes[key] = Contestant(key, python, worker, settings, environment)
        place.contestant.load(LOAD_LIMIT)
        versions[key] = place.contestant.versions
    except ContestantError as error:
        place.failure = str(error)
    return place


def _attempt(place: Place, message, seed: int, greedy: bool = False) -> Run | None:
    """Runs a workload unless the contestant has failed before."""
    if place.contestant is None or place.failure:
        return None
    try:
        return place.contestant.run(message, seed, RUN_LIMIT, greedy)
    except ContestantError as error:
        place.failure = str(error)
        return None


def _who(place: Place) -> str:
    return f'{place.name}, {place.weights}'


def _entry(place: Place, workload: Workload, config, machine: roofline.Machine) -> Entry:
    seconds = roofline.bound_seconds(workload, config, machine, place.weights)
    return Entry(place.name, workload.name, place.weights, workload.new_tokens / seconds, place.runs, place.failure)


def _tell_agreement(heads: dict[str, tuple[int, ...]]) -> None:
    """Whether everybody computes the same model: most likely tokens that equal ours, from the first on."""
    own = heads.get(f'jaxreason, {OURS["a"]["dtype"]}', ())
    for name, head in heads.items():
        same = next((at for at, (x, y) in enumerate(zip(own, head, strict=False)) if x != y), len(own))
        print(f'greedy tokens equal to ours: {same} of {len(own)}  {name}')


def _machine_lines(machine: roofline.Machine) -> str:
    lines = [', '.join(results.machine_facts().values()), f'reads {machine.read / 1e9:.1f} GB/s']
    for dtype, rates in machine.products.items():
        lines.append(f'{dtype} products, GFLOP/s: ' + ', '.join(f'{shape} {rate / 1e9:.0f}' for shape, rate in rates.items()))
    return '\n'.join(lines)


def _write(args, entries: Sequence[Entry], work: Sequence[Workload], measured, versions, heads) -> None:
    facts, abouts = results.machine_facts(), {workload.name: workload.about for workload in work}
    known = {
        name: version for found in versions.values() for name, version in found.items() if name not in ('system', 'threads')
    }
    told = ', '.join(f'{name} {version}' for name, version in known.items())
    if args.json:
        content = {
            'date': results.today(),
            'machine': facts,
            'rates': [dataclasses.asdict(machine) for machine in measured],  # before each workload, and after the last
            'versions': versions,
            'greedy': heads,
            'entries': [entry.summary() for entry in entries],
        }
        args.json.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    if args.figure:
        caption = (
            f'Median of {args.repeats} interleaved runs, whiskers min..max. {facts["processor"]}, {facts["cores"]} cores; '
        )
        figure.save(entries, abouts, f'{caption}{results.today()};\n{told}', args.figure)
    if args.markdown:
        args.markdown.write_text(results.markdown(entries, abouts, facts, told, args.repeats) + '\n', encoding='utf-8')


def _first_token() -> None:
    """Runs a fresh process four times; the first one fills the compilation cache."""
    _, (workload,) = _work(['a'])
    settings = json.dumps({'model': MODEL, 'prompt': PROMPT, 'stats': (), **FIRST_TOKEN})
    times = []
    for _ in range(4):
        began = time.perf_counter()
        command = [sys.executable, str(WORKERS / 'first_token.py'), settings, workload.texts[0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **OUR_ENVIRONMENT}) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            times.append(time.perf_counter() - began)
        if process.returncode or not line:
            raise SystemExit(f'the process that draws a first token ended with code {process.returncode}')
    warm = sorted(times[1:])
    told = f'{statistics.median(warm):.2f} s ({warm[0]:.2f}..{warm[-1]:.2f}) after process start, median of {len(warm)}'
    print(f'first token {told}; {times[0]:.2f} s before the cache was warm')


if __name__ == '__main__':
    main()
