import math

import pytest

from jaxreason.core.types import Question, Row
from jaxreason.engine.verifier import MeanLogprob, SelfCertainty


def row(**stats):
    return Row(handle=0, question=Question('q', ''), sample=0, tokens=(5, 6, 7, 8), step_ends=(1, 3, 4), stats=stats)


def test_mean_logprob_is_the_geometric_mean_of_the_prefix():
    scores, costs, carry, _ = MeanLogprob().score([row(logprob=(-1.0, -2.0, -3.0, -6.0))], 'kept')
    assert scores == [pytest.approx((math.exp(-1), math.exp(-2), math.exp(-3)))]
    assert costs[0].flops == 0 and carry == 'kept'


def test_self_certainty_is_the_mean_of_the_prefix_and_never_negative():
    scores, *_ = SelfCertainty().score([row(self_certainty=(2.0, 4.0, 0.0, 2.0)), row(self_certainty=(-1e-7,) * 4)], None)
    assert scores[0] == pytest.approx((2.0, 2.0, 2.0)) and scores[1] == (0.0, 0.0, 0.0)


def test_a_row_without_text_has_no_scores():
    empty = Row(handle=0, question=Question('q', ''), sample=0, stats={'logprob': ()})
    assert MeanLogprob().score([empty], None).scores == [()]
