"""A verifier's numbers: by hand, against the long way, and the properties that keep them honest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core import judgement
from jaxreason.core.aggregation import Aggregation
from jaxreason.core.judgement import JudgedSolution, best_threshold, cross_fitted_f1, first_error_f1, half, summarise
from jaxreason.core.records import to_line

# Three questions. The verifier names the first wrong step of a/1 exactly, that of b/1 too late; c has no wrong step.
SOLUTIONS = [
    JudgedSolution('a', (0.9, 0.8), (1.0, 1.0), True),
    JudgedSolution('a', (0.7, 0.2), (1.0, 0.0), False),
    JudgedSolution('b', (0.6, 0.4), (0.0, 0.0), False),
    JudgedSolution('b', (0.95,), (1.0,), True),
    JudgedSolution('c', (0.9, 0.3), (1.0, 1.0), True),
]
WRONG = [None, 1, 0, None, None]


def test_a_summary_by_hand():
    found = summarise(SOLUTIONS)
    assert (found['num_questions'], found['num_solutions'], found['num_steps'], found['num_unscored']) == (3, 5, 9, 0)
    assert found['share_right']['point'] == pytest.approx(6 / 9, abs=1e-6)
    # At 0.5 the steps 0.6 (wrong) and 0.3 (right) are taken for what they are not.
    assert found['accuracy']['point'] == pytest.approx(7 / 9, abs=1e-6)
    odds = [0.9, 0.8, 0.7, 1 - 0.2, 1 - 0.6, 1 - 0.4, 0.95, 0.9, 0.3]
    assert found['loss']['point'] == pytest.approx(-sum(map(math.log, odds)) / 9, abs=1e-6)
    # Right 0.9 0.8 0.7 0.95 0.9 0.3, wrong 0.2 0.6 0.4: 0.3 loses to two, all else wins: 16 of 18.
    assert found['step_auc']['point'] == pytest.approx(16 / 18, abs=1e-6)
    assert found['within_question_step_auc']['point'] == 1 and found['within_question_step_auc']['num_questions'] == 2
    assert found['within_question_auc']['last'] == {'point': 1.0, 'low': None, 'high': None, 'num_questions': 2}
    errors = found['first_error']
    assert (errors['num_erroneous'], errors['num_error_free']) == (2, 3)
    assert errors['at_half']['erroneous']['point'] == 0.5 and errors['at_half']['error_free']['point'] == pytest.approx(2 / 3)
    assert errors['at_half']['f1']['point'] == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3), abs=1e-6)
    assert sum(part['count'] for part in found['calibration']['bins']) == 9
    to_line(found)  # JSON, no NaN


def test_the_aggregation_decides_the_score_of_a_solution():
    solutions = [JudgedSolution('a', (0.1, 0.9), (1.0, 1.0), True), JudgedSolution('a', (0.8, 0.5), (1.0, 0.0), False)]
    points = {kind.value: judgement.within_question_auc(solutions, kind).point for kind in Aggregation}
    assert points == {'last': 1.0, 'min': 0.0, 'prod': 0.0, 'mean': 0.0}


def test_what_could_not_be_scored_is_left_out_and_counted():
    lost = [JudgedSolution('a', (), (0.0, 0.0), False), JudgedSolution('d', (0.4, math.nan), (1.0, 0.0), False)]
    found = summarise([*SOLUTIONS, *lost])
    assert found.pop('num_unscored') == 2
    assert found == {name: value for name, value in summarise(SOLUTIONS).items() if name != 'num_unscored'}
    empty = summarise(lost)
    assert empty['num_unscored'] == 2 and empty['num_solutions'] == 0 and empty['step_auc'] is empty['loss'] is None
    assert summarise([])['calibration'] is None


def test_the_order_of_the_solutions_leaves_no_trace():
    assert summarise(SOLUTIONS[::-1]) == summarise(SOLUTIONS)


def test_labels_that_are_given_go_before_targets():
    soft = [solution._replace(targets=tuple(0.3 for _ in solution.targets)) for solution in SOLUTIONS]
    assert summarise(soft, WRONG)['first_error'] == summarise(SOLUTIONS)['first_error']
    assert summarise(soft)['first_error']['num_error_free'] == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="'a' has 2 scores and 1 targets"):
        summarise([JudgedSolution('a', (0.5, 0.5), (1.0,), True)])
    with pytest.raises(ValueError, match=r'expected scores in \[0, 1\], got 0.5 to 3'):
        summarise([JudgedSolution('a', (0.5, 3.0), (1.0, 1.0), True)])
    with pytest.raises(ValueError, match="first wrong step of 'b' is 7, it has 2 steps"):
        first_error_f1(SOLUTIONS, [None, 1, 7, None, None], 0.5)
    with pytest.raises(ValueError, match='expected a label a solution, got 1 for 5'):
        first_error_f1(SOLUTIONS, [None], 0.5)


GRID = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


@st.composite
def labelled(draw):
    """Solutions of a few questions with the index of their first wrong step."""
    solutions, wrong = [], []
    for _ in range(draw(st.integers(0, 12))):
        scores = tuple(draw(st.lists(GRID, min_size=1, max_size=4)))
        wrong.append(draw(st.one_of(st.none(), st.integers(0, len(scores) - 1))))
        targets = tuple(float(wrong[-1] is None or index < wrong[-1]) for index in range(len(scores)))
        solutions.append(JudgedSolution(draw(st.sampled_from('abcde')), scores, targets, wrong[-1] is None))
    return solutions, wrong


def plain_f1(solutions, wrong, threshold):
    """ProcessBench's F1, spelled out."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for solution, error in zip(solutions, wrong, strict=True):
        below = [index for index, score in enumerate(solution.scores) if score < threshold]
        hits[error is None].append((below[0] if below else None) == error)
    if not hits[True] or not hits[False]:
        return None
    a, b = (sum(kind) / len(kind) for kind in hits.values())
    return 2 * a * b / (a + b) if a + b else 0.0


