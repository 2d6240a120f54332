"""The strategy that looks first: what it draws again, what it pays, what it answers, driven with a session without a model."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxreason as jr
from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.estimators import FirstScores, FirstVotes, Known, Probe
from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.errors import ConfigError
from jaxreason.core.protocols import Scored
from jaxreason.core.requests import Extend, Start
from jaxreason.core.setting import Setting
from jaxreason.core.types import Finish, Question
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSampler, FakeSession, HashVerifier, LengthVerifier, script

QUESTIONS = [Question(f'q{i}', f'question {i}') for i in range(6)]
EASY, HARD = (0.0,), (1e9,)  # cuts that put every question into the easier and the harder of two bins
OTHER = Majority(n=1)


class Constant(HashVerifier):
    """Opinion of the bare question: 0.3, for 40 FLOPs."""

    def score(self, rows, carry):
        assert all(not row.tokens for row in rows)
        return Scored([(0.3,)] * len(rows), [jr.Cost(verify=40, scored_tokens=2)] * len(rows), carry)

    def price(self, row, num_tokens, carry=None):
        return 40


class Spying(FakeSession):
    """Notes what is started and what is drawn."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.started, self.drawn = [], []

    def start(self, question, copies, first, seed):
        self.started.append(copies)
        return super().start(question, copies, first, seed)

    def submit(self, job):
        if not job.row.tokens:
            self.drawn.append((job.row.question.id, job.row.sample))
        super().submit(job)


class SpyingSampler(FakeSampler):
    def session(self):
        self.last = Spying(**self.settings)
        return self.last


VERIFIERS = {'a': HashVerifier(), 'b': LengthVerifier(), 'probe': Constant(), None: HashVerifier()}


def run(strategy, question=QUESTIONS[0], budget=UNLIMITED, **sampler):
    spy = SpyingSampler(**sampler)
    return strategy.solve([question], spy, VERIFIERS, budget=budget)[0], spy.last


def tokens(sample, question=QUESTIONS[0]):
    return len(script(question, sample, 0))


def by_hand(look, *bins):
    return ComputeOptimal(difficulty=look, bins=bins)


def test_it_is_public():
    assert jr.ComputeOptimal is ComputeOptimal


@pytest.mark.parametrize('n', [1, 2, 3, 5])
def test_samples_that_were_looked_at_are_the_first_of_the_strategy(n):
    strategy = by_hand(FirstScores(n=2, verifier='a', cuts=EASY), BestOfN(n=n, verifier='a'), OTHER)
    outcome, session = run(strategy)
    alone = BestOfN(n=n, verifier='a').solve(QUESTIONS[:1], FakeSampler(), VERIFIERS)[0]
    assert (outcome.answer, outcome.votes, outcome.candidates) == (alone.answer, alone.votes, alone.candidates)
    assert outcome.level == 1
    assert session.started == [max(2, n)] and session.drawn == [('q0', sample) for sample in range(max(2, n))]


def test_what_the_strategy_goes_on_with_is_its_own_and_the_rest_is_probe():
    look = FirstScores(n=3, verifier='a', cuts=EASY)
    outcome, _ = run(by_hand(look, BestOfN(n=2, verifier='a'), OTHER))
    judging = [5 + 3 * tokens(sample) for sample in range(3)]
    assert outcome.cost.prefill == PROMPT_PRICE
    assert outcome.cost.decode == TOKEN_PRICE * (tokens(0) + tokens(1))
    assert outcome.cost.verify == judging[0] + judging[1]
    assert outcome.cost.probe == TOKEN_PRICE * tokens(2) + judging[2]
    assert outcome.cost.new_tokens == sum(map(tokens, range(3))), 'tokens are counted whatever they were for'
    other, _ = run(by_hand(look, BestOfN(n=2, verifier='b'), OTHER))
    assert other.cost.verify == judging[0] + judging[1], 'the prices of both verifiers are the same'
    assert other.cost.probe == TOKEN_PRICE * tokens(2) + sum(judging)
    votes, _ = run(by_hand(look, Majority(n=4), OTHER))
    assert votes.cost.verify == 0 and votes.cost.probe == sum(judging)
    assert votes.cost.decode == TOKEN_PRICE * sum(map(tokens, range(4)))
    assert not votes.candidates[0].scores and not any(c.cost.verify for c in votes.candidates)


