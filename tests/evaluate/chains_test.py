"""Pools of chains: every revision of a run is read from one staircase, and is what it would have found by itself."""

import json

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.budget import Budget
from jaxreason.core.records import cost_from, pool_from, to_line
from jaxreason.core.types import Problem, Verdict
from jaxreason.data.datasets import load_problems
from jaxreason.evaluate.config import EvaluateConfig, open_verifiers
from jaxreason.evaluate.dry_run import describe, most_flops
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.sweep import Chains, sweep_of
from jaxreason.evaluate.units import copies_of, pool_of, task_of, units_of
from jaxreason.models.folder import open_weights
from jaxreason.search.drive import drive
from jaxreason.search.revision import Revision
from jaxreason.search.select import Vote
from tests.evaluate.tiny_world import read_config, read_lines
from tests.search.fakes import FakeSampler, HashVerifier

PROBLEM = Problem(id='q0', text='question 0', answer='2')
GRID = {
    'parallel': {'kind': 'revision', 'chains': 16, 'length': 1, 'vote': 'majority'},
    '1:4': {'kind': 'revision', 'chains': 8, 'length': 2, 'verifier': 'mean_logprob'},
    '1:1': {'kind': 'revision', 'chains': 4, 'length': 4, 'verifier': 'self_certainty'},
    'sequential': {'kind': 'revision', 'chains': 1, 'length': 16, 'vote': 'majority'},
    'short context': {'kind': 'revision', 'chains': 2, 'length': 3, 'context': 1, 'vote': 'majority'},
}


def make(strategies, **fields):
    return config_files.build(EvaluateConfig, {'strategies': strategies, **fields})


def test_one_staircase_holds_the_grid():
    config = make(GRID, n=[1, 4, 6, 16])
    assert config.chains == [Chains(1, (3, 3)), Chains(4, (16, 4, 4, 4, *[2] * 4, *[1] * 8))]
    units = units_of(config, [PROBLEM])
    assert [(unit.pool, unit.n) for unit in units] == [('chains1', 6), ('chains4', 44)]
    assert config.num_attempts == 4 and [task_of(config, unit).num_attempts for unit in units] == [1, 4]
    assert copies_of(config, units) == [2 + 16]
    assert sweep_of(config.strategies['1:1'], config.n, Budget()) == (
        {16: (1, 4, 16)},
        {6: 'no whole chains keep 1:1 attempts to chains'},
    )


@pytest.fixture(scope='module')
def searched():
    """The pool of chains of one question over the fake session, and the configuration; right answers are `2`."""
    config = make({label: grid for label, grid in GRID.items() if label != 'short context'}, n=[1, 4, 16], seeds=[3])
    (unit,) = units_of(config, [PROBLEM])
    verifiers = {'mean_logprob': HashVerifier(), 'self_certainty': HashVerifier()}
    ((_, judged),) = drive([task_of(config, unit)], FakeSampler().session(), verifiers)
    verdicts = [Verdict.CORRECT if c.answer == '2' else Verdict.WRONG for c in judged.candidates]
    return config, unit, pool_of(unit, judged, verdicts, None)


def test_what_is_read_from_the_staircase_is_the_search_by_itself(searched):
    config, unit, pool = searched
    records = list(records_of(config, unit, pool))
    assert sorted((record.strategy, record.n) for record in records) == sorted(
        [(label, n) for label in ('parallel', 'sequential', '1:1') for n in (1, 4, 16)] + [('1:4', 4), ('1:4', 16)]
    )
    largest = {record.strategy: record for record in records}
    assert list(records_of(config, unit, pool, only_whole=True)) == list(largest.values())
    for record in records:
        alone = config.strategies[record.strategy].at(record.n)
        (outcome,) = alone.solve([PROBLEM.question], FakeSampler(), HashVerifier(), seed=3)
        assert (record.blocks[0].answer, record.votes) == (outcome.answer, outcome.votes)
        assert cost_from(record.blocks[0].cost) == outcome.cost
        assert record.pool == 'chains4'
    blocks = {(record.strategy, record.n): len(record.blocks) for record in records}
    assert blocks['parallel', 1] == 16 and blocks['parallel', 4] == 4 and blocks['sequential', 4] == 4
    assert blocks['sequential', 16] == 1 and blocks['1:1', 4] == 4 and blocks['1:1', 16] == 1


