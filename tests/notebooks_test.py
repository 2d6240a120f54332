"""The notebooks: in step with their scripts, without outputs, and run from top to bottom, with a tiny model or recipe."""

import dataclasses
import importlib.metadata
import importlib.util
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from jaxreason.core import config as config_files
from jaxreason.pipeline.recipe import load_recipe, preset
from tests.compiling import QUICK
from tests.examples_test import model  # noqa: F401 - a fixture

NOTEBOOKS = Path(__file__).parents[1] / 'notebooks'
NAMES = ('01_quickstart', '02_compute_optimal')
STAGES = ('policy', 'labels', 'prm', 'sweep', 'bins', 'fit', 'paper')
SMALL = (
    'policy.config.model.init.num_layers=1',  # what compiles most
    'policy.config.loop={steps: 30, batch: 16, length: 128, save_every: 30}',
    'labels.config.data.limit=12',
    'labels.config.labels={samples: 2, rollouts: 2, max_steps: 9}',
    'prm.config.loop={steps: 10, batch: 16, length: 128, evaluate_every: 10, save_every: 10, patience: 5}',
    'sweep.config.data.limit=10',
    'sweep.config.n=[1, 8]',
    'sweep.config.verifiers={prm: {source: "stage:prm", on: policy}}',
    'sweep.config.strategies={majority: {kind: majority, n: 8}, greedy: {kind: greedy}, '
    'best-of-n: {kind: best_of_n, n: 8, verifier: prm}, beam: {kind: beam_search, n: 8, beam_width: 4, verifier: prm}}',
    'bins.config.data.limit=10',
    'bins.config.samples=16',
    'bins.config.estimates={predicted: {kind: scores, n: 16, verifier: prm}}',
    'fit.config.strategies=[majority, best-of-n, beam]',
    'fit.config.budgets=[1, 8]',
    'fit.config.reference_n=8',
    'fit.config.resamples=100',
)


def read(name):
    return nbformat.read(NOTEBOOKS / f'{name}.ipynb', as_version=4)


def tagged(notebook, tag):
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get('tags', ())]
    return cell


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook in a folder of its own, its parameters replaced; returns it with its outputs."""
    monkeypatch.setenv('XLA_FLAGS', QUICK)  # one device, as a user has
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path / 'compiled'))

    def run(name, **parameters):
        notebook = read(name)
        cell = tagged(notebook, 'parameters')
        assert all(f'\n{key} = ' in f'\n{cell.source}' for key in parameters)
        cell.source = '\n'.join(f'{key} = {value!r}' for key, value in parameters.items())
        return NotebookClient(notebook, timeout=900, resources={'metadata': {'path': str(tmp_path)}}).execute()

    return run


def words_of(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    return '\n'.join(output.get('text', '') or output.get('data', {}).get('text/plain', '') for output in outputs)


def kinds_of(notebook):
    return [kind for cell in notebook.cells if cell.cell_type == 'code' for o in cell.outputs for kind in o.get('data', ())]


@pytest.mark.parametrize('name', NAMES)
def test_notebook_and_script_say_the_same_and_hold_no_outputs(name):
    notebook, script = read(name), jupytext.read(NOTEBOOKS / f'{name}.py')
    assert [(c.cell_type, c.source, c.metadata) for c in notebook.cells] == [
        (c.cell_type, c.source, c.metadata) for c in script.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert f'/main/notebooks/{name}.ipynb)' in notebook.cells[0].source, 'the badge opens this very notebook'
    assert max(len(cell.source.splitlines()) for cell in code) <= 45, 'a cell is at most a screen'


@pytest.mark.parametrize('version', ['0.10.2', '0.7.2'])
def test_a_jax_that_is_there_stays_as_it_is(monkeypatch, version):
    commands, pins = [], []

    def install(command, check):
        commands.append(command)
        pins.extend(Path(command[command.index('--constraint') + 1]).read_text().split())
        assert check

    class Distribution:
        def __init__(self, name):
            self.metadata = {'Name': name}

    present = [Distribution(name) for name in ('jax', 'jaxlib', 'jax-cuda13-plugin', 'numpy')]
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(importlib.metadata, 'distributions', lambda: present)
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: version)
    monkeypatch.setattr(subprocess, 'run', install)
    sources = {tagged(read(name), 'install').source for name in NAMES}
    assert len(sources) == 1
    source = sources.pop()
    if version == '0.7.2':
        with pytest.raises(SystemExit, match=r'needs jax 0\.10, here is 0\.7\.2'):
            exec(source, {})
        assert not commands
    else:
        exec(source, {})
        assert pins == [f'{name}=={version}' for name in ('jax', 'jax-cuda13-plugin', 'jaxlib')]
        assert commands[0][1:4] == ['-m', 'pip', 'install'] and commands[0][-1].startswith('jaxreason @ git+https://')


def test_the_quickstart_runs(execute, model):  # noqa: F811
    found = execute('01_quickstart', MODEL=str(model), QUESTIONS=2)
    words = words_of(found)
    assert 'left after round' in words and 'GFLOPs: prompt' in words and 'majority             n = 16' in words
    assert 'image/png' in kinds_of(found)


def test_compute_optimal_runs_with_a_small_recipe(execute, tmp_path):
    found = execute('02_compute_optimal', RECIPE=str(small_recipe(tmp_path)), OUT='runs/small')
    assert kinds_of(found).count('image/png') == 3, 'a figure of the searches, of the bins, of the fit'
    assert words_of(found).count('(the paper: up to 4)') == 2
    page = found.cells[-2].outputs[0]['data']['text/html']
    assert page.lower().startswith('<div><iframe srcdoc="&lt;!doctype html')
    assert all((tmp_path / 'runs' / 'small' / name).is_file() for name in ('report.html', 'metrics.json'))


def small_recipe(folder):
    """The part of the preset about search, with little to do."""
    recipe = load_recipe(preset('nano'), tuple(f'stages.{word}' for word in SMALL))
    stages = {name: recipe.stages[name] for name in STAGES}
    without = {key: value for key, value in stages['paper'].config.items() if key not in ('revisions', 'duel')}
    stages['paper'] = dataclasses.replace(stages['paper'], config=without)
    path = folder / 'small.yaml'
    path.write_text(config_files.dump(dataclasses.replace(recipe, stages=stages, workers=1)))
    return path
