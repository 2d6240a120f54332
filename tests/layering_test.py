"""The order of the packages, their privacy, and the weight of their imports, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'jaxreason'
LAYERS = [
    'core',
    'data',
    'kernels',
    'models',
    'engine',
    'search',
    'allocation',
    'train',
    'evaluate',
    'scale',
    'analysis',
    'pipeline',
    'cli',
]
# Beyond the order: search and allocation talk to a sampler and a verifier through requests only; analysis reads records.
FORBIDDEN = {
    'search': {'jaxreason.models', 'jaxreason.engine', 'jax', 'flax'},
    'allocation': {'jaxreason.models', 'jaxreason.engine', 'jax', 'flax'},
    'analysis': {'jaxreason.models', 'jaxreason.engine', 'jax', 'flax'},
}
# Never needed to run: the reference implementations live in tests/parity.
FOREIGN = {'torch', 'transformers', 'tensorflow', 'xllamacpp'}


def imports(path):
    """(line, module) of every import of a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno}: relative import'
            # `from jaxreason.models import cache` imports a module, `... import Cache` a name: the longer spelling covers both.
            yield from ((node.lineno, f'{node.module}.{alias.name}') for alias in node.names)


def sources():
    return [(path.relative_to(PACKAGE).parts[0], path) for path in PACKAGE.glob('*/**/*.py')]


def test_there_is_something_to_check():
    assert len(sources()) > 20 and {layer for layer, _ in sources()} <= set(LAYERS)


def test_packages_import_leftwards_only():
    wrong = []
    for layer, path in sources():
        for line, module in imports(path):
            parts = module.split('.')
            if (
                parts[0] == 'jaxreason'
                and len(parts) > 1
                and parts[1] in LAYERS
                and LAYERS.index(parts[1]) > LAYERS.index(layer)
            ):
                wrong.append(f'{path.relative_to(ROOT)}:{line} imports {module}')
    assert not wrong, '\n'.join(wrong)


def test_what_a_package_must_not_know():
    wrong = []
    for layer, path in sources():
        for line, module in imports(path):
            for banned in FORBIDDEN.get(layer, set()) | FOREIGN:
                if module == banned or module.startswith(banned + '.'):
                    wrong.append(f'{path.relative_to(ROOT)}:{line} imports {module}')
    assert not wrong, '\n'.join(wrong)


def test_no_room_is_empty_and_no_room_is_a_lumber_room():
    for layer in {layer for layer, _ in sources()}:
        assert any(path.name != '__init__.py' for other, path in sources() if other == layer), layer
    names = {path.stem for _, path in sources()}
    assert not names & {'utils', 'util', 'helpers', 'misc', 'common'}


def test_text_of_a_model_is_never_run():
    """No eval, exec, pickle, shell or unsafe YAML anywhere in the package."""
    wrong = []
    for _, path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in {
                    'eval',
                    'exec',
                    'pickle.load',
                    'pickle.loads',
                    'os.system',
                    'os.popen',
                    'yaml.load',
                    'sympify',
                    'parse_expr',
                }:
                    wrong.append(f'{path.relative_to(ROOT)}:{node.lineno} {name}')
                if any(k.arg == 'shell' for k in node.keywords):
                    wrong.append(f'{path.relative_to(ROOT)}:{node.lineno} shell=')
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize('statement', ['import jaxreason', 'import jaxreason.cli.main', 'import jaxreason.analysis.metrics'])
def test_light_imports_stay_light(statement):
    heavy = "{'jax', 'flax', 'torch', 'tensorflow_datasets', 'matplotlib', 'math_verify', 'tokenizers'}"
    code = f'import sys; {statement}; print(sorted({heavy} & set(sys.modules)))'
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    assert found == '[]'
