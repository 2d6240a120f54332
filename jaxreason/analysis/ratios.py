"""Sequential against parallel: the same number of attempts as few long chains or as many short ones, at equal n.

Strategies that choose alike (the same vote, verifier, aggregation and context) are told as one group; what differs within it is
the ratio of a chain's length to the number of chains. Length 1 is the control: the same model sampled in parallel. Independent
samples with the same vote are the very draws of first attempts, so `majority` and `best_of_n` stand in for it where a run has
them instead.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.2, figure 7, appendix O.
"""

import collections
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.analysis.rows import Group, Row, accuracies, gain_over, group_of, grouped, mean_cost, table
from jaxreason.core.config import build
from jaxreason.core.records import Record
from jaxreason.core.stats import bootstrap_mean, interval
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.majority import Majority
from jaxreason.search.revision import Revision
from jaxreason.search.select import Vote

NUM_RESAMPLES = 2_000  # of the differences, and of a level of difficulty

Groups = Mapping[Group, Sequence[Record]]


class _Kind(NamedTuple):
    """What strategies must share to be compared."""

    vote: str
    verifier: str | None
    agg_strategy: str | None
    context: int | None
    budget: tuple[tuple[str, int], ...]


class _Place(NamedTuple):
    """Where a strategy stands at some n."""

    n: int
    length: int
    chains: int
    group: Group

    @property
    def ratio(self) -> str:
        """Length to chains in lowest terms."""
        common = math.gcd(self.length, self.chains)
        return f'{self.length // common}:{self.chains // common}'


def revisions_of(strategies: Mapping[str, Any]) -> dict[str, Revision]:
    """The strategies of a configuration that revise, by label.

    Raises:
        ConfigError: one of them is not what this version writes.
    """
    return {label: each for label, each in _known(strategies).items() if isinstance(each, Revision)}


