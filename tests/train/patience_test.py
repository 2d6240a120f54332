"""When training stops, and which checkpoint is loaded then: that of the lowest held-out loss, or some evaluations after it."""

import dataclasses
import json

import pytest

from jaxreason.core.errors import ConfigError
from jaxreason.models.manifest import BEST, best_step, chosen_step, steps_of
from jaxreason.train.loop import LoopConfig
from jaxreason.train.patience import Patience
from tests.train import world

NAN = float('nan')
LOOP = LoopConfig(steps=12, batch=2, length=16, save_every=100, keep=1, evaluate_every=1, patience=3, give_up_after=3)
LONG = list(range(12, 0, -1))  # every evaluation of a whole run is lower than the one before
# Losses; evaluations before training stops; for each `after_lowest` the evaluation that is loaded.
GOLDEN = [
    ([5, 4, 3, 4, 5, 6, 1], 6, {0: 3, 1: 4, 2: 5, 3: 6}),
    ([5, 4, 6, 3, 4, 5, 6], 7, {0: 4, 1: 5, 2: 6, 3: 7}),  # what was chosen after the first valley is given up
    ([5, 4, 4, 4, 4], 5, {0: 2, 1: 3, 2: 4, 3: 5}),  # as low is not lower
    ([5, NAN, 6, NAN, 1], 4, {0: 1, 1: 2, 2: 3, 3: 4}),
    ([NAN, 5, 6, 7, 8], 5, {0: 2, 1: 3, 2: 4, 3: 5}),
    (LONG, 12, {0: 12, 1: 12, 2: 12, 3: 12}),  # it ends before anything rises
    ([*LONG[:11], 9], 12, {0: 11, 1: 12, 2: 12, 3: 12}),
    ([*LONG[:10], 8, 9], 12, {0: 10, 1: 11, 2: 12, 3: 12}),
    ([5, 4, 9, 9, 3, 9, 9, 2, 9, 9, 1, 9], 12, {0: 11, 1: 12, 2: 12, 3: 12}),
]
CASES = [(losses, count, *item) for losses, count, chosen in GOLDEN for item in chosen.items()]


def loop(after, **changes):
    return dataclasses.replace(LOOP, after_lowest=after, **changes)


@pytest.mark.parametrize(('losses', 'count', 'after', 'chosen'), CASES)
def test_one_evaluation_is_chosen(losses, count, after, chosen):
    patience, found, heard = Patience(3, after), None, 0
    for heard, loss in enumerate(losses, 1):
        found = heard if patience.hear(loss, is_last=heard == 12) else found
        if patience.is_over:
            break
    assert (heard, found) == (count, chosen)


@pytest.mark.parametrize('after', range(4))
def test_none_is_chosen_where_no_loss_is_a_number(after):
    patience = Patience(3, after)
    assert not any(patience.hear(NAN, is_last) for is_last in (False, False, True)) and patience.is_over


def test_none_is_chosen_without_patience():
    patience = Patience(None)
    assert not any(patience.hear(loss, loss == 3) for loss in (1, 2, 3)) and not patience.is_over


@pytest.mark.parametrize('index', [0, 7])
@pytest.mark.parametrize('after', [0, 2])
def test_what_is_chosen_is_kept_and_loaded(index, after, tmp_path):
    losses, count, chosen = GOLDEN[index]
    world.run(tmp_path, loop=loop(after), losses=losses)
    assert best_step(tmp_path) == chosen[after] and chosen_step(tmp_path).name == str(chosen[after])
    assert {number for number, _ in steps_of(tmp_path)} == {chosen[after], count}


@pytest.mark.parametrize('error', [KeyboardInterrupt, world.Killed], ids=['interrupt', 'kill'])
@pytest.mark.parametrize('index', [1, 7])
def test_a_stopped_run_chooses_as_an_uninterrupted_one(index, error, tmp_path):
    losses, count, chosen = GOLDEN[index]

    def stop(progress):
        if progress.step == stop.step:
            raise error

    for stop.step in range(1, count + 1):
        with pytest.raises(error):
            world.run(tmp_path, stop, loop=loop(2, save_every=1), losses=losses)
    world.run(tmp_path, loop=loop(2, save_every=1), losses=losses)
    assert best_step(tmp_path) == chosen[2] and chosen_step(tmp_path).name == str(chosen[2])


@pytest.mark.parametrize(('index', 'after'), [(0, 0), (0, 1), (0, 3), (7, 2)])
def test_a_kill_before_the_choice_is_written_loses_nothing(index, after, tmp_path):
    """The checkpoint is there, and the word that it is the one to load is not."""
    losses, count, chosen = GOLDEN[index]

    def stop(progress):
        if progress.step == chosen[after]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(tmp_path, stop, loop=loop(after), losses=losses)
    (tmp_path / BEST).unlink()
    world.run(tmp_path, loop=loop(after), losses=losses)
    assert json.loads((tmp_path / BEST).read_text()) == {'step': chosen[after]}
    assert {number for number, _ in steps_of(tmp_path)} == {chosen[after], count}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'patience': None}, 'after_lowest needs patience: without it the last checkpoint is loaded, got 4'),
        ({}, r'after_lowest must be at most patience \(3 evaluations, after which training stops\), got 4'),
        ({'after_lowest': -1}, 'after_lowest must be at least 0, got -1'),
    ],
)
def test_what_never_comes_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(LOOP, **{'after_lowest': 4, **changes})
