"""jaxreason: more right answers out of a language model and a verifier for a given amount of compute, in JAX.

Importing it loads no accelerator runtime: names resolve when they are first used.
"""

import importlib

_HOME = {
    'load': 'jaxreason.engine.language_model',
    'LanguageModel': 'jaxreason.engine.language_model',
    'Sampler': 'jaxreason.engine.sampler',
    'load_verifier': 'jaxreason.engine.verifier_loading',
    'Confidence': 'jaxreason.engine.confidence',
    'MeanLogprob': 'jaxreason.engine.verifier',
    'SelfCertainty': 'jaxreason.engine.verifier',
    'BeamSearch': 'jaxreason.search.beam_search',
    'BestOfN': 'jaxreason.search.best_of_n',
    'Borda': 'jaxreason.search.borda',
    'BudgetForcing': 'jaxreason.search.budget_forcing',
    'DeepConf': 'jaxreason.search.deepconf',
    'DVTS': 'jaxreason.search.dvts',
    'ComputeOptimal': 'jaxreason.allocation.adaptive',
    'Greedy': 'jaxreason.search.greedy',
    'Lookahead': 'jaxreason.search.lookahead',
    'Majority': 'jaxreason.search.majority',
    'Rebase': 'jaxreason.search.rebase',
    'Revision': 'jaxreason.search.revision',
    'Budget': 'jaxreason.core.budget',
    'Cost': 'jaxreason.core.cost',
    'Outcome': 'jaxreason.core.types',
    'Problem': 'jaxreason.core.types',
    'Question': 'jaxreason.core.types',
    'Verdict': 'jaxreason.core.types',
    'PromptSpec': 'jaxreason.data.prompts',
    'grade': 'jaxreason.data.grading',
    'load_problems': 'jaxreason.data.datasets',
    'reproduce': 'jaxreason.pipeline.reproduce',
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f'module jaxreason has no attribute {name!r}; public names: {", ".join(_HOME)}.')
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
