"""A verdict follows from an interval, on either side of its bound and on neither."""

import pytest

from jaxreason.analysis.paper_inputs import Bins
from jaxreason.analysis.paper_savings import saving_of, told_saving
from jaxreason.analysis.paper_verdicts import Claim, Verdict, of_all, of_saving, of_sign


def value(point, low, high):
    return {'point': point, 'low': low, 'high': high}


@pytest.mark.parametrize(
    ('low', 'high', 'sign', 'bound', 'verdict'),
    [
        (0.01, 0.05, 1, 0.0, 'agrees'),
        (0.01, 0.05, -1, 0.0, 'disagrees'),
        (-0.05, -0.01, -1, 0.0, 'agrees'),
        (-0.05, -0.01, 1, 0.0, 'disagrees'),
        (-0.01, 0.09, 1, 0.0, 'not told apart'),
        (0.0, 0.09, 1, 0.0, 'not told apart'),  # an end on the bound is not clear of it
        (0.2, 0.3, 1, 0.19, 'agrees'),
        (0.1, 0.3, 1, 0.19, 'not told apart'),
        (None, None, 1, 0.0, 'not told apart'),  # all questions alike: no interval
    ],
)
def test_a_side_of_a_bound(low, high, sign, bound, verdict):
    # Whatever the point is: 0.9 lies above all of these.
    assert of_sign(value(0.9, low, high), sign, bound).value == verdict


def test_nothing_to_judge_is_absent():
    assert of_sign(None, 1) is Verdict.ABSENT
    claim = Claim('search', 'section 5.3', 'beam search is ahead', 'it is')
    assert claim.absent('no beam')[4:] == ('no beam', 'no beam', Verdict.ABSENT)
    assert claim.found('yes', '+1', Verdict.AGREES).paper == 'beam search is ahead'


def test_a_claim_of_several_parts():
    yes, no, open_, absent = Verdict.AGREES, Verdict.DISAGREES, Verdict.UNTOLD, Verdict.ABSENT
    assert of_all([yes, yes]) is of_all([yes, absent]) is yes
    assert of_all([yes, no]) is of_all([open_, no]) is no
    assert of_all([yes, open_]) is open_ and of_all([absent]) is of_all([]) is absent


def saving(point, low, high, censored='', low_censored='', high_censored=''):
    ends = {'censored': censored, 'low_censored': low_censored, 'high_censored': high_censored, 'never_reached': 0.0}
    return {**value(point, low, high), **ends}


def test_a_saving_is_judged_by_its_ends():
    assert of_saving(saving(3.0, 1.2, 4.0)) is Verdict.AGREES
    assert of_saving(saving(9.0, 9.0, 9.0, 'at_least', 'at_least', 'at_least')) is Verdict.AGREES
    assert of_saving(saving(3.0, 0.8, 4.0)) is Verdict.UNTOLD
    assert of_saving(saving(3.0, 1.2, 4.0, low_censored='at_most')) is Verdict.UNTOLD  # it may be none at all
    assert of_saving(saving(0.7, 0.5, 0.9)) is Verdict.DISAGREES
    assert of_saving(saving(0.7, 0.5, 0.9, high_censored='at_least')) is Verdict.UNTOLD


def test_a_saving_that_never_gets_there_is_no_number():
    never = saving(0.9, 0.8, 1.4, 'at_most', 'at_most')
    assert saving_of(never) == {
        **never, 'point': None, 'low': None, 'high': 1.4,
    }  # fmt: skip
    assert told_saving(never) == 'none, since it never gets there (≤0.9x [≤0.8, 1.4])'
    assert told_saving({**saving(2.0, 1.5, 2.5), 'never_reached': 0.2}) == '2.0x [1.5, 2.5], never reached in 20 % of resamples'


def test_bins_know_their_questions():
    bins = Bins(values={'a': 0.9, 'b': 0.5, 'c': 0.4}, cuts=(0.2, 0.6), levels={'a': 1, 'b': 2, 'c': 2})
    assert bins.num_levels == 3 and bins.questions(1, 2) == ['a', 'b', 'c'] and bins.questions(3) == []
    assert bins.mean(2) == 0.45 and bins.mean(3) is None
