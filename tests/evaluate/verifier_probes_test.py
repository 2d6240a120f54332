"""Probe answers: scored once a run, written whole, again only for other verifiers."""

import json
import shutil
from pathlib import Path

import pytest

from jaxreason.analysis.run_folder import read_run
from jaxreason.core.errors import RunError
from jaxreason.core.types import Question
from jaxreason.engine.verifier import MeanLogprob
from jaxreason.engine.verifier_loading import load_verifier
from jaxreason.evaluate.runner import evaluate
from jaxreason.evaluate.verifier_probes import FILE, PROBES, probe
from tests.evaluate.tiny_world import read_config, read_lines

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden'


def configure(world, folder, *more):
    strategies = '{best: {kind: best_of_n, n: 2, verifier: prm}}'
    verifiers = json.dumps({'prm': {'source': str(folder), 'preset': 'math-shepherd'}})
    return read_config(world, 'data.limit=2', 'seeds=[7]', f'strategies={strategies}', f'verifiers={verifiers}', *more)


@pytest.fixture(scope='module')
def verifier():
    return load_verifier(GOLDEN / 'math-shepherd', preset='math-shepherd')


def test_a_run_writes_them_once_and_again_if_they_are_lost(world, tmp_path):
    folder, out = tmp_path / 'prm', tmp_path / 'run'
    shutil.copytree(GOLDEN / 'math-shepherd', folder)
    evaluate(configure(world, folder), out)
    written = (out / FILE).read_bytes()
    told = read_run(out).probes
    assert told is not None and told['questions'] == [
        line['question_id'] for line in read_lines(out / 'pools' / 'samples.jsonl')
    ]
    assert told['probes'] == PROBES and told['verifiers'].keys() == {'prm'}
    for found in told['verifiers']['prm'].values():
        assert all(0 <= score <= 1 for score in found['scores']) and found['unscored'] == {}
    (out / FILE).unlink()
    evaluate(configure(world, folder), out)  # nothing else is missing
    assert (out / FILE).read_bytes() == written
    (out / FILE).unlink()
    (folder / 'generation_config.json').write_text('{}')  # another digest
    with pytest.raises(RunError, match='verifiers was .* use another --out'):
        evaluate(configure(world, folder), out)


def test_what_was_left_of_another_verifier_is_written_anew(world, tmp_path):
    folder, out = tmp_path / 'prm', tmp_path / 'run'
    shutil.copytree(GOLDEN / 'math-shepherd', folder)
    out.mkdir()
    for left in ('{"digests": {"prm": "0"}, "probes": {}, "questions": []}', '{"digests"', '[]'):
        (out / FILE).write_text(left)
        shutil.rmtree(out / 'pools', ignore_errors=True)
        for journal in out.glob('journal*.jsonl'):
            journal.unlink()
        evaluate(configure(world, folder), out)
        assert len(json.loads((out / FILE).read_text())['digests']['prm']) == 64


def test_a_run_without_trained_verifiers_has_none(world, tmp_path):
    strategies = '{best: {kind: best_of_n, n: 2, verifier: mean_logprob}}'
    evaluate(read_config(world, 'data.limit=1', 'seeds=[7]', f'strategies={strategies}'), tmp_path / 'run')
    assert not (tmp_path / 'run' / FILE).exists() and read_run(tmp_path / 'run').probes is None


def test_probes_differ_from_each_other_and_from_question_to_question(verifier):
    found = probe(verifier, [Question('a', '1+1?'), Question('b', '2+2?')])
    scores = [score for told in found.values() for score in told['scores']]
    assert len(set(scores)) == len(scores) == 6


def test_what_cannot_be_scored_has_its_reason(verifier):
    assert probe(MeanLogprob(), [Question('a', '1+1?')])['blank'] == {'scores': [None], 'unscored': {'statistics': 1}}
    long = probe(verifier, [Question('a', '1+1?'), Question('b', '7' * 5_000)])['opener']
    assert long['scores'][0] is not None and long['scores'][1] is None and long['unscored'] == {'too_long': 1}
