"""`match`: a small model with search against a larger one at equal FLOPs, in numbers.

The curves of the small model (`match_sides`) meet the larger model's greedy answer and its votes, under every convention and R,
within every bin and over all questions.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.allocation.difficulty import NUM_BINS
from jaxreason.analysis.match_inputs import Inputs
from jaxreason.analysis.match_sides import CHARGED, COMPUTE_OPTIMAL, GREEDY, large_rivals, small_curves
from jaxreason.core.stats import rounded
from jaxreason.evaluate.match_config import MatchConfig
from jaxreason.evaluate.matched import (
    Accuracies,
    BreakEven,
    Convention,
    Curve,
    Parity,
    Rival,
    Terms,
    accuracies,
    break_even,
    difference,
    paid,
    paper_terms,
    relative_gain,
    spent_terms,
)

GROUPS = {  # levels of each, in the order to show; the paper's figure 1 tells three
    'easy': (1, 2),
    'medium': (3,),
    'hard': (4, 5),
    **{str(level): (level,) for level in range(1, NUM_BINS + 1)},
    'all': tuple(range(1, NUM_BINS + 1)),
}
COARSE = ('easy', 'medium', 'hard')
# Relative gain in per cent by R, revisions, from the paper's figure 1.
PAPER = {0.16: (21.6, 27.8, 11.8), 0.79: (16.7, 3.5, -11.9), 22.0: (5.4, -24.3, -37.2)}

_SAME_TOKENS = 0.02  # relative
_FEW = 30  # questions

Table = dict[str, Any]


def match(config: MatchConfig, inputs: Inputs) -> Table:
    """Compares both sides.

    Args:
        config: what was asked.
        inputs: what was read.

    Returns:
        JSON values. `duel.<convention>.<R>.<group>`: compute-optimal against the larger model's greedy answer: relative `gain`
        in per cent with `gain_low` and `gain_high`, difference in percentage `points` with `low` and `high`, accuracies
        `small` and `large`, `k` (solutions, or FLOPs, that the money buys) and `n` (solutions of the small model, at most k).
        `rows`: the same of every curve against every way in which the larger model answers. `break_even`, `curves`, `paper`
        (signs next to the paper's), and what all of it rests on.

    Raises:
        RunError: the small run lacks a strategy to choose, or samples that an estimate looks at.
        ConfigError: there are more folds than questions.
    """
    small, large = small_curves(config, inputs), large_rivals(config, inputs)
    inside = np.array([np.isin(inputs.levels, levels) for levels in GROUPS.values()])
    found = accuracies(inside, small, large, config.resamples, config.seed)
    deals = _deals(config, inputs, large)
    rows = [row for deal in deals for row in _rows(deal, small, large, found)]
    duel = _duel(rows)
    return {
        **_basis(config, inputs, found),
        'duel': duel,
        'paper': _beside_paper(duel),
        'rows': rows,
        'break_even': list(_break_evens(config, inputs, small, large, found)),
        'curves': _curves(small, found),
        'rivals': _rivals(large, found),
        'notes': _notes(config, inputs, small, rows),
    }


def to_text(table: Table) -> str:
    """The text of `match.json`: the same bytes for the same numbers."""
    return json.dumps(table, sort_keys=True, indent=1, allow_nan=False) + '\n'


# What the money buys.


class _Deal(NamedTuple):
    """One convention at one R against one way in which the larger model answers."""

    convention: Convention
    ratio: float
    rival: str
    terms: Terms


def _deals(config: MatchConfig, inputs: Inputs, large: Mapping[str, Rival]) -> list[_Deal]:
    return [
        _Deal(convention, ratio / 2 if convention == Convention.ICLR else ratio, name, _terms(convention, inputs, rival))
        for convention in config.conventions
        for ratio in config.ratios
        for name, rival in large.items()
    ]


def _terms(convention: Convention, inputs: Inputs, rival: Rival) -> Terms:
    if convention != Convention.SPENT:
        return paper_terms(inputs.size_ratio, convention, rival.samples)
    return spent_terms(
        small_training=inputs.small.training_flops,
        large_training=inputs.large.training_flops,
        large_flops=float(rival.flops.mean()),
        tokens_per_answer=inputs.large.tokens,
        training_tokens=inputs.large.training[0].tokens,
    )


def _costs(convention: Convention, curve: Curve) -> list[float]:
    """Of every budget, in the unit of the convention: FLOPs a question, the mean over all, or solutions."""
    return curve.flops.mean(axis=(1, 2)).tolist() if convention == Convention.SPENT else [float(n) for n in curve.budgets]


def _rows(deal: _Deal, small: Mapping[str, Curve], large: Mapping[str, Rival], found: Accuracies) -> list[Table]:
    """One deal, of every curve in every group."""
    budget = deal.terms.budget(deal.ratio)
    theirs = found.rivals[deal.rival]
    rows = []
    for name, curve in small.items():
        place = paid(_costs(deal.convention, curve), budget)
        for index, group in enumerate(GROUPS):
            row: Table = {
                'convention': deal.convention.value,
                'ratio': deal.ratio,
                'rival': deal.rival,
                'curve': name,
                'group': group,
                'num_questions': found.num_questions[index],
                'k': rounded(budget),
                'n': None if place is None else curve.budgets[place],
                'small_flops': None if place is None else rounded(curve.flops[place].mean()),
                'large_flops': rounded(large[deal.rival].flops.mean()),
                'large': _number(theirs[0, index]),
                **dict.fromkeys(('small', 'points', 'low', 'high', 'gain', 'gain_low', 'gain_high')),
            }
            if place is not None:
                ours = found.curves[name][:, index, place]
                row['small'] = _number(ours[0])
                row['points'], row['low'], row['high'] = difference(ours, theirs[:, index])
                row['gain'], row['gain_low'], row['gain_high'] = relative_gain(ours, theirs[:, index])
            rows.append(row)
    return rows


_SHORT = ('gain', 'gain_low', 'gain_high', 'points', 'low', 'high', 'small', 'large', 'k', 'n')


def _duel(rows: Sequence[Table]) -> Table:
    """Compute-optimal against greedy, by convention, R and group."""
    found: Table = {}
    for row in rows:
        if row['curve'] == COMPUTE_OPTIMAL and row['rival'] == GREEDY:
            by_ratio = found.setdefault(row['convention'], {})
            by_ratio.setdefault(f'{row["ratio"]:g}', {})[row['group']] = {name: row[name] for name in _SHORT}
    return found


def _beside_paper(duel: Table) -> list[Table]:
    """Cells that the paper has too: its relative gain, ours, and whether the signs agree."""
    cells = []
    for convention, by_ratio in duel.items():
        for ratio, groups in by_ratio.items():
            told = PAPER.get(float(ratio) * (2 if convention == Convention.ICLR else 1))
            for name, theirs in zip(COARSE, told or (), strict=bool(told)):
                ours = groups[name]
                cells.append(
                    {
                        'convention': convention,
                        'ratio': float(ratio),
                        'group': name,
                        'paper': theirs,
                        'gain': ours['gain'],
                        'sign': _sign(ours),
                        'agrees': None if _sign(ours) in ('0', '') else (_sign(ours) == '+') == (theirs > 0),
                    }
                )
    return cells


def _sign(row: Mapping[str, Any]) -> str:
    """`+` or `-` where the interval is clear of zero, `0` where it is not, nothing where there is no number."""
    if row['points'] is None:
        return ''
    low, high = (row['points'] if row[name] is None else row[name] for name in ('low', 'high'))
    return '+' if low > 0 else '-' if high < 0 else '0'


def _break_evens(
    config: MatchConfig, inputs: Inputs, small: Mapping[str, Curve], large: Mapping[str, Rival], found: Accuracies
) -> Iterator[Table]:
    """The R up to which the small model is at least as good, of every curve in every group."""
    for convention in config.conventions:
        for rival_name, rival in large.items():
            terms = _terms(convention, inputs, rival)
            for name, curve in small.items():
                costs = np.array(_costs(convention, curve))
                order = np.argsort(costs, kind='stable')
                for index, group in enumerate(GROUPS):
                    ours, theirs = found.curves[name][:, index][:, order], found.rivals[rival_name][:, index]
                    even = break_even(costs[order].tolist(), ours, theirs, terms)
                    yield {
                        'convention': convention.value,
                        'rival': rival_name,
                        'curve': name,
                        'group': group,
                        **(dict.fromkeys(('ratio', 'low', 'high', 'always', 'never')) if even is None else _told(even)),
                    }


def _told(even: BreakEven) -> Table:
    """A number, or the word that stands for one."""

    def parity(value: Parity) -> Any:
        if value.ratio is None:
            return value.censored
        return value.ratio if not value.censored else f'{value.censored} {value.ratio:g}'

    return {
        'ratio': parity(even.point),
        'low': parity(even.low),
        'high': parity(even.high),
        'always': even.always,
        'never': even.never,
    }


# What it rests on.


def _basis(config: MatchConfig, inputs: Inputs, found: Accuracies) -> Table:
    sides = {}
    for word, side in (('small', inputs.small), ('large', inputs.large)):
        sides[word] = {
            'run': side.name,
            'model': side.model,
            'commit': side.commit,
            'training': [cost._asdict() for cost in side.training],
            'training_flops': side.training_flops,
        }
    return {
        **sides,
        'size_ratio': rounded(inputs.size_ratio),
        'num_questions': len(inputs.small.cells.questions),
        'seeds': list(inputs.small.cells.seeds),
        'folds': config.folds,
        'resamples': config.resamples,
        'groups': {
            name: {
                'levels': list(levels),
                'num_questions': number,
                'pass_rate': _number(_mean(inputs.rates[np.isin(inputs.levels, levels)])),
            }
            for (name, levels), number in zip(GROUPS.items(), found.num_questions, strict=True)
        },
        'bins': {
            'run': inputs.bins.samples.name,
            'seeds': inputs.bins.seeds,
            'num_samples': inputs.bins.num_samples,
        },
    }


def _curves(small: Mapping[str, Curve], found: Accuracies) -> list[Table]:
    """Accuracy of the small model at every budget in every group."""
    return [
        {
            'curve': name,
            'group': group,
            'n': n,
            'flops': rounded(curve.flops[place].mean()),
            **_accuracy(found.curves[name][:, index, place]),
        }
        for name, curve in small.items()
        for index, group in enumerate(GROUPS)
        for place, n in enumerate(curve.budgets)
    ]


def _rivals(large: Mapping[str, Rival], found: Accuracies) -> list[Table]:
    """Accuracy of the larger model in every group."""
    return [
        {'rival': name, 'group': group, 'flops': rounded(rival.flops.mean()), **_accuracy(found.rivals[name][:, index])}
        for name, rival in large.items()
        for index, group in enumerate(GROUPS)
    ]


def _accuracy(values: np.ndarray) -> Table:
    """In per cent, with its interval."""
    return dict(zip(('accuracy', 'low', 'high'), difference(values, np.zeros_like(values)), strict=True))


def _notes(config: MatchConfig, inputs: Inputs, small: Mapping[str, Curve], rows: Sequence[Table]) -> list[str]:
    """What a reader must know who only sees the numbers."""
    notes = [
        'The bins are those of an oracle, whose samples are not charged, so compute-optimal is an upper bound.',
        f'Strategies are chosen once, on {config.folds - 1} of {config.folds} folds, and scored on the other; the intervals '
        'are those of the questions and draws that they are scored on.',
    ]
    if CHARGED in small:
        notes.append(f'{CHARGED}: by bins that first samples tell ({", ".join(config.small.estimates)}), paid by the budget.')
    trained = [side.training[0].tokens for side in (inputs.small, inputs.large) if side.training]
    if len(trained) == 2 and abs(trained[0] / max(1, trained[1]) - 1) > _SAME_TOKENS:
        notes.append(
            f'The small policy was trained on {trained[0]:,} tokens, the larger on {trained[1]:,}: '
            "the paper's conventions assume as many."
        )
    if Convention.SPENT in config.conventions and inputs.large.training_flops <= inputs.small.training_flops:
        notes.append('The small side was trained for as many FLOPs as the larger one: spent has no break-even.')
    unpaid = {(row['convention'], row['curve']) for row in rows if row['n'] is None}
    notes += [f'{convention}: the money does not buy the smallest budget of {curve}.' for convention, curve in sorted(unpaid)]
    largest = max(small[COMPUTE_OPTIMAL].budgets)
    beyond = {(row['convention'], row['ratio'], row['k']) for row in _headline(rows) if row['n'] == largest}
    if any(convention != Convention.SPENT and k >= 2 * largest for convention, _, k in beyond):
        notes.append(f'At the smallest R the money buys more than the {largest} solutions measured.')
    few = [name for name, number in _sizes(rows).items() if number < _FEW]
    if few:
        notes.append(f'Fewer than {_FEW} questions in {", ".join(few)}: read these with their intervals or not at all.')
    return notes


def _headline(rows: Sequence[Table]) -> list[Table]:
    return [row for row in rows if row['curve'] == COMPUTE_OPTIMAL and row['rival'] == GREEDY]


def _sizes(rows: Sequence[Table]) -> dict[str, int]:
    return {row['group']: row['num_questions'] for row in rows}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else rounded(value)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
