"""Search trees as they were, one file a strategy: a change of any of them must be meant.

After a change that is meant: `python -m tests.search.golden_trees_test` writes them anew.
"""

from pathlib import Path

import pytest

from jaxreason.core.types import Question
from jaxreason.search.beam_search import BeamSearch
from jaxreason.search.dvts import DVTS
from jaxreason.search.lookahead import Lookahead
from jaxreason.search.rebase import Rebase
from tests.search.fakes import FakeSampler, HashVerifier

GOLDEN = Path(__file__).parent / 'golden'
TREES = {
    'beam_search': BeamSearch(n=4, beam_width=2),
    'beam_search_sqrt': BeamSearch(n=9, beam_width='sqrt', vote='naive', agg_strategy='prod'),
    'lookahead': Lookahead(n=4, beam_width=2, lookahead=1),
    'dvts': DVTS(n=4, beam_width=2),
    'rebase': Rebase(n=6),
}


def drawn(strategy):
    """The tree as text: a line a branch, its own steps with their scores, then how it came out."""
    outcome = strategy.solve([Question('golden', 'How many?')], FakeSampler(), HashVerifier(), seed=0)[0]
    own = {
        c.sample: (c.parent, c.forked_at, c.steps[c.forked_at :], c.scores[c.forked_at :], c.answer) for c in outcome.candidates
    }
    left = {b.sample: (b.parent, b.forked_at, b.steps, b.scores, f'left in round {b.pruned_at}') for b in outcome.pruned}
    lines = [
        f'{number} of {parent} from step {forked_at}: '
        + ' | '.join(f'{step.strip()} {score:.3f}' for step, score in zip(steps, scores, strict=True))
        + f' -> {end}'
        for number, (parent, forked_at, steps, scores, end) in sorted((own | left).items())
    ]
    votes = ', '.join(f'{answer} {weight:.3f}' for answer, weight in outcome.votes)
    cost = outcome.cost
    return '\n'.join(
        [*lines, f'votes: {votes}', f'FLOPs: {cost.flops}, {cost.lookahead} ahead, {cost.discarded} discarded', '']
    )


@pytest.mark.parametrize('name', TREES)
def test_the_tree_is_as_it_was(name):
    assert drawn(TREES[name]) == (GOLDEN / f'{name}.txt').read_text()


if __name__ == '__main__':
    GOLDEN.mkdir(exist_ok=True)
    for name, strategy in TREES.items():
        (GOLDEN / f'{name}.txt').write_text(drawn(strategy))
