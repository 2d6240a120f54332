"""Predictions recomputed from the pool file alone, in plain Python: which answer every vote gives at every n.

Nothing of `jaxreason.search` is used: JSON, fractions and the key under which equal answers meet. The rule for ties is the
stated one: of answers with equal weights, the one whose earliest sample comes first.
"""

import collections
import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.core.records import pool_from, to_line
from jaxreason.data.datasets import load_problems
from jaxreason.data.normalise import answer_key
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.units import units_of
from tests.evaluate.tiny_world import IDS, read_config, read_lines

N = 8
AGGREGATIONS = ('last', 'min', 'prod', 'mean')
LABELS = ['majority', *(f'{vote} {kind}' for vote in ('naive', 'weighted') for kind in AGGREGATIONS)]
STRATEGIES = {'majority': {'kind': 'majority', 'n': N}} | {
    label: {'kind': 'best_of_n', 'n': N, 'verifier': 'mean_logprob', 'vote': label.split()[0], 'agg_strategy': label.split()[1]}
    for label in LABELS[1:]
}


def exact_score(steps, kind):
    """The score of a solution, without rounding; 0 of one without steps."""
    exact = [Fraction(step) for step in steps]
    if not exact:
        return Fraction(0)
    if kind == 'prod':
        return math.prod(exact, start=Fraction(1))
    return {'last': exact[-1], 'min': min(exact), 'mean': sum(exact) / len(exact)}[kind]


def predicted(samples, label):
    """The answer that a label gives to some samples (in order), and the exact weight of every answer that is named."""
    groups = collections.defaultdict(list)
    for place, sample in enumerate(samples):
        if sample['answer'] is not None:
            groups[answer_key(sample['answer'])].append((place, sample))
    ranking = []
    for members in groups.values():
        scores = [exact_score(s['scores']['mean_logprob'], label.split()[-1]) for _, s in members if label != 'majority']
        weight = {'majority': Fraction(len(members)), 'naive': max(scores, default=None), 'weighted': sum(scores)}
        place, earliest = members[0]
        ranking.append((-weight[label.split()[0]], place, earliest['answer']))
    ranking.sort()
    return (ranking[0][2] if ranking else None), [(answer, -weight) for weight, _, answer in ranking]


def check(pool, records):
    """Compares the records of one pool (parsed JSON, both) with what the pool says."""
    assert sorted((r['strategy'], r['n']) for r in records) == sorted((label, n) for label in LABELS for n in (1, 2, 4, 8))
    for record in records:
        n = record['n']
        cuts = [pool['candidates'][first : first + n] for first in range(0, N, n)]
        told = [predicted(cut, record['strategy']) for cut in cuts]
        assert [block['answer'] for block in record['blocks']] == [answer for answer, _ in told]
        for block, cut in zip(record['blocks'], cuts, strict=True):
            verdicts = [c['verdict'] for c in cut if c['answer'] is not None and c['answer'] == block['answer']]
            assert block['verdict'] == (verdicts[0] if verdicts else 'wrong')
        assert [answer for answer, _ in record['votes']] == [answer for answer, _ in told[0][1]]
        assert [weight for _, weight in record['votes']] == pytest.approx([float(weight) for _, weight in told[0][1]])


class Finished:
    """A finished run; a plain class, so that a failing property does not print all of it."""

    def __init__(self, config, out):
        evaluate(config, out)
        self.config = config
        self.pools, self.records = read_lines(out / 'pools/samples.jsonl'), read_lines(out / 'records.jsonl')


@pytest.fixture(scope='module')
def finished(world, tmp_path_factory):
    config = read_config(world, 'strategies=' + json.dumps(STRATEGIES))
    return Finished(config, tmp_path_factory.mktemp('predictions') / 'run')


def test_every_prediction_of_a_run_follows_from_its_pool(finished):
    pools, records = finished.pools, finished.records
    assert len(pools) == 12 and len({c['answer'] for pool in pools for c in pool['candidates']}) > 3
    for pool in pools:
        key = (pool['question_id'], pool['seed'])
        check(pool, [record for record in records if (record['question_id'], record['seed']) == key])


def test_the_votes_of_a_run_disagree(finished):
    # A comparison of predictions that are all alike would show nothing.
    found = collections.defaultdict(set)
    for record in finished.records:
        if record['n'] == N:
            found[record['question_id'], record['seed']].add(record['blocks'][0]['answer'])
    assert any(len(answers) > 1 for answers in found.values())


# Eighths, and no mean over three of them: exact in binary, so that ties are ties.
STEPS = st.sampled_from((0, 1, 2, 4)).flatmap(
    lambda number: st.lists(st.integers(0, 4).map(lambda eighths: eighths / 8), min_size=number, max_size=number)
)
SAMPLES = st.tuples(st.sampled_from(['1/2', '0.5', '7', '7.0', 'x', None]), STEPS)


@given(st.lists(SAMPLES, min_size=N, max_size=N))
def test_ties_and_silence_follow_the_stated_rule(finished, samples):
    template = next(p for p in finished.pools if (p['question_id'], p['seed']) == (IDS[0], 0))
    candidates = [
        {**template['candidates'][place], 'sample': place, 'answer': answer, 'scores': {'mean_logprob': steps}}
        for place, (answer, steps) in enumerate(samples)
    ]
    pool = {**template, 'candidates': candidates}
    unit = units_of(finished.config, load_problems(finished.config.data))[0]
    assert (unit.label, unit.problem.id, unit.seed) == (None, pool['question_id'], pool['seed'])
    check(pool, [json.loads(to_line(record)) for record in records_of(finished.config, unit, pool_from(pool))])
