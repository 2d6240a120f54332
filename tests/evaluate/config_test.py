"""What a configuration of `evaluate` refuses, before anything is loaded."""

import pytest

from jaxreason.core import config as config_files
from jaxreason.core.errors import ConfigError
from jaxreason.evaluate.config import EvaluateConfig, SolveConfig

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
        ({'strategies': {'b': {'kind': 'best_of_n', 'n': 4, 'verifier': 'mean_logprob'}}, 'sampler': {'stats': []}}, 'stats'),
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
