import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxreason.core.budget import Budget
from jaxreason.core.cost import FREE, Cost, total
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import Unscored, VerifierSpec
from jaxreason.engine.verifier_loading import load_verifier
from jaxreason.engine.verifier_presets import BY_ARCHITECTURE, PRESETS
from jaxreason.models.transformer import forward
from jaxreason.models.value_heads import action_log_odds, head_tensors, init_head
from jaxreason.search.best_of_n import BestOfN

GOLDEN = Path(__file__).parent / 'golden'
QWEN = 'qwen2.5-math-prm'
QUESTION = 'What is 12 + 30 * 2?'
STEPS = ('First, 30 * 2 = 60.\n\n', 'Then 12 + 60 = 72.\n\n', 'The answer is 72.')


def row(steps=STEPS, handle=0, question=QUESTION, **fields):
    given = {'step_ends': tuple(range(1, len(steps) + 1)), 'tokens': tuple(range(len(steps)))}
    return Row(
        handle=handle,
        question=Question(question, question),
        sample=0,
        text=''.join(steps),
        steps=tuple(steps),
        **given | fields,
    )


def cases(preset):
    return [
        (case['question'], case['steps'], case['scores']) for case in json.loads((GOLDEN / preset / 'scores.json').read_text())
    ]


def changed(verifier, **changes):
    """The same verifier with other settings."""
    return dataclasses.replace(verifier, spec=dataclasses.replace(verifier.spec, **changes))


@pytest.fixture(scope='module', params=PRESETS)
def published(request):
    """Each published verifier, tiny, with questions, steps and the scores of its authors' computation."""
    return load_verifier(GOLDEN / request.param, preset=request.param), cases(request.param)


@pytest.fixture(scope='module')
def qwen():
    return load_verifier(GOLDEN / QWEN)


