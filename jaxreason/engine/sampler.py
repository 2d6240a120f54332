"""A policy with its decoding settings.

A `Sampler` is a value: what it draws for (seed, question, sample, position) depends on nothing else. Sessions (`session.py`)
hold the device memory.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from jaxreason.core.architecture import DType
from jaxreason.core.errors import ConfigError
from jaxreason.core.setting import Setting, sampling_of
from jaxreason.data.boundaries import Boundaries
from jaxreason.data.prompts import PromptSpec
from jaxreason.engine.backbone_verifier import BackboneVerifier
from jaxreason.engine.buckets import BUCKETS, check_buckets
from jaxreason.engine.language_model import LanguageModel
from jaxreason.engine.memory import place_of
from jaxreason.engine.rows import RowChoice, check_memory, choose_rows, resolve_cache_dtype
from jaxreason.engine.sampling import Rule

if TYPE_CHECKING:
    from jaxreason.engine.session import DeviceSession

DEFAULT_STATS = ('logprob', 'sampled_logprob', 'self_certainty')
STATS = (*DEFAULT_STATS, 'confidence')  # all that can be asked for


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings(Rule):
    """How solutions are sampled; the distribution is described at `Rule`.

    Attributes:
        max_tokens: most tokens of a solution; a longer one ends with `Finish.LENGTH`.
        stop: strings that end a solution; the text is cut before them.
        stats: what is recorded of every token: `logprob`, `sampled_logprob`, `self_certainty`, `confidence`. The last one looks
            for the most likely tokens, which costs time.
        confidence_top_k: tokens that `confidence` looks at.
        num_rows: rows that the device program runs at, idle ones padded; `auto` is as many as memory holds, as are wanted, and
            as buy something (`choose_rows`). Part of what makes a run repeatable: products change bits with the number of
            rows, never with what the other rows hold.
        rows_per_slot: rows that share one prompt in device memory; divides `num_rows`. A question with more copies takes
            several slots; a slot takes a new question once all its rows have ended. Where `num_rows` is `auto` it is no more
            than the rows that a question has. A revision has a prompt of its own: with 1 its slot has no idle rows.
        memory_limit: GiB of one device for parameters, keys and values, and logits; None for nine tenths of what an
            accelerator has, and half of the host's memory on a CPU.
        buckets: lengths, ascending, that room for prompts and solutions is rounded up to: fewer of them compile less and
            waste more.
        chunk: most decode steps for one call from the host.
        cache_dtype: of cached keys and values; `auto` is the model's own, so that sampling rounds what teacher forcing rounds.
    """

    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    stats: tuple[str, ...] = DEFAULT_STATS
    confidence_top_k: int = 20
    num_rows: int | Literal['auto'] = 'auto'
    rows_per_slot: int = 4
    memory_limit: float | None = None
    buckets: tuple[int, ...] = BUCKETS
    chunk: int = 32
    cache_dtype: Literal['auto', 'float32', 'bfloat16'] = 'auto'

    def __post_init__(self):
        super().__post_init__()
        for name in ('max_tokens', 'confidence_top_k', 'num_rows', 'rows_per_slot', 'chunk'):
            value = getattr(self, name)
            if (name, value) != ('num_rows', 'auto') and not 1 <= value <= 2**20:
                raise ValueError(f'{name} must be in [1, 2^20], got {value}.')
        check_buckets(self.buckets)
        if self.max_tokens > self.buckets[-1]:
            raise ValueError(f'max_tokens must be within the largest of buckets ({self.buckets[-1]}), got {self.max_tokens}.')
        if self.memory_limit is not None and not 0 < self.memory_limit < math.inf:
            raise ValueError(f'memory_limit must be GiB above 0, or null, got {self.memory_limit}.')
        if self.num_rows != 'auto' and self.num_rows % self.rows_per_slot:
            raise ValueError(f'rows_per_slot must divide num_rows ({self.num_rows}), got {self.rows_per_slot}.')
        unknown = [name for name in self.stats if name not in self._known_stats]
        if unknown:
            raise ValueError(f'stats are {", ".join(STATS)}, got {unknown[0]!r}.')
        if '' in self.stop:
            raise ValueError('stop strings must not be empty, got one that is: remove it.')

    @property
    def _known_stats(self) -> tuple[str, ...]:
        return STATS

    @property
    def rule(self) -> Rule:
        """The distribution that tokens are drawn from."""
        return Rule(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Rule)})


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler(SamplerSettings):
    """A policy that answers prompts: `Sampler(lm, temperature=0.8, max_tokens=256)`.

    Attributes:
        lm: the policy.
        prompt: how a question becomes a prompt, and where a step ends.
        heads: verifiers that are heads on this policy (`load_verifier(source, policy=lm)`): what they say of every token is
            added to `stats`.
        beside: bytes of a device that verifiers take: rows are chosen for the rest.
    """

    lm: LanguageModel
    prompt: PromptSpec = PromptSpec()
    heads: tuple[BackboneVerifier, ...] = ()
    beside: int = 0

    def __post_init__(self):
        super().__post_init__()
        names = [name for head in self.heads for name in head.stats]
        if len({*STATS, *names}) < len(STATS) + len(names):
            raise ConfigError(f'heads must have names of their own, got {", ".join(head.name for head in self.heads)}.')
        for head in self.heads:
            if head.policy != self.lm.digest:
                raise ConfigError(
                    f'heads: {head.name} is a head on another policy than {self.lm.name}; load it with policy=, of this one.'
                )
        object.__setattr__(self, 'stats', tuple(dict.fromkeys((*self.stats, *sorted(names)))))
        if self.max_tokens >= self.lm.config.max_context:
            raise ConfigError(
                f'max_tokens must leave room for a prompt in the context of {self.lm.config.max_context} tokens, '
                f'got {self.max_tokens}.'
            )

    @property
    def _known_stats(self) -> tuple[str, ...]:
        return (*STATS, *(name for head in self.heads for name in head.stats))

    @functools.cached_property
    def boundaries(self) -> Boundaries:
        """Step delimiters and stop strings as a table over this policy's tokens."""
        pieces = self.lm.need_tokenizer().all_token_bytes(self.lm.config.vocab_size)
        return Boundaries.compile(pieces, (self.prompt.step_delimiter,), (*self.prompt.stop_strings, *self.stop))

    @property
    def resolved_cache_dtype(self) -> DType:
        """The dtype of cached keys and values on the devices at hand."""
        return resolve_cache_dtype(self.cache_dtype, self.lm.config)

    def choose_rows(self, longest_prompt: int, copies: Sequence[int] | None) -> RowChoice:
        """The number of rows for prompts of up to so many tokens; arguments and errors as of `rows.choose_rows`."""
        place = place_of(self.memory_limit, self.lm.mesh, self.beside)
        return choose_rows(self, self.lm.config, longest_prompt, copies, place)

    def with_rows(self, longest_prompt: int, copies: Sequence[int] | None) -> 'Sampler':
        """This sampler with its number of rows known.

        Args:
            longest_prompt: tokens.
            copies: rows that each question may have at once; None where nobody knows.

        Raises:
            ConfigError: a memory limit that was given, or the smallest number of rows, is not kept.
        """
        if self.num_rows != 'auto':
            if self.memory_limit is not None:
                check_memory(self, self.lm.config, longest_prompt, place_of(self.memory_limit, self.lm.mesh))
            return self
        choice = self.choose_rows(longest_prompt, copies)
        chosen = dataclasses.replace(self, num_rows=choice.num_rows, rows_per_slot=choice.rows_per_slot)
        vars(chosen)['boundaries'] = self.boundaries  # compiled once, not for every session
        return chosen

    @property
    def setting(self) -> Setting:
        """What decides its draws, as digests."""
        return Setting(
            policy=self.lm.digest,
            tokenizer=self.lm.need_tokenizer().digest,
            prompt=self.prompt.digest,
            sampler=sampling_of(vars(self)),
        )

    def session(self) -> 'DeviceSession':
        """Opens a session; its device memory is allocated when it is given questions."""
        from jaxreason.engine.session import DeviceSession

        return DeviceSession(self)
