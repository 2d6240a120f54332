"""What a configuration of `evaluate` refuses, before anything is loaded."""

import pytest

from jaxreason.core import config as config_files
from jaxreason.core import yaml_text
from jaxreason.core.errors import ConfigError
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.engine.confidence import Confidence
from jaxreason.engine.sampler import DEFAULT_STATS
from jaxreason.evaluate.config import EvaluateConfig, SolveConfig
from jaxreason.search.deepconf import DeepConf

STRATEGIES = {'m': {'kind': 'majority', 'n': 4}}


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'strategies': {}}, 'strategies must name at least one'),
        ({'seeds': []}, 'seeds must name at least one'),
        ({'seeds': [1, 1]}, 'seeds must not repeat'),
        ({'seeds': [2**64]}, 'seed must be in'),
        ({'seeds': [-1]}, 'seed must be in'),
        ({'n': [0]}, 'n must be at least 1'),
        ({'n': [8]}, r'strategies.m samples 4 solutions'),
        ({'n': [4], 'budgets': [{'tokens': 5}, {'flops': 5}]}, 'n: under a limit .* leave n out, or add {} to budgets'),
        ({'budgets': []}, 'budgets must name at least one'),
        ({'budgets': [{'tokens': 5}, {'tokens': 5}]}, 'budgets must not repeat'),
        ({'budgets': [{'generations': 3}]}, r'strategies.m: .*begins 4 solutions'),
        ({'strategies': {'b': {'kind': 'best_of_n', 'n': 4}}}, r'strategies.b: .*needs a verifier.*mean_logprob'),
        ({'strategies': {'b': {'kind': 'best_of_n', 'n': 4, 'verifier': 'prm'}}}, r"strategies.b: .*'prm'"),
        ({'strategies': {'b': {'kind': 'borda', 'n': 4, 'power': -1}}}, r'strategies.b: power must be in'),
        ({'strategies': {'b': {'kind': 'deepconf', 'n': 4, 'keep': 0}}}, r'strategies.b: keep must be in'),
        ({'sampler': {'confidence_top_k': 0}}, 'confidence_top_k must be in'),
        ({'sampler': {'stats': ['confidences']}}, 'stats are logprob, sampled_logprob, self_certainty, confidence, got'),
        ({'verifiers': {'c': {'kind': 'confidence', 'window': 0}}}, r'verifiers.c: window must be at least 1'),
        ({'verifiers': {'c': {'kind': 'confidence', 'width': 4}}}, r'verifiers.c.width: unknown key.* measure, window'),
        ({'verifiers': {'c': {'kind': 'confidence'}}}, r'verifiers.c: no strategy asks for it'),
        ({'verifiers': {'c': {'window': 4}}}, r'verifiers.c.window: unknown key.* source'),
        (
            {'verifiers': {'confidence_mean': {'kind': 'confidence'}}},
            r'verifiers.confidence_mean: the name of one that needs no',
        ),
        ({'strategies': {'b': {'kind': 'majority', 'n': 0}}}, 'n must be at least 1'),
        ({'strategies': {'b': {'kind': 'majority', 'n': 10**9}}}, 'n must be at most'),
        ({'grading_workers': 0}, 'grading_workers'),
        ({'sampler': {'temperature': -1.0}}, 'temperature'),
        ({'sampler': {'top_p': 1.5}}, 'top_p'),
        ({'sampler': {'max_tokens': '4'}}, 'whole number'),
        ({'sampler': {'num_rows': 5, 'rows_per_slot': 2}}, 'rows_per_slot must divide'),
        ({'sampler': {'stop': ['']}}, 'stop strings'),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config_files.build(EvaluateConfig, {'strategies': STRATEGIES, **fields})
    assert '\n' not in str(caught.value)


def test_reported_numbers_are_powers_of_two_and_the_own_n():
    config = config_files.build(EvaluateConfig, {'strategies': {'m': {'kind': 'majority', 'n': 6}}})
    assert config.sweep('m').reads == {6: (1, 2, 4, 6)}


def test_the_default_of_solve_is_usable():
    assert SolveConfig().strategy.generations == 16
    with pytest.raises(ValueError, match='seed'):
        SolveConfig(seed=2**32)


WINDOWED = {
    'strategies': {
        'short': {'kind': 'deepconf', 'n': 4, 'verifier': 'short'},
        'long': {'kind': 'deepconf', 'n': 4},
        'certain': {'kind': 'borda', 'n': 4},
    },
    'verifiers': {'short': {'kind': 'confidence', 'measure': 'tail', 'window': 16}},
}


def test_the_statistics_that_verifiers_read_are_sampled_and_written_down(tmp_path):
    config = config_files.build(EvaluateConfig, {**WINDOWED, 'sampler': {'stats': ['logprob']}})
    assert config.verifiers['short'] == Confidence(measure='tail', window=16)
    assert config.sampler.stats == ('logprob', 'confidence', 'self_certainty')
    path = tmp_path / 'resolved.yaml'
    path.write_text(config_files.dump(config))
    resolved, _ = yaml_text.read(path)
    assert resolved['sampler']['stats'] == ['logprob', 'confidence', 'self_certainty']
    assert resolved['verifiers'] == {'short': {'kind': 'confidence', 'measure': 'tail', 'window': 16}}
    assert config_files.load(EvaluateConfig, path) == config
    asked = SolveConfig(strategy=DeepConf(n=2, verifier='short'), verifiers=config.verifiers)
    assert asked.sampler.stats == (*DEFAULT_STATS, 'confidence')
    assert SolveConfig().sampler.stats == DEFAULT_STATS, 'what nobody reads costs nothing'


def test_a_verifier_that_names_no_kind_is_a_trained_one():
    best = {'strategies': {'b': {'kind': 'best_of_n', 'n': 4, 'verifier': 'prm'}}}
    configs = [
        config_files.build(EvaluateConfig, {**best, 'verifiers': {'prm': {'source': 'x', **kind}}})
        for kind in ({}, {'kind': 'trained'})
    ]
    assert configs[0] == configs[1] and configs[0].verifiers == {'prm': VerifierChoice(source='x')}
