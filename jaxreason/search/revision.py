"""Sequential revisions: a policy that was trained to improve its answer is shown its last attempts and asked again.

References:
    Snell et al., Scaling LLM Test-Time Compute Optimally, 2024, section 6 and appendices L to O.
"""

import dataclasses
import math
from collections.abc import Sequence

from jaxreason.core.aggregation import Aggregation
from jaxreason.core.budget import Budget
from jaxreason.core.requests import Search
from jaxreason.core.types import Candidate, Outcome, Question
from jaxreason.data.normalise import answer_key
from jaxreason.search.chains import chains_of, grow_chains
from jaxreason.search.select import Choice, Vote, choose, elect, solution_score
from jaxreason.search.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revision(Strategy):
    """Grows `chains` chains of `length` attempts each; an attempt is shown the last ones of its chain.

    The last attempt is never the answer by itself, since a right one may be lost by the next revision. Majority lets all
    attempts of all chains vote. A weighted vote is hierarchical: within a chain equal answers sum their scores, and the best
    attempt with the winner's answer stands for the chain; then these vote in the same way.

    Attributes:
        chains: grown in parallel.
        length: attempts of a chain. It may be longer than those that the policy was trained on.
        context: attempts that a revision is shown at most.
        vote: `weighted` (hierarchical), `majority` (flat) or `naive` (the single best attempt).
        agg_strategy: how the scores of an attempt's steps become its score.
        verifier: name of the verifier that `weighted` and `naive` ask; None is the one given to `solve`.
    """

    chains: int
    length: int
    context: int = 4
    vote: Vote = Vote.WEIGHTED
    agg_strategy: Aggregation = Aggregation.LAST
    verifier: str | None = None

    def __post_init__(self):
        for name, what in (('chains', 'chain'), ('length', 'attempt of a chain'), ('context', 'attempt to be shown')):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1 {what}, got {getattr(self, name)}.')
        if self.vote == Vote.MAJORITY and self.verifier is not None:
            raise ValueError(f'verifier: majority asks none, got {self.verifier!r}: set vote to weighted or naive.')

    @property
    def judges(self) -> tuple[str | None, ...]:
        return () if self.vote == Vote.MAJORITY else (self.verifier,)

    @property
    def generations(self) -> int:
        return self.chains * self.length

    @property
    def most_rows(self) -> int:
        return self.chains

    @property
    def num_attempts(self) -> int:
        return 0 if self.length == 1 else min(self.context, self.length - 1)

    def at(self, generations: int) -> 'Revision':
        """At another budget, the ratio of length to chains as it is; one chain stays one, single attempts stay single.

        Raises:
            ValueError: the ratio allows no whole numbers there.
        """
        if self.length == 1:
            length = 1
        elif self.chains == 1:
            length = generations
        else:
            length = math.isqrt(generations * self.length // self.chains)
            if length * length * self.chains != generations * self.length or length == 0 or generations % length:
                common = math.gcd(self.length, self.chains)
                raise ValueError(f'no whole chains keep {self.length // common}:{self.chains // common} attempts to chains')
        return dataclasses.replace(self, chains=generations // length, length=length)

    def search(self, question: Question, budget: Budget) -> Search:
        grown = yield from grow_chains(question, (self.length,) * self.chains, self.context, self.judges, budget)
        judge = self.judges[0] if self.judges else None
        candidates = tuple(attempt.candidate(judge) for attempt in grown.attempts)
        choice = self.choose(candidates)
        return Outcome(question=question, answer=choice.answer, candidates=candidates, votes=choice.votes, cost=grown.cost)

    def choose(self, candidates: Sequence[Candidate]) -> Choice:
        """Picks an answer from the attempts of whole chains."""
        if self.vote != Vote.WEIGHTED:
            return choose(candidates, self.vote, self.agg_strategy)
        scores = {c.sample: solution_score(c, self.agg_strategy) for c in candidates}
        standing = [one for chain in chains_of(candidates) if (one := self._stands_for(chain, scores)) is not None]
        return elect(standing, [scores[one.sample] for one in standing])

    def _stands_for(self, chain: Sequence[Candidate], scores: dict[int, float]) -> Candidate | None:
        """The best attempt with the chain's winning answer; the earliest of equals."""
        winner = elect(chain, [scores[one.sample] for one in chain]).answer
        if winner is None:
            return None
        key = answer_key(winner)
        voters = [one for one in chain if one.answer is not None and answer_key(one.answer) == key]
        return max(voters, key=lambda one: scores[one.sample])
