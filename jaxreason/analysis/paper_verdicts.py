"""Whether a run agrees with the paper: a verdict follows from intervals by a rule that stands beside it, never from points."""

import enum
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxreason.analysis import tables

Value = Mapping[str, Any]  # `point`, `low`, `high`


class Verdict(enum.StrEnum):
    """What may be said of a finding of the paper."""

    AGREES = 'agrees'
    DISAGREES = 'disagrees'
    UNTOLD = 'not told apart'
    ABSENT = 'not run'


class Finding(NamedTuple):
    """One thing that the paper found, and what became of it here.

    Attributes:
        section: of the page.
        where: the paper tells it.
        paper: what it found, in our words.
        rule: when we agree, and when not.
        ours: what the run shows, with values and intervals.
        short: the value that the verdict rests on, or why there is none.
        verdict: what follows.
    """

    section: str
    where: str
    paper: str
    rule: str
    ours: str
    short: str
    verdict: Verdict


class Claim(NamedTuple):
    """One thing that the paper found, and by which rule a run agrees with it; attributes as of `Finding`."""

    section: str
    where: str
    paper: str
    rule: str

    def found(self, ours: str, short: str, verdict: Verdict) -> Finding:
        """With what a run shows of it."""
        return Finding(*self, ours, short, verdict)

    def absent(self, why: str) -> Finding:
        """With why a run says nothing of it."""
        return Finding(*self, why, why, Verdict.ABSENT)


def clear_of(value: Value | None, bound: float = 0.0) -> int:
    """1 where the whole interval lies above a bound, -1 where it lies below, 0 where it holds it or there is none."""
    if value is None or value['low'] is None or value['high'] is None:
        return 0
    return (value['low'] > bound) - (value['high'] < bound)


def of_sign(value: Value | None, sign: int, bound: float = 0.0) -> Verdict:
    """Agrees where the interval lies on the expected side of a bound, disagrees on the other; absent without a value."""
    if value is None:
        return Verdict.ABSENT
    side = clear_of(value, bound)
    return Verdict.UNTOLD if side == 0 else Verdict.AGREES if side == sign else Verdict.DISAGREES


def of_all(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a claim with several parts: one that disagrees decides; else all must agree."""
    found = [verdict for verdict in verdicts if verdict is not Verdict.ABSENT]
    if not found:
        return Verdict.ABSENT
    if Verdict.DISAGREES in found:
        return Verdict.DISAGREES
    return Verdict.AGREES if set(found) == {Verdict.AGREES} else Verdict.UNTOLD


def of_saving(value: Mapping[str, Any]) -> Verdict:
    """Of a saving as `allocation.saving` tells it: agrees with the low end above 1, disagrees with the high end below."""
    if value['low_censored'] != 'at_most' and value['low'] > 1:
        return Verdict.AGREES
    if value['high_censored'] != 'at_least' and value['high'] < 1:
        return Verdict.DISAGREES
    return Verdict.UNTOLD


def share(value: Value | None) -> str:
    """A share in per cent with its interval."""
    return 'nothing' if value is None else f'{tables.percent(value)} %'


def points(value: Value | None) -> str:
    """A difference in points with its interval."""
    return 'nothing' if value is None else f'{tables.percent(value, "+")} points'
