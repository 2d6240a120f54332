"""Lookahead search: against beam search, and by hand: what it looks at, what it keeps, what it costs."""

import dataclasses

import pytest

from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.dvts import DVTS
from jaxreason.search.lookahead import Lookahead
from tests.search.world import SCORE_PRICE, STEP_PRICE, World, shape

CHAIN = {'': ['a.', 'b.'], 'a.': ['x.', 'y.'], 'b.': ['x.', 'y.']} | {
    f'{first}{second}': [third] for first in ('a.', 'b.') for second in ('x.', 'y.') for third in ['The answer is 1.']
}
# The verifier likes a., but where it leads greedily (a.x.) it does not.
SCORES = {'a.': 0.9, 'b.': 0.5, 'a.x.': 0.1, 'a.y.': 0.2, 'b.x.': 0.6, 'b.y.': 0.7} | {
    f'{prefix}The answer is 1.': 0.5 for prefix in ('a.x.', 'a.y.', 'b.x.', 'b.y.')
}


def test_no_lookahead_is_beam_search():
    beam, ahead = World(CHAIN, SCORES), World(CHAIN, SCORES)
    expected = beam.run(BeamSearch(n=4, beam_width=2))
    assert ahead.run(Lookahead(n=4, beam_width=2, lookahead=0)) == expected
    assert (beam.scored, beam.taken) == (ahead.scored, ahead.taken)
    assert expected.cost.lookahead == 0


def test_the_worth_of_a_prefix_is_the_score_at_the_end_of_its_rollout():
    world = World(CHAIN, SCORES)
    outcome = world.run(Lookahead(n=2, beam_width=2, lookahead=1))
    assert world.scored[:2] == [['a.', 'b.'], ['a.x.', 'b.x.']]
    assert world.taken[:3] == [['a.', 'a.', 'b.', 'b.'], [], ['b.', 'b.']]  # rollouts beside, thrown away; b. is kept
    assert shape(outcome)[0] == (None, 0, ('a.',), 1)
    assert World(CHAIN, SCORES).run(BeamSearch(n=2, beam_width=2)).candidates[0].text.startswith('a.')


@pytest.mark.parametrize('k', [1, 2, 3])
@pytest.mark.parametrize('kind', [Lookahead, DVTS])
def test_it_costs_n_times_k_plus_1_steps_a_round(k, kind):
    """On a chain that is longer than the rollouts, every round but the last draws n steps and n k greedy ones."""
    length, n = 6, 4
    steps = {'s.' * i: ['s.'] for i in range(length)} | {'s.' * length: ['The answer is 1.']}
    scores = {'s.' * i: 0.5 for i in range(1, length + 1)} | {'s.' * length + 'The answer is 1.': 0.5}
    world = World(steps, scores)
    strategy = kind(n=n, beam_width=2, lookahead=k)
    outcome = world.run(strategy)
    rounds = length + 1
    looked = sum(min(k, length + 1 - i) for i in range(1, length + 1))  # a rollout stops where its solution does
    assert world.num_steps == {'drawn': n * rounds, 'greedy': n * looked}
    assert strategy.generations == n * (k + 1)
    assert outcome.cost.new_tokens == n * (rounds + looked) <= strategy.generations * rounds
    assert outcome.cost.lookahead == n * (looked * STEP_PRICE + length * SCORE_PRICE)
    assert outcome.cost.flops == 1 + n * ((rounds + looked) * STEP_PRICE + (rounds + length) * SCORE_PRICE)


def test_steps_must_not_be_negative():
    with pytest.raises(ValueError, match='lookahead must be at least 0 steps, got -1'):
        Lookahead(n=4, lookahead=-1)
    assert dataclasses.asdict(Lookahead(n=4, lookahead=0)) == dataclasses.asdict(BeamSearch(n=4))
