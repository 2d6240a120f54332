"""Words put into rows: a row with words is a row that has drawn them."""

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
from jaxreason.engine.verifier import MeanLogprob
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
    for row in rows:
        logits = sampler.lm.logits([[*prompt, *row.tokens]])[0, len(prompt) - 1 : -1]
        logprobs = np.asarray(jax.nn.log_softmax(logits))
        yield logprobs[np.arange(len(row.tokens)), row.tokens], -np.log(logits.shape[-1]) - logprobs.mean(axis=-1), logits


def wait_search(question, copies=3, pause=7, max_tokens=None, greedy=False):
    rows, _ = yield Start(question, copies=copies)
    before, _ = yield Extend(rows, max_tokens=pause)
    after, cost = yield Append(before, (WORDS,) * copies)
    rows, _ = yield Extend(after, max_tokens=max_tokens, greedy=greedy)
    return before, after, rows, cost


def test_a_row_with_words_has_drawn_them(make_sampler):
    sampler = make_sampler(max_tokens=64, temperature=1.5)
    for question, (before, after, rows, _) in zip(QUESTIONS, run(wait_search, sampler), strict=True):
        for old, new in zip(before, after, strict=True):
            ended = old.tokens[-1] in sampler.lm.eos_ids
            assert new.text == old.text + WORDS and new.finish is Finish.OPEN
            assert new.tokens == (*old.tokens[: len(old.tokens) - ended], *sampler.lm.tokenizer.encode(WORDS))
            split = sampler.boundaries.split(new.tokens)
            assert (new.steps, new.step_ends) == (split.steps, split.step_ends) and not new.at_boundary
        for row, (logprob, certainty, _) in zip(rows, said(sampler, rows, question), strict=True):
            np.testing.assert_allclose(row.stats['logprob'], logprob, atol=2e-5)
            np.testing.assert_allclose(row.stats['self_certainty'], certainty, atol=2e-5)
            assert len(row.stats['sampled_logprob']) == len(row.tokens)
        for old, new in zip(after, rows, strict=True):
            words = slice(len(old.tokens) - len(WORDS), len(old.tokens))
            assert set(new.stats['sampled_logprob'][words]) == {0.0}
