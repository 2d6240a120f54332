"""A stage on disk: its places, its configuration, its mark."""

import json
from pathlib import Path

import pytest

from jaxreason.core import yaml_text
from jaxreason.core.errors import RunError
from jaxreason.pipeline.recipe import Recipe, Stage
from jaxreason.pipeline.stage import places_of

RECIPE = Recipe(
    report='sweep',
    stages={
        'sweep': Stage(verb='evaluate', config={'model': {'source': 'stage:policy'}, 'text': 'a\nb: #'}),
        'policy': Stage(verb='train sft', config={'loop': {'steps': 3}}),
    },
)


@pytest.fixture
def places(tmp_path):
    return places_of(RECIPE, tmp_path.resolve() / 'a wörld: #1')


def test_a_folder_bears_the_name_and_the_digest(places):
    assert list(places) == ['policy', 'sweep']
    for name, place in places.items():
        assert place.folder.name == f'{name}-{place.digest[:8]}' and place.folder.parent.name == 'stages'
        assert {place.config_file, place.log} == {place.folder.with_name(place.folder.name + end) for end in ('.yaml', '.log')}
        assert not place.is_finished and place.seconds is None


def test_its_configuration_names_the_folders_of_others_and_reads_back(places):
    place = places['sweep']
    place.prepare()
    tree, _ = yaml_text.read(place.config_file)
    assert tree == {'model': {'source': str(places['policy'].folder)}, 'text': 'a\nb: #'}
    assert place.config_file.read_text().startswith('# jaxreason evaluate ')


def test_a_folder_is_written_in_one_way_however_it_is_given(tmp_path, monkeypatch):
    here = tmp_path.resolve() / 'here'
    here.mkdir()
    (here / 'link').symlink_to('runs')
    monkeypatch.chdir(here)

    def source(out):
        return places_of(RECIPE, Path(out))['sweep'].config['model']['source']

    within = {source(out) for out in ('runs/nano', './runs/nano', here / 'runs/nano', '../here/runs/nano', 'link/nano')}
    assert len(within) == 1 and within.pop().startswith('runs/nano/stages/policy-')
    beside = {source(out) for out in ('../runs', here / '../runs', tmp_path / 'runs')}
    assert len(beside) == 1 and beside.pop().startswith(f'{here.parent}/runs/stages/policy-')


def test_a_mark_is_of_one_digest(places):
    place = places['policy']
    place.mark_finished(12.345)
    assert place.is_finished and place.seconds == 12.3
    mark = json.loads((place.folder / 'stage.json').read_text())
    assert mark == {'stage': 'policy', 'verb': 'train sft', 'digest': place.digest, 'seconds': 12.3}
    (place.folder / 'stage.json').write_text(json.dumps(mark | {'digest': place.digest[:8] + '0' * 56}))
    assert not place.is_finished and place.seconds is None


@pytest.mark.parametrize('seconds', ['3', None, [1], {}])
def test_seconds_that_are_no_number_are_not_known(places, seconds):
    place = places['policy']
    place.mark_finished(1)
    path = place.folder / 'stage.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'seconds': seconds}))
    assert place.is_finished and place.seconds is None


@pytest.mark.parametrize('text', ['', '{"digest":', '[1]', '\udcff'])
def test_a_damaged_mark_is_named(places, text):
    place = places['policy']
    place.folder.mkdir(parents=True)
    (place.folder / 'stage.json').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(RunError, match=r'stage\.json: expected'):
        _ = place.is_finished
