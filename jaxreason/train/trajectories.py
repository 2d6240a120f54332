"""Revision trajectories: wrong answers, then a right one, put together from samples that know nothing of each other.

Nobody has to draw a correction: of the parallel samples of a question every right one becomes the end of a trajectory, and
wrong ones are put before it. The last of them is the one most like it, so that there is something to learn from it; the others
are whatever comes. They are chosen by the address of the right sample alone: the same in any run, process or order.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6.1 and appendix L.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import Cost, total
from jaxreason.core.flops import decode_flops, prompt_flops
from jaxreason.core.keys import address_number
from jaxreason.core.labels import LabelledQuestion
from jaxreason.core.records import cost_fields
from jaxreason.core.requests import Extend, Request, Start
from jaxreason.core.types import Problem, Question, Row, Verdict
from jaxreason.data.answers import answer_of
from jaxreason.data.grading import Grader
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


class Drawn(NamedTuple):
    """Parallel samples of a question, and what their prompt cost."""

    rows: tuple[Row, ...]
    prompt: Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectories(Labelling):
    """Puts up to `most_wrong` wrong samples before every right one of `samples` a question; defaults as in the paper.

    How many is drawn evenly from 0 to `most_wrong`; where there are fewer wrong samples, all of them. The last is the one with
    the smallest edit distance in characters, the first of equals; the others are drawn without replacement, those with a text
    that is not shown yet first. A question without a right sample gives nothing, one without a wrong one right samples alone.

    Attributes:
        samples: solutions a question.
        most_wrong: wrong ones before a right one at most; 0 gives the right samples alone.
    """

    samples: int = 64
    most_wrong: int = 4

    def __post_init__(self):
        check_counts(self, ['samples'])
        check_counts(self, ['most_wrong'], least=0)
        self.check_copies('samples')

    @property
    def copies(self) -> int:
        return self.samples

    def search(self, question: Question) -> Generator[Request, Any, Drawn]:
        rows, prompt = yield Start(question, copies=self.samples)
        rows, _ = yield Extend(rows)
        return Drawn(tuple(rows), prompt)

    def label(
        self, problem: Problem, seed: int, drawn: Drawn, grader: Grader, on_tick: Callable[[], None] = lambda: None
    ) -> LabelledQuestion:
        verdicts = verdicts_of(problem, (answer_of(row) for row in drawn.rows if unusable(row) is None), grader, on_tick)
        fates = [unusable(row) or verdicts[answer_of(row)].value for row in drawn.rows]
        wrong = [row for row, fate in zip(drawn.rows, fates, strict=True) if fate == Verdict.WRONG]
        right = [row for row, fate in zip(drawn.rows, fates, strict=True) if fate == Verdict.CORRECT]
        of_no_use = [row for row in drawn.rows if row not in right and row not in wrong]
        solutions = []
        for row in right:
            shown = self.attempts_before(row, wrong, (seed, problem.id))
            known = {'attempts': shown, 'attempts_correct': (False,) * len(shown)}
            solutions.append(solution_of(problem, seed, row, Verdict.CORRECT, **known))
        cost = drawn.prompt + total(row.cost for row in drawn.rows)
        return LabelledQuestion(
            question_id=problem.id,
            solutions=tuple(solutions),
            dropped=counted(fate for fate in fates if fate != Verdict.CORRECT),
            rollouts={},
            cost=cost_fields(cost._replace(discarded=total(row.cost for row in of_no_use).flops)),
        )

    def attempts_before(self, row: Row, wrong: Sequence[Row], address: tuple[int, str]) -> tuple[str, ...]:
        """Chooses the wrong answers that stand before a right one.

        Args:
            row: the right one.
            wrong: all that there are, in sample order.
            address: seed and question id.

        Returns:
            Their texts, in the order in which they are shown.
        """
        where = ('trajectory', *address, row.sample)
        count = min(address_number(*where, 'count') % (self.most_wrong + 1), len(wrong))
        if not count:
            return ()
        nearest = _nearest(row.text, wrong)
        drawn = sorted((each for each in wrong if each is not nearest), key=lambda each: address_number(*where, each.sample))
        texts = [each.text for each in drawn]
        new = [text for text in dict.fromkeys(texts) if text != nearest.text]
        again = list((Counter(texts) - Counter(new)).elements())  # there are not enough different ones
        return (*(new + again)[: count - 1], nearest.text)

    def summary(self, questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
        with_right = [question for question in questions if question.solutions]
        return {
            'no_correct': len(questions) - len(with_right),
            'no_wrong': sum(not question.dropped.get('wrong') for question in with_right),
            'attempts_shown': num_shown(questions),
        }

    def closing(self, summary: Mapping[str, Any]) -> list[str]:
        return [
            f'{summary["no_correct"]:,} questions without a right sample, of which nothing is made; '
            f'{summary["no_wrong"]:,} with right ones alone',
            shown_line(summary['attempts_shown']),
        ]

    @property
    def about(self) -> str:
        return f'{self.samples} samples a question, up to {self.most_wrong} wrong ones put before every right one'

    def work(self, shape: Shape, model: ModelConfig | None, prompts: Sequence[int] | None) -> Work:
        flops = 0
        if model is not None and prompts is not None:
            flops = prompt_flops(model, prompts[0]) + self.samples * decode_flops(model, prompts[0], 0, shape.tokens)
        return Work(solutions=self.samples, solution_tokens=self.samples * shape.tokens, flops=flops)


def _nearest(text: str, others: Sequence[Row]) -> Row:
    """The row whose text takes the fewest insertions, deletions and substitutions of characters; the first of equals."""
    from rapidfuzz.distance import Levenshtein  # nothing else needs it

    return min(others, key=lambda other: Levenshtein.distance(text, other.text))
