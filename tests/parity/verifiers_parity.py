"""Published process reward models against transformers and torch, on fresh random weights.

    python -m pytest tests/parity/verifiers_parity.py -s

Needs the extra `parity`. The whole path, from question and steps to scores, of every preset with two seeds; the other side is
`tests/engine/make_golden_verifiers.py`, which shares no code with the package. Prints the largest difference of each.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxreason.core.types import Question, Row
from jaxreason.engine.verifier_loading import load_verifier
from jaxreason.engine.verifier_presets import PRESETS

pytest.importorskip('torch')
pytest.importorskip('transformers')

_spec = importlib.util.spec_from_file_location(
    'make_golden_verifiers', Path(__file__).parents[1] / 'engine' / 'make_golden_verifiers.py'
)
assert _spec is not None and _spec.loader is not None
make_golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_golden)

LIMIT = 1e-4
TABLE: dict[tuple[str, int], tuple[float, float]] = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    print(f'\n{"verifier":<24}{"seed":>6}{"one pass":>12}{"step by step":>14}')
    for (preset, seed), (whole, grown) in TABLE.items():
        print(f'{preset:<24}{seed:>6}{whole:>12.1e}{grown:>14.1e}')


def row(handle, question, steps):
    ends = tuple(range(1, len(steps) + 1))
    return Row(
        handle=handle, question=Question(question, question), sample=0, steps=tuple(steps), step_ends=ends, text=''.join(steps)
    )


@pytest.mark.parametrize('seed', [101, 102])
@pytest.mark.parametrize('preset', PRESETS)
def test_scores(preset, seed, tmp_path):
    expected = make_golden.write(preset, tmp_path / preset, seed)
    verifier = load_verifier(tmp_path / preset, preset=preset)
    solutions = make_golden.SOLUTIONS
    whole = verifier.score([row(index, *solution) for index, solution in enumerate(solutions)], None).scores
    carry, grown = None, [()] * len(solutions)
    for count in range(1, 1 + max(len(steps) for _, steps in solutions)):
        longer = [(index, question, steps[:count]) for index, (question, steps) in enumerate(solutions)]
        scores, _, carry, _ = verifier.score([row(*one) for one in longer], carry)
        grown = scores
    differences = tuple(
        float(max(np.abs(np.subtract(a, b)).max() for a, b in zip(found, expected, strict=True))) for found in (whole, grown)
    )
    TABLE[preset, seed] = differences
    assert max(differences) <= LIMIT
