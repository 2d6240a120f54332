"""The dry run: what it says is what the run then does, and it touches nothing."""

import json
import shutil
from pathlib import Path

import jax
import pytest

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.records import cost_from, pool_from
from jaxreason.data.datasets import load_problems
from jaxreason.evaluate.config import open_verifiers
from jaxreason.evaluate.dry_run import describe, most_flops
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.units import units_of
from jaxreason.models.cache import Cache
from jaxreason.models.folder import open_weights, read_checkpoint
from jaxreason.models.safetensors_file import SafetensorsFile
from tests.evaluate.tiny_world import read_config

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden' / 'math-shepherd'


@pytest.fixture
def model(world) -> ModelConfig:
    return open_weights(world.parent / 'model').config


def test_it_says_what_the_run_is(world):
    text = describe(read_config(world))
    for words in (
        '6 of ',
        '2 seeds: 24 units',
        '20,576 parameters, context of 256',
        '7 to 7 tokens, median 7',
        '4 rows in 2 slots of 2',
        '64 prompt tokens a slot and 64 new',
    ):
        assert words in text, text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_memory_is_that_of_the_arrays(world, model):
    text = describe(read_config(world, 'sampler.num_rows=8'))
    params = read_checkpoint(world.parent / 'model').parameters
    cache = jax.eval_shape(lambda: Cache.empty(model, 4, 2, 64, 64))
    num_bytes = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((cache.prompt_k, cache.prompt_v, cache.k, cache.v))
    )
    for value in (sum(leaf.nbytes for leaf in jax.tree.leaves(params)), num_bytes, 2 * 8 * model.vocab_size * 4):
        assert f'{value / 1000:#.3g}'.rstrip('.') + ' kB' in text, (value, text)


def test_half_the_bytes_in_bfloat16(world, model):
    text = describe(read_config(world, 'model.dtype=bfloat16'))
    assert f'{2 * model.num_parameters / 1000:#.3g}'.rstrip('.') + ' kB parameters in bfloat16' in text
    cache = 2 * 2 * 2 * 8 * (2 + 4) * 64  # keys and values, layers, heads, width, slots and rows, room
    assert f'{2 * cache / 1000:#.3g} kB keys and values in bfloat16\n' in text
    text = describe(read_config(world, 'model.dtype=bfloat16', 'sampler.cache_dtype=float32'))
    assert f'{4 * cache / 1000:#.3g} kB keys and values in float32\n' in text


def test_flops_are_an_upper_bound_that_long_solutions_reach(world, model, tmp_path):
    bins = '[{kind: best_of_n, n: 4, verifier: mean_logprob}, {kind: majority, n: 2}]'
    adaptive = f'strategies.adaptive={{kind: compute_optimal, difficulty: {{kind: votes, n: 3, cuts: [0.5]}}, bins: {bins}}}'
    config = read_config(world, 'seeds=[0]', 'budgets=[{}, {tokens: 12}, {flops: 500000}]', adaptive)
    evaluate(config, tmp_path / 'run')
    spent = {}
    for path in (tmp_path / 'run/pools').iterdir():
        for line in path.read_text().splitlines():
            pool = pool_from(json.loads(line))
            costs = [pool.cost, *(cost for c in pool.candidates for cost in (c.cost, *c.verified.values()))]
            is_full = all(len(c.tokens) == config.sampler.max_tokens for c in pool.candidates) and pool.candidates
            spent[pool.pool, pool.question_id] = (sum(cost_from(cost).flops for cost in costs), is_full)
    units = units_of(config, load_problems(config.data))
    reached = 0
    for unit in units:
        flops, is_full = spent[unit.pool, unit.problem.id]
        bound = most_flops(config, unit, model, 7, {})
        assert flops <= bound, unit
        if is_full and not unit.budget.limits and unit.label != 'adaptive':  # which may do less
            assert flops == bound
            reached += 1
    assert reached > 0 and len(units) == len(spent)


TREES = {
    'single': {'kind': 'best_of_n', 'n': 16, 'verifier': 'prm'},
    'beam': {'kind': 'beam_search', 'n': 16, 'verifier': 'prm'},
    'ahead': {'kind': 'lookahead', 'n': 4, 'lookahead': 3, 'verifier': 'prm'},
    'dvts': {'kind': 'dvts', 'n': 16, 'verifier': 'prm'},
}


