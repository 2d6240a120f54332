"""A verifier that is a head on the policy: it scores from what the sampler computed while it sampled.

The decoder is the policy's own, bit for bit, and the text that it would score is the text that the policy wrote, token by
token. So the state that a head reads before a step's marker is the one that the marker was drawn from: the sampler reads the
head there (`engine.read_heads`), and scoring is looking up. Nothing is fed, nothing carried but what was paid for.
"""

import bisect
import codecs
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxreason.core.architecture import ModelConfig
from jaxreason.core.cost import Cost
from jaxreason.core.errors import ConfigError, TokenizerError, WeightsError
from jaxreason.core.protocols import Scored, Verifier
from jaxreason.core.types import Finish, Question, Row
from jaxreason.core.verifier_spec import HeadKind, Unscored, VerifierSpec
from jaxreason.data.prompts import PromptSpec
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.data.verifier_layout import Typesetter
from jaxreason.engine.mesh import to_host, use_mesh
from jaxreason.engine.read_heads import penalty_of, stats_of
from jaxreason.engine.reward_model import MOST_ENTRIES, RewardModel, sigmoid
from jaxreason.engine.scoring_memory import ScoringMemory
from jaxreason.models.value_heads import head_parameters

if TYPE_CHECKING:
    from jaxreason.engine.language_model import LanguageModel

