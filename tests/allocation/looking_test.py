"""What a fit says of a look is what deploying it does: the same bins, the same FLOPs, to the unit."""

import dataclasses

import numpy as np
import pytest

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.cells import Cell, Cells
from jaxreason.allocation.estimators import FirstScores, FirstVotes
from jaxreason.allocation.looking import cost_in, looks_at_first, looks_known, value_in
from jaxreason.core.cost import total
from jaxreason.core.records import Pool, PoolCandidate, cost_fields
from jaxreason.core.types import Question, Row
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority
from tests.search.fakes import FakeSampler, HashVerifier, LengthVerifier

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(4)]
SEEDS = (0, 3)
VERIFIERS = {'a': HashVerifier(), 'b': LengthVerifier()}
STRATEGIES = {
    'majority': Majority(n=8),
    'a': BestOfN(n=8, verifier='a'),
    'b': BestOfN(n=8, verifier='b'),
    'beam': BeamSearch(n=8, beam_width=2, verifier='b'),
    'greedy': Greedy(),
}
CELLS = [Cell('majority', 1), Cell('majority', 4), Cell('a', 1), Cell('a', 2), Cell('a', 8), Cell('b', 2), Cell('beam', 4),
         Cell('greedy', 1)]  # fmt: skip
LOOKS = {
    'scores': FirstScores(n=2, verifier='a', cuts=(0.4,)),
    'one score': FirstScores(n=1, verifier='b', cuts=(11.0,)),
    'votes': FirstVotes(n=3, cuts=(0.5,)),
}


def solve(strategy, question, seed):
    return strategy.solve([question], FakeSampler(num_rows=64), VERIFIERS, seed=seed)[0]


def pool_of(question, seed):
    """The samples of a run, with the scores of both verifiers."""
    drawn = solve(Majority(n=8), question, seed)
    candidates = []
    for each in drawn.candidates:
        row = Row(
            handle=0, question=question, sample=each.sample, tokens=each.tokens, steps=each.steps, step_ends=each.step_ends
        )
        said = {name: verifier.score([row], None) for name, verifier in VERIFIERS.items()}
        candidates.append(
            PoolCandidate(
                sample=each.sample, text=each.text, tokens=each.tokens, step_ends=each.step_ends, finish=str(each.finish),
                answer=each.answer, verdict='correct' if each.answer == '1' else 'wrong', cost=cost_fields(each.cost),
                scores={name: scored.scores[0] for name, scored in said.items()},
                verified={name: cost_fields(scored.costs[0]) for name, scored in said.items()},
            )
        )  # fmt: skip
    prompt = cost_fields(drawn.cost._replace(decode=0, new_tokens=0))
    texts = {'question': question.text, 'gold': '1', 'level': '', 'subject': ''}
    return Pool(pool='samples', question_id=question.id, seed=seed, cost=prompt, candidates=tuple(candidates), **texts)


@pytest.fixture(scope='module')
def world():
    """A table of what every cell does alone, and the pools."""
    found = [[[solve(STRATEGIES[cell.strategy].at(cell.n), q, seed) for cell in CELLS] for seed in SEEDS] for q in QUESTIONS]
    right = np.array([[[float(outcome.answer == '1') for outcome in row] for row in table] for table in found])
    flops = np.array([[[float(outcome.cost.flops) for outcome in row] for row in table] for table in found])
    cells = Cells(
        questions=tuple(q.id for q in QUESTIONS), seeds=SEEDS, cells=tuple(CELLS),
        correct=right, first=right, flops=flops, first_flops=flops,
    )  # fmt: skip
    return cells, {(q.id, seed): pool_of(q, seed) for q in QUESTIONS for seed in SEEDS}


