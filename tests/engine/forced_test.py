"""Words put into rows: a row with words is a row that has drawn them.

Statistics agree within 2e-5 nats with the uncached forward, which sums float32 in another order.
"""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.errors import ConfigError
from jaxreason.core.flops import decode_flops
from jaxreason.core.requests import Append, Extend, Score, Start, Take, Until
from jaxreason.core.types import Finish, Question
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine import forced
from jaxreason.engine.sampler import STATS
from jaxreason.engine.verifier import MeanLogprob
from jaxreason.search.budget_forcing import BudgetForcing
from jaxreason.search.drive import Task, drive
from jaxreason.search.greedy import Greedy
from tests.engine.mesh_test import spread_over, wide  # noqa: F401 - a fixture

QUESTIONS = [Question(f'q{i}', 'what is ' + '+'.join(str(j) for j in range(1 + 9 * i)) + '?') for i in range(4)]
WORDS = '. wait 4+4 is 8. so'


def run(search, sampler, questions=QUESTIONS, verifiers=None):
    """What the search of each question returns, in their order."""
    session = sampler.session()
    tasks = [Task(q, search(q), UNLIMITED, 5) for q in questions]
    found = dict(drive(tasks, session, verifiers or {}))
    assert session._held == {} and session._num_held == {}
    return [found[index] for index in range(len(questions))]


def said(sampler, rows, question):
    """Log-probabilities and self-certainties of rows' tokens by the uncached forward."""
    prompt = sampler.prompt.encode(sampler.lm.tokenizer, question.text)
    fill = [[3] * 192] * (5 - len(rows))  # one shape for all
    all_logits = sampler.lm.logits([*([*prompt, *row.tokens] for row in rows), *fill])
    for row, logits in zip(rows, all_logits, strict=False):
        logits = logits[len(prompt) - 1 : len(prompt) + len(row.tokens) - 1]
        logprobs = np.asarray(jax.nn.log_softmax(logits))
        yield logprobs[np.arange(len(row.tokens)), row.tokens], -np.log(logits.shape[-1]) - logprobs.mean(axis=-1), logits


def wait_search(question, copies=3, pause=7, max_tokens=None, greedy=False):
    rows, _ = yield Start(question, copies=copies)
    before, _ = yield Extend(rows, max_tokens=pause)
    after, cost = yield Append(before, (WORDS,) * copies)
    rows, _ = yield Extend(after, max_tokens=max_tokens, greedy=greedy)
    return before, after, rows, cost


def test_a_row_with_words_has_drawn_them(make_sampler):
    sampler = make_sampler(max_tokens=64, temperature=1.5, stats=STATS)
    for question, (before, after, rows, _) in zip(QUESTIONS, run(wait_search, sampler), strict=True):
        for old, new in zip(before, after, strict=True):
            ended = old.tokens[-1] in sampler.lm.eos_ids
            assert new.text == old.text + WORDS and new.finish is Finish.OPEN
            assert new.tokens == (*old.tokens[: len(old.tokens) - ended], *sampler.lm.tokenizer.encode(WORDS))
            split = sampler.boundaries.split(new.tokens)
            assert (new.steps, new.step_ends) == (split.steps, split.step_ends) and not new.at_boundary
        for row, (logprob, certainty, logits) in zip(rows, said(sampler, rows, question), strict=True):
            np.testing.assert_allclose(row.stats['logprob'], logprob, atol=2e-5)
            np.testing.assert_allclose(row.stats['self_certainty'], certainty, atol=2e-5)
            top = -np.sort(np.asarray(jax.nn.log_softmax(logits)), axis=-1)[:, -20:].mean(axis=-1)
            np.testing.assert_allclose(row.stats['confidence'], top, atol=2e-5)
            assert len(row.stats['sampled_logprob']) == len(row.tokens)
        for old, new in zip(after, rows, strict=True):
            words = slice(len(old.tokens) - len(WORDS), len(old.tokens))
            assert set(new.stats['sampled_logprob'][words]) == {0.0}


