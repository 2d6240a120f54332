"""Training speed: tokens a second of a whole step (forward, backward, clipping, AdamW), ours and torch's on the same work.

    python benchmarks/training.py                              # both sizes, torch eager and compiled, 5 interleaved runs
    python benchmarks/training.py --quick                      # ours alone, one run
    python benchmarks/training.py --only 2.6M --peers "torch, eager" --repeats 9 --json FILE.json --markdown FILE.md

Same weights to begin with, same batches, same optimiser, float32, two threads (`peers/training_work.py` has the numbers); the
losses of all contestants must agree, or the run fails. Warm-up steps, in which everybody compiles, are not counted. Runs are
interleaved and a contestant that waits is stopped. The bound is the best float32 rate of matrix products of the same run over
the FLOPs of a step (`jaxreason.core.flops`: three forward passes, attention causal): norms, softmax, optimiser are free in it.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from harness import results, roofline
from harness.contestants import WORKERS, Contestant, ContestantError, own_python
from harness.results import Entry

sys.path.insert(0, str(WORKERS))
import training_work

THREADS = 2
OURS = 'jaxreason'
PEERS = {'torch, eager': {'compile': False}, 'torch, compiled': {'compile': True}}
STEPS = {'2.6M': 10, '30M': 4}  # of a run
WARM_UP = 4
LOAD_LIMIT, RUN_LIMIT = 120.0, 150.0  # seconds
AGREEMENT = 2e-3  # nats: the rounding of some dozen steps
FOLDER = Path(__file__).parents[1] / 'build' / 'peers'


def main() -> None:
    args = _arguments()
    measured, entries = [roofline.measure()], []
    for size in args.only:
        raced = _race(size, args)
        # A shared host is faster in one minute than in another: the bound is measured before and after.
        measured.append(measured[-1] if args.quick else roofline.measure())
        machine = measured[-2].best_of(measured[-1])
        found = [_entry(size, entry, machine) for entry in raced]
        rate = machine.flop_rate('float32') / 1e9
        print(f'{results.text_table(found)}\n   float32 products {rate:,.0f} GFLOP/s', flush=True)
        entries += found
    if args.json:
        content = {
            'date': results.today(),
            'machine': results.machine_facts(),
            'rates': list(map(dataclasses.asdict, measured)),
        }
        args.json.write_text(json.dumps({**content, 'entries': [e.summary() for e in entries]}, indent=1) + '\n', 'utf-8')
    if args.markdown:
        abouts = {size: f'{training_work.SHAPES[size].rows} rows of {training_work.SHAPES[size].length}' for size in args.only}
        facts = results.machine_facts()
        args.markdown.write_text(results.markdown(entries, abouts, facts, _versions(), args.repeats) + '\n', 'utf-8')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='ours alone, one run')
    parser.add_argument('--only', nargs='+', choices=sorted(STEPS), default=sorted(STEPS), metavar='SIZE')
    parser.add_argument('--peers', nargs='*', choices=sorted(PEERS), default=sorted(PEERS), metavar='NAME')
    parser.add_argument('--layers', choices=('unrolled', 'scanned'), default='unrolled', help='ours: model.layers')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--folder', type=Path, default=FOLDER, help='environments of the peers (peers/README.md)')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--markdown', type=Path)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f'--repeats must be at least 1, got {args.repeats}')
    if args.quick:
        args.peers, args.repeats = [], 1
    return args


def _race(size: str, args: argparse.Namespace) -> list[Entry]:
    """Everybody's runs, ours first; rates without a bound yet."""
    started: dict[str, Contestant] = {}
    losses: dict[str, list[float]] = {}
    entries = {name: Entry(name, size, 'float32', 0.0, []) for name in (OURS, *args.peers)}
    try:
        for repeat in range(-1, args.repeats):  # the first warms up
            for name, entry in entries.items():
                if entry.failure:
                    continue
                try:
                    if name not in started:
                        started[name] = _start(name, size, args)
                    steps = WARM_UP if repeat < 0 else STEPS[size]
                    run, lost = started[name].train(steps, training_work.SHAPES[size].tokens, RUN_LIMIT)
                except ContestantError as error:
                    entries[name] = dataclasses.replace(entry, failure=str(error))
                    continue
                losses.setdefault(name, []).extend(lost)
                if repeat >= 0:
                    entry.runs.append(run)
    finally:
        for contestant in started.values():
            contestant.close()
    _check_agreement(size, losses)
    return list(entries.values())


def _start(name: str, size: str, args: argparse.Namespace) -> Contestant:
    if name == OURS:
        worker, python, environment = 'training_jaxreason_worker.py', own_python(), {'JAX_PLATFORMS': 'cpu'}
        settings: dict[str, Any] = {'shape': size, 'layers': args.layers}
    else:
        peer = args.folder / 'transformers' / 'bin' / 'python'
        worker, python, environment = 'training_torch_worker.py', str(peer) if peer.exists() else own_python(), {}
        settings = {'shape': size, 'threads': THREADS, **PEERS[name]}
    contestant = Contestant(name, python, worker, settings, environment)
    contestant.load(LOAD_LIMIT)
    print(f'{size}  {name}: {", ".join(f"{key} {value}" for key, value in contestant.versions.items())}', flush=True)
    _VERSIONS.update(contestant.versions)
    return contestant


_VERSIONS: dict[str, str] = {}


def _versions() -> str:
    return ', '.join(f'{name} {version}' for name, version in _VERSIONS.items())


def _check_agreement(size: str, losses: dict[str, list[float]]) -> None:
    """Says how far the others' losses are from ours; ends the program where they are of another model."""
    if OURS not in losses:
        return
    own = losses.pop(OURS)
    for name, others in losses.items():
        gap = max(abs(x - y) for x, y in zip(own, others, strict=False))
        print(f'{size}  losses of {name} equal ours within {gap:.1e} nats, {others[0]:.4f} .. {others[-1]:.4f}', flush=True)
        if not gap < AGREEMENT:
            raise SystemExit(f'{size}: {name} does not train the same model: losses {others[:3]} against {own[:3]}')


def _entry(size: str, entry: Entry, machine: roofline.Machine) -> Entry:
    """With the tokens a second that products alone would allow."""
    from training_jaxreason_worker import config_of

    from jaxreason.core.flops import training_flops

    shape = training_work.SHAPES[size]
    flops = training_flops(config_of(shape), shape.length) / shape.length
    return dataclasses.replace(entry, bound=machine.flop_rate('float32') / flops)


if __name__ == '__main__':
    main()
