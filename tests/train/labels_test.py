"""Labels by a policy whose every continuation is known, against labels counted by hand; and by a random one on a device."""

import dataclasses
import json

import pytest

from jaxreason.core.budget import UNLIMITED
from jaxreason.core.cost import FREE, Cost
from jaxreason.core.labels import labelled_from
from jaxreason.core.records import to_line
from jaxreason.core.types import Problem, Question
from jaxreason.data.grading import Grader
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.language_model import load
from jaxreason.engine.sampler import Sampler
from jaxreason.search.drive import Task, drive
from jaxreason.search.majority import Majority
from jaxreason.train.labels import StepLabels, mean_by_step
from tests.evaluate.tiny_world import write_model
from tests.search.fakes import PROMPT_PRICE, TOKEN_PRICE, FakeSampler, FakeSession

END = ''  # an end token alone: it adds no text, and belongs to the step before
# Solutions by sample, each as steps; the right answer is 7. Sample 3 never answers, sample 4 goes on for ever.
SOLUTIONS = {
    0: ['a good start.', 'so good.', 'The answer is 7'],
    1: ['a bad start.', 'The answer is 5'],
    2: ['a good start.', 'a slip.', 'worse.', 'The answer is 7.', END],
    3: ['a good start.', 'what was asked'],
    4: ['again.'] * 30,
}
# Of four rollouts from a prefix that ends in this step, how many are right; the others are wrong, or end without an answer.
RIGHT = {'a good start.': 3, 'so good.': 4, 'a bad start.': 1, 'a slip.': 0, 'worse.': 1, 'again.': 0, 'The answer is 7.': 4}
PROBLEM = Problem(id='q', text='?', answer='7')


def continued(last, rank):
    """Words of a rollout: as many right ones as `RIGHT` says, the last of the others without an answer."""
    if rank <= RIGHT[last]:
        return ['right', 'now.'] * rank + ['The answer is 7']
    return ['no', 'idea'] if rank == 4 else ['hence.', 'The answer is 8']


class KnownSession(FakeSession):
    """Copies of a row go on as `continued` says, by the last step and their rank alone."""

    def take(self, rows, indices):
        taken, ranks = [], {}
        for index in indices:
            row = rows[index]
            rank = ranks[row.handle] = ranks.get(row.handle, -1) + 1
            if rank:
                fork = dataclasses.replace(row, handle=self.next_handle, cost=FREE)
                self.next_handle += 1
                words = self.words[row.handle][: len(row.tokens)]
                self.words[fork.handle] = [*words, *continued(row.steps[-1].strip(), rank)]
                self.held[fork.handle] = row = fork
            taken.append(row)
        self.release([row for row in rows if row.handle not in ranks])
        return tuple(taken)

    def _grow(self, row):
        grown = super()._grow(row)
        if grown.steps[-1:] != (END,):
            return grown
        ends = (*grown.step_ends[:-2], grown.step_ends[-1])
        return dataclasses.replace(grown, text=grown.text.rstrip(), steps=grown.steps[:-1], step_ends=ends)


def script(question, sample, seed):
    """Words of a sample; every step is one word that may hold blanks."""
    return SOLUTIONS[(sample + len(question.id) - 1) % len(SOLUTIONS)]


def label_all(questions, samples=5, rollouts=4, **settings):
    """Labels by question, drawn in one session and graded."""
    labels = StepLabels(samples=samples, rollouts=rollouts, max_steps=6)
    session = KnownSession(script=script, **settings)
    tasks = [Task(question, labels.search(question), UNLIMITED, 0, labels.copies) for question in questions]
    found = {}
    with Grader(num_workers=1) as grader:
        for index, sampled in drive(tasks, session, {}):
            problem = dataclasses.replace(PROBLEM, id=questions[index].id)
            found[questions[index].id] = labels.label(problem, 0, sampled, grader)
    assert session.held == {} and session.queue == [] and session.working == {}
    return found


@pytest.fixture(scope='module')
def labelled():
    return label_all([Question('q', '?')])['q']


def test_a_label_is_the_share_of_right_continuations(labelled):
    found = {solution.sample: (solution.correct, solution.rollouts) for solution in labelled.solutions}
    assert found == {
        0: ((3, 4, 1), (4, 4, 1)),  # the last step ended the solution, which is right: nothing was left to draw
        1: ((1, 0), (4, 1)),
        2: ((3, 0, 1, 4), (4, 4, 4, 4)),  # the last step ended with a delimiter: rollouts could begin there too
    }
    soft = {solution.sample: (solution.soft, solution.hard) for solution in labelled.solutions}
    assert soft[0] == ((0.75, 1.0, 1.0), (True, True, True)) and soft[2][1] == (True, False, True, True)
    assert [solution.is_correct for solution in labelled.solutions] == [True, False, True]
    assert mean_by_step([labelled]) == pytest.approx([1.75 / 3, 1 / 3, 1.25 / 2, 1.0])


def test_samples_without_an_answer_are_dropped_and_counted(labelled):
    assert labelled.dropped == {'unanswered': 1, 'too_many_steps': 1}
    # Rollouts of the kept ones: 1 without an answer at each of the boundaries where fewer than 4 are right.
    assert labelled.rollouts == {'correct': 3 + 4 + 1 + 3 + 0 + 1 + 4, 'wrong': 0 + 0 + 2 + 0 + 3 + 2, 'unanswered': 5}


def test_every_label_says_what_it_cost(labelled):
    for solution in labelled.solutions:
        for step, flops, new, rollouts in zip(
            solution.steps, solution.flops, solution.new_tokens, solution.rollouts, strict=True
        ):
            words = [len(continued(step.strip(), rank)) for rank in range(1, 5)] if rollouts == 4 else []
            assert (flops, new) == (TOKEN_PRICE * sum(words), sum(words))
        assert solution.own_flops == TOKEN_PRICE * len(SOLUTIONS[solution.sample])


