"""`train sft`: learns, packs without a trace, goes on bit by bit, becomes a model that can be loaded; on a mesh too."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxreason as jr
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, DataError, RunError, TokenizerError, WeightsError
from jaxreason.core.flops import muon_flops
from jaxreason.core.quantities import quantity
from jaxreason.data.batches import Batches, Example, pack
from jaxreason.data.examples import ExampleSpec, load_examples, read_worked
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.engine.mesh import make_mesh, use_mesh
from jaxreason.models.fetch import resolve
from jaxreason.models.folder import open_weights
from jaxreason.models.heads import lm_logits
from jaxreason.models.sharding import TRAINING, parameter_shardings
from jaxreason.models.transformer import forward
from jaxreason.train.metrics import read_metrics
from jaxreason.train.next_token import next_token_objective
from jaxreason.train.optimiser import OptimiserConfig, make_optimiser, rate_schedule
from jaxreason.train.policy import open_policy
from jaxreason.train.sft import SftConfig, describe, train
from jaxreason.train.state import TrainState, make_step
from tests.evaluate.tiny_world import write_model
from tests.train import world
from tests.train.conftest import TINY

RAW = PromptSpec(template='raw', step_delimiter='\n')


def test_the_tiny_configuration_learns(trained):
    lines = read_metrics(trained)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert losses[0] > 2.5 and np.mean(losses[-5:]) < 0.8 * losses[0]
    held_out = [line['held_out_loss'] for line in lines if 'held_out_loss' in line]
    assert held_out[-1] < held_out[0] and lines[-1]['held_out_accuracy'] > 0.25


def test_it_goes_on_bit_by_bit(trained, tmp_path):
    def stop(progress):
        if progress.step == 27:
            raise world.Killed

    config = config_files.load(SftConfig, TINY)
    with pytest.raises(world.Killed):
        train(config, tmp_path / 'run', stop)
    said = []
    train(config, tmp_path / 'run', say=said.append)
    assert said == [f'{tmp_path / "run"}: goes on from step 20 of 60']
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == (trained / 'metrics.jsonl').read_bytes()
    assert jr.load(tmp_path / 'run').digest == jr.load(trained).digest
    train(config, tmp_path / 'run', say=said.append)
    assert said[1:] == [f'{tmp_path / "run"}: finished at step 60; there is nothing left to do']


def test_a_run_with_a_constant_rate_is_made_longer(tmp_path):
    words = ['optimiser.schedule=constant', 'optimiser.warmup_steps=2', 'loop.steps=4', 'data.held_out=0']
    train(config_files.load(SftConfig, TINY, words), tmp_path / 'run')
    longer = [*words, 'loop.steps=6']
    said = []
    train(config_files.load(SftConfig, TINY, longer), tmp_path / 'run', say=said.append)
    assert said == [f'{tmp_path / "run"}: goes on from step 4 of 6']
    train(config_files.load(SftConfig, TINY, longer), tmp_path / 'at once')
    assert (tmp_path / 'run/metrics.jsonl').read_bytes() == (tmp_path / 'at once/metrics.jsonl').read_bytes()
    assert (tmp_path / 'run/config.yaml').read_bytes() == (tmp_path / 'at once/config.yaml').read_bytes()
    assert jr.load(tmp_path / 'run').digest == jr.load(tmp_path / 'at once').digest
    for refused in (['loop.steps=5'], ['loop.steps=9', 'seed=1']):
        with pytest.raises(RunError, match='made by another configuration'):
            train(config_files.load(SftConfig, TINY, [*words, *refused]), tmp_path / 'run')


def test_a_run_whose_rate_falls_is_not_made_longer(trained):
    with pytest.raises(RunError, match='loop.steps was 60 and is 80; with schedule cosine a longer run has other learning'):
        train(config_files.load(SftConfig, TINY, ['loop.steps=80']), trained)


def test_a_run_is_a_model(trained):
    newest, named, older = (jr.load(trained / part) for part in ('', 'checkpoints/60', 'checkpoints/40'))
    assert newest.digest == named.digest != older.digest
    assert newest.eos_ids == (2,) and newest.need_tokenizer().decode([3, 4]) == '01'
    np.testing.assert_array_equal(newest.logits([[1, 3, 4]]), named.logits([[1, 3, 4]]))
    assert jr.load(trained, dtype='bfloat16').params['embedding'].dtype == jnp.bfloat16
    mesh = {'data': 4, 'model': 2}
    np.testing.assert_allclose(jr.load(trained, mesh=mesh).logits([[1, 3, 4]] * 4)[:1], newest.logits([[1, 3, 4]]), atol=1e-5)


@pytest.mark.parametrize('names', [('digest', 'parameters'), ('parameters', 'digest')])
def test_the_arrays_of_a_run_are_read_once(trained, monkeypatch, names):
    weights, reads = open_weights(trained), []
    read = type(weights)._read
    monkeypatch.setattr(type(weights), '_read', lambda self: reads.append(1) or read(self))
    found = {name: getattr(weights, name)() for name in names}
    assert len(reads) == 1 and found['digest'] == jr.load(trained).digest and 'arrays' not in weights._known


def test_a_run_without_a_whole_checkpoint_is_no_model(tmp_path):
    (tmp_path / 'run/checkpoints/7').mkdir(parents=True)
    with pytest.warns(UserWarning, match='has no manifest.json'), pytest.raises(WeightsError, match='no whole checkpoint'):
        jr.load(tmp_path / 'run')
    with pytest.raises(WeightsError, match='checkpoints/7: no checkpoint, or not wholly written'):
        jr.load(tmp_path / 'run/checkpoints/7')


def test_it_can_be_trained_on(trained, tmp_path):
    """A run is weights to begin with; the tokenizer comes with it."""
    words = ['model.init=null', f'model.source={trained}', 'loop.steps=2', 'data.held_out=0']
    out = train(config_files.load(SftConfig, TINY, words), tmp_path / 'more')
    assert losses_of(out)[0] < 2.2
    assert jr.load(out).need_tokenizer().encode('12') == [4, 5]


def test_a_hugging_face_folder_is_fine_tuned(tmp_path):
    write_model(tmp_path / 'model')
    words = ['model.init=null', f'model.source={tmp_path / "model"}', 'loop.steps=1', 'data.held_out=0']
    out = train(config_files.load(SftConfig, TINY, [*words, 'optimiser.learning_rate=1e-9']), tmp_path / 'run')
    before, after = jr.load(tmp_path / 'model'), jr.load(out)
    np.testing.assert_allclose(after.logits([[1, 5, 9]]), before.logits([[1, 5, 9]]), atol=1e-5)
    assert after.need_tokenizer().digest == before.need_tokenizer().digest and after.eos_ids == before.eos_ids


@pytest.mark.slow
def test_it_can_be_sampled(trained):
    problems = jr.load_problems('procedural:nano:1', limit=2)
    sampler = jr.Sampler(jr.load(trained), prompt=RAW, max_tokens=6)
    assert len(jr.Majority(n=2).solve([p.text for p in problems], sampler, None, seed=0)) == 2


def losses_of(run):
    return [line['loss'] for line in read_metrics(run) if 'loss' in line]


@functools.partial(jax.jit, static_argnums=0)
def logits_of(config, params, row):
    """Logits of rows, [b, t, v]; without `segments` in the row all of it is one sequence."""
    hidden, _ = forward(config, params, row['tokens'], row['positions'], segments_bc=row.get('segments'))
    return lm_logits(config, params, hidden)


def test_packed_rows_give_what_their_examples_give_alone():
    config = dataclasses.replace(world.TINY, windows=(0, 3), local_rope_theta=500.0)
    params = world.parameters(config)
    row = pack(world.examples(6), 40)[0][0]
    packed = {name: row[name][None] for name in ('tokens', 'positions', 'segments')}
    logits = np.asarray(logits_of(config, params, packed))[0]
    crossing = {name: packed[name] for name in ('tokens', 'positions')}
    for segment in range(row['segments'].max() + 1):
        here = row['segments'] == segment
        alone = np.asarray(logits_of(config, params, {**crossing, 'positions': np.where(here, row['positions'], -1)[None]}))[0]
        np.testing.assert_allclose(logits[here], alone[here], atol=1e-5)
    mixed = np.asarray(logits_of(config, params, crossing))[0]
    assert np.abs(mixed - logits)[row['segments'] > 0].max() > 0.01


def batch_of(rows=8, length=24, seed=0):
    return dict(next(Batches(pack(world.examples(80, seed), length)[0], batch=rows, seed=1)))


def test_the_loss_is_that_of_optax_over_solution_tokens():
    params = world.parameters(world.TINY)
    batch = batch_of()
    total, sums = jax.jit(next_token_objective(world.TINY, unrolled=False))(params, batch, None)
    logits = logits_of(world.TINY, params, {name: batch[name] for name in ('tokens', 'positions', 'segments')})
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, np.maximum(batch['targets'], 0))
    is_target = batch['targets'] >= 0
    np.testing.assert_allclose(total, np.sum(np.asarray(losses)[is_target]), rtol=1e-5)
    assert sums['weight'] == is_target.sum() and 0 < is_target.mean() < 0.7


@pytest.mark.parametrize(
    'change',
    [{'unrolled': True}, {'max_logits': 400}, {'remat': True}, {'remat': True, 'unrolled': True}],
    ids=['unrolled', 'in groups', 'remat', 'remat unrolled'],
)
def test_layout_and_groups_change_nothing(change):
    params, batch = world.parameters(world.TINY), batch_of()
    expected = jax.jit(jax.value_and_grad(next_token_objective(world.TINY, unrolled=False), has_aux=True))(params, batch, None)
    found = jax.jit(jax.value_and_grad(next_token_objective(world.TINY, **{'unrolled': False, **change}), has_aux=True))(
        params, batch, None
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), found, expected)


def test_remat_keeps_less():
    """By the compiler's own count."""
    config, batch = dataclasses.replace(world.TINY, num_layers=8, windows=()), batch_of(16, 64)
    params = world.parameters(config)

    def kept(remat):
        objective = next_token_objective(config, unrolled=False, remat=remat)
        compiled = jax.jit(jax.grad(objective, has_aux=True)).lower(params, batch, None).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert kept(True) < 0.5 * kept(False)


