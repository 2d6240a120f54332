"""Verifier health by hand on a few samples, and against the functions that strategies use."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreason.analysis import metrics
from jaxreason.analysis.health import repetition, verifier_health
from jaxreason.core.aggregation import Aggregation
from jaxreason.core.records import Pool, PoolCandidate
from jaxreason.core.types import Candidate, Finish
from jaxreason.search.select import Vote, choose
from tests.analysis.conftest import make_run


def sample(index, scores, answer='7', verdict='wrong', text='', tokens=(1, 2, 3), **others):
    return PoolCandidate(
        sample=index,
        text=text,
        tokens=tokens,
        step_ends=tuple(range(1, len(scores) + 1)),
        finish='stop',
        answer=answer,
        verdict=verdict,
        scores={'prm': scores},
        cost={},
        verified={},
        **others,
    )


def pool(name, candidates, question='What?', seed=0, chosen=None):
    return Pool(
        pool='samples',
        question_id=name,
        seed=seed,
        question=question,
        gold='8',
        level='',
        subject='',
        cost={},
        candidates=tuple(candidates),
        chosen=chosen,
    )


def test_over_optimisation_shows_on_the_same_samples():
    # What the verifier likes most is wrong: with more samples its score rises and the accuracy falls.
    right = {'answer': '8', 'verdict': 'correct'}
    pools = [
        pool(name, [sample(0, (0.5,), **right), sample(1, (0.9,)), sample(2, (0.6,), **right), sample(3, (0.4,), **right)])
        for name in 'ab'
    ]
    found = verifier_health(pools)['prm']
    told = [
        (row['n'], row['num_blocks'], row['chosen_score']['point'], *(row[vote]['point'] for vote in Vote))
        for row in found['best_of_n']
    ]
    assert told == [(1, 4, 0.6, 0.75, 0.75, 0.75), (2, 2, 0.75, 0.5, 0.5, 1.0), (4, 1, 0.9, 0.0, 1.0, 1.0)]
    assert [row['accepted']['point'] for row in found['best_of_n']] == [0.75, 1.0, 1.0]
    assert found['within_question_auc']['last']['point'] == 0.0
    rows = {(row['n'], row['aggregation'], row['vote']): row for row in found['aggregations']}
    assert len(rows) == 8 and rows[4, 'min', 'naive']['gain']['point'] == -1.0


def test_choices_are_those_of_the_strategies(run):
    _, pools = make_run(num_questions=6, num_seeds=2, num_candidates=8)
    found = verifier_health(pools)['prm']
    for row in found['aggregations']:
        shares = []
        for part in pools:
            for first in range(0, 8 - row['n'] + 1, row['n']):
                block = part.candidates[first : first + row['n']]
                asked = [
                    Candidate(
                        sample=c.sample,
                        text=c.text,
                        tokens=c.tokens,
                        steps=(),
                        step_ends=c.step_ends,
                        finish=Finish.STOP,
                        answer=c.answer,
                        scores=c.scores['prm'],
                    )
                    for c in block
                ]
                answer = choose(asked, Vote(row['vote']), Aggregation(row['aggregation'])).answer
                verdict = next((c.verdict for c in block if answer is not None and c.answer == answer), 'wrong')
                shares.append(verdict == 'correct')
        assert row['accuracy']['point'] == pytest.approx(np.mean(shares), abs=1e-6)


def test_a_sample_without_scores_is_left_out_and_counted():
    good, bad = sample(0, (0.8,), '8', 'correct'), sample(1, (0.3,))
    lost = sample(2, (), '8', 'correct', unscored={'prm': 'too_long'})
    broken = sample(3, (float('nan'),), '8', 'correct')
    found = verifier_health([pool('a', [good, bad, lost, broken])])['prm']
    assert (found['num_solutions'], found['num_unscored']) == (2, 2)
    assert found['unscored'] == {'too_long': 1, 'unknown': 1}
    assert found['within_question_auc']['last']['point'] == 1.0  # 0.5 or less, had they counted as 0
    assert sum(part['count'] for part in found['calibration']['bins']) == 2
    assert found['best_of_n'][0]['chosen_score']['point'] == pytest.approx(0.55)
    nothing = verifier_health([pool('a', [lost, lost])])['prm']
    assert (
        nothing['num_solutions'] == 0 and nothing['calibration'] is None and nothing['correlation']['length']['pooled'] is None
    )
    json.dumps(nothing, allow_nan=False)


def test_only_independent_samples_of_verifiers_count():
    searched = pool('a', [sample(0, (0.8,))], chosen={'answer': '7', 'votes': []})
    plain = pool('a', [dataclasses.replace(sample(0, ()), scores={})])
    assert verifier_health([searched, plain]) == {} and verifier_health([]) == {}


def test_scores_that_are_no_chances_are_ranked_and_not_calibrated():
    found = verifier_health([pool('a', [sample(0, (3.0, 4.0), '8', 'correct'), sample(1, (2.0, 2.5))], '10+05=')], '\n')['prm']
    assert found['calibration'] is None and found['steps'] is None and found['best_of_n'][0]['accepted'] is None
    assert found['within_question_auc']['last']['point'] == 1.0


def test_length_and_repetition_are_told_apart_within_questions():
    assert repetition((1, 2, 3)) == 0 and repetition((1, 2, 3, 4, 5)) == 0
    assert repetition((1, 2, 1, 2, 1, 2, 1)) == 0.5  # of four 4-grams two are written again
    # Between questions the longer ones score less; within each the longer solution scores more.
    pools = []
    for index, name in enumerate('abc'):
        lengths = (10 * index + 5, 10 * index + 9)
        scores = (0.9 - 0.3 * index - 0.05, 0.9 - 0.3 * index)
        pools.append(pool(name, [sample(i, (scores[i],), tokens=tuple(range(lengths[i]))) for i in (0, 1)]))
    found = verifier_health(pools)['prm']['correlation']
    assert found['length']['within']['point'] == 1.0 and found['length']['pooled']['point'] < -0.5
    assert found['repetition'] == {'pooled': None, 'within': None}  # nobody repeats anything


def test_steps_of_nano_questions_are_judged_exactly():
    # 10+05-03: 15 12 is right, 25 22 follows from a wrong step, 15 13 goes wrong at the end.
    candidates = [
        sample(0, (0.9, 0.8), '12', 'correct', '15\n12'),
        sample(1, (0.2, 0.1), '22', 'wrong', '25\n22'),
        sample(2, (0.7, 0.3), '13', 'wrong', '15\n13'),
        sample(3, (0.5,), '13', 'wrong', '15\n13'),  # scored when it had one step
    ]
    steps = verifier_health([pool('a', candidates, '10+05-03=')], '\n')['prm']['steps']
    assert (steps['num_solutions'], steps['num_unscored'], steps['num_steps']) == (3, 1, 6)
    assert steps['share_right']['point'] == 0.5 and steps['step_auc']['point'] == 1.0
    assert steps['first_error']['at_half']['f1']['point'] == 1.0
    assert verifier_health([pool('a', candidates, 'What?')], '\n')['prm']['steps'] is None


def test_probes_stand_beside_the_real_scores_of_their_questions():
    pools = [pool('a', [sample(0, (0.2,)), sample(1, (0.6,))]), pool('b', [sample(0, (0.9,))]), pool('c', [sample(0, (0.1,))])]
    told = {
        'questions': ['a', 'b'],
        'verifiers': {
            'prm': {
                'blank': {'scores': [0.4, 0.9], 'unscored': {}},
                'opener': {'scores': [None, None], 'unscored': {'text': 2}},
            }
        },
    }
    found = verifier_health(pools, probes=told)['prm']['probes']
    assert found['blank']['score']['point'] == 0.65 and found['blank']['real']['point'] == 0.65
    assert found['blank']['above_real']['point'] == 0.5  # one of two, and a tie
    assert found['opener'] == {'score': None, 'real': None, 'above_real': None, 'unscored': {'text': 2}}
    assert verifier_health(pools)['prm']['probes'] is None


def test_metrics_hold_it_and_repeat_byte_for_byte(run):
    texts = {metrics.to_text(metrics.compute(run[0], order)) for order in (run[1], run[1][::-1])}
    assert len(texts) == 1 and json.loads(texts.pop())['verifiers'].keys() == {'prm'}
    bare = [
        dataclasses.replace(part, candidates=tuple(dataclasses.replace(c, scores={}) for c in part.candidates))
        for part in run[1]
    ]
    assert metrics.compute(run[0], bare)['verifiers'] == {}


def test_verifiers_are_compared_on_the_same_samples():
    # One verifier likes the right sample, the other the wrong one, in two of three questions.
    def both(name, good, bad):
        first, second = sample(0, (good,), answer='8', verdict='correct'), sample(1, (bad,))
        add = lambda one, score: dataclasses.replace(one, scores={**one.scores, 'orm': (score,)})  # noqa: E731
        return pool(name, [add(first, 0.2), add(second, 0.7)])

    found = verifier_health([both('a', 0.9, 0.1), both('b', 0.8, 0.3), both('c', 0.1, 0.6)])
    told = {(row['verifier'], row['aggregation'], row['vote']): row['gain']['point'] for row in found['prm']['against']}
    assert told == {
        ('orm', kind, vote): pytest.approx(2 / 3, abs=1e-6) for kind in ('last', 'prod') for vote in ('naive', 'weighted')
    }
    assert [row['gain']['point'] for row in found['orm']['against']] == [pytest.approx(-2 / 3, abs=1e-6)] * 4
    assert {row['n'] for row in found['orm']['against']} == {2}