@pytest.mark.parametrize('strategy', [BeamSearch(n=4, beam_width=2, verifier='a'), Greedy()])
def test_any_other_strategy_begins_anew_and_looking_was_only_for_the_bin(strategy):
    outcome, session = run(by_hand(FirstScores(n=2, verifier='a', cuts=HARD), OTHER, strategy), num_rows=64)
    alone = strategy.solve(QUESTIONS[:1], FakeSampler(num_rows=64), VERIFIERS)[0]
    assert outcome.answer == alone.answer and outcome.level == 2
    assert [c.text for c in outcome.candidates] == [c.text for c in alone.candidates]
    looked = PROMPT_PRICE + sum(TOKEN_PRICE * tokens(sample) + 5 + 3 * tokens(sample) for sample in range(2))
    assert outcome.cost.probe == looked and outcome.cost.flops == alone.cost.flops + looked
    assert len(session.started) == 2 and not session.held, 'rows that were looked at make room'


def test_a_probe_reads_the_question_before_anything_is_drawn():
    outcome, session = run(by_hand(Probe(verifier='probe', cuts=(0.2,)), Majority(n=2), BestOfN(n=2, verifier='a')))
    assert outcome.level == 1 and outcome.cost.probe == 40 and outcome.cost.verify == 0
    assert session.started == [2]
    assert run(by_hand(Probe(verifier='probe', cuts=(0.31,)), OTHER, Majority(n=2)))[0].level == 2


