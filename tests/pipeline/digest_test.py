"""Digests: what changes them, and what does not."""

import dataclasses

import pytest

from jaxreason.core.errors import DataError
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


def asking(key='data', **data):
    """Two stages of which one asks problems."""
    return Recipe(
        report='sweep',
        stages={
            'policy': Stage(verb='train sft', config={'loop': {'steps': 3}}),
            'sweep': Stage(verb='evaluate', config={'model': 'stage:policy', key: data}),
        },
    )


@pytest.mark.parametrize(
    ('file', 'data'),
    [
        ('mine.jsonl', {'source': 'mine.jsonl'}),
        ('mine.jsonl', {'key': 'solutions', 'source': 'mine.jsonl'}),
        ('all/math500.jsonl', {'source': 'math500', 'manual_dir': 'all'}),
        ('all/gsm8k_test.jsonl', {'source': 'gsm8k', 'manual_dir': 'all'}),
        ('all/gsm8k/train.jsonl', {'source': 'gsm8k', 'split': 'train', 'manual_dir': 'all'}),
    ],
)
def test_other_problems_in_the_file_begin_what_asks_them_anew(tmp_path, monkeypatch, file, data):
    monkeypatch.chdir(tmp_path)
    without = digests(asking(**data))
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text('one')
    one = digests(asking(**data))
    (tmp_path / file).write_text('two')
    two = digests(asking(**data))
    (tmp_path / file).write_text('one')
    assert digests(asking(**data)) == one
    assert without['policy'] == one['policy'] == two['policy']
    assert len({each['sweep'] for each in (without, one, two)}) == 3


@pytest.mark.parametrize(
    'data',
    [
        {'source': 'procedural:nano_duel:1', 'limit': 3},
        {'source': 'math500'},
        {'source': 'math500', 'manual_dir': 3},
        {'source': ['mine.jsonl']},
        {'source': 'folder.jsonl'},
        {},
    ],
)
def test_where_no_file_is_named_words_are_all(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    before = digests(asking(**data))
    (tmp_path / 'folder.jsonl').mkdir()
    (tmp_path / 'mine.jsonl').write_text('one')
    (tmp_path / 'math500.jsonl').write_text('one')
    assert digests(asking(**data)) == before


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, 'Permission denied')

    (tmp_path / 'mine.jsonl').write_text('one')
    monkeypatch.setattr(digest.hashlib, 'file_digest', refused)
    with pytest.raises(DataError, match=r'mine\.jsonl: its file cannot be read \(Permission denied\)'):
        digests(asking(source=str(tmp_path / 'mine.jsonl')))


def test_a_name_that_no_file_can_have_is_refused_in_a_line():
    with pytest.raises(DataError, match='its file cannot be read'):
        digests(asking(source='x' * 5000 + '.jsonl'))
