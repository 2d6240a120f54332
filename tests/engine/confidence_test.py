"""Scores of traces against what the paper defines, computed naively."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.types import Question, Row
from jaxreason.engine.confidence import Confidence
from jaxreason.engine.verifier import VERIFIERS
from jaxreason.search.deepconf import DeepConf

MEASURES = ('mean', 'tail', 'bottom', 'lowest')


def row(confidence, step_ends):
    tokens = tuple(range(len(confidence)))
    return Row(
        handle=0, question=Question('q', ''), sample=0, tokens=tokens, step_ends=step_ends, stats={'confidence': confidence}
    )


def naive(values, measure, window):
    """Of a whole trace."""
    if measure == 'mean' or len(values) < window:
        return np.mean(values)
    if measure == 'tail':
        return np.mean(values[-window:])
    means = np.sort([np.mean(values[start : start + window]) for start in range(len(values) - window + 1)])
    return means[0] if measure == 'lowest' else np.mean(means[: max(1, len(means) // 10)])


@st.composite
def traces(draw):
    values = draw(st.lists(st.floats(0, 50, width=32), min_size=1, max_size=60))
    ends = draw(st.sets(st.integers(1, len(values)), min_size=1))
    return tuple(values), tuple(sorted(ends | {len(values)}))


@pytest.mark.parametrize('measure', MEASURES)
@settings(deadline=None, max_examples=150)
@given(trace=traces(), window=st.integers(1, 70))
def test_every_prefix_scores_as_a_trace_that_ends_there(measure, trace, window):
    values, ends = trace
    (scores,), (cost,), carry, _ = Confidence(measure=measure, window=window).score([row(values, ends)], 'kept')
    assert scores == pytest.approx([naive(values[:end], measure, window) for end in ends], rel=1e-9, abs=1e-9)
    assert min(scores) >= 0 and cost.flops == 0 and carry == 'kept'


def test_scores_by_hand():
    values = (4.0, 2.0, 0.0, 6.0)  # windows of two: 3, 1, 3
    found = {
        measure: Confidence(measure=measure, window=2).score([row(values, (1, 3, 4))], None).scores[0] for measure in MEASURES
    }
    assert found == {'mean': (4.0, 2.0, 3.0), 'tail': (4.0, 1.0, 3.0), 'bottom': (4.0, 1.0, 1.0), 'lowest': (4.0, 1.0, 1.0)}


def test_the_lowest_tenth_is_of_windows_and_not_of_tokens():
    values = (9.0,) * 18 + (1.0, 2.0)  # windows of one: of twenty the two lowest
    assert Confidence(measure='bottom', window=1).score([row(values, (19, 20))], None).scores == [(1.0, 1.5)]


def test_a_row_without_text_has_no_scores():
    assert Confidence().score([row((), ())], None).scores == [()]


def test_the_usual_ones_have_the_windows_of_the_paper():
    assert {name: VERIFIERS[f'confidence_{name}'] for name in MEASURES} == {
        m: Confidence(measure=m, window=2048) for m in MEASURES
    }


def test_a_sampler_that_does_not_record_it_is_told_so():
    with pytest.raises(
        ValueError, match="DeepConf: its verifier reads confidence, which is not sampled: add it to the sampler's stats"
    ):
        DeepConf(n=2, verifier=None).check({None: Confidence()}, ('logprob',), UNLIMITED)


@pytest.mark.parametrize(('fields', 'match'), [({'measure': 'least'}, 'measure must be'), ({'window': 0}, 'window must be')])
def test_what_cannot_be_measured_is_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        Confidence(**fields)
