"""`train revision`: what is learnt of labelled attempts, what is left out, and that the policy learns to read them."""

import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest

import jaxreason as jr
from jaxreason.cli.main import main
from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError, DataError
from jaxreason.core.labels import LabelledSolution
from jaxreason.data.batches import Example, pack
from jaxreason.data.label_set import write_labels
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.manifest import best_step
from jaxreason.train.metrics import read_metrics
from jaxreason.train.revision import RevisionConfig, describe, train
from tests.train import world

RAW = PromptSpec(template='raw', step_delimiter='\n', answer_format='last_line')
CHARACTERS = Tokenizer.from_characters('0123456789+= \n')
CONFIG = """
model: {source: SOURCE, layers: scanned}
labels: {source: [LABELS], held_out: 0.25}
prompt: {template: raw, step_delimiter: "\\n", answer_format: last_line}
optimiser: {learning_rate: 0.01}
loop: {steps: 400, batch: 4, length: 64, save_every: 10, evaluate_every: 5, patience: 2, after_lowest: 1}
"""


def labelled(number, sample=0, attempts=(), right=True, attempts_correct=None, finish='stop', steps=None):
    """An answer to a question of its own; attempts are texts."""
    words = (f'{number:02}\n', f'{number + 1:02}') if steps is None else steps
    return LabelledSolution(
        question_id=f'q{number}', question=f'{number}+1=', gold=f'{number + 1:02}', seed=0, sample=sample, steps=words,
        tokens=(3, 4, 5), step_ends=(2, 3), finish=finish, answer=words[-1], verdict='correct' if right else 'wrong',
        correct=(0, int(right)), rollouts=(1, 1), flops=(0, 0), new_tokens=(0, 0), own_flops=0,
        attempts=tuple(attempts), attempts_correct=(False,) * len(attempts) if attempts_correct is None else attempts_correct,
    )  # fmt: skip


def wrong(number, count):
    return [f'{number:02}\n{(number + 7 * each) % 90 + 3:02}' for each in range(count)]


def trajectories(questions=40):
    """Of each question a right answer after 0 to 4 wrong ones; rarer after more."""
    return [
        labelled(number, sample, wrong(number, sample))
        for number in range(10, 10 + questions)
        for sample in range(5)
        if number % (1 + sample) == 0
    ]


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels') / 'labels'
    write_labels(folder, trajectories())
    return folder


