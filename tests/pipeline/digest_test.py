"""Digests: what changes them, and what does not."""

import dataclasses

import pytest

from jaxreason.pipeline import digest
from jaxreason.pipeline.digest import digests
from jaxreason.pipeline.recipe import Recipe, Stage


def recipe(policy=3, prm=1, workers=2, minutes=1.0, shared=False, policy_name='policy', environment=()):
    """Policy, then PRM and bins beside each other, then a sweep over the policy and the PRM."""
    source = f'stage:{policy_name}'
    return Recipe(
        workers=workers,
        report='sweep',
        environment=dict(environment),
        stages={
            policy_name: Stage(verb='train sft', minutes=minutes, config={'loop': {'steps': policy}, 'name': 'ü'}),
            'prm': Stage(verb='train prm', config={'model': {'source': source}, 'steps': prm}),
            'bins': Stage(verb='difficulty', config={'model': source, 'shared': 1}),
            'sweep': Stage(verb='evaluate', shared=shared, config={'model': source, 'verifier': ['stage:prm/best']}),
        },
    )


def changed(one, other):
    before, after = digests(one), digests(other)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ('change', 'stages'),
    [
        ({'policy': 4}, {'policy', 'prm', 'bins', 'sweep'}),
        ({'policy': 3.0}, {'policy', 'prm', 'bins', 'sweep'}),
        ({'prm': 2}, {'prm', 'sweep'}),
        ({'workers': 1}, set()),
        ({'minutes': 9.0}, set()),
        ({'shared': True}, set()),
        ({'environment': {'JAX_ENABLE_X64': '1'}}, {'policy', 'prm', 'bins', 'sweep'}),
    ],
)
def test_a_change_reaches_what_depends_on_it_and_nothing_else(change, stages):
    assert changed(recipe(), recipe(**change)) == stages


def test_a_name_changes_nothing():
    before, after = digests(recipe()), digests(recipe(policy_name='other'))
    assert after['other'] == before['policy'] and after['sweep'] == before['sweep']


def test_the_order_of_keys_changes_nothing_and_a_verb_does():
    one = Stage(verb='train prm', config={'a': 1, 'b': {'c': 2, 'd': 3}})
    other = Stage(verb='train prm', config={'b': {'d': 3, 'c': 2}, 'a': 1})
    sweep = Stage(verb='evaluate', config={})
    found = [
        digests(Recipe(report='sweep', stages={'x': stage, 'sweep': sweep}))['x']
        for stage in (one, other, dataclasses.replace(one, verb='train orm'))
    ]
    assert found[0] == found[1] != found[2] and len(found[0]) == 64


def test_another_version_of_the_package_begins_anew(monkeypatch):
    before = digests(recipe())
    monkeypatch.setattr(digest.importlib.metadata, 'version', lambda _: '99.0')
    assert all(before[name] != after for name, after in digests(recipe()).items())


def test_a_folder_of_a_stage_is_not_the_stage():
    """What a stage reads of another counts: `stage:x` and `stage:x/best` are two things."""
    made = [
        digests(
            Recipe(report='y', stages={'x': Stage(verb='label', config={}), 'y': Stage(verb='evaluate', config={'s': source})})
        )
        for source in ('stage:x', 'stage:x/best')
    ]
    assert made[0]['x'] == made[1]['x'] and made[0]['y'] != made[1]['y']
