"""Units and what is made of them, on pools whose every number is known."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.core import config as config_files
from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost
from jaxreason.core.records import Pool, PoolCandidate, pool_from, to_line
from jaxreason.core.requests import Extend, Score, Start
from jaxreason.core.types import Candidate, Finish, Outcome, Problem, Row, Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.units import POOLED, Judged, Unit, pool_of, task_of, units_of

PROBLEMS = [Problem(id='q0', text='1+1', answer='2', level='easy'), Problem(id='q1', text='2+2', answer='4')]
STRATEGIES = {
    'majority': {'kind': 'majority', 'n': 4},
    'sure': {'kind': 'best_of_n', 'n': 4, 'verifier': 'mean_logprob'},
    'naive': {'kind': 'best_of_n', 'n': 2, 'vote': 'naive', 'verifier': 'self_certainty'},
}
PROMPT = {'prefill': 1000, 'prompt_tokens': 7}
# Sample, answer, verdict, mean_logprob, self_certainty.
SAMPLES = [
    (0, '2', 'correct', 0.1, 1.0),
    (1, '3', 'wrong', 0.9, 2.0),
    (2, '2', 'correct', 0.2, 9.0),
    (3, None, 'wrong', 0.9, 3.0),
]


def make(**fields):
    return config_files.build(EvaluateConfig, {'strategies': STRATEGIES, **fields})


def stored(sample, answer, verdict, logprob, certainty):
    """A candidate that cost 10 FLOPs a sample number to write, 100 to score by one verifier and 10,000 by the other."""
    return PoolCandidate(
        sample=sample,
        text=f'The answer is {answer}.',
        tokens=(5, 6),
        step_ends=(1, 2),
        finish='stop',
        answer=answer,
        verdict=verdict,
        scores={'mean_logprob': (0.5, logprob), 'self_certainty': (7.0, certainty)},
        cost={'decode': 10 * (sample + 1), 'new_tokens': 2},
        verified={'mean_logprob': {'verify': 100}, 'self_certainty': {'verify': 10_000}},
    )


def make_pool(samples=tuple(SAMPLES)):
    candidates = tuple(stored(*sample) for sample in samples)
    texts = {'question': '1+1', 'gold': '2', 'level': 'easy', 'subject': ''}
    return Pool(pool=POOLED, question_id='q0', seed=0, cost=PROMPT, candidates=candidates, **texts)


def records(config, pool):
    unit = Unit(PROBLEMS[0], 0, None, Budget(), 4)
    return {(record.strategy, record.n): record for record in records_of(config, unit, pool)}


def test_a_pool_gives_every_n_in_disjoint_blocks():
    found = records(make(), make_pool())
    assert set(found) == {(name, n) for name in ('majority', 'sure') for n in (1, 2, 4)} | {('naive', 1), ('naive', 2)}
    assert {key: [block.answer for block in record.blocks] for key, record in found.items()} == {
        ('majority', 1): ['2', '3', '2', None],
        ('majority', 2): ['2', '2'],  # a tie goes to the earlier sample
        ('majority', 4): ['2'],
        ('sure', 1): ['2', '3', '2', None],
        ('sure', 2): ['3', '2'],
        ('sure', 4): ['3'],  # 0.9 against 0.1 + 0.2
        ('naive', 1): ['2', '3'],  # its pool is its own n, 2, although 4 were sampled
        ('naive', 2): ['3'],
    }
    assert [block.verdict for block in found['majority', 1].blocks] == ['correct', 'wrong', 'correct', 'wrong']
    assert found['majority', 4].votes == (('2', 2.0), ('3', 1.0))
    assert found['sure', 4].votes == (('3', 0.9), ('2', pytest.approx(0.3)))
    assert found['sure', 2].votes == (('3', 0.9), ('2', 0.1)), 'votes are those of block 0'


def test_a_strategy_pays_the_prompt_once_and_the_verifiers_that_it_asks():
    found = records(make(), make_pool())
    common = {'prefill': 1000, 'prompt_tokens': 7}
    assert found['majority', 4].blocks[0].cost == common | {'decode': 100, 'new_tokens': 8}
    assert found['majority', 1].blocks[3].cost == common | {'decode': 40, 'new_tokens': 2}
    assert found['sure', 2].blocks[1].cost == common | {'decode': 70, 'new_tokens': 4, 'verify': 200}
    assert found['naive', 2].blocks[0].cost == common | {'decode': 30, 'new_tokens': 4, 'verify': 20_000}


def test_n_of_the_configuration_is_what_is_reported():
    config = make(n=[3, 2, 64])
    assert config.sweep('majority').reads == {4: (2, 3)}
    found = records(config, make_pool())
    assert len(found['majority', 3].blocks) == 1, 'a rest of one sample makes no block'
    assert ('naive', 3) not in found


def test_an_unjudged_answer_stays_unjudged():
    samples = [(0, '2', 'unjudged', 0.5, 1.0), *SAMPLES[1:]]
    assert records(make(), make_pool(samples))['majority', 4].blocks[0].verdict == 'unjudged'


def test_a_pool_survives_the_journal():
    assert to_line(pool_from(json.loads(to_line(make_pool())))) == to_line(make_pool())
    assert list(records(make(), pool_from(json.loads(to_line(make_pool())))).values()) == list(
        records(make(), make_pool()).values()
    )


def test_units_are_questions_times_seeds_times_what_is_searched_alone():
    strategies = STRATEGIES | {'greedy': {'kind': 'greedy'}}
    plain = units_of(make(strategies=strategies, seeds=[0, 5]), PROBLEMS)
    assert [(unit.problem.id, unit.seed, unit.label) for unit in plain] == [
        (question, seed, label) for question in ('q0', 'q1') for seed in (0, 5) for label in (None, 'greedy')
    ]
    limited = units_of(make(strategies=strategies, budgets=[{'tokens': 50}, {}]), PROBLEMS[:1])
    assert [(unit.label, unit.budget.limits) for unit in limited] == [
        (None, {}),
        ('majority', {'tokens': 50}),
        ('sure', {'tokens': 50}),
        ('naive', {'tokens': 50}),
        ('greedy', {'tokens': 50}),
        ('greedy', {}),
    ]
    assert len({unit.key for unit in limited}) == len(limited)


LABELS = st.one_of(
    st.text(min_size=1, max_size=80),
    st.sampled_from(
        [
            'samples',
            'Samples',
            'a',
            'A',
            '../a',
            'a/0',
            'a.tokens5',
            'a-tokens5',
            'a.n1',
            'a.n16.tokens5',
            '.',
            '..',
            'con',
            'x' * 400,
            'ü',
            '',
        ]
    ),
)


@settings(deadline=None, max_examples=200)
@given(labels=st.lists(LABELS, min_size=2, max_size=5, unique=True))
def test_pools_of_different_labels_numbers_and_budgets_are_different_safe_file_names(labels):
    shapes = [(limit, n) for limit in (None, 5) for n in (1, 16)]
    units = [Unit(PROBLEMS[0], 0, label, Budget(tokens=limit), n) for label in labels for limit, n in shapes]
    names = [unit.pool.lower() for unit in units] + [POOLED]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isascii() and len(name) < 120 and not set(name) - set('abcdefghijklmnopqrstuvwxyz0123456789-_.')
        assert name not in ('.', '..')


def test_keys_of_hostile_labels_and_ids_differ():
    """An id may look like the end of a label."""
    one = Unit(dataclasses.replace(PROBLEMS[0], id='0/x'), 0, 'a', Budget(), 1)
    two = Unit(dataclasses.replace(PROBLEMS[0], id='x'), 0, 'a/0', Budget(), 1)
    assert one.key != two.key


def test_the_pool_is_sampled_for_the_largest_strategy_and_scored_once_by_every_verifier():
    task = task_of(make(), Unit(PROBLEMS[0], 3, None, Budget(), 4))
    assert task.seed == 3 and task.question == PROBLEMS[0].question
    request = next(task.search)
    assert request == Start(PROBLEMS[0].question, copies=4)
    rows = tuple(Row(handle=i, question=task.question, sample=i, text='The answer is 2.') for i in range(4))
    request = task.search.send((rows, Cost(prefill=9)))
    assert isinstance(request, Extend) and request.rows == rows
    asked = []
    request = task.search.send((rows, Cost(decode=5)))
    with pytest.raises(StopIteration) as stop:
        while isinstance(request, Score):
            asked.append(request.verifier)
            request = task.search.send(([(0.5,)] * 4, [Cost(verify=len(asked))] * 4, [None] * 4))
    assert asked == ['mean_logprob', 'self_certainty']
    judged = stop.value.value
    assert judged.prompt == Cost(prefill=9) and list(judged.verified['self_certainty']) == [Cost(verify=2)] * 4
    assert [c.answer for c in judged.candidates] == ['2'] * 4


def found_candidate(sample, answer, cost):
    shape = {'tokens': (1,), 'steps': ('x',), 'step_ends': (1,), 'finish': Finish.STOP}
    return Candidate(sample=sample, text='x', answer=answer, scores=(0.5,), cost=cost, **shape)


def test_a_search_by_itself_writes_its_choice_and_all_that_it_spent():
    config = make(budgets=[{'tokens': 50}])
    unit = Unit(PROBLEMS[0], 0, 'sure', config.budgets[0], 4)
    candidates = (found_candidate(0, '2', Cost(decode=5, new_tokens=1)), found_candidate(1, '3', Cost(decode=6, new_tokens=1)))
    spent = Cost(prefill=9, decode=20, new_tokens=4, discarded=9)  # 9 FLOPs and 2 tokens led to no candidate
    outcome = Outcome(
        question=unit.problem.question, answer='3', candidates=candidates, votes=(('3', 2.0), ('2', 1.0)), cost=spent
    )
    pool = pool_of(unit, outcome, [Verdict.CORRECT, Verdict.UNJUDGED], config.strategies['sure'])
    assert pool.pool == 'sure.n4.tokens50' and (pool.gold, pool.level) == ('2', 'easy')
    assert [c.scores for c in pool.candidates] == [{'mean_logprob': (0.5,)}] * 2
    (record,) = records_of(config, unit, pool)
    assert (record.strategy, record.n, record.budget) == ('sure', 4, {'tokens': 50})
    assert (record.blocks[0].answer, record.blocks[0].verdict, record.votes[0]) == ('3', 'unjudged', ('3', 2.0))
    assert record.blocks[0].cost == {'prefill': 9, 'decode': 20, 'new_tokens': 4, 'discarded': 9}


def test_a_search_that_could_not_pay_its_prompt_has_no_answer_and_is_wrong():
    config = make(budgets=[{'flops': 1}])
    unit = Unit(PROBLEMS[0], 0, 'sure', config.budgets[0], 4)
    outcome = Outcome(question=unit.problem.question, answer=None, candidates=(), votes=(), cost=Cost())
    (record,) = records_of(config, unit, pool_of(unit, outcome, [], config.strategies['sure']))
    assert (record.blocks[0].answer, record.blocks[0].verdict, record.blocks[0].cost) == (None, 'wrong', {})


def test_the_pool_of_samples_keeps_every_verifier_apart():
    judged = Judged(
        candidates=(found_candidate(0, '2', Cost(decode=5)),),
        scores={'mean_logprob': ((0.25,),), 'self_certainty': ((3.0,),)},
        verified={'mean_logprob': (Cost(),), 'self_certainty': (Cost(verify=8),)},
        prompt=Cost(prefill=9, prompt_tokens=3),
    )
    pool = pool_of(Unit(PROBLEMS[0], 0, None, Budget(), 4), judged, [Verdict.CORRECT], None)
    assert pool.cost == {'prefill': 9, 'prompt_tokens': 3} and pool.chosen is None
    assert pool.candidates[0].scores == {'mean_logprob': (0.25,), 'self_certainty': (3.0,)}
    assert pool.candidates[0].verified == {'mean_logprob': {}, 'self_certainty': {'verify': 8}}
