"""`train prm` and `train orm`: what is learnt is what is scored, questions are split, the best is kept, the policy may stay."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxreason as jr
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, DataError, TokenizerError, WeightsError
from jaxreason.core.labels import LabelledSolution
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import Layout
from jaxreason.data.label_examples import LabelSpec, load_labels, set_examples
from jaxreason.data.label_set import write_labels
from jaxreason.data.procedural import read_spec
from jaxreason.data.step_check import check_nano_steps
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.verifier_layout import Typesetter
from jaxreason.models.checkpoint import open_checkpoint
from jaxreason.models.manifest import best_step, steps_of
from jaxreason.models.transformer import Dropout, forward, unstack_layers
from jaxreason.train import frozen, run
from jaxreason.train.held_out import HELD_OUT
from jaxreason.train.metrics import read_metrics
from jaxreason.train.reward import OrmConfig, PrmConfig, describe, train
from jaxreason.train.state import TrainState, make_evaluation, make_step
from jaxreason.train.step_scores import HIDDEN, step_score_objective
from tests.train import world

CONFIG = """
model: {source: SOURCE, layers: scanned}
labels: {source: [LABELS], held_out: 0.25}
verifier: {head: action_value, layout: {form: plain, marker: "\\n"}, num_rows: 4}
dropout: 0.0
hidden: 16
head_rate: 3
optimiser: {learning_rate: 0.01}
loop: {steps: 40, batch: 4, length: 96, save_every: 20, evaluate_every: 20}
"""
HEADS = {'action_value': [], 'value': ['hidden=null'], 'two_class': [], 'label': ['hidden=null', 'verifier.labels=["+","-"]']}


def solutions(questions=24, samples=2):
    """Worked by the careless teacher; labels are the exact judgement, a little soft."""
    made = []
    for sample in range(samples):
        for problem in itertools.islice(read_spec('procedural:nano_sloppy:1-3', f'labels{sample}', 0), questions):
            steps = tuple(step + '\n' for step in problem.steps)
            checks = check_nano_steps(problem.text, steps)
            is_right = int(problem.steps[-1]) == int(problem.answer)
            made.append(
                LabelledSolution(
                    question_id=problem.id, question=problem.text, gold=problem.answer, seed=0, sample=sample, steps=steps,
                    tokens=tuple(range(3 * len(steps))), step_ends=tuple(range(3, 3 * len(steps) + 1, 3)), finish='stop',
                    answer=problem.steps[-1], verdict='correct' if is_right else 'wrong',
                    correct=tuple(4 if check.is_right else 1 for check in checks), rollouts=(4,) * len(steps),
                    flops=(0,) * len(steps), new_tokens=(0,) * len(steps), own_flops=0,
                )
            )  # fmt: skip
    return made


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels') / 'labels'
    write_labels(folder, solutions())
    return folder


@pytest.fixture(scope='module')
def config(trained, labels, tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'prm.yaml'
    path.write_text(CONFIG.replace('SOURCE', str(trained)).replace('LABELS', str(labels)))

    def read(*overrides, kind=PrmConfig):
        return config_files.load(kind, path, list(overrides))

    return read


@pytest.fixture(scope='module')
def prm(config, tmp_path_factory):
    out = tmp_path_factory.mktemp('runs') / 'prm'
    said = []
    train(config(), out, say=said.append)
    assert len(said) == 1 and said[0].startswith('12 held-out questions')
    return out


def scores_of(verifier, labelled):
    rows = [
        Row(handle=index, question=Question(s.question_id, s.question, s.attempts), sample=s.sample, steps=s.steps,
            tokens=s.tokens, text=''.join(s.steps), step_ends=s.step_ends, finish=Finish.STOP)
        for index, s in enumerate(labelled)
    ]  # fmt: skip
    return verifier.score(rows, None).scores


def test_it_learns_and_measures_itself(prm):
    lines = read_metrics(prm)
    learnt = [line['loss'] for line in lines if 'loss' in line]
    assert np.mean(learnt[-8:]) < np.mean(learnt[:8]) - 0.02
    losses = [line['held_out_loss'] for line in lines if 'held_out_loss' in line]
    found = json.loads((prm / HELD_OUT).read_text())
    assert found['num_questions'] == 12 and found['num_unscored'] == 0 and found['left_out'] == {}
    assert found['loss']['point'] == pytest.approx(min(losses), abs=1e-4)  # of the best, whichever it was
    assert found['loss']['low'] < found['loss']['point'] < found['loss']['high']


@pytest.mark.parametrize('head', HEADS)
def test_what_was_learnt_is_what_is_scored(head, config, labels, prm, tmp_path):
    """Packed rows in training, and the engine with one solution a row, give the same numbers for every kind of head."""
    out = prm
    if head != 'action_value':
        out = tmp_path / head
        train(config(f'verifier.head={head}', 'loop.steps=2', *HEADS[head]), out, say=lambda _: None)
    held_out = load_labels(LabelSpec(source=(str(labels),), held_out=0.25)).held_out
    scores = scores_of(jr.load_verifier(out), held_out)
    flat = np.array([score for each in scores for score in each])
    targets = np.array([soft for solution in held_out for soft in solution.soft])
    loss = np.mean(-targets * np.log(flat) - (1 - targets) * np.log1p(-flat))
    found = json.loads((out / HELD_OUT).read_text())
    assert [len(each) for each in scores] == [len(solution.steps) for solution in held_out]
    assert found['loss']['point'] == pytest.approx(loss, abs=2e-6) and found['num_steps'] == len(flat)
    assert flat.std() > 1e-4


def test_no_question_is_on_both_sides(labels):
    split = load_labels(LabelSpec(source=(str(labels),), held_out=0.25))
    asked = [{solution.question for solution in part} for part in split]
    assert not asked[0] & asked[1] and len(asked[0] | asked[1]) == 48 and len(asked[1]) == 12
    again = load_labels(LabelSpec(source=(str(labels), str(labels)), held_out=0.25, limit=8))
    assert len({s.question for s in again.held_out}) == 2 and {s.question for s in again.train} <= asked[0] | asked[1]


def test_the_loss_is_that_of_optax():
    odds = jnp.asarray([[0.3, -2.0, 5.0, 0.1]])
    batch = {'targets': jnp.asarray([[0.25, -1.0, 1.0, -1.0]])}
    total, sums = step_score_objective(lambda params, batch, noise: odds)({}, batch, None)
    expected = optax.sigmoid_binary_cross_entropy(odds[0, jnp.asarray([0, 2])], jnp.asarray([0.25, 1.0])).sum()
    assert total == pytest.approx(float(expected), rel=1e-6) and (sums['weight'], sums['accuracy']) == (2, 1)


def test_it_goes_on_bit_by_bit(config, prm, tmp_path):
    def stop(progress):
        if progress.step == 27:
            raise world.Killed

    with pytest.raises(world.Killed):
        train(config(), tmp_path / 'run', report=stop, say=lambda _: None)
    said = []
    train(config(), tmp_path / 'run', say=said.append)
    assert 'goes on from step 20 of 40' in said[0]
    for name in ('metrics.jsonl', HELD_OUT, 'best.json'):
        assert (tmp_path / 'run' / name).read_bytes() == (prm / name).read_bytes()
    assert open_checkpoint(tmp_path / 'run').digest() == open_checkpoint(prm).digest()


def test_training_stops_and_the_best_is_what_is_loaded(config, tmp_path):
    out, said = tmp_path / 'run', []
    # A rate that ruins everything: the first evaluation, before it has risen, is the best.
    wild = ['optimiser.learning_rate=3', 'optimiser.schedule=linear', 'optimiser.warmup_steps=1000', 'loop.steps=400']
    train(config(*wild, 'loop.evaluate_every=1', 'loop.patience=2', 'loop.keep=1'), out, say=said.append)
    losses = [line['held_out_loss'] for line in read_metrics(out) if 'held_out_loss' in line]
    best = 1 + int(np.argmin(losses))
    assert len(losses) == best + 2 < 400 and f'stopped at step {best + 2}' in said[-2]
    assert best_step(out) == best and {number for number, _ in steps_of(out)} == {best, best + 2}
    assert open_checkpoint(out).path.name == str(best)
    assert json.loads((out / HELD_OUT).read_text())['loss']['point'] == pytest.approx(min(losses), abs=1e-4)
    before = (out / 'metrics.jsonl').read_bytes()
    train(config(*wild, 'loop.evaluate_every=1', 'loop.patience=2', 'loop.keep=1'), out, say=said.append)
    assert 'nothing left to do' in said[-2] or 'nothing left to do' in said[-3]
    assert (out / 'metrics.jsonl').read_bytes() == before


def test_an_outcome_model_learns_the_end_alone(config):
    solution = solutions(3, 1)[2]
    assert len(solution.steps) == 3
    orm, hard = config(kind=OrmConfig), config('target=hard')
    assert orm.targets(solution) == (None, None, float(solution.is_correct))
    assert hard.targets(solution) == (1.0, 1.0, 1.0)
    assert config().targets(solution) == solution.soft


@pytest.mark.parametrize('rollouts', [(), (1,)], ids=['none', 'too few'])
def test_a_process_model_needs_labels_of_steps(rollouts, config):
    """Nobody rolled out from the steps of attempts."""
    solution = solutions(3, 1)[2]
    bare = dataclasses.replace(solution, rollouts=rollouts, correct=(0,) * len(rollouts))
    assert config(kind=OrmConfig).targets(bare)[-1] == solution.is_correct
    for target in ('soft', 'hard'):
        with pytest.raises(DataError, match='sample 0: expected rollouts from every step, got steps without; label with kind'):
            config(f'target={target}').targets(bare)


def test_an_outcome_model_is_a_verifier(config, tmp_path):
    train(config('loop.steps=2', kind=OrmConfig), tmp_path / 'orm', say=lambda _: None)
    assert len(scores_of(jr.load_verifier(tmp_path / 'orm'), solutions(3, 1))[2]) == 3
    assert json.loads((tmp_path / 'orm' / HELD_OUT).read_text())['num_steps'] == 12  # one a solution


def with_attempts(labelled):
    """Before each solution the one before it in the list, and one that is read only where two are shown."""
    return [
        dataclasses.replace(s, attempts=('99', ''.join(before.steps)), attempts_correct=(False, before.is_correct))
        for before, s in itertools.pairwise([labelled[-1], *labelled])
    ]


def test_an_outcome_model_reads_earlier_attempts(config, tmp_path):
    """As it learnt, so it scores; another attempt changes the score of the same solution, unless it is not shown."""
    write_labels(tmp_path / 'chains', with_attempts(solutions()))
    layout = 'verifier.layout={form: plain, marker: "\\n", attempt: "{attempt}+", attempts: 1}'
    asked = config(layout, f'labels.source=["{tmp_path / "chains"}"]', 'loop.steps=2', kind=OrmConfig)
    train(asked, tmp_path / 'orm', say=lambda _: None)
    held_out = load_labels(LabelSpec(source=(str(tmp_path / 'chains'),), held_out=0.25)).held_out
    verifier = jr.load_verifier(tmp_path / 'orm')
    assert verifier.spec.layout.attempts == 1 and all(len(solution.attempts) == 2 for solution in held_out)
    last = np.array([scores[-1] for scores in scores_of(verifier, held_out)])
    right = np.array([solution.is_correct for solution in held_out])
    found = json.loads((tmp_path / 'orm' / HELD_OUT).read_text())
    assert found['num_steps'] == len(held_out) and 0 < right.mean() < 1
    assert found['loss']['point'] == pytest.approx(-np.mean(np.where(right, np.log(last), np.log1p(-last))), abs=2e-6)
    digits = str.maketrans('0123456789', '1234567890')
    shown = [dataclasses.replace(s, attempts=('99', s.attempts[1].translate(digits))) for s in held_out]
    hidden = [dataclasses.replace(s, attempts=('12', s.attempts[1])) for s in held_out]
    moved = [np.array([scores[-1] for scores in scores_of(verifier, each)]) - last for each in (shown, hidden)]
    assert (np.abs(moved[0]) > 1e-5).all() and not moved[1].any()


def test_the_layout_says_how_many_attempts_are_read(config):
    """Without, examples are those of the same solutions without attempts."""
    tokenizer = Tokenizer.from_characters('0123456789+-*= \n')
    bare = solutions(6, 1)
    targets = [(None,) * (len(s.steps) - 1) + (1.0,) for s in bare]

    def ids(labelled, attempts):
        layout = Layout(form='plain', begin=False, marker='\n', attempt='{attempt}+', attempts=attempts)
        examples, lost = set_examples(labelled, targets, Typesetter(layout, 'marker', tokenizer), 200)
        assert not lost
        return [(example.arrays()['tokens'].tolist(), example.laid.start) for example in examples]

    shown = with_attempts(bare)
    assert ids(shown, 0) == ids(bare, 0) == ids(bare, 2)
    for (one, start), (two, later), solution, (none, begin) in zip(
        ids(shown, 1), ids(shown, 2), shown, ids(bare, 0), strict=True
    ):
        before = tokenizer.encode(solution.attempts[1] + '+')
        assert one == before + none and start == begin + len(before)
        assert two == tokenizer.encode('99+') + one and later == start + 3


def test_a_frozen_trunk_stays_the_policy(config, trained, tmp_path):
    train(config('loop.steps=3', 'trunk=frozen'), tmp_path / 'run', say=lambda _: None)
    before = open_checkpoint(trained).parameters()
    _, decoder = open_checkpoint(tmp_path / 'run').split_head('action_value')
    after = decoder.parameters()
    jax.tree.map(np.testing.assert_array_equal, {k: v for k, v in before.items() if k != 'head'}, after)


def test_a_frozen_decoder_reads_each_row_once(config, tmp_path, monkeypatch):
    frozen_run = config('loop.steps=12', 'loop.evaluate_every=6', 'loop.save_every=4', 'trunk=frozen')
    rows = []
    monkeypatch.setattr(run, 'with_states', lambda *args: rows.append(frozen.with_states(*args)) or rows[-1])
    train(frozen_run, tmp_path / 'kept', say=lambda _: None)
    assert [type(each[0][HIDDEN]) for each in rows] == [np.ndarray] * 2, 'those to learn from, and the held-out ones'

    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(frozen_run, tmp_path / 'resumed', stop, say=lambda _: None)
    train(frozen_run, tmp_path / 'resumed', say=lambda _: None)
    assert len(rows) == 6
    monkeypatch.setattr(frozen, 'MOST_BYTES', 0)
    train(frozen_run, tmp_path / 'again', say=lambda _: None)
    assert len(rows) == 6, 'they would not fit'
    kept, resumed, again = (read_metrics(tmp_path / name) for name in ('kept', 'resumed', 'again'))
    assert kept == resumed
    for one, other in zip(kept, again, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_verifier_is_no_policy_and_a_policy_no_verifier(prm, trained):
    with pytest.raises(WeightsError, match='a verifier, not a policy'):
        jr.load(prm)
    with pytest.raises(ConfigError, match='nothing says what this verifier is'):
        jr.load_verifier(trained)


def test_solutions_that_do_not_fit_are_counted(config, tmp_path):
    said = []
    train(config('loop.steps=1', 'loop.length=34'), tmp_path / 'run', say=said.append)
    assert 'solutions are left out: too_long' in said[0] and 'held-out' in said[1]
    assert json.loads((tmp_path / 'run' / HELD_OUT).read_text())['left_out']['too_long'] > 0


@pytest.mark.parametrize(
    ('overrides', 'error', 'message'),
    [
        (['verifier.model.dtype=bfloat16'], ConfigError, 'verifier.model must be left out'),
        (['labels.held_out=0'], ConfigError, 'loop.patience needs held-out questions'),
        (['labels.source=["/nowhere"]'], DataError, 'no set of labels'),
        (['hidden=0'], ConfigError, 'hidden must be at least 1'),
        (['head_rate=0'], ConfigError, 'head_rate must be above 0'),
        (['trunk=frozen', 'optimiser.kind=muon'], ConfigError, 'optimiser.kind must be adamw where trunk is frozen'),
        (['dropout=1'], ConfigError, 'dropout must be a share'),
        (['verifier.head=label', 'verifier.labels=["+","?"]', 'hidden=null'], TokenizerError, "label '\\?'"),
        (['verifier.head=label', 'verifier.labels=["+","-"]'], ConfigError, 'hidden must be left out'),
        (['verifier.layout.marker="#"'], TokenizerError, 'layout.marker'),
        (['labels.limit=1'], ConfigError, 'limit must be at least 2'),
        (['loop.length=4096'], ConfigError, 'at most the context of the model'),
        (['loop.length=20'], DataError, 'none fits'),
    ],
)
def test_impossible_configurations_are_refused(overrides, error, message, config, tmp_path):
    with pytest.raises(error, match=message):
        train(config(*overrides), tmp_path / 'run', say=lambda _: None)


def test_a_dry_run_says_what_it_would_do(config):
    text = describe(config())
    assert 'examples' in text and 'FLOPs, three times the forward pass' in text and 'optimiser' in text


def test_a_dry_run_counts_a_frozen_decoder_as_it_is_read(config, monkeypatch):
    def flops(text):
        return next(line.removeprefix('FLOPs').strip() for line in text.splitlines() if line.startswith('FLOPs'))

    short, long = (describe(config('trunk=frozen', f'loop.steps={steps}')) for steps in (100, 200))
    assert flops(short) == flops(long) and 'none: the forward pass of the frozen decoder is made once' in short
    assert 'optimiser' not in short, 'no moments of what does not learn'
    monkeypatch.setattr(frozen, 'MOST_BYTES', 0)
    once, every = flops(short), flops(describe(config('trunk=frozen', 'loop.steps=100')))
    assert once != every
    trained = flops(describe(config('loop.steps=100')))
    assert _number(trained) == pytest.approx(3 * _number(every), rel=0.02)


def _number(words):
    value, unit = words.split()[:2]
    return float(value) * {'k': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}[unit[0]]


def test_dropout_leaves_out_in_training_only():
    params = world.parameters(world.TINY)
    tokens = jnp.arange(12, dtype=jnp.int32)[None, :] % 24
    positions = jnp.arange(12, dtype=jnp.int32)[None, :]
    run = jax.jit(lambda dropout: forward(world.TINY, params, tokens, positions, dropout=dropout)[0])
    plain, none = run(None), run(Dropout(jax.random.key(0), jnp.float32(0.0)))
    np.testing.assert_array_equal(plain, none)
    first, again, other = (run(Dropout(jax.random.key(key), jnp.float32(0.3))) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, plain)
    unrolled = forward(world.TINY, unstack_layers(params), tokens, positions, dropout=Dropout(jax.random.key(0), 0.3))[0]
    np.testing.assert_allclose(unrolled, first, atol=1e-5)


def test_dropout_is_addressed_by_seed_and_step(config):
    """The noise of a step is the same whenever the step is taken, and none is there where nothing is learnt."""
    seen = []

    def odds(params, batch, noise):
        seen.append(noise)
        return params['x'] * (1.0 if noise is None else jax.random.uniform(noise.key)) + 0.0 * batch['targets']

    objective = step_score_objective(odds, 0.2)
    batch, optimiser = {'targets': jnp.asarray([[1.0, 0.0]])}, optax.sgd(0.0)

    def loss(seed, at):
        step = make_step(objective, optimiser, optax.constant_schedule(0.0), seed=seed)
        state = TrainState.begin({'x': jnp.ones(())}, optimiser)
        return float(step(dataclasses.replace(state, step=jnp.int32(at)), batch)[1]['loss'])

    assert loss(0, 3) == loss(0, 3) and len({loss(0, 3), loss(0, 4), loss(1, 3)}) == 3
    assert all(noise.rate == 0.2 for noise in seen)
    seen.clear()
    make_evaluation(objective)({'x': jnp.ones(())}, batch)
    assert seen == [None] and config('dropout=0.2').dropout == 0.2


@pytest.mark.slow
def test_a_mesh_trains_as_one_device_does(config, prm, tmp_path):
    overrides = ['model.mesh={data: 4, model: 2}', 'loop.steps=3']
    train(config(*overrides), tmp_path / 'run', say=lambda _: None)
    found, expected = ([line['loss'] for line in read_metrics(run) if 'loss' in line][:3] for run in (tmp_path / 'run', prm))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert scores_of(jr.load_verifier(tmp_path / 'run', mesh={'data': 4, 'model': 2}), solutions(2, 1))[1]
