"""At which numbers of solutions strategies run, and that a search that is read at fewer is the search of fewer."""

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.budget import UNLIMITED, Budget
from jaxreason.core.records import cost_fields, cost_from
from jaxreason.core.types import Problem, Verdict
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.reading import records_of
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.sweep import sweep_of
from jaxreason.evaluate.units import Unit, copies_of, pool_of, task_of, units_of
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.dvts import DVTS
from jaxreason.search.greedy import Greedy
from jaxreason.search.lookahead import Lookahead
from jaxreason.search.majority import Majority
from jaxreason.search.rebase import Rebase
from tests.evaluate.tiny_world import read_config, read_lines
from tests.search.fakes import FakeSampler, HashVerifier

PROBLEMS = [Problem(id=f'q{index}', text=f'question {index}', answer='2') for index in range(6)]
TREE = {'verifier': 'mean_logprob'}
NS = (1, 4, 8, 16, 64)


@pytest.mark.parametrize(
    ('strategy', 'reads', 'left_out'),
    [
        (Majority(n=16), {16: (1, 4, 8, 16)}, {}),
        (Greedy(), {1: (1,)}, {}),
        (Rebase(n=16), {1: (1,), 4: (4,), 8: (8,), 16: (16,)}, {}),
        (BeamSearch(n=16), {4: (4,), 8: (8,), 16: (16,)}, {1: 'beam_width 4 is more than 1, its prefixes at a time'}),
        (BeamSearch(n=8, beam_width='sqrt'), {1: (1,), 4: (4,), 8: (8,)}, {}),
        (BeamSearch(n=6, beam_width=2), {4: (4,)}, {1: 'beam_width 2 is more than 1, its prefixes at a time'}),
        (
            Lookahead(n=4, lookahead=3),
            {16: (16,)},
            {
                1: 'with a lookahead of 3 every prefix is 4 generations',
                4: 'beam_width 4 is more than 1, its prefixes at a time',
                8: 'beam_width 4 is more than 2, its prefixes at a time',
            },
        ),
        (DVTS(n=16), {16: (4, 8, 16)}, {1: '1, its prefixes at a time, is no multiple of beam_width 4'}),
        (DVTS(n=20), {20: (4, 8, 16)}, {1: '1, its prefixes at a time, is no multiple of beam_width 4'}),
        (
            DVTS(n=8, lookahead=1),
            {8: (8,), 16: (16,)},
            {
                1: 'with a lookahead of 1 every prefix is 2 generations',
                4: '2, its prefixes at a time, is no multiple of beam_width 4',
            },
        ),
    ],
)
def test_a_strategy_runs_where_it_can_and_says_where_not(strategy, reads, left_out):
    sweep = sweep_of(strategy, NS, UNLIMITED)
    assert (sweep.reads, sweep.left_out) == (reads, left_out)
    assert all(strategy.at(n).generations == n for n in reads)
    assert sweep_of(strategy, NS, Budget(tokens=9)) == ({strategy.generations: (strategy.generations,)}, {})


@pytest.mark.parametrize(
    ('strategy', 'reads'),
    [(Majority(n=6), {6: (1, 2, 4, 6)}), (DVTS(n=12), {12: (4, 8, 12)}), (BeamSearch(n=6), {6: (6,)}), (Greedy(), {1: (1,)})],
)
def test_without_numbers_only_what_is_free_is_read(strategy, reads):
    assert sweep_of(strategy, (), UNLIMITED) == (reads, {})


def make(strategies, **fields):
    return config_files.build(EvaluateConfig, {'strategies': strategies, **fields})


def test_every_search_is_a_unit_and_rows_of_all_are_counted():
    strategies = {
        'majority': {'kind': 'majority', 'n': 16},
        'beam': {'kind': 'beam_search', 'n': 16, **TREE},
        'dvts': {'kind': 'dvts', 'n': 16, **TREE},
        'greedy': {'kind': 'greedy'},
    }
    config = make(strategies, n=[4, 8, 16], budgets=[{}, {'tokens': 50}])
    units = units_of(config, PROBLEMS[:1])
    assert [(unit.pool, unit.n) for unit in units] == [
        ('samples', 16),
        ('majority.n16.tokens50', 16),
        *(('beam.n4', 4), ('beam.n8', 8), ('beam.n16', 16), ('beam.n16.tokens50', 16)),
        *(('dvts.n16', 16), ('dvts.n16.tokens50', 16)),
        *(('greedy.n1', 1), ('greedy.n1.tokens50', 1)),
    ]
    assert copies_of(config, units) == [sum(unit.n for unit in units)]
    assert [task_of(config, unit).copies for unit in units] == [unit.n for unit in units]
    assert config.exceptions == ['greedy: at its own n = 1, since it runs at none of n']
    beam = {'beam': {'kind': 'beam_search', 'n': 16, **TREE}}
    assert make(beam, n=[16, 1]).exceptions == [
        'beam: not at n = 1: beam_width 4 is more than 1, its prefixes at a time',
    ]


