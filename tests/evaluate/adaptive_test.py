"""An adaptive strategy in a run: for every question what the strategy of its bin makes of it, and what looking takes on top."""

import json
import shutil

import jax
import pytest
from safetensors.numpy import load_file, save_file

from jaxreason.allocation.adaptive import ComputeOptimal
from jaxreason.allocation.bins_file import FILE
from jaxreason.allocation.cells import read_cells
from jaxreason.allocation.estimators import FirstScores, FirstVotes
from jaxreason.allocation.looking import looks_at_first, value_in
from jaxreason.core import config as config_files
from jaxreason.core.budget import Budget
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError
from jaxreason.core.records import cost_from, pool_from
from jaxreason.data.datasets import load_problems
from jaxreason.engine.backbone_verifier import heads_of
from jaxreason.engine.sampler import Sampler
from jaxreason.evaluate.config import SolveConfig, load_policy, load_verifiers, open_verifiers
from jaxreason.evaluate.dry_run import describe, most_flops
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.units import units_of
from jaxreason.models.folder import open_weights
from jaxreason.models.value_heads import head_tensors, init_head
from tests.evaluate.tiny_world import read_config, read_lines

LOOKED = 3  # samples
# Independent samples, fewer and more than are looked at, without a verifier, with the one that looked and with another; trees.
STRATEGIES = {
    'few': {'kind': 'majority', 'n': 2},
    'few, same': {'kind': 'best_of_n', 'n': 2, 'verifier': 'prm'},
    'many': {'kind': 'majority', 'n': 6},
    'many, same': {'kind': 'best_of_n', 'n': 6, 'verifier': 'prm', 'vote': 'naive'},
    'many, other': {'kind': 'best_of_n', 'n': 5, 'verifier': 'other'},
    'beam': {'kind': 'beam_search', 'n': 6, 'beam_width': 3, 'verifier': 'prm'},
}
NEWLINE = 'prompt.step_delimiter="\\n"'
DRAWN = (NEWLINE, 'seeds=[9]', 'sampler.temperature=0.7')  # the votes of its questions differ
OWN = {label: fields['n'] for label, fields in STRATEGIES.items()}
ESTIMATES = {'votes': FirstVotes(n=LOOKED), 'scores': FirstScores(n=LOOKED, verifier='prm')}


@pytest.fixture(scope='module')
def verifiers(world, tmp_path_factory):
    """Verifiers by name: two heads on the policy, which cost little and not nothing."""
    folder = tmp_path_factory.mktemp('heads') / 'head'
    shutil.copytree(world.parent / 'model', folder)
    head = init_head('action_value', open_weights(folder).config, jax.random.key(0))
    save_file({**load_file(folder / 'model.safetensors'), **head_tensors(head)}, folder / 'model.safetensors')
    (folder / 'verifier.yaml').write_text('head: action_value\nboundary: before_marker\nlayout: {form: plain, marker: "\\n"}\n')
    return {name: {'source': str(folder), 'on': 'policy'} for name in ('prm', 'other')}


class Fixed:
    """A run of the strategies, each by itself."""

    def __init__(self, world, verifiers, folder):
        words = (f'strategies={json.dumps(STRATEGIES)}', f'verifiers={json.dumps(verifiers)}', *DRAWN, 'n=[2, 5, 6]')
        self.config = read_config(world, *words)
        evaluate(self.config, folder)
        self.records = read_lines(folder / 'records.jsonl')
        self.pools = {path.stem: {each['question_id']: pool_from(each) for each in read_lines(path)} for path in _pools(folder)}
        self.cells = read_cells(self.records, tuple(STRATEGIES))

    def looks(self, name):
        pools = {(question, 9): pool for question, pool in self.pools['samples'].items()}
        return looks_at_first(name, ESTIMATES[name], self.cells, pools, self.config.strategies)

    def cuts(self, name):
        """Where the values of the questions differ."""
        values = sorted({value_in(ESTIMATES[name], pool) for pool in self.pools['samples'].values()})
        return [(low + high) / 2 for low, high in zip(values, values[1:], strict=False)]


def _pools(folder):
    return sorted((folder / 'pools').iterdir())


