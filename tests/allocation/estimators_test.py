"""Values of hardness by hand, and what cannot be one."""

import json
import math

import pytest

from jaxreason.allocation.bins_file import read_known
from jaxreason.allocation.estimators import FirstScores, FirstVotes, Known, Probe, bare, probed
from jaxreason.core.errors import RunError
from jaxreason.core.types import Candidate, Finish, Question


def sample(answer, *scores):
    return Candidate(
        sample=0, text='', tokens=(), steps=(), step_ends=(), finish=Finish.STOP, answer=answer, scores=scores
    )  # fmt: skip


def test_the_value_of_first_samples_is_the_mean_of_their_scores():
    samples = [sample('1', 0.25, 0.5), sample('2', 0.75, 0.25), sample(None)]
    assert FirstScores(n=3).value(samples) == pytest.approx(0.75 / 3), 'what could not be scored counts 0'
    assert FirstScores(n=3, agg_strategy='prod').value(samples) == pytest.approx((0.125 + 0.1875) / 3)
    assert FirstScores(n=3).value([]) == 0.0
    assert FirstScores(n=3, verifier='prm').judges == ('prm',) and FirstVotes(n=3).judges == ()


def test_the_value_of_first_votes_is_the_share_of_the_most_frequent_answer():
    def value(*answers):
        return FirstVotes(n=len(answers)).value([sample(answer) for answer in answers])

    assert value('1', '2', '1', '3') == 0.5
    assert value('1', None, None, None) == 0.25, 'no answer agrees with nothing'
    assert value(None, None) == 0.0 and value('7') == 1.0
    assert FirstVotes(n=1).value([]) == 0.0


def test_a_value_finds_its_bin():
    look = FirstVotes(n=4, cuts=(0.25, 0.5, 0.75))
    assert [look.level(value) for value in (0.0, 0.25, 0.5, 0.74, 0.75, 1.0)] == [4, 3, 2, 2, 1, 1]
    assert FirstVotes(n=4).level(0.3) == 1, 'without cuts there is one bin'
    assert FirstVotes(n=4, cuts=(0.5, math.inf)).level(1.0) == 2


@pytest.mark.parametrize('cuts', [(0.5, 0.4), (math.nan,), (0.1, math.nan, 0.3)])
def test_cuts_ascend(cuts):
    for make in (lambda: FirstVotes(n=1, cuts=cuts), lambda: Probe(verifier='p', cuts=cuts)):
        with pytest.raises(ValueError, match='cuts must ascend'):
            make()


def test_there_is_a_sample_to_look_at():
    for kind in (FirstScores, FirstVotes):
        with pytest.raises(ValueError, match='at least 1 sample'):
            kind(n=0)


def test_a_probe_sees_a_question_and_nothing_else():
    row = bare(Question('q', 'How many?'))
    assert row.question.text == 'How many?' and not row.tokens and row.finish is not Finish.OPEN
    assert probed([(0.7,)]) == 0.7 and probed([()]) == probed([]) == 0.0


def lines(folder, *rows):
    (folder / 'difficulty.jsonl').write_text(''.join(row if isinstance(row, str) else json.dumps(row) + '\n' for row in rows))
    return str(folder)


GOOD = {'question_id': 'q', 'values': {'oracle': 0.5, 'votes': 1}, 'flops': {'votes': 70}}


def test_known_values_are_read(tmp_path):
    source = lines(tmp_path, GOOD)
    assert read_known(source, 'oracle') == {'q': (0.5, 0)} and read_known(source, 'votes') == {'q': (1.0, 70)}
    known = Known(source=source, estimate='votes', cuts=(0.5,))
    assert known.knows(Question('q', '?')) and not known.knows(Question('r', '?'))


def test_known_values_that_cannot_be_read_are_refused_in_a_line(tmp_path):
    def refused(words, estimate='oracle', *rows):
        source = lines(tmp_path, *rows) if rows else str(tmp_path / 'nowhere')
        with pytest.raises(RunError, match=words) as error:
            Known(source=source, estimate=estimate)
        assert '\n' not in str(error.value)

    refused('name the finished run folder')
    refused("no estimate 'prm', it has oracle, votes", 'prm', GOOD)
    refused('difficulty.jsonl:2: expected the values', 'oracle', GOOD, '{"question_id": "q", "val')
    refused('difficulty.jsonl:1: expected the values', 'oracle', '[1, 2]\n')
    refused('difficulty.jsonl:1: expected the values', 'oracle', {**GOOD, 'values': {'oracle': 'much'}})
    refused('it has none', 'oracle', '')
