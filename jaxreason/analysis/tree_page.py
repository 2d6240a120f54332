"""Trees of a run as HTML: of each strategy that left something or forked, as `solve --show-tree` draws them."""

from collections.abc import Sequence

from jaxreason.analysis import page
from jaxreason.analysis.tree import tree_lines
from jaxreason.core.cost import FREE
from jaxreason.core.records import Pool, PoolCandidate
from jaxreason.core.types import Branch, Candidate, Finish, Outcome, Question
from jaxreason.data.boundaries import split_steps

WIDTH = 100  # cells of a line
MAX_LINES = 400  # of one tree

_MARKUP = {'kept': '{}', 'left': '<span class="left">{}</span>', 'chosen': '<b>{}</b>'}


def folded_tree(pool: Pool, step_delimiter: str) -> str | None:
    """A question's tree, folded; None where nothing was forked or left, or the text cannot be cut into its steps.

    Args:
        pool: of a strategy that searched by itself.
        step_delimiter: what ended a step.
    """
    outcome = _outcome(pool, step_delimiter)
    if outcome is None or not (outcome.pruned or any(c.parent is not None for c in outcome.candidates)):
        return None
    lines = tree_lines(outcome, WIDTH)
    shown = [_MARKUP[line.look].format(page.text(line.text)) for line in lines[:MAX_LINES]]
    more = [f'{len(lines) - MAX_LINES:,} more lines are not shown'] if len(lines) > MAX_LINES else []
    summary = f'tree of {page.text(pool.pool)}: {len(lines):,} steps, {len(outcome.pruned):,} branches left'
    return page.folded(summary, '\n'.join(['<pre class="tree">' + '\n'.join([*shown, *more]), '</pre>']))


def _outcome(pool: Pool, step_delimiter: str) -> Outcome | None:
    """What the search returned, as far as a tree shows it."""
    candidates = [_candidate(candidate, step_delimiter) for candidate in pool.candidates]
    kept = [candidate for candidate in candidates if candidate is not None]
    if pool.chosen is None or len(kept) < len(candidates):
        return None
    pruned = tuple(Branch(**{**vars(branch), 'cost': FREE}) for branch in pool.pruned)
    question = Question(pool.question_id, pool.question)
    return Outcome(question=question, answer=pool.chosen['answer'], candidates=tuple(kept), votes=(), cost=FREE, pruned=pruned)


def _candidate(stored: PoolCandidate, step_delimiter: str) -> Candidate | None:
    """A stored candidate with its steps; None where the delimiter cuts its text into other steps than its tokens."""
    steps: Sequence[str] = split_steps(stored.text, (step_delimiter,))
    empty = len(stored.step_ends) - len(steps)  # a step of an end token alone has no text
    if empty not in (0, 1):
        return None
    return Candidate(
        sample=stored.sample,
        text=stored.text,
        tokens=stored.tokens,
        steps=(*steps, *('',) * empty),
        step_ends=stored.step_ends,
        finish=Finish(stored.finish),
        answer=stored.answer,
        scores=next(iter(stored.scores.values()), ()),  # a search asks one verifier
        parent=stored.parent,
        forked_at=stored.forked_at,
    )