@pytest.fixture(scope='module')
def fixed(world, verifiers, tmp_path_factory):
    return Fixed(world, verifiers, tmp_path_factory.mktemp('fixed'))


@pytest.fixture(scope='module', params=ESTIMATES)
def adaptive(world, verifiers, fixed, request, tmp_path_factory):
    """Name of an estimate, and a run in which every strategy is the one of every bin once."""
    cuts = fixed.cuts(request.param)
    assert cuts, 'the questions are not all alike'
    labels = list(STRATEGIES)
    look = {'kind': request.param, 'n': LOOKED, 'cuts': cuts}
    look |= {'verifier': 'prm'} if request.param == 'scores' else {}
    tables = {
        str(turn): {
            'kind': 'compute_optimal',
            'difficulty': look,
            'bins': [STRATEGIES[labels[(turn + place) % len(labels)]] for place in range(len(cuts) + 1)],
        }
        for turn in range(len(labels))
    }
    asked = {
        each.get('verifier') for table in tables.values() for each in (look, *table['bins']) if each.get('verifier') is not None
    }
    used = {name: verifiers[name] for name in verifiers if name in asked}
    config = read_config(world, f'strategies={json.dumps(tables)}', f'verifiers={json.dumps(used)}', *DRAWN)
    out = tmp_path_factory.mktemp(request.param)
    evaluate(config, out)
    return request.param, config, out


def test_it_is_the_strategy_of_the_bin_and_costs_what_was_predicted(fixed, adaptive):
    name, config, out = adaptive
    labels, estimate, looks = list(STRATEGIES), ESTIMATES[name], fixed.looks(name)
    pools = [pool_from(line) for path in _pools(out) for line in read_lines(path)]
    records = {(record['strategy'], record['question_id']): record for record in read_lines(out / 'records.jsonl')}
    by_label = {(record['strategy'], record['question_id'], record['n']): record for record in fixed.records}
    assert len(pools) == len(records) == len(STRATEGIES) * len(fixed.cells.questions)
    done = set()
    for pool in pools:
        turn, question = pool.pool.split('.')[0], pool.question_id
        strategy = config.strategies[turn]
        level = strategy.table.difficulty.level(value_in(estimate, fixed.pools['samples'][question]))
        label = labels[(int(turn) + level - 1) % len(labels)]
        n, record = OWN[label], records[turn, question]
        alone = by_label[label, question, n]
        row, column = fixed.cells.questions.index(question), fixed.cells.index(label, n)
        spent, paid = (Cost(**each['blocks'][0]['cost']) for each in (record, alone))
        assert spent.flops == looks.flops[row, column], (label, n)
        if alone['blocks'][0]['answer'] is None:  # then the samples looked at answer, if they do
            assert 'level' not in pool.chosen and len(pool.candidates) == LOOKED
            assert pool.chosen['answer'] in {c.answer for c in pool.candidates} | {None}
            continue
        assert pool.chosen['level'] == level
        assert [block['answer'] for block in record['blocks']] == [alone['blocks'][0]['answer']]
        assert record['blocks'][0]['verdict'] == alone['blocks'][0]['verdict'] and record['votes'] == alone['votes']
        source = fixed.pools['samples' if label != 'beam' else 'beam.n6'][question]
        judge = STRATEGIES[label].get('verifier')
        told = source.candidates if label == 'beam' else source.candidates[:n]
        assert [_told(c, judge) for c in pool.candidates] == [_told(c, judge) for c in told] and len(told) >= 1
        assert pool.pruned == source.pruned
        # All that it does not share with its strategy is for finding the bin; tokens are tokens, whatever they are for.
        assert spent._replace(probe=0, prompt_tokens=0, new_tokens=0, scored_tokens=0) == paid._replace(
            prompt_tokens=0, new_tokens=0, scored_tokens=0
        )
        shared = label != 'beam' and n >= LOOKED and (name == 'votes' or 'same' in label)
        assert (spent == paid) == (spent.probe == 0) == shared
        drawn = fixed.pools['samples'][question].candidates[n if label != 'beam' else 0 : LOOKED]
        assert spent.new_tokens - paid.new_tokens == sum(len(c.tokens) for c in drawn)
        done.add(label)
    assert done == set(STRATEGIES)


