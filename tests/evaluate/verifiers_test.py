"""Trained verifiers in a run: named in its configuration, pinned by digest, priced by the dry run."""

import json
import shutil
from pathlib import Path

import pytest

from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.records import pool_from
from jaxreason.evaluate.dry_run import describe
from jaxreason.evaluate.runner import evaluate
from tests.evaluate.tiny_world import read_config, read_lines

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden'


def words(source):
    strategies = {
        'majority': {'kind': 'majority', 'n': 4},
        'best of 4': {'kind': 'best_of_n', 'n': 4, 'verifier': 'prm'},
        'best of 4, log-prob': {'kind': 'best_of_n', 'n': 4, 'verifier': 'mean_logprob'},
    }
    verifiers = {'prm': {'source': str(source), 'preset': 'math-shepherd'}}
    return ('data.limit=2', 'seeds=[7]', f'strategies={json.dumps(strategies)}', f'verifiers={json.dumps(verifiers)}')


def test_a_strategy_names_a_verifier_of_the_configuration(world, tmp_path):
    folder = tmp_path / 'prm'
    shutil.copytree(GOLDEN / 'math-shepherd', folder)
    config = read_config(world, *words(folder))
    assert 'FLOP' in describe(config)
    evaluate(config, tmp_path / 'run', lambda progress: None)
    pools = [pool_from(line) for line in read_lines(tmp_path / 'run' / 'pools' / 'samples.jsonl')]
    candidates = [candidate for pool in pools for candidate in pool.candidates]
    assert len(candidates) == 8
    for candidate in candidates:
        assert len(candidate.scores['prm']) == len(candidate.scores['mean_logprob']) == len(candidate.step_ends)
        assert candidate.verified['prm']['verify'] > 0
    environment = json.loads((tmp_path / 'run' / 'environment.json').read_text())
    assert len(environment['verifiers']['prm']) == 64
    (folder / 'generation_config.json').write_text('{}')  # another digest
    (tmp_path / 'run' / 'records.jsonl').unlink(missing_ok=True)
    journal = next((tmp_path / 'run').glob('journal*.jsonl'))
    journal.write_text(''.join(journal.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(RunError, match='verifiers was .* use another --out'):
        evaluate(config, tmp_path / 'run', lambda progress: None)


def test_a_table_that_does_not_fit_the_strategies_is_refused(world):
    with pytest.raises(ConfigError, match=r'verifiers.prm: no strategy asks for it'):
        read_config(world, 'verifiers={prm: {source: x}}')
    with pytest.raises(ConfigError, match=r'verifiers.mean_logprob: the name of one that needs no training'):
        read_config(world, 'verifiers={mean_logprob: {source: x}}')
    missing = '{a: {kind: best_of_n, n: 2, verifier: prm}}'
    with pytest.raises(ConfigError, match="needs the verifier 'prm'.* Verifiers by name: mean_logprob"):
        read_config(world, f'strategies={missing}')