def test_scores_are_those_of_the_authors(published):
    verifier, golden = published
    scored = verifier.score([row(steps, handle, q) for handle, (q, steps, _) in enumerate(golden)], None)
    for found, (_, _, expected) in zip(scored.scores, golden, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert np.ptp(np.concatenate([expected for _, _, expected in golden])) > 0.01  # the comparison means something


def test_a_growing_solution_feeds_each_token_once(published):
    verifier, golden = published
    question, steps, expected = golden[0]
    carry, costs = None, []
    for count in range(1, len(steps) + 1):
        scores, (cost,), carry, _ = verifier.score([row(steps[:count], 5, question)], carry)
        costs.append(cost)
        assert scores[0] == pytest.approx(expected[:count], abs=1e-4)
    whole = verifier.score([row(steps, 6, question)], None).costs[0]
    assert total(costs) == whole
    assert costs[-1].scored_tokens < whole.scored_tokens / 2
    again = verifier.score([row(steps, 5, question)], carry)
    assert again.costs == [FREE] and again.scores[0] == pytest.approx(expected, abs=1e-4)


def test_a_fork_goes_on_from_its_parent(qwen):
    carry = qwen.score([row(STEPS[:1], 1)], None).carry
    parent, fork = row(STEPS, 1), row((*STEPS[:1], 'So 72.'), 2, lineage=(1,))
    scores, costs, *_ = qwen.score([parent, fork], carry)
    alone = qwen.score([dataclasses.replace(fork, lineage=())], None)
    assert scores[1] == pytest.approx(alone.scores[0], abs=1e-5)
    assert costs[1].scored_tokens < alone.costs[0].scored_tokens / 2
    stranger = qwen.score([dataclasses.replace(fork, handle=3, lineage=())], carry)
    assert stranger.costs == alone.costs  # rows of others are no discount


def test_text_that_changed_is_scored_anew_from_where_it_did(qwen):
    carry = qwen.score([row(('First, 30 * 2',))], None).carry  # cut off: a marker stands where the text goes on
    found = qwen.score([row(STEPS)], carry)
    assert found.scores[0] == pytest.approx(qwen.score([row(STEPS)], None).scores[0], abs=1e-5)


def test_neither_memory_nor_neighbours_change_scores_or_costs(qwen):
    rows = [row(STEPS[:1], 1), row(('Only 1.\n\n',), 2), row(STEPS[:2], 3)]
    small = changed(qwen, carry_bytes=0)
    first, first_small = qwen.score(rows, None), small.score(rows, None)
    assert first.scores == first_small.scores
    later = [row(STEPS, 1), row(('Only 1.\n\n', 'So 1.'), 2), row(STEPS, 3)]
    second, second_small = qwen.score(later, first.carry), small.score(later, first_small.carry)
    assert second.costs == second_small.costs
    for a, b in zip(second.scores, second_small.scores, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    alone = [qwen.score([one], first.carry) for one in later]
    assert [one.scores[0] for one in alone] == second.scores
    assert [one.costs[0] for one in alone] == second.costs
    ended = qwen.score([row(finish=Finish.STOP)], None)
    assert not ended.carry.entries  # what cannot grow is not kept


def test_a_call_larger_than_a_batch(qwen):
    rows = [row((f'Take {n}.\n\n', f'So {n}.'), n) for n in range(11)]
    assert qwen.score(rows, None).scores == [qwen.score([one], None).scores[0] for one in rows]


BAD = {
    Unscored.NO_STEPS: row((), 7),
    Unscored.STEPS: row(STEPS, 7, step_ends=(1, 2)),
    Unscored.TEXT: row(('a \ud800 b.',), 7),
    Unscored.TOO_LONG: row(('7 ' * 600,), 7),
}


@pytest.mark.parametrize('reason', BAD)
def test_bad_input_is_counted_and_disturbs_nobody(qwen, reason):
    scores, costs, carry, unscored = qwen.score([row(), BAD[reason], row(handle=2)], None)
    assert scores[1] == () and costs[1] == FREE and 7 not in carry.entries
    assert scores[0] == scores[2] == qwen.score([row()], None).scores[0]
    assert unscored == {1: reason}


def test_numbers_that_are_none_fail_one_row(qwen):
    bad = qwen.typesetter.lay(QUESTION, ('#',)).ids[-2]
    table = qwen.params['embedding'].at[bad].set(jnp.nan)
    verifier = dataclasses.replace(qwen, params={**qwen.params, 'embedding': table})
    scores, costs, carry, unscored = verifier.score([row(), row(('#.\n\n', 'b'), 7), row(handle=2)], None)
    assert scores[1] == () and costs[1].verify > 0 and 7 not in carry.entries
    assert scores[0] == scores[2] == qwen.score([row()], None).scores[0]
    assert unscored == {1: Unscored.NAN}


def test_text_adds_no_scores(published):
    verifier, _ = published
    steps = ('See <extra_0> and ки, + - \n too<|im_end|>.\n\n', 'ки <extra_0>+')
    scored = verifier.score([row(steps, question='<extra_0> ки + what?')], None)
    assert len(scored.scores[0]) == 2


def test_the_policys_tokens_do_not_matter(qwen):
    own = qwen.score([row(tokens=(1, 2, 3))], None)
    foreign = qwen.score([row(tokens=(9, 900_000, 7), step_ends=(1, 2, 3))], None)
    assert own.scores == foreign.scores and own.costs == foreign.costs


def test_the_price_is_what_a_first_scoring_costs_and_grows(published):
    verifier, golden = published
    rows = [row(steps, handle, q) for handle, (q, steps, _) in enumerate(golden)]
    costs = verifier.score(rows, None).costs
    assert [verifier.price(one, 0) for one in rows] == [cost.flops for cost in costs]
    prices = [verifier.price(rows[0], count) for count in (0, 1, 2, 50, 10_000)]
    assert prices == sorted(prices) and prices[1] > prices[0]
    assert verifier.price(row(()), 0) == 0 < verifier.price(row(()), 1)
    assert verifier.price(row(STEPS[:1], tokens=(1,) * 19), 40) >= verifier.price(row(STEPS), 0)


def test_the_price_with_a_carry_is_what_a_later_scoring_costs(published):
    verifier, golden = published
    question, steps, _ = golden[0]
    begun, grown = row(steps[:1], 1, question), row(steps, 1, question)
    fork, stranger = (dataclasses.replace(grown, handle=handle, lineage=lineage) for handle, lineage in ((2, (1,)), (3, ())))
    carry = verifier.score([begun], None).carry
    later = verifier.score([grown, fork, stranger], carry)
    assert [verifier.price(one, 0, carry) for one in (grown, fork, stranger)] == [cost.flops for cost in later.costs]
    assert later.costs[0].flops < later.costs[2].flops == verifier.price(grown, 0)
    assert verifier.price(grown, 0, carry) < verifier.price(grown, 1, carry) < verifier.price(grown, 50, carry)


def test_rows_that_are_gone_are_forgotten(published):
    verifier, golden = published
    question, steps, _ = golden[0]
    carry = verifier.score([row(steps[:1], 1, question), row(steps[:1], 2, question)], None).carry
    grown = [row(steps, handle, question) for handle in (1, 2)]
    kept = verifier.forget(carry, [1, 7])
    assert set(kept.entries) == {2} and 0 < kept.size < carry.size
    costs = verifier.score(grown, kept).costs
    assert costs[0].flops == verifier.price(grown[0], 0) > costs[1].flops
    assert verifier.forget(kept, [2]).size == 0


def test_a_mesh_gives_the_same_scores():
    if len(jax.devices()) < 8:
        pytest.skip('needs eight devices')
    verifier = load_verifier(GOLDEN / QWEN, mesh={'data': 4, 'model': 2})
    question, steps, expected = cases(QWEN)[0]
    scores, _, carry, _ = verifier.score([row(steps[:1], 1, question)], None)
    scores, *_ = verifier.score([row(steps, 1, question)], carry)
    assert scores[0] == pytest.approx(expected, abs=1e-4)


def copy_of(preset, folder, **edits):
    shutil.copytree(GOLDEN / preset, folder)
    config = json.loads((folder / 'config.json').read_text()) | edits
    (folder / 'config.json').write_text(json.dumps(config))
    return folder


def test_a_folder_that_says_what_it_is_needs_no_preset(tmp_path):
    for architecture, preset in BY_ARCHITECTURE.items():
        spec = load_verifier(GOLDEN / preset).spec
        assert json.loads((GOLDEN / preset / 'config.json').read_text())['architectures'] == [architecture]
        assert (spec.head, spec.layout) == (PRESETS[preset].head, PRESETS[preset].layout)
    with pytest.raises(ConfigError, match='nothing says what this verifier is .*MistralForCausalLM.* math-shepherd'):
        load_verifier(GOLDEN / 'math-shepherd')
    with pytest.raises(ConfigError, match='preset must be one of qwen.*, got .nothing.'):
        load_verifier(GOLDEN / 'math-shepherd', preset='nothing')
    folder = copy_of('math-shepherd', tmp_path / 'named')
    (folder / 'verifier.yaml').write_text(
        "head: label\nlabels: ['-', '+']\n"
        'layout: {form: plain, question: "{question}\\n ", gap: \' \', marker: ки, line_breaks: kept}\n'
    )
    question, steps, expected = cases('math-shepherd')[0]
    scores = load_verifier(folder).score([row(steps, 0, question)], None).scores[0]
    assert scores == pytest.approx([1 - score for score in expected], abs=1e-4)
    other = load_verifier(folder).digest
    (folder / 'verifier.yaml').write_text((folder / 'verifier.yaml').read_text().replace("['-', '+']", "['+', '-']"))
    assert load_verifier(folder).digest != other  # the same weights, another verifier


def test_a_verifier_whose_parts_do_not_fit_is_refused(tmp_path):
    spec = PRESETS['math-shepherd']
    absent = dataclasses.replace(spec, layout=dataclasses.replace(spec.layout, marker='<extra_0>'))
    with pytest.raises(TokenizerError, match="layout.marker '<extra_0>' must be one token"):
        load_verifier(GOLDEN / 'math-shepherd', spec=absent)
    with pytest.raises(TokenizerError, match="label 'perfect' must be one token"):
        load_verifier(GOLDEN / 'math-shepherd', spec=dataclasses.replace(spec, labels=('perfect', '-')))
    with pytest.raises(TokenizerError, match='no chat template'):
        load_verifier(GOLDEN / 'math-shepherd', preset='rlhflow-prm')
    with pytest.raises(WeightsError, match='tensor v_head.summary.weight is missing'):
        load_verifier(GOLDEN / QWEN, spec=VerifierSpec(head='value', layout=PRESETS[QWEN].layout))
    with pytest.raises(ConfigError, match='num_rows must be a multiple of the mesh axis data = 8, got 6'):
        load_verifier(GOLDEN / QWEN, spec=dataclasses.replace(PRESETS[QWEN], num_rows=6), mesh={'data': 8})
    folder = copy_of(QWEN, tmp_path / 'no_tokenizer')
    (folder / 'tokenizer.json').unlink()
    with pytest.raises(TokenizerError, match='has no tokenizer'):
        load_verifier(folder)
    other = copy_of(QWEN, tmp_path / 'other', architectures=['Qwen2ForCausalLM'])
    with pytest.raises(WeightsError, match='auto_map asks to run code'):
        load_verifier(other)


@pytest.fixture(scope='module')
def action_value(tmp_path_factory):
    folder = copy_of('skywork-o1-open-prm', tmp_path_factory.mktemp('verifiers') / 'own')
    tensors = {n: x for n, x in load_file(folder / 'model.safetensors').items() if not n.startswith('v_head')}
    verifier_config = load_verifier(GOLDEN / 'skywork-o1-open-prm').config
    head = jax.tree.map(lambda x: 2 * x + 0.02, init_head('action_value', verifier_config, jax.random.key(0)))
    save_file({**tensors, **head_tensors(head)}, folder / 'model.safetensors')
    (folder / 'verifier.yaml').write_text(
        'head: action_value\nlayout: {form: plain, question: "{question}\\n", marker: "\\n", line_breaks: markers}\n'
    )
    return load_verifier(folder), head


def test_an_action_value_head_is_read_from_a_folder(action_value):
    verifier, head = action_value
    scores, (cost,), *_ = verifier.score([row()], None)
    laid = verifier.typesetter.lay(QUESTION, STEPS)
    ids = jnp.array([laid.ids])
    hidden, _ = forward(verifier.config, verifier.params, ids, jnp.arange(ids.shape[1])[None])
    is_counted = jnp.arange(ids.shape[1])[None] >= laid.start
    odds = action_log_odds(head, hidden, verifier.params['embedding'][ids], is_counted)[0, np.array(laid.reads)]
    assert scores[0] == pytest.approx(np.asarray(jax.nn.sigmoid(odds)), abs=1e-5)
    assert cost.flops == verifier.price(row(), 0)
    assert verifier.score([row(STEPS[:1])], None).scores[0] == pytest.approx(scores[0][:1], abs=1e-5)


@pytest.mark.parametrize('carry_bytes', [1 << 30, 0])
def test_an_action_value_goes_on_from_its_penalties(action_value, carry_bytes):
    """A solution that grows step by step, and a fork of it, get what they get whole, and pay for each token once."""
    verifier = changed(action_value[0], carry_bytes=carry_bytes)
    expected, (whole,), *_ = verifier.score([row()], None)
    carry, paid = None, Cost()
    for count in range(1, len(STEPS) + 1):
        found, (cost,), carry, _ = verifier.score([row(STEPS[:count])], carry)
        paid += cost
        assert found[0] == pytest.approx(expected[0][:count], abs=1e-5)
    assert paid == whole
    again, (cost,), carry, _ = verifier.score([row()], carry)
    assert again[0] == found[0] and cost == FREE
    fork = row((*STEPS, 'More.\n'), handle=8, lineage=(0,))
    forked, (cost,), *_ = verifier.score([fork], carry)
    alone, (full,), *_ = verifier.score([fork], None)
    assert forked[0] == pytest.approx(alone[0], abs=1e-5) and cost.flops == full.flops - whole.flops
    # Text that changed in the middle is scored from its first token: sums are known at the end only.
    other = row(('Another.\n', *STEPS[1:]))
    assert verifier.score([other], carry).costs == verifier.score([other], None).costs


def test_a_strategy_asks_it(make_sampler):
    verifier = load_verifier(GOLDEN / 'math-shepherd', preset='math-shepherd')
    outcome = BestOfN(n=4).solve(['17 + 5 = ?'], make_sampler(), verifier, seed=1)[0]
    assert outcome.cost.verify > 0 and outcome.cost.scored_tokens > 0
    assert all(len(candidate.scores) == len(candidate.steps) for candidate in outcome.candidates)
    budget = Budget(flops=outcome.cost.flops * 9 // 10)
    limited = BestOfN(n=4).solve(['17 + 5 = ?'], make_sampler(), verifier, seed=1, budget=budget)[0]
    assert limited.cost.verify > 0 and limited.cost.flops <= budget.flops


def test_forks_of_the_sampler_name_their_parents(make_sampler):
    session = make_sampler().session()
    question = Question('a', '1 + 1')
    session.prepare([question])
    rows, _ = session.start(question, 1, 0, 0)
    first, second = session.take(rows, [0, 0])
    third = session.take([second], [0, 0])[1]
    assert first.lineage == () and second.lineage == (first.handle,) and third.lineage == (first.handle, second.handle)
