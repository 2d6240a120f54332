"""Trained verifiers in a run: named in its configuration, pinned by digest, priced by the dry run."""

import json
import re
import shutil
from pathlib import Path

import pytest

from jaxreason.core.errors import ConfigError, RunError
from jaxreason.core.quantities import quantity
from jaxreason.core.records import pool_from
from jaxreason.core.verifier_spec import VerifierChoice
from jaxreason.data.datasets import load_problems
from jaxreason.engine import memory
from jaxreason.engine.verifier_loading import load_verifier, open_verifier
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


def test_the_dry_run_says_what_a_verifier_takes_and_rows_leave_it_room(world, tmp_path, monkeypatch):
    overrides = (*words(GOLDEN / 'math-shepherd'), 'sampler.num_rows=auto', 'seeds=[7, 8, 9, 10]')
    config = read_config(world, *overrides)
    verifier = load_verifier(GOLDEN / 'math-shepherd', preset='math-shepherd')
    need = verifier.memory([problem.question for problem in load_problems(config.data)], 10, is_cpu=True)
    monkeypatch.setattr(memory, 'host_memory', lambda: 2 * (need.total + 400_000))
    text = describe(config)
    assert 'verifier prm  30,368 parameters, head label, context of 512 tokens\n' in text
    for size, what in zip(need, ('parameters in float32', 'keys and values of 8 solutions', 'activations'), strict=True):
        assert f'{quantity(size, "B")} {what}' in text, what
    alone = describe(read_config(world, 'data.limit=2', 'sampler.num_rows=auto', 'seeds=[7, 8, 9, 10]'))
    rows, rows_alone = (int(re.search(r'shapes +(\d+) rows', said)[1]) for said in (text, alone))
    assert rows < rows_alone
    said = []
    evaluate(config, tmp_path / 'run', say=said.append)
    assert any(line.startswith(f'{rows} rows in slots of') for line in said), said
    monkeypatch.setattr(memory, 'host_memory', lambda: need.total)
    with pytest.raises(ConfigError, match=r'the limit is .*, of which verifiers take 0\.00'):
        describe(config)


def test_long_rotary_factors_are_taken_where_the_context_needs_them(tmp_path):
    folder = tmp_path / 'long'
    shutil.copytree(GOLDEN / 'math-shepherd', folder)
    config = json.loads((folder / 'config.json').read_text())
    scaling = {'type': 'longrope', 'short_factor': [1.0] * 4, 'long_factor': [2.0] * 4}
    config |= {'model_type': 'phi3', 'rope_scaling': scaling, 'original_max_position_embeddings': 64}
    (folder / 'config.json').write_text(json.dumps(config))
    shorter, longer = (
        open_verifier(VerifierChoice(source=str(folder), preset='math-shepherd', max_context=context)) for context in (64, 65)
    )
    assert (shorter.config.max_context, longer.config.max_context) == (64, 512)


def test_a_table_that_does_not_fit_the_strategies_is_refused(world):
    with pytest.raises(ConfigError, match=r'verifiers.prm: no strategy asks for it'):
        read_config(world, 'verifiers={prm: {source: x}}')
    with pytest.raises(ConfigError, match=r'verifiers.mean_logprob: the name of one that needs no training'):
        read_config(world, 'verifiers={mean_logprob: {source: x}}')
    missing = '{a: {kind: best_of_n, n: 2, verifier: prm}}'
    with pytest.raises(ConfigError, match="needs the verifier 'prm'.* Verifiers by name: mean_logprob"):
        read_config(world, f'strategies={missing}')
