"""Samples that a verifier cannot score: in a run they fail alone, are written down with the reason, counted and shown."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxreason.analysis import tables
from jaxreason.analysis.metrics import write_metrics
from jaxreason.analysis.report import write_report
from jaxreason.core.records import pool_from, to_line
from jaxreason.core.types import Question, Row
from jaxreason.engine.verifier_loading import load_verifier
from jaxreason.evaluate import runner
from jaxreason.evaluate.config import load_verifiers
from jaxreason.search.best_of_n import BestOfN
from tests.evaluate.tiny_world import SPECIALS, VOCABULARY, read_config, read_lines
from tests.search.fakes import FakeSampler, FakeSession, LengthVerifier

GOLDEN = Path(__file__).parents[1] / 'engine' / 'golden' / 'math-shepherd'
CONTEXT = 40  # tokens of the flawed verifier; most solutions of the tiny world are shorter
BAD = 'x'  # the letter that it has no numbers for


def words(source, **strategies):
    verifiers = {'prm': {'source': str(source), 'preset': 'math-shepherd'}}
    kinds = {'judged': {'kind': 'best_of_n', 'n': 4, 'verifier': 'prm'}, **strategies}
    return ('data.limit=2', 'seeds=[7]', f'strategies={json.dumps(kinds)}', f'verifiers={json.dumps(verifiers)}')


def row_of(pool, candidate):
    """The row that a stored candidate was."""
    pieces = ['' if token < len(SPECIALS) else VOCABULARY[token] for token in candidate.tokens]
    spans = zip((0, *candidate.step_ends), candidate.step_ends, strict=False)
    steps = tuple(''.join(pieces[start:end]) for start, end in spans)
    question = Question(pool.question_id, pool.question)
    return Row(handle=0, question=question, sample=0, text=candidate.text, steps=steps, step_ends=candidate.step_ends)


def pools_of(folder, name='samples'):
    return [pool_from(line) for line in read_lines(folder / 'pools' / f'{name}.jsonl')]


@pytest.fixture(scope='module')
def sound():
    """A verifier whose tokenizer is not the policy's."""
    return load_verifier(GOLDEN, preset='math-shepherd')


@pytest.fixture(scope='module')
def flawed(tmp_path_factory):
    """The folder of a verifier with a short context."""
    folder = tmp_path_factory.mktemp('verifier') / 'flawed'
    shutil.copytree(GOLDEN, folder)
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'max_position_embeddings': CONTEXT}))
    return folder


def without_numbers_for_a_letter(verifier):
    """The verifier with NaN for the token of `BAD`; a folder that holds one would not be loaded."""
    with_it, without = (verifier.typesetter.lay('?', (f'1{letter}1',)).ids for letter in (BAD, '1'))
    (token,) = set(with_it) - set(without)
    table = verifier.params['embedding'].at[token].set(jnp.nan)
    return dataclasses.replace(verifier, params={**verifier.params, 'embedding': table})


@pytest.fixture(scope='module')
def run(world, flawed, tmp_path_factory):
    """A run that asks the flawed verifier, once of a pool and once under a budget that leaves samples without a token."""
    out = tmp_path_factory.mktemp('unscored') / 'run'
    config = read_config(world, *words(flawed, majority={'kind': 'majority', 'n': 4}), 'budgets=[{}, {tokens: 2}]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runner,
            'load_verifiers',
            lambda *given: {'prm': without_numbers_for_a_letter(load_verifiers(*given)['prm'])},
        )
        runner.evaluate(config, out)
    return out


def test_samples_that_cannot_be_scored_have_a_reason_and_the_others_their_scores(run, sound):
    found = Counter()
    for pool in pools_of(run):
        for candidate in pool.candidates:
            row = row_of(pool, candidate)
            length = len(sound.typesetter.lay(pool.question, row.steps).ids)
            expected = {'prm': 'too_long'} if length > CONTEXT else {'prm': 'nan'} if BAD in candidate.text else {}
            assert candidate.unscored == expected, candidate.text
            assert bool(candidate.verified['prm']) == (expected != {'prm': 'too_long'}), 'what was computed is paid'
            # Neither the flaws of its neighbours nor the policy's own tokens change a score: its text is encoded anew.
            scores = () if expected else sound.score([row], None).scores[0]
            assert candidate.scores['prm'] == pytest.approx(scores, abs=1e-5)
            found[expected.get('prm')] += 1
    assert found['too_long'] and found['nan'] and found[None]