def test_it_goes_on_as_a_row_whose_prompt_was_that_text(lm, make_sampler):
    """Greedy decoding behind the words takes the argmax of the uncached forward over prompt, row and words."""
    sampler = make_sampler(max_tokens=64, temperature=1.5)

    def search(question):
        return (yield from wait_search(question, greedy=True))

    for question, (_, after, rows, _) in zip(QUESTIONS, run(search, sampler), strict=True):
        for old, new, (_, _, logits) in zip(after, rows, said(sampler, rows, question), strict=True):
            drawn = len(old.tokens)
            assert new.tokens[drawn:] == tuple(np.argmax(logits[drawn:], axis=-1)) and len(new.tokens) > drawn
    # Words put behind nothing are a longer prompt.
    raw = PromptSpec(template='raw', step_delimiter='.')
    longer = Question('q1', QUESTIONS[1].text + WORDS)
    expected = Greedy().solve([longer], make_sampler(max_tokens=64 - len(WORDS), temperature=1.5), seed=5)[0].candidates[0]
    assert raw.encode(lm.tokenizer, longer.text) == [
        *raw.encode(lm.tokenizer, QUESTIONS[1].text), *lm.tokenizer.encode(WORDS)
    ]  # fmt: skip

    def begin(question):
        rows, _ = yield Start(question)
        rows, _ = yield Append(rows, (WORDS,))
        rows, _ = yield Extend(rows, greedy=True)
        return rows

    (row,) = run(begin, sampler, [QUESTIONS[1]])[0]
    assert row.tokens[len(WORDS) :] == expected.tokens and row.finish is expected.finish


def test_rows_chunks_and_company_change_nothing(make_sampler):
    """Two rows for twelve: they are parked, with words and without, and brought back."""
    settings = {'max_tokens': 48, 'temperature': 1.5}
    expected = run(wait_search, make_sampler(**settings))
    sampler = make_sampler(**settings, num_rows=2, rows_per_slot=1, chunk=3)
    found = run(wait_search, sampler, QUESTIONS[::-1])[::-1]
    assert [[r.tokens for r in rows] for _, _, rows, _ in found] == [[r.tokens for r in rows] for _, _, rows, _ in expected]
    assert run(wait_search, make_sampler(**settings), QUESTIONS[2:3])[0][2][0].stats == expected[2][2][0].stats


def test_pieces_of_a_long_row_join(make_sampler, monkeypatch):
    """A row longer than a piece, words longer than a piece of words: the pieces give what one pass gives."""
    sampler = make_sampler(max_tokens=64, temperature=1.5)

    def search(question):
        return (yield from wait_search(question, pause=21, max_tokens=8))

    expected = run(search, sampler)
    monkeypatch.setattr(forced, 'PIECE', 8)
    monkeypatch.setattr(forced, 'WORDS', 5)
    for (_, _, rows, _), (_, _, cut, _) in zip(expected, run(search, sampler), strict=True):
        for row, other in zip(rows, cut, strict=True):
            assert row.tokens == other.tokens
            np.testing.assert_allclose(row.stats['logprob'], other.stats['logprob'], atol=2e-5)


def test_forks_of_a_row_with_words_share_it_and_draw_anew(make_sampler):
    sampler = make_sampler(max_tokens=64, temperature=1.5)

    def search(question):
        rows, _ = yield Start(question)
        rows, _ = yield Extend(rows, max_tokens=6)
        rows, _ = yield Append(rows, (WORDS,))
        text = rows[0].text
        if question != QUESTIONS[3]:
            rows, _ = yield Take(rows, (0, 0, 0))
        rows, _ = yield Extend(rows)
        return text, rows

    found = run(search, sampler)
    alone = run(search, sampler, QUESTIONS[3:])[0][1]
    assert [row.tokens for row in alone] == [row.tokens for row in found[3][1]]
    for question, (text, rows) in zip(QUESTIONS, found, strict=True):
        assert all(row.text.startswith(text) for row in rows)
        for row, (logprob, _, _) in zip(rows, said(sampler, rows, question), strict=True):
            np.testing.assert_allclose(row.stats['logprob'], logprob, atol=2e-5)
    assert any(len({row.tokens for row in rows}) == 3 for _, rows in found)


