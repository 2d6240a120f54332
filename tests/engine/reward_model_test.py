import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from jaxreason.core.types import Finish, Question, Row
from jaxreason.engine.reward_model import load_verifier
from jaxreason.engine.verifier_presets import BY_ARCHITECTURE, PRESETS

GOLDEN = Path(__file__).parent / 'golden'


def row(question, steps, handle=0, **fields):
    return Row(
        handle=handle,
        question=Question(question, question),
        sample=0,
        text=''.join(steps),
        steps=tuple(steps),
        step_ends=tuple(range(1, len(steps) + 1)),
        tokens=tuple(range(len(steps))),
        **fields,
    )


def cases(preset):
    return [
        (case['question'], case['steps'], case['scores']) for case in json.loads((GOLDEN / preset / 'scores.json').read_text())
    ]


@pytest.fixture(scope='module', params=PRESETS)
def published(request):
    """Each published verifier, tiny, with questions, steps and the scores of its authors' computation."""
    return load_verifier(GOLDEN / request.param, preset=request.param), cases(request.param)


def test_scores_are_those_of_the_authors(published):
    verifier, golden = published
    scored = verifier.score([row(q, steps, handle) for handle, (q, steps, _) in enumerate(golden)], None)
    for found, (_, _, expected) in zip(scored.scores, golden, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert np.ptp(np.concatenate([expected for _, _, expected in golden])) > 0.01  # the comparison means something
