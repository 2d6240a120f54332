import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.errors import ConfigError
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.protocols import Job
from jaxreason.core.requests import Extend, Start, Take, Until
from jaxreason.core.types import Finish, Question
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.verifier import MeanLogprob, SelfCertainty
from jaxreason.models.packed import can_pack
from jaxreason.models.transformer import init_parameters, unstack_layers
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.drive import Task, drive
from jaxreason.search.greedy import Greedy
from jaxreason.search.majority import Majority

# From 10 to 160 tokens: alone, a short prompt runs in a smaller room than in company.
QUESTIONS = [Question(f'q{i}', 'what is ' + '+'.join(str(j) for j in range(1 + 9 * i)) + '?') for i in range(7)]


def prompt_of(lm, question):
    return PromptSpec(template='raw').encode(lm.tokenizer, question.text)


def tokens(outcomes):
    return [[c.tokens for c in outcome.candidates] for outcome in outcomes]


@pytest.fixture(scope='module')
def together(make_sampler):
    return Majority(n=3).solve(QUESTIONS, make_sampler(), seed=5)


def test_neighbours_order_and_refill_change_no_token(make_sampler, together):
    expected = tokens(together)
    for index in (0, 6):
        assert tokens(Majority(n=3).solve([QUESTIONS[index]], make_sampler(), seed=5)) == [expected[index]]
    assert tokens(Majority(n=3).solve(QUESTIONS[::-1], make_sampler(), seed=5)) == expected[::-1]


@pytest.mark.parametrize('chunk', [1, 5, 24])
def test_chunks_change_no_token(make_sampler, together, chunk):
    assert tokens(Majority(n=3).solve(QUESTIONS, make_sampler(chunk=chunk), seed=5)) == tokens(together)


def test_statistics_and_costs_do_not_see_neighbours_either(make_sampler, together):
    alone = Majority(n=3).solve([QUESTIONS[4]], make_sampler(), seed=5)
    assert alone == [together[4]]


def test_fewer_copies_are_the_first_of_more(make_sampler, together):
    assert tokens(Majority(n=1).solve(QUESTIONS, make_sampler(), seed=5)) == [t[:1] for t in tokens(together)]


def test_another_seed_or_id_draws_anew(make_sampler, together):
    assert tokens(Majority(n=3).solve(QUESTIONS, make_sampler(), seed=6)) != tokens(together)
    renamed = [Question('x' + q.id, q.text) for q in QUESTIONS]
    assert tokens(Majority(n=3).solve(renamed, make_sampler(), seed=5)) != tokens(together)


def test_the_identity_test_can_fail(make_sampler, together, monkeypatch):
    """The inverse: draws addressed by their place on the device do depend on neighbours, and the comparison sees it."""
    from jaxreason.engine import session

    original = session.DeviceSession._set

    def by_place(self, held, job):
        original(self, held, job)
        self._rows.key[held.place] = (held.place, 1)

    monkeypatch.setattr(session.DeviceSession, '_set', by_place)
    order = [QUESTIONS[i] for i in (3, 1, 0, 2, 6, 5, 4)]
    first = dict(zip([q.id for q in QUESTIONS], tokens(Majority(n=3).solve(QUESTIONS, make_sampler(), seed=5)), strict=True))
    second = dict(zip([q.id for q in order], tokens(Majority(n=3).solve(order, make_sampler(), seed=5)), strict=True))
    assert first != second


def test_sampled_tokens_are_those_of_the_teacher_forced_distribution(lm, make_sampler):
    """Greedy decoding through prompt and suffix cache takes the argmax of the uncached forward, with its log-probability."""
    for outcome in Greedy().solve(QUESTIONS, make_sampler(), seed=0):
        prompt = prompt_of(lm, outcome.question)
        row = outcome.candidates[0].tokens
        logits = lm.logits([[*prompt, *row]])[0, len(prompt) - 1 : -1]
        assert row == tuple(np.argmax(logits, axis=-1))