def test_a_pool_of_chains_is_read_back_as_it_was_written(searched):
    _, _, pool = searched
    assert pool_from(json.loads(to_line(pool))) == pool
    assert sum(c.revises is None for c in pool.candidates) == 16


def test_under_a_limit_a_revision_searches_by_itself():
    config = make({'1:1': GRID['1:1']}, budgets=[{}, {'tokens': 50}])
    units = units_of(config, [PROBLEM])
    assert [unit.n for unit in units] == [16, 16] and units[0].pool == 'chains4' and units[1].pool.endswith('.n16.tokens50')
    assert config.chains == [Chains(4, (4, 4, 4, 4))]


WORDS = (
    'strategies={majority: {kind: majority, n: 4}, '
    'a: {kind: revision, chains: 1, length: 4, vote: majority}, '
    'b: {kind: revision, chains: 2, length: 2, verifier: mean_logprob}}',
    'n=[1, 4]',
    'sampler.max_tokens=20',
)


def test_a_real_run_keeps_to_what_the_dry_run_says_and_its_control_shares_the_draws(world, tmp_path):
    config = read_config(world, *WORDS)
    evaluate(config, tmp_path / 'run')
    pools = [pool_from(line) for line in read_lines(tmp_path / 'run/pools/chains4.jsonl')]
    plain = [pool_from(line) for line in read_lines(tmp_path / 'run/pools/samples.jsonl')]
    samples = {(pool.question_id, pool.seed): pool.candidates for pool in plain}
    for pool in pools:
        # Whole sentences are one token each, and many when they are shown: some chains have no room to go on.
        assert {0, 1} <= {c.sample for c in pool.candidates} <= {0, 1, 65536, 65537, 2 * 65536, 3 * 65536}
        independent = samples[pool.question_id, pool.seed]
        assert [c.tokens for c in pool.candidates[:2]] == [c.tokens for c in independent[:2]]
        assert all('prompt_tokens' in c.cost for c in pool.candidates if c.revises is not None)
    assert 'chains4' in describe(config)
    assert max(len(pool.candidates) for pool in pools) > 2
    records, problems = read_lines(tmp_path / 'run/records.jsonl'), load_problems(config.data)
    model = open_weights(world.parent / 'model').config
    lengths = json.loads((tmp_path / 'run/environment.json').read_text())['prompt_tokens']
    for unit in (unit for unit in units_of(config, problems) if unit.chains is not None):
        own = [r for r in records if (r['question_id'], r['seed'], r['pool']) == (unit.problem.id, unit.seed, unit.pool)]
        spent = max(cost_from(record['blocks'][0]['cost']).flops for record in own)
        assert spent <= most_flops(config, unit, model, lengths['max'], open_verifiers(config.verifiers))


def test_revisions_without_limits_are_equal_alone_and_together(world, tmp_path):
    """The engine's chains do not know which others grow beside them."""
    found = {}
    for name, words in (('both', WORDS), ('one', (WORDS[0].split(', b:')[0] + '}', *WORDS[1:]))):
        evaluate(read_config(world, *words, 'data.limit=3'), tmp_path / name)
        records = read_lines(tmp_path / name / 'records.jsonl')
        found[name] = [r for r in records if r['strategy'] == 'a' and r['n'] == 4]
    assert found['both'] == found['one'] and found['one']


def test_revisions_are_chosen_by_kind():
    config = make({'r': {'kind': 'revision', 'chains': 2, 'length': 3, 'context': 2, 'vote': 'majority'}})
    assert config.strategies['r'] == Revision(chains=2, length=3, context=2, vote=Vote.MAJORITY)
    assert [unit.n for unit in units_of(config, [PROBLEM])] == [6]


def test_what_a_ratio_leaves_out_is_one_line():
    config = make({'1:4': {'kind': 'revision', 'chains': 8, 'length': 2, 'vote': 'majority'}}, n=[1, 2, 4, 8, 16])
    assert config.exceptions == ['1:4: not at n = 1, 2, 8: no whole chains keep 1:4 attempts to chains']
