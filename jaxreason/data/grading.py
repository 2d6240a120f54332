"""Grades a response against a reference answer.

Three judges in order of price. Limits on length, nesting and magnitude, by rule. Then exact comparison of values in this
process, which settles nearly all answers in microseconds. Then, for expressions whose equality our algebra cannot see
(identities between functions, sums, integrals), math-verify in worker processes with one second of processor time (two with
the start of a worker) and 512 MB; no decision in time is `UNJUDGED`. The last judge only ever turns "cannot tell" into a
decision: two numbers that differ, a hedge, units in conflict or a false equation never reach it.

Conventions: the answer is what `answers.extract_answer` finds; values must be equal exactly, unless the reference itself is a
rounded decimal; a percent equals its fraction; an added unit is fine, a conflicting one wrong, `5 hours and 30 minutes` may
also be the sum; a word that may change the number before it keeps the answer from being that number; tuples are ordered, sets
and lists of solutions are not; an inequality in one variable equals its interval; text compares without case.
"""

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Sequence

from jaxreason.core.errors import ConfigError
from jaxreason.core.types import Verdict
from jaxreason.data.answers import extract_answer
from jaxreason.data.grading_pool import WorkerPool
from jaxreason.data.guards import Refused, Unreadable, check_effort
from jaxreason.data.latex_tokens import tokenize
from jaxreason.data.normalise import list_reading, other_readings, read, strip_delimiters
from jaxreason.data.reading import split
from jaxreason.data.values import Opaque, equal

