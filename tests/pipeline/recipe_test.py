"""Recipes: what they refuse, the order of their stages, and the presets of the package."""

import re

import pytest

from jaxreason.core.errors import ConfigError
from jaxreason.pipeline.recipe import PRESETS, Recipe, Stage, load_recipe, preset, resolved
from jaxreason.pipeline.run import check
from jaxreason.pipeline.verbs import VERBS, config_class

TEXT = """\
workers: 2
report: sweep
stages:
  sweep: {verb: evaluate, shared: true, config: {model: {source: "stage:policy"}, verifiers: {prm: {source: "stage:prm/best"}}}}
  prm: {verb: train prm, minutes: 2, config: {labels: {source: ["stage:labels/labels"]}, model: {source: "stage:policy"}}}
  labels: {verb: label, config: {model: {source: "stage:policy"}}}
  policy: {verb: train sft, config: {loop: {steps: 3}}}
"""


@pytest.fixture
def write(tmp_path):
    def run(text=TEXT):
        path = tmp_path / 'recipe.yaml'
        path.write_text(text)
        return path

    return run


def stages(**needs):
    """A recipe of `evaluate` stages, by name what each reads."""
    return Recipe(
        report=next(iter(needs)),
        stages={
            name.replace('_', '-'): Stage(verb='evaluate', config={'runs': [f'stage:{o}' for o in others]})
            for name, others in needs.items()
        },
    )


def test_a_stage_comes_after_what_it_reads(write):
    recipe = load_recipe(write())
    assert recipe.order == ('policy', 'labels', 'prm', 'sweep')
    assert recipe.stages['sweep'].needs == ('policy', 'prm') and recipe.stages['prm'].needs == ('labels', 'policy')


def test_references_become_folders_and_what_looks_like_one_does_not():
    config = {
        'a': 'stage:x',
        'b': ['stage:x/labels', {'c': 'stage:y/d/e'}],
        'd': 'the stage:x',
        'e': 3,
        'f': None,
        'g': 'stages',
    }
    places = {'x': '/run/x-12', 'y': 'y'}
    assert resolved(config, places) == {
        **config,
        'a': '/run/x-12',
        'b': ['/run/x-12/labels', {'c': 'y/d/e'}],
    }


def test_overrides_reach_into_the_configuration_of_a_stage(write):
    recipe = load_recipe(write(), ('stages.policy.config.loop.steps=5', 'workers=1', 'stages.prm.config.labels.held_out=0.5'))
    assert recipe.stages['policy'].config == {'loop': {'steps': 5}} and recipe.workers == 1
    assert recipe.stages['prm'].config['labels'] == {'source': ['stage:labels/labels'], 'held_out': 0.5}


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('stage:policy"}, v', 'stage:polcy"}, v', "stages.sweep: there is no stage 'polcy'; stages are"),
        ('stage:policy"}, v', 'stage:"}, v', "there is no stage ''"),
        ('loop: {steps: 3}', 'model: "stage:prm"', 'stages: sweep, prm, labels, policy wait for each other'),
        ('loop: {steps: 3}', 'model: "stage:policy"', 'wait for each other'),
        ('verb: label', 'verb: lable', "verb must be one of train sft, .* got 'lable'"),
        ('verb: label', 'verb: reproduce', "got 'reproduce'"),
        ('minutes: 2', 'shared: true', 'shared: train prm runs as one process; only label, evaluate, difficulty can'),
        ('minutes: 2', 'minutes: 0', 'minutes must be above 0'),
        ('minutes: 2', 'minutes: .nan', 'minutes'),
        ('minutes: 2', 'minuets: 2', 'did you mean .?minutes'),
        ('workers: 2', 'environment: {LD_PRELOAD: x}', "only variables of JAX and XLA .* got 'LD_PRELOAD'"),
        ('workers: 2', 'workers: 0', r'workers must be in \[1, 64\], got 0'),
        ('workers: 2', 'workers: 65', r'workers must be in \[1, 64\]'),
        ('report: sweep', 'report: swep', "report must name a stage, got 'swep'; stages are sweep"),
        ('report: sweep', 'report: labels', 'report.html and metrics.json .report, evaluate., got .labels.: label'),
        ('  policy:', '  a/b:', "stages: a name is made of letters.* got 'a/b'"),
        ('  policy:', '  ../up:', 'a name is made of'),
        ('  policy:', '  "":', 'a name is made of'),
        ('config: {loop: {steps: 3}}', 'config: 3', 'stages.policy.config: expected a mapping'),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(write, old, new, message):
    text = TEXT.replace(old, new)
    assert text != TEXT
    with pytest.raises(ConfigError) as raised:
        load_recipe(write(text))
    assert re.search(message, str(raised.value)) and '\n' not in str(raised.value), raised.value


def test_a_name_is_kept_short():
    with pytest.raises(ValueError, match='a name is made of'):
        stages(**{'x' * 65: []})
    assert stages(**{'x' * 64: []}).order == ('x' * 64,)


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="there is no preset 'nan'; presets are nano, nano-full, or give a CONFIG.yaml"):
        preset('nan')


@pytest.mark.parametrize('name', [name for name in PRESETS if preset(name).exists()])
def test_the_configurations_of_a_preset_can_be_used(name, tmp_path):
    recipe = load_recipe(preset(name))
    assert recipe.report in recipe.order and len(check(recipe, tmp_path)) == len(recipe.stages)


def test_every_verb_has_a_configuration():
    assert all(config_class(verb).__dataclass_fields__ for verb in VERBS)
    with pytest.raises(ConfigError, match="got 'solve'"):
        config_class('solve')
