"""What the driver needs of a sampler and of a verifier. The engine implements both; tests fake both."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxreason.core.cost import Cost
from jaxreason.core.setting import Setting
from jaxreason.core.types import Question, Row
from jaxreason.core.verifier_spec import Unscored


class Job(NamedTuple):
    """One row to extend.

    Attributes:
        row: as the sampler last returned it.
        until_step: pause with the token that completes a step delimiter.
        max_tokens: pause after this many further tokens.
        greedy: take the most likely token instead of drawing.
    """

    row: Row
    until_step: bool
    max_tokens: int
    greedy: bool


class Session(Protocol):
    """Rows on a device, and the queue in front of it."""

    def prepare(self, questions: Sequence[Question], copies: Sequence[int] | None = None, num_attempts: int = 0) -> None:
        """Chooses shapes for these questions; refuses a prompt that does not fit, naming it.

        `copies` are the rows that each question may have at once, None where nobody knows; `num_attempts` the earlier attempts
        that its prompts show at most.
        """

    def fitting(self, question: Question) -> Question:
        """The question with as many of its last attempts as its prompt has room for."""

    def room(self) -> int:
        """Rows that could be started now without waiting for others."""

    def start(self, question: Question, copies: int, first: int, seed: int) -> tuple[tuple[Row, ...], Cost]:
        """Rows that hold the prompt of `question`; a repeated address is a repeated draw."""

    def start_price(self, question: Question) -> int:
        """FLOPs that `start` will charge."""

    def decode_price(self, row: Row, num_tokens: int) -> int:
        """FLOPs of that many further tokens on `row`."""

    def most_tokens(self, row: Row) -> int:
        """Tokens that `row` may still grow by, before it ends with `Finish.LENGTH`."""

    def submit(self, job: Job) -> None:
        """Queues a row for extension."""

    def pump(self) -> list[Row]:
        """Runs the device for one chunk; returns the rows that paused or ended, updated."""

    def append(self, row: Row, text: str, cut: str) -> Row:
        """`row` as it goes on behind `text` (`core.requests.Append`), what the words will cost included.

        Nothing is run: the statistics of the words are missing until `feed`. The same row comes back where it has no room.
        """

    def feed(self, row: Row) -> Row:
        """Runs the policy over the words that `append` put into a row; returns it with their statistics."""

    def take(self, rows: Sequence[Row], indices: Sequence[int]) -> tuple[Row, ...]:
        """Rows in a new order; consumes `rows`."""

    def release(self, rows: Sequence[Row]) -> None:
        """Forgets rows."""


class Sampler(Protocol):
    """A policy with its decoding settings; opens sessions."""

    @property
    def stats(self) -> tuple[str, ...]:
        """Per-token statistics that its rows carry."""

    @property
    def setting(self) -> Setting | None:
        """What it samples with, verifiers apart; None where nobody can tell."""

    def session(self) -> Session:
        """Rows on a device, none yet."""


class Scored(NamedTuple):
    """What a verifier says of rows.

    Attributes:
        scores: of the steps of every row; () for a row that could not be scored.
        costs: one a row.
        carry: what the verifier wants back next time.
        unscored: why, by index of the row, where the verifier knows; `reasons` completes it.
    """

    scores: list[tuple[float, ...]]
    costs: list[Cost]
    carry: Any
    unscored: Mapping[int, Unscored] = MappingProxyType({})


class Verifier(Protocol):
    """Judges the steps of partial or finished solutions."""

    @property
    def stats(self) -> frozenset[str]:
        """Per-token statistics that rows must carry."""

    def score(self, rows: Sequence[Row], carry: Any) -> Scored:
        """A score for every step of every row, each in [0, inf): larger is better. `carry` is opaque; None at first.

        A row that cannot be scored has no scores at all: it is counted as 0 and does not disturb the others. So is one with a
        score that is no finite number.
        """

    def price(self, row: Row, num_tokens: int, carry: Any = None) -> int:
        """FLOPs of scoring `row` with this carry once it has grown by that many tokens."""


@runtime_checkable
class Remembering(Protocol):
    """A verifier whose carry holds something of every row."""

    def forget(self, carry: Any, handles: Sequence[int]) -> Any:
        """The carry without rows that are gone: neither they nor forks of theirs will be scored by it again."""
