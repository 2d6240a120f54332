"""Every configuration that ships loads, says how to run it, and says what to expect."""

import re
from pathlib import Path

import pytest

from jaxreason.allocation.fit_config import FitConfig
from jaxreason.core import config
from jaxreason.evaluate.config import EvaluateConfig
from jaxreason.evaluate.difficulty_config import DifficultyConfig
from jaxreason.evaluate.label_config import LabelConfig
from jaxreason.evaluate.match_config import MatchConfig
from jaxreason.evaluate.step_judgement import StepJudgementConfig
from jaxreason.pipeline.recipe import PRESETS, Recipe
from jaxreason.pipeline.run import check
from jaxreason.train.probe import ProbeConfig
from jaxreason.train.revision import RevisionConfig
from jaxreason.train.reward import OrmConfig, PrmConfig
from jaxreason.train.sft import SftConfig

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(ROOT.glob('configs/**/*.yaml'))
KINDS = {  # by the verb of the first line
    'evaluate': EvaluateConfig,
    'difficulty': DifficultyConfig,
    'fit': FitConfig,
    'match': MatchConfig,
    'label': LabelConfig,
    'train sft': SftConfig,
    'train prm': PrmConfig,
    'train orm': OrmConfig,
    'train revision': RevisionConfig,
    'train probe': ProbeConfig,
    'reproduce': Recipe,
}
PRESET_FILES = sorted((ROOT / 'jaxreason/pipeline/presets').glob('*.yaml'))
RECIPES = [*PRESET_FILES, *sorted(ROOT.glob('configs/paper/*.yaml'))]


def kind_of(path):
    text = path.read_text()
    verb = text.split(' configs/')[0].removeprefix('# jaxreason ')
    return StepJudgementConfig if '\nsolutions:' in text else KINDS[verb]


def test_there_are_some():
    assert ROOT / 'configs/quickstart.yaml' in CONFIGS and any(path.stem.endswith('_tiny') for path in CONFIGS)


ALLOCATION = """\
difficulty: {%s, cuts: [0.75]}
table: [{n: 16, bins: [{kind: majority, n: 4}, {kind: majority, n: 16}]}]
"""


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """A folder in which every allocation that a configuration names stands where it would have been fitted."""
    monkeypatch.chdir(tmp_path)
    for text in (path.read_text() for path in CONFIGS):
        look = 'kind: probe, verifier: probe' if 'probe: {kind: probe' in text else 'kind: votes, n: 2'
        for name in re.findall(r'allocation: ([\w/.]+\.yaml)', text):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(ALLOCATION % look)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.usefixtures('fitted')
def test_it_loads_and_comes_back_equal(path, tmp_path):
    kind = kind_of(path)
    loaded = config.load(kind, path)
    (tmp_path / 'again.yaml').write_text(config.dump(loaded))
    assert config.load(kind, tmp_path / 'again.yaml') == loaded


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_begins_with_its_command_and_what_to_expect(path):
    first, second = path.read_text().splitlines()[:2]
    assert re.match(rf'# jaxreason ({"|".join(KINDS)}) {re.escape(str(path.relative_to(ROOT)))}', first)
    assert re.match(r'# Expect: \S', second)


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.name)
def test_every_stage_of_a_recipe_loads(path, tmp_path):
    recipe = config.load(Recipe, path)
    assert set(check(recipe, tmp_path)) == set(recipe.stages)
    (tmp_path / 'again.yaml').write_text(config.dump(recipe))
    assert config.load(Recipe, tmp_path / 'again.yaml') == recipe


@pytest.mark.parametrize('path', PRESET_FILES, ids=lambda path: path.name)
def test_a_preset_begins_with_its_command_and_what_to_expect(path):
    first, second = path.read_text().splitlines()[:2]
    assert path.stem in PRESETS and first == f'# jaxreason reproduce --preset {path.stem}'
    assert re.match(r'# Expect: \S', second)


def test_there_are_recipes():
    assert len(PRESET_FILES) >= 1 and len(RECIPES) >= len(PRESET_FILES) + 3


def test_the_readme_names_only_what_exists():
    text = (ROOT / 'README.md').read_text() + (ROOT / 'docs/results.md').read_text()
    for name in re.findall(r'\b(?:configs|benchmarks|tests)/[\w/.]+\.(?:yaml|py)', text):
        assert (ROOT / name).is_file(), name