def write_known(folder, flops=0):
    rows = [
        {'question_id': q.id, 'values': {'oracle': i / 6, 'four': 1 - i / 6}, 'flops': {'oracle': 0, 'four': flops}}
        for i, q in enumerate(QUESTIONS)
    ]
    (folder / 'difficulty.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return str(folder)


def test_what_is_known_is_looked_up_and_charged_what_it_took(tmp_path):
    source = write_known(tmp_path, 500)
    bins = (Majority(n=1), Majority(n=2), Majority(n=3))
    oracle = ComputeOptimal(difficulty=Known(source=source, cuts=(0.3, 0.6)), bins=bins)
    outcomes = oracle.solve(QUESTIONS, FakeSampler(), None)
    assert [o.level for o in outcomes] == [3, 3, 2, 2, 1, 1] and not any(o.cost.probe for o in outcomes)
    assert [len(o.candidates) for o in outcomes] == [3, 3, 2, 2, 1, 1]
    four = ComputeOptimal(difficulty=Known(source=source, estimate='four', cuts=(0.3, 0.6)), bins=bins)
    assert {o.cost.probe for o in four.solve(QUESTIONS, FakeSampler(), None)} == {500}
    with pytest.raises(ConfigError, match="nothing is known of the question 'new'.*jaxreason difficulty"):
        oracle.solve([Question('new', '?')], FakeSampler(), None)


@settings(deadline=None, max_examples=40)
@given(flops=st.integers(0, 2500), charge=st.integers(0, 1500), tokens=st.one_of(st.none(), st.integers(0, 40)))
def test_what_was_spent_beforehand_counts_in_a_budget(tmp_path_factory, flops, charge, tokens):
    source = write_known(tmp_path_factory.mktemp('known'), charge)
    look = Known(source=source, estimate='four', cuts=(0.5,))
    strategy = by_hand(look, BestOfN(n=3, verifier='a'), BeamSearch(n=4, beam_width=2, verifier='a'))
    for outcome in strategy.solve(QUESTIONS, FakeSampler(), VERIFIERS, budget=Budget(flops=flops, tokens=tokens)):
        assert outcome.cost.flops <= flops and (tokens is None or outcome.cost.new_tokens <= tokens)
        assert outcome.cost.probe == (charge if outcome.cost.flops else 0)


def test_where_all_bins_are_alike_nobody_looks():
    strategy = by_hand(FirstScores(n=3, verifier='a', cuts=EASY), OTHER, OTHER)
    assert not strategy.is_looking and strategy.judges == () and strategy.most_generations == 1
    outcome, session = run(strategy)
    assert session.started == [1] and outcome.level is None and outcome.cost.probe == 0
    assert strategy.judges_of(outcome) == ()


def test_the_budget_in_generations_is_the_most_that_any_bin_begins():
    look = FirstVotes(n=3, cuts=EASY)
    assert by_hand(look, Majority(n=2), OTHER).most_generations == 3, 'those looked at are drawn anyway'
    assert by_hand(look, Majority(n=8), OTHER).most_generations == 8
    beam = by_hand(look, BeamSearch(n=4, beam_width=2, lookahead=1, verifier='a'), OTHER)
    assert beam.most_generations == 3 + 8, 'four prefixes with a rollout each, and the three'
    assert run(beam, budget=Budget(generations=11), num_rows=64)[0].level == 1
    with pytest.raises(ValueError, match='begins 11 solutions, the budget allows 10'):
        run(beam, budget=Budget(generations=10))


def test_an_answer_comes_from_the_look_when_the_budget_ends_there():
    look = FirstScores(n=2, verifier='a', cuts=HARD)
    spent = PROMPT_PRICE + sum(TOKEN_PRICE * tokens(sample) + 5 + 3 * tokens(sample) for sample in range(2))
    outcome, _ = run(by_hand(look, OTHER, BeamSearch(n=4, beam_width=2, verifier='b')), budget=Budget(flops=spent))
    assert outcome.level is None and outcome.cost.flops == spent
    assert [c.text.split() for c in outcome.candidates] == [script(QUESTIONS[0], sample, 0) for sample in range(2)]
    best = BestOfN(n=2, verifier='a').solve(QUESTIONS[:1], FakeSampler(), VERIFIERS)[0]
    assert (outcome.answer, outcome.votes) == (best.answer, best.votes)
    strategy = by_hand(look, OTHER, BeamSearch(n=4, beam_width=2, verifier='b'))
    assert strategy.judges_of(outcome) == ('a',), 'its candidates carry the scores of the look'


def test_the_look_votes_as_it_scores():
    """The answer of a look is that of best-of-n with the same aggregation."""
    for aggregation in ('last', 'min', 'prod', 'mean'):
        for question in QUESTIONS:
            look = FirstScores(n=4, verifier='a', agg_strategy=aggregation, cuts=HARD)
            strategy = by_hand(look, OTHER, BeamSearch(n=4, beam_width=2, verifier='b'))
            enough = PROMPT_PRICE + sum(TOKEN_PRICE * tokens(s, question) + 5 + 3 * tokens(s, question) for s in range(4))
            outcome, _ = run(strategy, question, Budget(flops=enough))
            alone = BestOfN(n=4, verifier='a', agg_strategy=aggregation).solve([question], FakeSampler(), VERIFIERS)[0]
            assert (outcome.level, outcome.votes) == (None, alone.votes)


def test_the_budget_may_end_while_looking():
    strategy = by_hand(FirstVotes(n=2, cuts=HARD), OTHER, Majority(n=4))
    none, _ = run(strategy, budget=Budget(flops=PROMPT_PRICE - 1))
    assert none.answer is None and none.cost.flops == 0 and none.candidates == ()
    cut, _ = run(strategy, budget=Budget(tokens=2))
    assert cut.cost.new_tokens == 2 and {c.finish for c in cut.candidates} == {Finish.BUDGET}


def test_it_asks_only_for_what_it_needs():
    """Start once, the look, the rest: driven by hand."""
    search = by_hand(FirstVotes(n=1, cuts=EASY), Majority(n=3), OTHER).search(QUESTIONS[0], Budget())
    session, start = FakeSession(), next(search)
    assert start == Start(QUESTIONS[0], copies=3)
    rows, cost = session.start(QUESTIONS[0], 3, 0, 0)
    first = search.send((rows, cost))
    assert isinstance(first, Extend) and first.rows == rows[:1]
    rest = search.send((rows[:1], jr.Cost()))
    assert isinstance(rest, Extend) and rest.rows == rows[1:]


def test_its_verifiers_are_those_of_the_look_and_of_the_bins():
    strategy = by_hand(FirstScores(n=1, verifier='a', cuts=EASY), BestOfN(n=2, verifier='b'), Greedy())
    assert strategy.judges == ('a', 'b')
    with pytest.raises(ValueError, match="needs the verifier 'b'"):
        strategy.solve(QUESTIONS[:1], FakeSampler(), {'a': HashVerifier()})
    outcome, _ = run(strategy)
    assert strategy.judges_of(outcome) == ('b',)


def test_it_is_a_value(tmp_path):
    def make(source):
        return by_hand(Known(source=source, cuts=EASY), BestOfN(n=2, verifier='a'), OTHER)

    source = write_known(tmp_path)
    strategy = make(source)
    assert strategy == make(source) and hash(strategy) == hash(make(source)) and len({strategy, make(source)}) == 1
    again = pickle.loads(pickle.dumps(strategy))
    assert again == strategy and run(again)[0] == run(strategy)[0]
    assert strategy != by_hand(Known(source=source, cuts=HARD), BestOfN(n=2, verifier='a'), OTHER)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({}, 'either allocation: FILE, or difficulty and bins'),
        ({'bins': (OTHER,)}, 'either allocation: FILE'),
        ({'difficulty': FirstVotes(n=1)}, 'either allocation: FILE'),
        ({'difficulty': FirstVotes(n=1), 'bins': (OTHER,), 'allocation': 'x.yaml'}, 'either allocation: FILE'),
        ({'difficulty': FirstVotes(n=1), 'bins': (OTHER,), 'n': 4}, 'got 4 for bins given by hand'),
        ({'difficulty': FirstVotes(n=1, cuts=(0.5,)), 'bins': (OTHER,)}, '1 cuts make 2 bins, n = 1 has 1'),
        ({'allocation': 'no such.yaml'}, 'no such.yaml'),
    ],
)
def test_what_does_not_go_together_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        ComputeOptimal(**fields)