def a_step(mesh=None, accumulate=1, kind='adamw'):
    config = OptimiserConfig(kind=kind, learning_rate=0.01, warmup_steps=0)
    optimiser = make_optimiser(config, 10)
    params = world.parameters(world.TINY)
    step = make_step(next_token_objective(world.TINY, unrolled=False), optimiser, rate_schedule(config, 10), accumulate)
    where = None
    if mesh is not None:
        mesh = make_mesh(mesh)
        params = jax.device_put(params, parameter_shardings(world.TINY, params, mesh, TRAINING))
        where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
    with use_mesh(mesh):
        state, measured = TrainState.begin(params, optimiser), []
        for seed in range(3):
            state, each = step(state, jax.device_put(batch_of(seed=seed), where))
            measured.append(each['loss'].item())
    return measured, jax.tree.map(np.asarray, state.params)


@pytest.fixture(scope='module')
def one_device():
    return functools.cache(lambda kind: a_step(kind=kind))


@pytest.mark.parametrize(
    'other',
    [{'mesh': {'data': 4, 'model': 2}}, {'accumulate': 4}, {'mesh': {'data': 4, 'model': 2}, 'kind': 'muon'}],
    ids=['mesh', 'accumulation', 'muon on a mesh'],
)
def test_a_mesh_and_accumulation_train_as_one_device_does(one_device, other):
    one_device = one_device(other.get('kind', 'adamw'))
    losses, params = a_step(**other)
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5)
    # The first updates of Adam are signs of gradients, whatever their size: rounding decides those that are nearly nothing.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), params, one_device[1])


