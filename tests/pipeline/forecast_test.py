"""The time left, against schedules worked by hand."""

import pytest

from jaxreason.pipeline.forecast import seconds_left, startable, urgency
from jaxreason.pipeline.recipe import Recipe, Stage


def recipe(**stages):
    """By name: minutes, what is needed, and whether it is shared."""
    return Recipe(
        workers=2,
        report=next(reversed(stages)),
        stages={
            name: Stage(verb='evaluate', minutes=minutes, shared=shared, config={'x': [f'stage:{other}' for other in needs]})
            for name, (minutes, needs, shared) in stages.items()
        },
    )


# a -> b -> e; c -> d -> e. d is shared.
DIAMOND = recipe(a=(3, '', False), b=(2, 'a', False), c=(1, '', False), d=(4, 'c', True), e=(1, 'bd', False))
MINUTES = {name: 60.0 * stage.minutes for name, stage in DIAMOND.stages.items()}


def test_urgency_is_the_longest_way_to_the_end():
    assert urgency(DIAMOND) == {'a': 6, 'b': 3, 'c': 6, 'd': 5, 'e': 1}


@pytest.mark.parametrize(
    ('workers', 'left', 'running', 'minutes'),
    [
        # a and c at 0; d is ready at 1 but a worker is busy until 3, then it goes first: b at 7, e at 9.
        (2, 'abcde', {}, 10),
        (1, 'abcde', {}, 11),
        (3, 'abcde', {}, 10),
        ((2), 'bde', {'a': 2.5}, 2.5 + 2 + 4 + 1),
        (2, 'e', {'b': 0.5, 'd': 0.25}, 1.5),
        (2, '', {'e': 0.5}, 0.5),
        (2, '', {}, 0),
    ],
)
def test_seconds_left_is_that_of_the_schedule(workers, left, running, minutes):
    waiting = {name: MINUTES[name] for name in left}
    running = {name: 60 * value for name, value in running.items()}
    assert seconds_left(DIAMOND, workers, waiting, running) == pytest.approx(60 * minutes)


def test_the_most_urgent_begin_first():
    four = recipe(a=(1, '', False), b=(1, '', False), c=(1, '', False), d=(5, 'b', False))
    first = urgency(four)
    assert startable(four, 2, first, set('abcd'), set()) == ['b', 'a']
    assert startable(four, 2, first, set('acd'), set('b')) == ['a']
    assert startable(four, 2, first, set('ad'), set('bc')) == []
    assert startable(four, 3, first, set('acd'), set()) == ['d', 'a', 'c']
    assert seconds_left(four, 2, dict.fromkeys('abc', 60.0) | {'d': 300.0}, {}) == 360


def test_a_shared_stage_has_all_workers():
    first = urgency(DIAMOND)
    assert startable(DIAMOND, 2, first, set('bde'), {'a'}) == [], 'd waits: a worker is busy'
    assert startable(DIAMOND, 2, first, set('bde'), set()) == ['d'], 'b alone would leave a worker idle'
    assert startable(DIAMOND, 1, first, set('bde'), set()) == ['b'], 'here it does not'
    assert startable(DIAMOND, 2, first, set('be'), set()) == ['b']
    assert startable(DIAMOND, 2, first, set('de'), set()) == ['d']
    assert startable(DIAMOND, 2, first, set('e'), {'d'}) == []
    assert startable(DIAMOND, 2, first, set('abe'), {'d'}) == [], 'and nothing beside it'
