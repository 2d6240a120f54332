"""Chains of attempts with a real (tiny, random) policy: prompts, draws, and the end of the context."""

import dataclasses

import pytest

from jaxreason.core.types import Question
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.prompt_room import longest_prompt
from jaxreason.search.chains import chains_of
from jaxreason.search.majority import Majority
from jaxreason.search.revision import Revision
from tests.engine.conftest import TOKENIZER
from tests.search.fakes import HashVerifier

QUESTIONS = [Question('a', 'one+1'), Question('b', 'what is 2'), Question('c', '33*4')]
CHAINS = Revision(chains=2, length=6)


def solve(strategy, sampler, questions=QUESTIONS):
    return strategy.solve(questions, sampler, HashVerifier(), seed=5)


def test_company_and_rows_change_no_attempt(make_sampler):
    together = solve(CHAINS, make_sampler(rows_per_slot=1))
    assert together == [solve(CHAINS, make_sampler(rows_per_slot=1), [question])[0] for question in QUESTIONS]
    texts = [[c.text for c in outcome.candidates] for outcome in together]
    assert texts == [[c.text for c in outcome.candidates] for outcome in solve(CHAINS, make_sampler(rows_per_slot=4))]


def test_first_attempts_are_the_samples_of_the_same_policy_and_later_ones_its_own_draws(make_sampler):
    sampler = make_sampler()
    outcomes, independent = solve(CHAINS, sampler), solve(Majority(n=2), sampler)
    for outcome, plain in zip(outcomes, independent, strict=True):
        assert [c.text for c in outcome.candidates[:2]] == [c.text for c in plain.candidates]
        assert len({c.text for c in outcome.candidates}) > 6  # no draw is repeated


def test_an_attempt_is_what_its_prompt_says(make_sampler, lm):
    """At temperature 0 an attempt is what the policy writes after that very prompt."""
    sampler = make_sampler(temperature=0.0)
    outcome = solve(Revision(chains=1, length=6), sampler, QUESTIONS[:1])[0]
    texts = [c.text for c in outcome.candidates]
    for turn, candidate in enumerate(outcome.candidates):
        shown = ''.join(f'one+1{text}\n' for text in texts[max(0, turn - 4) : turn])
        ids = sampler.prompt.encode(TOKENIZER, 'one+1', attempts=texts[max(0, turn - 4) : turn])
        assert ids[1:] == TOKENIZER.encode(shown + 'one+1')
        written = candidate.tokens[:8]
        assert tuple(lm.logits([[*ids, *written]])[0, len(ids) - 1 : -1].argmax(-1)) == tuple(written)


def shorter(lm, context):
    """The policy with another context."""
    return dataclasses.replace(lm, config=dataclasses.replace(lm.config, max_positions=context))


def test_what_the_context_does_not_hold_is_dropped_from_the_oldest_on(make_sampler, lm):
    sampler = make_sampler(max_tokens=24)
    small = dataclasses.replace(sampler, lm=shorter(lm, 100))
    whole, cut = (solve(Revision(chains=1, length=6), each, QUESTIONS[:1])[0] for each in (sampler, small))
    prompts = [c.cost.prompt_tokens for c in cut.candidates]
    assert len(cut.candidates) == 6 and max(prompts) <= 100 - 24 < max(c.cost.prompt_tokens for c in whole.candidates)
    fitting = next(turn for turn, c in enumerate(whole.candidates) if c.cost.prompt_tokens > 76)
    assert [c.text for c in cut.candidates[:fitting]] == [c.text for c in whole.candidates[:fitting]]
    assert prompts[fitting] > prompts[1] > 0  # the last ones are still there


def test_a_chain_whose_last_attempt_has_no_room_ends(make_sampler, lm):
    sampler = dataclasses.replace(make_sampler(max_tokens=24, temperature=0.3), lm=shorter(lm, 36))
    outcome = solve(CHAINS, sampler, QUESTIONS[:1])[0]
    lengths = [len(chain) for chain in chains_of(outcome.candidates)]
    long = [len(chain[-1].text) + 2 * len('one+1') + 1 > 12 for chain in chains_of(outcome.candidates)]
    assert all(length < 6 for length in lengths) and all(long)


@pytest.mark.parametrize(('num_attempts', 'context', 'expected'), [(0, 512, 6), (4, 512, 6 + 4 * (6 + 24)), (4, 60, 36)])
def test_the_room_of_prompts(lm, num_attempts, context, expected):
    prompt = PromptSpec(template='raw', step_delimiter='.')
    config = shorter(lm, context).config
    found = longest_prompt(prompt, TOKENIZER, config, QUESTIONS[0], num_attempts=num_attempts, max_tokens=24)
    assert found == expected


def test_padding_counts_where_it_is_longer_than_a_solution(lm):
    prompt = PromptSpec(template='raw', step_delimiter='.', attempt_columns=30)
    found = longest_prompt(prompt, TOKENIZER, lm.config, QUESTIONS[0], num_attempts=2, max_tokens=24)
    assert found == len(prompt.encode(TOKENIZER, 'one+1', attempts=['a', 'b'])) == 6 + 2 * (6 + 30)
