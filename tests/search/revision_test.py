"""Revisions by hand: what every attempt is shown, how chains vote, where chains end."""

import pytest

from jaxreason.core.budget import Budget
from jaxreason.core.types import Candidate, Finish, Question
from jaxreason.search.chains import chains_of, sample_of
from jaxreason.search.majority import Majority
from jaxreason.search.revision import Revision
from tests.search.fakes import PROMPT_PRICE, FakeSampler, HashVerifier

QUESTION = Question('q', 'question')
SECOND, THIRD = sample_of(0, 1), sample_of(0, 2)


def attempt(sample, answer, score, revises=None):
    return Candidate(
        sample=sample, text='', tokens=(), steps=(), step_ends=(), finish=Finish.STOP, answer=answer,
        scores=() if score is None else (score,), revises=revises,
    )  # fmt: skip


# Two chains of three attempts: (answer, score) of each.
FIRST_CHAIN = [('1', 0.9), ('2', 0.5), ('2', 0.6)]
SECOND_CHAIN = [('1', 0.2), ('3', 0.3), ('1', 0.05)]
POOL = [
    attempt(sample_of(chain, turn), answer, score, sample_of(chain, turn - 1) if turn else None)
    for turn in range(3)
    for chain, (answer, score) in enumerate((FIRST_CHAIN[turn], SECOND_CHAIN[turn]))
]


def test_a_weighted_vote_is_hierarchical():
    """First chain: 2 has 1.1 against 0.9, its best attempt 0.6; second: 3 has 0.3 against 0.25. Pooled, 1 would have won."""
    strategy = Revision(chains=2, length=3)
    assert strategy.choose(POOL).votes == (('2', 0.6), ('3', 0.3))
    flat = {answer: sum(c.scores[0] for c in POOL if c.answer == answer) for answer in '123'}
    assert max(flat, key=flat.__getitem__) == '1'


def test_majority_is_flat_and_naive_takes_the_best_attempt():
    assert Revision(chains=2, length=3, vote='majority').choose(POOL).votes == (('1', 3.0), ('2', 2.0), ('3', 1.0))
    assert Revision(chains=2, length=3, vote='naive').choose(POOL).answer == '1'


def test_equal_sums_go_to_the_earlier_answer_and_equal_scores_to_the_earlier_attempt():
    chain = [attempt(0, '5', 0.4), attempt(SECOND, '6', 0.4, 0), attempt(THIRD, '5.0', None, SECOND)]
    choice = Revision(chains=1, length=3).choose(chain)
    assert choice.votes == (('5', 0.4),)


def test_chains_without_an_answer_do_not_vote():
    chain = [attempt(0, None, 0.9), attempt(1, '4', 0.1)]
    assert Revision(chains=2, length=1).choose(chain).votes == (('4', 0.1),)
    assert Revision(chains=1, length=1).choose(chain[:1]).answer is None


def test_an_attempt_is_shown_the_last_ones_of_its_own_chain():
    asked = {}

    def script(question, sample, seed):
        asked[sample] = question.attempts
        return ['The', 'answer', 'is', str(sample)]

    Revision(chains=2, length=4, context=2).solve([QUESTION], FakeSampler(script=script), HashVerifier())
    texts = {sample: f'The answer is {sample}' for sample in asked}
    for chain in (0, 1):
        samples = [sample_of(chain, turn) for turn in range(4)]
        for turn, sample in enumerate(samples):
            assert asked[sample] == tuple(texts[one] for one in samples[max(0, turn - 2) : turn])


def test_first_attempts_are_the_independent_samples_and_fewer_or_shorter_chains_are_part_of_more():
    large = Revision(chains=3, length=4).solve([QUESTION], FakeSampler(), HashVerifier(), seed=3)[0]
    independent = Majority(n=3).solve([QUESTION], FakeSampler(), seed=3)[0]
    assert [c.text for c in large.candidates if c.revises is None] == [c.text for c in independent.candidates]
    small = Revision(chains=2, length=3).solve([QUESTION], FakeSampler(), HashVerifier(), seed=3)[0]
    by_sample = {c.sample: c for c in large.candidates}
    assert len(small.candidates) == 6 and all(c == by_sample[c.sample] for c in small.candidates)
    assert [len(chain) for chain in chains_of(large.candidates)] == [4, 4, 4]


