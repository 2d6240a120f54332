"""Votes by the policy's own confidence, end to end: one pool for all of them, and the same answers by a plain count of it."""

import json

import numpy as np
import pytest

from jaxreason.core.records import pool_from
from jaxreason.core.yaml_text import read as read_tree
from jaxreason.evaluate.dry_run import describe
from jaxreason.evaluate.runner import evaluate
from tests.evaluate.tiny_world import read_config, read_lines

STRATEGIES = {
    'majority': {'kind': 'majority', 'n': 4},
    'borda 0': {'kind': 'borda', 'n': 4, 'power': 0},
    'borda 1.2': {'kind': 'borda', 'n': 4, 'power': 1.2},
    'deepconf': {'kind': 'deepconf', 'n': 4},
    'deepconf, half': {'kind': 'deepconf', 'n': 4, 'keep': 0.5, 'verifier': 'three'},
    'beam': {'kind': 'beam_search', 'n': 4, 'beam_width': 2, 'verifier': 'three'},
}
VERIFIERS = {'three': {'kind': 'confidence', 'measure': 'bottom', 'window': 3}}
WORDS = ('data.limit=4', 'seeds=[3]', f'strategies={json.dumps(STRATEGIES)}', f'verifiers={json.dumps(VERIFIERS)}')


@pytest.fixture(scope='module')
def run(world, tmp_path_factory):
    out = tmp_path_factory.mktemp('confidence') / 'run'
    evaluate(read_config(world, *WORDS), out)
    return out


def winner(weights):
    return max(weights, key=weights.get) if weights else None


def by_borda(block, power):
    order = sorted(range(len(block)), key=lambda i: -block[i].scores['self_certainty'][-1])
    weights = {c.answer: 0.0 for c in block if c.answer is not None}
    for place, index in enumerate(order):
        if block[index].answer is not None:
            weights[block[index].answer] += (len(block) - place) ** power
    return winner(weights)


def by_deepconf(block, verifier, keep):
    answered = [c for c in block if c.answer is not None]
    scores = [c.scores[verifier][-1] for c in answered]
    weights = {}
    for c, score in zip(answered, scores, strict=True):
        if score >= np.percentile(scores, 100 * (1 - keep)):
            weights[c.answer] = weights.get(c.answer, 0.0) + score
    return winner(weights)


PLAIN = {
    'borda 0': lambda block: by_borda(block, 0),
    'borda 1.2': lambda block: by_borda(block, 1.2),
    'deepconf': lambda block: by_deepconf(block, 'confidence_lowest', 1.0),
    'deepconf, half': lambda block: by_deepconf(block, 'three', 0.5),
}


def test_one_pool_gives_every_vote_at_every_n(run):
    pools = {line['question_id']: pool_from(line) for line in read_lines(run / 'pools' / 'samples.jsonl')}
    assert len(pools) == 4 and {path.name for path in (run / 'pools').iterdir()} == {'samples.jsonl', 'beam.jsonl'}
    records = [record for record in read_lines(run / 'records.jsonl') if record['strategy'] in PLAIN]
    assert len(records) == 4 * len(PLAIN) * 3
    for record in records:
        candidates, n = pools[record['question_id']].candidates, record['n']
        blocks = [candidates[first : first + n] for first in range(0, 4, n)]
        expected = [PLAIN[record['strategy']](block) for block in blocks]
        assert [block['answer'] for block in record['blocks']] == expected, record['strategy']
    answers = {c.answer for pool in pools.values() for c in pool.candidates}
    assert len(answers) > 3, 'a vote is about something'


def test_borda_without_power_is_the_majority(run):
    records = read_lines(run / 'records.jsonl')
    found = {label: [{**r, 'strategy': ''} for r in records if r['strategy'] == label] for label in ('majority', 'borda 0')}
    assert found['majority'] == found['borda 0'] != []


def test_every_prefix_of_a_candidate_is_scored_for_nothing(run):
    pools = [pool_from(line) for line in read_lines(run / 'pools' / 'samples.jsonl')]
    for candidate in (c for pool in pools for c in pool.candidates):
        assert candidate.scores.keys() == {'self_certainty', 'confidence_lowest', 'three'}
        for name, scores in candidate.scores.items():
            assert len(scores) == len(candidate.step_ends) and all(0 < score < 40 for score in scores)
            assert candidate.verified[name] == {}
    # With a vocabulary of 70 tokens and windows of 2,048 `lowest` is the mean: it differs from the lowest windows of three.
    assert any(c.scores['three'] != c.scores['confidence_lowest'] for pool in pools for c in pool.candidates)


def test_the_configuration_says_what_was_sampled_and_resumes(world, run):
    resolved, _ = read_tree(run / 'config.yaml')
    assert resolved['sampler']['stats'] == ['logprob', 'sampled_logprob', 'self_certainty', 'confidence']
    assert resolved['sampler']['confidence_top_k'] == 20 and resolved['verifiers']['three']['window'] == 3
    before = (run / 'records.jsonl').read_bytes()
    (run / 'records.jsonl').unlink()
    config = read_config(run / 'config.yaml')
    assert config == read_config(world, *WORDS)
    evaluate(config, run)
    assert (run / 'records.jsonl').read_bytes() == before
    assert json.loads((run / 'environment.json').read_text())['verifiers'] == {} and 'FLOP' in describe(config)
