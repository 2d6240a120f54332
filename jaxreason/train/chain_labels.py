"""Labelled chains: every attempt of a chain of revisions with the attempts that it was shown, graded.

A verifier of revisions learns from them. So can a policy (ReST-EM): a right attempt after nothing but wrong ones is a
trajectory that the policy has drawn itself.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.1 and appendices N and P.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import total
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.labels import LabelledQuestion
from jaxreason.core.records import cost_fields
from jaxreason.core.requests import Request
from jaxreason.core.types import Problem, Question, Verdict
from jaxreason.data.answers import answer_of
from jaxreason.data.grading import Grader
from jaxreason.search.chains import Grown, grow_chains, turn_of
from jaxreason.train.labelling import (
    Labelling,
    Shape,
    Work,
    check_counts,
    counted,
    num_shown,
    shown_line,
    solution_of,
    unusable,
    verdicts_of,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainLabels(Labelling):
    """Grows `chains` chains of `length` attempts a question; every answered attempt is kept, right or wrong.

    An attempt without an answer is not kept, but stands before the later ones of its chain and counts as not correct there.
    A chain ends early where its last attempt leaves no room for another.

    Attributes:
        chains: grown side by side.
        length: attempts of a chain.
        context: attempts that a revision is shown at most, the last ones.
    """

    chains: int = 4
    length: int = 5
    context: int = 4

    def __post_init__(self):
        check_counts(self, ['chains', 'length', 'context'])
        self.check_copies('chains')

    @property
    def copies(self) -> int:
        return self.chains

    @property
    def num_attempts(self) -> int:
        return min(self.context, self.length - 1)

    def search(self, question: Question) -> Generator[Request, Any, Grown]:
        return (yield from grow_chains(question, (self.length,) * self.chains, self.context))

    def label(
        self, problem: Problem, seed: int, drawn: Grown, grader: Grader, on_tick: Callable[[], None] = lambda: None
    ) -> LabelledQuestion:
        rows = [attempt.row for attempt in drawn.attempts]
        verdicts = verdicts_of(problem, (answer_of(row) for row in rows if unusable(row) is None), grader, on_tick)
        before: dict[int, tuple[bool, ...]] = {}  # by sample: which attempts before the next one of its chain are correct
        solutions = []
        for row, revises in zip(rows, (attempt.revises for attempt in drawn.attempts), strict=True):
            earlier = before[revises] if revises is not None else ()
            is_answered = unusable(row) is None
            is_correct = is_answered and verdicts[answer_of(row)] is Verdict.CORRECT
            before[row.sample] = (*earlier, is_correct)
            if is_answered:
                shown = row.question.attempts  # fewer than there were, if the prompt had no room
                known = {'attempts': shown, 'attempts_correct': earlier[len(earlier) - len(shown) :]}
                solutions.append(solution_of(problem, seed, row, verdicts[answer_of(row)], **known))
        lost = [attempt for attempt in drawn.attempts if unusable(attempt.row) is not None]
        discarded = total(attempt.row.cost + attempt.prompt for attempt in lost).flops
        return LabelledQuestion(
            question_id=problem.id,
            solutions=tuple(solutions),
            dropped=counted(reason for row in rows if (reason := unusable(row)) is not None),
            rollouts={},
            cost=cost_fields(drawn.cost._replace(discarded=discarded)),
        )

    def summary(self, questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
        solutions = [solution for question in questions for solution in question.solutions]
        kept = Counter(turn_of(solution.sample) for solution in solutions)
        correct = Counter(turn_of(solution.sample) for solution in solutions if solution.is_correct)
        begun = len(solutions) + sum(sum(question.dropped.values()) for question in questions)
        return {
            'attempts_shown': num_shown(questions),
            'kept_by_turn': [kept[turn] for turn in range(self.length)],
            'correct_by_turn': [correct[turn] for turn in range(self.length)],
            'no_room': len(questions) * self.chains * self.length - begun,
        }

    def closing(self, summary: Mapping[str, Any]) -> list[str]:
        turns = zip(summary['correct_by_turn'], summary['kept_by_turn'], strict=True)
        lines = [
            'right of those kept, by place in the chain: '
            + '  '.join(f'{n}: {a:,}/{b:,}' for n, (a, b) in enumerate(turns, 1)),
            shown_line(summary['attempts_shown']),
        ]
        if summary['no_room']:
            lines.append(f'{summary["no_room"]:,} attempts were never begun: their prompts had no room for the attempt before')
        return lines

    @property
    def about(self) -> str:
        return f'{self.chains} chains of {self.length} attempts a question, up to {self.num_attempts} shown to the next'

    def work(self, shape: Shape, model: ModelConfig | None, prompts: Sequence[int] | None) -> Work:
        shown = [min(turn, self.context) for turn in range(1, self.length)]
        flops = revision_prompts = 0
        if prompts is not None:
            revision_prompts = self.chains * sum(prompts[size] for size in shown)
            if model is not None:
                flops = prompt_flops(model, prompts[0]) + self.chains * decode_flops(model, prompts[0], 0, shape.tokens)
                for tokens in (prompts[size] for size in shown):
                    flops += self.chains * (prompt_flops(model, tokens) + decode_flops(model, tokens, 0, shape.tokens))
        return Work(
            solutions=self.chains * self.length,
            solution_tokens=self.chains * self.length * shape.tokens,
            revisions=self.chains * len(shown),
            revision_prompts=revision_prompts,
            flops=flops,
        )