def test_a_search_by_itself_writes_its_reasons_too(run):
    for pool in pools_of(run, 'judged.n4.tokens2'):
        assert [candidate.unscored for candidate in pool.candidates if not candidate.tokens] == [{'prm': 'no_steps'}] * 2
        assert all(len(c.scores['prm']) == len(c.step_ends) for c in pool.candidates)
    assert all(not c.unscored for pool in pools_of(run, 'majority.n4.tokens2') for c in pool.candidates), 'nobody was asked'


def test_reasons_are_counted_and_shown(run):
    metrics = write_metrics(run).metrics
    counts = {pool['pool']: pool['unscored'] for pool in json.loads((run / 'metrics.json').read_text())['pools']}
    reasons = Counter(reason for pool in pools_of(run) for c in pool.candidates for reason in c.unscored.values())
    assert counts['samples'] == {'prm': dict(reasons)} and counts['majority.n4.tokens2'] == {}
    assert counts['judged.n4.tokens2']['prm']['no_steps'] == 4
    together = reasons + Counter(counts['judged.n4.tokens2']['prm'])
    sentence = f'prm could not score {together.total()} of 16 samples ('
    assert sentence in tables.caption(metrics) and f'{together["nan"]} nan' in tables.caption(metrics)
    write_report([run], run / 'report.html')
    page = (run / 'report.html').read_text()
    assert sentence in page and 'not scored by prm: too long' in page and 'not scored by prm: no steps' in page


def test_a_sound_run_says_nothing_of_it(world, tmp_path):
    """Also where no solution has a boundary: it is one step then."""
    no_boundary = "prompt={template: raw, step_delimiter: '~', answer_format: plain}"
    runner.evaluate(read_config(world, *words(GOLDEN), no_boundary), tmp_path / 'run')
    candidates = [candidate for pool in pools_of(tmp_path / 'run') for candidate in pool.candidates]
    assert any('.' in c.text for c in candidates) and len(candidates) == 8
    assert all(len(c.scores['prm']) == 1 and not c.unscored for c in candidates)
    metrics = write_metrics(tmp_path / 'run').metrics
    assert metrics['pools'][0]['unscored'] == {'prm': {}} and 'could not score' not in tables.caption(metrics)


def test_a_pool_without_the_field_is_still_read(run):
    (pool, *_) = read_lines(run / 'pools' / 'samples.jsonl')
    for candidate in pool['candidates']:
        del candidate['unscored']
    old = pool_from(pool)
    assert all(candidate.unscored == {} for candidate in old.candidates)
    assert to_line(old) == to_line(pool_from(json.loads(to_line(old))))


class OddSession(FakeSession):
    """Loses the last step end of sample 1."""

    def _grow(self, row):
        row = super()._grow(row)
        return dataclasses.replace(row, step_ends=row.step_ends[:-1]) if row.sample == 1 else row


class OddSampler(FakeSampler):
    setting = None

    def session(self):
        return OddSession(**self.settings)


def test_steps_that_do_not_agree_in_number_fail_one_sample_of_a_strategy(sound):
    (outcome,) = BestOfN(n=3).solve(['17 + 5 = ?'], OddSampler(), sound, seed=1)
    assert [c.unscored for c in outcome.candidates] == [{}, {'verifier': 'steps'}, {}]
    assert [bool(c.scores) for c in outcome.candidates] == [True, False, True] and outcome.answer is not None


class WildVerifier(LengthVerifier):
    """Gives no number, no score, or infinity for one sample each; knows no reasons."""

    def score(self, rows, carry):
        scored = super().score(rows, carry)
        wild = {1: (float('nan'),), 2: (), 3: (float('inf'),)}
        return scored._replace(scores=[wild.get(row.sample, each) for row, each in zip(rows, scored.scores, strict=True)])


def test_the_driver_lets_no_other_number_through_whoever_gave_it():
    (outcome,) = BestOfN(n=5).solve(['?'], FakeSampler(), WildVerifier(), seed=1)
    assert [c.unscored.get('verifier') for c in outcome.candidates] == [None, 'nan', 'steps', 'nan', None]
    assert all(weight > 0 for _, weight in outcome.votes[:1]) and to_line(dataclasses.asdict(outcome))