def test_the_question_pays_for_everything_and_says_for_what(labelled):
    cost = Cost(**labelled.cost)
    # Sample 3 has one boundary, sample 4 is given up at its seventh step, from where no rollout begins.
    lost_words = [len(continued('a good start.', rank)) for rank in range(1, 5)]
    lost_words += [len(continued('again.', rank)) for rank in range(1, 5)] * 6 + [2, 7]
    kept_rollouts = sum(sum(solution.flops) for solution in labelled.solutions)
    assert cost.prefill == PROMPT_PRICE and cost.prompt_tokens == 7
    assert cost.discarded == TOKEN_PRICE * sum(lost_words)
    assert cost.decode == TOKEN_PRICE * cost.new_tokens
    assert cost.decode == kept_rollouts + sum(solution.own_flops for solution in labelled.solutions) + cost.discarded
    assert cost.lookahead == kept_rollouts + TOKEN_PRICE * sum(lost_words[:-2])


@pytest.mark.parametrize('num_rows, per_pump', [(1, 1), (3, 7), (64, 64)])
def test_neighbours_order_and_batches_change_no_label(num_rows, per_pump):
    questions = [Question('q' * n, '?') for n in (1, 2, 3, 4, 5)]
    expected = {question.id: label_all([question])[question.id] for question in questions}
    assert label_all(questions[::-1], num_rows=num_rows, per_pump=per_pump) == expected


def test_rollouts_of_all_questions_share_batches():
    questions = [Question('q' * n, '?') for n in (1, 2, 3, 4, 5)]
    labels = StepLabels(samples=5, rollouts=4)

    def pumps(questions):
        session = KnownSession(script=script, num_rows=10**4, per_pump=64)
        list(drive([Task(q, labels.search(q), UNLIMITED, 0, labels.copies) for q in questions], session, {}))
        return session.pumps

    assert pumps(questions) == max(pumps([question]) for question in questions)


def test_the_samples_are_those_of_a_strategy_under_the_same_seed(labelled):
    (outcome,) = Majority(n=5).solve([Question('q', '?')], FakeSampler(script=script))
    texts = {candidate.sample: candidate.text for candidate in outcome.candidates}
    assert all(''.join(s.steps).replace(' ', '') == texts[s.sample].replace(' ', '') for s in labelled.solutions)


def test_what_is_written_comes_back(labelled):
    assert labelled_from(json.loads(to_line(labelled))) == labelled


@pytest.mark.parametrize('field', ['samples', 'rollouts', 'max_steps'])
def test_impossible_numbers_are_refused(field):
    with pytest.raises(ValueError, match=f'{field} must be at least 1, got 0'):
        StepLabels(**{field: 0})
    with pytest.raises(ValueError, match='at most 65,536'):
        StepLabels(samples=1000, rollouts=1000)


# On a device: a random policy that often ends steps and solutions, and a prompt that two questions do not share.


@pytest.fixture(scope='module')
def make_sampler(tmp_path_factory):
    lm = load(write_model(tmp_path_factory.mktemp('labels') / 'model'))

    def make(num_rows=6, rows_per_slot=3, chunk=3):
        prompt = PromptSpec(template='raw', step_delimiter='.')
        shape = {'num_rows': num_rows, 'rows_per_slot': rows_per_slot, 'chunk': chunk}
        return Sampler(lm, prompt=prompt, max_tokens=24, stats=(), **shape)

    return make


LABELS = StepLabels(samples=3, rollouts=2, max_steps=20)
QUESTIONS = [Question('a', '1+1 = ?'), Question('b', '2+2 is 4. Now 3+3 = ?'), Question('c', '5 = ?')]


def sampled(sampler, questions):
    tasks = [Task(question, LABELS.search(question), UNLIMITED, 3, LABELS.copies) for question in questions]
    found = {questions[index].id: result for index, result in drive(tasks, sampler.session(), {})}
    return {name: plain(result) for name, result in found.items()}


def plain(result):
    """Everything but the handles of rows."""
    return [
        (sample.row.tokens, sample.row.steps, sample.row.finish, sample.answer, sample.row.cost, sample.rollouts)
        for sample in result.samples
    ], result.prompt


@pytest.fixture(scope='module')
def together(make_sampler):
    return sampled(make_sampler(), QUESTIONS)


def test_a_device_labels_alike_in_any_order_alone_and_in_other_chunks(make_sampler, together):
    assert any(len(rollouts) > 1 for samples, _ in together.values() for *_, rollouts in samples)
    assert sampled(make_sampler(chunk=7), QUESTIONS[::-1]) == together
    assert sampled(make_sampler(), QUESTIONS[1:2]) == {'b': together['b']}


def test_a_device_draws_the_samples_of_a_strategy_and_rollouts_that_differ(make_sampler, together):
    for outcome in Majority(n=3).solve(QUESTIONS, make_sampler(), seed=3):
        tokens = [sample[0] for sample in together[outcome.question.id][0]]
        assert tokens == [candidate.tokens for candidate in outcome.candidates]
    ends = [rollout for samples, _ in together.values() for *_, rollouts in samples for step in rollouts for rollout in step]
    assert len({rollout.cost.new_tokens for rollout in ends}) > 3


def test_a_rollout_pays_for_what_follows_its_prefix(make_sampler, together):
    for samples, prompt in together.values():
        assert prompt.prefill > 0 and prompt.decode == 0
        for tokens, *_, cost, rollouts in samples:
            assert cost.new_tokens == len(tokens)
            assert all(0 < rollout.cost.new_tokens < 24 for step in rollouts for rollout in step)