def _told(candidate, judge):
    scores = candidate.scores.get(str(judge)) if judge else None
    return candidate.sample, candidate.text, candidate.tokens, candidate.answer, candidate.verdict, scores


def test_the_dry_run_takes_the_dearest_bin_and_the_look(world, verifiers):
    look = {'kind': 'scores', 'n': LOOKED, 'verifier': 'prm', 'cuts': [0.5]}
    tree, more = STRATEGIES['beam'], {'kind': 'majority', 'n': 9}
    tables = {
        'tree': {'kind': 'compute_optimal', 'difficulty': look, 'bins': [tree, STRATEGIES['few']]},
        'parallel': {'kind': 'compute_optimal', 'difficulty': look, 'bins': [STRATEGIES['few'], STRATEGIES['many']]},
        'alike': {'kind': 'compute_optimal', 'difficulty': look, 'bins': [more, more]},
        'more': more,
        'beam': tree,
        'looked': {'kind': 'best_of_n', 'n': LOOKED, 'verifier': 'prm'},
        'many': STRATEGIES['many'],
    }
    config = read_config(
        world,
        f'strategies={json.dumps(tables)}',
        f'verifiers={json.dumps({"prm": verifiers["prm"]})}',
        NEWLINE,
        'budgets=[{flops: 1000000000000}]',
        'data.limit=1',
        'seeds=[0]',
    )
    model, trained = open_weights(world.parent / 'model').config, open_verifiers(config.verifiers)
    units = {unit.label: unit for unit in units_of(config, load_problems(config.data))}
    most = {label: most_flops(config, unit, model, 7, trained) for label, unit in units.items()}
    assert most['tree'] == most['beam'] + most['looked'], 'the tree begins anew'
    judged = most['looked'] - most_flops(config, units['looked'], model, 7, {})
    assert judged > 0 and most['parallel'] == most['many'] + judged, 'the samples are shared, the scores are not'
    assert most['alike'] == most['more'], 'nothing to look for'
    rows = {line.split()[0].split('.')[0]: line.split() for line in describe(config).splitlines() if '.flops' in line}
    rows |= {'tree': describe(config).split('work ')[1].splitlines()[1].split()}
    assert rows['tree'][2:4] == ['9', '~90'], rows['tree']
    assert rows['parallel'][2:4] == ['6', '60'] and rows['alike'][2:4] == ['9', '90']


FITTED = {'mode': 'per_question', 'data': '0', 'num_questions': 6, 'seeds': [0], 'folds': 2, 'runs': ['runs/x'], 'grid': {}}


@pytest.fixture
def fitted(world, verifiers, tmp_path):
    """Writes an allocation for the tiny world, with some of its digests changed; returns its path as JSON."""
    config = config_files.load(SolveConfig, None, solving(world, verifiers))
    lm = load_policy(config.model)
    setting = Sampler(lm, prompt=config.prompt, **vars(config.sampler)).setting
    verifier = load_verifiers(config.verifiers, lm, config.prompt)['prm'].digest

    def write(**changes):
        made_for = {
            'policy': setting.policy,
            'tokenizer': setting.tokenizer,
            'prompt': setting.prompt,
            'sampler': {**setting.sampler, **changes.pop('sampler', {})},
            'verifiers': {'prm': verifier},
            **changes,
        }
        look = {'kind': 'scores', 'n': 2, 'verifier': 'prm', 'cuts': [0.5]}
        bins = [{'kind': 'majority', 'n': 2}, {'kind': 'best_of_n', 'n': 4, 'verifier': 'prm'}]
        tree = {'difficulty': look, 'table': [{'n': 4, 'bins': bins}], 'fitted': {**FITTED, **made_for}}
        path = tmp_path / 'allocation.yaml'
        path.write_text(json.dumps(tree))
        return path

    return write, lm, config