def test_log_probabilities_are_those_of_the_teacher_forced_distribution(lm, make_sampler):
    def search(question):
        rows, _ = yield Start(question, copies=4)
        rows, _ = yield Extend(rows)
        return rows

    tasks = [Task(q, search(q), UNLIMITED, 1) for q in QUESTIONS]
    stats = ('logprob', 'sampled_logprob', 'self_certainty', 'confidence')
    for index, rows in drive(tasks, make_sampler(temperature=0.7, top_p=0.8, stats=stats).session(), {}):
        prompt = prompt_of(lm, QUESTIONS[index])
        for row in rows:
            logits = lm.logits([[*prompt, *row.tokens]])[0, len(prompt) - 1 : -1]
            logprobs = np.asarray(jax.nn.log_softmax(logits))
            picked = logprobs[np.arange(len(row.tokens)), row.tokens]
            np.testing.assert_allclose(row.stats['logprob'], picked, atol=2e-4)  # float32 sums in another order
            certainty = -np.log(logits.shape[-1]) - logprobs.mean(axis=-1)
            np.testing.assert_allclose(row.stats['self_certainty'], certainty, atol=2e-4)
            highest = np.sort(logprobs, axis=-1)[:, ::-1][:, :20]
            np.testing.assert_allclose(row.stats['confidence'], -highest.mean(axis=-1), atol=2e-4)
            # top-p cuts and renormalises: what was drawn is at least as likely there as in the tempered distribution.
            tempered = np.asarray(jax.nn.log_softmax(logits / 0.7))[np.arange(len(row.tokens)), row.tokens]
            assert np.all(np.array(row.stats['sampled_logprob']) >= tempered - 1e-4)


def test_costs_are_the_analytic_flops_of_what_was_fed(lm, make_sampler, together):
    for outcome in together:
        length = len(prompt_of(lm, outcome.question))
        assert outcome.cost.prefill == prompt_flops(lm.config, length) and outcome.cost.prompt_tokens == length
        expected = sum(decode_flops(lm.config, length, 0, len(c.tokens)) for c in outcome.candidates)
        assert outcome.cost.decode == expected
        assert outcome.cost.new_tokens == sum(len(c.tokens) for c in outcome.candidates)


def test_a_flop_budget_holds_and_is_used(lm, make_sampler):
    budget = Budget(flops=2_000_000)
    free = Majority(n=3).solve(QUESTIONS[:2], make_sampler(), seed=5)
    for outcome, whole in zip(Majority(n=3).solve(QUESTIONS[:2], make_sampler(), seed=5, budget=budget), free, strict=True):
        assert outcome.cost.flops <= 2_000_000 < whole.cost.flops
        for cut, full in zip(outcome.candidates, whole.candidates, strict=True):
            assert full.tokens[: len(cut.tokens)] == cut.tokens
        # Less than one more token for every row is left over.
        price = decode_flops(lm.config, outcome.cost.prompt_tokens + 24, 0, 1)
        assert 2_000_000 - outcome.cost.flops < 3 * price


def test_ends_and_lengths(lm, make_sampler):
    finishes = set()
    for outcome in Majority(n=8).solve(QUESTIONS, make_sampler(temperature=2.0), seed=2):
        for c in outcome.candidates:
            finishes.add(c.finish)
            ended = [t in lm.eos_ids for t in c.tokens]
            assert not any(ended[:-1])
            assert c.finish == (Finish.STOP if ended[-1] else Finish.LENGTH)
            assert len(c.tokens) == 24 or c.finish is Finish.STOP
            assert c.text == lm.tokenizer.decode(c.tokens)
    assert finishes == {Finish.STOP, Finish.LENGTH}


def test_stop_strings_end_a_row_and_are_cut_off(make_sampler):
    plain = Majority(n=6).solve(QUESTIONS, make_sampler(temperature=2.0), seed=2)
    stopped = Majority(n=6).solve(QUESTIONS, make_sampler(temperature=2.0, stop=('a', '7+')), seed=2)
    cut = 0
    for before, after in zip(plain, stopped, strict=True):
        for a, b in zip(before.candidates, after.candidates, strict=True):
            assert a.tokens[: len(b.tokens)] == b.tokens
            found = [a.text.find(s) for s in ('a', '7+') if s in a.text]
            assert b.text == (a.text[: min(found)] if found else a.text)
            cut += bool(found)
            assert not found or b.finish is Finish.STOP
    assert cut