# Of an architecture, what does not change a hidden state, or is the policy's to choose.
_FREE = frozenset({'family', 'tied_head', 'parameter_dtype', 'matmul_dtype'})


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class BackboneVerifier:
    """A head on the policy, as a verifier: `Sampler(lm, heads=(prm,))`, and `prm` where a verifier goes.

    A step's score is read at the state before the token that completes its delimiter, after all text of the step: at the token
    before the marker. A last step that was cut off (`Finish.LENGTH`, `Finish.BUDGET`, a pause within a step) has no such token:
    its last token was never fed, so its score is read one token earlier (with the last token's penalty, where there are any).

    Attributes:
        name: of its statistics in rows; another for each head of a sampler.
        spec: what it was trained as.
        config: architecture of its decoder.
        head: parameters.
        typesetter: writes the input that it was trained on, and has its tokenizer.
        policy: digest of the policy that it was found to be a head on; empty where it was opened for its prices only.
        digest: SHA-256 of what it was read from and of its spec.
    """

    name: str
    spec: VerifierSpec
    config: ModelConfig
    head: Any
    typesetter: Typesetter
    policy: str = ''
    digest: str = ''

    @classmethod
    def of(cls, verifier: RewardModel) -> 'BackboneVerifier':
        """The head of a verifier that has a decoder of its own.

        Raises:
            ConfigError: its scores are read at markers, which the policy has not fed when a step ends.
        """
        if verifier.spec.boundary != 'before_marker':
            raise ConfigError(
                f'{verifier.name}: on the policy a score is read before_marker, the boundary of this verifier is '
                f'{verifier.spec.boundary}: train it with boundary: before_marker, or give it a decoder of its own (on: own).'
            )
        return cls(
            name=verifier.name,
            spec=verifier.spec,
            config=verifier.config,
            head=verifier.head,
            typesetter=verifier.typesetter,
            digest=verifier.digest,
        )

    @property
    def kind(self) -> HeadKind:
        return self.spec.head

    @property
    def stats(self) -> frozenset[str]:
        return stats_of(self.name, self.kind)

    def check_policy(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        """Refuses a policy of another shape or with another tokenizer; its parameters are compared by `on_policy`.

        Raises:
            ConfigError: the architecture differs; the message says where.
            TokenizerError: the tokenizer differs.
        """
        for field in dataclasses.fields(ModelConfig):
            mine, theirs = getattr(self.config, field.name), getattr(config, field.name)
            if field.name not in _FREE and mine != theirs:
                raise ConfigError(f'{self.name}: its decoder has {field.name} {mine}, the policy {theirs}: {_INSTEAD}.')
        if self.typesetter.tokenizer.digest != tokenizer.digest:
            raise TokenizerError(f'{self.name}: its tokenizer is not that of the policy: {_INSTEAD}.')

    def check_prompt(self, prompt: PromptSpec, question: Question, num_attempts: int = 0) -> None:
        """Refuses a prompt after which the policy writes other tokens than the verifier was trained to read.

        Args:
            prompt: how the policy is asked.
            question: any; a solution of two steps, both of them words of the question, is written both ways.
            num_attempts: earlier attempts that prompts may show.

        Raises:
            ConfigError: the two differ; the message says where.
        """
        tokenizer = self.typesetter.tokenizer
        parts = (part for line in question.text.split('\n') for part in line.split(prompt.step_delimiter))
        words = max(parts, key=len)  # a step has no delimiter in it
        step = words + prompt.step_delimiter
        attempts = (words,) * num_attempts
        laid = self.typesetter.lay(question.text, (step, words), attempts)
        if isinstance(laid, Unscored):
            raise ConfigError(f'{self.name}: cannot write question {question.id!r} ({laid.value}): {_INSTEAD}.')
        policys = prompt.encode(tokenizer, question.text, step + words, attempts)
        for at, (own, other) in enumerate(itertools.zip_longest(laid.ids, policys)):
            if own != other:
                pieces = [_shown(tokenizer, ids[max(0, at - 2) : at + 6]) for ids in (laid.ids, policys)]
                raise ConfigError(
                    f'{self.name}: of question {question.id!r} with two steps, token {at} is another in its layout '
                    f'({pieces[0]}) than in the prompt ({pieces[1]}): ask the policy as it was trained, or {_INSTEAD}.'
                )

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        """Looks up the score of every step; see `Verifier.score`.

        A row pays for the head at each of its tokens once, those that its lineage has paid for apart.
        """
        paid: dict[int, tuple[int, ...]] = dict(carry or {})
        found = [self._scores(row) for row in rows]
        costs = [self._cost(len(row.tokens) - _paid(row, paid)) for row in rows]
        for row in rows:
            paid.pop(row.handle, None)  # what is set again comes last: the longest unused goes first
        paid.update((row.handle, row.tokens) for row in rows if row.finish is Finish.OPEN)
        carry = dict(itertools.islice(paid.items(), max(0, len(paid) - MOST_ENTRIES), None))
        scores = [() if isinstance(each, Unscored) else each for each in found]
        return Scored(scores, costs, carry, {at: each for at, each in enumerate(found) if isinstance(each, Unscored)})

    def forget(self, carry: Any, handles: Sequence[int]) -> Any:
        """The carry without rows that are gone; see `core.protocols.Remembering`."""
        gone = set(handles)
        return {handle: tokens for handle, tokens in carry.items() if handle not in gone}

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        """FLOPs of the head at every token of a row that grows by so many, those that its lineage has paid for apart."""
        return self._cost(len(row.tokens) + num_tokens - _paid(row, carry or {})).verify

    def memory(self, questions: Sequence[Question], num_tokens: int, is_cpu: bool) -> ScoringMemory:
        """Bytes on one device: the head's, whatever is scored; arguments as of `RewardModel.memory`."""
        numbers = sum(leaf.size for leaf in jax.tree.leaves(dict(self.head)))
        return ScoringMemory(parameters=4 * numbers, cache=0, activations=0)

    def _cost(self, num_tokens: int) -> Cost:
        return Cost(verify=2 * self._head_parameters * num_tokens, scored_tokens=num_tokens)

    @functools.cached_property
    def _head_parameters(self) -> int:
        return head_parameters(self.head)

    def _scores(self, row: Row) -> tuple[float, ...] | Unscored:
        if not row.steps or len(row.steps) != len(row.step_ends):
            return Unscored.STEPS if row.steps else Unscored.NO_STEPS
        values, taken = row.stats[self.name], [0.0]
        if self.kind == 'action_value':
            taken = list(itertools.accumulate(row.stats[penalty_of(self.name)], initial=0.0))
        odds = [
            values[min(read, end - 1)] + (taken[read] if self.kind == 'action_value' else 0.0)
            for read, end in zip(self._reads(row), row.step_ends, strict=True)
        ]
        return Unscored.NAN if any(map(math.isnan, odds)) else tuple(map(sigmoid, odds))

    def _reads(self, row: Row) -> list[int]:
        """Tokens that it takes to write the text up to the marker of each step: the next one is drawn from the state read."""
        pieces = list(map(self.typesetter.tokenizer.token_bytes, row.tokens))
        decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
        # Decoding piece by piece took nearly half of scoring; a byte of ASCII is a character.
        lengths = map(len, pieces if b''.join(pieces).isascii() else map(decoder.decode, pieces))
        written = list(itertools.accumulate(lengths, initial=0))
        reads, before = [], 0
        for start, step in zip((0, *row.step_ends), row.steps, strict=False):
            reads.append(bisect.bisect_left(written, before + len(self._without_marker(step)), lo=start))
            before += len(step)
        return reads

    def _without_marker(self, step: str) -> str:
        """The text of a step as the layout writes it before the marker."""
        return step.removesuffix('\n') if self.spec.layout.line_breaks == 'markers' else step.rstrip('\n')


def on_policy(verifier: RewardModel, lm: 'LanguageModel') -> BackboneVerifier:
    """Keeps a verifier's head alone, once its decoder is found to be the policy's.

    Args:
        verifier: loaded in the policy's dtype and on its mesh.
        lm: the policy.

    Raises:
        ConfigError: its boundary is at markers, or its architecture is another.
        TokenizerError: its tokenizer is another.
        WeightsError: a parameter of its decoder is another; the message names it.
    """
    found = BackboneVerifier.of(verifier)
    found.check_policy(lm.config, lm.need_tokenizer())
    mine, theirs = (
        {jax.tree_util.keystr(path): leaf for path, leaf in _decoder(params)} for params in (verifier.params, lm.params)
    )
    with use_mesh(lm.mesh):
        for name in sorted({*mine, *theirs}):
            both = name in mine and name in theirs
            if not both or not bool(to_host(jnp.array_equal(mine[name], theirs[name]), lm.mesh)):
                raise WeightsError(
                    f"{verifier.name}: parameter {name} of its decoder is not the policy's: train the head on a frozen "
                    'policy, or give the verifier a decoder of its own (on: own).'
                )
    return dataclasses.replace(found, policy=lm.digest)


def heads_of(verifiers: Mapping[Any, Verifier]) -> tuple[BackboneVerifier, ...]:
    """Those verifiers that a sampler must read."""
    return tuple(verifier for verifier in verifiers.values() if isinstance(verifier, BackboneVerifier))


_INSTEAD = 'use the policy that it was trained on, or give it a decoder of its own (on: own)'


def _decoder(params: Any) -> list[tuple[Any, Any]]:
    """Parameters that decide a hidden state, with their paths."""
    return jax.tree.leaves_with_path({name: part for name, part in params.items() if name != 'head'})


def _paid(row: Row, paid: Mapping[int, tuple[int, ...]]) -> int:
    """Leading tokens of a row that it, or a row that it was forked from, has paid for."""
    return max((_common(row.tokens, paid[handle]) for handle in (row.handle, *row.lineage) if handle in paid), default=0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:  # nearly always
        return shorter
    return next(index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)


def _shown(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """Tokens as text, for a message."""
    return repr(b''.join(tokenizer.token_bytes(index) or b'<?>' for index in ids).decode(errors='replace'))
