import dataclasses
import math

import jax
import numpy as np
import pytest

from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.requests import Extend, Start, Take, Until
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import Layout, Unscored, VerifierSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.verifier_layout import Typesetter
from jaxreason.engine.backbone_verifier import on_policy
from jaxreason.engine.compiles import compiled
from jaxreason.engine.mesh import make_mesh
from jaxreason.engine.reward_model import RewardModel
from jaxreason.engine.sampler import Sampler
from jaxreason.models.sharding import parameter_shardings
from jaxreason.models.transformer import init_parameters, unstack_layers
from jaxreason.models.value_heads import head_parameters, init_head, label_head
from jaxreason.search.best_of_n import BestOfN
from jaxreason.search.drive import Task, drive

PROMPT = PromptSpec(template='raw', step_delimiter='\n')
LAYOUT = Layout(form='plain', marker='\n')
QUESTIONS = [Question(f'q{i}', f'{i}+{i * 7}?') for i in range(4)]  # short: all is scored in one length bucket
KINDS = ('value', 'two_class', 'label', 'action_value')


def head_of(kind, lm):
    """A head that is not near zero, so that a wrong state, token or sign shows in the score."""
    if kind == 'label':
        return {'rows': 2.0 * label_head(lm.config, lm.params, 5, 9)['rows']}
    shapes = jax.eval_shape(lambda key: init_head(kind, lm.config, key, None if kind == 'value' else 16), jax.random.key(0))
    rng = np.random.default_rng(3)
    head = jax.tree.map(lambda x: (rng.normal(size=x.shape) * x.shape[0] ** -0.5).astype(np.float32), shapes)
    if kind == 'action_value':
        head['penalty']['out']['bias'] -= 2.5  # a tenth or so a token: sums of many tell, and do not drown the value
    return head


def own(kind, lm, layout=LAYOUT, **changes):
    """The verifier with a decoder of its own."""
    labels = ('a', 'b') if kind == 'label' else ()
    spec = VerifierSpec(head=kind, labels=labels, boundary='before_marker', layout=layout)
    return RewardModel(
        name=kind,
        spec=dataclasses.replace(spec, **changes),
        config=dataclasses.replace(lm.config, tied_head=True),
        params={name: part for name, part in lm.params.items() if name != 'head'},
        head=head_of(kind, lm),
        typesetter=Typesetter(layout, changes.get('boundary', 'before_marker'), lm.tokenizer),
        mesh=lm.mesh,
    )


def drawn(lm, *heads, **settings):
    defaults = {'max_tokens': 24, 'num_rows': 8, 'rows_per_slot': 2, 'chunk': 8}
    return Sampler(lm, PROMPT, heads, **{**defaults, **settings})


def rows_of(sampler, search):
    tasks = [Task(question, search(question), UNLIMITED, 5) for question in QUESTIONS]
    return [row for _, rows in sorted(drive(tasks, sampler.session(), {})) for row in rows]


def whole(question):
    rows, _ = yield Start(question, copies=8)
    rows, _ = yield Extend(rows)
    return rows


def forked(question):
    """Pauses within steps and at their ends, forks, and goes on: more rows than places, so that some are parked."""
    rows, _ = yield Start(question, copies=4)
    rows, _ = yield Extend(rows, max_tokens=5)
    rows, _ = yield Take(rows, (1, 0, 1, 2, 3))
    rows, _ = yield Extend(rows, until=Until.STEP)
    rows, _ = yield Take(rows, (0, 0, 1, 3))
    rows, _ = yield Extend(rows)
    return rows


def is_text(row):
    """Whether a decoder that is given the text reads what was drawn: padding and beginning tokens are no text."""
    return not {0, 1} & {*row.tokens}


def agreed(shared, separate, rows, atol=1e-5):
    """Compares both on every closed step; the number of scores compared, and those of steps that were cut."""
    rows = [row for row in rows if is_text(row)]
    found, expected = shared.score(rows, None).scores, separate.score(rows, None).scores
    compared, cut = 0, 0
    for row, mine, theirs in zip(rows, found, expected, strict=True):
        assert len(mine) == len(theirs) == len(row.steps)
        closed = len(mine) - (row.finish is not Finish.STOP and not row.steps[-1].endswith('\n'))
        np.testing.assert_allclose(mine[:closed], theirs[:closed], atol=atol)
        compared, cut = compared + closed, cut + len(mine) - closed
    spread = [score for scores in expected for score in scores]
    assert np.ptp(spread) > 0.05  # the comparison means something
    return compared, cut


