"""A probe of the bare question: what it reads, what it charges, and what it refuses."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

import jaxreason as jr
from jaxreason.core.cost import FREE, Cost
from jaxreason.core.errors import ConfigError, WeightsError
from jaxreason.core.flops import forward_flops
from jaxreason.core.types import Question, Row
from jaxreason.core.verifier_spec import Unscored
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine import question_probe
from jaxreason.engine.prompt_states import prompt_states, state_size
from jaxreason.engine.question_probe import PROBE, WEIGHTS, ProbeFile, load_probe, open_probe, write_probe
from jaxreason.models.transformer import forward
from tests.evaluate.tiny_world import write_model

PROMPT = PromptSpec(template='raw', step_delimiter='.')
TEXTS = ['1+2=', 'what is 3*4?', 'a' * 70, '9']


def rows_of(texts):
    return [Row(handle=-1, question=Question(text, text), sample=0) for text in texts]


def states_of(lm, texts):
    """One prompt a call, by text."""
    return {text: next(prompt_states(lm, [PROMPT.encode(lm.tokenizer, text)])).states[0] for text in texts}


@pytest.fixture
def folder(lm, tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=state_size(lm.config))
    write_probe(tmp_path, ProbeFile(weights, 0.25, lm.digest, PROMPT.digest, lm.tokenizer.digest), {'num_questions': 3})
    return tmp_path


@pytest.fixture
def probe(lm, folder):
    return load_probe(folder, lm, PROMPT)


def test_states_are_the_last_and_the_mean_over_the_prompt(lm):
    run = jax.jit(forward, static_argnums=0)
    for text, state in states_of(lm, TEXTS[1:3]).items():
        ids = np.array([PROMPT.encode(lm.tokenizer, text)], np.int32)
        hidden = np.asarray(run(lm.config, lm.params, ids, np.arange(ids.shape[1], dtype=np.int32)[None])[0])[0]
        # The kernels of the sampler against plain operations: float32 sums in another order.
        np.testing.assert_allclose(state, np.concatenate([hidden[-1], hidden.mean(axis=0)]), atol=2e-5)


def test_what_is_read_beside_a_prompt_changes_no_bit(lm):
    alone = states_of(lm, TEXTS)
    texts = [*TEXTS, *(f'{number}+{number}=' for number in range(20))]
    seen = {}
    for batch in prompt_states(lm, [PROMPT.encode(lm.tokenizer, text) for text in texts]):
        seen |= {texts[index]: state for index, state in zip(batch.prompts, batch.states, strict=True)}
    assert set(seen) == set(texts)
    assert all(np.array_equal(seen[text], state) for text, state in alone.items())


def test_its_score_is_the_sigmoid_of_the_weighted_states(lm, probe):
    scored = probe.score(rows_of(TEXTS), None)
    for (score,), state in zip(scored.scores, states_of(lm, TEXTS).values(), strict=True):
        assert score == pytest.approx(1 / (1 + math.exp(-(state @ probe.weights + 0.25))), rel=1e-12) and 0 < score < 1
    assert len(set(scored.scores)) == len(TEXTS) and scored.unscored == {} and probe.stats == frozenset()


def test_a_question_is_charged_each_time_and_read_once(lm, probe, monkeypatch):
    read = []
    monkeypatch.setattr(question_probe, 'prompt_states', lambda lm, ids: read.extend(ids) or prompt_states(lm, ids))
    rows = rows_of(['1+2=', '1+2=', '9'])
    revised = Row(
        handle=3, question=Question('again', '1+2=', attempts=('3',)), sample=0, text='3', steps=('3',), step_ends=(1,)
    )
    first, second = probe.score(rows, None), probe.score([*rows, revised], None)
    assert len(read) == 2 and second.scores[:3] == first.scores and second.scores[3] == first.scores[0]
    length = len(PROMPT.encode(lm.tokenizer, '1+2='))
    cost = Cost(verify=forward_flops(lm.config, 0, length, 0) + 2 * state_size(lm.config), scored_tokens=length)
    assert first.costs[0] == first.costs[1] == second.costs[0] == second.costs[3] == cost != first.costs[2]
    assert probe.price(rows[0], 0) == probe.price(revised, 500) == cost.verify
    assert probe.memory([row.question for row in rows], 0, True).parameters == 0


def test_what_cannot_be_read_disturbs_nobody(lm, folder, probe):
    scored = probe.score(rows_of(['1+2=', 'é', '1' * 600, '9']), None)
    assert scored.unscored == {1: Unscored.TEXT, 2: Unscored.TOO_LONG} and scored.costs[1] == scored.costs[2] == FREE
    assert [len(scores) for scores in scored.scores] == [1, 0, 0, 1]
    assert scored.scores[3] == probe.score(rows_of(['9']), None).scores[0]
    broken = dataclasses.replace(
        lm, params={**lm.params, 'final_norm': jax.tree.map(lambda x: x * math.nan, lm.params['final_norm'])}
    )
    assert load_probe(folder, broken, PROMPT).score(rows_of(['9']), None).unscored == {0: Unscored.NAN}


def test_its_digest_names_weights_policy_and_prompt(lm, folder, probe):
    again = load_probe(folder, lm, PROMPT)
    assert again.digest == probe.digest and np.array_equal(again.weights, probe.weights)
    assert open_probe(folder, lm.config, lm.tokenizer, PROMPT).digest == probe.digest
    write_probe(folder, ProbeFile(probe.weights * 2, 0.25, lm.digest, PROMPT.digest, lm.tokenizer.digest), {})
    assert load_probe(folder, lm, PROMPT).digest != probe.digest


def test_another_policy_or_prompt_is_refused(lm, folder):
    with pytest.raises(ConfigError, match='trained with another policy') as error:
        load_probe(folder, dataclasses.replace(lm, digest='1' * 64), PROMPT)
    assert '\n' not in str(error.value)
    with pytest.raises(ConfigError, match='trained with another prompt'):
        load_probe(folder, lm, PromptSpec(template='plain', step_delimiter='.'))
    wider = dataclasses.replace(lm.config, width=64)
    with pytest.raises(ConfigError, match='reads 64 numbers, the policy gives 128'):
        open_probe(folder, wider, lm.tokenizer, PROMPT)


def test_a_damaged_folder_is_refused(lm, folder, tmp_path):
    whole = {name: (folder / name).read_bytes() for name in (PROBE, WEIGHTS)}
    told = json.loads(whole[PROBE])
    for name, content, words in (
        (WEIGHTS, whole[WEIGHTS][:-1], 'is not the file that probe.json was written for'),
        (WEIGHTS, None, 'cannot be read'),
        (PROBE, whole[PROBE][:40], 'damaged'),
        (PROBE, b'[]', 'damaged'),
        (PROBE, b'\xff', 'damaged'),
        (PROBE, json.dumps({**told, 'weights': 3}).encode(), 'is not the file'),
        (PROBE, None, 'name the finished folder of jaxreason train probe'),
    ):
        for each, data in whole.items():
            (folder / each).write_bytes(data)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(WeightsError, match=words) as error:
            load_probe(folder, lm, PROMPT)
        assert '\n' not in str(error.value)


def test_a_mesh_reads_the_same(tmp_path):
    source = write_model(tmp_path / 'model')
    texts = [f'{number}+{number}=' for number in range(11)]
    states = []
    for mesh in (None, {'data': 8}):
        lm = jr.load(source, mesh=mesh)
        prompts = [PROMPT.encode(lm.tokenizer, text) for text in texts]
        states.append(np.concatenate([batch.states for batch in prompt_states(lm, prompts)]))
    np.testing.assert_allclose(states[0], states[1], atol=2e-5)  # another order of float32 sums