@pytest.mark.parametrize('name', LOOKS)
def test_a_look_is_charged_what_deploying_it_spends(world, name):
    cells, pools = world
    look = LOOKS[name]
    looks = looks_at_first(name, look, cells, pools, STRATEGIES)
    levels = 1 + looks.levels(np.array(look.cuts)).reshape(len(QUESTIONS), len(SEEDS))
    correct, flops = (table.reshape(len(QUESTIONS), len(SEEDS), -1) for table in (looks.correct, looks.flops))
    for place, cell in enumerate(CELLS):
        strategy = STRATEGIES[cell.strategy].at(cell.n)
        adaptive = ComputeOptimal(difficulty=look, bins=(strategy, dataclasses.replace(Majority(n=7))))
        flipped = ComputeOptimal(difficulty=look, bins=adaptive.bins[::-1])
        begun = 0
        for row, question in enumerate(QUESTIONS):
            for column, seed in enumerate(SEEDS):
                deployed = solve(adaptive if levels[row, column] == 1 else flipped, question, seed)
                assert deployed.level == levels[row, column]
                assert deployed.cost.flops == flops[row, column, place], (name, cell)
                assert float(deployed.answer == '1') == correct[row, column, place]
                begun = max(begun, len({c.sample for c in deployed.candidates}))
        assert begun <= looks.generations[place]
        only = ComputeOptimal(difficulty=look, bins=(strategy, Majority(n=1) if strategy != Majority(n=1) else Majority(n=2)))
        assert looks.generations[place] <= only.most_generations


def test_the_worlds_bins_differ(world):
    """Else the test above would compare little."""
    cells, pools = world
    for name, look in LOOKS.items():
        levels = looks_at_first(name, look, cells, pools, STRATEGIES).levels(np.array(look.cuts))
        assert set(levels) == {0, 1}, name


def test_solutions_begun_are_those_of_the_look_and_of_the_strategy(world):
    looks = looks_at_first('votes', LOOKS['votes'], *world, STRATEGIES)
    assert dict(zip(CELLS, looks.generations.tolist(), strict=True)) == {
        Cell('majority', 1): 3, Cell('majority', 4): 4, Cell('a', 1): 3, Cell('a', 2): 3, Cell('a', 8): 8, Cell('b', 2): 3,
        Cell('beam', 4): 7, Cell('greedy', 1): 4,
    }  # fmt: skip


def test_a_look_by_itself_costs_the_prompt_the_samples_and_the_verifier(world):
    pool = world[1]['q0', 0]
    spent = cost_in(LOOKS['scores'], pool)
    drawn = total(solve(Majority(n=2), QUESTIONS[0], 0).cost for _ in range(1))
    assert spent == drawn + total(
        c.cost._replace(decode=0, new_tokens=0) for c in solve(STRATEGIES['a'].at(2), QUESTIONS[0], 0).candidates
    )
    assert cost_in(LOOKS['votes'], pool) == solve(Majority(n=3), QUESTIONS[0], 0).cost
    expected = np.mean([each.scores['a'][-1] for each in pool.candidates[:2]])
    assert value_in(LOOKS['scores'], pool) == pytest.approx(expected)


def test_what_a_pool_does_not_hold_is_refused(world):
    cells, pools = world
    with pytest.raises(ValueError, match='looks at 9 samples, .q0. has 8'):
        looks_at_first('x', FirstVotes(n=9), cells, pools, STRATEGIES)
    with pytest.raises(ValueError, match="asks the verifier 'c', the samples have scores of a, b"):
        looks_at_first('x', FirstScores(n=1, verifier='c'), cells, pools, STRATEGIES)
    with pytest.raises(ValueError, match="independent samples of 'q3' under seed 3, there are none"):
        looks_at_first('x', FirstVotes(n=1), cells, {key: pool for key, pool in pools.items() if key != ('q3', 3)}, STRATEGIES)


def test_what_is_known_is_the_same_under_every_seed(world):
    cells, _ = world
    looks = looks_known('known', np.array([0.1, 0.2, 0.3, 0.4]), np.array([1, 2, 3, 4]), cells, np.arange(8), (0.25,))
    assert looks.values.tolist() == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4] and looks.cuts == (0.25,)
    extra = looks.flops - cells.flops.reshape(8, -1)
    np.testing.assert_array_equal(extra, np.repeat([1, 1, 2, 2, 3, 3, 4, 4], len(CELLS)).reshape(8, -1))
    np.testing.assert_array_equal(looks.correct, cells.correct.reshape(8, -1))