@given(labelled(), st.sampled_from([0.1, 0.2, 0.5, 0.9, 1.0]))
def test_f1_is_that_of_processbench(example, threshold):
    found = first_error_f1(*example, threshold).f1
    assert (found.point if found else None) == pytest.approx(plain_f1(*example, threshold))


@given(labelled())
def test_no_threshold_is_better_than_the_best(example):
    best = best_threshold(*example)
    if plain_f1(*example, 0.5) is None:
        assert best is None
        return
    assert 0 < best <= 1
    values = [plain_f1(*example, threshold) for threshold in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert plain_f1(*example, best) == pytest.approx(max(values))


def test_a_threshold_is_judged_on_the_other_half_only():
    rng = np.random.default_rng(1)
    names = [f'q{index}' for index in range(40)]
    assert 10 < sum(map(half, names)) < 30 and half('q0') == half('q0')
    solutions, wrong = [], []
    for name in names:
        shift = 0.4 * half(name)  # the halves need different thresholds
        for error in (None, 1):
            scores = (0.5 + shift, (0.5 if error is None else 0.1) + shift, 0.3 * float(rng.random()) + shift)
            scores = scores if error is None else scores[:2]
            solutions.append(JudgedSolution(name, scores[:2], (1.0, float(error is None)), error is None))
            wrong.append(error)
    thresholds, found = cross_fitted_f1(solutions, wrong)
    parts = [[(s, e) for s, e in zip(solutions, wrong, strict=True) if half(s.question_id) == index] for index in (0, 1)]
    best = [best_threshold([s for s, _ in part], [e for _, e in part]) for part in parts]
    assert thresholds == (best[1], best[0]) and best[0] < best[1]
    # Half 0 is judged at 0.7, above all its scores; half 1 at 0.3, below all of its own: each gets one kind right by accident.
    assert found.f1.point == pytest.approx(plain_f1_of(parts, thresholds))
    alone = [pair for pair in zip(solutions, wrong, strict=True) if half(pair[0].question_id) == 0]
    assert cross_fitted_f1([s for s, _ in alone], [e for _, e in alone]) is None


def plain_f1_of(parts, thresholds):
    """F1 over both halves, each at its own threshold, by shifting every score to one threshold."""
    pairs = [
        (s._replace(scores=tuple(score - threshold for score in s.scores)), error)
        for part, threshold in zip(parts, thresholds, strict=True)
        for s, error in part
    ]
    return plain_f1([s for s, _ in pairs], [error for _, error in pairs], 0.0)


def test_a_perfect_verifier_is_perfect_and_a_constant_one_knows_nothing():
    rng = np.random.default_rng(0)
    solutions = []
    for question in range(30):
        for _ in range(4):
            right = int(rng.integers(0, 4))
            targets = tuple(float(index < right) for index in range(3))
            solutions.append(JudgedSolution(f'{question}', targets, targets, right == 3))
    best, flat = summarise(solutions), summarise([s._replace(scores=(0.5,) * 3) for s in solutions])
    assert best['step_auc']['point'] == best['within_question_step_auc']['point'] == best['accuracy']['point'] == 1
    assert best['first_error']['cross_fitted']['f1']['point'] == 1 and best['loss']['point'] < 1e-5
    assert best['calibration']['ece']['point'] == 0
    assert flat['step_auc']['point'] == flat['within_question_auc']['min']['point'] == 0.5
    assert flat['loss']['point'] == pytest.approx(math.log(2), abs=1e-6)
