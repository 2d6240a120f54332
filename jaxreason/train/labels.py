"""Monte-Carlo labels of steps: how often a solution that begins like this ends well.

For every step of every sampled solution the policy continues from there a number of times; the share of continuations whose
answer is correct is the step's soft label, an estimate of the policy's own reward to go. Nobody judges the step itself.

The search is a generator of the same requests as any strategy, so that the driver merges the rollouts of all questions and
steps into shared batches. Prefixes come for free: a sample is grown step by step, and at every boundary `Take` makes copies of
it that hold its keys and values and run to the end, while the sample itself, at rank 0, goes on as if nobody had looked. So the
samples are those of best-of-n under the same seed. What a sample that turns out to have no answer has cost is spent by then: it
is counted as discarded. At any time the copies of one question are those of one step a sample.

References:
    Wang et al., Math-Shepherd, 2024; Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, appendix F.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import Cost, total
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.labels import LabelledQuestion, LabelledSolution
from jaxreason.core.records import cost_fields
from jaxreason.core.requests import Extend, Request, Start, Take, Until
from jaxreason.core.types import Finish, Problem, Question, Row, Verdict
from jaxreason.data.answers import answer_of
from jaxreason.data.grading import Grader
from jaxreason.train.labelling import Labelling, Shape, Work, check_counts, counted, solution_of, unusable, verdicts_of


class Rollout(NamedTuple):
    """What became of one continuation."""

    answer: str | None
    cost: Cost


class Sample(NamedTuple):
    """A solution, and for each boundary that it paused at the rollouts from there."""

    row: Row
    answer: str | None
    rollouts: tuple[tuple[Rollout, ...], ...]

    @property
    def spent(self) -> Cost:
        """What it and its rollouts cost; the latter only served the labels."""
        drawn = total(rollout.cost for step in self.rollouts for rollout in step)
        return self.row.cost + drawn._replace(lookahead=drawn.flops)


class Sampled(NamedTuple):
    """What the search on one question returns: nothing is graded yet, since a search never sees the answer."""

    samples: tuple[Sample, ...]
    prompt: Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepLabels(Labelling):
    """Labels the steps of `samples` solutions a question by `rollouts` continuations each; defaults as in the paper.

    Attributes:
        samples: solutions a question.
        rollouts: continuations from the end of every step.
        max_steps: a solution with more steps is dropped: a policy that writes line breaks for ever would cost a fortune.
    """

    samples: int = 16
    rollouts: int = 16
    max_steps: int = 64

    def __post_init__(self):
        check_counts(self, ['samples', 'rollouts', 'max_steps'])
        self.check_copies('samples', 'rollouts')

    @property
    def copies(self) -> int:
        return self.samples * (1 + self.rollouts)

    def search(self, question: Question) -> Generator[Request, Any, Sampled]:
        rows, prompt = yield Start(question, copies=self.samples)
        ended: list[Row] = []
        rollouts: dict[int, list[tuple[Rollout, ...]]] = {row.sample: [] for row in rows}
        while rows:
            rows, _ = yield Extend(rows, until=Until.STEP)
            ended += [row for row in rows if row.finish is not Finish.OPEN or self._is_too_long(row)]
            rows = tuple(row for row in rows if row.finish is Finish.OPEN and not self._is_too_long(row))
            if not rows:
                break
            each = 1 + self.rollouts
            taken, _ = yield Take(rows, tuple(index for index in range(len(rows)) for _ in range(each)))
            rows = taken[::each]
            forks, _ = yield Extend(tuple(row for index, row in enumerate(taken) if index % each))
            for index, row in enumerate(rows):
                continued = forks[index * self.rollouts : (index + 1) * self.rollouts]
                rollouts[row.sample].append(tuple(Rollout(answer_of(fork), fork.cost) for fork in continued))
            yield Take(forks, ())
        ended.sort(key=lambda row: row.sample)
        return Sampled(tuple(Sample(row, answer_of(row), tuple(rollouts[row.sample])) for row in ended), prompt)

    def dropped_for(self, sample: Sample) -> str | None:
        """Why a sample is dropped; None if it is kept."""
        reason = unusable(sample.row)
        return 'too_many_steps' if reason != 'failed' and self._is_too_long(sample.row) else reason

    def label(
        self, problem: Problem, seed: int, drawn: Sampled, grader: Grader, on_tick: Callable[[], None] = lambda: None
    ) -> LabelledQuestion:
        reasons = [self.dropped_for(sample) for sample in drawn.samples]
        kept = [sample for sample, reason in zip(drawn.samples, reasons, strict=True) if reason is None]
        lost = total(sample.spent for sample, reason in zip(drawn.samples, reasons, strict=True) if reason is not None)
        answers = ((sample.answer, *(end.answer for step in sample.rollouts for end in step)) for sample in kept)
        verdicts = verdicts_of(problem, itertools.chain.from_iterable(answers), grader, on_tick)
        ends = (rollout.answer for sample in kept for step in _labelled_steps(sample) for rollout in step)
        cost = drawn.prompt + total(sample.spent for sample in drawn.samples)
        return LabelledQuestion(
            question_id=problem.id,
            solutions=tuple(_solution(problem, seed, sample, verdicts) for sample in kept),
            dropped=counted(reason for reason in reasons if reason is not None),
            rollouts=counted('unanswered' if answer is None else verdicts[answer].value for answer in ends),
            cost=cost_fields(cost._replace(discarded=lost.flops)),
        )

    def summary(self, questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
        solutions = [solution for question in questions for solution in question.solutions]
        soft = [value for solution in solutions for value in solution.soft]
        rollouts: Counter[str] = Counter()
        for question in questions:
            rollouts.update(question.rollouts)
        return {
            'labels': len(soft),
            'mean_label': sum(soft) / len(soft) if soft else None,
            'mean_label_by_step': mean_by_step(questions),
            'labels_by_step': [
                sum(len(solution.steps) > index for solution in solutions)
                for index in range(max((len(solution.steps) for solution in solutions), default=0))
            ],
            'rollouts': dict(rollouts),
        }

    def closing(self, summary: Mapping[str, Any]) -> list[str]:
        by_step = zip(summary['mean_label_by_step'], summary['labels_by_step'], strict=True)
        means = '  '.join(f'{index}: {mean:.2f} ({count:,})' for index, (mean, count) in enumerate(by_step, 1))
        rollouts = sum(summary['rollouts'].values())
        return [
            f'{summary["labels"]:,} labels from {rollouts:,} rollouts, mean {summary["mean_label"]:.3f}',
            f'mean label by step (solutions that have it): {means}',
        ]

    @property
    def about(self) -> str:
        return f'{self.samples} samples a question, {self.rollouts} rollouts a step'

    @property
    def limit(self) -> str:
        return f'{self.max_steps} steps a solution, the shortest there are, and everything'

    def work(self, shape: Shape, model: ModelConfig | None, prompts: Sequence[int] | None) -> Work:
        begins, flops = shape.begins[: self.max_steps], 0
        if model is not None and prompts is not None:
            own = decode_flops(model, prompts[0], 0, shape.tokens)
            rest = sum(decode_flops(model, prompts[0], begin, shape.tokens - begin) for begin in begins)
            flops = prompt_flops(model, prompts[0]) + self.samples * (own + self.rollouts * rest)
        return Work(
            solutions=self.samples,
            solution_tokens=self.samples * shape.tokens,
            rollouts=self.samples * self.rollouts * len(begins),
            rollout_tokens=self.samples * self.rollouts * sum(shape.tokens - begin for begin in begins),
            flops=flops,
        )

    def _is_too_long(self, row: Row) -> bool:
        return len(row.steps) > self.max_steps


def _labelled_steps(sample: Sample) -> tuple[tuple[Rollout, ...], ...]:
    """Rollouts of the steps that the solution kept: a stop string may take back a step that was nothing but its beginning."""
    return sample.rollouts[: len(sample.row.steps)]


def _solution(problem: Problem, seed: int, sample: Sample, verdicts: dict[str | None, Verdict]) -> LabelledSolution:
    row, steps = sample.row, _labelled_steps(sample)
    assert sample.answer is not None, 'only answered samples are kept'
    verdict = verdicts[sample.answer]
    correct = [sum(verdicts[rollout.answer] is Verdict.CORRECT for rollout in step) for step in steps]
    counts = [len(step) for step in steps]
    costs = [total(rollout.cost for rollout in step) for step in steps]
    if len(steps) < len(row.steps):  # the last step ended the solution, so that no rollout began there
        assert len(steps) == len(row.steps) - 1, 'a row pauses at every boundary'
        correct, counts, costs = [*correct, verdict is Verdict.CORRECT], [*counts, 1], [*costs, Cost()]
    return solution_of(
        problem,
        seed,
        row,
        verdict,
        correct=tuple(int(count) for count in correct),
        rollouts=tuple(counts),
        flops=tuple(cost.flops for cost in costs),
        new_tokens=tuple(cost.new_tokens for cost in costs),
    )


def mean_by_step(questions: Sequence[LabelledQuestion]) -> list[float]:
    """Mean soft label of the first, second, ... steps, each over the solutions that have one."""
    sums: dict[int, list[float]] = {}
    for solution in itertools.chain.from_iterable(question.solutions for question in questions):
        for index, soft in enumerate(solution.soft):
            sums.setdefault(index, []).append(soft)
    return [sum(sums[index]) / len(sums[index]) for index in range(len(sums))]