def test_what_was_said_from_a_mark_on_is_dropped(make_sampler):
    sampler = make_sampler(max_tokens=64, temperature=1.5)

    def search(question):
        rows, _ = yield Start(question, copies=4)
        before, _ = yield Extend(rows, until=Until.STEP)
        after, cost = yield Append(before, ('wait ', None, 'wait ', 'wait '), cut='a')
        rows, _ = yield Extend(after, until=Until.STEP)
        return before, after, rows, cost

    num_cut = 0
    for question, (before, after, rows, cost) in zip(QUESTIONS, run(search, sampler), strict=True):
        prompt = len(sampler.prompt.encode(sampler.lm.tokenizer, question.text))
        assert after[1] is before[1]
        for index in (0, 2, 3):
            old, new = before[index], after[index]
            stays = old.text.partition('a')[0]
            num_cut += stays != old.text
            assert new.text == stays + 'wait ' and new.finish is Finish.OPEN and not new.at_boundary
            kept = len(new.tokens) - 5
            assert new.tokens[:kept] == old.tokens[:kept]
            price = decode_flops(sampler.lm.config, prompt, kept, 5)
            dropped = decode_flops(sampler.lm.config, prompt, kept, len(old.tokens) - kept)
            assert new.cost.decode == old.cost.decode + price and new.cost.discarded == dropped
            assert new.cost.prompt_tokens == 5 and new.cost.new_tokens == old.cost.new_tokens
        assert cost.decode == sum(new.cost.decode - old.cost.decode for old, new in zip(before, after, strict=True))
        assert cost.prompt_tokens == 15 and cost.new_tokens == 0
        for row, (logprob, _, _) in zip(rows, said(sampler, rows, question), strict=True):
            np.testing.assert_allclose(row.stats['logprob'], logprob, atol=2e-5)
            split = sampler.boundaries.split(row.tokens)
            assert (row.steps, row.step_ends, row.text) == (split.steps, split.step_ends, split.text)
            assert row.at_boundary == (row.finish is Finish.OPEN)
    assert num_cut


def test_words_may_end_a_step_or_a_solution(make_sampler):
    sampler = make_sampler(max_tokens=64, stop=('7+7',))

    def search(question):
        rows, _ = yield Start(question, copies=3)
        return (yield Append(rows, ('7. ', 'so 7.', 'so 7+7 is')))[0]

    step, end, stop = run(search, sampler, QUESTIONS[:1])[0]
    assert step.steps == ('7.', ' ') and not step.at_boundary
    assert end.steps == ('so 7.',) and end.at_boundary and end.finish is Finish.OPEN
    assert (stop.text, stop.finish, len(stop.tokens)) == ('so ', Finish.STOP, 6)


def test_a_stop_string_is_dropped_with_what_follows(make_sampler):
    sampler = make_sampler(max_tokens=64, stop=('.',), temperature=1.5)
    cut = 0
    for before, after, _, _ in run(wait_search_to_the_end, sampler):
        for old, new in zip(before, after, strict=True):
            assert new.text == old.text + 'wait'
            cut += old.finish is Finish.STOP and old.tokens[-1] not in sampler.lm.eos_ids
    assert cut


def wait_search_to_the_end(question):
    rows, _ = yield Start(question, copies=6)
    before, _ = yield Extend(rows, max_tokens=40)
    after, cost = yield Append(before, ('wait',) * 6)
    rows, _ = yield Extend(after)
    return before, after, rows, cost


def test_there_may_be_no_room(make_sampler):
    sampler = make_sampler(max_tokens=16, temperature=1.5)

    def search(question):
        rows, _ = yield Start(question, copies=2)
        before, _ = yield Extend(rows, max_tokens=12)
        after, cost = yield Append(before, ('more', 'mor'))
        assert cost.flops == (after[1].cost.flops - before[1].cost.flops)
        return before, after

    ended = 0
    for before, after in run(search, sampler):
        (old, _), (new, one_token_left) = before, after
        if old.finish is Finish.OPEN:
            assert new.tokens == old.tokens and new.finish is Finish.LENGTH
            ended += 1
        assert one_token_left.finish is Finish.OPEN
    assert ended