@pytest.fixture(scope='module')
def config(trained, labels, tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'revision.yaml'
    path.write_text(CONFIG.replace('SOURCE', str(trained)).replace('LABELS', str(labels)))

    def read(*overrides):
        return config_files.load(RevisionConfig, path, list(overrides))

    return read


@pytest.fixture
def examples(config, tmp_path):
    """Examples of a set of solutions, held-out ones apart, and what was said."""

    def read(solutions, *overrides):
        folder = tmp_path / 'set'
        write_labels(folder, solutions)
        said = []
        asked = config(
            f'labels.source=["{folder}"]', 'labels.held_out=0', 'loop.patience=null', 'loop.after_lowest=0', *overrides
        )
        return asked.examples(CHARACTERS, said.append), said

    return read


def text_of(ids):
    return CHARACTERS.decode([index for index in ids if index > 2])


def test_the_defaults_are_the_papers():
    asked = config_files.build(RevisionConfig, {'model': {'source': 'x'}, 'labels': {'source': ['y']}, 'loop': {'steps': 9}})
    o = asked.optimiser
    assert (o.learning_rate, o.schedule, o.beta1, o.beta2, o.warmup_steps, o.weight_decay) == (
        1e-5,
        'constant',
        0.9,
        0.95,
        0,
        0,
    )
    assert (asked.loop.batch, asked.dropout, asked.most_attempts, asked.balance) == (128, 0.0, 4, False)


def test_attempts_are_read_and_the_answer_alone_is_learnt(examples):
    (found, _, _), said = examples([labelled(12, attempts=['12\n31', '12\n44'])])
    example = found[0]
    asked = RAW.encode(CHARACTERS, '12+1=', attempts=('12\n31', '12\n44'))
    assert example == Example(tuple(asked), (*CHARACTERS.encode('12\n13'), CHARACTERS.eos_ids[0]))
    assert text_of(example.prompt) == '12+1=12\n31\n12+1=12\n44\n12+1='
    row = pack(found, 64)[0][0]
    learnt = row['targets'][row['targets'] >= 0]
    assert tuple(learnt) == example.solution and said == ['examples by earlier attempts: 1 after 2']


def test_the_last_attempts_are_shown(examples):
    solution = labelled(12, attempts=wrong(12, 6))
    for most, shown in ((4, wrong(12, 6)[2:]), (1, wrong(12, 6)[5:]), (9, wrong(12, 6))):
        (found, _, _), said = examples([solution], f'most_attempts={most}', 'loop.length=128')
        assert found[0].prompt == tuple(RAW.encode(CHARACTERS, '12+1=', attempts=shown))
        assert said == [f'examples by earlier attempts: 1 after {min(most, 6)}']


def test_a_control_learns_the_same_answers_without_attempts(examples):
    solutions = trajectories(6)
    (shown, _, _), _ = examples(solutions)
    (bare, _, _), said = examples(solutions, 'most_attempts=0')
    assert Counter(each.solution for each in bare) == Counter(each.solution for each in shown)
    assert {text_of(each.prompt) for each in bare} == {solution.question for solution in solutions}
    assert said == [f'examples by earlier attempts: {len(solutions)} after 0']


def test_only_right_answers_after_wrong_ones_are_learnt(examples):
    """A chain that goes on after its first right answer gives one example, that answer."""
    chain = [
        labelled(12, 0, right=False, steps=('12\n', '31')),
        labelled(12, 1, ['12\n31'], steps=('12\n', '13')),
        labelled(12, 2, ['12\n31', '12\n13'], attempts_correct=(False, True)),
        labelled(12, 3, ['12\n31', '12\n13', '12\n13'], right=False, attempts_correct=(False, True, True)),
    ]
    cut = labelled(14, 0, ['14\n77'], finish='length')
    (found, _, noted), said = examples([*chain, cut])
    assert [text_of(each.prompt) for each in found] == ['12+1=12\n31\n12+1=']
    assert said == [
        '1 of 5 solutions are left out: cut_off',
        '2 of 5 solutions are left out: not_correct',
        '1 of 5 solutions are left out: right_before',
        'examples by earlier attempts: 1 after 1',
    ]
    left_out = {'cut_off': 1, 'not_correct': 2, 'right_before': 1}
    assert noted['revisions']['train'] == {'by_attempts': {'1': 1}, 'left_out': left_out}


def test_every_number_of_attempts_comes_equally_often(examples):
    solutions = trajectories(30)
    (plain, _, _), _ = examples(solutions)
    (found, _, _), said = examples(solutions, 'balance=true')
    sizes = Counter(len(solution.attempts) for solution in solutions)
    most = max(sizes.values())
    assert len(set(sizes.values())) > 2 and len(found) == 5 * most and set(found) == set(plain)
    by_size = Counter(text_of(each.prompt).count('=') - 1 for each in found)
    assert by_size == {size: most for size in range(5)}
    times = Counter(found)
    for size, count in sizes.items():
        repeated = {times[each] for each in plain if text_of(each.prompt).count('=') - 1 == size}
        assert repeated <= {most // count, -(-most // count)}
    shown = ', '.join(f'{count} after {size}' for size, count in sorted(sizes.items()))
    assert said == [f'examples by earlier attempts: {shown}; each number {most} times']
    assert found == examples(solutions[::-1], 'balance=true')[0].train  # the order of the set is not the order of the answers
    # No two neighbours in the order of the first pass are of one size, so that no row holds copies of one example.
    assert [text_of(each.prompt).count('=') - 1 for each in found[:10]] == [0, 1, 2, 3, 4] * 2


def test_what_is_too_long_is_counted_and_not_repeated(examples, config, tmp_path):
    solutions = [*(labelled(n, 0) for n in range(10, 18)), labelled(20, 0, wrong(20, 1)), labelled(30, 0, wrong(30, 4))]
    (found, _, noted), said = examples(solutions, 'balance=true', 'loop.length=40')
    assert Counter(text_of(each.prompt).count('=') - 1 for each in found) == {0: 8, 1: 8, 4: 1}
    assert noted['revisions']['train'] == {'by_attempts': {'0': 8, '1': 1}, 'left_out': {'too_long': 1}}
    words = [
        'labels.held_out=0',
        'loop.patience=null',
        'loop.after_lowest=0',
        'loop.length=40',
        f'labels.source=["{tmp_path / "set"}"]',
    ]
    assert '1 of 10 examples are longer than 40 tokens and left out' in describe(config(*words))


@pytest.mark.parametrize(
    ('solutions', 'overrides', 'message'),
    [
        ([labelled(10, right=False), labelled(11, right=False)], [], r'none of 2 solutions can be learnt \(2 not_correct\)'),
        (
            [labelled(10, attempts=['10\n11'], attempts_correct=(True,))],
            [],
            r'none of 1 solutions can be learnt \(1 right_before\); expected right answers after wrong attempts',
        ),
        ([labelled(10), labelled(11)], [], 'no right answer in rows of 64 tokens stands after a wrong attempt: nothing is'),
        (
            [labelled(10), labelled(11, attempts=wrong(11, 4))],
            ['loop.length=30'],
            r'stands after a wrong attempt \(1 too_long\)',
        ),
        ([labelled(11, attempts=wrong(11, 4))], ['loop.length=30'], 'none fits into rows of 30 tokens'),
        (
            [labelled(10, attempts=['1', '2'], attempts_correct=(False,))],
            [],
            'question q10, sample 0: expected 2 attempts_correct, one for each of its attempts, got 1; label again',
        ),
    ],
    ids=['nothing right', 'right before', 'no attempts', 'attempts too long', 'all too long', 'not judged'],
)
def test_sets_without_a_revision_are_refused(solutions, overrides, message, config, tmp_path):
    write_labels(tmp_path / 'set', solutions)
    words = [
        f'labels.source=["{tmp_path / "set"}"]',
        'labels.held_out=0',
        'loop.patience=null',
        'loop.after_lowest=0',
        *overrides,
    ]
    with pytest.raises(DataError, match=message) as error:
        train(config(*words), tmp_path / 'run', say=lambda _: None)
    assert '\n' not in str(error.value)


def test_held_out_questions_without_a_revision_are_refused(config, tmp_path):
    texts = sorted((f'{n}+1=' for n in range(10, 14)), key=lambda text: hashlib.sha256(text.encode()).digest())
    kept_out = int(texts[0].split('+')[0])
    solutions = [labelled(n, attempts=wrong(n, 1), right=n != kept_out) for n in range(10, 14)]
    write_labels(tmp_path / 'set', solutions)
    words = [f'labels.source=["{tmp_path / "set"}"]']
    with pytest.raises(
        DataError, match=r'loop.patience needs held-out examples, and none of 1 held-out solutions is one \(1 not'
    ):
        describe(config(*words))
    assert re.search('held out +none', describe(config(*words, 'loop.patience=null', 'loop.after_lowest=0')))


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('most_attempts=-1', 'most_attempts must be at least 0, got -1'),
        ('labels.held_out=0', 'loop.patience needs held-out questions: set labels.held_out above 0'),
        ('loop.after_lowest=3', 'after_lowest must be at most patience'),
        ('prompt.attempt_columns=-1', 'attempt_columns must be in'),
    ],
)
def test_impossible_configurations_are_refused(override, message, config):
    with pytest.raises(ConfigError, match=message):
        config(override)