@pytest.mark.slow
def test_a_run_on_a_mesh(trained, tmp_path):
    """Saved and restored where it lies; the losses are those of one device."""

    def stop_at(step, error):
        def report(progress):
            if progress.step == step:
                raise error

        return report

    config = config_files.load(SftConfig, TINY, ['model.mesh={data: 4, model: 2}', 'data.held_out=0'])
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / 'run', stop_at(3, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / 'run', stop_at(6, KeyboardInterrupt))
    np.testing.assert_allclose(losses_of(tmp_path / 'run'), losses_of(trained)[:6], atol=1e-5)


def test_examples_come_from_a_file(tmp_path):
    rows = [
        {'question': '1+1=', 'steps': ['02', '03']},
        {'prompt': '2+2=', 'solution': '04'},
        {'question': '3+3=', 'steps': ['06']},
    ]
    path = tmp_path / 'worked.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    tokenizer = Tokenizer.from_characters('0123456789+= \n')
    examples, held_out = load_examples(ExampleSpec(source=str(path), held_out=1), RAW, tokenizer)
    both = [*examples, *held_out]
    assert len(examples) == 2 and len(held_out) == 1
    assert Example((1, *tokenizer.encode('1+1=')), (*tokenizer.encode('02\n03'), 2)) in both
    path.write_text('{"question": "1", "answer": "2"}\n')
    with pytest.raises(DataError, match='line 1: expected solution or steps, the fields are answer, question'):
        load_examples(ExampleSpec(source=str(path)), RAW, tokenizer)
    path.write_text('{"question": "1", "steps": []}\n')
    with pytest.raises(DataError, match='line 1: steps is'):
        load_examples(ExampleSpec(source=str(path)), RAW, tokenizer)
    path.write_text('{"question": "x", "solution": "2"}\n')
    with pytest.raises(TokenizerError, match="cannot write the text from 'x'"):
        load_examples(ExampleSpec(source=str(path)), RAW, tokenizer)