def test_every_revision_pays_its_own_prompt():
    outcome = Revision(chains=2, length=3).solve([QUESTION], FakeSampler(), HashVerifier())[0]
    assert [c.cost.prefill for c in outcome.candidates] == [0, 0, *[PROMPT_PRICE] * 4]
    assert outcome.cost.prefill == 5 * PROMPT_PRICE  # all chains share the first


@pytest.mark.parametrize(('room', 'shown'), [(8, 2), (4, 1)])
def test_attempts_that_leave_no_room_are_dropped_from_the_oldest_on(room, shown):
    asked = {}

    def script(question, sample, seed):
        asked[sample] = len(question.attempts)
        return ['The', 'answer', 'is', '1']

    Revision(chains=1, length=5).solve([QUESTION], FakeSampler(script=script, room=room), HashVerifier())
    assert list(asked.values()) == [0, 1, shown, shown, shown]


def test_a_chain_ends_where_its_last_attempt_leaves_no_room():
    def script(question, sample, seed):
        words = ['word'] * 5 if sample == sample_of(0, 1) else []
        return [*words, 'The', 'answer', 'is', '1']

    sampler = FakeSampler(script=script, room=4)
    outcome = Revision(chains=2, length=4).solve([QUESTION], sampler, HashVerifier())[0]
    assert [len(chain) for chain in chains_of(outcome.candidates)] == [2, 4]
    assert outcome.answer == '1' and not sampler.last.held


def test_a_budget_that_pays_no_further_prompt_ends_the_chains_and_keeps_what_there_is():
    whole = Revision(chains=1, length=6).solve([QUESTION], FakeSampler(), HashVerifier())[0]
    budget = Budget(flops=whole.cost.flops // 2)
    cut = Revision(chains=1, length=6).solve([QUESTION], FakeSampler(), HashVerifier(), budget=budget)[0]
    assert 0 < len(cut.candidates) <= 6 and cut.cost.flops <= budget.flops
    none = Revision(chains=1, length=6).solve([QUESTION], FakeSampler(), HashVerifier(), budget=Budget(flops=1))[0]
    assert none.answer is None and not none.candidates


@pytest.mark.parametrize(
    ('chains', 'length', 'n', 'expected'),
    [
        (1, 16, 4, (1, 4)),
        (16, 1, 4, (4, 1)),
        (16, 4, 16, (8, 2)),  # 1:4 of the paper
        (8, 8, 16, (4, 4)),
        (4, 16, 4, (1, 4)),
        (4, 4, 1, (1, 1)),
    ],
)
def test_at_another_budget_the_ratio_stays(chains, length, n, expected):
    found = Revision(chains=chains, length=length).at(n)
    assert (found.chains, found.length) == expected and found.generations == n


@pytest.mark.parametrize(('chains', 'length', 'n'), [(16, 4, 8), (8, 8, 2), (4, 16, 1), (2, 4, 4)])
def test_a_ratio_that_has_no_whole_chains_there_is_refused(chains, length, n):
    with pytest.raises(ValueError, match='no whole chains'):
        Revision(chains=chains, length=length).at(n)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'chains': 0, 'length': 1}, 'chains must be at least 1 chain, got 0'),
        ({'chains': 1, 'length': 0}, 'length must be at least 1 attempt of a chain, got 0'),
        ({'chains': 1, 'length': 1, 'context': 0}, 'context must be at least 1 attempt to be shown, got 0'),
        ({'chains': 1, 'length': 1, 'vote': 'majority', 'verifier': 'x'}, 'majority asks none'),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Revision(**fields)
