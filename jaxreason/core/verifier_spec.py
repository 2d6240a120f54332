"""What a verifier is, declared: a model, a head on it, how question and steps become its text, and where scores are read.

A published process reward model and one trained here differ in these values only; `engine.verifier_presets` lists the known
ones. Tokens are named by string and resolved in the verifier's own tokenizer.
"""

import dataclasses
import enum
from typing import Any, Literal, get_args

from jaxreason.core.errors import ConfigError
from jaxreason.core.model_spec import ModelSpec, check_axes

HeadKind = Literal['value', 'two_class', 'label', 'action_value']
Form = Literal['chat', 'turns', 'plain']
LineBreaks = Literal['replaced', 'kept', 'markers']
Boundary = Literal['marker', 'before_marker']

QUESTION = '{question}'
ATTEMPT = '{attempt}'
SPEC_FILE = 'verifier.yaml'  # in a folder of weights: what its verifier is


class Unscored(enum.StrEnum):
    """Why a row has no scores. Such a row is counted, and costs what was computed for it; others are not affected."""

    NO_STEPS = 'no_steps'  # it has no text yet
    STEPS = 'steps'  # its step texts and step ends do not agree in number
    TEXT = 'text'  # the verifier's tokenizer cannot write it
    MARKER = 'marker'  # a marker is not a token of its own where the layout puts it
    TOO_LONG = 'too_long'  # more tokens than the verifier's context
    NAN = 'nan'  # the model gave a number that is none
    BUDGET = 'budget'  # what is left of the question's budget does not pay for it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How a question and the steps of a solution become text.

    Every step is closed by a marker. What follows the last marker is not fed, so that a solution that grows only adds tokens.

    Attributes:
        form: `chat` (the model's chat template; all steps are one assistant turn), `turns` (the same, each step is a user turn
            that an assistant turn with the marker answers) or `plain` (text without turns).
        system: system message of a chat, first line of plain text; None for none of ours.
        question: what is written before the first step, `{question}` replaced; in a chat the user's turn.
        gap: stands between a step and its marker.
        marker: closes a step. A special piece of the tokenizer, or text that is one token where it stands; text that already
            ends a step is not written twice.
        line_breaks: a step's own line breaks at its end are `replaced` by the marker, `kept` after it, or are `markers`: then
            every line break, also within a step, is the marker token, and the step's score is that of its last one.
        begin: put the beginning-of-sequence token first; None does what the tokenizer does.
        attempts: earlier attempts that are written before the question, where it comes with any: the last ones.
        attempt: how each of them is written, `{attempt}` replaced, and `{question}` if it is there.
        attempt_columns: an attempt is filled up with spaces to so many characters.
    """

    form: Form = 'chat'
    system: str | None = None
    question: str = QUESTION
    gap: str = ''
    marker: str = '\n'
    line_breaks: LineBreaks = 'replaced'
    begin: bool | None = None
    attempts: int = 0
    attempt: str = 'An earlier attempt:\n{attempt}\n\n'
    attempt_columns: int = 0

    def __post_init__(self):
        for name, kinds in (('form', Form), ('line_breaks', LineBreaks)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f'{name} must be one of {", ".join(get_args(kinds))}, got {getattr(self, name)!r}.')
        if QUESTION not in self.question:
            raise ConfigError(f'question must hold {QUESTION}, where the question goes, got {self.question!r}.')
        if ATTEMPT not in self.attempt:
            raise ConfigError(f'attempt must hold {ATTEMPT}, where the attempt goes, got {self.attempt!r}.')
        for name in ('attempts', 'attempt_columns'):
            if not 0 <= getattr(self, name) <= 2**20:
                raise ConfigError(f'{name} must be in [0, 2^20], got {getattr(self, name)}.')
        if not self.marker:
            raise ConfigError('marker must be the text that closes a step, got an empty one.')
        if self.line_breaks == 'markers' and (self.marker != '\n' or self.gap or self.form == 'turns'):
            raise ConfigError('line_breaks markers means a marker that is a line break, without gap or turns.')
        if self.form == 'turns' and (self.gap or self.line_breaks != 'replaced'):
            raise ConfigError('form turns has no gap, and line_breaks are replaced: the marker is a turn of its own.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierSpec:
    """A verifier.

    Attributes:
        model: the decoder and its weights.
        head: what reads the hidden states: `value` (one number, sigmoid), `two_class` (softmax, the second class counts),
            `label` (softmax over the logits of two tokens, `labels`) or `action_value` (value of the state, and a penalty for
            every token of the solution; sigmoid).
        labels: texts of the good and of the bad token of the head `label`; each must be one token.
        boundary: a step's score is read at its `marker`, or at the token `before_marker`.
        layout: how question and steps become text.
        num_rows: rows of a device batch; shorter ones are filled up.
        carry_bytes: memory for keys and values of solutions that may grow; what does not fit is computed again.
    """

    model: ModelSpec = ModelSpec()
    head: HeadKind = 'value'
    labels: tuple[str, ...] = ()
    boundary: Boundary = 'marker'
    layout: Layout = Layout()
    num_rows: int = 8
    carry_bytes: int = 1 << 30

    def __post_init__(self):
        for name, kinds in (('head', HeadKind), ('boundary', Boundary)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f'{name} must be one of {", ".join(get_args(kinds))}, got {getattr(self, name)!r}.')
        if (self.head == 'label') != (len(self.labels) == 2) or len(self.labels) not in (0, 2):
            raise ConfigError(
                f'labels must be two texts, good and bad, for head label and none for others, '
                f'got {list(self.labels)} for {self.head}.'
            )
        if self.num_rows < 1:
            raise ConfigError(f'num_rows must be at least 1 row, got {self.num_rows}.')
        if self.carry_bytes < 0:
            raise ConfigError(f'carry_bytes must be at least 0, got {self.carry_bytes}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierChoice:
    """A verifier as a run's configuration names it.

    Attributes:
        source: its folder.
        preset: a published one; None where the folder says what it is.
        dtype: of parameters and matrix operands; None takes that of the folder's spec.
        mesh: sizes of the axes `data` and `model`; None takes that of the folder's spec.
        max_context: longest question plus solution, for models whose rotary factors depend on it; None takes the spec's.
        on: `own`, a decoder of its own, or `policy`: a head on the policy, whose decoder it must share bit for bit. The sampler
            then reads it as it samples, in the policy's dtype and on its mesh.
    """

    source: str
    preset: str | None = None
    dtype: Literal['float32', 'bfloat16'] | None = None
    mesh: dict[str, int] | None = None
    max_context: int | None = None
    on: Literal['own', 'policy'] = 'own'

    def __post_init__(self):
        if self.mesh is not None:
            check_axes(self.mesh)
        if self.on == 'policy' and (self.dtype is not None or self.mesh is not None):
            raise ConfigError(
                f'{self.source}: on the policy a verifier has its dtype and mesh; leave them out, or choose on: own.'
            )

    @property
    def on_policy(self) -> dict[str, Any]:
        """What `load_verifier` takes beside the policy."""
        return {'source': self.source, 'preset': self.preset, 'max_context': self.max_context}

    @property
    def alone(self) -> dict[str, Any]:
        """What `load_verifier` takes for a verifier with a decoder of its own."""
        return {**self.on_policy, 'dtype': self.dtype, 'mesh': self.mesh}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeChoice:
    """A probe of the bare question (`jaxreason train probe`) as a run's configuration names it.

    Attributes:
        source: its folder.
    """

    source: str
