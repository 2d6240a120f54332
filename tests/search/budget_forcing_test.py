"""Budget forcing by hand on chains that are known, under random budgets, and on a small policy."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxreason.core.budget import Budget
from jaxreason.core.cost import total
from jaxreason.core.types import Finish, Question, Row
from jaxreason.data.answers import answer_of
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.budget_forcing import BudgetForcing
from jaxreason.search.majority import Majority
from jaxreason.search.select import Vote
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSampler, LengthVerifier

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(6)]


class Chains:
    """A policy whose sample `i` says `said[i]` and, behind whatever is put in, what `then` has for the text so far."""

    def __init__(self, said, then):
        self.said = said
        self.then = then
        self.asked = []

    def solve(self, strategy, verifier=None, budget=Budget(), **settings):  # noqa: B008 - frozen
        sampler = FakeSampler(script=lambda _, sample, seed: self.said[sample].split(), after=self._after, **settings)
        (outcome,) = strategy.solve(QUESTIONS[:1], sampler, verifier, budget=budget)
        assert sampler.last.held == {}
        return outcome

    def _after(self, question, sample, words):
        self.asked.append(' '.join(words))
        return self.then[self.asked[-1]].split()


def test_a_chain_that_ends_is_told_to_wait_as_often_as_asked():
    chains = Chains(
        ['two. The answer is 4.'],
        {
            'two. The answer is 4. Wait': ', five. The answer is 5.',
            'two. The answer is 4. Wait , five. The answer is 5. Wait': ', six. The answer is 6.',
        },
    )
    for num_ignore, answer, words in ((0, '4', 5), (1, '5', 12), (2, '6', 19)):
        outcome = chains.solve(BudgetForcing(num_ignore=num_ignore))
        (candidate,) = outcome.candidates
        assert outcome.answer == answer and candidate.finish is Finish.STOP
        assert len(candidate.tokens) == words == outcome.cost.new_tokens + num_ignore
        # The prompt of the fakes has 7 tokens; each Wait is fed as one more.
        assert outcome.cost.prompt_tokens == 7 + num_ignore
        assert outcome.cost.prefill == PROMPT_PRICE and outcome.cost.decode == TOKEN_PRICE * words
        assert outcome.cost.discarded == 0


def test_the_end_of_thinking_is_taken_back_with_what_follows():
    chains = Chains(
        ['think. more. </think> so. The answer is 4'],
        {'think. more. Wait': 'hmm. </think> then. The answer is 5'},
    )
    outcome = chains.solve(BudgetForcing(end='</think>', wait='Wait'))
    assert outcome.candidates[0].text == 'think. more. Wait hmm. </think> then. The answer is 5'
    # Drawn and dropped: the delimiter and "so.", which pauses at the step. Then 7 more words.
    assert outcome.cost.discarded == 2 * TOKEN_PRICE and outcome.cost.new_tokens == 4 + 7
    assert outcome.cost.decode == TOKEN_PRICE * (4 + 1 + 7)
    assert chains.solve(BudgetForcing(end='</think>', num_ignore=0)).candidates[0].text == chains.said[0]


def test_thinking_is_cut_short_and_the_answer_asked_for():
    said = 'one. two. three. four. </think> The answer is 4'
    forced = 'one. two. three. </think> Final Answer:'
    chains = Chains([said], {forced: 'The answer is 3'})
    cut = BudgetForcing(end=' </think> ', final='Final Answer:', max_thinking_tokens=3)
    outcome = chains.solve(cut)
    assert outcome.candidates[0].text == f'{forced} The answer is 3' and outcome.answer == '3'
    assert outcome.cost.new_tokens == 3 + 4 and outcome.cost.prompt_tokens == 7 + 3
    # Without a thinking block the words alone are put in.
    chains = Chains([said], {'one. two. So': 'The answer is 2'})
    assert chains.solve(BudgetForcing(final='So', max_thinking_tokens=2, num_ignore=0)).answer == '2'


def test_used_tokens_are_subtracted_and_what_is_taken_back_counts():
    chains = Chains(
        ['a. </think> b. The answer is 1'],
        {'a. Wait': 'c. d. e. f. </think> The answer is 2', 'a. Wait c. d. </think> So': 'The answer is 3'},
    )
    # a, the delimiter and b are drawn before the wait, c and d after it: then 5 tokens are used up.
    outcome = chains.solve(BudgetForcing(end='</think>', final=' So', wait='Wait', max_thinking_tokens=5))
    assert outcome.candidates[0].text == 'a. Wait c. d. </think> So The answer is 3'
    # A chain that has used up its tokens when it wants to stop is not told to wait.
    outcome = chains.solve(BudgetForcing(end='</think>', final=' So', wait='Wait', max_thinking_tokens=3))
    assert outcome.candidates[0].text == 'a. </think> b. The answer is 1'


def test_a_chain_that_ends_without_the_delimiter_is_asked_for_its_answer():
    chains = Chains(['a. b.'], {'a. b. Wait': 'c.', 'a. b. Wait c. </think> So': 'The answer is 7'})
    outcome = chains.solve(BudgetForcing(end='</think>', final=' So', wait='Wait'))
    assert outcome.candidates[0].text == 'a. b. Wait c. </think> So The answer is 7' and outcome.answer == '7'


def test_chains_run_side_by_side_and_vote():
    chains = Chains(
        ['a. The answer is 4.', 'b. b. b. The answer is 5.', 'The answer is 5.'],
        {
            'a. The answer is 4. Wait': 'The answer is 5.',
            'b. b. b. The answer is 5. Wait': 'no. The answer is 6.',
            'The answer is 5. Wait': 'yes.',
        },
    )
    outcome = chains.solve(BudgetForcing(n=3))
    assert outcome.answer == '5' and outcome.votes == (('5', 2.0), ('6', 1.0))
    assert [c.sample for c in outcome.candidates] == [0, 1, 2]
    weighted = chains.solve(BudgetForcing(n=3, vote=Vote.WEIGHTED), LengthVerifier())
    # The scores of the fakes are lengths: 10, 13 and 6 words.
    assert dict(weighted.votes) == {'5': 16.0, '6': 13.0} and weighted.cost.verify == 3 * (10 + 13 + 6) + 3 * 5


def test_without_forcing_it_is_the_majority():
    plain = Majority(n=4).solve(QUESTIONS, FakeSampler(), seed=3)
    assert BudgetForcing(n=4, num_ignore=0).solve(QUESTIONS, FakeSampler(), seed=3) == plain
    best = BestOfN(n=4).solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3)
    forced = BudgetForcing(n=4, num_ignore=0, vote=Vote.WEIGHTED)
    assert forced.solve(QUESTIONS, FakeSampler(), LengthVerifier(), seed=3) == best


FORCING = {
    'wait': BudgetForcing(n=3, num_ignore=2),
    'cut': BudgetForcing(n=3, final='So', max_thinking_tokens=4),
    'block': BudgetForcing(n=2, end='.', final=' So', max_thinking_tokens=6),
    'weighted': BudgetForcing(n=3, num_ignore=2, vote=Vote.WEIGHTED),
}


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3), st.integers(0, 2), st.sampled_from(['', 's1', '.', 's2']), st.sampled_from([None, 1, 3, 5, 8]),
    st.integers(0, 20),
)  # fmt: skip
def test_a_chain_is_what_it_is_alone(n, num_ignore, end, limit, seed):
    """So one search of N chains gives every n: pauses for other chains change neither words nor costs."""
    many = BudgetForcing(n=4, num_ignore=num_ignore, end=end, final=' So', max_thinking_tokens=limit)
    few = many.at(n)
    for one, all_four in zip(
        few.solve(QUESTIONS, FakeSampler(), seed=seed), many.solve(QUESTIONS, FakeSampler(), seed=seed), strict=True
    ):
        assert one.candidates == all_four.candidates[:n] and one.answer == many.choose(all_four.candidates[:n]).answer


@pytest.mark.parametrize('kind', FORCING)
@pytest.mark.parametrize('num_rows', [1, 5])
def test_rows_and_company_change_no_outcome(kind, num_rows):
    strategy = FORCING[kind]
    expected = [strategy.solve([q], FakeSampler(), LengthVerifier(), seed=1)[0] for q in QUESTIONS]
    found = strategy.solve(QUESTIONS, FakeSampler(num_rows=num_rows, per_pump=2), LengthVerifier(), seed=1)
    assert found == expected


@settings(deadline=None, max_examples=150)
@example(tokens=None, flops=741, kind='weighted', seed=0, room=64)  # one chain longer than its share of the rest
@given(
    tokens=st.one_of(st.none(), st.integers(0, 60)),
    flops=st.one_of(st.none(), st.integers(0, 1500)),
    kind=st.sampled_from(sorted(FORCING)),
    seed=st.integers(0, 20),
    room=st.sampled_from([6, 12, 64]),
)
def test_a_budget_is_a_contract(tokens, flops, kind, seed, room):
    strategy, sampler = FORCING[kind], FakeSampler(max_tokens=room)
    outcomes = strategy.solve(QUESTIONS[:3], sampler, LengthVerifier(), seed=seed, budget=Budget(tokens=tokens, flops=flops))
    for outcome in outcomes:
        assert tokens is None or outcome.cost.new_tokens <= tokens
        assert flops is None or outcome.cost.flops <= flops
        assert outcome.cost.discarded <= outcome.cost.flops
        own = total(c.cost for c in outcome.candidates)
        assert (own.decode, own.verify, own.new_tokens) == (outcome.cost.decode, outcome.cost.verify, outcome.cost.new_tokens)
        for candidate in outcome.candidates:
            assert len(candidate.tokens) <= room and candidate.finish is not Finish.OPEN
            assert candidate.unscored.get('verifier') != 'budget' or not candidate.tokens
    if kind == 'wait' and tokens is flops is None and room == 64:
        assert all(c.text.split().count('Wait') == 2 for o in outcomes for c in o.candidates)


@settings(deadline=None, max_examples=60)
@given(limit=st.integers(1, 12), seed=st.integers(0, 20), num_ignore=st.integers(0, 3))
def test_no_chain_thinks_for_longer_than_it_may(limit, seed, num_ignore):
    """What is drawn before the words `So`, those that were taken back included, which the cost knows."""
    strategy = BudgetForcing(n=3, num_ignore=num_ignore, final='So', max_thinking_tokens=limit)
    for outcome in strategy.solve(QUESTIONS[:3], FakeSampler(), None, seed=seed):
        for candidate in outcome.candidates:
            thought = candidate.text.split().index('So') if 'So' in candidate.text.split() else len(candidate.tokens)
            assert thought - candidate.text.split()[:thought].count('Wait') <= limit


@pytest.mark.parametrize(
    ('answer_format', 'solution', 'more', 'answer'),
    [
        ('boxed', r'So it is $\boxed{4}$.', ', let me check: 2 + 2 = 4. Yes.', '4'),
        ('boxed', r'So it is $\boxed{4}$.', ', that is wrong. Let me think', '4'),
        ('boxed', r'So it is $\boxed{4}$.', r', I made a mistake. It is $\boxed{5}$.', '5'),
        ('plain', 'The answer is 4.', ', let me check: 2 + 2 = 4. Yes.', '4'),
        ('plain', 'The answer is 4.', ', no. The answer is 5.', '5'),
        ('hash', '#### 4', ', let me check. Yes.', '4'),
        ('hash', '#### 4', ', no.\n#### 5', '5'),
        ('last_line', '4', ', no.\n5', '5'),
        ('last_line', '4', ', let me check: it is 4.', 'Wait, let me check: it is 4.'),
    ],
)
def test_an_answer_stands_until_another_follows(answer_format, solution, more, answer):
    """A bare last line is whatever line comes last: a policy that is asked for one must write it again."""
    text = f'Two and two.\n{solution}{BudgetForcing().wait}{more}'
    row = Row(handle=0, question=QUESTIONS[0], answer_format=answer_format, sample=0, text=text, finish=Finish.STOP)
    assert answer_of(row) == answer


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'n': 0}, 'n must be at least 1 chain'),
        ({'num_ignore': -1}, 'num_ignore must be at least 0, got -1'),
        ({'wait': ''}, 'wait must be words'),
        ({'max_thinking_tokens': 0, 'final': 'So'}, 'max_thinking_tokens must be at least 1'),
        ({'max_thinking_tokens': 5}, 'needs the words that end thinking'),
        ({'verifier': 'prm'}, "majority asks none, got 'prm'"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        BudgetForcing(**fields)