def test_verifiers_read_rows_with_words(make_sampler):
    def search(question):
        rows, _ = yield Start(question, copies=2)
        rows, _ = yield Extend(rows, until=Until.STEP)
        yield Score(rows)
        rows, _ = yield Append(rows, ('wait',) * 2, cut='1')
        rows, _ = yield Extend(rows, until=Until.STEP)
        return rows, (yield Score(rows))[0]

    for rows, scores in run(search, make_sampler(max_tokens=64, temperature=1.5), verifiers={None: MeanLogprob()}):
        for row, each in zip(rows, scores, strict=True):
            assert len(each) == len(row.steps)
            assert each[-1] == pytest.approx(np.exp(np.mean(row.stats['logprob'])))


@pytest.mark.slow
def test_a_mesh_puts_words_in(wide, make_sampler):  # noqa: F811
    lm = spread_over(wide, {'data': 2, 'model': 4})
    sampler = dataclasses.replace(make_sampler(max_tokens=48, num_rows=16), lm=lm)
    for question, (_, _, rows, _) in zip(QUESTIONS, run(wait_search, sampler), strict=True):
        for row, (logprob, _, _) in zip(rows, said(sampler, rows, question), strict=True):
            np.testing.assert_allclose(row.stats['logprob'], logprob, atol=2e-5)


def test_words_that_the_vocabulary_lacks_are_refused(make_sampler):
    def search(question, text, cut=''):
        rows, _ = yield Start(question)
        yield Append(rows, (text,), cut)

    with pytest.raises(ConfigError, match="expected words that the tokenizer of tiny can write, got 'Wait'"):
        run(lambda question: search(question, 'Wait'), make_sampler(), QUESTIONS[:1])
    (special, *_) = make_sampler().lm.tokenizer.special_pieces
    with pytest.raises(ConfigError, match='is a special token of tiny, which is no text'):
        run(lambda question: search(question, 'wait', special), make_sampler(), QUESTIONS[:1])


def test_chains_of_a_policy_are_forced(make_sampler):
    sampler = make_sampler(max_tokens=64, temperature=1.5)
    strategy = BudgetForcing(n=3, num_ignore=2, wait=' wait', final=' so ', max_thinking_tokens=30)
    outcomes = strategy.solve(QUESTIONS, sampler, seed=5)
    assert outcomes[2] == strategy.solve([QUESTIONS[2]], sampler, seed=5)[0]
    found = set()
    for outcome in outcomes:
        for c in outcome.candidates:
            waits, cuts = c.text.count(' wait'), c.text.count(' so ')
            found.add((waits, cuts))
            words = len(' wait') * waits + len(' so ') * cuts
            assert c.cost.prompt_tokens == words and c.cost.new_tokens >= len(c.tokens) - words
            assert cuts == 1 or (waits == 2 and c.finish is Finish.STOP)
            # What was drawn before the cut, end tokens that were taken back included.
            assert not cuts or len(c.tokens[: c.text.index(' so ')]) <= 30 + len(' wait') * waits
    assert {(0, 1), (1, 1)} <= found


def test_a_stop_string_may_begin_in_the_words(make_sampler):
    """Whatever is drawn first completes one: the loop goes on in the state that the words lead to."""
    characters = '0123456789abcdefghijklmnopqrstuvwxyz +-*=?!.\n'
    sampler = make_sampler(max_tokens=64, temperature=1.5, stop=tuple(f'k{character}' for character in characters))

    def search(question):
        rows, _ = yield Start(question, copies=2)
        rows, _ = yield Append(rows, ('look',) * 2)
        return (yield Extend(rows, max_tokens=1))[0]

    rows = [row for rows in run(search, sampler) for row in rows]
    assert all(row.text == 'loo' for row in rows if row.finish is Finish.STOP and row.tokens[-1] not in sampler.lm.eos_ids)
    assert sum(row.text == 'loo' and row.finish is Finish.STOP for row in rows) > len(rows) / 2
