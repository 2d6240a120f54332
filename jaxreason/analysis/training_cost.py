"""What a training or labelling run spent, in FLOPs, from its folder: architecture, tokens of every step, summary of labels.

A token costs what the mean example of the run costs a token (`core.flops.training_flops`), and the head of a verifier six FLOPs
for each number in its matrices (runs of older versions do not tell those). Left out, as small: evaluating on held-out rows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.analysis.training_page import is_training_run, read_training_run
from jaxreason.core import config as config_files
from jaxreason.core import yaml_text
from jaxreason.core.architecture import ModelConfig
from jaxreason.core.errors import RunError
from jaxreason.core.flops import muon_flops, training_flops

_SUMMARY = 'summary.json'


class TrainingCost(NamedTuple):
    """What a run spent.

    Attributes:
        name: of its folder.
        flops: all of them.
        tokens: read in training, every pass counted; 0 of a run that labelled.
        parameters: of the model; 0 of a run that labelled.
        began_as: folder name of the model that it began with, or that it sampled from; empty for one made from nothing.
    """

    name: str
    flops: int
    tokens: int
    parameters: int
    began_as: str


def training_cost(folder: Path) -> TrainingCost:
    """Reads what a run of `jaxreason train` or `jaxreason label` spent.

    Raises:
        RunError: it is neither, or a file is missing or damaged.
    """
    if is_training_run(folder):
        return _trained(folder)
    if (folder / _SUMMARY).is_file():
        return _labelled(folder)
    raise RunError(
        f'{folder}: expected a finished run of jaxreason train or label, found neither metrics nor {_SUMMARY} there.'
    )


def _trained(folder: Path) -> TrainingCost:
    run = read_training_run(folder)
    tree = yaml_text.read(folder / 'config.yaml')[0]
    model = _architecture(folder)
    try:
        steps = [int(line['tokens']) for line in run.lines if 'tokens' in line]
        rows, parameters = run.environment['rows'], int(run.environment['parameters'])
        # Runs of older versions do not tell the number of examples, but that of rows, which hold one or a few each.
        length = max(1, round(rows['tokens'] / rows.get('examples', rows['number'])))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise RunError(f'{folder}: expected tokens of every step and of all rows, got other content ({error!r}).') from error
    tokens = sum(steps)
    # Nothing is learnt below the head of a frozen trunk: the forward pass alone, a third, perhaps once for all steps.
    passes = 1 / 3 if tree.get('trunk') == 'frozen' else 1
    run_through = int(rows['tokens']) if run.environment.get('states') == 'once' else tokens
    head = 6 * int(run.environment.get('head_parameters', 0)) * tokens
    update = muon_flops(model) if _optimiser(tree) == 'muon' else 0
    flops = round(passes * run_through * training_flops(model, length) / length) + head + len(steps) * update
    return TrainingCost(run.name, flops, tokens, parameters, _source(tree))


def _labelled(folder: Path) -> TrainingCost:
    summary = _json(folder / _SUMMARY)
    flops = summary.get('flops')
    if not isinstance(flops, int):
        raise RunError(f'{folder / _SUMMARY}: expected its flops as a whole number, got {str(flops)[:40]}.')
    return TrainingCost(folder.resolve().name, flops, 0, 0, _source(yaml_text.read(folder / 'config.yaml')[0]))


def _architecture(folder: Path) -> ModelConfig:
    """That of the newest checkpoint."""
    found = sorted((path for path in folder.glob('checkpoints/*/model.json') if path.parent.name.isdigit()), key=_step)
    if not found:
        raise RunError(f'{folder}: expected a checkpoint, there is none: let the training come to one.')
    content = _json(found[-1]).get('architecture')
    if not isinstance(content, dict):
        raise RunError(f'{found[-1]}: expected an architecture, got {str(content)[:40]}.')
    return config_files.build(ModelConfig, content, str(found[-1]))


def _step(path: Path) -> int:
    return int(path.parent.name)


def _optimiser(tree: Mapping[str, Any]) -> str:
    optimiser = tree.get('optimiser')
    return str(optimiser.get('kind', 'adamw')) if isinstance(optimiser, dict) else 'adamw'  # older runs know no other


def _source(tree: Mapping[str, Any]) -> str:
    model = tree.get('model')
    source = model.get('source') if isinstance(model, dict) else None
    return Path(str(source)).name if source else ''


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f'{path}: expected a JSON object, got damaged text ({str(error)[:100]}).') from error
    if not isinstance(value, dict):
        raise RunError(f'{path}: expected a JSON object, got {type(value).__name__}.')
    return value