_PROSE = frozenset((';', '"', "'", '?', ':', '&'))
_ALGEBRA = frozenset(
    ('frac', 'sqrt', 'binom', 'pi', 'infty', 'pm', 'mp', 'sum', 'prod', 'int', 'lim', 'to', 'partial', 'lfloor', 'rfloor')
    + ('lceil', 'rceil', 'max', 'min', 'gcd', 'lcm', 'bmod', 'mod', 'sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'arcsin')
    + ('arccos', 'arctan', 'sinh', 'cosh', 'tanh', 'log', 'ln', 'lg', 'exp', 'overline', 'vec', 'hat')
)  # commands that the last judge knows; it drops what it does not know


class Grader:
    """Grades responses; owns the worker processes that the hard ones need. Safe to use from many threads."""

    def __init__(self, num_workers: int | None = None):
        """Starts nothing yet.

        Args:
            num_workers: processes for undecided answers, at least 1; None takes the processors, at most 4.

        Raises:
            ConfigError: fewer than 1 worker.
        """
        if num_workers is not None and num_workers < 1:
            raise ConfigError(f'grader: num_workers must be at least 1 process, got {num_workers}.')
        self.num_workers = num_workers or min(4, os.cpu_count() or 1)
        self._pool = WorkerPool(self.num_workers)

    def __enter__(self) -> 'Grader':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def warm_up(self) -> None:
        """Starts a worker process ahead of the first hard answer (about a second)."""
        self._pool.warm_up()

    def grade(self, gold: str, response: str) -> Verdict:
        """Grades a whole response.

        Args:
            gold: the reference answer, bare or in LaTeX.
            response: what the model wrote; a number that it does not name as its answer is none.

        Returns:
            `CORRECT`, `WRONG`, or `UNJUDGED` if there was no decision in time.
        """
        return self.grade_answer(gold, extract_answer(response))

    def grade_answer(self, gold: str, answer: str | None) -> Verdict:
        """Grades an answer that was already extracted; None is wrong.

        Args:
            gold: the reference answer, bare or in LaTeX.
            answer: as `extract_answer` returns it.

        Returns:
            The verdict, as for `grade`.
        """
        verdict = exact_verdict(gold, answer)
        if verdict is not None or answer is None:
            return verdict or Verdict.WRONG
        decision = self._pool.equal(strip_delimiters(gold), strip_delimiters(answer))
        if decision is None:
            return Verdict.UNJUDGED
        return Verdict.CORRECT if decision else Verdict.WRONG

    def grade_many(self, pairs: Iterable[tuple[str, str]], on_tick: Callable[[], None] | None = None) -> list[Verdict]:
        """Grades (gold, response) pairs, the hard ones at the same time in all workers.

        Args:
            pairs: reference answers with responses.
            on_tick: called after every hard answer; what it raises ends the grading, once the answers at work are decided.

        Returns:
            One verdict a pair, in order.
        """
        return self.grade_answers([(gold, extract_answer(response)) for gold, response in pairs], on_tick)

    def grade_answers(
        self, pairs: Sequence[tuple[str, str | None]], on_tick: Callable[[], None] | None = None
    ) -> list[Verdict]:
        """Grades (gold, answer) pairs, answers as of `grade_answer`; the rest as of `grade_many`."""
        # Equal answers are judged once: cheaper, and under load they cannot get different verdicts.
        verdicts = {pair: exact_verdict(*pair) for pair in dict.fromkeys(pairs)}
        hard = [pair for pair, verdict in verdicts.items() if verdict is None]
        if hard:
            threads = concurrent.futures.ThreadPoolExecutor(self.num_workers)
            try:
                decided = threads.map(lambda pair: self.grade_answer(*pair), hard)
                for pair, verdict in zip(hard, decided, strict=True):
                    verdicts[pair] = verdict
                    if on_tick:
                        on_tick()
            finally:
                threads.shutdown(cancel_futures=True)
        return [verdicts[pair] or Verdict.UNJUDGED for pair in pairs]


def grade(gold: str, response: str) -> Verdict:
    """Grades a whole response with a grader that this process shares.

    Args:
        gold: the reference answer, bare or in LaTeX.
        response: what the model wrote, with its answer in a box or an explicit statement.

    Returns:
        `CORRECT`, `WRONG`, or `UNJUDGED` if there was no decision in time.
    """
    return _shared_grader(os.getpid()).grade(gold, response)


def exact_verdict(gold: str, answer: str | None) -> Verdict | None:
    """The verdict of the rules and the exact comparison alone.

    Args:
        gold: the reference answer.
        answer: as extracted; None if the response names none.

    Returns:
        `CORRECT` or `WRONG`, or None where only a judge with more algebra can tell.
    """
    if answer is None:
        return Verdict.WRONG
    result = equal(read(gold), read(answer))
    if result is True:
        return Verdict.CORRECT
    golds, answers = [read(gold), *other_readings(gold)], [read(answer), *other_readings(answer)]
    if items := list_reading(answer):
        answers.append(items)
    if len(golds) > 1 or len(answers) > 1:
        results = [equal(g, a) for g in golds for a in answers]
        if True in results:
            return Verdict.CORRECT
        result = None if None in results else False
    return None if result is None and _is_algebra(gold, answer) else Verdict.WRONG


def _is_algebra(gold: str, answer: str) -> bool:
    """Whether both are single expressions or relations that a parser of LaTeX may see whole.

    Words, lists and program text are none: a parser would pick the part that it knows. So is an equation beside a reference
    that is none, of which it would take the right side.
    """
    signs = []
    for text in (gold, answer):
        value = read(text)
        if isinstance(value, Opaque) and value.is_final:
            return False
        try:
            check_effort(text)
            tokens = tokenize(strip_delimiters(text))
        except (Refused, Unreadable):
            return False
        if any(token.kind == 'word' or token.text in _PROSE for token in tokens):
            return False
        if any(left.kind == right.kind == 'number' for left, right in itertools.pairwise(tokens)):
            return False  # a mixed number to one parser, a product to another
        if any(token.kind == 'command' and token.text not in _ALGEBRA for token in tokens):
            return False
        if split(tokens, lambda token: token.text == ',')[1]:
            return False
        signs.append(len(split(tokens, lambda token: token.kind == 'relation')[1]))
        is_indexed = any(token.text in ('sum', 'prod', 'lim') for token in tokens)  # k = 1 under a sum
        if not is_indexed and sum(token.kind == 'relation' for token in tokens) != signs[-1]:
            return False
    return signs[0] == signs[1] and signs[0] <= 2


@functools.lru_cache(maxsize=1)
def _shared_grader(process_id: int) -> Grader:
    """One grader a process: after a fork the child must not use its parent's pipes."""
    return Grader()