def writing(lm, **changes):
    """A random policy that draws line breaks often, and padding or beginning tokens, which are no text, hardly ever."""
    config = dataclasses.replace(lm.config, **changes)
    params = unstack_layers(init_parameters(config, jax.random.key(11)))
    table = params['head'].at[:2].set(0.0) * 2.0
    line_break = lm.tokenizer.encode('\n')[0]
    return dataclasses.replace(lm, config=config, params={**params, 'head': table.at[line_break].multiply(2.0)})


@pytest.fixture(scope='module')
def policy(lm):
    return writing(lm)


@pytest.fixture(scope='module')
def wide(lm):
    """A policy that the CPU's kernels take, and that eight devices can share."""
    size = -(-lm.config.vocab_size // 8) * 8
    return writing(lm, num_layers=1, windows=(), width=64, num_heads=8, num_kv_heads=8, head_width=16, vocab_size=size)


@pytest.fixture(scope='module')
def separate(policy):
    return {kind: own(kind, policy) for kind in KINDS}


@pytest.fixture(scope='module')
def shared(policy, separate):
    return {kind: on_policy(each, policy) for kind, each in separate.items()}


@pytest.fixture(scope='module')
def rows(policy, shared):
    return rows_of(drawn(policy, *shared.values()), whole)


@pytest.mark.parametrize('kind', KINDS)
def test_scores_are_those_of_a_decoder_of_its_own(separate, shared, rows, kind):
    assert {row.finish for row in rows} == {Finish.STOP, Finish.LENGTH}
    compared, cut = agreed(shared[kind], separate[kind], rows)
    assert compared > 30 and cut > 4


def test_forks_pauses_and_parking_keep_what_the_head_said(policy, separate, shared):
    session = drawn(policy, shared['value'], shared['action_value'], num_rows=4, chunk=5).session()
    tasks = [Task(question, forked(question), UNLIMITED, 5) for question in QUESTIONS]
    found = [row for _, rows in drive(tasks, session, {}) for row in rows]
    assert session.timing.parked > 0 and any(row.lineage for row in found)
    for kind in ('value', 'action_value'):
        assert agreed(shared[kind], separate[kind], found)[0] > 8


def test_packed_weights_and_a_mesh_say_the_same(wide):
    separate = own('action_value', wide)
    shared = on_policy(separate, wide)
    sampler = drawn(wide, shared)
    assert 'packed_layers' in sampler.session()._params
    rows = rows_of(sampler, whole)
    assert agreed(shared, separate, rows)[0] > 8
    mesh = make_mesh({'data': 4, 'model': 2})
    spread = dataclasses.replace(
        wide, mesh=mesh, params=jax.device_put(wide.params, parameter_shardings(wide.config, wide.params, mesh))
    )
    found = rows_of(drawn(spread, on_policy(own('action_value', spread), spread)), whole)
    for a, b in zip(rows, found, strict=True):
        assert a.tokens == b.tokens
        for name in shared.stats:
            np.testing.assert_allclose(a.stats[name], b.stats[name], atol=1e-4)


def test_a_step_that_was_cut_is_read_one_token_earlier(separate, shared, rows):
    cut = [row for row in rows if row.finish is Finish.LENGTH and len(row.steps[-1]) > 1 and not row.steps[-1].endswith('\n')]
    cut = [row for row in cut if is_text(row)]
    earlier = [dataclasses.replace(row, steps=(*row.steps[:-1], row.steps[-1][:-1])) for row in cut]
    assert len(cut) > 3
    found, expected = shared['value'].score(cut, None).scores, separate['value'].score(earlier, None).scores
    np.testing.assert_allclose([scores[-1] for scores in found], [scores[-1] for scores in expected], atol=1e-5)


def written(lm, text, step_ends, steps=None, finish=Finish.STOP, **stats):
    """A row by hand, an end token at its end where it stopped; the statistic of a token is its index."""
    tokens = (*lm.tokenizer.encode(text), *lm.eos_ids[:1] * (finish is Finish.STOP))
    steps = steps or tuple(text[a:b] for a, b in zip((0, *step_ends), step_ends, strict=False))
    return Row(
        handle=7,
        question=QUESTIONS[0],
        sample=0,
        tokens=tokens,
        text=''.join(steps),
        steps=steps,
        step_ends=(*step_ends[:-1], len(tokens)),
        finish=finish,
        stats={'value': tuple(map(float, range(len(tokens))))} | stats,
    )


def test_a_score_is_read_where_the_text_before_the_marker_ends(policy, shared):
    def reads(row):
        return [round(math.log(score / (1 - score))) for score in shared['value'].score([row], None).scores[0]]

    assert reads(written(policy, 'ab\ncd', (3, 5))) == [2, 5]  # the last: at the end token
    assert reads(written(policy, 'ab\ncd\n', (3, 6))) == [2, 5]  # not after a line break that the end token follows
    assert reads(written(policy, 'ab\n\nc', (3, 4, 5))) == [2, 3, 5]  # an empty step: at the marker before it
    assert reads(written(policy, 'ab\ncd\nx', (3, 7), ('ab\n', 'cd'))) == [2, 5]  # text cut before a stop string
    assert reads(written(policy, 'ab\ncd', (3, 5), finish=Finish.LENGTH)) == [2, 4]  # the state after d is not known


def test_a_row_pays_for_the_head_at_each_token_once(policy, shared, rows):
    verifier, row = shared['action_value'], next(row for row in rows if len(row.step_ends) > 1)
    size = head_parameters(verifier.head)
    end = row.step_ends[0]
    begun = dataclasses.replace(
        row,
        tokens=row.tokens[:end],
        steps=row.steps[:1],
        step_ends=(end,),
        stats={name: values[:end] for name, values in row.stats.items()},
        finish=Finish.OPEN,
    )
    first = verifier.score([begun], None)
    fork = dataclasses.replace(row, handle=10**6, lineage=(row.handle,))
    stranger = dataclasses.replace(fork, handle=10**6 + 1, lineage=())
    later = verifier.score([row, fork, stranger], first.carry)
    assert first.scores[0] == later.scores[0][:1]
    assert [cost.scored_tokens for cost in (*first.costs, *later.costs)] == [
        end,
        len(row.tokens) - end,
        len(row.tokens) - end,
        len(row.tokens),
    ]
    assert all(cost == Cost(verify=2 * size * cost.scored_tokens, scored_tokens=cost.scored_tokens) for cost in later.costs)
    assert [verifier.price(one, 0, first.carry) for one in (row, fork, stranger)] == [cost.verify for cost in later.costs]
    assert verifier.price(begun, len(row.tokens) - end) == (first.costs[0] + later.costs[0]).verify
    assert not later.carry.keys() & {row.handle, fork.handle}  # finished rows are forgotten


def test_bad_rows_are_counted_and_disturb_nobody(policy, shared):
    verifier = shared['value']
    good = written(policy, 'ab\ncd', (3, 5))
    bad = {
        Unscored.NO_STEPS: dataclasses.replace(good, steps=(), step_ends=()),
        Unscored.STEPS: dataclasses.replace(good, step_ends=(6,)),
        Unscored.NAN: written(policy, 'ab\ncd', (3, 5), value=(math.nan,) * 6),
    }
    scored = verifier.score([good, *bad.values()], None)
    assert scored.scores[0] == verifier.score([good], None).scores[0] != () and scored.scores[1:] == [(), (), ()]
    assert scored.unscored == dict(enumerate(bad, 1))


def test_heads_change_no_token_and_no_other_statistic(policy, shared, rows):
    plain = rows_of(drawn(policy), whole)
    for a, b in zip(rows, plain, strict=True):
        assert a.tokens == b.tokens and {*a.stats} > {*b.stats}
        assert all(a.stats[name] == b.stats[name] for name in b.stats)


def test_a_strategy_asks_it_within_a_budget(policy, shared):
    verifier = shared['action_value']
    sampler = drawn(policy, *shared.values())
    free = BestOfN(n=4).solve(QUESTIONS[:2], sampler, verifier, seed=1)
    before = compiled()
    limit = Budget(flops=free[0].cost.flops * 3 // 4)
    cut = BestOfN(n=4).solve(QUESTIONS[:2], sampler, verifier, seed=1, budget=limit)
    assert (compiled() - before).programs == 0
    for outcome in (*free, *cut):
        tokens = sum(len(c.tokens) for c in outcome.candidates)
        assert outcome.cost.verify == 2 * head_parameters(verifier.head) * tokens and outcome.cost.scored_tokens == tokens
        assert all(len(c.scores) == len(c.steps) for c in outcome.candidates)
    assert all(outcome.cost.flops <= limit.flops for outcome in cut)
    with pytest.raises(
        ValueError, match='reads action_value, which is not sampled: .* or a verifier on the policy to its heads'
    ):
        BestOfN(n=4).solve(QUESTIONS[:1], drawn(policy), verifier)


def test_another_policy_is_refused_by_what_differs(policy, separate):
    mine = separate['value']
    with pytest.raises(ConfigError, match='read before_marker, the boundary of this verifier is marker'):
        on_policy(own('value', policy, boundary='marker'), policy)
    embedding = policy.params['embedding'].at[3, 4].add(1e-3)
    with pytest.raises(WeightsError, match=r"parameter \['embedding'\] of its decoder is not the policy's"):
        on_policy(mine, dataclasses.replace(policy, params={**policy.params, 'embedding': embedding}))
    head = policy.params['head'] * 2
    assert on_policy(mine, dataclasses.replace(policy, params={**policy.params, 'head': head}))  # it has no say in states
    config = dataclasses.replace(policy.config, rope_theta=5.0)
    with pytest.raises(ConfigError, match=r'its decoder has rope_theta 10000.0, the policy 5.0'):
        on_policy(mine, dataclasses.replace(policy, config=config))
    other = dataclasses.replace(policy, tokenizer=Tokenizer.from_characters('abc'))
    with pytest.raises(TokenizerError, match='its tokenizer is not that of the policy'):
        on_policy(mine, other)


def test_a_sampler_refuses_heads_that_are_not_its_own(policy, shared):
    with pytest.raises(ConfigError, match='value is a head on another policy than tiny'):
        drawn(dataclasses.replace(policy, digest='1' * 64), shared['value'])
    with pytest.raises(ConfigError, match='heads must have names of their own, got value, value'):
        drawn(policy, shared['value'], shared['value'])
    with pytest.raises(ConfigError, match='got logprob'):
        drawn(policy, dataclasses.replace(shared['value'], name='logprob'))


@pytest.mark.parametrize(
    'layout, prompt, match',
    [
        (Layout(form='plain', question='q {question}'), PROMPT, r"token 1 is another in its layout \('<\?>q 0\+0\?'"),
        (LAYOUT, dataclasses.replace(PROMPT, step_delimiter='.'), 'token .* is another'),
        (LAYOUT, dataclasses.replace(PROMPT, step_delimiter='\n\n'), 'token .* is another'),
        (dataclasses.replace(LAYOUT, gap=' '), PROMPT, 'token .* is another'),
        (Layout(form='plain', line_breaks='kept'), PROMPT, 'token .* is another'),
    ],
)
def test_a_prompt_that_the_verifier_was_not_trained_on_is_refused(policy, layout, prompt, match):
    sampler = dataclasses.replace(drawn(policy, on_policy(own('value', policy, layout), policy)), prompt=prompt)
    with pytest.raises(ConfigError, match=match):
        sampler.session().prepare(QUESTIONS)


def test_a_question_may_end_with_what_ends_a_step(policy):
    head = on_policy(own('value', policy, Layout(form='plain', marker='?')), policy)
    sampler = dataclasses.replace(drawn(policy, head), prompt=dataclasses.replace(PROMPT, step_delimiter='?'))
    assert QUESTIONS[0].text.endswith('?')
    sampler.session().prepare(QUESTIONS)


def test_line_breaks_as_markers_are_read_before_the_last_of_a_step(policy, rows):
    separate = own('value', policy, Layout(form='plain', line_breaks='markers'))
    assert agreed(on_policy(separate, policy), separate, rows)[0] > 30
