"""Checkpoints: whole or not there; damaged ones are passed over by name or refused by name; the disk may be full."""

import errno
import json
import resource
import shutil

import jax
import numpy as np
import pytest

from jaxreason.core.errors import RunError, WeightsError
from jaxreason.models.manifest import newest_step, steps_of, verify_step
from jaxreason.train.checkpoints import Checkpoints
from jaxreason.train.run_folder import TrainingFolder
from tests.train import world


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'run'
    world.run(folder)
    return folder


@pytest.fixture
def run(original, tmp_path):
    shutil.copytree(original, tmp_path / 'run')
    return tmp_path / 'run'


def largest_file(step):
    return max((file for file in (step / 'arrays').rglob('*') if file.is_file()), key=lambda file: file.stat().st_size)


def flip_a_bit(step):
    content = bytearray(largest_file(step).read_bytes())
    content[len(content) // 2] ^= 4
    largest_file(step).write_bytes(content)


def truncate(step):
    largest_file(step).write_bytes(largest_file(step).read_bytes()[:-7])


def delete_a_file(step):
    (step / 'data.json').unlink()


def add_a_file(step):
    (step / 'arrays' / 'extra').write_text('?')


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def half_written(step):
    (step / 'manifest.json').unlink()


def tear_the_manifest(step):
    (step / 'manifest.json').write_bytes((step / 'manifest.json').read_bytes()[:100])


def foreign_manifest(step):
    (step / 'manifest.json').write_text('{"format": "other", "step": 12, "files": {}}')


def of_another_step(step):
    shutil.rmtree(step)
    shutil.copytree(step.with_name('8'), step)


DAMAGES = {
    flip_a_bit: 'damaged, its SHA-256',
    truncate: 'expected .* bytes, found',
    delete_a_file: 'data.json: missing',
    add_a_file: 'arrays/extra: not part of this checkpoint',
    empty: 'has no manifest.json',
    half_written: 'not wholly written',
    tear_the_manifest: 'manifest.json: damaged',
    foreign_manifest: "expected 'jaxreason checkpoint 1'",
}


@pytest.mark.parametrize('damage', [*DAMAGES, of_another_step], ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_passed_over_by_name(run, damage):
    damage(run / 'checkpoints' / '12')
    said = []
    assert newest_step(run, said.append) == run / 'checkpoints' / '8'
    assert len(said) == 1 and str(run / 'checkpoints' / '12') in said[0]


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused_by_name(run, damage):
    damage(run / 'checkpoints' / '12')
    with pytest.raises(WeightsError, match=DAMAGES[damage]) as error:
        verify_step(run / 'checkpoints' / '12')
    assert str(run / 'checkpoints' / '12') in str(error.value) and '\n' not in str(error.value)


def test_training_goes_on_from_the_one_before_and_sets_the_damaged_one_aside(run, original):
    flip_a_bit(run / 'checkpoints' / '12')
    said = []
    world.run(run, say=said.append)
    assert 'SHA-256' in said[0]
    assert verify_step(run / 'checkpoints' / '12') == 12 and (run / 'checkpoints' / '12.damaged').is_dir()
    assert (run / 'metrics.jsonl').read_bytes() == (original / 'metrics.jsonl').read_bytes()


def test_training_never_starts_anew_in_silence(run):
    for _, step in steps_of(run):
        flip_a_bit(step)
    with pytest.raises(RunError, match='no checkpoint in it is whole; move the folder away'):
        world.run(run, say=lambda _: None)


def test_other_folders_are_not_taken_for_checkpoints(run):
    for name in ('99', '13 copy', 'notes', '²'):
        (run / 'checkpoints' / name).mkdir()
    said = []
    assert newest_step(run, said.append) == run / 'checkpoints' / '12'
    assert len(said) == 4


def test_what_a_killed_process_left_is_cleared_away(run):
    left = run / 'checkpoints' / '.16.part~'
    left.mkdir()
    (left / 'model.json').write_text('{}')
    with Checkpoints(run, 2, world.FILES):
        assert not left.exists()


def test_the_newest_are_kept(original):
    assert [number for number, _ in steps_of(original)] == [12, 8]
    assert sorted(path.name for path in (original / 'checkpoints').iterdir()) == ['12', '8']


def test_other_folders_are_neither_counted_nor_removed(run):
    (run / 'checkpoints/99').mkdir()
    (run / 'checkpoints/3').mkdir()
    _, optimiser = world.step_and_optimiser()
    with Checkpoints(run, 1, world.FILES) as kept:
        kept.save(16, world.begin(optimiser), {'next_index': 3})
    assert sorted(path.name for path in (run / 'checkpoints').iterdir()) == ['16', '3', '99']


def test_a_full_disk_leaves_the_step_before_and_names_the_one_that_failed(run, monkeypatch):
    from jaxreason.train import checkpoints

    def no_space(path, step):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(checkpoints, 'write_manifest', no_space)
    _, optimiser = world.step_and_optimiser()
    message = r'checkpoints/16: .*No space left.* earlier ones are intact'
    with Checkpoints(run, 2, world.FILES) as kept:
        kept.save(16, world.begin(optimiser), {'next_index': 3})
        with pytest.raises(RunError, match=message) as error:
            kept.wait()
    assert isinstance(error.value.__cause__, OSError)
    assert sorted(path.name for path in (run / 'checkpoints').iterdir()) == ['12', '8']
    assert verify_step(run / 'checkpoints' / '12') == 12


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # of a thread of the library
def test_arrays_that_cannot_be_written_are_told_by_the_same_error(run):
    """The system itself refuses Orbax's writes here, at a size that the small files keep below."""
    _, optimiser = world.step_and_optimiser()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(run, 2, world.FILES) as kept:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        try:
            with pytest.raises(RunError, match=r'checkpoints/16: the checkpoint cannot be written'):
                kept.save(16, world.begin(optimiser), {'next_index': 3})
                kept.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert sorted(path.name for path in (run / 'checkpoints').iterdir()) == ['12', '8']
        kept.save(16, world.begin(optimiser), {'next_index': 3})  # and there is room again
        kept.wait()
    assert newest_step(run) == run / 'checkpoints' / '16'


def test_a_full_disk_stops_training_at_the_next_step(tmp_path, monkeypatch):
    from jaxreason.train import checkpoints

    written = checkpoints.write_manifest

    def first_only(path, step):
        if step > 4:
            raise OSError(errno.ENOSPC, 'No space left on device')
        written(path, step)

    monkeypatch.setattr(checkpoints, 'write_manifest', first_only)
    with pytest.raises(RunError, match='No space left'):
        world.run(tmp_path / 'run')
    assert newest_step(tmp_path / 'run') == tmp_path / 'run' / 'checkpoints' / '4'
    monkeypatch.undo()
    whole = world.run(tmp_path / 'other')
    again = world.run(tmp_path / 'run')
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


def test_what_is_saved_is_the_state_of_that_step_not_of_a_later_one(tmp_path):
    """A CPU's arrays are read in place, while the next step takes their memory."""
    step, optimiser = world.step_and_optimiser()
    state = world.begin(optimiser)
    batch = dict(next(world.Batches(world.pack(world.examples(), 16)[0], batch=2, seed=7)))
    saved = []
    with Checkpoints(tmp_path, 20, world.FILES) as kept:
        for number in range(1, 9):
            state, _ = step(state, batch)
            saved.append(jax.tree.map(np.array, state))
            kept.save(number, state, {'next_index': number})
            for _ in range(3):
                state, _ = step(state, batch)
        kept.wait()
        for number in (8, 5, 1):
            for later in range(number + 1, 9):
                shutil.rmtree(tmp_path / 'checkpoints' / str(later), ignore_errors=True)
            restored = kept.restore(world.begin(optimiser))
            assert restored.step == number and restored.data == {'next_index': number}
            jax.tree.map(np.testing.assert_array_equal, restored.state, saved[number - 1])


def test_the_state_of_the_data_is_needed(run):
    (run / 'checkpoints/12/data.json').write_text('{"other": 1}')
    from jaxreason.models.manifest import write_manifest

    write_manifest(run / 'checkpoints/12', 12)
    with pytest.raises(Exception, match='data iterator: expected a state of'):
        world.run(run)


def test_the_manifest_names_every_file(original):
    content = json.loads((original / 'checkpoints/12/manifest.json').read_text())
    assert {'model.json', 'data.json', 'tokenizer/tokenizer.json'} <= set(content['files']) and content['step'] == 12


def test_a_run_folder_is_held_by_one_process_and_one_configuration(run, tmp_path):
    with TrainingFolder(tmp_path / 'new', 'seed: 0\n'), pytest.raises(RunError, match='held by process'):
        TrainingFolder(tmp_path / 'new', 'seed: 0\n')
    with TrainingFolder(tmp_path / 'new', 'seed: 1\n') as folder:  # nothing is saved there yet
        folder.check_environment({'data': 'a'})
    (run / 'config.yaml').write_text('seed: 0\n')
    (run / 'environment.json').write_text('{"data": "a"}')
    with pytest.raises(RunError, match='made by another configuration'):
        TrainingFolder(run, 'seed: 1\n')
    with TrainingFolder(run, 'seed: 0\n') as folder, pytest.raises(RunError, match="data was 'a' and is 'b'"):
        folder.check_environment({'data': 'b'})
    (tmp_path / 'evaluated' / 'pools').mkdir(parents=True)
    with pytest.raises(RunError, match='not the folder of a training run'):
        TrainingFolder(tmp_path / 'evaluated', 'seed: 0\n')