def by_ratio(
    records: Sequence[Record],
    rows: Sequence[Row],
    strategies: Mapping[str, Any],
    levels: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """Compares the ratios of a run.

    Args:
        records: of the run.
        rows: the rows of its table.
        strategies: of its configuration, by label.
        levels: difficulty of every question, 1 the easiest; None where it is not known.

    Returns:
        A dict of JSON values a group: `vote`, `verifier`, `agg_strategy`, `context`, `budget`; `rows`, one an n and ratio, with
        `strategy`, `n`, `length`, `chains`, `ratio` (as `1:4`), `accuracy`, `over_parallel` (paired difference to length 1 at
        the same n; None for itself and where there is none) and `flops`; `best`, one an n with several ratios: the `ratio` of
        the largest accuracy with its `length`, `chains`, `accuracy` and `over_parallel`, and `also`, the ratios whose paired
        difference to it has an interval that includes 0 (or has none); and `by_difficulty`: of every level `level`,
        `num_questions`, and such `rows` and `best`. The best is found on the same questions, a little in its favour.
    """
    groups = grouped(records)
    by_group = {group_of(row): row for row in rows}
    return [
        {
            **kind._asdict(),
            'budget': dict(kind.budget),
            **_compared(places, groups, by_group),
            'by_difficulty': _by_level(places, groups, levels or {}),
        }
        for kind, places in _places(groups, strategies).items()
    ]


def compare_verifiers(records: Sequence[Record], strategies: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compares verifiers that chose in the same way from the very same attempts.

    Returns:
        JSON values, a row a pair of groups and ratio: `strategy` and `other` (labels, the first one configured first), `n`,
        `length`, `chains`, `ratio`, and `difference` (paired by question).
    """
    groups = grouped(records)
    found: dict[tuple, list[_Place]] = collections.defaultdict(list)
    for kind, places in _places(groups, strategies).items():
        for place in places:
            if kind.verifier is not None and place.n > 1:
                found[kind.vote, kind.context, kind.budget, place[:3]].append(place)
    return [
        {
            'strategy': first.group.strategy,
            'other': second.group.strategy,
            **{name: getattr(first, name) for name in ('n', 'length', 'chains', 'ratio')},
            'difference': _over(first, second.group.strategy, groups),
        }
        for places in found.values()
        for first, second in itertools.combinations(places, 2)
    ]


def _known(strategies: Mapping[str, Any]) -> dict[str, Revision | Majority | BestOfN]:
    """The strategies that can have a place, by label."""
    classes: dict[str, type[Revision | Majority | BestOfN]] = {'revision': Revision, 'majority': Majority, 'best_of_n': BestOfN}
    found = {}
    for label, told in strategies.items():
        if isinstance(told, dict) and told.get('kind') in classes:
            fields = {name: value for name, value in told.items() if name != 'kind'}
            found[label] = build(classes[told['kind']], fields, f'strategies.{label}')
    return found


def _places(groups: Groups, strategies: Mapping[str, Any]) -> dict[_Kind, list[_Place]]:
    """The groups that revise, each from the most parallel ratio on; of equal places the one that was configured first."""
    found: dict[_Kind, dict[tuple[int, int, int], _Place]] = collections.defaultdict(dict)
    samples: dict[_Kind, list[_Place]] = collections.defaultdict(list)
    for label, strategy in _known(strategies).items():
        for group in (group for group in groups if group.strategy == label):
            kind = _kind(strategy, group)
            if isinstance(strategy, Revision):
                asked = strategy.at(group.n)
                place = _Place(group.n, asked.length, asked.chains, group)
                found[kind].setdefault(place[:3], place)
            else:
                samples[kind].append(_Place(group.n, 1, group.n, group))
    for kind, places in found.items():
        for place in samples.get(kind._replace(context=None), ()):
            places.setdefault(place[:3], place)
    return {kind: [places[key] for key in sorted(places)] for kind, places in found.items()}


def _kind(strategy: Revision | Majority | BestOfN, group: Group) -> _Kind:
    context = strategy.context if isinstance(strategy, Revision) else None
    if isinstance(strategy, Majority) or strategy.vote is Vote.MAJORITY:
        return _Kind(Vote.MAJORITY.value, None, None, context, group.budget)
    return _Kind(strategy.vote.value, strategy.verifier, strategy.agg_strategy.value, context, group.budget)


def _compared(places: Sequence[_Place], groups: Groups, by_group: Mapping[Group, Row]) -> dict[str, Any]:
    parallel = {place.n: place.group.strategy for place in places if place.length == 1}
    rows = [
        {
            'strategy': place.group.strategy,
            'n': place.n,
            'length': place.length,
            'chains': place.chains,
            'ratio': place.ratio,
            'accuracy': by_group[place.group]['accuracy'],
            'over_parallel': _over(place, parallel.get(place.n), groups),
            'flops': by_group[place.group]['flops']['total'],
        }
        for place in places
    ]
    numbers = [n for n, count in collections.Counter(place.n for place in places).items() if count > 1]
    return {'rows': rows, 'best': [_best(n, places, rows, groups) for n in sorted(numbers)]}


def _best(n: int, places: Sequence[_Place], rows: Sequence[Row], groups: Groups) -> dict[str, Any]:
    """The most accurate ratio at an n, of equal ones the most parallel, and those that cannot be told from it."""
    here = [(place, row) for place, row in zip(places, rows, strict=True) if place.n == n]
    best, best_row = max(here, key=lambda pair: pair[1]['accuracy']['point'])
    also = []
    for place, row in here:
        difference = _over(place, best.group.strategy, groups)
        if difference is not None and (difference['high'] is None or difference['high'] >= 0):
            also.append(row['ratio'])
    return {**{name: best_row[name] for name in ('n', 'ratio', 'length', 'chains', 'accuracy', 'over_parallel')}, 'also': also}


def _over(place: _Place, other: str | None, groups: Groups) -> dict[str, Any] | None:
    """The paired difference to another strategy at the same n; None to itself or to none."""
    return gain_over(place.group, groups, other, NUM_RESAMPLES)


def _by_level(places: Sequence[_Place], groups: Groups, levels: Mapping[str, int]) -> list[dict[str, Any]]:
    made = []
    for level in sorted(set(levels.values())):
        inside = {p.group: [r for r in groups[p.group] if levels.get(r.question_id) == level] for p in places}
        inside = {group: records for group, records in inside.items() if records}
        if inside:
            by_group = {
                group: {
                    'accuracy': interval(bootstrap_mean(table(accuracies(records)), NUM_RESAMPLES)),
                    'flops': mean_cost(records, {'total': 'flops'}),
                }
                for group, records in inside.items()
            }
            num_questions = len({record.question_id for records in inside.values() for record in records})
            there = [place for place in places if place.group in inside]
            made.append({'level': level, 'num_questions': num_questions, **_compared(there, inside, by_group)})
    return made
