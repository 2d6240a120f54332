"""What every strategy of the catalog promises: budgets are kept, costs add up, company and order change nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.allocation.catalog import STRATEGIES
from jaxreason.allocation.estimators import FirstScores, FirstVotes, Probe
from jaxreason.core.budget import Budget
from jaxreason.core.cost import total
from jaxreason.core.types import Finish, Question
from jaxreason.search.select import Vote
from tests.search.fakes import FakeSampler, HashVerifier

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(6)]
TREES = ('beam_search', 'lookahead', 'dvts', 'rebase')
WIDTHS = st.sampled_from([1, 2, 3])
SETTINGS = {
    'greedy': st.just({}),
    'majority': st.fixed_dictionaries({'n': st.integers(1, 6)}),
    'best_of_n': st.fixed_dictionaries({'n': st.integers(1, 6), 'vote': st.sampled_from(['weighted', 'naive'])}),
    'budget_forcing': st.fixed_dictionaries(
        {
            'n': st.integers(1, 4), 'num_ignore': st.integers(0, 2), 'end': st.sampled_from(['', 's1', '.']),
            'final': st.just(' So'), 'max_thinking_tokens': st.one_of(st.none(), st.integers(1, 9)),
            'vote': st.sampled_from([Vote.MAJORITY, Vote.WEIGHTED]),
        }
    ),
    'borda': st.fixed_dictionaries({'n': st.integers(1, 6), 'power': st.floats(0, 2)}),
    'deepconf': st.fixed_dictionaries({'n': st.integers(1, 6), 'keep': st.floats(0.01, 1)}),
    'beam_search': st.fixed_dictionaries(
        {'n': st.integers(3, 9), 'beam_width': st.one_of(WIDTHS, st.just('sqrt')), 'filter_duplicates': st.booleans()}
    ),
    'lookahead': st.fixed_dictionaries({'n': st.integers(3, 6), 'beam_width': WIDTHS, 'lookahead': st.integers(0, 3)}),
    'dvts': st.fixed_dictionaries({'n': st.just(6), 'beam_width': WIDTHS, 'lookahead': st.integers(0, 2)}),
    'rebase': st.fixed_dictionaries({'n': st.integers(1, 9), 'balance': st.floats(0.01, 3)}),
    'revision': st.fixed_dictionaries(
        {
            'chains': st.integers(1, 3), 'length': st.integers(1, 6), 'context': st.integers(1, 4),
            'vote': st.sampled_from(list(Vote)),
        }
    ),
}  # fmt: skip
ITERATIONS = st.integers(1, 6)


def plain(kinds=tuple(sorted(SETTINGS))):
    """A strategy of any of these kinds, under any settings."""

    def build(kind):
        extra = st.fixed_dictionaries({'num_iterations': ITERATIONS}) if kind in TREES else st.just({})
        return st.builds(lambda fields, more: STRATEGIES[kind](**fields, **more), SETTINGS[kind], extra)

    return st.sampled_from(kinds).flatmap(build)


def adaptive():
    """A strategy that looks, and has any other ones for its bins."""
    cuts = st.lists(st.floats(0, 1), min_size=1, max_size=2).map(sorted).map(tuple)
    looks = st.one_of(
        st.builds(FirstScores, n=st.integers(1, 4), cuts=cuts),
        st.builds(FirstVotes, n=st.integers(1, 4), cuts=cuts),
        st.builds(Probe, verifier=st.just('probe'), cuts=cuts),
    )
    return looks.flatmap(
        lambda look: st.lists(plain(), min_size=len(look.cuts) + 1, max_size=len(look.cuts) + 1).map(
            lambda bins: STRATEGIES['compute_optimal'](difficulty=look, bins=tuple(bins))
        )
    )


def strategies():
    """A strategy of every kind, under any settings."""
    return st.one_of(plain(), plain(), adaptive())


def test_every_strategy_is_tried():
    assert SETTINGS.keys() | {'compute_optimal'} == STRATEGIES.keys()


@settings(deadline=None, max_examples=300)
@given(
    strategy=strategies(),
    tokens=st.one_of(st.none(), st.integers(0, 150)),
    flops=st.one_of(st.none(), st.integers(0, 4000)),
    seed=st.integers(0, 20),
)
def test_a_budget_is_a_contract(strategy, tokens, flops, seed):
    budget = Budget(tokens=tokens, flops=flops, generations=strategy.most_generations)
    sampler = FakeSampler()
    for outcome in strategy.solve(QUESTIONS[:3], sampler, HashVerifier(), seed=seed, budget=budget):
        assert tokens is None or outcome.cost.new_tokens <= tokens
        assert flops is None or outcome.cost.flops <= flops
        assert len(outcome.candidates) <= strategy.most_generations
        assert outcome.cost.discarded + outcome.cost.lookahead <= outcome.cost.flops
        if tokens is None and flops is None:
            assert all(c.finish is Finish.STOP for c in outcome.candidates) and outcome.candidates
    assert not sampler.last.held


@settings(deadline=None, max_examples=100)
@given(strategies(), st.integers(0, 20))
def test_costs_add_up(strategy, seed):
    for outcome in strategy.solve(QUESTIONS[:2], FakeSampler(), HashVerifier(), seed=seed):
        own = total([*(c.cost for c in outcome.candidates), *(b.cost for b in outcome.pruned)])
        rest = outcome.cost.flops - own.flops
        assert rest == outcome.cost.prefill - own.prefill + outcome.cost.lookahead + outcome.cost.probe
        dropped = sum(c.cost.discarded for c in outcome.candidates)
        assert dropped <= outcome.cost.discarded <= dropped + sum(b.cost.flops for b in outcome.pruned)


@settings(deadline=None, max_examples=40)
@given(strategies(), st.integers(1, 20), st.integers(1, 7))
def test_rows_chunks_and_company_change_no_outcome(strategy, num_rows, per_pump):
    expected = [strategy.solve([question], FakeSampler(), HashVerifier(), seed=1)[0] for question in QUESTIONS]
    sampler = FakeSampler(num_rows=num_rows, per_pump=per_pump)
    assert strategy.solve(QUESTIONS[::-1], sampler, HashVerifier(), seed=1) == expected[::-1]


@settings(deadline=None, max_examples=60)
@given(strategies(), st.integers(0, 20))
def test_a_tree_is_whole(strategy, seed):
    """Every branch begins where its parent was at that time, and no number is given twice."""
    for outcome in strategy.solve(QUESTIONS[:3], FakeSampler(), HashVerifier(), seed=seed):
        own = {c.sample: (c.parent, c.forked_at, c.steps[c.forked_at :]) for c in outcome.candidates}
        own |= {b.sample: (b.parent, b.forked_at, b.steps) for b in outcome.pruned}
        assert len(own) == len(outcome.candidates) + len(outcome.pruned)

        def steps(number, own=own):
            parent, forked_at, mine = own[number]
            return mine if parent is None else (*steps(parent)[:forked_at], *mine)

        for c in outcome.candidates:
            assert steps(c.sample) == c.steps
        for number, (parent, forked_at, _) in own.items():
            assert parent is None or (parent < number and len(steps(parent)) >= forked_at)


def test_what_cannot_be_paid_is_unscored_and_still_answers():
    """The budget pays the solutions, but not the verifier: nothing that was generated is lost."""

    class Dear(HashVerifier):
        def price(self, row, num_tokens, carry=None):
            return 0 if num_tokens else 10**9  # nothing is kept back for it, and then it is too dear

    for kind in ('best_of_n', *TREES):
        outcome = STRATEGIES[kind](n=4).solve(QUESTIONS[:1], FakeSampler(), Dear(), seed=3, budget=Budget(flops=10**6))[0]
        assert outcome.candidates and outcome.answer is not None and outcome.cost.verify == 0
        assert {c.unscored['verifier'] for c in outcome.candidates} == {'budget'}


@pytest.mark.parametrize('kind', TREES)
def test_questions_share_calls_of_the_verifier(kind):
    """All live beams of all questions advance together."""

    class Counting(HashVerifier):
        calls = 0

        def score(self, rows, carry):
            self.calls += 1
            return super().score(rows, carry)

    alone, together = Counting(), Counting()
    for question in QUESTIONS:
        STRATEGIES[kind](n=4).solve([question], FakeSampler(num_rows=64), alone, seed=0)
    STRATEGIES[kind](n=4).solve(QUESTIONS, FakeSampler(num_rows=64), together, seed=0)
    assert together.calls <= alone.calls / 2


@settings(deadline=None, max_examples=60)
@given(strategies(), st.integers(0, 20))
def test_a_verifier_is_told_what_is_gone_and_nothing_too_early(strategy, seed):
    """It forgets every row in the end, and knows the ancestor of every fork when it first scores the fork."""

    class Remembers(HashVerifier):
        kept = frozenset()

        def score(self, rows, carry):
            for row in rows:
                assert not row.lineage or {row.handle, *row.lineage} & self.kept
            self.kept |= {row.handle for row in rows if row.finish is Finish.OPEN}
            return super().score(rows, carry)

        def forget(self, carry, handles):
            self.kept -= set(handles)
            return carry

    verifier = Remembers()
    strategy.solve(QUESTIONS[:3], FakeSampler(), verifier, seed=seed)
    assert not verifier.kept