def step_search(question, log):
    """Extends step by step, with every row in turn, so that rows pause, wait, and go on."""
    rows, _ = yield Start(question, copies=3)
    while any(row.finish is Finish.OPEN for row in rows):
        rows, _ = yield Extend(rows, until=Until.STEP)
        log.append([row.at_boundary for row in rows])
    return rows


@pytest.mark.parametrize('num_rows, rows_per_slot', [(8, 2), (2, 1), (4, 4)])
def test_pausing_and_parking_change_no_token(make_sampler, num_rows, rows_per_slot):
    """With few rows questions wait in the middle of their steps: their keys and values are parked and brought back."""
    settings = {'num_rows': num_rows, 'rows_per_slot': rows_per_slot, 'temperature': 1.5}
    whole = Majority(n=3).solve(QUESTIONS, make_sampler(**settings), seed=5)
    log = []
    tasks = [Task(q, step_search(q, log), UNLIMITED, 5) for q in QUESTIONS]
    session = make_sampler(**settings).session()
    found = dict(drive(tasks, session, {}))
    assert [[row.tokens for row in found[i]] for i in range(len(QUESTIONS))] == tokens(whole)
    assert any(any(flags) for flags in log)
    if num_rows == 2:
        assert session.timing.parked > 0
    for i in range(len(QUESTIONS)):
        for row in found[i]:
            assert ''.join(row.steps) == row.text and all('.' in step for step in row.steps[:-1])


def test_forks_share_the_past_and_draw_anew(make_sampler):
    def search(question):
        rows, _ = yield Start(question, copies=2)
        rows, _ = yield Extend(rows, max_tokens=6)
        past = rows[1].tokens
        rows, _ = yield Take(rows, (1, 1, 1))
        rows, _ = yield Extend(rows)
        return past, rows

    def go(questions):
        tasks = [Task(q, search(q), UNLIMITED, 5) for q in questions]
        return dict(drive(tasks, make_sampler(temperature=1.5).session(), {}))

    plain = Majority(n=2).solve(QUESTIONS, make_sampler(temperature=1.5), seed=5)
    found = go(QUESTIONS)
    for index, (past, rows) in found.items():
        assert all(row.tokens[:6] == past[:6] for row in rows)
        # Rank 0 keeps its address: it goes on as if nothing had happened.
        assert rows[0].tokens == plain[index].candidates[1].tokens
        assert rows[1].cost.new_tokens == len(rows[1].tokens) - len(past)
    assert any(len({row.tokens for row in rows}) == 3 for _, rows in found.values())
    alone = go(QUESTIONS[3:4])
    assert [row.tokens for row in alone[0][1]] == [row.tokens for row in found[3][1]]


def test_a_nan_fails_its_row_only(lm, make_sampler):
    """A token whose embedding is NaN: rows that draw it fail there, and leave nothing behind for those that follow."""
    clean = Majority(n=4).solve(QUESTIONS, make_sampler(temperature=2.0), seed=2)
    bad = lm.tokenizer.encode('k')[0]
    params = {**lm.params, 'embedding': lm.params['embedding'].at[bad].set(jnp.nan)}
    broken = dataclasses.replace(make_sampler(temperature=2.0), lm=dataclasses.replace(lm, params=params))
    failed = 0
    for before, after in zip(clean, Majority(n=4).solve(QUESTIONS, broken, seed=2), strict=True):
        for a, b in zip(before.candidates, after.candidates, strict=True):
            if bad in a.tokens[:-1]:
                assert b.finish is Finish.FAILED and b.tokens == a.tokens[: a.tokens.index(bad) + 1]
                failed += 1
            else:
                assert b.tokens == a.tokens and b.finish == a.finish
    assert failed


