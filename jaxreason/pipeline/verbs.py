"""The verbs that a stage may run, and the classes of their configurations: a recipe is checked before any of it runs."""

import importlib

from jaxreason.core.errors import ConfigError

VERBS = {
    'train sft': ('jaxreason.train.sft', 'SftConfig'),
    'train prm': ('jaxreason.train.reward', 'PrmConfig'),
    'train orm': ('jaxreason.train.reward', 'OrmConfig'),
    'train revision': ('jaxreason.train.revision', 'RevisionConfig'),
    'train probe': ('jaxreason.train.probe', 'ProbeConfig'),
    'label': ('jaxreason.evaluate.label_config', 'LabelConfig'),
    'evaluate': ('jaxreason.evaluate.config', 'EvaluateConfig'),
    'difficulty': ('jaxreason.evaluate.difficulty_config', 'DifficultyConfig'),
    'fit': ('jaxreason.allocation.fit_config', 'FitConfig'),
    'match': ('jaxreason.evaluate.match_config', 'MatchConfig'),
    'report': ('jaxreason.analysis.paper_config', 'PaperConfig'),
}
SHAREABLE = ('label', 'evaluate', 'difficulty')  # which several processes can share
REPORTING = ('report', 'evaluate')  # which leave report.html and metrics.json


def config_class(verb: str) -> type:
    """The class of a verb's configuration.

    Raises:
        ConfigError: no stage can run that verb.
    """
    if verb not in VERBS:
        raise ConfigError(f'verb must be one of {", ".join(VERBS)}, got {verb[:80]!r}.')
    module, name = VERBS[verb]
    return getattr(importlib.import_module(module), name)