def solving(world, verifiers):
    """The tiny world for `solve`, with a strategy that asks the verifier."""
    shared = read_config(world)
    words = [
        f'model.source={json.dumps(shared.model.source)}',
        f'verifiers={json.dumps({"prm": verifiers["prm"]})}',
        'prompt.few_shot=0',
    ]
    words += ['prompt.template=raw', NEWLINE, 'sampler.max_tokens=10', 'sampler.temperature=1.0']
    return [*words, 'sampler.num_rows=4', 'sampler.rows_per_slot=2', 'strategy.verifier=prm']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({}, None),
        ({'policy': 'ab' * 32}, 'another policy (abababababab, here'),
        ({'tokenizer': 'ab' * 32}, 'another tokenizer (abababababab, here'),
        ({'prompt': 'ab' * 32}, 'another prompt (abababababab, here'),
        ({'sampler': {'temperature': '0.25'}}, 'another sampler.temperature (0.25, here 1.0)'),
        ({'sampler': {'max_tokens': '11'}}, 'another sampler.max_tokens (11, here 10)'),
        ({'verifiers': {'prm': 'ab' * 32}}, "another verifier 'prm' (abababababab, here"),
    ],
)
def test_an_allocation_is_used_for_what_it_was_fitted_for(world, verifiers, fitted, tmp_path, changes, message):
    write, lm, config = fitted
    strategy = ComputeOptimal(allocation=str(write(**changes)))
    judges = load_verifiers(config.verifiers, lm, config.prompt)
    sampler = Sampler(lm, prompt=config.prompt, heads=heads_of(judges), **vars(config.sampler))
    table = {'adaptive': {'kind': 'compute_optimal', 'allocation': strategy.allocation}}
    one = {'prm': verifiers['prm']}
    words = (f'strategies={json.dumps(table)}', f'verifiers={json.dumps(one)}', NEWLINE, 'data.limit=2', 'seeds=[0]')
    run = read_config(world, *words)
    ways = (
        lambda: strategy.solve(['1+1 = ?'], sampler, judges),
        lambda: evaluate(run, tmp_path / 'run'),
    )
    for way in ways:
        if message is None:
            way()
            continue
        with pytest.raises(ConfigError) as error:
            way()
        assert message in str(error.value) and '\n' not in str(error.value)
        assert str(error.value).startswith(f'{strategy.allocation}: it was fitted for')


def test_what_is_known_of_other_questions_is_no_help(world, tmp_path):
    row = {'question_id': 'plain', 'values': {'guess': 0.4}, 'flops': {'guess': 1234}}
    (tmp_path / FILE).write_text(json.dumps(row) + '\n')
    bins = [{'kind': 'majority', 'n': 2}, {'kind': 'majority', 'n': 4}]
    look = {'kind': 'known', 'source': str(tmp_path), 'estimate': 'guess', 'cuts': [0.5]}
    table = {'adaptive': {'kind': 'compute_optimal', 'difficulty': look, 'bins': bins}, 'plain': bins[1]}
    words = (f'strategies={json.dumps(table)}', 'n=[4]', 'seeds=[0]')
    config = read_config(world, *words, 'data.limit=1')
    evaluate(config, tmp_path / 'run')
    costs = [cost_from(record['blocks'][0]['cost']) for record in read_lines(tmp_path / 'run/records.jsonl')]
    assert [costs[0]._replace(probe=0), costs[0].probe] == [costs[1], 1234], 'what finding out took is charged'
    model = open_weights(world.parent / 'model').config
    most = [most_flops(config, unit, model, 7, {}) for unit in units_of(config, load_problems(config.data))]
    assert abs(most[0] - most[1]) == 1234
    with pytest.raises(ConfigError, match="nothing is known of the question 'with space': run jaxreason difficulty"):
        evaluate(read_config(world, *words, 'data.limit=2'), tmp_path / 'more')


def test_a_budget_counts_the_look(world):
    bins = (STRATEGIES['few'], {**STRATEGIES['beam'], 'verifier': 'mean_logprob'})
    fields = {'kind': 'compute_optimal', 'difficulty': {'kind': 'votes', 'n': 3, 'cuts': [0.5]}, 'bins': list(bins)}
    strategy = read_config(world, f'strategies={json.dumps({"adaptive": fields})}').strategies['adaptive']
    assert strategy.most_generations == 3 + 6
    with pytest.raises(ConfigError, match='begins 9 solutions, the budget allows 8'):
        read_config(world, f'strategies={json.dumps({"adaptive": fields})}', 'budgets=[{generations: 8}]')
    config = read_config(world, f'strategies={json.dumps({"adaptive": fields})}', 'budgets=[{generations: 9}]')
    assert config.budgets == (Budget(generations=9),)