def searched(config, unit):
    """The pool of a unit over the fake session; right answers are `2`."""
    strategy = config.strategies[unit.label].at(unit.n)
    verifiers = {'mean_logprob': HashVerifier()}
    (outcome,) = strategy.solve([unit.problem.question], FakeSampler(), verifiers, seed=unit.seed)
    verdicts = [Verdict.CORRECT if c.answer == '2' else Verdict.WRONG for c in outcome.candidates]
    return outcome, pool_of(unit, outcome, verdicts, config.strategies[unit.label])


@pytest.mark.parametrize('problem', PROBLEMS)
def test_subtrees_read_from_a_large_search_are_the_small_search(problem):
    """The independent way: the same strategy searched at each smaller n by itself."""
    config = make({'dvts': {'kind': 'dvts', 'n': 16, 'beam_width': 2, **TREE}}, n=[2, 4, 6, 16])
    _, pool = searched(config, Unit(problem, 3, 'dvts', Budget(), 16))
    records = {record.n: record for record in records_of(config, Unit(problem, 3, 'dvts', Budget(), 16), pool)}
    assert {n: len(record.blocks) for n, record in records.items()} == {2: 8, 4: 4, 6: 2, 16: 1}
    for n, record in records.items():
        alone, _ = searched(config, Unit(problem, 3, 'dvts', Budget(), n))
        assert (record.blocks[0].answer, record.votes) == (alone.answer, alone.votes)
        assert record.blocks[0].cost == cost_fields(alone.cost)
        assert record.pool == 'dvts.n16'
        if n != 6:  # six does not divide sixteen: two subtrees are in no block
            own = [cost_from(block.cost).flops - cost_from(pool.cost).flops for block in record.blocks]
            assert sum(own) == cost_from(records[16].blocks[0].cost).flops - cost_from(pool.cost).flops
    assert cost_from(pool.cost).discarded == 0 < cost_from(records[16].blocks[0].cost).discarded


def test_a_beam_search_at_a_smaller_number_is_another_search():
    config = make({'beam': {'kind': 'beam_search', 'n': 16, 'beam_width': 2, **TREE}}, n=[4, 16])
    for n in (4, 16):
        outcome, pool = searched(config, Unit(PROBLEMS[0], 0, 'beam', Budget(), n))
        (record,) = records_of(config, Unit(PROBLEMS[0], 0, 'beam', Budget(), n), pool)
        assert (record.n, record.pool, record.blocks[0].cost) == (n, f'beam.n{n}', cost_fields(outcome.cost))
        assert len(pool.candidates) == n


def test_a_run_says_what_it_leaves_out_and_resumes_what_is_there(world, tmp_path):
    strategies = '{beam: {kind: beam_search, n: 4, beam_width: 2, verifier: mean_logprob}, greedy: {kind: greedy}}'
    words = ('data.limit=1', 'seeds=[0]', f'strategies={strategies}', 'n=[1, 2, 4]')
    config, said = read_config(world, *words), []
    evaluate(config, tmp_path / 'run', say=said.append)
    assert said[0] == 'beam: not at n = 1: beam_width 2 is more than 1, its prefixes at a time'
    found = [(record['strategy'], record['n'], record['pool']) for record in read_lines(tmp_path / 'run/records.jsonl')]
    assert found == [('beam', 2, 'beam.n2'), ('beam', 4, 'beam.n4'), ('greedy', 1, 'greedy.n1')]
    said.clear()
    evaluate(config, tmp_path / 'run', say=said.append)
    assert not said, 'all is done'


def test_subtrees_of_a_real_policy_do_not_know_how_many_there_are(world, tmp_path):
    """Prefixes of other subtrees stand in the same device batches; tokens, scores and FLOPs are those of the small search."""
    found = {}
    for n in (2, 8):
        words = (
            *('data.limit=3', 'seeds=[5]', 'sampler.max_tokens=40', 'n=[2, 8]'),
            f'strategies={{dvts: {{kind: dvts, n: {n}, beam_width: 2, verifier: mean_logprob}}}}',
        )
        evaluate(read_config(world, *words), tmp_path / f'{n}')
        records = read_lines(tmp_path / f'{n}/records.jsonl')
        found[n] = [(r['blocks'][0], r['votes'], r['question_id']) for r in records if r['n'] == 2]
    assert len(found[2]) == 3 and found[8] == found[2]
    pools = read_lines(tmp_path / '2/pools/dvts.n2.jsonl')
    assert any(pool['pruned'] for pool in pools), 'something was forked'