def test_a_tree_is_counted_as_its_generations_and_marked_as_an_estimate(world, model):
    verifiers = {'prm': {'source': str(GOLDEN), 'preset': 'math-shepherd'}}
    words = (
        f'strategies={json.dumps(TREES)}',
        f'verifiers={json.dumps(verifiers)}',
        'n=[1, 4, 16]',
        'data.limit=1',
        'seeds=[0]',
    )
    config = read_config(world, *words)
    units = {unit.pool: unit for unit in units_of(config, load_problems(config.data))}
    assert list(units) == ['samples', 'beam.n4', 'beam.n16', 'ahead.n16', 'dvts.n16']
    trained = open_verifiers(config.verifiers)
    flops = {pool: most_flops(config, unit, model, 7, trained) for pool, unit in units.items()}
    without = {pool: most_flops(config, unit, model, 7, {}) for pool, unit in units.items()}
    assert flops['samples'] == flops['beam.n16'] == flops['ahead.n16'] == flops['dvts.n16']
    assert flops['beam.n16'] - without['beam.n16'] == 4 * (flops['beam.n4'] - without['beam.n4']) > 0, 'the price of scoring'
    text = describe(config)
    rows = {line.split()[0]: line for line in text.splitlines() if len(line.split()) > 2}
    assert '~' not in rows['samples'] and all(rows[pool].count('~') == 3 for pool in list(units)[1:])
    assert 'for the whole run, about\n' in text and '~ counts searches over steps' in text
    assert 'left out' in text and 'beam: not at n = 1: beam_width 4 is more than 1, its prefixes at a time\n' in text
    alone = describe(read_config(world))
    assert '~' not in alone and 'left out' not in alone and 'whole run, at most' in alone


def test_totals_add_up(world, model):
    config = read_config(world)
    total = sum(most_flops(config, unit, model, 7, {}) for unit in units_of(config, load_problems(config.data)))
    assert f'{total / 1e6:#.3g}'.rstrip('.') + ' MFLOPs for the whole run' in describe(config)


def test_no_tensor_is_read_and_nothing_is_written(world, tmp_path, monkeypatch):
    monkeypatch.setattr(SafetensorsFile, 'tensor', lambda *_: pytest.fail('a tensor was read'))
    monkeypatch.setattr(jax, 'devices', None)
    monkeypatch.chdir(tmp_path)
    describe(read_config(world))
    assert not list(tmp_path.iterdir())


def test_a_preset_that_is_not_there_is_not_fetched(world, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    text = describe(read_config(world, 'model.source=smollm2-135m'))
    assert 'jaxreason weights fetch smollm2-135m' in text and '24 units' in text and '92.9 MB' in text
    assert 'parameters' not in text and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('override', 'error'),
    [
        ('sampler.max_tokens=250', ConfigError),
        ('model.source=nowhere/at/all', WeightsError),
        ('sampler={max_tokens: 10, memory_limit: 0.0001}', ConfigError),
        ('sampler={max_tokens: 10, num_rows: 8, memory_limit: 0.0001}', ConfigError),
    ],
)
def test_it_refuses_what_the_run_would_refuse(world, override, error, tmp_path):
    config = read_config(world, override)
    with pytest.raises(error) as dry:
        describe(config)
    with pytest.raises(error) as wet:
        evaluate(config, tmp_path / 'run')
    assert str(dry.value) == str(wet.value)


def test_a_prompt_beyond_the_largest_bucket_is_refused_by_both(world, tmp_path):
    problems = tmp_path / 'problems.jsonl'
    problems.write_text(json.dumps({'id': 'long', 'question': 'a' * 100, 'answer': '1'}))
    config = read_config(world, f'data.source={json.dumps(str(problems))}', 'sampler.buckets=[64]')
    for go in (describe, lambda config: evaluate(config, tmp_path / 'run')):
        with pytest.raises(ConfigError, match=r"question 'long': its prompt of 100 tokens exceeds 64.*sampler\.buckets: add"):
            go(config)


@pytest.mark.parametrize(
    ('overrides', 'shapes', 'why'),
    [
        ((), '64 rows in 32 slots of 2', 'more would not be faster'),
        (('data.limit=2', 'seeds=[0]'), '16 rows in 8 slots of 2', 'as many as are wanted'),
        (('sampler.memory_limit=0.0008',), '24 rows in 12 slots of 2', 'all that the memory limit holds'),
    ],
)
def test_it_says_how_many_rows_a_run_chooses_and_why(world, tmp_path, overrides, shapes, why):
    config = read_config(world, 'sampler.num_rows=auto', *overrides)
    text = describe(config)
    assert f'{shapes}\n' in text and f'chosen: {why}' in text
    said = []
    evaluate(config, tmp_path / 'run', say=said.append)
    assert any(line.startswith(shapes.split(' in')[0]) and why in line for line in said), said


def test_a_model_without_a_tokenizer_is_refused(world, tmp_path):
    shutil.copytree(world.parent / 'model', tmp_path / 'model')
    (tmp_path / 'model/tokenizer.json').unlink()
    with pytest.raises(TokenizerError, match='no tokenizer'):
        describe(read_config(world, f'model.source={json.dumps(str(tmp_path / "model"))}'))