def test_nothing_is_balanced_where_no_attempt_is_shown(config):
    with pytest.raises(ConfigError, match='balance must be left out where most_attempts is 0'):
        config('most_attempts=0', 'balance=true')


@pytest.fixture(scope='module')
def revision(config, tmp_path_factory):
    out, said = tmp_path_factory.mktemp('runs') / 'revision', []
    train(config(), out, say=said.append)
    assert [line.split(':')[0] for line in said[:2]] == [
        'examples by earlier attempts',
        'held-out examples by earlier attempts',
    ]
    assert len(said) == 3 and 'no lower held-out loss for 2 evaluations' in said[2]
    return out


def test_it_learns_and_is_a_policy(revision, trained):
    losses = [line['loss'] for line in read_metrics(revision) if 'loss' in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    noted = json.loads((revision / 'environment.json').read_text())['revisions']
    sizes = Counter(len(solution.attempts) for solution in trajectories())
    by_attempts = Counter({int(k): v for part in noted.values() for k, v in part['by_attempts'].items()})
    assert set(by_attempts) == set(sizes) and all(not part['left_out'] for part in noted.values())
    assert jr.load(revision).digest != jr.load(trained).digest


def test_what_is_loaded_is_slightly_after_the_lowest_held_out_loss(revision):
    held_out = [(line['step'], line['held_out_loss']) for line in read_metrics(revision) if 'held_out_loss' in line]
    lowest = min(range(len(held_out)), key=lambda index: held_out[index][1])
    assert 0 < lowest == len(held_out) - 3 and best_step(revision) == held_out[lowest + 1][0] < held_out[-1][0]
    assert jr.load(revision).digest == jr.load(revision / f'checkpoints/{best_step(revision)}').digest


@pytest.mark.slow
def test_it_goes_on_bit_by_bit(config, revision, tmp_path):
    def stop(progress):
        if progress.step == stop.step:
            raise world.Killed

    for stop.step in (best_step(revision) - 1, best_step(revision) + 1):
        with pytest.raises(world.Killed):
            train(config(), tmp_path / 'run', stop, say=lambda _: None)
    train(config(), tmp_path / 'run', say=lambda _: None)
    for name in ('metrics.jsonl', 'best.json', 'environment.json'):
        assert (tmp_path / 'run' / name).read_bytes() == (revision / name).read_bytes()
    assert jr.load(tmp_path / 'run').digest == jr.load(revision).digest


def test_a_dry_run_says_what_it_would_learn(config):
    text = describe(config('balance=true'))
    assert re.search('^examples by earlier attempts: 3. after 0, .*; each number 3. times$', text, re.MULTILINE)
    assert 'FLOPs for the whole run' in text


def test_the_command_line_knows_the_kind(config, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'revision.yaml').write_text(config_files.dump(config()))
    assert main(['train', 'revision', 'revision.yaml', '--dry-run', 'loop.steps=10']) == 0
    out = capsys.readouterr().out
    assert 'most_attempts: 4' in out and 'loop: {steps: 10' in out and 'examples by earlier attempts' in out
    assert not (tmp_path / 'runs').exists()