def test_generated_examples_are_not_those_of_a_test():
    worked, held_out = read_worked(ExampleSpec(source='procedural:nano:3', limit=300, held_out=100), RAW)
    tests = {problem.text for problem in jr.load_problems('procedural:nano:3', limit=300)}
    assert not tests & {each.question for each in worked + held_out} and not set(worked) & set(held_out)
    assert worked[0].solution.endswith('$.')
    bare = dataclasses.replace(RAW, answer_format='last_line')
    plain, _ = read_worked(ExampleSpec(source='procedural:nano:3', limit=1), bare)
    assert len(plain[0].solution) == 8
    chain, _ = read_worked(ExampleSpec(source='procedural:chain:2', limit=1), bare)
    *_, last, answer = chain[0].solution.split('\n')
    assert last.endswith(f'= {answer}')


def test_a_dry_run_says_what_it_would_do():
    text = describe(config_files.load(SftConfig, TINY))
    assert '27,552 parameters' in text and '60, 3.58 passes' in text and 'FLOPs for the whole run' in text
    again = describe(config_files.load(SftConfig, TINY, ['model.remat=layers']))
    assert 'layers computed once more in the backward pass' in again

    def kept(said):
        return next(line for line in said.splitlines() if 'backward pass needs' in line)

    assert '9.04 MB' in kept(text) and '4.82 MB' in kept(again), (kept(text), kept(again))


def test_a_dry_run_counts_what_muon_adds():
    text, muon = (describe(config_files.load(SftConfig, TINY, [f'optimiser.kind={kind}'])) for kind in ('adamw', 'muon'))
    model = open_policy(config_files.load(SftConfig, TINY).model).config
    assert f'and {quantity(muon_flops(model), "FLOPs")} of Muon' in muon and 'Muon' not in text
    # Of matrices it keeps one mean, not two.
    assert quantity(2 * 4 * model.num_parameters, 'B') + " the optimiser's means" in text
    assert quantity(4 * (2 * model.num_parameters - model.layer_matmul_parameters), 'B') + " the optimiser's means" in muon


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('model.source=smollm2-135m', 'give either init'),
        ('loop.length=200', 'at most the context of the model, 128'),
        ('model.mesh={data: 3}', 'multiple of model.mesh.data'),
        ('data.source=x.txt', 'ends in .jsonl'),
        ('data.limit=null', 'endless'),
        ('optimiser.beta2=1.0', r'beta2 must be in \[0, 1\)'),
    ],
)
def test_impossible_configurations_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        describe(config_files.load(SftConfig, TINY, [override]))


def test_a_run_folder_of_another_configuration_is_refused(trained):
    with pytest.raises(RunError, match='made by another configuration'):
        train(config_files.load(SftConfig, TINY, ['seed=1']), trained)


@pytest.mark.slow
def test_a_real_model_is_fine_tuned(tmp_path):
    """SmolLM2 takes two steps on worked solutions, at once and with a stop between, and still speaks."""
    try:
        resolve('smollm2-135m')
    except WeightsError as error:
        pytest.skip(str(error))
    rows = [
        {
            'question': f'Tom has {n} apples and buys {n + 2} more. How many does he have?',
            'solution': f'{n} + {n + 2} = {2 * n + 2}',
        }
        for n in range(3, 9)
    ]
    path = tmp_path / 'worked.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    asked = {
        'model': {'source': 'smollm2-135m', 'layers': 'scanned', 'remat': 'layers'},
        'data': {'source': str(path), 'held_out': 1},
        'optimiser': {'learning_rate': 1e-5, 'warmup_steps': 0},
        'loop': {'steps': 2, 'batch': 1, 'length': 128, 'keep': 1},
    }
    config = config_files.build(SftConfig, asked)
    train(config, tmp_path / 'whole')

    def stop(progress):
        if progress.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / 'stopped', stop)
    train(config, tmp_path / 'stopped')
    assert (tmp_path / 'stopped/metrics.jsonl').read_bytes() == (tmp_path / 'whole/metrics.jsonl').read_bytes()
    before, after = jr.load('smollm2-135m', dtype='float32'), jr.load(tmp_path / 'whole')
    assert after.digest == jr.load(tmp_path / 'stopped').digest != before.digest
    ids = before.need_tokenizer().encode('Tom has 3 apples and buys 5 more.')
    change = np.abs(after.logits([ids]) - before.logits([ids])).max()
    assert 1e-4 < change < 5.0, change
    answers = jr.Greedy().solve([rows[0]['question']], jr.Sampler(after, max_tokens=16), None, seed=0)
    assert answers[0].candidates[0].text.strip()
