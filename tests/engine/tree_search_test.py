"""Tree searches with a real (tiny, random) policy: the same tokens as best-of-n and greedy where they must be."""

import pytest

from jaxreason.core.types import Question
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.dvts import DVTS
from jaxreason.search.greedy import Greedy
from jaxreason.search.lookahead import Lookahead
from jaxreason.search.rebase import Rebase
from tests.engine.conftest import TOKENIZER
from tests.search.fakes import HashVerifier

QUESTIONS = [Question('a', 'one+1'), Question('b', 'what is 2'), Question('c', '33*4')]


def tokens(outcomes):
    return [[c.tokens for c in outcome.candidates] for outcome in outcomes]


@pytest.mark.parametrize(
    'strategy',
    [
        BeamSearch(n=4, beam_width=1),
        Lookahead(n=4, beam_width=1, lookahead=2),  # rollouts beside a row disturb none of its draws
        DVTS(n=4, beam_width=1),
        Rebase(n=4, balance=1e12),  # all weights equal: one way each
    ],
)
def test_one_way_on_from_every_prefix_is_best_of_n(make_sampler, strategy):
    sampler = make_sampler(top_k=4)
    expected = BestOfN(n=4).solve(QUESTIONS, sampler, HashVerifier(), seed=5)
    found = strategy.solve(QUESTIONS, sampler, HashVerifier(), seed=5)
    assert tokens(found) == tokens(expected)
    assert [outcome.votes for outcome in found] == [outcome.votes for outcome in expected]
    assert any(len(c.steps) > 2 for outcome in found for c in outcome.candidates)  # there was something to pause at


def test_the_first_way_on_keeps_the_draws_and_the_others_draw_anew(make_sampler):
    sampler = make_sampler(top_k=4)
    outcomes = BeamSearch(n=6, beam_width=3).solve(QUESTIONS, sampler, HashVerifier(), seed=5)
    plain = BestOfN(n=6).solve(QUESTIONS, sampler, HashVerifier(), seed=5)
    kept = 0
    for outcome, free in zip(outcomes, plain, strict=True):
        branches = {c.sample: c for c in outcome.candidates}
        for c in outcome.candidates:
            if c.parent is None:
                assert c.tokens == free.candidates[c.sample].tokens
                kept += 1
            elif c.parent in branches:
                end = c.step_ends[c.forked_at - 1]
                assert c.tokens[:end] == branches[c.parent].tokens[:end]
                assert c.tokens != branches[c.parent].tokens or len(c.tokens) < end + 4  # the last few may well be equal
    assert kept


@pytest.mark.parametrize('kind', [BeamSearch, Lookahead])
def test_one_beam_at_temperature_0_is_greedy(make_sampler, kind):
    sampler = make_sampler(temperature=0.0)
    expected = Greedy().solve(QUESTIONS, sampler, None, seed=5)
    assert tokens(kind(n=1, beam_width=1).solve(QUESTIONS, sampler, HashVerifier(), seed=5)) == tokens(expected)


def test_no_lookahead_is_beam_search(make_sampler):
    sampler = make_sampler(top_k=4)
    expected = BeamSearch(n=4, beam_width=2).solve(QUESTIONS, sampler, HashVerifier(), seed=5)
    assert Lookahead(n=4, beam_width=2, lookahead=0).solve(QUESTIONS, sampler, HashVerifier(), seed=5) == expected


def test_rollouts_are_greedy(lm, make_sampler):
    """Every rollout that the verifier is shown is where greedy decoding leads from its prefix."""

    class Watching(HashVerifier):
        def __init__(self):
            self.seen = []

        def score(self, rows, carry):
            self.seen.append([(row.handle, row.lineage, row.tokens) for row in rows])
            return super().score(rows, carry)

    watching = Watching()
    Lookahead(n=3, beam_width=3, lookahead=1).solve(QUESTIONS[:1], make_sampler(top_k=2), watching, seed=5)
    prefixes = {handle: tokens for handle, _, tokens in watching.seen[0]}
    rollouts = {lineage[-1]: tokens for _, lineage, tokens in watching.seen[1]}
    prompt = make_sampler().prompt.encode(TOKENIZER, QUESTIONS[0].text)
    assert rollouts
    for handle, ahead in rollouts.items():
        prefix = prefixes[handle]
        assert ahead[: len(prefix)] == prefix and len(ahead) > len(prefix)
        hidden = lm.logits([[*prompt, *ahead]])[0]
        greedy = hidden.argmax(-1)[-len(ahead) - 1 : -1]
        assert greedy[len(prefix) :].tolist() == list(ahead[len(prefix) :])
        assert greedy[: len(prefix)].tolist() != list(prefix)  # which was drawn