def test_verifiers_read_the_policy_itself(make_sampler):
    sampler = make_sampler(temperature=1.5)
    for verifier in (MeanLogprob(), SelfCertainty()):
        for outcome in BestOfN(n=3).solve(QUESTIONS[:2], sampler, verifier, seed=5):
            for c in outcome.candidates:
                assert len(c.scores) == len(c.steps) and all(s >= 0 for s in c.scores)
            assert outcome.cost.verify == 0


def test_a_prompt_beyond_the_context_is_refused_by_name(make_sampler):
    long = Question('too-long', 'a' * 600)
    with pytest.raises(ConfigError, match="question 'too-long': its prompt of 601 tokens"):
        Majority(n=1).solve([QUESTIONS[0], long], make_sampler())


@pytest.mark.parametrize(
    'settings, match',
    [({'num_rows': 6, 'rows_per_slot': 4}, 'rows_per_slot must divide'), ({'max_tokens': 0}, 'max_tokens must be'),
     ({'max_tokens': 512}, 'room for a prompt'), ({'stop': ('',)}, 'stop strings must not be empty'),
     ({'stats': ('entropy',)}, 'entropy'), ({'num_rows': 0}, 'num_rows must be')],
)  # fmt: skip
def test_impossible_settings_are_refused(make_sampler, settings, match):
    with pytest.raises((ValueError, ConfigError), match=match):
        make_sampler(**settings)


def test_a_slow_device_gets_shorter_chunks(make_sampler, monkeypatch):
    """A stop that was asked for waits for the chunk: its steps are cut to what two seconds hold, and no token changes."""
    from jaxreason.engine import session

    expected = tokens(Majority(n=3).solve(QUESTIONS, make_sampler(), seed=5))
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(session.time, 'monotonic', lambda: float(next(clock)))
    slow = make_sampler().session()
    assert slow._steps_within(2.0, 0.9) == 2 and slow._steps_within(2.0, 5.0) == 1 and slow._steps_within(2.0, 1e-4) == 8
    assert tokens(Majority(n=3).solve(QUESTIONS, make_sampler(), seed=5)) == expected


def test_no_setting_of_the_user_changes_a_draw(make_sampler, together):
    with jax.default_prng_impl('rbg'):
        assert tokens(Majority(n=3).solve(QUESTIONS[:2], make_sampler(), seed=5)) == tokens(together)[:2]


@pytest.mark.parametrize(('head_width', 'top_k'), [(8, 1), (8, 1000), pytest.param(16, 3, marks=pytest.mark.slow)])
def test_confidence_looks_at_as_many_tokens_as_it_is_told(lm, make_sampler, head_width, top_k):
    """Of the model's own distribution: what is drawn is tempered, and drawn by a kernel where the heads are wide enough."""
    config = dataclasses.replace(lm.config, head_width=head_width)
    lm = dataclasses.replace(lm, config=config, params=unstack_layers(init_parameters(config, jax.random.key(7))))
    assert ('packed_head' in lm.params_for_decoding) is (can_pack(config) and head_width == 16)
    settings = make_sampler(temperature=0.6, stats=('confidence',), confidence_top_k=top_k)
    session = dataclasses.replace(settings, lm=lm).session()
    session.prepare(QUESTIONS[:1])
    rows, _ = session.start(QUESTIONS[0], 2, 0, seed=3)
    for row in rows:
        session.submit(Job(row, until_step=False, max_tokens=6, greedy=False))
    found = []
    while len(found) < 2:
        found += session.pump()
    prompt = prompt_of(lm, QUESTIONS[0])
    for row in found:
        logits = lm.logits([[*prompt, *row.tokens]])[0, len(prompt) - 1 : -1]
        highest = np.sort(np.asarray(jax.nn.log_softmax(logits)), axis=-1)[:, ::-1][:, :top_k]
        np.testing.assert_allclose(row.stats['confidence'], -highest.mean(axis=-1), atol=2e-4)
        assert set(row.stats) == {'confidence'}