ALLOCATION = """\
difficulty: {kind: scores, n: 1, verifier: a, cuts: [0.5]}
table:
- n: 2
  bins: [{kind: majority, n: 2}, {kind: best_of_n, n: 2, verifier: a}]
- n: 8
  bins: [{kind: majority, n: 2}, {kind: beam_search, n: 4, beam_width: 2, verifier: b}]
"""
FITTED = """\
fitted:
  mode: per_question
  policy: policy-digest
  tokenizer: tokenizer-digest
  prompt: prompt-digest
  sampler: {temperature: '1.0'}
  verifiers: {a: digest-a, unused: digest-u}
  data: data-digest
  num_questions: 9
  seeds: [0]
  grid: {majority: [2]}
  folds: 2
  runs: [runs/x]
"""


@pytest.fixture
def written(tmp_path):
    path = tmp_path / 'allocation.yaml'
    path.write_text(ALLOCATION)
    return str(path)


def test_a_file_has_a_row_a_budget(written):
    largest = ComputeOptimal(allocation=written)
    assert largest.generations == 8 and largest.row.bins[1] == BeamSearch(n=4, beam_width=2, verifier='b')
    between = ComputeOptimal(allocation=written, n=7)
    assert between.row.n == 2 and between.generations == 7 and between.judges == ('a',)
    assert largest.at(2) == ComputeOptimal(allocation=written, n=2)
    for n in (1, 9):
        with pytest.raises(ValueError, match=f'from n = 2 to 8, got {n}'):
            largest.at(n)
    assert run(largest)[0].level in (1, 2)


class Digested(HashVerifier):
    def __init__(self, digest):
        self.digest = digest


def test_what_was_fitted_for_something_else_is_refused(written):
    with open(written, 'a') as file:
        file.write(FITTED)
    strategy = ComputeOptimal(allocation=written)
    given = {
        'policy': 'policy-digest',
        'tokenizer': 'tokenizer-digest',
        'prompt': 'prompt-digest',
        'sampler': {'temperature': '1.0'},
    }

    def check(digest='digest-a', **changed):
        strategy.check_setting(Setting(**{**given, **changed}), {'a': Digested(digest), 'b': HashVerifier()})

    check()
    strategy.check_setting(None, {})
    for changed, words in (
        ({'policy': 'other'}, 'another policy .policy-diges'), ({'tokenizer': 'other'}, 'another tokenizer'),
        ({'prompt': 'other'}, 'another prompt'),
        ({'sampler': {'temperature': '0.7'}}, 'another sampler.temperature .1.0, here 0.7'),
        ({'sampler': {}}, 'another sampler.temperature'), ({'digest': 'other'}, "another verifier 'a' .digest-a, here other"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words) as error:
            check(**changed)
        assert '\n' not in str(error.value) and str(error.value).startswith(written)
